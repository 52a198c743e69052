"""A made-up town, and a month of what happened there, put straight into the tables that other folders own."""

from __future__ import annotations

import itertools
import random
from datetime import date
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from cloud.alerts.store import alarms, history
from cloud.devices.store import devices, gateways
from cloud.incidents.store import clocks, incident_alarms, incidents
from cloud.ingest.store import ledgers
from cloud.org import tree
from cloud.org.rules import SYSTEM
from cloud.org.tree import Kind, Settlement
from cloud.presence.rosters.store import members, shifts
from cloud.presence.store import area_cells, areas, cell_visits, post_history, posts, route_visits, routes
from cloud.reports.hazards.store import hazard_steps, hazards
from cloud.reports.periods import Period, days

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

    from cloud.db import Database

ZONE: Final = ZoneInfo("Asia/Shanghai")
OCTOBER: Final = days(date(2026, 10, 1), date(2026, 10, 31), ZONE)
BEFORE: Final = OCTOBER.from_ms - 90 * 86_400_000
HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR
_numbers = itertools.count()
HOSTILE: Final = (
    "<script>alert(1)</script>", "=cmd|'/c calc'!A1", "+1+1", "@SUM(A1)", "-2+3", "../../etc/passwd", "a\x07b\x1bc",
    "\u202egnp.exe", "{{7*7}}", "](javascript:alert(1))", "http://127.0.0.1:9/x.png", "</style><img src=x onerror=1>",
)  # fmt: skip


class Town(NamedTuple):
    """Paths of a small tree."""

    district: str
    town: str
    street: str
    communities: tuple[str, ...]


def grow(db: Database, names: tuple[str, ...] = ("东里", "西里", "南里")) -> Town:
    """District > town > street > communities."""
    with db.begin() as tx:
        district = tree.add_node(tx, SYSTEM, "/", Kind.DISTRICT, ("示范区", "Model District"), now_ms=BEFORE, code="d")
        town = tree.add_node(tx, SYSTEM, district.path, Kind.TOWN, ("示范镇", "Model Town"), now_ms=BEFORE, code="t")
        street = tree.add_node(
            tx, SYSTEM, town.path, Kind.STREET, ("中山街道", "Zhongshan Street"), now_ms=BEFORE, code="s",
            settlement=Settlement.URBAN.value, time_zone="Asia/Shanghai",
        )  # fmt: skip
        made = [
            tree.add_node(
                tx, SYSTEM, street.path, Kind.COMMUNITY, (name, name), now_ms=BEFORE + n, code=f"c{n}",
                population=20_000 + 5_000 * n, settlement=(Settlement.RURAL.value if n == 2 else None),
            )
            for n, name in enumerate(names)
        ]  # fmt: skip
    return Town(district.path, town.path, street.path, tuple(node.path for node in made))


def put(tx: Connection, table: Table, **values: Any) -> int:
    """A row; columns that must not be NULL and are not given are filled with nothing. Gives its id, if it has one."""
    empty: dict[type, Any] = {int: 0, str: "", float: 0.0, bool: False}
    filled = {
        column.name: empty[column.type.python_type]
        for column in table.c
        if not column.nullable and not column.primary_key and column.server_default is None
    }
    made = tx.execute(table.insert().values({**filled, **values}))
    key = made.inserted_primary_key
    return int(key[0]) if key is not None and isinstance(key[0], int) else 0


def alarm(tx: Connection, node: str, at: int, **more: Any) -> int:
    """An alarm that was raised and heard of at a time."""
    values = {
        "gateway": "gw-1", "device": "smk-1", "node": node, "kind": "fire", "severity": "critical", "rule": "r/x",
        "clock": "synced", "evidence": "[]", "raised_at": at, "received_at": at, "occurrence": f"o{next(_numbers)}",
        **more,
    }  # fmt: skip
    return put(tx, alarms, **values)


def incident(tx: Connection, node: str, at: int, took_s: int | None = 240, **more: Any) -> int:
    """An incident with an on-scene clock of 5 minutes, stopped after a time, or never."""
    values = {
        "node": node, "category": "fire", "event_at": at, "opened_at": at, "state": "closed", "source": "hand",
        "closed_at": at + HOUR, "checklist": "[]", **more,
    }  # fmt: skip
    made = put(tx, incidents, **values)
    stopped = None if took_s is None else at + took_s * 1000
    put(tx, clocks, incident=made, name="on_scene", target_s=300, due_at=at + 300_000, stopped_at=stopped)
    return made


def seed_month(db: Database, town: Town, period: Period = OCTOBER, hostile: tuple[str, ...] = ()) -> None:
    """A month of a street: every table that a review reads has rows. hostile: strings for every text field."""
    draw = random.Random(7)
    bad = list(hostile) or ["演示"]
    with db.begin() as tx:
        _fleet(tx, town, period, bad)
        for number, node in enumerate(town.communities):
            _presence(tx, node, period, draw, bad, number)
            _happenings(tx, node, period, draw, bad, number)


def _fleet(tx: Connection, town: Town, period: Period, bad: list[str]) -> None:
    put(tx, gateways, id="gw-1", node=town.street, location=bad[0], added_at=BEFORE, online=True)
    put(tx, gateways, id="gw-2", node=town.communities[-1], location=bad[0], added_at=BEFORE, online=True)
    for number in range(60):
        node = town.communities[number % len(town.communities)]
        name = f"dev-{number}" if number else bad[0][:40]
        put(tx, devices, gateway=f"gw-{1 + number % 2}", id=name, node=node, location=bad[-1], created_at=BEFORE)
    for day in range(period.from_ms // DAY, period.to_ms // DAY + 1):
        put(tx, ledgers, gateway="gw-1", day=day, received=90_000, late=day % 7, thinned=0, lost=0)
        put(tx, ledgers, gateway="gw-2", day=day, received=42_000, late=0, thinned=12 * (day % 3), lost=0)
    for name, kind, hours in (("", "gateway-offline", 9), ("dev-5", "device-silent", 80), ("dev-7", "device-silent", 30)):
        begin = period.from_ms + 5 * DAY
        alarm(
            tx, town.street, begin, gateway="gw-2", device=name, kind=kind, severity="major" if not name else "minor",
            cleared_at=begin + hours * HOUR, clear_reason="condition", cleared_by="gateway",
        )  # fmt: skip


def _presence(tx: Connection, node: str, period: Period, draw: random.Random, bad: list[str], number: int) -> None:
    for index in range(3):
        name = bad[index % len(bad)] if len(bad) > 1 else f"岗亭 {number}-{index}"
        post = put(tx, posts, node=node, code=f"p{number}{index}", name_zh=name, name_en=name, created_at=BEFORE, state="manned")
        at = period.from_ms - HOUR
        while at < period.to_ms:
            state = draw.choices(["manned", "understaffed", "unmanned", "unknown"], [30, 3, 1 + 4 * number, 1])[0]
            put(tx, post_history, post=post, at=at, state=state)
            at += draw.randint(1, 9) * HOUR
    route = put(
        tx, routes, node=node, code=f"r{number}", name_zh=bad[-1], name_en=bad[-1], kind="checkpoints", revisit_s=14_400,
        checkpoints='[{"name":"a"},{"name":"b"},{"name":"c"}]', created_at=BEFORE,
    )  # fmt: skip
    for checkpoint in range(3 - (number == 2)):
        at = period.from_ms - HOUR
        while at < period.to_ms:
            put(tx, route_visits, route=route, checkpoint=checkpoint, at=at, member=1)
            at += draw.randint(2, 6 + number) * HOUR
    area = put(tx, areas, node=node, code=f"a{number}", name_zh=bad[0], name_en=bad[0], revisit_s=28_800, created_at=BEFORE)
    for cell in range(12):
        put(tx, area_cells, area=area, cell=f"{number:02}{cell:02}")
        for slot in range(period.from_ms // 300_000, period.to_ms // 300_000, draw.randint(60, 160)):
            put(tx, cell_visits, cell=f"{number:02}{cell:02}", slot=slot)
    for index in range(9 - 3 * number):
        member = put(tx, members, node=node, call_sign=f"{bad[0][:20]}{number}{index}", created_at=BEFORE)
        for day in range(31):
            starts = period.from_ms + day * DAY + 8 * HOUR * (index % 3)
            put(tx, shifts, node=node, member=member, starts_at=starts, ends_at=starts + 8 * HOUR, begun_at=starts + 60_000)


def _happenings(tx: Connection, node: str, period: Period, draw: random.Random, bad: list[str], number: int) -> None:
    span = period.to_ms - period.from_ms - HOUR
    for index in range(20 + 20 * number):
        at = period.from_ms + min(span, int(span * draw.betavariate(2, 2)) // DAY * DAY + draw.randint(16, 23) * HOUR)
        severity = draw.choice(["critical", "major", "minor", "warning"])
        made = alarm(
            tx, node, at + index, kind=draw.choice(["fire", "sos", "door-forced", "battery-low", bad[0][:60]]), severity=severity,
            device=f"dev-{index}", acknowledged_at=at + draw.randint(5, 900) * 1000 if index % 5 else None,
            cleared_at=at + HOUR, clear_reason="manual", cleared_by="li", late=index % 11 == 0, drill=index % 13 == 0,
        )  # fmt: skip
        put(tx, history, alarm=made, at=at + HOUR, actor="li", action="cleared", detail="误报：厨房油烟" if index % 4 == 0 else bad[-1])
        if index % 3 == 0:
            opened = incident(
                tx, node, at, draw.randint(100, 420 + 200 * number), title=bad[0], place=bad[-1], cause=bad[0],
                category=draw.choice(["fire", "violence", "crowd", "medical", "facility"]),
                drill=1 if index % 15 == 0 else None,
            )  # fmt: skip
            put(tx, incident_alarms, alarm=made, incident=opened)
            for name, target in (("reinforcement", 600), ("area", 1800)):
                took = draw.randint(target // 2, target * 5 // 4)
                put(
                    tx, clocks, incident=opened, name=name, target_s=target, due_at=at + target * 1000,
                    stopped_at=at + took * 1000 if index % 2 else None,
                )  # fmt: skip
        if index % 4 == 0:
            hazard = put(
                tx, hazards, node=node, kind=draw.choice(["exit-blocked", "lamp-broken", "gas-smell"]), place=bad[-1],
                text=bad[0], state=draw.choice(["new", "handled", "handed-over"]), reported_at=at, reported_by="zhao",
            )  # fmt: skip
            put(tx, hazard_steps, hazard=hazard, at=at, actor="zhao", action="reported")
            put(tx, hazard_steps, hazard=hazard, at=at + 2 * HOUR, actor="li", action="triaged")
            put(tx, hazard_steps, hazard=hazard, at=at + 20 * HOUR, actor="li", action="handled")
