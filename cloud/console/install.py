"""The technician's pages: gateways that are being installed, and one of them from its claim to its devices.

Everything is made for a phone on a flaky line: what is typed stays in the browser until the server has answered, and
each form carries a key by which it is done once however often it comes (`static/js/install.js`).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Form, Path
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations
from markupsafe import Markup
from pydantic import Field

from cloud.alerts.ops_models import SilenceView
from cloud.catalogue import profiles
from cloud.console import choose
from cloud.console.forms import Sent, checked, point
from cloud.console.pages import back_to, needing, page_router, render
from cloud.console.ui import Ui
from cloud.devices import service as fleet
from cloud.devices.configs import service as configs
from cloud.devices.configs.rules import Phase
from cloud.devices.enrolment import service as enrolment
from cloud.devices.enrolment.models import IssuedClaim, NewClaim
from cloud.devices.field import service
from cloud.devices.field.models import (
    AdoptedView,
    Adoption,
    MaintenanceBody,
    NewSheet,
    NewWalk,
    Replacement,
    SheetView,
    WalkDetail,
)
from cloud.errors import Invalid, NotFound
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import Permission
from cloud.state import now_ms
from firmware_specs.readings import NAME_PATTERN

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.devices.field.models import DiscoveredView
    from cloud.devices.models import GatewayView
    from cloud.state import AppState

PAGE: Final = 50
MINUTES: Final = (15, 30, 60, 120, 240)
LOOKS: Final = {
    "done": "normal", "underway": "acknowledged", "warn": "warning", "failed": "alarm", "open": "unknown",
    "ok": "normal", "fail": "alarm", "signed": "normal", "signing": "acknowledged", "unsigned": "warning",
    "passed": "normal", "waiting": "unknown", "unreachable": "warning",
}  # fmt: skip
"""How a state's pill is coloured."""

pages = page_router()


Technician = Annotated[Ui, needing(Permission.PROVISION)]
Gateway = Annotated[str, Path(pattern=NAME_PATTERN, max_length=64)]
SilenceId = Annotated[int, Path(ge=1, lt=2**63)]


class Keyed(Sent):
    """What the forms here carry. key: the same form sent again is done once."""

    key: str = Field("", max_length=64, pattern=r"^([A-Za-z0-9_-]{8,64})?$")


class ClaimForm(Keyed):
    """A claim code for a gateway."""

    node: str = Field("", max_length=255)
    gateway: str = Field("", max_length=64)
    location: str = Field("", max_length=256)


class AdoptForm(Keyed):
    """Make a device of an address."""

    connector: str = Field("", max_length=64)
    address: str = Field("", max_length=512)
    profile: str = Field("", max_length=64)
    device: str = Field("", max_length=64)
    location: str = Field("", max_length=256)
    node: str = Field("", max_length=255)
    point: str = Field("", max_length=100)


class ReplaceForm(Keyed):
    """Other hardware for a device, or with an empty one for the gateway itself."""

    device: str = Field("", max_length=64)
    address: str = Field("", max_length=512)
    note: str = Field("", max_length=500)


class MaintenanceForm(Keyed):
    """Maintenance that ends by itself."""

    device: str = Field("", max_length=64)
    minutes: int = Field(60)
    reason: str = Field("", max_length=200)


class WalkForm(Keyed):
    """A walk test."""

    part: str = Field("", max_length=256)
    minutes: int = Field(60)


class SheetForm(Keyed):
    """An acceptance sheet."""

    note: str = Field("", max_length=500)


def fresh_key() -> str:
    """By which a form that is sent twice is known."""
    return secrets.token_urlsafe(12)


# ---- the list


@pages.get("/install")
def install_list(ui: Technician, state: State) -> Response:
    """Gateways, those that were never heard first; and a claim for a new one."""
    label = ui.query.get("label", "").strip()
    with state.db.read() as tx:
        if label:
            return back_to(f"/install/{_by_label(tx, ui, label)}")
        cursor = ui.query.get("cursor") or None
        new = [] if cursor else fleet.list_gateways(tx, ui.who, heard=False, limit=PAGE).items
        page = fleet.list_gateways(tx, ui.who, heard=True, limit=PAGE, cursor=cursor)
        nodes = choose.nodes(tx, ui, choose.PLACES)
    return render(
        ui, "install.html", gateways=[*new, *page.items], nodes=nodes, issued=None, key=fresh_key(), next=ui.link(
            cursor=page.next_cursor), more=page.next_cursor, first=ui.link(cursor=None),
    )  # fmt: skip


def _by_label(tx: Connection, ui: Ui, label: str) -> str:
    """The gateway that a label names: its id, alone or as the last part of an address. Raises NotFound, Invalid."""
    if label.startswith("patrolgrid:claim"):
        raise Invalid(ui.t("install.label_is_claim"))
    name = label.rstrip("/").rpartition("/")[2].rpartition("=")[2]
    return fleet.get_gateway(tx, ui.who, name).id


@pages.post("/install")
def issue(ui: Technician, state: State, form: Annotated[ClaimForm, Form()]) -> Response:
    """Issue a claim, and show its code this once."""
    name, node, location = form.gateway.strip(), form.node, form.location
    if name:
        with state.db.read() as tx:
            home = _known(tx, ui, name)
        if home:  # it comes again: where it belongs is not asked anew
            node, location = home.node, location or home.location
    given = checked(NewClaim, node=node, gateway=name, location=location)
    return _issued(ui, state, given)


def _known(tx: Connection, ui: Ui, gateway: str) -> GatewayView | None:
    try:
        return fleet.get_gateway(tx, ui.who, gateway)
    except NotFound:
        return None


def _issued(ui: Ui, state: AppState, given: NewClaim, note: str | None = None) -> Response:
    now = now_ms()
    with state.db.begin() as tx:
        made: IssuedClaim = enrolment.issue_claim(tx, ui.who, given, now)
        if note is not None and given.gateway is not None:
            service.note_gateway(tx, ui.who, given.gateway, note, now)
    picture = Markup(made.qr)  # noqa: S704 - drawn by us from the code
    return render(ui, "install_claim.html", issued=made, picture=picture)


# ---- one gateway


def _connectors(up: dict[str, str], strangers: list[DiscoveredView]) -> list[tuple[str, str]]:
    """The connectors of a gateway, as far as they are known."""
    return [(name, name) for name in sorted({*up, *(each.connector for each in strangers)})]


def _suggested(strangers: list[DiscoveredView], ui: Ui) -> DiscoveredView | None:
    wanted = (ui.query.get("connector", ""), ui.query.get("address", ""))
    return next((each for each in strangers if (each.connector, each.address) == wanted), None)


@pages.get("/install/{gateway}")
def gateway_page(ui: Technician, state: State, gateway: Gateway) -> Response:
    """How far the installation of a gateway is, and what is next."""
    now = now_ms()
    with state.db.read() as tx:
        home = fleet.get_gateway(tx, ui.who, gateway)
        view = service.installation(tx, ui.who, gateway, now)
        strangers = service.list_discovered(tx, ui.who, gateway)
        progress = service.progress(tx, ui.who, gateway)
        history = service.history(tx, ui.who, gateway)
        devices = fleet.served(tx, ui.who, gateway, now)
        walk = service.last_walk(tx, ui.who, gateway)
        maintained = service.maintained(tx, ui.who, gateway, now)
        sheets = service.list_sheets(tx, ui.who, gateway).items
        nodes = choose.nodes(tx, ui, choose.PLACES)
        local = configs.state(tx, gateway).phase == Phase.LOCAL
    t = ui.t
    names = {name: (profile.title.zh if t.code == "zh" else profile.title.en) for name, profile in profiles().items()}
    return render(
        ui, "install_gateway.html", gateway=home, view=view, strangers=strangers, progress=progress, history=history,
        devices=devices, walk=walk, maintained=maintained, sheets=sheets, looks=LOOKS,
        profiles=sorted((name, title) for name, title in names.items() if name != "patrolgrid-gateway"),
        chosen=_suggested(strangers, ui), local=local, key=fresh_key,
        connectors=_connectors(home.connectors, strangers), nodes=[("", t("install.node_own")), *nodes],
        minutes=[(str(each), t("install.minutes", n=each)) for each in MINUTES],
    )  # fmt: skip


@pages.post("/install/{gateway}/check")
def check(ui: Technician, state: State, gateway: Gateway) -> Response:
    """Have the gateway check itself."""
    with state.db.begin() as tx:
        service.check(tx, ui.who, gateway, now_ms())
    return back_to(f"/install/{gateway}")


@pages.post("/install/{gateway}/adopt")
def adopt(
    ui: Technician, state: State, gateway: Gateway, form: Annotated[AdoptForm, Form()]
) -> Response:  # fmt: skip
    """Make a device of an address."""
    lat, lon = point(form.point, ui.t("install.point_wrong"))
    given = checked(
        Adoption, device=form.device.strip(), profile=form.profile, connector=form.connector, address=form.address,
        location=form.location, node=form.node, lat=lat, lon=lon,
    )  # fmt: skip
    now = now_ms()
    with state.db.begin() as tx:
        service.once(
            tx, ui.who, "adopt", form.key, now, AdoptedView, lambda: service.adopt(tx, ui.who, gateway, given, now)
        )
    return back_to(f"/install/{gateway}")


@pages.post("/install/{gateway}/replace")
def replace(
    ui: Technician, state: State, gateway: Gateway, form: Annotated[ReplaceForm, Form()]
) -> Response:  # fmt: skip
    """Put other hardware in a device's place; for the gateway itself a claim of the same id is shown."""
    if not form.device:
        with state.db.read() as tx:
            home = fleet.get_gateway(tx, ui.who, gateway)
        return _issued(ui, state, NewClaim(node=home.node, gateway=gateway, location=home.location), form.note)
    given = checked(Replacement, address=form.address, note=form.note)
    now = now_ms()
    with state.db.begin() as tx:
        service.once(
            tx, ui.who, "replace", form.key, now, AdoptedView,
            lambda: service.replace(tx, ui.who, gateway, form.device, given, now),
        )  # fmt: skip
    return back_to(f"/install/{gateway}")


@pages.post("/install/{gateway}/maintenance")
def maintain(
    ui: Technician, state: State, gateway: Gateway, form: Annotated[MaintenanceForm, Form()]
) -> Response:  # fmt: skip
    """Maintenance of the gateway or of one of its devices."""
    given = checked(
        MaintenanceBody, gateway=gateway, device=form.device, minutes=form.minutes, reason=form.reason.strip()
    )
    now = now_ms()
    with state.db.begin() as tx:
        service.once(
            tx, ui.who, "maintain", form.key, now, SilenceView, lambda: service.maintain(tx, ui.who, given, now)
        )
    return back_to(f"/install/{gateway}")


@pages.post("/install/{gateway}/maintenance/{silence_id}/end")
def end_maintenance(ui: Technician, state: State, gateway: Gateway, silence_id: SilenceId) -> Response:
    """End it now."""
    with state.db.begin() as tx:
        service.end_maintenance(tx, ui.who, gateway, silence_id, now_ms())
    return back_to(f"/install/{gateway}")


# ---- walk tests and sheets begin here, and go on in `install_walk`


@pages.post("/install/{gateway}/walks")
def start_walk(
    ui: Technician, state: State, gateway: Gateway, form: Annotated[WalkForm, Form()]
) -> Response:  # fmt: skip
    """Begin a walk test, and show it."""
    given = checked(NewWalk, gateway=gateway, part=form.part.strip(), minutes=form.minutes)
    now = now_ms()
    with state.db.begin() as tx:
        made = service.once(
            tx, ui.who, "walk", form.key, now, WalkDetail, lambda: service.start_walk(tx, ui.who, given, now)
        )
    return back_to(f"/install/{gateway}/walks/{made.id}")


@pages.post("/install/{gateway}/sheets")
def make_sheet(
    ui: Technician, state: State, gateway: Gateway, form: Annotated[SheetForm, Form()]
) -> Response:  # fmt: skip
    """Make an acceptance sheet."""
    given, now = checked(NewSheet, gateway=gateway, note=form.note), now_ms()
    with state.db.begin() as tx:
        service.once(
            tx, ui.who, "sheet", form.key, now, SheetView,
            lambda: service.make_sheet(tx, ui.who, given, now, state.config.time_zone),
        )  # fmt: skip
    return back_to(f"/install/{gateway}#sheets")
