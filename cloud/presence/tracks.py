"""The machine of each shift at its post, kept in memory: stepped by what comes in order, made again by what comes late.

Owns `presence_tracks`, which spares a restart the reading of whole shifts. What a track says is a function of the
evidence of its shift: all that is not older than the place of its post, and that arrived within the look-back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
import sqlalchemy as sa

from cloud.presence import plan
from cloud.presence.intake import FIX
from cloud.presence.rules import LOOKBACK_MS, Change, Machine, Reason, Seen, Standing, expiries, follow
from cloud.presence.store import evidence, tracks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Row

    from cloud.presence.rosters.service import Duty
    from cloud.presence.world import Post

SAVE_EVERY_MS: Final = 300_000
Key = tuple[int, str, str, str]
"""The order of evidence: its time, then kind, gateway and device, so that it is one and the same for any arrival."""
_FIRST: Final[Key] = (-(2**63), "", "", "")


class _Saved(msgspec.Struct, array_like=True):
    machine: Machine
    changes: list[Change]
    newest: Key
    gateway: str


@dataclass
class Track:
    """What is known of one member on one shift at its post. gateway: that brought the newest evidence."""

    duty: Duty
    machine: Machine = field(default_factory=Machine)
    changes: list[Change] = field(default_factory=list)
    newest: Key = _FIRST
    gateway: str = ""
    saved_at: int | None = None

    def __post_init__(self) -> None:
        if not self.changes:
            self.changes = [Change(self.duty.starts_at, Standing.UNKNOWN, Reason.NO_FIX)]


def key_of(row: Row[Any]) -> Key:
    """Where a row of evidence stands in the order."""
    return row.at, row.kind, row.gateway, row.device


def counts_for(row: Row[Any], post: Post, duty: Duty) -> bool:
    """Whether evidence has a say in a post's history."""
    begins = max(post.judged_from, duty.starts_at)
    return bool(begins <= row.at < duty.ends_at and row.received_at - row.at <= LOOKBACK_MS)


def _feed(track: Track, post: Post, row: Row[Any]) -> None:
    ground = post.ground
    if row.kind == FIX:
        seen = Seen(row.at, ground.beyond(row.lat, row.lon), row.accuracy_m)
    else:
        seen = Seen(row.at, here=row.post == post.id)
    track.machine = follow(track.machine, track.changes, seen, ground.reach_m)
    track.newest = key_of(row)
    track.gateway = row.gateway


def load(tx: Connection, duty: Duty, post: Post) -> Track:
    """A track from its saved row and the evidence after it, or from all evidence of its shift."""
    saved = tx.execute(sa.select(tracks.c.data).where(tracks.c.shift == duty.shift, tracks.c.post == post.id)).scalar()
    if saved is None:
        return replay(tx, duty, post)
    kept = msgspec.json.decode(saved, type=_Saved)
    track = Track(duty, kept.machine, kept.changes, kept.newest, kept.gateway, kept.newest[0])
    for row in _evidence(tx, duty, kept.newest[0]):
        if key_of(row) > kept.newest and counts_for(row, post, duty):
            _feed(track, post, row)
    return track


def replay(tx: Connection, duty: Duty, post: Post) -> Track:
    """A track from all evidence of its shift that was taken up."""
    track = Track(duty)
    for row in _evidence(tx, duty, max(duty.starts_at, post.judged_from)):
        if counts_for(row, post, duty):
            _feed(track, post, row)
    return track


def _evidence(tx: Connection, duty: Duty, from_ms: int) -> Iterable[Row[Any]]:
    e = evidence.c
    mine = (e.member == duty.member, e.at >= from_ms, e.at < duty.ends_at, e.shift == duty.shift, e.done)
    return tx.execute(sa.select(evidence).where(*mine).order_by(e.at, e.kind, e.gateway, e.device))


def advance(tx: Connection, track: Track, post: Post, rows: Sequence[Row[Any]], now_ms: int) -> int | None:
    """Take in rows, in their order, that are marked as taken up. From when on the post must be judged anew, if at all.

    Changes `track` in place; when the first row is older than what it had, from all evidence of its shift.
    """
    rows = [row for row in rows if counts_for(row, post, track.duty)]
    if not rows:
        return None
    if key_of(rows[0]) < track.newest:
        again = replay(tx, track.duty, post)
        first = _first_difference(track.changes, again.changes, _lapse(track, now_ms))
        track.machine, track.changes, track.newest = again.machine, again.changes, again.newest
        track.gateway, track.saved_at = again.gateway, None
        return first
    last, lapse = track.changes[-1], _lapse(track, now_ms)
    for row in rows:
        _feed(track, post, row)
    if lapse is None and track.changes[-1] == last:
        return None
    newest_from: int = rows[0].at
    return newest_from if lapse is None else min(newest_from, lapse)


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
        put = plan.insert(tx, tracks)
        values = {name: put.excluded[name] for name in ("post", "at", "data")}
        tx.execute(put.on_conflict_do_update(index_elements=["shift"], set_=values), rows)


def drop(tx: Connection, shift: int) -> None:
    """Forget the saved row of a shift."""
    tx.execute(tracks.delete().where(tracks.c.shift == shift))
