"""The map page: a frame for Leaflet, which draws what `/api/v1/map` tells of its window."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse, Response

from cloud.console.pages import PageRoute, render, viewer_ui
from cloud.console.ui import Ui
from cloud.maps import service
from cloud.maps.datum import Datum
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations

LAYERS: Final = ("nodes", "shapes", "devices", "incidents")
"""What is shown and hidden by a box of its own; members are a question that is recorded."""

pages = APIRouter(route_class=PageRoute, include_in_schema=False, default_response_class=HTMLResponse)
View = Annotated[Ui, Depends(viewer_ui)]


@pages.get("/map")
def map_page(ui: View, state: State) -> Response:
    """The map, at the extent of what the viewer may see."""
    ui.section = "map"
    tiles = state.config.map
    with state.db.read() as tx:
        extent = service.extent(tx, ui.who, Datum(tiles.datum))
    words = ui.t.group("map.", "device_state.", "severity.", "kind_of_node.")
    return render(ui, "map.html", tiles=tiles, extent=",".join(map(str, extent or ())), layers=LAYERS, words=words)
