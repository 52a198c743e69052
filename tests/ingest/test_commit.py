"""The commit path on real stores: what is kept, what is counted, what is acknowledged."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from cloud.alerts.store import alarms
from cloud.devices.store import devices, gateways, latest
from cloud.ingest.commit import MAX_DEAD_LETTERS, SAMPLE_BYTES, Incoming
from cloud.ingest.service import ledger_days, list_dead_letters, list_gaps
from cloud.ingest.store import Tally, dead_letters, marks
from cloud.state import now_ms
from cloud.telemetry.store import DAY_MS, open_store
from firmware_specs.errors import StoreError
from firmware_specs.readings import AlarmPhase, GapReason, GapReport, Lane, Position
from firmware_specs.wire import Ack, Reported, ReportedDevice, Status, encode_message
from tests.ingest.ingest_packs import NOW, Cloud, alarm, on_sqlite, pack, reading

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from firmware_specs.readings import Item


@pytest.mark.peer
def test_a_pack_is_in_both_stores_and_the_ledger_when_it_is_acknowledged(cloud: Cloud) -> None:
    items: list[Item] = [reading(20.0 + i, NOW + i) for i in range(3)]
    items += [reading(Position(34.1, 108.9, 5.0), NOW, metric="position"), reading("ok", NOW, metric="status", unit="")]
    assert cloud.commit(pack(items)) == [Ack("e1", Lane.TELEMETRY, 5)]
    assert cloud.values() == [20.0, 21.0, 22.0]
    assert cloud.values(metric="position") == [Position(34.1, 108.9, 5.0)]
    assert len(cloud.rows(latest)) == 3
    assert cloud.ledger() == Tally(received=5)
    assert [row["online"] for row in cloud.rows(gateways)] == [True, False, False]
    assert cloud.counter("patrol_ingest_items_total", lane="telemetry") == 5


@pytest.mark.peer
def test_alarms_travel_with_their_readings(cloud: Cloud) -> None:
    lane = Lane.ALARMS
    raised = pack([reading(True, metric="sos", unit=""), alarm("o-1")], lane=lane)
    assert cloud.commit(raised) == [Ack("e1", lane, 2)]
    assert cloud.commit(pack([alarm("o-1", AlarmPhase.CLEARED, NOW + 5)], 3, lane=lane)) == [Ack("e1", lane, 3)]
    (row,) = cloud.rows(alarms)
    assert (row["occurrence"], row["raised_at"], row["cleared_at"]) == ("o-1", NOW, NOW + 5)
    assert cloud.values(metric="sos") == [True]


@pytest.mark.peer
def test_d7_a_repeat_is_acknowledged_again_and_changes_nothing(cloud: Cloud) -> None:
    first = pack([reading(1.0), alarm("o-1")])
    cloud.commit(first)
    before = cloud.state()
    assert cloud.commit(first, first, now_ms=NOW + 1) == [Ack("e1", Lane.TELEMETRY, 2)]
    assert cloud.state() == before
    assert cloud.counter("patrol_ingest_repeats_total") == 2


def scenario() -> list[Incoming]:
    """Two lanes and two gateways; overlapping packs; an alarm that is raised, cleared and raised again."""
    tele = [reading(float(i), NOW + i * 1000) for i in range(12)]
    events: Sequence[Item] = [
        alarm("o-1"), alarm("o-1", AlarmPhase.CLEARED, NOW + 1000), alarm("o-2", at=NOW + 2000),
        alarm("o-3", kind="sos"),
    ]  # fmt: skip
    lane = Lane.ALARMS
    return [
        pack(tele[:5]), pack(tele[3:9], 4), pack([tele[9], tele[11]], 10, count=3, offsets=[0, 2]),
        pack(events[:1], lane=lane), pack(events[1:3], 2, lane=lane), pack(events[2:], 3, lane=lane),
        pack(tele[:2], gateway="gw-2"),
        pack([GapReport(Lane.TELEMETRY, "e0", 7, GapReason.QUARANTINED)], 3, gateway="gw-2"),
    ]  # fmt: skip


@pytest.mark.peer
def test_d7_any_permutation_of_packs_gives_the_same_state(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path
) -> None:
    told = scenario()
    orders = [
        list(range(len(told))),
        list(reversed(range(len(told)))),
        [5, 4, 3, 2, 1, 0, 7, 6],
        [2, 5, 7, 0, 3, 6, 1, 4],
    ]
    orders += [[*order, *order[::-1]] for order in orders]
    orders += [[*order, 0, 1, 2, 6, 7] for order in itertools.permutations([3, 4, 5])]
    states = []
    for order in orders:
        with on_sqlite(sqlite_template, tmp_path_factory.mktemp("order")) as cloud:
            for number, index in enumerate(order):
                cloud.commit(told[index], *([told[order[number - 1]]] if number % 3 == 2 else []))
            states.append((order, cloud.state(), cloud.values()))
    for order, state, values in states:
        assert (order, state, values) == (order, states[0][1], states[0][2])
    assert states[0][1]["ledger"] == {
        "gw-1": Tally(received=15, thinned=1), "gw-2": Tally(received=3, lost=7), "gw-3": Tally(),
    }  # fmt: skip


@pytest.mark.peer
def test_d7_a_hundred_thousand_redeliveries_leave_one_alarm_each(lite: Cloud) -> None:
    packs = [pack([alarm(f"o-{i}", device=f"dev-{i}")], i + 1, lane=Lane.ALARMS) for i in range(20)]
    for message in packs:
        lite.commit(message)
    before = lite.state()
    again = list(itertools.islice(itertools.cycle(packs), 1000))
    for _ in range(100):
        assert [ack.through for ack in lite.commit(*again)] == [20]
    assert lite.state() == before
    assert len(lite.rows(alarms)) == 20
    assert lite.ledger() == Tally(received=20)
    assert lite.counter("patrol_ingest_repeats_total") == 100_000


@pytest.mark.peer
def test_d6_thinned_and_quarantined_readings_are_in_the_ledger(cloud: Cloud) -> None:
    kept = [reading(1.0, NOW), reading(2.0, NOW + 60_000)]
    assert cloud.commit(pack(kept, 1, count=100, offsets=[0, 99])) == [Ack("e1", Lane.TELEMETRY, 100)]
    gap = GapReport(Lane.TELEMETRY, "e0", 250, GapReason.QUARANTINED, NOW - 1000, NOW)
    thinned = GapReport(Lane.TELEMETRY, "e1", 98, GapReason.THINNED, NOW, NOW + 60_000)
    told = pack([gap, thinned], 101)
    cloud.commit(told)
    cloud.commit(told)
    assert cloud.ledger() == Tally(received=4, thinned=98, lost=250)
    with cloud.database.read() as tx:
        assert {(g.reason, g.lane, g.readings, g.from_ms) for g in list_gaps(tx, "gw-1")} == {
            ("quarantined", "telemetry", 250, NOW - 1000), ("thinned", "telemetry", 98, NOW),
        }  # fmt: skip


@pytest.mark.peer
def test_d6_what_a_gateway_gives_up_counts_as_lost_until_it_comes(cloud: Cloud) -> None:
    assert cloud.commit(pack([reading(9.0, NOW + 9)], 10, base=10)) == [Ack("e1", Lane.TELEMETRY, 10)]
    assert cloud.ledger() == Tally(received=1, lost=9)
    cloud.commit(pack([reading(float(i), NOW + i) for i in range(9)], 1), now_ms=NOW + DAY_MS)
    assert cloud.ledger() == Tally(received=10, late=9)
    with cloud.database.read() as tx:
        days = ledger_days(tx, "gw-1")
    assert [day.begins_ms for day in days] == [(NOW // DAY_MS + 1) * DAY_MS, NOW // DAY_MS * DAY_MS]
    assert [day.tally.lost for day in days] == [-9, 9]


@pytest.mark.peer
def test_late_readings_are_labelled_and_kept(cloud: Cloud) -> None:
    old: list[Item] = [reading(1.0, NOW - 900_001), reading(2.0, NOW - 900_000), alarm("o-1", at=NOW - 3_600_000)]
    cloud.commit(pack(old))
    assert cloud.ledger() == Tally(received=3, late=2)
    assert cloud.values() == [1.0, 2.0]
    assert [row["late"] for row in cloud.rows(alarms)] == [True]


@pytest.mark.peer
def test_an_idle_gateways_canary_is_acknowledged(cloud: Cloud) -> None:
    assert cloud.commit(pack([], 1)) == [Ack("e1", Lane.TELEMETRY, 0)]
    cloud.commit(pack([reading()]))
    assert cloud.commit(pack([], 2)) == [Ack("e1", Lane.TELEMETRY, 1)]
    assert cloud.ledger() == Tally(received=1)


@pytest.mark.peer
def test_a_new_epoch_counts_anew(cloud: Cloud) -> None:
    cloud.commit(pack([reading(1.0)]))
    assert cloud.commit(pack([reading(2.0, NOW + 1)], epoch="e2")) == [Ack("e2", Lane.TELEMETRY, 1)]
    assert cloud.values() == [1.0, 2.0]
    assert [row["value"] for row in cloud.rows(latest)] == ["2.0"]


@pytest.mark.peer
def test_an_unknown_gateway_is_refused_and_counted(cloud: Cloud) -> None:
    assert cloud.commit(pack([reading()], gateway="gw-9"), pack([reading()])) == [Ack("e1", Lane.TELEMETRY, 1)]
    assert cloud.counter("patrol_ingest_refused_total", reason="unknown-gateway") == 1
    assert cloud.values(gateway="gw-9") == []
    assert cloud.rows(dead_letters) == []


@pytest.mark.peer
def test_a_poison_pack_is_kept_whole_and_its_lane_goes_on(cloud: Cloud) -> None:
    good = pack([reading(1.0)])
    poison = good._replace(payload=b'[{"n":"dev-1/temperature","zz_":1}]', properties=pack([reading()], 2).properties)
    assert cloud.commit(good, poison, poison) == [Ack("e1", Lane.TELEMETRY, 2)]
    assert cloud.commit(poison) == [Ack("e1", Lane.TELEMETRY, 2)]
    (row,) = cloud.rows(dead_letters)
    assert row["payload"] == poison.payload
    assert row["reason"] == "label 'zz_' must be understood and is not"
    assert cloud.ledger() == Tally(received=1, lost=1)
    assert cloud.counter("patrol_ingest_dead_letters_total") == 1
    with cloud.database.read() as tx:
        assert [(d.gateway, d.reason, d.size) for d in list_dead_letters(tx)] == [
            ("gw-1", row["reason"], len(poison.payload))
        ]
        assert list_dead_letters(tx, "gw-2") == []


@pytest.mark.peer
def test_a_pack_without_a_readable_header_is_sampled_and_not_acknowledged(cloud: Cloud) -> None:
    broken = pack([reading()])._replace(properties=(("epoch", "e1"),), payload=b"x" * 10_000)
    assert cloud.commit(broken) == []
    assert cloud.commit(broken) == []
    (row,) = cloud.rows(dead_letters)
    assert (len(row["payload"]), row["size"], row["times"]) == (SAMPLE_BYTES, 10_000, 2)
    assert row["reason"] == "property boot is missing or not a name"
    assert cloud.rows(marks) == []


@pytest.mark.peer
def test_one_pack_that_a_database_rejects_is_found_among_many(cloud: Cloud) -> None:
    with cloud.database.begin() as tx:
        if cloud.database.sqlite:
            tx.exec_driver_sql(
                "CREATE TRIGGER picky BEFORE INSERT ON latest WHEN NEW.unit = 'bad' "
                "BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        else:
            tx.exec_driver_sql("ALTER TABLE latest ADD CONSTRAINT picky CHECK (unit <> 'bad')")
    packs = [pack([reading(float(i), NOW + i)], i + 1) for i in range(9)]
    packs[4] = pack([reading(4.0, NOW + 4, unit="bad", metric="other")], 5)
    assert cloud.commit(*packs)[-1] == Ack("e1", Lane.TELEMETRY, 9)
    assert cloud.values() == [float(i) for i in range(9) if i != 4]
    (row,) = cloud.rows(dead_letters)
    assert row["reason"].startswith("IntegrityError: ")
    assert cloud.ledger() == Tally(received=8, lost=1)


@pytest.mark.peer
def test_dead_letters_are_bounded_and_beyond_the_bound_nothing_is_acknowledged(lite: Cloud) -> None:
    packs = [
        pack([reading()], i + 1)._replace(payload=f'[{{"zz_":{i}}}]'.encode()) for i in range(MAX_DEAD_LETTERS + 1)
    ]
    assert lite.commit(*packs) == [Ack("e1", Lane.TELEMETRY, MAX_DEAD_LETTERS)]
    assert lite.commit(packs[-1]) == []
    assert len(lite.rows(dead_letters)) == MAX_DEAD_LETTERS
    assert lite.counter("patrol_ingest_refused_total", reason="dead-letters-full") == 2


@pytest.mark.peer
def test_status_and_reported_reach_the_fleet(cloud: Cloud) -> None:
    status = encode_message(Status(True, "1.2.3", "boot-1", "hash", NOW))
    reported = encode_message(Reported(3, "hash", (ReportedDevice("dev-7", "generic-smoke-senml"),)))
    told = [Incoming("gw-1", "status", (), status), Incoming("gw-1", "reported", (), reported, True)]
    assert cloud.commit(*told, *told) == []
    row = cloud.rows(gateways)[0]
    assert (row["agent_version"], row["config_version"], row["online"]) == ("1.2.3", 3, True)
    assert [(d["gateway"], d["id"], d["profile"]) for d in cloud.rows(devices)] == [
        ("gw-1", "dev-7", "generic-smoke-senml")
    ]
    assert cloud.commit(Incoming("gw-1", "status", (), b"{"), Incoming("gw-1", "reported", (), b"[]")) == []
    assert cloud.counter("patrol_ingest_refused_total", reason="status") == 1
    assert cloud.counter("patrol_ingest_refused_total", reason="reported") == 1


@pytest.mark.peer
def test_a_store_that_cannot_serve_leaves_everything_to_be_sent_again(lite: Cloud) -> None:
    message = pack([reading(1.0), alarm("o-1")])
    connection = lite.telemetry.connection()  # type: ignore[attr-defined] # another writer holds the file
    connection.execute("BEGIN IMMEDIATE")
    writer = lite.telemetry._writer  # type: ignore[attr-defined]
    writer.set_busy_timeout(1)
    with pytest.raises(StoreError, match=r"telemetry sqlite: .*telemetry\.db: .*database is locked"):
        lite.commit(message)
    connection.execute("ROLLBACK")
    assert lite.rows(alarms) == []
    assert lite.rows(marks) == []
    assert lite.commit(message) == [Ack("e1", Lane.TELEMETRY, 2)]
    assert lite.values() == [1.0]


def test_d1_alarms_and_their_readings_are_taken_while_a_series_server_is_away(lite: Cloud, tmp_path: Path) -> None:
    away = open_store("victoriametrics+http://127.0.0.1:1", tmp_path / "cloud")
    cloud = Cloud(lite.database, away)
    assert cloud.commit(pack([reading(1.0, now_ms()), alarm("o-1")])) == [Ack("e1", Lane.TELEMETRY, 2)]
    assert [row["occurrence"] for row in cloud.rows(alarms)] == ["o-1"]
    assert away.stats()["journal_waiting_bytes"] > 0
    away.close()
