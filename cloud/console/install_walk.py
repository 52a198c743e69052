"""The pages of a walk test under way, and asking again for a sheet's signature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Form
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations
from pydantic import Field

from cloud.console.forms import Id, checked
from cloud.console.install import LOOKS, Gateway, Keyed, Technician, fresh_key
from cloud.console.pages import back_to, page_router, render
from cloud.devices.field import service
from cloud.devices.field.models import MarkBody, WalkDetail, WalkView
from cloud.devices.field.rules import Mark
from cloud.errors import NotFound
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.state import now_ms

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.console.ui import Ui

pages = page_router()


class MarkForm(Keyed):
    """A result by hand."""

    device: str = Field("", max_length=64)
    mark: str = Field("", max_length=16)
    note: str = Field("", max_length=500)


def _walk_of(tx: Connection, ui: Ui, gateway: str, walk_id: int) -> WalkDetail:
    """Raises NotFound for what is not this gateway's, too."""
    walk = service.get_walk(tx, ui.who, walk_id)
    if walk.gateway != gateway:
        raise NotFound(f"walk test {walk_id}: not found")
    return walk


@pages.get("/install/{gateway}/walks/{walk_id}")
def walk_page(ui: Technician, state: State, gateway: Gateway, walk_id: Id) -> Response:
    """A walk test: what waits, what is ticked off, with what latency."""
    with state.db.read() as tx:
        walk = _walk_of(tx, ui, gateway, walk_id)
    return render(
        ui, "install_walk.html", walk=walk, looks=LOOKS, key=fresh_key,
        marks=[(each.value, ui.t(f"install.marks.{each}")) for each in (Mark.FAILED, Mark.UNREACHABLE, Mark.PASSED)],
    )  # fmt: skip


@pages.post("/install/{gateway}/walks/{walk_id}/end")
def end_walk(
    ui: Technician, state: State, gateway: Gateway, walk_id: Id
) -> Response:  # fmt: skip
    """End it now."""
    with state.db.begin() as tx:
        _walk_of(tx, ui, gateway, walk_id)
        service.end_walk(tx, ui.who, walk_id, now_ms())
    return back_to(f"/install/{gateway}/walks/{walk_id}")


@pages.post("/install/{gateway}/walks/{walk_id}/marks")
def mark(
    ui: Technician, state: State, gateway: Gateway, walk_id: Id,
    form: Annotated[MarkForm, Form()],
) -> Response:  # fmt: skip
    """A result by hand."""
    given, now = checked(MarkBody, mark=form.mark, note=form.note), now_ms()
    with state.db.begin() as tx:
        _walk_of(tx, ui, gateway, walk_id)
        service.once(
            tx, ui.who, "mark", form.key, now, WalkView,
            lambda: service.mark_device(tx, ui.who, walk_id, form.device, given, now),
        )  # fmt: skip
    return back_to(f"/install/{gateway}/walks/{walk_id}")


@pages.post("/install/{gateway}/sheets/{sheet_id}/sign")
def sign(
    ui: Technician, state: State, gateway: Gateway, sheet_id: Id
) -> Response:  # fmt: skip
    """Ask the gateway again."""
    with state.db.begin() as tx:
        if service.get_sheet(tx, ui.who, sheet_id).gateway != gateway:
            raise NotFound(f"acceptance sheet {sheet_id}: not found")
        service.sign_sheet(tx, ui.who, sheet_id, now_ms())
    return back_to(f"/install/{gateway}#sheets")
