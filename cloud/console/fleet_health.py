"""The pages of the fleet's health: by node with the worst first, and one gateway with every measure and its ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations

from cloud.console import choose, show
from cloud.console.pages import View, page_router, render
from cloud.devices.health import service
from cloud.devices.health.rules import State as Health
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.state import now_ms

if TYPE_CHECKING:
    from cloud.console.ui import Ui
    from cloud.devices.health.models import GatewayLedger, MeasureView

PAGE: Final = 50
CALENDAR_DAYS: Final = 35
LOOKS: Final = {
    Health.GOOD: "normal", Health.WATCH: "minor", Health.BAD: "alarm", Health.UNKNOWN: "unknown",
}  # fmt: skip
"""How a state's pill is coloured."""

pages = page_router()


def figure(ui: Ui, measure: MeasureView) -> str:
    """A measure's value as people read it; empty when it has none."""
    value = measure.value
    if value is None:
        return ""
    if measure.unit == "share":
        return f"{100 * value:.1f} %"
    if measure.unit == "count":
        text = ui.count(round(value))
        return f"{text} / {round(measure.of)}" if measure.of is not None and measure.measure != "restarts" else text
    if measure.unit == "s":
        return ui.span(value) if value else "0"
    if measure.unit == "d":
        return ui.t("fleet_health.days", n=round(value))
    return f"{show.number(value, 1)} {show.unit(measure.unit)}".strip()


def calendar(ledger: GatewayLedger, today: datetime) -> list[dict[str, Any]]:
    """The last five weeks by day, the oldest first; a day without an entry stays empty."""
    by_day = {day.day: day for day in ledger.days}
    found = []
    for back in range(CALENDAR_DAYS - 1, -1, -1):
        day = (today - timedelta(days=back)).date()
        entry = by_day.get(day)
        look = "none" if entry is None else "lost" if entry.lost > 0 else "thinned" if entry.thinned else "whole"
        found.append({"day": day, "entry": entry, "look": look})
    return found


@pages.get("/fleet")
def fleet(ui: View, state: State) -> Response:
    """How many gateways are how, by node; and the gateways, the worst first."""
    node = ui.query.get("node", "") or ui.who.node
    wanted = ui.query.get("state", "")
    health = Health(wanted) if wanted in set(Health) else None
    with state.db.read() as tx:
        whole, *below = service.by_node(tx, ui.who, node)
        page = service.list_health(
            tx, ui.who, below=node, state=health, limit=PAGE, cursor=ui.query.get("cursor") or None
        )
        nodes = choose.nodes(tx, ui, choose.LARGE)
    if node not in dict(nodes):
        nodes = [(node, ui.called(whole.name_zh, whole.name_en) or node), *nodes]
    states = [(each.value, ui.t(f"fleet_health.states.{each}")) for each in Health]
    return render(
        ui, "fleet_health.html", whole=whole, below=[each for each in below if each.node != node], page=page,
        looks=LOOKS, order=tuple(Health), node=node, chosen=wanted,
        nodes=nodes, state_options=[("", ui.t("fleet_health.any")), *states],
        next=ui.link(cursor=page.next_cursor) if page.next_cursor else "",
    )  # fmt: skip


@pages.get("/fleet/{gateway_id}")
def gateway_health(ui: View, state: State, gateway_id: str) -> Response:
    """One gateway: every measure with its age and reason, starts, what was written, and its ledger."""
    now = now_ms()
    with state.db.read() as tx:
        view = service.of_gateway(tx, ui.who, gateway_id, now)
        ledger = service.ledger(tx, ui.who, gateway_id, CALENDAR_DAYS)
    return render(
        ui, "fleet_gateway.html", view=view, looks=LOOKS, figure=figure, ledger=ledger,
        calendar=calendar(ledger, datetime.fromtimestamp(now / 1000, UTC)),
    )  # fmt: skip
