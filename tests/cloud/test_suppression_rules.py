"""The pure rules of what keeps an alarm quiet, what flaps, what belongs together, and whom a chain tells when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.alerts import rules
from cloud.alerts.rules import CAUSES, PROTECTED, Chain, Cover, Purpose, Step, Subject, Why, suppression
from cloud.console.i18n import WORDS
from firmware_specs.readings import Severity

NOW = 1_000_000
ALL = Cover(1, Purpose.SILENCE, "/", None, None, None, 0, NOW + 1)
WORKS = ALL._replace(id=2, purpose=Purpose.MAINTENANCE)


def alarm(kind: str = "door-open", **more: object) -> Subject:
    return Subject(1, "/1/4/", "gw-1", "d-1", kind)._replace(**more)  # type: ignore[arg-type]


def why(subject: Subject, *covers: Cover, causes: tuple[Subject, ...] = (), now: int = NOW) -> Why:
    return suppression(subject, covers, causes, now).why


@pytest.mark.parametrize(
    ("change", "quiet"),
    [
        ({}, True), ({"node": "/1/"}, True), ({"node": "/1/4/7/"}, False), ({"node": "/2/"}, False),
        ({"gateway": "gw-1"}, True), ({"gateway": "gw-2"}, False), ({"gateway": "gw-1", "device": "d-1"}, True),
        ({"gateway": "gw-1", "device": "d-2"}, False), ({"kind": "door-open"}, True), ({"kind": "frost"}, False),
        ({"ends_at": NOW}, False), ({"starts_at": NOW}, True), ({"starts_at": NOW + 1}, False),
    ],
)  # fmt: skip
def test_a_silence_covers_what_it_names_while_it_is_in_force(change: dict[str, object], quiet: bool) -> None:
    assert why(alarm(), ALL._replace(**change)) is (Why.SILENCE if quiet else Why.NOTHING)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", sorted(PROTECTED))
def test_what_nothing_silences_has_a_word_in_both_languages(kind: str) -> None:
    assert [words.name("kind", kind) for words in WORDS.values() if words.name("kind", kind) == kind] == []


@pytest.mark.parametrize("kind", sorted(PROTECTED))
def test_nothing_silences_or_inhibits_what_is_protected(kind: str) -> None:
    every = [alarm(cause, id=9) for cause in sorted(rules.CAUSE_KINDS)]
    found = suppression(alarm(kind), [ALL, WORKS], every, NOW)
    assert found.loud
    assert (found.silence, found.maintenance, found.inhibited_by, found.spared_by) == (None, 2, None, 1)


def test_a_maintenance_of_the_very_device_keeps_even_a_fire_quiet() -> None:
    in_hand = WORKS._replace(gateway="gw-1", device="d-1")
    assert why(alarm("fire"), in_hand) is Why.MAINTENANCE
    assert why(alarm("fire", device="d-2"), in_hand) is Why.NOTHING
    assert why(alarm("fire"), WORKS._replace(gateway="gw-1")) is Why.NOTHING
    assert why(alarm("frost"), WORKS._replace(gateway="gw-1")) is Why.MAINTENANCE


def test_a_person_may_shelve_even_a_fire_and_time_ends_it() -> None:
    assert why(alarm("fire", shelved_until=NOW + 1)) is Why.SHELVED
    assert why(alarm("fire", shelved_until=NOW)) is Why.NOTHING


def test_of_several_silences_the_one_that_lasts_longest_is_named() -> None:
    longer = ALL._replace(id=7, ends_at=NOW + 500)
    assert suppression(alarm(), [ALL, longer, longer._replace(id=8)], [], NOW).silence == 7


@pytest.mark.parametrize(
    ("cause", "effect", "explained"),
    [
        ({"kind": "gateway-offline", "device": ""}, {"kind": "device-silent"}, True),
        ({"kind": "gateway-offline", "device": ""}, {"kind": "device-silent", "gateway": "gw-2"}, False),
        ({"kind": "gateway-offline", "device": ""}, {"kind": "door-open"}, False),
        ({"kind": "mains-lost"}, {"kind": "gateway-offline", "gateway": "gw-2", "device": ""}, True),
        ({"kind": "mains-lost"}, {"kind": "gateway-offline", "gateway": "gw-2", "node": "/1/"}, False),
        ({"kind": "mains-lost", "node": "/"}, {"kind": "gateway-offline", "gateway": "gw-2"}, False),
        ({"kind": "fix-lost"}, {"kind": "fix-poor"}, True),
        ({"kind": "fix-lost", "device": "d-2"}, {"kind": "fix-poor"}, False),
        ({"kind": "fix-lost", "drill": True}, {"kind": "fix-poor"}, False),
        ({"kind": "gateway-offline", "gateway": ""}, {"kind": "device-silent", "gateway": ""}, False),
    ],
)
def test_a_cause_explains_its_effects_within_reach(
    cause: dict[str, object], effect: dict[str, object], explained: bool
) -> None:
    found = suppression(alarm(**effect), [], [alarm(**{"id": 9, **cause})], NOW)  # type: ignore[arg-type]
    assert (found.inhibited_by == 9, found.why is Why.INHIBITED) == (explained, explained)


def test_no_chain_of_causes_comes_back_to_where_it_began() -> None:
    effects = {kind: {e for c in CAUSES if kind in c.kinds for e in c.effects} for kind in rules.CAUSE_KINDS}
    for kind, direct in effects.items():
        seen: set[str] = set()
        todo = set(direct)
        while todo:
            each = todo.pop()
            assert each != kind
            todo |= effects.get(each, set()) - seen
            seen.add(each)


@given(
    st.lists(
        st.tuples(st.sampled_from(["gateway-offline", "link-down", "mains-lost", "fire"]), st.integers(0, 3)),
        unique=True, max_size=6,
    ),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_the_same_causes_in_any_order_explain_the_same(given_causes: list[tuple[str, int]], random: object) -> None:
    causes = [alarm(kind, id=10 + n, device=f"d-{n}") for kind, n in given_causes]
    shuffled = list(causes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    effect = alarm("device-silent")
    assert suppression(effect, [], causes, NOW) == suppression(effect, [], shuffled, NOW)


# ---- flapping


def test_what_comes_and_goes_three_times_in_ten_minutes_flaps_and_calms_down() -> None:
    times = [(n * 60_000, n * 60_000 + 30_000) for n in range(6)]
    scored = rules.flaps(times)
    assert [flap.flapping for flap in scored] == [False, False, False, True, True, True]
    assert scored[0].score == pytest.approx(1 + 2 ** (-0.05), abs=0.001)
    after = rules.calm_after_ms(scored[-1].score)
    assert 600_000 < after < 1_800_000
    later = times[-1][1] + after
    assert not rules.flaps([*times, (later + 1_200_000, None)])[-1].flapping
    assert rules.calm_after_ms(1.0) == 1


def test_flapping_has_hysteresis() -> None:
    times = [(n * 60_000, n * 60_000 + 30_000) for n in range(4)]
    later = times[-1][1] + 500_000
    # Eight changes 30 s apart: (1 - 2^-0.4) / (1 - 2^-0.05) = 7.1085; 500 s on: 7.1085 / 2^(5/6) + 1 = 4.9895.
    flap = rules.flaps([*times, (later, None)])[-1]
    assert flap.score == pytest.approx(4.9895, abs=0.001)
    assert flap.flapping
    assert not rules.flaps([(0, 1), (later, None)])[-1].flapping


@given(st.lists(st.tuples(st.integers(-(2**62), 2**62), st.none() | st.integers(-(2**62), 2**62)), max_size=12))
def test_scores_are_finite_whatever_the_clocks_say_D8(family: list[tuple[int, int | None]]) -> None:
    assert all(0 < flap.score <= 24 for flap in rules.flaps(family))


# ---- groups


def test_each_person_who_calls_for_help_stands_alone() -> None:
    assert rules.group_base("sos", "/1/") is None
    assert rules.group_base("fire", "/1/") == rules.group_base("smoke", "/1/")
    assert rules.group_base("fire", "/1/") != rules.group_base("fire", "/2/")
    assert rules.group_base("door-open", "/1/") != rules.group_base("frost", "/1/")


# ---- chains

STEPS = (Step(0, ("dispatcher",)), Step(120, ("supervisor",)))


def chain(number: int, node: str, *kinds: str, at_least: Severity = Severity.WARNING) -> Chain:
    return Chain(number, node, f"c{number}", frozenset(kinds), at_least, STEPS, 60)


def test_the_nearest_chain_holds_and_there_the_one_that_names_the_kind() -> None:
    made = [
        chain(1, "/"), chain(2, "/1/"), chain(3, "/1/", "fire"), chain(4, "/2/", "fire"),
        chain(5, "/1/", at_least=Severity.CRITICAL),
    ]  # fmt: skip
    chosen = {
        (node, kind, severity): rules.chain_for(made, node, kind, severity).id
        for node, kind, severity in [
            ("/1/4/", "fire", Severity.MINOR), ("/1/4/", "frost", Severity.CRITICAL),
            ("/1/4/", "frost", Severity.MINOR), ("/3/", "fire", Severity.MINOR),
        ]
    }  # fmt: skip
    assert list(chosen.values()) == [3, 5, 2, 1]
    assert rules.chain_for(made[3:4], "/1/", "fire", Severity.MAJOR) is rules.BUILT_IN[Severity.MAJOR]


def test_steps_are_due_by_the_levels_percentage_and_the_last_repeats() -> None:
    made = chain(1, "/")
    due = [rules.due_at(made, taken, begun_ms=1000, last_ms=5000, percent=50) for taken in range(4)]
    assert due == [1000, 61_000, 35_000, 35_000]
    assert rules.due_at(made._replace(repeat_s=0), 2, begun_ms=0, last_ms=0, percent=100) is None
    assert [rules.telling(made, taken) for taken in range(4)] == [(0, 0), (1, 0), (1, 1), (1, 2)]


@pytest.mark.parametrize("severity", list(Severity))
def test_somebody_is_told_at_once_where_nobody_configured_anything(severity: Severity) -> None:
    built_in = rules.BUILT_IN[severity]
    assert built_in.steps[0].after_s == 0
    assert [step.after_s for step in built_in.steps] == sorted({step.after_s for step in built_in.steps})
