"""The members of campaigns: how they are moved, counted and listed.

Owns every change of a member's state. Each is one UPDATE that names the states which the rules allow to move from, so
that whatever two processes do at once, a member moves once.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from cloud.devices import selecting
from cloud.devices.campaigns import rules
from cloud.devices.campaigns.rules import Counted, Event, Standing, State, Tally
from cloud.devices.campaigns.store import campaigns, members, waves
from cloud.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import ColumnElement, Connection, Row

    from cloud.devices.selecting import Entry

REASON: Final = 500
PHASE: Final = 100
_c: Final = members.c
_ADD: Final = """INSERT INTO campaign_members (campaign, gateway, device, wave, place, state, phase, reason, attempt,
    stopped, checked, unhealthy, forgiven)
SELECT :campaign, value ->> 0, value ->> 1, CAST(value ->> 2 AS integer), CAST(value ->> 3 AS integer), 'pending',
    '', '', 0, false, false, false, false FROM """
_EACH: Final = {
    "sqlite": "json_each(:rows)", "postgresql": "json_array_elements(CAST(:rows AS json)) AS chosen(value)",
}  # fmt: skip


class Key(NamedTuple):
    """A member. device: empty for a gateway itself."""

    campaign: int
    gateway: str
    device: str


def _is(key: Key) -> tuple[ColumnElement[bool], ...]:
    return _c.campaign == key.campaign, _c.gateway == key.gateway, _c.device == key.device


def add(tx: Connection, campaign: int, chosen: Sequence[Entry], sizes: Sequence[int]) -> None:
    """Put the chosen in, in their order, wave by wave; by one statement, since they may be a hundred thousand."""
    numbers = [number for number, size in enumerate(sizes, 1) for _ in range(size)]
    rows = [
        (entry.gateway, entry.device, wave, place)
        for place, (entry, wave) in enumerate(zip(chosen, numbers, strict=True), 1)
    ]
    insert = sa.text(_ADD + _EACH[tx.dialect.name])
    tx.execute(insert, {"campaign": campaign, "rows": json.dumps(rows)})
    tx.execute(waves.insert(), [{"campaign": campaign, "wave": number} for number in range(1, len(sizes) + 1)])


def get(tx: Connection, key: Key) -> Row[Any] | None:
    """A member, kept from others until the transaction ends."""
    return tx.execute(sa.select(members).where(*_is(key)).with_for_update()).first()


def move(tx: Connection, key: Key, event: Event, **values: Any) -> bool:  # noqa: ANN401 - the columns of a member
    """Move a member if the event means anything where it stands; whether it did."""
    moves = {source: rules.MEMBER[source, event].value for source in rules.sources(event)}
    to = sa.case(*((_c.state == source.value, goal) for source, goal in moves.items()), else_=_c.state)
    where = (*_is(key), _c.state.in_([source.value for source in moves]))
    return tx.execute(members.update().where(*where).values(state=to, **values)).rowcount > 0


def move_all(
    tx: Connection, campaign: int, event: Event, *held: ColumnElement[bool], most: int | None = None,
    **values: Any,  # noqa: ANN401 - the columns of a member
) -> int:  # fmt: skip
    """Move the members that the event means anything to and for which the conditions hold; how many.

    most: of each standing that the event moves from; all of them when left out.
    """
    count = 0
    for source in rules.sources(event):
        where = (_c.campaign == campaign, _c.state == source.value, *held)
        if most:
            next_ = sa.select(_c.place).where(*where).order_by(_c.deadline_at, _c.place).limit(most)
            where = (_c.campaign == campaign, _c.place.in_(next_), _c.state == source.value)
        to = rules.MEMBER[source, event].value
        count += tx.execute(members.update().where(*where).values(state=to, **values)).rowcount
    return count


def note(tx: Connection, key: Key, **values: Any) -> None:  # noqa: ANN401 - the columns of a member
    """Write something down of a member, wherever it stands."""
    tx.execute(members.update().where(*_is(key)).values(**values))


def fail(tx: Connection, key: Key, event: Event, reason: str, now_ms: int) -> bool:
    """Note that a member failed, or missed it, and why."""
    told = clean(reason, REASON)
    return move(tx, key, event, reason=told, phase="", ended_at=now_ms, deadline_at=None)


def tallies(tx: Connection, campaign_ids: Iterable[int]) -> dict[int, dict[int, Tally]]:
    """By campaign and wave, how many members stand where."""
    flags = (_c.state, _c.unhealthy, _c.checked, _c.forgiven)
    counted = sa.select(_c.campaign, _c.wave, *flags, sa.func.count().label("n")).where(
        _c.campaign.in_(list(campaign_ids))
    )
    found: dict[int, dict[int, list[Counted]]] = {}
    for row in tx.execute(counted.group_by(_c.campaign, _c.wave, *flags)):
        each = Counted(
            Standing(row.state), int(row.n), unhealthy=bool(row.unhealthy), checked=bool(row.checked),
            forgiven=bool(row.forgiven),
        )  # fmt: skip
        found.setdefault(row.campaign, {}).setdefault(row.wave, []).append(each)
    return {
        campaign: {wave: rules.tally(counts) for wave, counts in by_wave.items()} for campaign, by_wave in found.items()
    }


def deadline(tx: Connection, campaign: int) -> int | None:
    """When the first of those in flight must have told its outcome."""
    first = [
        sa.select(sa.func.min(_c.deadline_at)).where(_c.campaign == campaign, _c.state == each.value)
        for each in rules.IN_FLIGHT
    ]
    return min((due for query in first if (due := tx.execute(query).scalar()) is not None), default=None)


def waiting(*, online: bool, waves_: Iterable[int]) -> tuple[ColumnElement[bool], ...]:
    """Whether a member belongs to one of some waves, and its gateway is online, or is not."""
    there = selecting.online(_c.gateway)
    return _c.wave.in_(list(waves_)), there if online else sa.not_(there)


def exist(tx: Connection, campaign: int, standings: Iterable[Standing], *held: ColumnElement[bool]) -> bool:
    """Whether there are members that stand so and for which the conditions hold."""
    return any(
        tx.execute(sa.select(_c.place).where(_c.campaign == campaign, _c.state == each.value, *held).limit(1)).first()
        for each in standings
    )


def batch(tx: Connection, campaign: int, standings: Iterable[Standing], *held: ColumnElement[bool]) -> list[Key]:
    """The next members that stand so and for which the conditions hold, at most as many as go in one go."""
    found: list[Key] = []
    for each in standings:
        wanted = sa.select(_c.campaign, _c.gateway, _c.device)
        wanted = wanted.where(_c.campaign == campaign, _c.state == each.value, *held)
        rows = tx.execute(wanted.order_by(_c.deadline_at, _c.place).limit(rules.BATCH - len(found)))
        found += [Key(*row) for row in rows]
    return found


def expecting(tx: Connection, gateway: str) -> list[int]:
    """The running campaigns in which a gateway waits to be started."""
    where = (
        _c.gateway == gateway, _c.state.in_([each.value for each in rules.WAITING]),
        campaigns.c.state == State.RUNNING.value, _c.wave <= campaigns.c.wave,
    )  # fmt: skip
    wanted = sa.select(_c.campaign).join(campaigns, campaigns.c.id == _c.campaign).where(*where)
    return list(tx.execute(wanted.distinct()).scalars())


def changed_since(tx: Connection, campaign: int, kind: str) -> tuple[int, int] | None:
    """A later campaign of the kind that has changed members of this one, and how many of them; None without any."""
    mine, later = members.alias("mine"), members.alias("later")
    same = sa.and_(mine.c.gateway == later.c.gateway, mine.c.device == later.c.device)
    changed = later.c.state.in_([each.value for each in (Standing.COMMITTED, Standing.STARTED)])
    wanted = (
        sa.select(later.c.campaign, sa.func.count())
        .join_from(mine, later, same)
        .join(campaigns, campaigns.c.id == later.c.campaign)
        .where(mine.c.campaign == campaign, mine.c.state == Standing.COMMITTED.value, later.c.campaign > campaign,
               campaigns.c.kind == kind, changed)
        .group_by(later.c.campaign).order_by(later.c.campaign.desc()).limit(1)
    )  # fmt: skip
    row = tx.execute(wanted).first()
    return (row[0], int(row[1])) if row else None
