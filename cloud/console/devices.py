"""The device pages: the fleet with live values, and one device with its history, alarms and profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations

from cloud import catalogue
from cloud.alerts import service as alerts
from cloud.alerts.models import AlarmFilter
from cloud.console import fleet, show
from cloud.console.pages import View, page_router, render
from cloud.devices import service
from cloud.devices.firmware import service as firmware
from cloud.devices.models import DeviceState
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import Permission
from cloud.presence.rosters import service as rosters
from cloud.state import now_ms
from firmware_specs.carried import TRACK_METRICS

if TYPE_CHECKING:
    from cloud.console.ui import Ui
    from cloud.devices.models import DeviceView
    from firmware_specs.schema import Profile

PAGE: Final = 50
SHOWN_ALARMS: Final = 10

pages = page_router()


def _categories(ui: Ui) -> list[tuple[str, str]]:
    """The categories of the known profiles, with their words."""
    known = {profile.category for profile in catalogue.profiles().values()} | {"other"}
    return sorted(((name, ui.t.name("category", name)) for name in known), key=lambda pair: pair[1])


@pages.get("/devices")
def device_list(ui: View, state: State) -> Response:
    """The fleet: live values, their age and quality."""
    chosen = {name: ui.query.get(name, "")[:100] for name in ("q", "category", "state", "gateway")}
    cursor = ui.query.get("cursor", "")
    with state.db.read() as tx:
        page = service.list_devices(
            tx, ui.who, now_ms(), gateway=chosen["gateway"] or None, category=chosen["category"] or None,
            state=[each for each in DeviceState if each == chosen["state"]], search=chosen["q"] or None, limit=PAGE,
            cursor=cursor or None,
        )  # fmt: skip
    t = ui.t
    return render(
        ui, "devices.html", rows=[fleet.row(ui, device) for device in page.items],
        chosen={**chosen, "cursor": cursor, "any": bool(ui.query)},
        category_options=[("", t("devices.filter_any")), *_categories(ui)],
        state_options=[("", t("devices.filter_any")), *((s.value, t(f"device_state.{s}")) for s in DeviceState)],
        next=ui.link(cursor=page.next_cursor) if page.next_cursor else "", first=ui.link(cursor=None),
    )  # fmt: skip


def _chartable(ui: Ui, device: DeviceView, profile: Profile | None) -> list[dict[str, object]]:
    """The metrics of the history's choice: figures first, positions last since each look at them is audited."""
    order = ("number", "bool", "text", "position")
    names = list(profile.metrics) if profile else []
    names += [name for name in device.latest if name not in names]
    rows: list[dict[str, object]] = []
    for name in names:
        spec = profile.metrics.get(name) if profile else None
        latest = device.latest.get(name)
        guess = "number"
        if latest and not spec:
            guess = (
                "bool" if isinstance(latest.value, bool) else "number" if isinstance(latest.value, float) else "text"
            )
        marks = fleet.marks(ui, name, spec, latest.unit if latest else "")
        kind = spec.type if spec else guess
        rows.append({"name": name, "title": ui.t.pick(spec.title) if spec else name, "type": kind, "marks": marks})
    return sorted(rows, key=lambda row: (order.index(str(row["type"])), row["name"] == "battery"))


def _reason(ui: Ui, device: DeviceView) -> str:
    """Why a device is not normal, in words: a reason of ours or the kinds of its alarms."""
    names = [part for part in device.reason.replace(",", " ").split() if part]
    return ui.t("clause.join").join(
        ui.t.name("reason", name) if ui.t.name("reason", name) != name else ui.t.name("kind", name) for name in names
    )


@pages.get("/devices/{gateway}/{device_id}")
def device_page(ui: View, state: State, gateway: str, device_id: str) -> Response:
    """One device."""
    device = service.see_device(state.db, ui.who, gateway, device_id, now_ms())
    with state.db.read() as tx:
        query = AlarmFilter(gateway=gateway, device=device_id)
        alarms = alerts.list_alarms(tx, ui.who, query, limit=SHOWN_ALARMS).items
        runs = firmware.get(tx, ui.who, gateway, device_id)
        guarded = not ui.may(Permission.LOCATE) and (gateway, device_id) in rosters.worn(tx, [gateway])
    profile = catalogue.profile(device.profile)
    names = list(profile.metrics) if profile else []
    names += [name for name in device.latest if name not in names]
    hidden = TRACK_METRICS if guarded else frozenset()
    names = [name for name in names if name not in hidden]
    rules = [
        {"severity": rule.severity.value, "title": ui.t.pick(rule.title), "text": show.rule(ui.t, profile, rule)}
        for rule in (profile.alarms if profile else ())
        if profile
    ]
    return render(
        ui, "device.html", device=device, title=fleet.title(ui, device) or device.id, profile=profile, rules=rules,
        reason=_reason(ui, device), slots=[fleet.slot(ui, device, name, profile) for name in names],
        metrics=[each for each in _chartable(ui, device, profile) if each["name"] not in hidden], alarms=alarms,
        runs=runs,
    )  # fmt: skip
