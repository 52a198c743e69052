"""P1 to P3 in the cloud: what says where a member is outside a shift gets into no store, and is accounted for."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud import work
from cloud.alerts.store import alarms
from cloud.config import Config
from cloud.devices import service as devices
from cloud.devices.store import latest
from cloud.incidents.levels import hooks as levels
from cloud.ingest.commit import Incoming
from cloud.ingest.store import Tally, dead_letters
from cloud.org import audit
from cloud.org.rules import ROOT, SYSTEM
from cloud.presence.rosters import service as rosters
from cloud.presence.rosters.models import Kind, NewEquipment, NewMember
from cloud.presence.rosters.store import desired, equipment, overrides, shifts
from cloud.state import AppState
from cloud.stream import events
from cloud.telemetry.store import DAY_MS, Series
from cloud.timers import tick, timers
from firmware_specs.carried import counts_at, within
from firmware_specs.readings import Clock, Evidence, Lane, Position, Quality, Reading
from firmware_specs.wire import Reported, decode_desired, encode_message
from tests.ingest.ingest_packs import NOW, Cloud, alarm, pack, reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from firmware_specs.readings import Item

HERE = Position(34.2, 108.9, 5.0)
HOUR = 3_600_000
MINUTE = 60_000
_numbers: Iterator[int] = itertools.count(1)


def carry(cloud: Cloud, *windows: tuple[int, int]) -> str:
    """A new armband of a new member of gw-1 with these shifts, one after the other; its name."""
    number = next(_numbers)
    device = f"arm-{number}"
    with cloud.database.begin() as tx:
        member = rosters.add_member(tx, SYSTEM, NewMember(call_sign=f"鹰-{number}", node=ROOT), NOW).id
        new = NewEquipment(gateway="gw-1", device=device, kind=Kind.ARMBAND, node=ROOT)
        thing = rosters.add_equipment(tx, SYSTEM, new, NOW).id
        for begins, ends in windows:
            rosters.plan(tx, SYSTEM, rosters.Plan(member, begins, ends, armband=thing), NOW)
    return device


def fix(device: str, at: int, metric: str = "position", **more: Any) -> Reading:  # noqa: ANN401 - a reading's parts
    value = HERE if metric == "position" else 1.5
    return msgspec.structs.replace(reading(value, at, device=device, metric=metric, unit=""), **more)


def stored(cloud: Cloud, device: str, metric: str = "position") -> list[int]:
    found = cloud.telemetry.history(Series("gw-1", device, metric), 0, 2 * NOW)
    return [point.at_ms for point in found.points]


@pytest.mark.peer
def test_P1_a_position_outside_a_shift_is_in_no_store_and_the_ledger_adds_up(cloud: Cloud) -> None:
    device = carry(cloud, (NOW, NOW + HOUR))
    items: list[Item] = [
        fix(device, NOW - 1), fix(device, NOW), fix(device, NOW + HOUR - 1), fix(device, NOW + HOUR),
        msgspec.structs.replace(fix(device, NOW + 2), metric="place"),
        fix(device, NOW - 2, "speed"), fix(device, NOW + 1, "speed"), fix(device, NOW - 3, "course"),
        reading(80.0, NOW - 1, device=device, metric="battery"), fix("van-1", NOW - 1),
    ]  # fmt: skip
    cloud.commit(pack(items))
    assert stored(cloud, device) == [NOW, NOW + HOUR - 1]
    assert stored(cloud, device, "speed") == [NOW + 1]
    assert stored(cloud, device, "course") == []
    assert stored(cloud, device, "battery") == [NOW - 1]
    assert stored(cloud, "van-1") == [NOW - 1], "nobody carries it"
    assert stored(cloud, device, "place") == [], "P3: stores know a track by its name"
    assert cloud.ledger() == Tally(received=5, off_shift=5)
    assert cloud.counter("patrol_ingest_off_shift_total") == 5
    kept = [(row["metric"], row["observed_at"]) for row in cloud.rows(latest) if row["device"] == device]
    assert sorted(kept) == [("battery", NOW - 1), ("position", NOW + HOUR - 1), ("speed", NOW + 1)]
    cloud.commit(pack(items), pack(items[:3]), pack([*items, fix(device, NOW - 5)]))
    assert cloud.ledger() == Tally(received=5, off_shift=6), "repeats count once"


@pytest.mark.peer
def test_P1_a_clock_in_doubt_counts_by_the_time_of_receipt(cloud: Cloud) -> None:
    device = carry(cloud, (NOW, NOW + HOUR))
    late: dict[str, Any] = {"received_at": NOW + 2 * HOUR}
    items: list[Item] = [
        fix(device, NOW + 1, **late), fix(device, NOW + 2, clock=Clock.UNSYNCED, **late),
        fix(device, NOW + 3, quality=Quality.UNCERTAIN, **late), fix(device, 5, clock=Clock.UNSYNCED, received_at=NOW),
    ]  # fmt: skip
    cloud.commit(pack(items), now_ms=NOW + 3 * HOUR)
    assert stored(cloud, device) == [5, NOW + 1]


@pytest.mark.peer
def test_P1_evidence_of_an_alarm_never_says_where_its_wearer_was(cloud: Cloud) -> None:
    device = carry(cloud, (NOW, NOW + HOUR))
    seen = (Evidence("position", HERE, NOW), Evidence("battery", 5.0, NOW), Evidence("note", "geo:1,2", NOW))
    events_of = [
        msgspec.structs.replace(alarm(f"o-{name}", device=name, kind="battery-low"), evidence=seen)
        for name in (device, "van-1")
    ]
    cloud.commit(pack(events_of, lane=Lane.ALARMS))
    told = {row["device"]: row["evidence"] for row in cloud.rows(alarms)}
    assert "34.2" not in told[device]
    assert "geo" not in told[device]
    assert "battery" in told[device]
    assert "34.2" in told["van-1"]


@pytest.mark.peer
def test_P2_an_sos_lifts_the_limit_visibly_expires_and_is_audited(cloud: Cloud) -> None:
    device = carry(cloud, (NOW - 5 * HOUR, NOW - 4 * HOUR))
    call = pack([fix(device, NOW), reading(True, NOW, device=device, metric="sos", unit="")], lane=Lane.ALARMS)
    cloud.commit(pack([fix(device, NOW - 1), fix(device, NOW + 1)]), call)
    half_hour = 30 * MINUTE
    cloud.commit(pack([fix(device, NOW + half_hour - 1), fix(device, NOW + half_hour)], 3), call)
    assert stored(cloud, device) == [NOW, NOW + 1, NOW + half_hour - 1]
    (row,) = cloud.rows(overrides)
    assert (row["device"], row["at"], row["ends_at"]) == (device, NOW, NOW + half_hour)
    with cloud.database.read() as tx:
        assert [each.device for each in rosters.list_lifts(tx, SYSTEM, NOW)] == [device]
        assert rosters.list_lifts(tx, SYSTEM, NOW + half_hour) == []
        assert tx.execute(sa.select(timers.c.due_at).where(timers.c.kind == "rosters.lift")).scalar() == NOW + half_hour
    with cloud.database.begin() as tx:
        tick(tx, NOW + half_hour)
    actions = [row["action"] for row in cloud.rows(audit.audit) if row["action"].startswith("position.")]
    assert actions == ["position.lift", "position.lift-ended"]
    assert [row["data"] for row in cloud.rows(events) if '"sos"' in row["data"]] == [
        f'{{"subject":"sos","id":{row["id"]}}}'
    ] * 2
    cloud.commit(pack([alarm("o-9", at=NOW + HOUR, device=device, kind="duress")], 3, lane=Lane.ALARMS))
    assert len(cloud.rows(overrides)) == 2


@pytest.mark.peer
def test_the_desired_document_follows_shifts_and_is_sent_again_when_another_is_reported(cloud: Cloud) -> None:
    device = carry(cloud, (NOW, NOW + HOUR))
    assert _refreshed(cloud) == (1, {device: ((NOW, NOW + HOUR),)})
    assert _refreshed(cloud, send=True) == (1, {device: ((NOW, NOW + HOUR),)}), "until the broker has it"
    assert _refreshed(cloud) is None
    _report(cloud, 1)
    assert _refreshed(cloud) is None
    _report(cloud, 0)
    assert _refreshed(cloud, send=True) == (1, {device: ((NOW, NOW + HOUR),)})
    with cloud.database.begin() as tx:
        shift = tx.execute(sa.select(shifts.c.id)).scalar_one()
        rosters.end(tx, SYSTEM, shift, NOW + MINUTE)
    assert _refreshed(cloud, send=True) == (2, {device: ((NOW, NOW + MINUTE),)})
    cloud.commit(pack([reading(True, NOW + HOUR, device=device, metric="sos", unit="")], lane=Lane.ALARMS))
    lifted = (NOW + HOUR, NOW + HOUR + 30 * MINUTE)
    assert _refreshed(cloud, send=True) == (3, {device: ((NOW, NOW + MINUTE), lifted)})
    with cloud.database.begin() as tx:
        tick(tx, NOW + 7 * HOUR)
        assert rosters.waiting(tx) == ["gw-1"]
    assert _refreshed(cloud) is None, "made anew, and the same"
    with cloud.database.begin() as tx:
        rosters.archive_equipment(tx, SYSTEM, tx.execute(sa.select(equipment.c.id)).scalar_one(), NOW + 2 * HOUR)
    assert _refreshed(cloud) == (4, {})


def _report(cloud: Cloud, version: int) -> None:
    message = Incoming("gw-1", "reported", (), encode_message(Reported(1, "c", (), version)))
    cloud.commit(message)


def _refreshed(cloud: Cloud, *, send: bool = False) -> tuple[int, dict[str, Any]] | None:
    with cloud.database.begin() as tx:
        assert set(rosters.waiting(tx)) <= {"gw-1"}
        made = rosters.refresh(tx, "gw-1", NOW, 1800)
        if made is None:
            return None
        if send:
            rosters.sent(tx, "gw-1", made[0], NOW)
    document = decode_desired(made[1])
    assert document.version == made[0]
    assert document.reporting_s == {"*": 300}
    return document.version, document.carried


def test_P1_a_report_of_a_gateway_without_a_document_has_one_made(lite: Cloud) -> None:
    _report(lite, 0)
    assert [row["gateway"] for row in lite.rows(desired)] == ["gw-1"]
    assert _refreshed(lite) == (1, {})


def test_a_level_that_changes_has_the_documents_of_its_gateways_made_anew(lite: Cloud) -> None:
    for gateway in ("gw-1", "gw-2"):
        lite.commit(Incoming(gateway, "reported", (), encode_message(Reported(1, "c", ()))))
    with lite.database.begin() as tx:
        for gateway in rosters.waiting(tx):
            made = rosters.refresh(tx, gateway, NOW, 1800)
            assert made
            rosters.sent(tx, gateway, made[0], NOW)
        assert rosters.waiting(tx) == []
        levels.tell(tx, "/7/", NOW)
        assert rosters.waiting(tx) == []
        levels.tell(tx, ROOT, NOW)
        assert rosters.waiting(tx) == ["gw-1", "gw-2", "gw-3"]
        devices.remove_gateway(tx, SYSTEM, "gw-2", NOW)
        assert rosters.refresh(tx, "gw-2", NOW, 1800) is None
        assert rosters.waiting(tx) == ["gw-1", "gw-3"]


def test_P3_no_raw_place_of_a_member_is_kept_for_longer_than_its_track(lite: Cloud, tmp_path: Path) -> None:
    device = carry(lite, (NOW, NOW + HOUR))
    lite.commit(
        pack([fix(device, NOW), fix(device, NOW, "speed"), fix("van-1", NOW), reading(5.0, NOW, device=device)])
    )
    broken = pack([fix(device, NOW)], 5)
    lite.commit(broken._replace(payload=b"[" + broken.payload))
    assert len(lite.rows(dead_letters)) == 1
    state = AppState(Config.model_validate({"data_dir": tmp_path}), lite.database, lite.telemetry, None)  # type: ignore[arg-type]
    work.keep_house_once(state, NOW + 6 * DAY_MS)
    assert len(lite.rows(latest)) == 4
    work.keep_house_once(state, NOW + 7 * DAY_MS + 1)
    assert [(row["device"], row["metric"]) for row in lite.rows(latest)] == [
        (device, "temperature"), ("van-1", "position"),
    ]  # fmt: skip
    assert len(lite.rows(dead_letters)) == 1
    work.keep_house_once(state, NOW + 31 * DAY_MS)
    assert lite.rows(dead_letters) == []


SLOTS = st.integers(0, 24)
PLANS = st.lists(st.tuples(SLOTS, st.integers(1, 6)), max_size=4)
TOLD = st.lists(
    st.tuples(SLOTS, SLOTS, st.sampled_from(Quality), st.sampled_from(Clock), st.sampled_from(["position", "speed"])),
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PLANS, TOLD)
def test_P1_whatever_the_shifts_and_times_0_rows_are_outside(
    lite: Cloud, plans: list[tuple[int, int]], told: list[tuple[int, int, Quality, Clock, str]]
) -> None:
    windows: list[tuple[int, int]] = []
    for begins, hours in sorted(plans):
        if not windows or NOW + begins * HOUR >= windows[-1][1]:
            windows.append((NOW + begins * HOUR, NOW + (begins + hours) * HOUR))
    device = carry(lite, *windows)
    readings = [
        fix(device, NOW + observed * HOUR + n, metric, received_at=NOW + received * HOUR, quality=quality, clock=clock)
        for n, (observed, received, quality, clock, metric) in enumerate(told)
    ]
    before = lite.ledger()
    lite.commit(pack(readings, epoch=f"e-{device}"), now_ms=NOW + 25 * HOUR)
    allowed = [r for r in readings if within(windows, counts_at(r))]
    for metric in ("position", "speed"):
        assert stored(lite, device, metric) == sorted(r.observed_at for r in allowed if r.metric == metric)
    after = lite.ledger()
    assert after.received - before.received == len(allowed)
    assert after.off_shift - before.off_shift == len(readings) - len(allowed)
    assert after.lost == after.thinned == 0
