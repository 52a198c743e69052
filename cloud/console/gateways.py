"""The gateway pages: who is online, what waits in each outbox, and the ledger that accounts for every reading."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations

from cloud.alerts import service as alerts
from cloud.alerts.models import AlarmFilter
from cloud.console.configs import PILLS
from cloud.console.pages import View, page_router, render
from cloud.devices import service
from cloud.devices.configs import service as configs
from cloud.ingest import service as ingest
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.state import now_ms

PAGE: Final = 50
SHOWN_DAYS: Final = 14
SHOWN_ALARMS: Final = 5

pages = page_router()


@pages.get("/gateways")
def gateway_list(ui: View, state: State) -> Response:
    """Every gateway: line, outbox, ledger."""
    with state.db.read() as tx:
        page = service.list_gateways(tx, ui.who, limit=PAGE, cursor=ui.query.get("cursor") or None)
    following = ui.link(cursor=page.next_cursor) if page.next_cursor else ""
    return render(ui, "gateways.html", page=page, next=following)


@pages.get("/gateways/{gateway_id}")
def gateway_page(ui: View, state: State, gateway_id: str) -> Response:
    """One gateway: lanes, ledger by day, connectors, versions."""
    with state.db.read() as tx:
        gateway = service.get_gateway(tx, ui.who, gateway_id)
        standing = configs.state(tx, gateway_id, now_ms())
        days = ingest.ledger_days(tx, gateway_id, SHOWN_DAYS)
        listed = alerts.list_alarms(tx, ui.who, AlarmFilter(gateway=gateway_id, folded=False), limit=100).items
    own = [alarm for alarm in listed if alarm.device is None][:SHOWN_ALARMS]
    lanes = sorted(gateway.outbox.items())
    ledger = [
        {"day": f"{datetime.fromtimestamp(day.begins_ms / 1000, UTC):%Y-%m-%d} UTC", **day.tally._asdict()}
        for day in days
    ]
    return render(
        ui, "gateway.html", gateway=gateway, lanes=lanes, days=ledger, alarms=own, standing=standing, pills=PILLS
    )
