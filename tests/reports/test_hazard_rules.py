"""The states of a hazard report."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud.reports.hazards import rules
from cloud.reports.hazards.models import HazardView, NewHazard
from cloud.reports.hazards.rules import HazardAction, HazardState, Report

ACTIONS = st.lists(st.tuples(st.sampled_from(list(HazardAction)), st.sampled_from([None, "wang", "li"])), max_size=12)


@given(ACTIONS)
def test_any_sequence_of_actions_keeps_the_rules(actions: list[tuple[HazardAction, str | None]]) -> None:
    state, owner = HazardState.NEW, None
    for action, to in actions:
        following = rules.after(state, action)
        assert (following is not None) == (action in rules.allowed(state))
        if following is None:
            continue
        before = owner
        owner = rules.owner_after(action, owner, "zhao", to)
        if following not in {HazardState.NEW, HazardState.MERGED}:
            assert owner is not None or (action is HazardAction.NOTE and before is None)
        if action in {HazardAction.TRIAGE, HazardAction.HAND_OVER} and to:
            assert owner == to
        if action in {HazardAction.HANDLE, HazardAction.ESCALATE} and before:
            assert owner == before  # who took it up owns it until it is handed over
        if action is HazardAction.NOTE:
            assert (following, owner) == (state, before)
        state = following
        if state is HazardState.MERGED:
            assert rules.allowed(state) == []
    if state is HazardState.HANDLED:
        assert rules.allowed(state) == [HazardAction.REOPEN, HazardAction.NOTE]


def test_nothing_goes_back_to_new() -> None:
    assert all(
        rules.after(state, action) is not HazardState.NEW or state is HazardState.NEW
        for state in HazardState
        for action in HazardAction
    )


def test_the_same_hazard_is_of_one_node_and_kind_within_a_day() -> None:
    of = Report(1, "/1/", "gas-smell", 0, HazardState.NEW)
    day = rules.SAME_MS
    others = [
        of, Report(2, "/1/", "gas-smell", day, HazardState.HANDLED), Report(3, "/1/", "gas-smell", -9, HazardState.NEW),
        Report(4, "/1/", "gas-smell", day + 1, HazardState.NEW), Report(5, "/1/2/", "gas-smell", 0, HazardState.NEW),
        Report(6, "/1/", "crowding", 0, HazardState.NEW), Report(7, "/1/", "gas-smell", 0, HazardState.MERGED),
    ]  # fmt: skip
    assert rules.likely_same(of, others) == [3, 2]


def test_no_field_is_about_a_person_P6() -> None:
    """What a report holds of people is who did what with it, by account: nothing about whom it might concern."""
    assert NewHazard.model_fields.keys() == {"node", "kind", "place", "text", "lat", "lon"}
    told = HazardView.model_fields.keys() - NewHazard.model_fields.keys()
    assert told == {
        "id", "node_zh", "node_en", "state", "owner", "reported_at", "reported_by", "updated_at", "merged_into",
        "merged", "incident", "escalated_to",
    }  # fmt: skip
