"""The page of releases: what is published, and how long each signature is good for."""

from __future__ import annotations

from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations

from cloud.console.pages import View, page_router, render
from cloud.devices.releases import service
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.state import now_ms

pages = page_router()


@pages.get("/releases")
def releases(ui: View, state: State) -> Response:
    """What is published, and until when gateways accept it."""
    with state.db.read() as tx:
        view = service.show(tx, service.lifetimes(state.config), now_ms())
    return render(ui, "releases.html", view=view)
