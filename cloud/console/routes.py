"""The console's routes: the overview, its assets, and the pages of the other modules of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.routing import Mount

from cloud.alerts import service as alerts
from cloud.alerts.models import AlarmFilter, AlarmState, AlarmView
from cloud.console import (
    alarms,
    audit,
    campaigns,
    channels,
    claims,
    config_changes,
    configs,
    devices,
    drills,
    fleet,
    fleet_health,
    gateways,
    hazards,
    incident_show,
    incidents,
    install,
    install_walk,
    levels,
    maps,
    operations,
    organisation,
    presence,
    releases,
    remote,
    reviews,
    rosters,
    sign_in,
    silences,
)
from cloud.console.pages import STATIC, View, assets_version, page_router, render
from cloud.console.ui import Ui, bar
from cloud.devices import service as fleet_service
from cloud.devices.models import DeviceState
from cloud.org import auth
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.paging import MAX_LIMIT
from cloud.state import now_ms
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from starlette.types import Scope

    from cloud.devices.models import GatewayView, StateCounts
    from cloud.state import AppState

SHOWN_ALARMS: Final = 12
SHOWN_RECENT: Final = 6
SHOWN_GATEWAYS: Final = 6
SEVERITIES: Final = [severity.value for severity in Severity]
DEVICE_STATES: Final = [state.value for state in DeviceState]
_ASSET_AGE_S: Final = 31_536_000
_PARTS: Final = (
    sign_in, alarms, devices, gateways, organisation, maps, presence, rosters, incidents, levels, drills, reviews,
    hazards, silences, channels, audit, install, install_walk, claims, configs, config_changes, campaigns, releases,
    fleet_health, remote,
)  # fmt: skip

pages = page_router()


class Assets(StaticFiles):
    """`/static/<version>/<file>`: what has the present version never changes and is kept for good."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file behind the version."""
        version, _, name = path.replace("\\", "/").partition("/")
        response = await super().get_response(name, scope)
        if version == assets_version():
            response.headers["Cache-Control"] = f"public, max-age={_ASSET_AGE_S}, immutable"
        return response


def outages(tx: Connection, ui: Ui, states: StateCounts) -> list[GatewayView]:
    """The gateways that are offline and whose devices are unreachable by that."""
    found: list[GatewayView] = []
    left, cursor = states.gateways_offline, None
    while left > 0:
        page = fleet_service.list_gateways(tx, ui.who, limit=MAX_LIMIT, cursor=cursor)
        offline = [gateway for gateway in page.items if not gateway.online]
        found += [gateway for gateway in offline if gateway.devices_unknown]
        left, cursor = left - len(offline), page.next_cursor
        if cursor is None:
            break
    return found


def hero(ui: Ui, listed: list[AlarmView], states: StateCounts, incidents_open: int = 0) -> dict[str, str]:
    """The one sentence on top: how things stand, in words, colour and picture. Unknown is never calm."""
    counts = ui.counts
    waiting = [alarm for alarm in listed if alarm.state is AlarmState.OPEN]
    if counts.open:
        critical = sum(alarm.severity is Severity.CRITICAL for alarm in waiting)
        oldest = min((alarm.raised_at for alarm in waiting), default=ui.now)
        detail = ui.t("overview.attention_detail", n=counts.open, age=ui.ago(oldest))
        if critical:
            return {
                "mood": "critical",
                "icon": "alert",
                "headline": ui.t("overview.critical", n=critical),
                "detail": detail,
            }
        return {
            "mood": "attention",
            "icon": "alarms",
            "headline": ui.t("overview.attention", n=counts.open),
            "detail": detail,
        }
    unseen = states.devices.get(DeviceState.UNKNOWN, 0) + states.devices.get(DeviceState.OFFLINE, 0)
    if unseen:
        headline, detail = ui.t("overview.partial", n=unseen), ui.t("overview.partial_detail")
        return {"mood": "partial", "icon": "question", "headline": headline, "detail": detail}
    online = ui.t("overview.calm_detail", devices=sum(states.devices.values()), gateways=states.gateways_online)
    if counts.acknowledged or incidents_open:
        headline = (
            ui.t("overview.handled", n=counts.acknowledged)
            if counts.acknowledged
            else ui.t("overview.handled_incidents", n=incidents_open)
        )
        return {"mood": "handled", "icon": "hand", "headline": headline, "detail": ""}
    return {"mood": "calm", "icon": "check", "headline": ui.t("overview.calm"), "detail": online}


@pages.get("/")
def overview(ui: View, state: State) -> Response:
    """How things stand now."""
    active = AlarmFilter(state=(AlarmState.OPEN, AlarmState.ACKNOWLEDGED), folded=False)
    with state.db.read() as tx:
        listed = alarms.by_urgency(list(alerts.list_alarms(tx, ui.who, active, limit=200).items))
        over = AlarmFilter(state=(AlarmState.CLEARED,), folded=False)
        recent = alerts.list_alarms(tx, ui.who, over, limit=SHOWN_RECENT).items
        states = fleet_service.state_counts(tx, ui.who)
        kinds = fleet.kinds(states)
        unreachable = outages(tx, ui, states)
        lines = fleet_service.list_gateways(tx, ui.who, limit=SHOWN_GATEWAYS).items
        goes_on = operations.operations(tx, ui, now_ms())
    return render(
        ui, "overview.html",
        hero=hero(ui, listed, states, goes_on.total), ops=goes_on, show=incident_show, alarms=listed[:SHOWN_ALARMS],
        recent=recent,
        more=ui.counts.open + ui.counts.acknowledged - min(len(listed), SHOWN_ALARMS),
        states=states, device_total=sum(states.devices.values()), severities=SEVERITIES, device_states=DEVICE_STATES,
        device_bar=bar((name.value, count) for name, count in states.devices.items()), kinds=kinds, gateways=lines,
        outages=unreachable,
    )  # fmt: skip


@pages.get("/more")
def more(ui: View) -> Response:
    """The rest of the menu, for a phone."""
    return render(ui, "more.html")


@pages.get("/session")
def session(request: Request) -> Response:
    """204 while signed in, else 401: what a page asks when its stream was refused."""
    return Response(status_code=204 if auth.identify(request) else 401)


@pages.get("/favicon.ico")
def favicon() -> Response:
    """Browsers ask for it whatever the page says."""
    icon = (STATIC / "favicon.svg").read_bytes()
    return Response(icon, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})


def router(_state: AppState) -> APIRouter:
    """Everything of the console, for `cloud.app` to include."""
    whole = APIRouter(include_in_schema=False)
    whole.include_router(pages)
    for part in _PARTS:
        whole.include_router(part.pages)
    whole.routes.append(Mount("/static", Assets(directory=STATIC), name="static"))
    return whole
