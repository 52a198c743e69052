"""What the folders tell a review, on both databases, held against slow and simple sums."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

from cloud.alerts import review as alerts
from cloud.devices import review as fleet
from cloud.devices.store import devices, gateways
from cloud.incidents import review as incidents
from cloud.incidents.store import clocks
from cloud.ingest.store import ledgers
from cloud.presence import review as presence
from cloud.presence.rosters.store import members, shifts
from cloud.presence.store import area_cells, areas, cell_visits, post_history, posts, route_visits, routes
from cloud.reports import collect, data
from cloud.reports.periods import Period
from tests.reports.reports_support import BEFORE, DAY, HOUR, OCTOBER, ZONE, alarm, incident, put, seed_month

if TYPE_CHECKING:
    from cloud.db import Database
    from tests.reports.reports_support import Town

FROM, TO = OCTOBER


def test_incidents_belong_to_the_period_they_were_opened_in_and_drills_are_apart(db: Database, town: Town) -> None:
    here, there = town.communities[:2]
    with db.begin() as tx:
        first = incident(tx, here, FROM, 100)
        incident(tx, here, TO, 100)
        incident(tx, here, FROM - 1, 100)
        incident(tx, here, FROM + 5, 100, drill=3)
        incident(tx, there, FROM + 9, None)
        mine = incidents.figures(tx, here, FROM, TO)
        whole = incidents.figures(tx, town.street, FROM, TO)
    assert [fact.id for fact in mine.incidents] == [first]
    assert (mine.drills, len(whole.incidents), whole.drills) == (1, 2, 1)
    assert [(clock.started_at, clock.stopped_at) for clock in whole.clocks] == [
        (FROM, FROM + 100_000),
        (FROM + 9, None),
    ]


def test_a_clock_that_ended_with_its_incident_is_no_arrival(db: Database, town: Town) -> None:
    node = town.communities[0]
    with db.begin() as tx:
        for took, closed_after in ((100, 900), (400, 900), (None, 900), (None, 200)):
            incident(tx, node, FROM, took, closed_at=FROM + closed_after * 1000)
        shut = incident(tx, node, FROM, 150, closed_at=FROM + 150_000)
        tx.execute(clocks.update().where(clocks.c.incident == shut).values(how=incidents.CLOSED))
        figures = collect.collect(tx, town.street, OCTOBER, ZONE)
    on_scene = figures.clocks[0]
    # Two were closed before they were due and never stopped: nobody was needed. Of the rest one was in time.
    assert (on_scene.name, on_scene.decided, on_scene.within) == ("on_scene", 3, 1)
    assert on_scene.took[:2] == (2, 100_000)


def test_alarms_by_when_the_cloud_heard_and_drills_apart(db: Database, town: Town) -> None:
    node = town.communities[0]
    with db.begin() as tx:
        late = alarm(tx, node, FROM - DAY, received_at=FROM, late=True)
        alarm(tx, node, FROM, received_at=TO)
        alarm(tx, node, FROM + 1, drill=True)
        alarm(tx, node, FROM + 2, drill_id=4)
        found = alerts.figures(tx, town.street, FROM, TO)
    assert ([fact.id for fact in found.alarms], found.drills) == ([late], 2)
    assert found.alarms[0].late is True


def test_silence_of_a_gateway_is_silence_of_its_devices_once(db: Database, town: Town) -> None:
    node = town.communities[0]
    period = Period(FROM, FROM + 10 * HOUR)
    with db.begin() as tx:
        put(tx, gateways, id="gw-1", node=town.street, added_at=BEFORE, online=True)
        put(tx, gateways, id="gw-2", node=node, added_at=FROM + 5 * HOUR, online=True)
        for name in ("a", "b"):
            put(tx, devices, gateway="gw-1", id=name, node=node, created_at=BEFORE)
        alarm(tx, town.street, FROM - HOUR, device="", kind="gateway-offline", cleared_at=FROM + 2 * HOUR)
        alarm(tx, node, FROM + HOUR, device="a", kind="device-silent", cleared_at=FROM + 4 * HOUR)
        alarm(tx, node, FROM + 9 * HOUR, device="a", kind="device-silent")
        put(tx, ledgers, gateway="gw-1", day=-(-FROM // DAY), received=10, late=2, thinned=1, lost=3)
        put(tx, ledgers, gateway="gw-1", day=FROM // DAY, received=99)
        known = fleet.figures(tx, node, *period)
        community = collect.collect(tx, node, period, ZONE)
        street = collect.collect(tx, town.street, period, ZONE)
    assert ([thing.id for thing in known.devices], [thing.gateway for thing in known.gateways]) == (
        ["a", "b"],
        ["gw-2"],
    )
    assert community.devices_online == (20 - 5 - 2) / 20
    assert community.gateways_online == 1.0
    assert street.gateways_online == (10 + 5 - 2) / 15
    assert [(each.device, each.offline_ms) for each in street.worst_devices] == [("a", 5 * HOUR), ("", 2 * HOUR)]
    # Days of the ledger are UTC: the one that began before the period is not its.
    assert (street.readings.received, street.readings.late, street.readings.lost) == (10, 2, 3)


def test_time_of_posts_by_state(db: Database, town: Town) -> None:
    node = town.communities[0]
    with db.begin() as tx:
        old = put(tx, posts, node=node, code="p1", created_at=BEFORE)
        for at, state in (
            (FROM - 10, "unmanned"),
            (FROM - 5, "manned"),
            (FROM + 3 * HOUR, "understaffed"),
            (TO, "unmanned"),
        ):
            put(tx, post_history, post=old, at=at, state=state)
        young = put(tx, posts, node=node, code="p2", created_at=FROM + HOUR, archived_at=FROM + 5 * HOUR)
        put(tx, post_history, post=young, at=FROM + 2 * HOUR, state="manned")
        put(tx, posts, node=node, code="p3", created_at=BEFORE, archived_at=FROM)
        found = presence.figures(tx, town.street, FROM, TO)
    lasted = {post.id: post.lasted for post in found.posts}
    assert lasted == {
        old: {"manned": 3 * HOUR, "understaffed": TO - FROM - 3 * HOUR, "unmanned": 0, "unknown": 0},
        young: {"manned": 3 * HOUR, "understaffed": 0, "unmanned": 0, "unknown": HOUR},
    }  # fmt: skip


def _slow(visits: list[int], hold: int, begin: int, end: int) -> tuple[int, int]:
    """Covered time and the longest time between two visits, minute by minute."""
    step = 60_000
    covered = sum(step for at in range(begin, end, step) if any(seen <= at < seen + hold for seen in visits))
    edges = sorted({begin, end, *(seen for seen in visits if begin <= seen < end)})
    return covered, max(b - a for a, b in itertools.pairwise(edges))


def test_coverage_is_what_minute_by_minute_says(db: Database, town: Town) -> None:
    draw = random.Random(3)
    begin = FROM // 300_000 * 300_000
    end = begin + 8 * HOUR
    node = town.communities[0]
    hold = 3_600_000
    checkpoints = {
        n: sorted({begin + draw.randint(-90, 470) * 60_000 for _ in range(draw.randint(1, 9))}) for n in range(6)
    }
    cells = {n: sorted({begin // 300_000 + draw.randint(-15, 94) for _ in range(draw.randint(1, 9))}) for n in range(6)}
    with db.begin() as tx:
        points = "[" + ",".join('{"name":"x"}' for _ in range(7)) + "]"
        route = put(tx, routes, node=node, code="r", kind="line", revisit_s=3600, checkpoints=points, created_at=BEFORE)
        for checkpoint, visits in checkpoints.items():
            for at in visits:
                put(tx, route_visits, route=route, checkpoint=checkpoint, at=at)
        area = put(tx, areas, node=node, code="a", revisit_s=3600, created_at=BEFORE)
        for cell, slots in cells.items():
            put(tx, area_cells, area=area, cell=f"c{cell}")
            for slot in slots:
                put(tx, cell_visits, cell=f"c{cell}", slot=slot)
        walked, seen = presence.figures(tx, town.street, begin, end).patrols
    for fact, visited, spots in (
        (walked, list(checkpoints.values()), 7),
        (seen, [[slot * 300_000 for slot in slots] for slots in cells.values()], 6),
    ):
        slow = [_slow(visits, hold, begin, end) for visits in visited]
        assert (fact.spots, fact.span_ms) == (spots, spots * 8 * HOUR)
        assert fact.covered_ms == sum(covered for covered, _ in slow)
        assert fact.seen == sum(any(begin <= at < end for at in visits) for visits in visited)
    # One checkpoint of the route was never visited, so nobody was there all the time.
    assert walked.longest_ms == 8 * HOUR


def test_what_stood_for_a_part_of_the_period_was_missed_for_no_longer(db: Database, town: Town) -> None:
    node = town.communities[0]
    made, gone = FROM + 100 * HOUR, FROM + 120 * HOUR
    with db.begin() as tx:
        route = put(
            tx, routes, node=node, code="r", kind="line", revisit_s=3600, checkpoints='[{"name":"x"}]', created_at=made,
            archived_at=gone,
        )  # fmt: skip
        area = put(tx, areas, node=node, code="a", revisit_s=3600, created_at=made)
        put(tx, area_cells, area=area, cell="c")
        for at in (made - HOUR // 2, made + 2 * HOUR, gone - HOUR // 2):
            put(tx, cell_visits, cell="c", slot=at // 300_000)
            if at >= made:
                put(tx, route_visits, route=route, checkpoint=0, at=at)
        walked, seen = presence.figures(tx, town.street, FROM, TO).patrols
    assert (walked.span_ms, walked.covered_ms, walked.longest_ms) == (
        20 * HOUR,
        HOUR + HOUR // 2,
        17 * HOUR + HOUR // 2,
    )
    # The cell was seen half an hour before there was an area.
    assert (seen.span_ms, seen.covered_ms) == (TO - made, HOUR // 2 + 2 * HOUR)
    assert seen.longest_ms == TO - gone + HOUR // 2


def test_members_and_duty(db: Database, town: Town) -> None:
    here = town.communities[0]
    with db.begin() as tx:
        one = put(tx, members, node=here, call_sign="A1", created_at=BEFORE)
        put(tx, members, node=here, call_sign="A2", created_at=BEFORE, archived_at=FROM + 1)
        put(tx, members, node=here, call_sign="A3", created_at=TO)
        put(tx, shifts, node=here, member=one, starts_at=FROM - 2 * HOUR, ends_at=FROM + 2 * HOUR, begun_at=FROM - HOUR)
        put(
            tx,
            shifts,
            node=here,
            member=one,
            starts_at=FROM,
            ends_at=FROM + 8 * HOUR,
            ended_at=FROM + HOUR,
            begun_at=FROM,
        )
        put(tx, shifts, node=here, member=one, starts_at=TO - HOUR, ends_at=TO + HOUR)
        found = presence.figures(tx, town.street, FROM, TO)
    assert found.members == {here: 1}
    # The shift that began in the month before is one of that month; its hours in this one count here.
    assert found.duty == [(here, 2, 1, 2 * HOUR + HOUR)]


def test_a_month_of_a_street_has_every_figure(db: Database, town: Town) -> None:
    seed_month(db, town)
    with db.read() as tx:
        figures = collect.collect(tx, town.street, OCTOBER, ZONE)
        again = collect.collect(tx, town.street, OCTOBER, ZONE)
    assert data.encode(figures) == data.encode(again)
    assert data.decode(data.encode(figures)) == figures
    assert {unit.node for unit in figures.units} == set(town.communities)
    assert [unit.place for unit in figures.units] == [1, 2, 3]
    assert figures.incidents == sum(unit.incidents for unit in figures.units) > 0
    assert figures.incidents == sum(map(sum, figures.incident_hours)) == sum(n for _, n in figures.by_category)
    assert figures.alarms == sum(sum(by.values()) for _, by in figures.by_kind)
    assert 0 < figures.false < figures.false_of
    assert figures.incident_drills > 0 < figures.alarm_drills
    assert figures.strength[0].people == 75_000
    assert figures.strength[0].due == 12.5 + 10 + 9
    assert [each.members for each in figures.strength] == [18, 9, 6, 3]
    assert figures.follow_ups == [unit.node for unit in figures.units if (unit.score or 1) < 0.9]
