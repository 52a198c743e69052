"""The HTTP of releases: what is published and how long it is good for."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from cloud.devices.releases import service
from cloud.devices.releases.models import ReleasesView  # noqa: TC001 - FastAPI reads annotations
from cloud.org.auth import State, require
from cloud.org.rules import Permission, Principal
from cloud.problems import documented
from cloud.state import now_ms

router = APIRouter(tags=["releases"], responses=documented(401, 403, 422, 503))

Technician = Annotated[Principal, Depends(require(Permission.PROVISION))]


@router.get("/releases")
def show_releases(state: State, _who: Technician) -> ReleasesView:
    """The signed targets of the update repository, and by role when its metadata expires."""
    with state.db.read() as tx:
        return service.show(tx, service.lifetimes(state.config), now_ms())
