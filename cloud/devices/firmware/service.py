"""What other folders may do with device firmware: read it. Loading it enters the campaign kind `firmware`.

Owns the orders `desired/firmware` and what gateways tell of them in `reported/firmware`. An order of a gateway holds
all jobs that are wanted of it; it is written anew whenever one begins, ends or is taken back. What is ordered is a
published target for the model of the device's profile; back is the version that the device ran when it was ordered to
change, when that is still published.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud import catalogue, stream
from cloud.db import insert
from cloud.devices.campaigns import hooks as campaigns
from cloud.devices.campaigns import service as outcomes
from cloud.devices.firmware import rules
from cloud.devices.firmware.models import FirmwareView
from cloud.devices.firmware.store import device_firmware as table
from cloud.devices.releases import books
from cloud.devices.store import devices
from cloud.errors import Conflict, Invalid, NotFound
from cloud.ingest import hooks, outgoing
from cloud.org.rules import scope
from cloud.paging import MAX_LIMIT, Page, at_or_none, decode_cursor, encode_cursor
from cloud.text import clean
from firmware_specs.release import ReleaseKind, same_version
from firmware_specs.wire_fleet import (
    FirmwareJob,
    FirmwareOrder,
    FirmwareState,
    UpdatePhase,
    UpdateState,
    decode,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection, Row

    from cloud.org.rules import Principal
    from firmware_specs.release import Target

DESIRED: Final = "desired/firmware"
ORDERED: Final = "ordered"
MAX_JOBS: Final = 10_000


# reading


def _joined() -> sa.Select[Any]:
    mine = sa.and_(table.c.gateway == devices.c.gateway, table.c.device == devices.c.id)
    return sa.select(devices.c.node, devices.c.profile, devices.c.id, devices.c.gateway.label("home"), table).join(
        table, mine, isouter=True
    )


def _view(row: Row[Any]) -> FirmwareView:
    profile = catalogue.profile(row.profile)
    there = row.gateway is not None
    return FirmwareView(
        gateway=row.home, device=row.id, node=row.node, profile=row.profile,
        model=profile.firmware.model if profile and profile.firmware else "",
        running=row.running or "", campaign=row.campaign or None, version=row.version or "", target=row.target or "",
        back=bool(row.back), ordered_at=at_or_none(row.ordered_at or None), phase=row.phase or "",
        reason=row.reason or "", done=row.done if there else 0, size=row.size if there else 0,
        told_at=at_or_none(row.told_at or None),
    )  # fmt: skip


def get(tx: Connection, principal: Principal, gateway: str, device: str) -> FirmwareView:
    """The firmware of one device. Raises NotFound when the device is absent or out of scope."""
    mine = (devices.c.gateway == gateway, devices.c.id == device, scope(principal, devices.c.node))
    row = tx.execute(_joined().where(*mine)).first()
    if row is None:
        raise NotFound(f"device {gateway}/{device}: not found")
    return _view(row)


def list_firmware(
    tx: Connection, principal: Principal, *, gateway: str | None = None, running: str | None = None,
    phase: UpdatePhase | None = None, limit: int = 100, cursor: str | None = None,
) -> Page[FirmwareView]:  # fmt: skip
    """Devices of which a version or an order is known, within scope, by gateway and device."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = _joined().where(scope(principal, devices.c.node), table.c.gateway.is_not(None))
    if gateway is not None:
        wanted = wanted.where(devices.c.gateway == gateway)
    if running is not None:
        wanted = wanted.where(table.c.running == running)
    if phase is not None:
        wanted = wanted.where(table.c.phase == phase.value)
    if cursor:
        after = sa.tuple_(*decode_cursor(cursor, str, str))
        wanted = wanted.where(sa.tuple_(devices.c.gateway, devices.c.id) > after)
    rows = tx.execute(wanted.order_by(devices.c.gateway, devices.c.id).limit(limit + 1)).all()
    following = encode_cursor(rows[limit - 1].home, rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=[_view(row) for row in rows[:limit]], next_cursor=following)


# the campaign's kind


def check(tx: Connection, who: Principal, subject: Mapping[str, Any], now_ms: int) -> Mapping[str, Any]:
    """A subject made fit: `{"target": path}` of published firmware. Raises Invalid, NotFound."""
    del who, now_ms
    path = subject.get("target")
    if not isinstance(path, str) or len(path) > 255:
        raise Invalid("subject: target: the path of published firmware is needed")
    target = books.find(tx, path)
    if target.release.kind is not ReleaseKind.FIRMWARE:
        raise Invalid(f"subject: target: {path} is {target.release.kind.value}, not firmware")
    return {"target": path, "version": target.release.version, "model": target.release.model}


def already(tx: Connection, subject: Mapping[str, Any], members: Collection[campaigns.Member]) -> set[campaigns.Member]:
    """The devices that say that they run that version."""
    wanted = str(subject.get("version", ""))
    known = tx.execute(sa.select(table.c.running).distinct()).scalars()
    same = [version for version in known if version and same_version(version, wanted)]
    rows = tx.execute(sa.select(table.c.gateway, table.c.device).where(table.c.running.in_(same)))
    return {tuple(row) for row in rows}.intersection(members)


def start(  # noqa: PLR0917 - the campaign's interface
    tx: Connection, campaign_id: int, subject: Mapping[str, Any], gateway: str, device: str, now_ms: int
) -> None:
    """Order the target for a device of its gateway. Raises NotFound, Conflict."""
    target = books.find(tx, str(subject["target"]))
    _fits(tx, gateway, device, target)
    row = _row(tx, gateway, device)
    _order(tx, campaign_id, (gateway, device), target, now_ms, before=row.running if row else "", back=False)


def stop(  # noqa: PLR0917 - the campaign's interface
    tx: Connection, campaign_id: int, subject: Mapping[str, Any], gateway: str, device: str, now_ms: int
) -> None:
    """Take the order back, unless another campaign has ordered since."""
    del subject
    row = _row(tx, gateway, device)
    if row is not None and row.campaign == campaign_id and row.wanted:
        _write(tx, gateway, device, wanted=False)
        _send(tx, gateway, now_ms)


def back(  # noqa: PLR0917 - the campaign's interface
    tx: Connection, campaign_id: int, subject: Mapping[str, Any], gateway: str, device: str, now_ms: int
) -> None:
    """Order what the device ran before. Raises Conflict when that is not known, or not published any more."""
    row = _row(tx, gateway, device)
    if row is None or not row.running:
        raise Conflict(f"device {gateway}/{device}: it has never said which version it runs")
    if not same_version(row.running, str(subject.get("version", ""))):
        if row.phase == UpdatePhase.TRIAL.value and row.wanted:
            raise Conflict(f"device {gateway}/{device}: it restarts into the new version just now")
        _write(tx, gateway, device, wanted=False, back=True)
        _send(tx, gateway, now_ms)
        outcomes.outcome(tx, campaign_id, gateway, device, True, "", now_ms, back=True)
        return
    target = rules.leads_back(books.targets(tx), str(subject.get("model", "")), row.before)
    if target is None:
        raise Conflict(f"device {gateway}/{device}: the version before ({row.before or 'unknown'}) is not published")
    _order(tx, campaign_id, (gateway, device), target, now_ms, before=row.running, back=True)


def _fits(tx: Connection, gateway: str, device: str, target: Target) -> None:
    name = tx.execute(sa.select(devices.c.profile).where(devices.c.gateway == gateway, devices.c.id == device)).scalar()
    if name is None:
        raise NotFound(f"device {gateway}/{device}: not found")
    profile = catalogue.profile(name)
    if profile is None or profile.firmware is None:
        raise Conflict(f"device {gateway}/{device}: its profile {name!r} has no way for firmware into it")
    if profile.firmware.model != target.release.model:
        raise Conflict(
            f"device {gateway}/{device}: {target.path} is for the model {target.release.model}, not "
            f"{profile.firmware.model}"
        )


def _order(
    tx: Connection, campaign_id: int, key: tuple[str, str], target: Target, now_ms: int, *, before: str, back: bool
) -> None:
    books.urls(tx)
    _write(
        tx, *key, before=before, campaign=campaign_id, target=target.path, version=target.release.version, back=back,
        ordered_at=now_ms, wanted=True, phase=ORDERED, reason="", done=0, size=target.size, told_at=0,
    )  # fmt: skip
    _send(tx, key[0], now_ms)
    _announce(tx, *key, now_ms)


def _send(tx: Connection, gateway: str, now_ms: int) -> None:
    """Write the gateway's order anew. One without jobs is sent too: it takes back what was ordered.

    So it is while nothing is published, after a repository was begun anew: nobody could fetch.
    """
    rows = tx.execute(
        sa.select(table).where(table.c.gateway == gateway, table.c.wanted).order_by(table.c.device).limit(MAX_JOBS)
    )
    jobs = tuple(
        FirmwareJob(row.campaign, row.device, row.target, row.version, ordered_ms=row.ordered_at, back=row.back)
        for row in rows
    )
    try:
        order = FirmwareOrder(jobs, *books.urls(tx))
    except Conflict:
        order = FirmwareOrder((), "", "")
    outgoing.put(tx, gateway, DESIRED, encode(order), now_ms)


def _row(tx: Connection, gateway: str, device: str) -> Row[Any] | None:
    mine = (table.c.gateway == gateway, table.c.device == device)
    return tx.execute(sa.select(table).where(*mine).with_for_update()).first()


def _write(tx: Connection, gateway: str, device: str, **values: object) -> None:
    put = insert(tx, table).values(gateway=gateway, device=device, **values)
    tx.execute(put.on_conflict_do_update(index_elements=["gateway", "device"], set_=values))


def _announce(tx: Connection, gateway: str, device: str, now_ms: int) -> None:
    row = tx.execute(_joined().where(devices.c.gateway == gateway, devices.c.id == device)).first()
    if row is not None:
        stream.append(tx, "firmware", _view(row), at=now_ms, node=row.node, gateway=gateway, device=device)


# what gateways tell


def reported(tx: Connection, gateway: str, rest: str, payload: bytes, now_ms: int) -> None:
    """Take how firmware stands on a gateway's devices. The same again changes nothing. Raises PackError."""
    del rest
    told = decode(payload, FirmwareState).devices
    served = set(tx.execute(sa.select(devices.c.id).where(devices.c.gateway == gateway)).scalars())
    known = {
        row.device: row
        for row in tx.execute(sa.select(table).where(table.c.gateway == gateway).with_for_update())
    }  # fmt: skip
    ended = False
    for device in sorted(told.keys() & served):
        ended |= _told(tx, (gateway, device), told[device], known.get(device), now_ms)
    if ended:
        _send(tx, gateway, now_ms)


def _told(tx: Connection, key: tuple[str, str], state: UpdateState, row: Row[Any] | None, now_ms: int) -> bool:
    """Take how it stands on one device; whether a job has ended that the order still holds."""
    values: dict[str, Any] = {}
    running = clean(state.running, 64)
    if running and (row is None or running != row.running):
        values["running"] = running
    order = rules.Ordered(row.campaign, row.version, row.ordered_at, row.wanted) if row else None
    about = order is not None and rules.is_about(state, order)
    over = rules.ended(state) if about else None
    if about and row is not None:
        news = {"phase": state.phase.value, "reason": clean(state.reason, 500), "done": state.done, "size": state.size}
        values |= {name: value for name, value in news.items() if getattr(row, name) != value}
        if over is not None and row.wanted:
            values["wanted"] = False
        if not row.before and running and not same_version(running, row.version):
            values["before"] = running  # a device that can only be asked says it when it is first sent to
    if not values:
        return False
    _write(tx, *key, **values, told_at=now_ms)
    if values.keys() & {"running", "phase", "reason"}:
        _announce(tx, *key, now_ms)
    if row is not None and order is not None and about and "phase" in values:
        if over is None:
            outcomes.progress(tx, order.campaign, *key, state.phase.value, now_ms)
        else:
            reason = clean(state.reason, 500)
            outcomes.outcome(tx, order.campaign, *key, over, reason, now_ms, back=row.back, told_ms=0)
    return "wanted" in values


campaigns.KINDS["firmware"] = campaigns.Kind(
    start=start, stop=stop, back=back, check=check, already=already, of_devices=True
)
hooks.DOCUMENTS["reported/firmware"] = reported
