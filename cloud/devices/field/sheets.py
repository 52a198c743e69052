"""Acceptance sheets: what a gateway and its devices were like when they were handed over, signed by the gateway.

Owns `acceptance_sheets` and their timer. The data of a sheet never changes. Its signature is asked for by a remote
command and looked for until it came or the command is over; a gateway without a key leaves the sheet unsigned, and the
sheet says so. It may be asked again, for the same data.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from cloud import timers
from cloud.devices import service as devices
from cloud.devices.enrolment import service as enrolment
from cloud.devices.field import adoption, rules, signing, walks
from cloud.devices.field.adoption import may_provision
from cloud.devices.field.models import SheetView
from cloud.devices.field.news import tell
from cloud.devices.field.rules import Mark
from cloud.devices.field.store import sheets
from cloud.devices.remote import service as remote
from cloud.devices.remote.rules import OVER, Phase
from cloud.errors import Conflict, Forbidden, NotFound, TooManyTries
from cloud.org import audit, tree
from cloud.org.rules import SYSTEM, Principal, scope
from cloud.paging import MAX_LIMIT, Page, at, at_or_none, decode_cursor, encode_cursor, to_ms
from cloud.text import clean

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from cloud.devices.enrolment.models import CertificateView
    from cloud.devices.field.models import NewSheet, WalkDetail
    from cloud.devices.models import GatewayView
    from cloud.timers import Timer

TIMER: Final = "sheet-sign"
LOOK_MS: Final = 1_000
TTL_S: Final = 90
FORMAT: Final = "patrolgrid-acceptance/1"
NO_ANSWER: Final = "the gateway did not answer in time"


def make(tx: Connection, actor: Principal, given: NewSheet, now_ms: int, zone: str) -> SheetView:
    """Make a sheet and ask for its signature. Raises Forbidden, NotFound, Conflict while the walk test is under way."""
    may_provision(actor)
    home = devices.get_gateway(tx, actor, given.gateway)
    number = given.walk if given.walk is not None else walks.last_of(tx, actor, given.gateway)
    walk = walks.get(tx, actor, number) if number is not None else None
    if walk is not None and walk.gateway != given.gateway:
        raise NotFound(f"walk test {walk.id}: is not of gateway {given.gateway}")
    if walk is not None and walk.active:
        raise Conflict(f"walk test {walk.id}: is under way; end it first")
    data = rules.canonical(_data(tx, actor, home, walk, clean(given.note, 500), now_ms, zone))
    row: dict[str, Any] = {
        "node": home.node, "gateway": home.id, "walk": number, "made_at": now_ms, "made_by": actor.label, "zone": zone,
        "data": data.decode(), "digest": hashlib.sha256(data).hexdigest(), "state": "unsigned", "reason": "",
        "command": None,
    }  # fmt: skip
    made = int(tx.execute(sheets.insert().values(row).returning(sheets.c.id)).scalar_one())
    audit.record(tx, actor, "sheet.make", f"sheet/{made}", at=now_ms, detail=f"{home.id} sha256:{row['digest']}")
    _ask(tx, actor, _row(tx, actor, made), now_ms)
    return get(tx, actor, made)


def _data(  # noqa: PLR0917 - what the sheet is of, by whom, when
    tx: Connection, actor: Principal, home: GatewayView, walk: WalkDetail | None, note: str, now_ms: int, zone: str
) -> dict[str, Any]:  # fmt: skip
    tested = {each.device: each for each in walk.devices} if walk else {}
    installed = adoption.installed(tx, home.id)
    lines = []
    for device in devices.served(tx, actor, home.id, now_ms):
        result = tested.get(device.id)
        if result and result.marked_at and to_ms(result.marked_at) < installed.get(device.id, 0):
            result = None  # that was other hardware
        lines.append({
            "id": device.id, "profile": device.profile, "location": device.location, "connector": device.connector,
            "address": device.address, "mark": result.mark.value if result else Mark.WAITING.value,
            "what": result.what if result else "", "by_hand": result.marked_by or "" if result else "",
            "at": _time(result.marked_at, zone) if result else "", "note": result.note if result else "",
            "latency_ms": result.latency_ms if result else None, "shown_ms": result.shown_ms if result else None,
            "signal": result.signal if result else None, "battery": result.battery if result else None,
        })  # fmt: skip
    lines.sort(key=lambda each: (str(each["location"]), str(each["id"])))
    zh, en = tree.names(tx, [home.node]).get(home.node, (home.node, home.node))
    count = rules.tally([Mark(str(each["mark"])) for each in lines])
    return {
        "format": FORMAT, "gateway": home.id, "location": home.location,
        "site": {"path": home.node, "zh": zh, "en": en},
        "made_at": _time(at(now_ms), zone), "zone": zone, "technician": actor.label,
        "agent_version": home.agent_version, "config": {"version": home.config_version, "hash": home.config_hash},
        "certificates": [
            {"serial": each.serial, "not_after": _time(each.not_after, zone)}
            for each in in_force(tx, home.id, now_ms)
        ],
        "walk": None if walk is None else {
            "id": walk.id, "started_at": _time(walk.started_at, zone), "ended_at": _time(walk.ended_at, zone),
            "started_by": walk.started_by, "part": walk.part, "storm": walk.storm,
        },
        "tally": count._asdict(), "complete": count.complete, "devices": lines,
        "missing": [each["id"] for each in lines if each["mark"] != Mark.PASSED.value], "note": note,
    }  # fmt: skip


def in_force(tx: Connection, gateway: str, now_ms: int) -> list[CertificateView]:
    """The certificates of a gateway that are good now, the newest first."""
    return [each for each in enrolment.certificates(tx, gateway, now_ms) if each.in_force]


def _time(time: Any, zone: str) -> str:  # noqa: ANN401 - a time or none
    return time.astimezone(ZoneInfo(zone)).isoformat(timespec="seconds") if time else ""


# ---- the signature


def sign(tx: Connection, actor: Principal, sheet: int, now_ms: int) -> SheetView:
    """Ask again for the signature of an unsigned sheet. Raises Forbidden, NotFound, Conflict when it has one."""
    may_provision(actor)
    row = _row(tx, actor, sheet, lock=True)
    if row.state == "signed":
        raise Conflict(f"acceptance sheet {sheet}: is signed already")
    if row.state == "unsigned":
        _ask(tx, actor, row, now_ms)
    return get(tx, actor, sheet)


def _ask(tx: Connection, actor: Principal, row: Row[Any], now_ms: int) -> None:
    arguments = {"sheet": str(row.id), "sha256": row.digest}
    try:
        command = remote.send(tx, actor, row.gateway, "sign", arguments, now_ms, TTL_S).id
    except TooManyTries as e:
        _settle(tx, row, now_ms, "unsigned", str(e))
        return
    values = {"state": "signing", "reason": "", "command": command}
    tx.execute(sheets.update().where(sheets.c.id == row.id).values(values))
    timers.set_timer(tx, TIMER, str(row.id), now_ms + LOOK_MS, {"until": now_ms + TTL_S * 1000 + 30_000})
    tell(tx, row.gateway, row.node, "sheet", now_ms)


def _look(tx: Connection, timer: Timer, now_ms: int) -> None:
    """Look whether the gateway has answered."""
    row = tx.execute(sa.select(sheets).where(sheets.c.id == int(timer.key)).with_for_update()).first()
    if row is None or row.state != "signing" or row.command is None:
        return
    try:
        command = remote.get(tx, SYSTEM, row.command)
    except NotFound:  # its gateway is gone
        _settle(tx, row, now_ms, "unsigned", NO_ANSWER)
        return
    if command.phase not in OVER:
        if now_ms >= timer.data.get("until", 0):
            _settle(tx, row, now_ms, "unsigned", NO_ANSWER)
        else:
            timers.set_timer(tx, TIMER, timer.key, now_ms + LOOK_MS, timer.data)
        return
    if command.phase is not Phase.DONE:
        _settle(tx, row, now_ms, "unsigned", command.reason or NO_ANSWER)
        return
    answer = signing.read("".join(command.parts))
    if answer is None:
        _settle(tx, row, now_ms, "unsigned", "the gateway's answer is no signature")
        return
    said = rules.statement(row.gateway, str(row.id), row.digest, answer.at_ms)
    if why := signing.fault(answer, said, row.gateway) or _stranger(tx, row.gateway, answer.certificate, now_ms):
        _settle(tx, row, now_ms, "unsigned", why)
        return
    _settle(
        tx, row, now_ms, "signed", "", signed_at=answer.at_ms, signature=clean(answer.signature, 2000),
        certificate=clean(answer.certificate, 16_000),
    )  # fmt: skip


def _stranger(tx: Connection, gateway: str, certificate: str, now_ms: int) -> str:
    """Why a certificate is not one of the gateway's, empty when it is.

    That of a gateway which enrolment never gave one is its operator's, and known by its name alone.
    """
    if not enrolment.certificates(tx, gateway, now_ms):
        return ""
    try:
        enrolment.holder(tx, signing.der(certificate), now_ms)
    except Forbidden as e:
        return str(e)
    return ""


def _settle(tx: Connection, row: Row[Any], now_ms: int, state: str, reason: str, **values: object) -> None:
    reason = clean(reason, 500)
    changed = {"state": state, "reason": reason, **values}
    tx.execute(sheets.update().where(sheets.c.id == row.id, sheets.c.state != "signed").values(changed))
    audit.record(tx, SYSTEM, f"sheet.{state}", f"sheet/{row.id}", at=now_ms, detail=reason)
    tell(tx, row.gateway, row.node, "sheet", now_ms)


# ---- reading


def _row(tx: Connection, who: Principal, sheet: int, *, lock: bool = False) -> Row[Any]:
    wanted = sa.select(sheets).where(sheets.c.id == sheet, scope(who, sheets.c.node))
    row = tx.execute(wanted.with_for_update() if lock else wanted).first()
    if row is None:
        raise NotFound(f"acceptance sheet {sheet}: not found")
    return row


def _view(row: Row[Any]) -> SheetView:
    return SheetView(
        id=row.id, gateway=row.gateway, node=row.node, walk=row.walk, made_at=at(row.made_at), made_by=row.made_by,
        zone=row.zone, digest=row.digest, state=row.state, reason=row.reason, signed_at=at_or_none(row.signed_at),
        fingerprint=signing.fingerprint(row.certificate), complete=json.loads(row.data)["complete"],
    )  # fmt: skip


def get(tx: Connection, who: Principal, sheet: int) -> SheetView:
    """One sheet. Raises NotFound."""
    return _view(_row(tx, who, sheet))


class Archived(NamedTuple):
    """A sheet as it is kept. data: canonical JSON. said: the statement that was signed, empty when it was not."""

    view: SheetView
    data: bytes
    said: bytes
    signature: str
    certificate: str


def archived(tx: Connection, who: Principal, sheet: int) -> Archived:
    """A sheet with all that proves it. Raises NotFound."""
    row = _row(tx, who, sheet)
    said = b"" if row.signed_at is None else rules.statement(row.gateway, str(row.id), row.digest, row.signed_at)
    return Archived(_view(row), row.data.encode(), said, row.signature, row.certificate)


def list_sheets(
    tx: Connection, who: Principal, gateway: str | None = None, limit: int = 50, cursor: str | None = None
) -> Page[SheetView]:
    """Sheets within scope, the latest first. Raises Invalid on a cursor that is none."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = sa.select(sheets).where(scope(who, sheets.c.node))
    if gateway is not None:
        wanted = wanted.where(sheets.c.gateway == gateway)
    if cursor:
        wanted = wanted.where(sheets.c.id < decode_cursor(cursor, int)[0])
    rows = tx.execute(wanted.order_by(sheets.c.id.desc()).limit(limit + 1)).all()
    shown = rows[:limit]
    following = encode_cursor(shown[-1].id) if len(rows) > limit else None
    return Page(items=[_view(row) for row in shown], next_cursor=following)


timers.HANDLERS[TIMER] = _look
