"""A made-up town, and a month of what happened there, put straight into the tables that other folders own."""

from __future__ import annotations

import itertools
import random
from datetime import date
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

from cloud.alerts.store import alarms, history
from cloud.devices.store import devices, gateways
from cloud.incidents.store import clocks, incident_alarms, incidents
from cloud.ingest.store import ledgers
from cloud.org import tree
from cloud.org.rules import SYSTEM
from cloud.org.tree import Kind, Settlement
from cloud.presence.review import STATES
from cloud.presence.rosters.store import members, shifts
from cloud.presence.store import area_cells, areas, cell_visits, post_history, posts, route_visits, routes
from cloud.reports.hazards.store import hazard_steps, hazards
from cloud.reports.periods import Period, days
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection, Table

    from cloud.db import Database

ZONE: Final = ZoneInfo("Asia/Shanghai")
OCTOBER: Final = days(date(2026, 10, 1), date(2026, 10, 31), ZONE)
BEFORE: Final = OCTOBER.from_ms - 90 * 86_400_000
HOUR: Final = 3_600_000
CATEGORIES: Final = ("fire", "violence", "crowd", "medical", "facility")
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


def _row(table: Table, values: dict[str, object]) -> dict[str, object]:
    """A whole row. Columns that must not be NULL and are not given hold nothing; what has no column is left out."""
    empty: dict[type, object] = {int: 0, str: "", float: 0.0, bool: False}
    filled = {
        column.name: empty[column.type.python_type]
        for column in table.c
        if not column.nullable and not column.primary_key and column.server_default is None
    }
    return {**filled, **{name: value for name, value in values.items() if name in table.c}}


def put(tx: Connection, table: Table, **values: object) -> int:
    """Insert a row; its id, if it has one. A text may be given by every name that it may go by."""
    key = tx.execute(table.insert().values(_row(table, values))).inserted_primary_key
    return int(key[0]) if key is not None and isinstance(key[0], int) else 0


def put_all(tx: Connection, table: Table, rows: Iterable[dict[str, object]]) -> None:
    """Insert many rows."""
    tx.execute(table.insert(), [_row(table, row) for row in rows])


def alarm(tx: Connection, node: str, at: int, **more: object) -> int:
    """An alarm that was raised and heard of at a time."""
    values: dict[str, object] = {
        "gateway": "gw-1", "device": "smk-1", "node": node, "kind": "fire", "severity": "critical", "rule": "r/x",
        "clock": "synced", "evidence": "[]", "raised_at": at, "received_at": at, "occurrence": f"o{next(_numbers)}",
        **more,
    }  # fmt: skip
    return put(tx, alarms, **values)


def incident(tx: Connection, node: str, at: int, took_s: int | None = 240, **more: object) -> int:
    """An incident with an on-scene clock of 5 minutes, stopped after a time, or never."""
    values: dict[str, object] = {
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
            _presence(tx, (node, number), period, draw, bad)
            _happenings(tx, (node, number), period, draw, bad)


def _fleet(tx: Connection, town: Town, period: Period, bad: list[str]) -> None:
    put(tx, gateways, id="gw-1", node=town.street, location=bad[0], added_at=BEFORE, online=True)
    put(tx, gateways, id="gw-2", node=town.communities[-1], location=bad[0], added_at=BEFORE, online=True)
    names = [bad[0][:40], *(f"dev-{number}" for number in range(1, 40))]
    put_all(tx, devices, (
        {"gateway": f"gw-{1 + number % 2}", "id": name, "node": town.communities[number % len(town.communities)],
         "location": bad[-1], "created_at": BEFORE}
        for number, name in enumerate(names)
    ))  # fmt: skip
    spans = range(period.from_ms // DAY, period.to_ms // DAY + 1)
    put_all(tx, ledgers, ({"gateway": "gw-1", "day": day, "received": 90_000, "late": day % 7} for day in spans))
    thinned = ({"gateway": "gw-2", "day": day, "received": 42_000, "thinned": 12 * (day % 3)} for day in spans)
    put_all(tx, ledgers, thinned)
    for name, kind, hours in (
        ("", "gateway-offline", 9),
        ("dev-5", "device-silent", 80),
        ("dev-7", "device-silent", 30),
    ):
        begin = period.from_ms + 5 * DAY
        alarm(
            tx, town.street, begin, gateway="gw-2", device=name, kind=kind, severity="major" if not name else "minor",
            cleared_at=begin + hours * HOUR, clear_reason="condition", cleared_by="gateway",
        )  # fmt: skip


def _presence(tx: Connection, unit: tuple[str, int], period: Period, draw: random.Random, bad: list[str]) -> None:
    node, number = unit
    for index in range(3):
        name = bad[(3 * number + index) % len(bad)] if len(bad) > 1 else f"岗亭 {number}-{index}"
        named = {"code": f"p{number}{index}", "name_zh": name, "name_en": name}
        post = put(tx, posts, node=node, created_at=BEFORE, state="manned", **named)
        put_all(tx, post_history, (
            {"post": post, "at": at, "state": draw.choices(STATES, [30, 3, 1 + 4 * number, 1])[0]}
            for at in _every(period, draw, 1, 9)
        ))  # fmt: skip
    points = '[{"name":"a"},{"name":"b"},{"name":"c"}]'
    named = {"node": node, "code": f"r{number}", "name_zh": bad[-(1 + number) % len(bad)], "name_en": bad[0]}
    route = put(tx, routes, kind="checkpoints", revisit_s=14_400, checkpoints=points, created_at=BEFORE, **named)
    for checkpoint in range(3 - (number == 2)):
        times = _every(period, draw, 2, 6 + number)
        put_all(tx, route_visits, ({"route": route, "checkpoint": checkpoint, "at": at} for at in times))
    area = put(tx, areas, revisit_s=28_800, created_at=BEFORE, **named)
    cells = [f"{number:02}{cell:02}" for cell in range(12)]
    put_all(tx, area_cells, ({"area": area, "cell": cell} for cell in cells))
    slots = range(period.from_ms // 300_000, period.to_ms // 300_000)
    put_all(tx, cell_visits, ({"cell": c, "slot": slot} for c in cells for slot in slots[:: draw.randint(60, 160)]))
    for index in range(9 - 3 * number):
        member = put(tx, members, node=node, call_sign=f"{bad[0][:20]}{number}{index}", created_at=BEFORE)
        begins = [period.from_ms + day * DAY + 8 * HOUR * (index % 3) for day in range(31)]
        put_all(tx, shifts, (
            {"node": node, "member": member, "starts_at": at, "ends_at": at + 8 * HOUR, "begun_at": at + 60_000}
            for at in begins
        ))  # fmt: skip


def _every(period: Period, draw: random.Random, least: int, most: int) -> Iterator[int]:
    """Times from just before a period to its end, some hours apart."""
    at = period.from_ms - HOUR
    while at < period.to_ms:
        yield at
        at += draw.randint(least, most) * HOUR


def _happenings(tx: Connection, unit: tuple[str, int], period: Period, draw: random.Random, bad: list[str]) -> None:
    node, number = unit
    kinds = ("fire", "sos", "door-forced", "battery-low", bad[0][:60])
    for index in range(20 + 20 * number):
        at = period.from_ms + draw.randint(0, 29) * DAY + draw.randint(16, 23) * HOUR
        made = alarm(
            tx, node, at + index, kind=draw.choice(kinds), severity=draw.choice([each.value for each in Severity]),
            device=f"dev-{index}", acknowledged_at=at + draw.randint(5, 900) * 1000 if index % 5 else None,
            cleared_at=at + HOUR, clear_reason="manual", cleared_by="li", late=index % 11 == 0, drill=index % 13 == 0,
        )  # fmt: skip
        said = "误报：厨房油烟" if index % 4 == 0 else bad[-1]
        put(tx, history, alarm=made, at=at + HOUR, actor="li", action="cleared", detail=said)
        if index % 3 == 0:
            opened = incident(
                tx, node, at, draw.randint(100, 420 + 200 * number), category=draw.choice(CATEGORIES), place=bad[-1],
                title=bad[0], title_zh=bad[0], title_en=bad[-1], cause=bad[0], drill=1 if index % 15 == 0 else None,
            )  # fmt: skip
            put(tx, incident_alarms, alarm=made, incident=opened)
            put_all(tx, clocks, (
                {"incident": opened, "name": name, "target_s": target, "due_at": at + target * 1000,
                 "stopped_at": at + draw.randint(target // 2, target * 5 // 4) * 1000 if index % 2 else None}
                for name, target in (("reinforcement", 600), ("area", 1800))
            ))  # fmt: skip
        if index % 4 == 0:
            _hazard(tx, node, at, draw, bad)


def _hazard(tx: Connection, node: str, at: int, draw: random.Random, bad: list[str]) -> None:
    state = draw.choice(["new", "handled", "handed-over"])
    kind = draw.choice(["exit-blocked", "lamp-broken", "gas-smell"])
    told = {"place": bad[-1], "text": bad[0], "reported_at": at, "reported_by": "zhao"}
    hazard = put(tx, hazards, node=node, kind=kind, state=state, **told)
    steps = ((0, "reported"), (2 * HOUR, "triaged"), (20 * HOUR, "handled"))
    put_all(tx, hazard_steps, (
        {"hazard": hazard, "at": at + after, "actor": "zhao", "action": action} for after, action in steps
    ))  # fmt: skip
