"""What the route modules share: an id in a path, and which part of a list is wanted."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, Field, StringConstraints

from cloud.paging import MAX_LIMIT

Id = Annotated[int, Path(ge=1, lt=2**63)]


class Part(BaseModel):
    """Which part of a list is wanted: at most so many, from a cursor that the part before gave."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 100
    cursor: Annotated[str, StringConstraints(max_length=500)] | None = None


Wanted = Annotated[Part, Query()]
"""For a list that has no filter of its own; one that has inherits from `Part` too."""
