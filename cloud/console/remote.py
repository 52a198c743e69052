"""The page of remote help for a gateway: ask, and see the answer come in. Everything on it is put on record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Form
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations
from pydantic import BaseModel, Field

from cloud.console.pages import View, back_to, page_router, render
from cloud.devices import service as devices
from cloud.devices.remote import service
from cloud.devices.remote.rules import OVER, Phase
from cloud.errors import Invalid, NotFound
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import Permission
from cloud.state import now_ms

if TYPE_CHECKING:
    from cloud.devices.remote.models import CommandView

SHOWN: Final = 12
LINES: Final = 300
"""Of a log; the page shows its end."""
FOLLOW_S: Final = 600
LOOKS: Final = {
    Phase.WAITING: "unknown", Phase.RUNNING: "warning", Phase.DONE: "normal", Phase.FAILED: "alarm",
    Phase.REFUSED: "fault", Phase.EXPIRED: "offline",
}  # fmt: skip
CHECK_LOOKS: Final = {"ok": "normal", "warn": "minor", "fail": "alarm"}

pages = page_router()


class HelpForm(BaseModel):
    """A button of the page."""

    kind: str = Field("", max_length=64)
    name: str = Field("", max_length=64)
    """The connector to restart, or the command to stop."""


def _checks(view: CommandView) -> list[dict[str, Any]]:
    """The findings of a check; a part that is none is left out."""
    found = []
    for part in view.parts:
        try:
            each = json.loads(part)
        except ValueError:
            continue
        if isinstance(each, dict) and {"what", "state", "detail"} <= each.keys():
            found.append(each)
    return found


@pages.get("/gateways/{gateway_id}/help")
def help_page(ui: View, state: State, gateway_id: str) -> Response:
    """What may be asked, what was asked lately, and the answer of one of them."""
    ui.need(Permission.PROVISION)
    wanted = ui.query.get("command", "")
    with state.db.read() as tx:
        gateway = devices.get_gateway(tx, ui.who, gateway_id)
        listed = service.list_commands(tx, ui.who, gateway_id, limit=SHOWN).items
        command = None
        if wanted or listed:
            chosen = wanted or listed[0].id
            command = service.get(tx, ui.who, chosen, -LINES)
            if command.gateway != gateway_id:
                raise NotFound(f"command {chosen}: not found")
    lines = "".join(command.parts).splitlines()[-LINES:] if command else []
    return render(
        ui, "remote.html", gateway=gateway, commands=listed, command=command, lines=lines, looks=LOOKS, over=OVER,
        checks=_checks(command) if command and command.kind == "check" else [], check_looks=CHECK_LOOKS,
        mine=command is not None and (command.asked_by == ui.who.label or ui.may(Permission.ADMINISTER)),
    )  # fmt: skip


@pages.post("/gateways/{gateway_id}/help")
def ask(ui: View, state: State, gateway_id: str, form: Annotated[HelpForm, Form()]) -> Response:
    """Ask it, and show its answer."""
    arguments = {
        "log-tail": {"follow_s": str(FOLLOW_S)}, "restart-connector": {"name": form.name}, "stop": {"id": form.name},
    }.get(form.kind, {})  # fmt: skip
    if why := service.fault(form.kind, arguments):
        raise Invalid(why)
    with state.db.begin() as tx:
        asked = service.send(tx, ui.who, gateway_id, form.kind, arguments, now_ms())
    return back_to(f"/gateways/{gateway_id}/help?command={form.name if form.kind == 'stop' else asked.id}")
