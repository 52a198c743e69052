"""The page of releases: what is published, and how long each signature is good for."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse, Response

from cloud.console.pages import PageRoute, render, viewer_ui
from cloud.console.ui import Ui  # noqa: TC001 - FastAPI reads annotations
from cloud.devices.releases import service
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.state import now_ms

pages = APIRouter(route_class=PageRoute, include_in_schema=False, default_response_class=HTMLResponse)


@pages.get("/releases")
def releases(state: State, ui: Annotated[Ui, Depends(viewer_ui)]) -> Response:
    """What is published, and until when gateways accept it."""
    ui.section = "campaigns"
    with state.db.read() as tx:
        view = service.show(tx, service.lifetimes(state.config), now_ms())
    return render(ui, "releases.html", view=view)
