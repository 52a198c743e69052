"""The machine of each shift at its post, kept in memory: stepped by what comes in order, made again by what comes late.

Owns `presence_tracks`, which spares a restart the reading of whole shifts. What a track says is a function of the
evidence of its shift: all that is not older than the place of its post, and that arrived within the look-back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from cloud.db import insert
from cloud.presence.intake import FIX
from cloud.presence.rules import LOOKBACK_MS, Change, Machine, Reason, Seen, Standing, expiries, follow
from cloud.presence.store import evidence, tracks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Row

    from cloud.presence.rosters.service import Duty
    from cloud.presence.world import Post

SAVE_EVERY_MS: Final = 300_000
KEPT: Final = 32
"""So many facts at least, and twice as many at most, can be put right without the rows."""
Key = tuple[int, str, str, str]
"""The order of evidence: its time, then kind, gateway and device, so that it is one and the same for any arrival."""
_FIRST: Final[Key] = (-(2**63), "", "", "")


class _Saved(msgspec.Struct, array_like=True):
    machine: Machine
    changes: list[Change]
    newest: Key
    gateway: str


class Fact(NamedTuple):
    """A piece of evidence as the track's post sees it, and where it stands in the order."""

    key: Key
    seen: Seen
    gateway: str


@dataclass
class Track:
    """What is known of one member on one shift at its post. gateway: that brought the newest evidence.

    recent: the newest facts, in order; base: what was known before them. So a fact that comes a little late, as when
    two devices speak through two gateways, is put in its place without reading the shift again.
    """

    duty: Duty
    machine: Machine = field(default_factory=Machine)
    changes: list[Change] = field(default_factory=list)
    newest: Key = _FIRST
    gateway: str = ""
    saved_at: int | None = None
    recent: list[Fact] = field(default_factory=list)
    base: tuple[Machine, list[Change], Key] = field(init=False)

    def __post_init__(self) -> None:
        if not self.changes:
            self.changes = [Change(self.duty.starts_at, Standing.UNKNOWN, Reason.NO_FIX)]
        self.base = self.machine, list(self.changes), self.newest

    def feed(self, fact: Fact, reach_m: float) -> None:
        """Take in a fact that comes after all others."""
        self.machine = follow(self.machine, self.changes, fact.seen, reach_m)
        self.newest, self.gateway = fact.key, fact.gateway
        self.recent.append(fact)
        if len(self.recent) >= 2 * KEPT:
            machine, changes, newest = self.base
            for old in self.recent[:KEPT]:
                machine, newest = follow(machine, changes, old.seen, reach_m), old.key
            self.base = machine, changes, newest
            del self.recent[:KEPT]

    def insert(self, facts: Sequence[Fact], reach_m: float) -> bool:
        """Put facts in their places among the recent ones; false when one of them belongs before these."""
        machine, changes, newest = self.base
        if facts[0].key <= newest:
            return False
        again = sorted({fact.key: fact for fact in (*self.recent, *facts)}.values())
        self.machine, self.changes, self.recent = machine, list(changes), []
        for fact in again:
            self.feed(fact, reach_m)
        return True


def key_of(row: Row[Any]) -> Key:
    """Where a row of evidence stands in the order."""
    return row.at, row.kind, row.gateway, row.device


def counts_for(row: Row[Any], post: Post, duty: Duty) -> bool:
    """Whether evidence has a say in a post's history."""
    begins = max(post.judged_from, duty.starts_at)
    return bool(begins <= row.at < duty.ends_at and row.received_at - row.at <= LOOKBACK_MS)


def _fact(row: Row[Any], post: Post) -> Fact:
    if row.kind == FIX:
        seen = Seen(row.at, post.ground.beyond(row.lat, row.lon), row.accuracy_m)
    else:
        seen = Seen(row.at, here=row.post == post.id)
    return Fact(key_of(row), seen, row.gateway)


def load(tx: Connection, duty: Duty, post: Post) -> Track:
    """A track from its saved row and the evidence after it, or from all evidence of its shift."""
    saved = tx.execute(sa.select(tracks.c.data).where(tracks.c.shift == duty.shift, tracks.c.post == post.id)).scalar()
    if saved is None:
        return replay(tx, duty, post)
    kept = msgspec.json.decode(saved, type=_Saved)
    track = Track(duty, kept.machine, kept.changes, kept.newest, kept.gateway, kept.newest[0])
    for row in _evidence(tx, duty, kept.newest[0]):
        if key_of(row) > kept.newest and counts_for(row, post, duty):
            track.feed(_fact(row, post), post.ground.reach_m)
    return track


def replay(tx: Connection, duty: Duty, post: Post) -> Track:
    """A track from all evidence of its shift that was taken up."""
    track = Track(duty)
    for row in _evidence(tx, duty, max(duty.starts_at, post.judged_from)):
        if counts_for(row, post, duty):
            track.feed(_fact(row, post), post.ground.reach_m)
    return track


def _evidence(tx: Connection, duty: Duty, from_ms: int) -> Iterable[Row[Any]]:
    e = evidence.c
    mine = (e.member == duty.member, e.at >= from_ms, e.at < duty.ends_at, e.shift == duty.shift, e.done)
    return tx.execute(sa.select(evidence).where(*mine).order_by(e.at, e.kind, e.gateway, e.device))


def advance(tx: Connection, track: Track, post: Post, rows: Sequence[Row[Any]], now_ms: int) -> int | None:
    """Take in rows, in their order, that are marked as taken up. From when on the post must be judged anew, if at all.

    Changes `track` in place; when the first row is older than what it had, from all evidence of its shift.
    """
    facts = [_fact(row, post) for row in rows if counts_for(row, post, track.duty)]
    if not facts:
        return None
    before, lapse = track.changes, _lapse(track, now_ms)
    if facts[0].key > track.newest:
        last = before[-1]
        for fact in facts:
            track.feed(fact, post.ground.reach_m)
        if lapse is None and track.changes[-1] == last:
            return None
        return min(facts[0].seen.at, facts[0].seen.at if lapse is None else lapse)
    if not track.insert(facts, post.ground.reach_m):
        again = replay(tx, track.duty, post)
        track.machine, track.changes, track.recent = again.machine, again.changes, again.recent
        track.newest, track.gateway, track.base = again.newest, again.gateway, again.base
    track.saved_at = None
    return _first_difference(before, track.changes, lapse)


def _lapse(track: Track, now_ms: int) -> int | None:
    """When what was known changed by silence, if that was before the present."""
    return next((at for at in expiries(track.machine) if at <= now_ms), None)


def _first_difference(before: Sequence[Change], after: Sequence[Change], lapse: int | None) -> int:
    """From when on two series of changes say different things; the lapse of the first counts as one of it."""
    pairs = zip(before, after, strict=False)
    same = next((n for n, (one, other) in enumerate(pairs) if one != other), min(len(before), len(after)))
    times = [each.at for each in (*before[same : same + 1], *after[same : same + 1])]
    last = max(before[-1].at, after[-1].at)
    return min([*times, last if lapse is None else lapse])


def save(tx: Connection, changed: Iterable[Track], posts_of: dict[int, Post]) -> None:
    """Write the tracks whose last saved row has grown old."""
    rows = []
    for track in changed:
        if track.duty.post not in posts_of or track.newest == _FIRST:
            continue
        if track.saved_at is not None and track.newest[0] - track.saved_at < SAVE_EVERY_MS:
            continue
        track.saved_at = track.newest[0]
        kept = _Saved(track.machine, track.changes, track.newest, track.gateway)
        data = msgspec.json.encode(kept).decode()
        rows.append({"shift": track.duty.shift, "post": track.duty.post, "at": track.newest[0], "data": data})
    if rows:
        put = insert(tx, tracks)
        values = {name: put.excluded[name] for name in ("post", "at", "data")}
        tx.execute(put.on_conflict_do_update(index_elements=["shift"], set_=values), rows)


def drop(tx: Connection, shift: int) -> None:
    """Forget the saved row of a shift."""
    tx.execute(tracks.delete().where(tracks.c.shift == shift))
