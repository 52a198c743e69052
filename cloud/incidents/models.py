"""What the API says of incidents, and what it takes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from cloud.paging import View


class IncidentView(View):
    """An incident as lists show it."""

    id: int


class Open(BaseModel):
    """An incident that somebody reports."""

    model_config = ConfigDict(extra="forbid")

    node: str
    category: str
    title: str
    place: str = ""
    lat: float | None = None
    lon: float | None = None
