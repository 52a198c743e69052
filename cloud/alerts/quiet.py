"""What keeps alarms quiet, groups them and marks them as flapping, written into their rows.

Owns the columns that `rules.suppression`, `rules.group_base` and `rules.flaps` decide, and what follows when one of
them changes: an alarm that nothing keeps quiet any more is told again. Runs inside the caller's transaction, which
holds the gateways of the alarms that it names.

What an alarm of one gateway means for those of others (a building without mains) is looked at by a timer, so that no
transaction waits for two gateways in two orders.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from cloud import timers
from cloud.alerts import hooks, rules, views
from cloud.alerts.hooks import Happening
from cloud.alerts.rules import Cover, Purpose, Subject, Suppression, Why
from cloud.alerts.store import alarms, history, silences
from cloud.devices.places import hold, touch
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, ancestors
from cloud.org.tree import Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from sqlalchemy import ColumnElement, Connection, Row

    from cloud.timers import Timer

EFFECTS: Final = "alarm-effects"
CALM: Final = "alarm-calm"
RETURN: Final = "alarm-return"
SETTLE_MS: Final = 60_000
"""How long after its explanation ended an alarm is told: what the outage hid may clear by itself meanwhile."""
FAMILY_ROWS: Final = 40
"""Occurrences that count towards flapping."""
WORDS: Final = {Why.SILENCE: "silenced", Why.MAINTENANCE: "maintenance", Why.INHIBITED: "inhibited"}
"""What the history calls it; folding and shelving say so elsewhere."""
OPEN: Final = (alarms.c.cleared_at.is_(None), alarms.c.open_key.is_not(None))


class Followed(NamedTuple):
    """What came of looking at alarms again. changed: rows. returned: those to tell of anew, at once."""

    changed: frozenset[int] = frozenset()
    returned: tuple[int, ...] = ()


def subject(row: Row[Any]) -> Subject:
    """What of a row decides."""
    return Subject(
        row.id, row.node, row.gateway, row.device, row.kind, row.drill, row.shelved_until, row.folded_into
    )  # fmt: skip


def cover(row: Row[Any]) -> Cover:
    """A row of silences for the rules."""
    return Cover(
        row.id, Purpose(row.purpose), row.node, row.gateway, row.device, row.kind, row.starts_at, row.ends_at
    )  # fmt: skip


def covers_of(tx: Connection, rows: Iterable[Row[Any]], now_ms: int) -> list[Cover]:
    """The silences and maintenances in force that may mean one of these."""
    above = {node for row in rows for node in ancestors(row.node)}
    wanted = sa.select(silences).where(
        silences.c.node.in_(above), silences.c.ended_at.is_(None), silences.c.starts_at <= now_ms,
        silences.c.ends_at > now_ms,
    )  # fmt: skip
    return [cover(row) for row in tx.execute(wanted)] if above else []


def causes_of(tx: Connection, rows: Iterable[Row[Any]]) -> list[Subject]:
    """The open alarms that may explain one of these: all of their gateways, and of each node above the first alike."""
    explicable = [row for row in rows if row.kind in rules.EFFECT_KINDS]
    if not explicable:
        return []
    gateways = {row.gateway for row in explicable} - {""}
    own = sa.select(alarms).where(*OPEN, alarms.c.gateway.in_(gateways), _kinds(rules.CAUSE_KINDS))
    alike = (alarms.c.node, alarms.c.kind, alarms.c.drill)
    place = sa.func.row_number().over(partition_by=alike, order_by=(alarms.c.gateway, alarms.c.device, alarms.c.id))
    above = alarms.c.node.in_({node for row in explicable for node in ancestors(row.node)} - {ROOT})
    ranked = sa.select(alarms, place.label("place")).where(*OPEN, above, _kinds(rules.WIDE_KINDS)).subquery()
    # When the power of a district goes, as many causes as gateways lie at one node; one of them says it.
    first = sa.select(ranked).where(ranked.c.place == 1)
    return list({row.id: subject(row) for wanted in (own, first) for row in tx.execute(wanted)}.values())


def _kinds(kinds: Collection[str]) -> ColumnElement[bool]:
    return alarms.c.kind.in_(sorted(kinds))


def decide(tx: Connection, rows: Sequence[Row[Any]], now_ms: int) -> dict[int, Suppression]:
    """What keeps each of these open alarms quiet, by id."""
    covers, causes = covers_of(tx, rows, now_ms), causes_of(tx, rows)
    at: dict[str, list[Subject]] = {}
    for cause in causes:
        for place in {cause.gateway, cause.node}:
            at.setdefault(place, []).append(cause)
    decided = {}
    for row in rows:
        near = [cause for place in (row.gateway, *ancestors(row.node)) for cause in at.get(place, ())]
        decided[row.id] = rules.suppression(subject(row), covers, near, now_ms)
    return decided


def follow(tx: Connection, changed: Collection[int], raised: Collection[int], now_ms: int) -> Followed:
    """Everything that follows for rows that were just raised, cleared or folded.

    changed: what is new of them is decided here. raised: those told of anyway; they do not return.
    """
    if not changed:
        return Followed()
    rows = tx.execute(sa.select(alarms).where(alarms.c.id.in_(changed)).order_by(alarms.c.id)).all()
    for row in rows:
        _group(tx, row)
    also = set[int]()
    for family in sorted({(row.gateway, row.device, row.kind) for row in rows}):
        also |= _flap(tx, family, now_ms)
    open_ones = [row for row in rows if row.cleared_at is None]
    also |= {row.id for row in open_ones} | _effects(tx, rows, now_ms)
    looked = _write(tx, [*open_ones, *_open(tx, also.difference(row.id for row in rows))], now_ms)
    return Followed(
        looked.changed | also, tuple(each for each in looked.returned if each not in raised)
    )  # fmt: skip


def _effects(tx: Connection, rows: Iterable[Row[Any]], now_ms: int) -> set[int]:
    """The open alarms of the same gateways that these may explain; a timer sees to those of other gateways."""
    causes = [row for row in rows if row.kind in rules.CAUSE_KINDS]
    for row in causes:
        if row.kind in rules.WIDE_KINDS and row.node != ROOT:
            timers.set_timer(tx, EFFECTS, f"{row.id}.{now_ms}", now_ms, {"node": row.node})
    gateways = {row.gateway for row in causes} - {""}
    if not gateways:
        return set()
    mine = sa.select(alarms.c.id).where(*OPEN, alarms.c.gateway.in_(gateways), _kinds(rules.EFFECT_KINDS))
    return set(tx.execute(mine).scalars())


def look(tx: Connection, ids: Collection[int], now_ms: int) -> Followed:
    """Decide anew for open alarms, and write what changed. Tells nobody."""
    return _write(tx, _open(tx, ids), now_ms)


def _open(tx: Connection, ids: Collection[int]) -> Sequence[Row[Any]]:
    wanted = sa.select(alarms).where(alarms.c.id.in_(ids), alarms.c.cleared_at.is_(None))
    return tx.execute(wanted.order_by(alarms.c.id)).all() if ids else []


def _write(tx: Connection, rows: Sequence[Row[Any]], now_ms: int) -> Followed:
    if not rows:
        return Followed()
    decided = decide(tx, rows, now_ms)
    changed: set[int] = set()
    returned: list[int] = []
    for row in rows:
        found = decided[row.id]
        values: dict[str, Any] = {
            "silence": found.silence, "maintenance": found.maintenance, "inhibited_by": found.inhibited_by,
            "quiet": found.why.value,
        }  # fmt: skip
        if all(getattr(row, name) == value for name, value in values.items()):
            continue
        if not row.quiet and not found.loud:
            # What was told of so far ends with its round; whoever tells again begins at the first step.
            values |= {"round": row.round + 1, "escalation": 0}
        tx.execute(alarms.update().where(alarms.c.id == row.id).values(values))
        changed.add(row.id)
        _write_history(tx, row, found, now_ms)
        if row.quiet and found.loud and row.open_key is not None:
            if row.quiet in {Why.INHIBITED, Why.FOLDED}:
                timers.set_timer(tx, RETURN, str(row.id), now_ms + SETTLE_MS)
            else:
                returned.append(row.id)
    return Followed(frozenset(changed), tuple(returned))


def _write_history(tx: Connection, row: Row[Any], found: Suppression, now_ms: int) -> None:
    if found.why.value == row.quiet:
        return
    about = {Why.SILENCE: found.silence, Why.MAINTENANCE: found.maintenance, Why.INHIBITED: found.inhibited_by}
    if found.why in WORDS:
        note(tx, row.id, WORDS[found.why], f"{found.why}/{about[found.why]}", now_ms)
    elif found.loud and row.quiet in WORDS:
        note(tx, row.id, "returned", row.quiet, now_ms)


def note(tx: Connection, alarm_id: int, action: str, detail: str, now_ms: int) -> None:
    """Write what the system did with an alarm into its history."""
    tx.execute(history.insert().values(alarm=alarm_id, at=now_ms, actor=SYSTEM.label, action=action, detail=detail))


def refresh(tx: Connection, now_ms: int, *wanted: ColumnElement[bool]) -> int:
    """Decide anew for the open alarms that fit, tell of those that return, tell the stream. How many changed.

    Takes the gateways itself, in one order.
    """
    found = tx.execute(sa.select(alarms.c.id, alarms.c.gateway).where(*OPEN, *wanted)).all()
    for gateway in sorted({row.gateway for row in found} - {""}):
        hold(tx, gateway)
    followed = look(tx, [row.id for row in found], now_ms)
    announce(tx, followed, now_ms)
    return len(followed.changed)


def announce(tx: Connection, followed: Followed, now_ms: int) -> None:
    """Tell the listeners of what returned, and the stream of what changed."""
    for alarm_id in followed.returned:
        hooks.tell(tx, Happening.RAISED, alarm_id, now_ms)
    for gateway, device in tx.execute(
        sa.select(alarms.c.gateway, alarms.c.device).where(alarms.c.id.in_(followed.changed))
    ).all():
        touch(tx, gateway, device, now_ms)
    views.announce(tx, followed.changed, now_ms)


# ---- groups


def place_key(tx: Connection, row: Row[Any]) -> str:
    """The building of an alarm; where the tree has none, its gateway and the words for its place, by their hash."""
    within = [place.path for place in tree.places(tx, row.node) if place.kind is Kind.BUILDING]
    if within:
        return within[-1]
    words = hashlib.sha256(row.location.encode()).hexdigest()[:16]
    return f"{row.node}{row.gateway}/{words}"


def _group(tx: Connection, row: Row[Any]) -> None:
    """Join a raised alarm to those of its kind's family in its building that are at most a minute from it.

    A group's name is that of the alarm that came first and stays; two groups that a late alarm joins become one.
    """
    if row.rank is None or row.group_key is not None:
        return
    base = rules.group_base(row.kind, place_key(tx, row))
    if base is None:
        return
    near = (
        alarms.c.raised_at.between(row.raised_at - rules.GROUP_MS, row.raised_at + rules.GROUP_MS),
        alarms.c.group_key.startswith(base + "#", autoescape=True),
    )
    keys = sorted(set(tx.execute(sa.select(alarms.c.group_key).where(*near, alarms.c.drill.is_(row.drill))).scalars()))
    key = keys[0] if keys else f"{base}#{row.id}"
    if len(keys) > 1:
        tx.execute(alarms.update().where(alarms.c.group_key.in_(keys[1:])).values(group_key=key))
    tx.execute(alarms.update().where(alarms.c.id == row.id).values(group_key=key))


# ---- flapping


def _flap(tx: Connection, family: tuple[str, str, str], now_ms: int) -> set[int]:
    """Score a family again. Gives the open alarms whose mark changed."""
    mine = (alarms.c.gateway == family[0], alarms.c.device == family[1], alarms.c.kind == family[2])
    columns = (
        alarms.c.id, alarms.c.raised_at, alarms.c.cleared_at, alarms.c.flap, alarms.c.flapping, alarms.c.open_key
    )  # fmt: skip
    wanted = sa.select(*columns).where(*mine, alarms.c.rank.is_not(None)).order_by(alarms.c.rank.desc())
    rows = tx.execute(wanted.limit(FAMILY_ROWS)).all()[::-1]
    marked: set[int] = set()
    for row, flap in zip(rows, rules.flaps([(row.raised_at, row.cleared_at) for row in rows]), strict=True):
        if (row.flap, row.flapping) == flap:
            continue
        tx.execute(alarms.update().where(alarms.c.id == row.id).values(flap=flap.score, flapping=flap.flapping))
        if row.open_key is not None and flap.flapping:
            timers.set_timer(tx, CALM, str(row.id), now_ms + rules.calm_after_ms(flap.score))
            marked |= set() if row.flapping else {row.id}
    return marked


def _calm(tx: Connection, timer: Timer, now_ms: int) -> None:
    """An alarm that flapped has stood long enough: it is told of as any other from now on."""
    row = tx.execute(sa.select(alarms).where(alarms.c.id == int(timer.key), *OPEN)).first()
    if row is None or not row.flapping:
        return
    hold(tx, row.gateway)
    tx.execute(alarms.update().where(alarms.c.id == row.id).values(flapping=False))
    announce(tx, Followed(frozenset({row.id})), now_ms)


def _return(tx: Connection, timer: Timer, now_ms: int) -> None:
    """What explained an alarm ended a while ago and the alarm still stands: it is told of now."""
    row = tx.execute(sa.select(alarms).where(alarms.c.id == int(timer.key), *OPEN)).first()
    if row is not None and not row.quiet:
        hold(tx, row.gateway)
        hooks.tell(tx, Happening.RAISED, row.id, now_ms)
        views.announce(tx, [row.id], now_ms)


def _look_at_effects(tx: Connection, timer: Timer, now_ms: int) -> None:
    """Causes that reach beyond their gateways came or went at a node: one look for all of them."""
    timers.drop_alike(tx, timer, now_ms)
    refresh(tx, now_ms, alarms.c.node.startswith(timer.data["node"], autoescape=True), _kinds(rules.EFFECT_KINDS))


timers.HANDLERS[CALM] = _calm
timers.HANDLERS[RETURN] = _return
timers.HANDLERS[EFFECTS] = _look_at_effects
