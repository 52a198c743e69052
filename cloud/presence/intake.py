"""From readings to evidence: whose fix, check-in or door it is, by the shift of its time.

Runs in the transaction that commits the readings, so it only looks up and inserts: at most four queries a call,
however many readings. What belongs to nobody on shift leaves nothing behind. Evidence with a time ahead of the clock
counts as of now; the same evidence again changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cloud.db import many
from cloud.presence.rosters import lookup
from cloud.presence.rules import UNSTATED_M
from cloud.text import clean, clean_ms
from firmware_specs.readings import Position, Quality, Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from cloud.presence.rosters.service import Duty

FIX, CHECKIN, DOOR = "fix", "checkin", "door"
_KINDS: Final = {"checkin": ("terminal", CHECKIN), "credential": ("door", DOOR)}
"""By metric: what sort of device tells it, and what kind of evidence it is."""
_COLUMNS: Final = (
    "member", "shift", "kind", "gateway", "device", "at", "received_at", "lat", "lon", "accuracy_m", "post", "done",
)  # fmt: skip
_PUT: Final = (
    f"INSERT INTO evidence({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) ON CONFLICT DO NOTHING"  # noqa: S608
)


def take(tx: Connection, gateway: str, readings: Sequence[Reading], now_ms: int) -> int:
    """Keep what readings of one gateway say of members on shift; how many pieces of evidence that were."""
    fixes = [each for each in readings if each.metric == "position" and _good(each)]
    tokens = [each for each in readings if each.metric in _KINDS and isinstance(each.value, str) and each.value]
    rows = _fixes(tx, gateway, fixes, now_ms) if fixes else []
    if tokens:
        rows += _tokens(tx, gateway, tokens, now_ms)
    many(tx, _PUT, rows)
    return len(rows)


def _good(reading: Reading) -> bool:
    place = reading.value
    return (
        isinstance(place, Position)
        and reading.quality is Quality.GOOD
        and -90 <= place.lat <= 90
        and -180 <= place.lon <= 180
    )


def _at(reading: Reading, now_ms: int) -> int:
    return min(clean_ms(reading.observed_at), now_ms)


def _of(duties: Sequence[Duty], at: int) -> Duty | None:
    """The shift of a time; of two that overlap the one that began later, who took over."""
    on = [duty for duty in duties if duty.starts_at <= at < duty.ends_at]
    return max(on, key=lambda duty: (duty.starts_at, duty.shift), default=None)


def _fixes(tx: Connection, gateway: str, fixes: Sequence[Reading], now_ms: int) -> list[tuple[Any, ...]]:
    times = [_at(each, now_ms) for each in fixes]
    carried = lookup.carriers(tx, gateway, {each.device for each in fixes}, min(times), max(times))
    rows: list[tuple[Any, ...]] = []
    for reading, at in zip(fixes, times, strict=True):
        duty = _of(carried.get(reading.device, ()), at)
        place = reading.value
        if duty is None or not isinstance(place, Position):
            continue
        stated = place.accuracy_m
        accuracy_m = stated if stated is not None and 0 <= stated < 1e6 else UNSTATED_M
        rows.append(
            (duty.member, duty.shift, FIX, gateway, reading.device, at, now_ms, place.lat, place.lon, accuracy_m, None,
             False)
        )  # fmt: skip
    return rows


def _tokens(tx: Connection, gateway: str, tokens: Sequence[Reading], now_ms: int) -> list[tuple[Any, ...]]:
    standing = lookup.fixtures(tx, gateway, {each.device for each in tokens})
    said = [each for each in tokens if each.device in standing and standing[each.device].kind == _KINDS[each.metric][0]]
    owners = lookup.members_of(tx, {clean(str(each.value), 128) for each in said}) if said else {}
    if not owners:
        return []
    times = [_at(each, now_ms) for each in said]
    shifts: dict[int, list[Duty]] = {}
    for duty in lookup.duties(tx, min(times), max(times) + 1, set(owners.values())):
        shifts.setdefault(duty.member, []).append(duty)
    rows: list[tuple[Any, ...]] = []
    for reading, at in zip(said, times, strict=True):
        member = owners.get(clean(str(reading.value), 128))
        on = _of(shifts.get(member, ()), at) if member is not None else None
        if on is not None:
            kind, post = _KINDS[reading.metric][1], standing[reading.device].post
            rows.append(
                (on.member, on.shift, kind, gateway, reading.device, at, now_ms, None, None, None, post, False)
            )  # fmt: skip
    return rows
