"""How a gateway is, from what is known of it: good, watch, bad or unknown, each measure with its reason. Pure.

Owns the limits. A measure that a machine does not have is left out; one that is not known now is unknown, which is
neither good nor bad. What a gateway told of itself counts while it is online and told it lately; before that only what
the cloud knows by itself is judged. Shares are from 0 to 1, times milliseconds UTC.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from firmware_specs.wire_vitals import UNCLEAN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from firmware_specs.wire_vitals import Start, Vitals

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
FRESH_MS: Final = 5 * 60_000
"""A status is told every half minute; one older than this says nothing of now."""


class State(StrEnum):
    """How something is, the worst first."""

    BAD = "bad"
    WATCH = "watch"
    UNKNOWN = "unknown"
    GOOD = "good"


WORST: Final = tuple(State)


class Limit(NamedTuple):
    """From which value on something is to be watched, and from which it is bad. falling: less is worse."""

    watch: float
    bad: float
    falling: bool = False

    def judge(self, value: float) -> State:
        """Where a value lies."""
        sign = -1 if self.falling else 1
        if sign * value >= sign * self.bad:
            return State.BAD
        return State.WATCH if sign * value >= sign * self.watch else State.GOOD


DISK: Final = Limit(0.20, 0.10, falling=True)
"""Share of the disk that is free."""
CERTIFICATE_D: Final = Limit(30, 14, falling=True)
"""Days left, once the renewal is overdue."""
CLOCK_MS: Final = Limit(500, 5_000)
UNSYNCED_MS: Final = Limit(1, HOUR_MS)
WEAR: Final = Limit(0.8, 1.0)
"""Of the latest whole day, against the budget; it is bad only when seven days in a row were above it."""
WEAR_DAYS: Final = 7
OUTBOX_MS: Final = Limit(5 * 60_000, HOUR_MS)
RESTARTS: Final = Limit(1, 3)
"""Unclean ones within a day."""
MEMORY: Final = Limit(0.85, 0.95)
TEMPERATURE_C: Final = Limit(75, 85)
ONLINE: Final = Limit(0.99, 0.95, falling=True)
"""Share of the last day."""
SILENT: Final = Limit(1e-9, 0.2)
"""Share of the devices."""
BATTERY: Final = Limit(20, 10, falling=True)
SIGNAL_DBM: Final = Limit(-100, -110, falling=True)
LOST: Final = Limit(1, 1)
THINNED: Final = Limit(1, float("inf"))
GATE: Final = frozenset({"line", "fault", "connectors", "disk", "memory", "outbox", "restarts"})
"""What must not be bad for a change to go on."""
NEEDED: Final = frozenset({"line", "clock", "disk"})
"""What must be known for a gateway to be called good."""


class Finding(NamedTuple):
    """A measure. value: in `unit`; of: what it is compared with. reason: a word for why it is not good.

    at_ms: of when it is.
    """

    measure: str
    state: State
    value: float | None = None
    unit: str = ""
    reason: str = ""
    of: float | None = None
    detail: str = ""
    at_ms: int | None = None


class Lost(NamedTuple):
    """What the ledger of the last seven days says."""

    lost: int = 0
    thinned: int = 0


class Facts(NamedTuple):
    """What is known of a gateway.

    heard_at: of its last word. told_at: of its last status. oldest_at: of what waits longest in its outbox.
    unsynced_since: of its clock, None while it is synced. online: share of the last day, week and month, None when
    nothing is known of that time. latest: its own metrics. gauges: role and value of batteries and signals.
    """

    online: bool
    heard_at: int | None = None
    changed_at: int | None = None
    told_at: int | None = None
    vitals: Vitals | None = None
    degraded: str = ""
    connectors: Mapping[str, str] = {}
    oldest_at: int | None = None
    waiting: int = 0
    unsynced_since: int | None = None
    shares: Mapping[str, float | None] = {}
    latest: Mapping[str, float] = {}
    devices: int = 0
    silent: int = 0
    gauges: Sequence[tuple[str, float]] = ()
    written: Sequence[tuple[int, int]] = ()
    loss: Lost = Lost()
    agent_version: str = ""


def judge(facts: Facts, now_ms: int) -> list[Finding]:
    """Every measure that this gateway has, in the order in which they are shown."""
    found: list[Finding] = [_line(facts), *_shares(facts)]
    fresh = facts.online and facts.told_at is not None and now_ms - facts.told_at <= FRESH_MS
    told = [
        *_fault(facts), *_connectors(facts), _outbox(facts, now_ms), *_clock(facts, now_ms), *_disk(facts),
        *_wear(facts), *_certificate(facts, now_ms), *_machine(facts), *_restarts(facts, now_ms),
    ]  # fmt: skip
    found += told if fresh else [_stale(each, facts) for each in told]
    found += _devices(facts)
    found += _loss(facts)
    return [each._replace(at_ms=each.at_ms or facts.told_at) for each in found]


def overall(findings: Iterable[Finding]) -> State:
    """How the gateway is: as its worst measure; unknown when something is that must be known."""
    worst = State.GOOD
    for each in findings:
        if each.state is State.UNKNOWN and each.measure not in NEEDED:
            continue
        worst = min(worst, each.state, key=WORST.index)
    return worst


class Verdict(NamedTuple):
    """Whether a change may go on with a gateway. why: what stands against it. away_since: when its line went down."""

    good: bool
    why: str = ""
    away_since: int | None = None


def gate(findings: Sequence[Finding]) -> Verdict:
    """Whether a change may go on with this gateway."""
    against = [each for each in findings if each.measure in GATE and each.state in {State.BAD, State.UNKNOWN}]
    if not against:
        return Verdict(True)
    first = against[0]
    why = f"{first.measure}: {first.reason or first.state}" + (f" ({first.detail})" if first.detail else "")
    return Verdict(False, why, first.at_ms if first.measure == "line" else None)


def _stale(finding: Finding, facts: Facts) -> Finding:
    """What was told too long ago to say anything of now."""
    reason = "silent" if facts.online else "offline"
    return finding._replace(state=State.UNKNOWN, reason=reason, at_ms=facts.told_at)


def _line(facts: Facts) -> Finding:
    if facts.heard_at is None:
        return Finding("line", State.UNKNOWN, reason="never")
    if not facts.online:
        return Finding("line", State.BAD, reason="offline", at_ms=facts.changed_at)
    return Finding("line", State.GOOD, at_ms=facts.heard_at)


def _shares(facts: Facts) -> list[Finding]:
    found = []
    for span, share in facts.shares.items():
        if share is None:
            found.append(Finding(f"online_{span}", State.UNKNOWN, unit="share", reason="no-history"))
        else:
            # Longer spans are shown; what a week ago was does not call for anybody today.
            state = ONLINE.judge(share) if span == "day" else State.GOOD
            found.append(Finding(f"online_{span}", state, share, "share", _over(state, "low"), ONLINE.watch))
    return found


def _over(state: State, reason: str) -> str:
    return "" if state is State.GOOD else reason


def _fault(facts: Facts) -> list[Finding]:
    if not facts.degraded:
        return []
    return [Finding("fault", State.BAD, reason="degraded", detail=facts.degraded)]


def _connectors(facts: Facts) -> list[Finding]:
    if not facts.connectors:
        return []
    down = sorted(name for name, state in facts.connectors.items() if state != "up")
    share = len(down) / len(facts.connectors)
    state = State.GOOD if not down else State.BAD if share == 1 else State.WATCH
    up = len(facts.connectors) - len(down)
    return [
        Finding(
            "connectors", state, up, "count", _over(state, "down"), len(facts.connectors), ", ".join(down)[:200]
        )
    ]  # fmt: skip


def _outbox(facts: Facts, now_ms: int) -> Finding:
    age = max(0, now_ms - facts.oldest_at) if facts.oldest_at else 0
    state = OUTBOX_MS.judge(age)
    return Finding("outbox", state, age / 1000, "s", _over(state, "old"), OUTBOX_MS.watch / 1000, str(facts.waiting))


def _clock(facts: Facts, now_ms: int) -> list[Finding]:
    if facts.unsynced_since is not None:
        age = max(1, now_ms - facts.unsynced_since)
        state = UNSYNCED_MS.judge(age)
        return [Finding("clock", state, age / 1000, "s", "unsynced", UNSYNCED_MS.bad / 1000)]
    offset = facts.vitals.clock_offset_ms if facts.vitals else None
    if offset is None:
        return [Finding("clock", State.GOOD)]
    state = CLOCK_MS.judge(abs(offset))
    return [Finding("clock", state, offset, "ms", _over(state, "off"), CLOCK_MS.watch)]


def _disk(facts: Facts) -> list[Finding]:
    vitals = facts.vitals
    if vitals is None or vitals.disk_free is None or not vitals.disk_size:
        return [Finding("disk", State.UNKNOWN, reason="not-told")]
    share = vitals.disk_free / vitals.disk_size
    state = DISK.judge(share)
    return [Finding("disk", state, share, "share", _over(state, "low"), DISK.watch, str(vitals.disk_free))]


def whole_days(written: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The days that are over: the running one says nothing yet."""
    return list(written[:-1])


def over_budget(written: Sequence[tuple[int, int]], budget: int | None) -> bool:
    """Whether each of the last seven whole days, one after the other, was above the budget."""
    days = whole_days(written)[-WEAR_DAYS:]
    if not budget or len(days) < WEAR_DAYS or days[-1][0] - days[0][0] != WEAR_DAYS - 1:
        return False
    return all(count > budget for _, count in days)


def _wear(facts: Facts) -> list[Finding]:
    budget = facts.vitals.written_budget if facts.vitals else None
    if not budget or facts.vitals is None:
        return []
    days, by = whole_days(facts.written), facts.vitals.written_by
    if not days:
        return [Finding("wear", State.UNKNOWN, unit="share", reason="no-day", of=1.0, detail=by)]
    share = days[-1][1] / budget
    state = State.GOOD if share < WEAR.watch else State.WATCH
    if over_budget(facts.written, budget):
        state = State.BAD
    return [Finding("wear", state, share, "share", _over(state, "over" if share > 1 else "near"), 1.0, by)]


def renewal_overdue(vitals: Vitals, now_ms: int) -> bool:
    """Whether a certificate should have been renewed: a day after two thirds of its life, or when that failed."""
    begin, end = vitals.certificate_from_ms, vitals.certificate_until_ms
    if begin is None or end is None:
        return False
    return bool(vitals.renewal) or now_ms > begin + 2 * (end - begin) // 3 + DAY_MS


def _certificate(facts: Facts, now_ms: int) -> list[Finding]:
    vitals = facts.vitals
    if vitals is None or vitals.certificate_until_ms is None:
        return []
    days = (vitals.certificate_until_ms - now_ms) / DAY_MS
    overdue = renewal_overdue(vitals, now_ms)
    state = CERTIFICATE_D.judge(days) if overdue else State.GOOD
    state = State.BAD if days <= 0 else State.WATCH if overdue and state is State.GOOD else state
    reason = "expired" if days <= 0 else "overdue" if overdue else ""
    return [Finding("certificate", state, days, "d", reason, CERTIFICATE_D.bad, vitals.renewal)]


def _machine(facts: Facts) -> list[Finding]:
    found = []
    measures: tuple[tuple[str, str, Limit, Callable[[float], float], str], ...] = (
        ("memory", "memory_used", MEMORY, lambda value: value / 100, "share"),
        ("temperature", "temperature", TEMPERATURE_C, lambda value: value, "Cel"),
    )
    for name, metric, limit, scaled, unit in measures:
        if metric in facts.latest:
            value = scaled(facts.latest[metric])
            state = limit.judge(value)
            found.append(Finding(name, state, value, unit, _over(state, "high"), limit.watch))
    if facts.vitals and facts.vitals.under_voltage is not None:
        weak = facts.vitals.under_voltage
        found.append(Finding("power", State.BAD if weak else State.GOOD, reason="weak" if weak else ""))
    return found


def unclean(starts: Iterable[Start], now_ms: int) -> list[Start]:
    """The starts of the last day that followed no orderly end; of a clock that was days off nothing is known."""
    return [start for start in starts if abs(now_ms - start.at_ms) <= DAY_MS and start.reason in UNCLEAN]


def _restarts(facts: Facts, now_ms: int) -> list[Finding]:
    if facts.vitals is None or not facts.vitals.starts:
        return []
    recent = unclean(facts.vitals.starts, now_ms)
    state = RESTARTS.judge(len(recent))
    last = facts.vitals.starts[-1]
    reason = recent[-1].reason.value if recent else ""
    return [Finding("restarts", state, len(recent), "count", reason, RESTARTS.bad, last.detail, last.at_ms)]


def _devices(facts: Facts) -> list[Finding]:
    if not facts.devices:
        return []
    found = []
    if facts.online:
        state = SILENT.judge(facts.silent / facts.devices)
        found.append(Finding("silent", state, facts.silent, "count", _over(state, "silent"), facts.devices))
    else:
        found.append(Finding("silent", State.UNKNOWN, None, "count", "offline", facts.devices))
    for role, limit, unit in (("battery", BATTERY, "%EL"), ("signal", SIGNAL_DBM, "dBm")):
        values = [value for each, value in facts.gauges if each == role]
        if values:
            states = [limit.judge(value) for value in values]
            worst = min(states, key=WORST.index)
            weak = sum(state is not State.GOOD for state in states)
            # One weak battery is a thing to do and no fault of the gateway.
            state = State.WATCH if worst is State.BAD else worst
            found.append(Finding(role, state, min(values), unit, _over(state, "weak"), limit.watch, str(weak)))
    return found


def _loss(facts: Facts) -> list[Finding]:
    found = []
    for name, value, limit in (("lost", facts.loss.lost, LOST), ("thinned", facts.loss.thinned, THINNED)):
        state = limit.judge(value)
        found.append(Finding(name, state, value, "count", _over(state, "some")))
    return found


def turn(gateway: str, every_ms: int, after_ms: int) -> int:
    """When a gateway's turn is next after a time: each has its own place within every so many milliseconds."""
    place = crc32(gateway.encode()) % every_ms
    return after_ms + 1 + (place - after_ms - 1) % every_ms


def share_online(changes: Sequence[tuple[int, bool]], from_ms: int, to_ms: int) -> float | None:
    """The share of a time in which a gateway was online, of the part of it that something is known of.

    changes: when it went online or offline, in order, with what was before `from_ms` when that is known.
    """
    online = known = 0
    ends = [*(at for at, _ in changes), to_ms][1:]
    for (at, state), following in zip(changes, ends, strict=True):
        span = min(following, to_ms) - max(at, from_ms)
        if span > 0:
            known += span
            online += span if state else 0
    return online / known if known else None
