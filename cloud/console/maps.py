"""The map page: a frame for Leaflet, which draws what `/api/v1/map` tells of its window."""

from __future__ import annotations

from typing import Final

from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations

from cloud.console.pages import View, page_router, render
from cloud.maps import service
from cloud.maps.datum import Datum
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations

LAYERS: Final = ("nodes", "shapes", "devices", "incidents")
"""What is shown and hidden by a box of its own; members are a question that is recorded."""

pages = page_router()


@pages.get("/map")
def map_page(ui: View, state: State) -> Response:
    """The map, at the extent of what the viewer may see."""
    tiles = state.config.map
    with state.db.read() as tx:
        extent = service.extent(tx, ui.who, Datum(tiles.datum))
    words = ui.t.group("map.", "device_state.", "severity.", "kind_of_node.")
    return render(ui, "map.html", tiles=tiles, extent=",".join(map(str, extent or ())), layers=LAYERS, words=words)
