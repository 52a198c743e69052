"""What the API says of hazard reports, and what it takes. No field names or describes a person: only things, places."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from cloud.paging import View
from cloud.reports.hazards.rules import HazardAction, HazardKind, HazardState

MAX_TEXT = 500
MAX_PLACE = 200
Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_TEXT)]
NodePath = Annotated[str, StringConstraints(max_length=255, pattern=r"^/([0-9]{1,19}/)*$")]
Who = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]


class HazardView(View):
    """A report."""

    id: int
    node: str
    node_zh: str
    node_en: str
    kind: HazardKind
    place: str
    lat: float | None
    lon: float | None
    text: str
    state: HazardState
    owner: str | None
    """Who takes care of it; None while it is new."""
    reported_at: datetime
    reported_by: str
    updated_at: datetime
    merged_into: int | None
    merged: int = 0
    """How many reports were merged into this one."""
    incident: int | None
    escalated_to: str | None
    """The node above that was told."""


class StepView(View):
    """One step. hazard: the report that it was made on, which may since be merged into the one that is shown."""

    hazard: int
    at: datetime
    actor: str
    action: str
    """reported, triaged, handled, handed-over, escalated, merged, absorbed, note, reopened."""
    owner: str | None
    note: str


class HazardDetail(HazardView):
    """A report with its steps and those of the reports merged into it, oldest first."""

    steps: list[StepView]
    allowed: list[HazardAction]
    """What may be done with it now."""
    likely_same: list[int]
    """Reports of the same node and kind within a day."""
    reports: list[HazardView]
    """The reports merged into this one, with their own words."""


class HazardFilter(BaseModel):
    """Which reports a list shows; empty means any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: tuple[HazardState, ...] = ()
    kind: HazardKind | None = None
    node: NodePath | None = None
    """This node and what is below it."""


class NewHazard(BaseModel):
    """A report. Things and places only: no names, no descriptions of persons."""

    model_config = ConfigDict(extra="forbid")

    node: NodePath
    kind: HazardKind
    place: Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_PLACE)] = ""
    text: Note = ""
    lat: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)] | None = None
    lon: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> NewHazard:
        if (self.lat is None) != (self.lon is None):
            raise ValueError("lat, lon: both or neither")
        if self.kind is HazardKind.OTHER and not self.text:
            raise ValueError("text: say what it is when the kind is other")
        return self


class HazardStep(BaseModel):
    """Something done with a report.

    to: who takes care of it (triage, hand-over). into: the report that stands for it (merge). open_incident: with
    escalate, an incident is opened instead of telling the node above.
    """

    model_config = ConfigDict(extra="forbid")

    action: HazardAction
    note: Note = ""
    to: Who | None = None
    into: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    open_incident: bool = False
