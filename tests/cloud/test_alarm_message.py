"""What people are told of an alarm: the values of its message, what is urgent, what may wait for a digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from cloud.alerts import message, service
from cloud.alerts.rules import Step
from cloud.alerts.store import alarms
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, Role
from firmware_specs.readings import Evidence, Severity
from tests.cloud.cloud_support import NOW, know, raised

if TYPE_CHECKING:
    from cloud.alerts.notify.service import Message
    from cloud.db import Database
    from firmware_specs.readings import AlarmEvent

STEP = Step(0, ("dispatcher", "supervisor"))


def composed(db: Database, event: AlarmEvent, number: int = 0, **columns: object) -> Message:
    with db.begin() as tx:
        service.apply_events(tx, "gw-1", "e1", [(1, event)], NOW)
        if columns:
            tx.execute(alarms.update().values(columns))
        row = tx.execute(sa.select(alarms)).one()
        return message.compose(tx, row, STEP, "/9/", number=number, key="k", now_ms=NOW + 300_000)


def test_a_message_says_what_where_since_when_and_why(db: Database) -> None:
    with db.begin() as tx:
        street = tree.add_node(
            tx, SYSTEM, ROOT, tree.Kind.STREET, ("幸福街", "Happy St"), now_ms=NOW, time_zone="Asia/Urumqi"
        ).path
    know(db, "gw-1", node=street)
    told = composed(db, raised("o1", evidence=(Evidence("smoke", 9.25, NOW), Evidence("alarm", True, NOW))), number=2)
    assert (told.node, told.template, told.key, told.subject_id) == ("/9/", "alarm.escalated", "k", 1)
    assert told.roles == (Role.DISPATCHER, Role.SUPERVISOR)
    assert (told.values["where_zh"], told.values["where_en"]) == ("幸福街", "Happy St")
    assert told.values["at"] == "2027-01-15 14:00:00 (Asia/Urumqi)"
    assert (told.values["since_zh"], told.values["step"]) == ("5 分钟", "3")
    assert told.values["evidence_zh"].startswith("烟雾浓度 9.25")
    assert told.values["evidence_en"].endswith("true")
    assert told.values["device"] == "gw-1/smk-1"


def test_where_nothing_is_named_the_device_is_the_place(db: Database) -> None:
    know(db, "gw-1")
    told = composed(db, raised("o1"))
    assert (told.template, told.values["where_zh"], told.values["since_zh"]) == ("alarm.raised", "gw-1/smk-1", "")


@pytest.mark.parametrize(
    ("kind", "severity", "flapping", "wanted"),
    [
        ("fire", Severity.CRITICAL, True, (True, False)), ("sos", Severity.MINOR, True, (True, False)),
        ("door-open", Severity.CRITICAL, False, (True, False)), ("door-open", Severity.CRITICAL, True, (False, True)),
        ("door-open", Severity.MAJOR, False, (False, False)),
    ],
)  # fmt: skip
def test_a_fire_never_waits_and_what_flaps_does(
    db: Database, kind: str, severity: Severity, flapping: bool, wanted: tuple[bool, bool]
) -> None:
    know(db, "gw-1")
    told = composed(db, raised("o1", kind=kind, severity=severity), flapping=flapping)
    assert (told.urgent, told.digest) == wanted
    assert ("反复出现" in told.values["detail_zh"]) is flapping


@pytest.mark.parametrize("at", [-(2**62), 2**62])
def test_a_clock_at_the_edge_of_the_calendar_is_told_too_D8(db: Database, at: int) -> None:
    know(db, "gw-1")
    assert composed(db, raised("o1", at=at)).values["at"]


def test_maintenance_lateness_and_drills_are_said(db: Database) -> None:
    know(db, "gw-1")
    told = composed(db, raised("o1", drill=True), maintenance=7, late=True)
    assert told.drill
    assert told.values["detail_en"] == "there is maintenance at this place; it arrived late"
