"""The rules of campaigns: tables, waves, windows, and what holds whatever comes in whatever order."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.devices.campaigns import rules
from cloud.devices.campaigns.rules import Act, Counted, Do, Event, Policy, Standing, State, Tally, View, Window
from tests.cloud.cloud_support import NOW

if TYPE_CHECKING:
    from collections.abc import Sequence

OUTCOMES = (Event.DONE, Event.FAIL, Event.BACK_DONE, Event.BACK_FAIL)


@given(st.permutations([(m, ok) for m in range(4) for ok in (True, False, True)]))
def test_the_same_outcomes_in_any_order_give_the_same_counts(order: list[tuple[int, bool]]) -> None:
    """Each member's outcomes are mixed, repeated and reordered; a success counts whenever it comes."""
    stands = dict.fromkeys(range(5), Standing.STARTED)
    for member, ok in order:
        stands[member] = rules.moved(stands[member], rules.event_of(ok=ok, back=False))
    assert [stands[n] for n in range(5)] == [Standing.COMMITTED] * 4 + [Standing.STARTED]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30).flatmap(
        lambda told: st.tuples(st.just(told), st.permutations(told))
    )
)
def test_any_order_and_repeat_of_outcomes_ends_alike(told: tuple[Sequence[tuple[int, bool]], ...]) -> None:
    first, second = (dict.fromkeys(range(6), Standing.STARTED) for _ in range(2))
    for stands, order in ((first, told[0]), (second, [*told[1], *told[1]])):
        for member, ok in order:
            stands[member] = rules.moved(stands[member], rules.event_of(ok=ok, back=False))
    assert first == second


@given(st.lists(st.sampled_from(list(Event)), max_size=40))
def test_a_committed_member_is_never_started_again(events: list[Event]) -> None:
    """Only a return that failed, or none at all, lies between: nothing leads from committed to started."""
    stands, committed = Standing.PENDING, False
    for event in events:
        before, stands = stands, rules.moved(stands, event)
        assert not (committed and stands is Standing.STARTED)
        assert not (before is not stands and stands is Standing.STARTED and before not in rules.WAITING)
        committed = committed or stands is Standing.COMMITTED


def test_outcomes_mean_nothing_to_those_who_were_never_started() -> None:
    for stands, event in itertools.product((Standing.PENDING, Standing.MISSED, Standing.CANCELLED), OUTCOMES):
        assert rules.moved(stands, event) is stands


def test_what_is_not_in_the_table_is_refused() -> None:
    assert rules.after(State.DRAFT, Act.START) is None
    assert rules.after(State.ENDED, Act.RESUME) is None
    assert rules.after(State.ROLLING_BACK, Act.ABORT) is None
    assert rules.acts(State.DRAFT) == [Act.APPROVE, Act.ABORT]
    assert Act.FINISH not in rules.acts(State.RUNNING)


@given(st.integers(1, 100_000), st.lists(st.sampled_from(["1", "7", "1%", "10%", "33%", "100%"]), min_size=1))
def test_waves_have_everybody_once_and_nobody_is_empty(total: int, spec: list[str]) -> None:
    sizes = rules.wave_sizes(total, spec)
    assert sum(sizes) == total
    assert all(size > 0 for size in sizes)
    assert len(sizes) <= len(spec) + 1


def test_wave_sizes_are_counts_or_percents_of_all_rounded_up() -> None:
    assert rules.wave_sizes(250, ("5", "10%", "100%")) == [5, 25, 220]
    assert rules.wave_sizes(30, ("1%", "10%")) == [1, 3, 26]
    assert rules.wave_sizes(3, ("5", "10%")) == [3]


@pytest.mark.parametrize("size", ["0", "0%", "101%", "-1", "1.5", "", "%", "ten", "²"])
def test_a_size_that_is_none_is_refused(size: str) -> None:
    with pytest.raises(ValueError, match="no size of a wave"):
        rules.wave_sizes(10, [size])


def test_members_are_drawn_alike_whatever_order_they_came_in() -> None:
    names = [(f"gw-{n}", "") for n in range(100)]
    drawn = rules.drawn(names)
    assert drawn == rules.drawn(names[::-1])
    assert drawn != names
    assert sorted(drawn) == sorted(names)


SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")
NIGHT = (Window((1, 2), 23 * 60, 2 * 60),)
"""Of Monday and of Tuesday."""
SUNDAY = (Window((7,), 2 * 60, 3 * 60),)
"""The hour that clocks in Berlin skip on 28 March 2027 and show twice on 31 October."""


def waits(windows: tuple[Window, ...], local: str, zone: ZoneInfo = SHANGHAI) -> str:
    """When the window opens, as clocks there show it; empty when it is open."""
    moment = datetime.fromisoformat(local)
    now = int((moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp() * 1000)
    opens = rules.opens_at(windows, zone, now)
    return "" if opens <= now else datetime.fromtimestamp(opens / 1000, zone).isoformat(" ", "minutes")[:16]


@pytest.mark.parametrize(
    ("local", "opens"),
    [
        ("2027-03-01 23:00", ""), ("2027-03-02 01:59", ""), ("2027-03-02 02:00", "2027-03-02 23:00"),
        ("2027-03-01 00:00", "2027-03-01 23:00"), ("2027-03-03 01:59:59", ""), ("2027-03-03 02:00", "2027-03-08 23:00"),
    ],
)  # fmt: skip
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins(local: str, opens: str) -> None:
    assert waits(NIGHT, local) == opens


def test_a_window_of_equal_times_is_a_whole_day() -> None:
    thursday = (Window((4,), 60, 60),)
    assert waits(thursday, "2027-03-04 01:00") == ""
    assert waits(thursday, "2027-03-05 00:59") == ""
    assert waits(thursday, "2027-03-05 01:00") == "2027-03-11 01:00"
    assert waits((), "2027-03-05 01:00") == ""


@pytest.mark.parametrize(
    ("windows", "local", "opens"),
    [
        (SUNDAY, "2027-03-27 12:00", "2027-03-28 03:00"),
        (SUNDAY, "2027-03-28 03:59", ""),
        (SUNDAY, "2027-03-28 04:00", "2027-04-04 02:00"),
        (SUNDAY, "2027-10-31 02:59+02:00", ""),
        (SUNDAY, "2027-10-31 02:59+01:00", ""),
        (SUNDAY, "2027-10-31 03:00+01:00", "2027-11-07 02:00"),
        ((Window((6,), 23 * 60, 5 * 60),), "2027-03-28 04:59", ""),
        ((Window((6,), 23 * 60, 5 * 60),), "2027-03-28 05:00", "2027-04-03 23:00"),
        ((Window((7,), 4 * 60, 5 * 60),), "2027-03-28 01:30", "2027-03-28 04:00"),
    ],
)  # fmt: skip
def test_a_window_goes_by_the_clocks_of_its_place_when_they_are_set(
    windows: tuple[Window, ...], local: str, opens: str
) -> None:
    """What clocks skip is not lost for a week, what they show twice is open twice, nobody waits an hour too long."""
    assert waits(windows, local, BERLIN) == opens


@given(st.integers(NOW, NOW + 400 * 86_400_000), st.integers(0, 1439), st.integers(0, 1439), st.sampled_from([1, 4, 7]))
def test_after_its_wait_a_window_is_open(now: int, begins: int, ends: int, day: int) -> None:
    windows = (Window((day,), begins, ends),)
    opens = rules.opens_at(windows, BERLIN, now)
    assert opens - now <= 9 * 86_400_000
    assert rules.opens_at(windows, BERLIN, max(now, opens)) <= max(now, opens)


@pytest.mark.parametrize(
    ("whole", "expected"),
    [
        (Tally(committed=96, failed=4), None),
        (Tally(committed=95, failed=5), "5/100"),
        (Tally(committed=5, failed=1), None),
        (Tally(committed=5, failed=2), "2/7"),
        (Tally(committed=10, failed=2, forgiven=20, pending=500), "2/12"),
        (Tally(committed=10, unhealthy=2), "2/10"),
        (Tally(started=90, failed=4, retrying=6), None),
        (Tally(), None),
    ],
)
def test_it_pauses_from_the_share_and_the_number_on(whole: Tally, expected: str | None) -> None:
    assert rules.too_many(whole, Policy(pause_percent=5, pause_least=2)) == expected


def test_a_tally_is_told_apart_by_what_is_formomentunhealthy_and_unchecked() -> None:
    told = rules.tally([
        Counted(Standing.FAILED, 3), Counted(Standing.FAILED, 2, forgiven=True), Counted(Standing.COMMITTED, 4),
        Counted(Standing.COMMITTED, 1, unhealthy=True, checked=True),
        Counted(Standing.COMMITTED, 5, unhealthy=True, checked=True, forgiven=True),
    ])  # fmt: skip
    assert told == Tally(failed=3, forgiven=2, committed=10, unhealthy=1, unchecked=4)
    assert (told.ever, told.total) == (15, 15)


class Played:
    """A campaign in memory, moved by what the rules say and by what chance sends."""

    def __init__(self, sizes: list[int], policy: Policy) -> None:
        self.policy = policy
        self.state, self.wave, self.now = State.RUNNING, 0, 0
        self.gate: int | None = None
        self.approved = 1
        self.at = [wave for wave, size in enumerate(sizes, 1) for _ in range(size)]
        self.stands = [Standing.PENDING] * len(self.at)
        self.online = [True] * len(self.at)
        self.forgiven = [False] * len(self.at)
        self.starts = [0] * len(self.at)
        self.waves = len(sizes)

    def view(self) -> View:
        tallies = tuple(
            rules.tally(
                Counted(s, 1, checked=True, forgiven=f)
                for s, f, w in zip(self.stands, self.forgiven, self.at, strict=True)
                if w == wave
            )
            for wave in range(1, self.waves + 1)
        )
        reachable = any(self._waits(n) and self.online[n] for n in range(len(self.at)))
        return View(self.state, self.wave, tallies, self.approved, self.gate, self.now, reachable, False, None, None,
                    self.now)  # fmt: skip

    def _waits(self, n: int) -> bool:
        return self.at[n] <= self.wave and self.stands[n] in rules.WAITING

    def take(self, what: str, n: int) -> None:
        """What somebody does, or a gateway tells."""
        if what in {"ok", "fail", "back-ok"}:
            event = rules.event_of(ok=what != "fail", back=what == "back-ok")
            self.stands[n] = rules.moved(self.stands[n], event)
        elif what in {"online", "offline"}:
            self.online[n] = what == "online"
        elif what == "time":
            self.now += 10_000
        elif what == "approve":
            self.approved = self.wave + 1
        else:
            self._act({"pause": Act.PAUSE, "resume": Act.RESUME, "rollback": Act.ROLL_BACK}[what])

    def _act(self, act: Act) -> None:
        to = rules.after(self.state, act)
        if to is None:
            return
        self.state = to
        if act is Act.RESUME:
            failed = [stands is Standing.FAILED for stands in self.stands]
            self.forgiven = [now or before for now, before in zip(failed, self.forgiven, strict=True)]

    def turn(self) -> None:
        for _ in range(200):
            step = rules.next_step(self.view(), self.policy)
            if step.do is Do.START:
                assert self.state is State.RUNNING
                for n in [n for n in range(len(self.at)) if self._waits(n) and self.online[n]][: rules.BATCH]:
                    self.stands[n] = rules.moved(self.stands[n], Event.START)
                    self.starts[n] += 1
            elif step.do is Do.OPEN:
                assert step.wave == self.wave + 1
                self.wave, self.gate = step.wave, None
            elif step.do is Do.SOAK:
                self.gate = step.until
            elif step.do is Do.PAUSE:
                self.state = State.PAUSED
            elif step.do in {Do.CANCEL, Do.BACK}:
                event = Event.CANCEL if step.do is Do.CANCEL else Event.GO_BACK
                self.stands = [rules.moved(stands, event) for stands in self.stands]
            elif step.do in {Do.FINISH, Do.REOPEN}:
                act = Act.FINISH if step.do is Do.FINISH else Act.REOPEN
                self.state = rules.after(self.state, act) or self.state
            else:
                return
        raise AssertionError("the rules do not come to rest")


_EVENTS = st.one_of(
    st.tuples(st.sampled_from(["ok", "fail", "online", "offline"]), st.integers(0, 11)),
    st.tuples(st.sampled_from(["pause", "resume", "rollback", "back-ok", "approve", "time"]), st.integers(0, 11)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_EVENTS, max_size=60), st.booleans())
def test_whatever_comes_no_wave_is_overrun_and_nobody_starts_while_paused(
    events: list[tuple[str, int]], approve: bool
) -> None:
    played = Played([1, 3, 8], Policy(approve_waves=approve, soak_s=10, health=False, pause_least=2, pause_percent=20))
    for what, n in events:
        started, state = list(played.starts), played.state
        played.take(what, n)
        played.turn()
        assert max(played.starts) <= 1
        for wave, size in ((1, 1), (2, 3), (3, 8)):
            begun = sum(played.starts[k] for k in range(12) if played.at[k] == wave)
            assert begun <= (size if wave <= played.wave else 0)
        if state is not State.RUNNING and what != "resume":
            assert played.starts == started
        if approve:
            assert played.wave <= played.approved
