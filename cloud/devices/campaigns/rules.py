"""How a campaign goes on. Pure.

Owns the one decision that the engine asks for; the states and what moves them are tables in `states`:

- Members are drawn into waves once; a wave opens when the gate of the one before it has passed and the start window is
  open, and only its members are started, each at most once an attempt, while the campaign runs and the window is open.
- An outcome counts whatever order it comes in: whoever committed has committed, also when it was thought to have
  failed. So the same outcomes in any order, however often each, give the same counts.
- It pauses by itself when `failed >= pause_least` and `failed x 100 >= pause_percent x started`, both counted without
  what was forgiven when somebody resumed; failed: members that failed, and those that the gate found unhealthy;
  started: every member that was ever started. And at the end of a wave in which some failed and nobody who committed
  is healthy.
- Silence is failure: no outcome within `timeout_s` of its start. A gateway that is offline is not started; one that
  does not come within `offline_s` of its wave's opening has missed it, which is no failure. Until then it starts when
  it comes, and the waves do not wait for it.
- A gate is passed when nobody of the wave that is online is still to end, somebody has committed or nobody is left,
  `soak_s` have gone by since, and the health of who committed was looked at.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from cloud.devices.campaigns.states import (
    CAMPAIGN,
    IN_FLIGHT,
    MEMBER,
    STOPPED_IN,
    UNFINISHED,
    WAITING,
    Act,
    Event,
    Standing,
    State,
    acts,
    after,
    event_of,
    moved,
    sources,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date, tzinfo

__all__ = [
    "BATCH", "CAMPAIGN", "CHUNK", "DAY_MIN", "IN_FLIGHT", "MAX_MEMBERS", "MEMBER", "STOPPED_IN", "UNFINISHED",
    "WAITING", "Act", "Counted", "Do", "Event", "Policy", "Standing", "State", "Step", "Tally", "View", "Window",
    "acts", "after", "drawn", "event_of", "moved", "next_step", "opens_at", "sources", "tally", "too_many",
    "wave_sizes",
]  # fmt: skip

DAY_MIN: Final = 1440
DAYS_AHEAD: Final = 9
"""In which each window of a week begins, however clocks are set meanwhile."""
BATCH: Final = 50
"""Members that are started, stopped, brought back or looked at in one go: SQLite has one writer, and ingest waits."""
CHUNK: Final = 5_000
"""Members that are cancelled, or miss it, in one go: nothing is ordered of them."""
MAX_MEMBERS: Final = 100_000
LINE_MS: Final = 60_000
"""For how long a line may be down before a gate calls its gateway unhealthy."""
LOOK_AGAIN_MS: Final = 5_000


class Window(NamedTuple):
    """When members may be started. days: 1 Monday to 7 Sunday. begins, ends: minutes of the local day.

    One that ends before it begins goes over midnight and belongs to the day on which it begins.
    """

    days: tuple[int, ...]
    begins: int
    ends: int


class Policy(NamedTuple):
    """How a campaign is to go; see this module's text.

    waves: `5` members, or `10%` of all. approve_waves: each but the first needs an approval of its own. back_in_waves:
    the latest wave goes back first, and the one before it when that is done.
    """

    waves: tuple[str, ...] = ("1%", "10%", "100%")
    approve_waves: bool = False
    windows: tuple[Window, ...] = ()
    timeout_s: int = 3600
    offline_s: int = 7 * 86_400
    soak_s: int = 3600
    health: bool = True
    pause_percent: int = 5
    pause_least: int = 2
    back_in_waves: bool = False


class Tally(NamedTuple):
    """How many members stand where. failed, unhealthy: without the forgiven ones, which are apart."""

    pending: int = 0
    started: int = 0
    committed: int = 0
    failed: int = 0
    forgiven: int = 0
    retrying: int = 0
    missed: int = 0
    cancelled: int = 0
    backing: int = 0
    back: int = 0
    stuck: int = 0
    unhealthy: int = 0
    """Part of the committed ones."""
    unchecked: int = 0
    """The same: the gate has not looked at them."""

    @property
    def total(self) -> int:
        """All members."""
        return self.ever + self.pending + self.missed + self.cancelled

    @property
    def ever(self) -> int:
        """Members that were ever started."""
        known = self.started + self.committed + self.failed + self.forgiven + self.retrying
        return known + self.backing + self.back + self.stuck

    @property
    def waiting(self) -> int:
        """Members that are still to be started."""
        return self.pending + self.retrying

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Counted(NamedTuple):
    """Some members that stand alike."""

    standing: Standing
    number: int
    unhealthy: bool = False
    checked: bool = False
    forgiven: bool = False


def tally(counted: Iterable[Counted]) -> Tally:
    """Add up what was counted."""
    sums = dict.fromkeys(Tally._fields, 0)
    for each in counted:
        forgiven = each.forgiven and each.standing is Standing.FAILED
        sums["forgiven" if forgiven else each.standing.value] += each.number
        if each.standing is Standing.COMMITTED:
            sums["unhealthy"] += each.number * (each.unhealthy and not each.forgiven)
            sums["unchecked"] += each.number * (not each.checked)
    return Tally(**sums)


def wave_sizes(total: int, spec: Sequence[str]) -> list[int]:
    """How many members each wave gets: percents of all of them, rounded up; what is left over is a last wave.

    Raises ValueError: a size that is none.
    """
    left, sizes = total, []
    for text in spec:
        number = text.removesuffix("%")
        if not (number.isascii() and number.isdigit()) or not int(number) or (text != number and int(number) > 100):
            raise ValueError(f"{text!r} is no size of a wave: 5, or 10%")
        wanted = int(number) if text == number else -(-total * int(number) // 100)
        size = min(wanted, left)
        left -= size
        sizes += [size] if size else []
    return [*sizes, left] if left else sizes


def drawn(names: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Members in the order in which they are taken into waves: by a hash of gateway and device, so spread out."""
    return sorted(names, key=lambda pair: hashlib.sha256("\0".join(pair).encode()).digest())


def opens_at(windows: Sequence[Window], zone: tzinfo, now_ms: int) -> int:
    """When the next start window opens by the clocks of a zone; at most now when one is open or there is none."""
    if not windows:
        return now_ms
    today = datetime.fromtimestamp(now_ms / 1000, zone).date()
    days = [today + timedelta(days=ahead) for ahead in range(-1, DAYS_AHEAD)]
    spans = [_span(each, day, zone) for each in windows for day in days if day.isoweekday() in each.days]
    return min(begins for begins, ends in spans if ends > now_ms)


def _span(window: Window, day: date, zone: tzinfo) -> tuple[int, int]:
    """From when to when a window that begins on a day is open.

    An hour that clocks show twice is in it both times. A window whose whole time clocks skip has its length after that.
    """
    length = (window.ends - window.begins) % DAY_MIN or DAY_MIN
    midnight = datetime.combine(day, time(), zone)
    begins = _ms(midnight + timedelta(minutes=window.begins))
    ends = _ms((midnight + timedelta(minutes=window.begins + length)).replace(fold=1))
    return begins, ends if ends > begins else begins + 60_000 * length


def _ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000


def too_many(all_of_it: Tally, policy: Policy) -> str | None:
    """How many of how many failed, when a campaign pauses by itself for it; None when it does not."""
    bad = all_of_it.failed + all_of_it.unhealthy
    of = all_of_it.ever - all_of_it.forgiven
    if not bad or bad < policy.pause_least or bad * 100 < policy.pause_percent * of:
        return None
    return f"{bad}/{of}"


class Do(StrEnum):
    """What the engine does next."""

    WAIT = "wait"
    PAUSE = "pause"
    OPEN = "open"
    """The next wave."""
    START = "start"
    """The next members of the wave, those that are online."""
    MISS = "miss"
    """Who of the wave still is not there."""
    SOAK = "soak"
    """The wave has ended: set its gate."""
    CHECK = "check"
    """Look at the health of the next members."""
    CANCEL = "cancel"
    """The next members that wait: they are not started any more."""
    ASK = "ask"
    """For the approval of the next wave."""
    BACK = "back"
    """Order the next members back."""
    STOP = "stop"
    """Take the orders of the next members back that are under way."""
    FINISH = "finish"
    REOPEN = "reopen"


class Step(NamedTuple):
    """What to do next.

    reason, detail: why it pauses, `failed-share` or `wave-lost`. until: when to look again at the latest, None when
    only something new can change it.
    """

    do: Do
    reason: str = ""
    detail: str = ""
    until: int | None = None
    wave: int = 0


class View(NamedTuple):
    """What is decided on.

    waves: by number from 1, every wave's tally. gate_at: of the open wave. opens_at: when the start window is open, at
    most now when it is. reachable, overdue: whether members of opened waves wait and are online, or are not and had
    their time; missed_at: when that is of the next. deadline: the first of those in flight. unstopped: whether orders
    are still to be taken back. closed: nothing more to come.
    """

    state: State
    wave: int
    waves: tuple[Tally, ...]
    approved_wave: int
    gate_at: int | None
    opens_at: int
    reachable: bool
    overdue: bool
    missed_at: int | None
    deadline: int | None
    now_ms: int
    unstopped: bool = False
    closed: bool = False

    @property
    def all(self) -> Tally:
        """Every member."""
        found = Tally()
        for each in self.waves:
            found = found.plus(each)
        return found


def next_step(view: View, policy: Policy) -> Step:
    """What happens next. Doing it and asking again leads to WAIT, ASK, PAUSE or FINISH after a bounded time."""
    if view.state is State.RUNNING:
        return _running(view, policy)
    if view.state in {State.ROLLING_BACK, State.ABORTED} and (view.all.waiting or view.unstopped):
        return Step(Do.CANCEL if view.all.waiting else Do.STOP)
    if view.state is State.ROLLING_BACK:
        return _rolling_back(view, policy)
    if view.state is State.ROLLED_BACK and view.all.committed:
        return Step(Do.REOPEN)
    if view.state is State.ABORTED and not view.all.started and not view.closed:
        return Step(Do.FINISH)
    return Step(Do.WAIT, until=view.deadline)


def _running(view: View, policy: Policy) -> Step:
    share = too_many(view.all, policy)
    if share:
        return Step(Do.PAUSE, "failed-share", share)
    return _in_wave(view, policy) if view.wave else _opened(view, Step(Do.OPEN, wave=1))


def _opened(view: View, step: Step) -> Step:
    """A wave opens within a start window: its offline members' time counts from when it can be used."""
    return step if view.opens_at <= view.now_ms else Step(Do.WAIT, until=_first(view.opens_at, step.until))


def _in_wave(view: View, policy: Policy) -> Step:
    if view.reachable and view.opens_at <= view.now_ms:
        return Step(Do.START)
    if view.overdue:
        return Step(Do.MISS)
    opens_at = view.opens_at if view.reachable else None
    waits = Step(Do.WAIT, until=_first(view.deadline, view.missed_at, opens_at))
    here = view.waves[view.wave - 1]
    # Who is offline does not keep those who are there; but somebody of a wave must have shown that it works.
    if here.started or view.reachable or (here.waiting and not here.committed):
        return waits
    if here.failed + here.unhealthy and here.committed <= here.unhealthy:
        return Step(Do.PAUSE, "wave-lost", str(view.wave))
    return _gate(view, policy, waits)


def _gate(view: View, policy: Policy, waits: Step) -> Step:
    if view.gate_at is None:
        return Step(Do.SOAK, until=view.now_ms + 1000 * policy.soak_s)
    if view.now_ms < view.gate_at:
        return Step(Do.WAIT, until=_first(view.gate_at, waits.until))
    if policy.health and view.waves[view.wave - 1].unchecked:
        return Step(Do.CHECK)
    if view.wave < len(view.waves):
        if policy.approve_waves and view.approved_wave <= view.wave:
            return Step(Do.ASK, wave=view.wave + 1, until=waits.until)
        return _opened(view, Step(Do.OPEN, wave=view.wave + 1, until=waits.until))
    return waits if view.all.started or view.all.waiting else Step(Do.FINISH)


def _rolling_back(view: View, policy: Policy) -> Step:
    for number in range(len(view.waves), 0, -1):
        each = view.waves[number - 1]
        if each.committed:
            return Step(Do.BACK, wave=number if policy.back_in_waves else 0)
        if policy.back_in_waves and (each.backing or each.started):
            return Step(Do.WAIT, until=view.deadline)
    if view.all.backing or view.all.started:
        return Step(Do.WAIT, until=view.deadline)
    return Step(Do.FINISH)


def _first(*times: int | None) -> int | None:
    return min((each for each in times if each is not None), default=None)
