"""The HTTP of releases: what is published and how long it is good for. The same is served, signed, to everybody."""

from __future__ import annotations

from fastapi import APIRouter

from cloud.devices.releases import service
from cloud.devices.releases.models import ReleasesView  # noqa: TC001 - FastAPI reads annotations
from cloud.org.auth import State, Viewer  # noqa: TC001 - FastAPI reads annotations
from cloud.problems import documented
from cloud.state import now_ms

router = APIRouter(tags=["releases"], responses=documented(401, 403, 422, 503))


@router.get("/releases")
def show_releases(state: State, _who: Viewer) -> ReleasesView:
    """The signed targets of the update repository, and by role when its metadata expires."""
    with state.db.read() as tx:
        return service.show(tx, service.lifetimes(state.config), now_ms())
