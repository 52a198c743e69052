"""Any interleaving of what gateways tell, what people do and when timers are looked at keeps the promises of alarms.

No second open alarm of a family, no telling after an acknowledgement, each step at most once in a round, and the same
state whatever order the events came in (D7, D11).
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cloud import timers
from cloud.alerts import service, silences
from cloud.alerts.models import AlarmFilter, AlarmView
from cloud.alerts.ops_models import SilenceBody
from cloud.alerts.store import alarms
from cloud.db import SQLITE_FILE, open_database
from cloud.org.rules import SYSTEM
from firmware_specs.readings import Severity
from tests.cloud.cloud_support import NOW, cleared, know, raised

if TYPE_CHECKING:
    from cloud.db import Database
    from firmware_specs.readings import AlarmEvent

TELLS = {"escalated", "repeated", "grouped", "digested"}
"""Steps of a chain."""
KINDS = (("fire", Severity.CRITICAL), ("device-silent", Severity.MINOR), ("gateway-offline", Severity.MAJOR))
kinds = st.sampled_from(KINDS)
devices = st.sampled_from(["d-1", "d-2"])
picks = st.integers(0, 5)


class Alarms(RuleBasedStateMachine):
    """One gateway's alarms, one clock that only goes forward, timers that are looked at when it pleases."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="patrol-machine-"))
        shutil.copy(self.template, self.folder / SQLITE_FILE)
        self.db = open_database("sqlite", self.folder)
        know(self.db, "gw-1")
        self.now, self.sequence = NOW, 0
        self.current: dict[tuple[str, str], str] = {}

    def teardown(self) -> None:
        self.db.close()
        shutil.rmtree(self.folder)

    def apply(self, event: AlarmEvent) -> None:
        self.sequence += 1
        with self.db.begin() as tx:
            service.apply_events(tx, "gw-1", "e1", [(self.sequence, event)], self.now)

    def open_ones(self) -> list[AlarmView]:
        with self.db.read() as tx:
            return list(service.list_alarms(tx, SYSTEM, AlarmFilter(state=("open", "acknowledged"))).items)

    @rule(kind=kinds, device=devices)
    def raise_one(self, kind: tuple[str, Severity], device: str) -> None:
        name = self.current[device, kind[0]] = f"o{self.sequence}"
        self.apply(raised(name, device, self.now, kind=kind[0], severity=kind[1]))

    @rule(kind=kinds, device=devices)
    def clear_one(self, kind: tuple[str, Severity], device: str) -> None:
        name = self.current.pop((device, kind[0]), None)
        if name:
            self.apply(cleared(name, device, self.now, kind=kind[0], severity=kind[1]))

    @rule(pick=picks, act=st.sampled_from(["acknowledge", "clear", "shelve", "unshelve"]), seconds=st.integers(1, 900))
    def somebody_acts(self, pick: int, act: str, seconds: int) -> None:
        listed = self.open_ones()
        if not listed:
            return
        alarm = listed[pick % len(listed)].id
        with self.db.begin() as tx:
            if act in {"acknowledge", "clear"}:
                getattr(service, act)(tx, SYSTEM, alarm, self.now)
            else:
                until = self.now + seconds * 1000 if act == "shelve" else self.now
                service.shelve(tx, SYSTEM, alarm, self.now, until_ms=until, reason="x")

    @rule(seconds=st.integers(60, 900), kind=st.none() | kinds, purpose=st.sampled_from(["silence", "maintenance"]))
    def somebody_silences(self, seconds: int, kind: tuple[str, Severity] | None, purpose: str) -> None:
        body = SilenceBody.model_validate(
            {"reason": "x", "seconds": seconds, "kind": kind[0] if kind else None, "purpose": purpose}
        )
        with self.db.begin() as tx:
            silences.add_silence(tx, SYSTEM, body, self.now)

    @rule(seconds=st.integers(0, 2000), looks=st.integers(0, 2))
    def time_passes(self, seconds: int, looks: int) -> None:
        self.now += seconds * 1000
        for _ in range(looks):
            with self.db.begin() as tx:
                timers.tick(tx, self.now)

    @invariant()
    def one_alarm_stands_for_a_family(self) -> None:
        standing = Counter((a.device, a.kind) for a in self.open_ones() if a.folded_into is None)
        assert all(count == 1 for count in standing.values())

    @invariant()
    def nobody_is_told_in_vain_nor_twice(self) -> None:
        with self.db.read() as tx:
            rounds = dict(tx.execute(sa.select(alarms.c.id, alarms.c.round)).all())
            for alarm_id, begun in rounds.items():
                detail = service.get_alarm(tx, SYSTEM, alarm_id)
                told = [entry for entry in detail.history if entry.action in TELLS]
                if detail.acknowledged_at is not None:
                    assert all(entry.at <= detail.acknowledged_at for entry in told)
                steps = Counter(entry.detail[:3] for entry in told if entry.action == "escalated")
                assert all(count <= begun + 1 for count in steps.values())

    @invariant()
    def a_fire_is_quiet_only_by_a_person_or_another_fire(self) -> None:
        assert {a.quiet for a in self.open_ones() if a.kind == "fire"} <= {"", "shelved", "folded"}

    @invariant()
    def what_tells_nobody_says_why(self) -> None:
        for alarm in self.open_ones():
            covered = {"silence": alarm.silence, "maintenance": alarm.maintenance, "inhibited": alarm.inhibited_by}
            assert alarm.quiet not in covered or covered[alarm.quiet] is not None


def test_no_interleaving_tells_twice_or_after_an_answer(sqlite_template: Path) -> None:
    Alarms.template = sqlite_template
    run_state_machine_as_test(
        Alarms,
        settings=settings(
            max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


# ---- permuted events


def quiet_state(db: Database, gateway: str) -> list[tuple[Any, ...]]:
    """What keeps each open alarm quiet, its flapping and its group, by names that do not depend on the order."""
    with db.read() as tx:
        rows = tx.execute(sa.select(alarms).where(alarms.c.gateway == gateway).order_by(alarms.c.occurrence)).all()
    names = {row.id: row.occurrence for row in rows}
    groups: dict[str | None, list[str]] = {}
    for row in rows:
        groups.setdefault(row.group_key, []).append(row.occurrence)
    return [
        (row.occurrence, row.flap, row.flapping, groups[row.group_key],
         *((row.quiet, names.get(row.inhibited_by)) if row.cleared_at is None else ()))
        for row in rows
    ]  # fmt: skip


events = st.lists(
    st.tuples(kinds, devices, st.booleans(), st.integers(0, 100)), min_size=2, max_size=8
)  # fmt: skip
_numbers = itertools.count()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(events, st.data())
def test_permuted_events_give_the_same_quiet_groups_and_flapping_D7(
    db: Database, steps: list[tuple[tuple[str, Severity], str, bool, int]], data: hypothesis.strategies.DataObject
) -> None:
    items: list[tuple[int, AlarmEvent]] = []
    for number, ((kind, severity), device, clears, seconds) in enumerate(steps):
        at = NOW + seconds * 1000
        more: dict[str, Any] = {"kind": kind, "severity": severity}
        items.append((2 * number + 1, raised(f"o{number}", device, at, **more)))
        if clears:
            items.append((2 * number + 2, cleared(f"o{number}", device, at + 5000, **more)))
    orderly, disorderly = f"gw-{next(_numbers)}", f"gw-{next(_numbers)}"
    know(db, orderly, disorderly)
    for gateway, told in ((orderly, items), (disorderly, data.draw(st.permutations(items)))):
        for item in told:
            with db.begin() as tx:
                service.apply_events(tx, gateway, "e1", [item], NOW)
    assert quiet_state(db, disorderly) == quiet_state(db, orderly)
