"""Which agent each gateway runs, and the campaign kind that changes it.

Owns the orders `desired/update` and what gateways tell of them in `reported/update`. What is ordered is a published
target; back is the version that the gateway had committed before, when it is still published. When and of whom it is
ordered is the campaign's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import sqlalchemy as sa

from cloud.db import insert
from cloud.devices.campaigns import hooks as campaigns
from cloud.devices.campaigns import service as outcomes
from cloud.devices.releases import books
from cloud.devices.releases.store import agents
from cloud.errors import Conflict, Invalid
from cloud.ingest import hooks, outgoing
from cloud.text import clean
from firmware_specs.release import ReleaseKind, same_version
from firmware_specs.wire_fleet import ENDED, TAKEN_BACK_MS, UpdateOrder, UpdatePhase, UpdateState, decode, encode

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection, Row

    from cloud.org.rules import Principal
    from firmware_specs.release import Target

DESIRED: Final = "desired/update"
TRIAL_S: Final = 300


def _row(tx: Connection, gateway: str) -> Row[Any] | None:
    return tx.execute(sa.select(agents).where(agents.c.gateway == gateway).with_for_update()).first()


def _write(tx: Connection, gateway: str, **values: object) -> None:
    made = insert(tx, agents).values(gateway=gateway, **values)
    tx.execute(made.on_conflict_do_update(index_elements=["gateway"], set_=values) if values else made)


# the campaign's kind


def check(tx: Connection, who: Principal, subject: Mapping[str, Any], now_ms: int) -> Mapping[str, Any]:
    """A subject made fit: `{"target": path}` of a published agent. Raises Invalid, NotFound."""
    del who, now_ms
    path = subject.get("target")
    if not isinstance(path, str) or len(path) > 255:
        raise Invalid("subject: target: the path of a published agent is needed")
    target = books.find(tx, path)
    if target.kind is not ReleaseKind.AGENT:
        raise Invalid(f"subject: target: {path} is {target.kind.value}, not agent")
    return {"target": path, "version": target.version}


def already(tx: Connection, subject: Mapping[str, Any], members: Collection[campaigns.Member]) -> set[campaigns.Member]:
    """The gateways that run that version."""
    wanted = str(subject.get("version", ""))
    known = tx.execute(sa.select(agents.c.committed).distinct()).scalars()
    same = [version for version in known if version and same_version(version, wanted)]
    there = set(tx.execute(sa.select(agents.c.gateway).where(agents.c.committed.in_(same))).scalars())
    return {member for member in members if member[0] in there}


def start(  # noqa: PLR0917 - the campaign's interface
    tx: Connection, campaign_id: int, subject: Mapping[str, Any], gateway: str, device: str, now_ms: int
) -> None:
    """Order the target of a gateway. Raises NotFound, Conflict."""
    del device
    _order(tx, campaign_id, gateway, books.find(tx, str(subject["target"])), now_ms, back=False)


def stop(  # noqa: PLR0917 - the campaign's interface
    tx: Connection, campaign_id: int, subject: Mapping[str, Any], gateway: str, device: str, now_ms: int
) -> None:
    """Take the order back, unless another campaign has ordered since."""
    del subject, device
    row = _row(tx, gateway)
    if row is not None and row.campaign == campaign_id:
        _take_back(tx, gateway, now_ms)


def back(  # noqa: PLR0917 - the campaign's interface
    tx: Connection, campaign_id: int, subject: Mapping[str, Any], gateway: str, device: str, now_ms: int
) -> None:
    """Order the version that the gateway had committed before. Raises Conflict when that is not published any more."""
    del device
    row = _row(tx, gateway)
    if row is None or not row.committed:
        raise Conflict(f"gateway {gateway}: it has never told which agent it runs")
    if not same_version(row.committed, str(subject.get("version", ""))):
        _write(tx, gateway, campaign=campaign_id, ordered=row.committed, back=True)
        _take_back(tx, gateway, now_ms)
        outcomes.outcome(tx, campaign_id, gateway, "", True, "", now_ms, back=True)
        return
    before = [target for target in books.targets(tx) if target.kind is ReleaseKind.AGENT]
    before = [target for target in before if row.previous and same_version(target.version, row.previous)]
    if not before:
        had = row.previous or "unknown"
        raise Conflict(f"gateway {gateway}: the version before ({had}) is not published")
    _order(tx, campaign_id, gateway, before[0], now_ms, back=True)


def _order(tx: Connection, campaign_id: int, gateway: str, target: Target, now_ms: int, *, back: bool) -> None:
    metadata_url, targets_url = books.urls(tx)
    order = UpdateOrder(
        campaign_id, target.path, target.version, metadata_url, targets_url, trial_s=TRIAL_S, rollback=back,
        issued_ms=now_ms,
    )  # fmt: skip
    _write(tx, gateway, campaign=campaign_id, ordered=target.version, back=back)
    outgoing.put(tx, gateway, DESIRED, encode(order), now_ms)


def _take_back(tx: Connection, gateway: str, now_ms: int) -> None:
    """Order the same with a window that is over: a gateway that has begun, or is away, learns it only so."""
    held = outgoing.held(tx, gateway, DESIRED)
    if held:
        order = msgspec.structs.replace(decode(held, UpdateOrder), ends_at_ms=TAKEN_BACK_MS)
        outgoing.put(tx, gateway, DESIRED, encode(order), now_ms)


# what gateways tell


def reported(tx: Connection, gateway: str, rest: str, payload: bytes, now_ms: int) -> None:
    """Take how an update stands. Raises PackError."""
    del rest
    state = decode(payload, UpdateState)
    row = _row(tx, gateway)
    values: dict[str, object] = {"phase": state.phase.value, "told_at": now_ms}
    running = clean(state.running, 64)
    committed = row.committed if row else ""
    if running and state.phase is not UpdatePhase.TRIAL and running != committed:
        values |= {"committed": running, "previous": committed}
    _write(tx, gateway, **values)
    if row is None or not state.campaign or state.campaign != row.campaign or state.version != row.ordered:
        return
    if state.phase in ENDED:
        ok = state.phase is UpdatePhase.COMMITTED
        reason = clean(state.reason, 500)
        outcomes.outcome(
            tx, state.campaign, gateway, "", ok, reason, now_ms, back=row.back, told_ms=state.at_ms
        )  # fmt: skip
        outgoing.clear(tx, gateway, DESIRED, now_ms)
    else:
        outcomes.progress(tx, state.campaign, gateway, "", state.phase.value, now_ms)


campaigns.KINDS["agent"] = campaigns.Kind(start=start, stop=stop, back=back, check=check, already=already)
hooks.DOCUMENTS["reported/update"] = reported
