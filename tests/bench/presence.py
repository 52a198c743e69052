"""Presence at the size of a district: from a fix's arrival to the decision on it, and scoped lists meanwhile.

A feeder hands packs to ingest's commit, gateway by gateway, at the real rate and with the present as their time: what
its responders' armbands and its devices tell of ten seconds, into both embedded stores. A judge in a thread of its own
takes the fixes as the worker does. The lists are asked by a dispatcher of one street while both work.
"""

from __future__ import annotations

import math
import random
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa
from prometheus_client import CollectorRegistry

from cloud import schema
from cloud.alerts import service as alerts
from cloud.alerts.models import AlarmFilter
from cloud.db import open_database
from cloud.devices import service as devices
from cloud.incidents import service as incidents
from cloud.incidents.models import IncidentFilter
from cloud.incidents.rules import State
from cloud.ingest.commit import Committer, Incoming
from cloud.ingest.metrics import IngestMetrics
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, Principal, Role
from cloud.presence import posts
from cloud.presence.judge import Judge
from cloud.presence.models import AreaIn, PostIn, RouteIn
from cloud.presence.posts import counts
from cloud.presence.rosters.store import equipment, members, shifts
from cloud.presence.rounds import add_area, add_route
from cloud.presence.service import TURN_EVERY_S
from cloud.presence.store import post_history
from cloud.telemetry.store import open_store
from firmware_specs.readings import Lane, Position, Reading
from firmware_specs.wire import PackHeader, encode_item, encode_pack

from .results import Result, Table, percentile

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloud.db import Database
    from cloud.telemetry.store import TelemetryStore

DEVICES, POSTS, RESPONDERS, GATEWAYS, STREETS = 10_000, 1_000, 2_000, 100, 10
INCIDENTS, OPEN = 1_000, 200
"""What a district has had, and how many of them are open."""
INTERVAL_S = 10.0
LAT, LON = 34.2, 108.9
HOUR_MS = 3_600_000
ASKED = 5


class Responder(NamedTuple):
    """Who carries an armband, and where their post is."""

    device: str
    lat: float
    lon: float


def _now() -> int:
    return time.time_ns() // 1_000_000


def place(number: int) -> tuple[float, float]:
    """Posts stand 400 m apart."""
    return LAT + number // 32 * 0.0036, LON + number % 32 * 0.0043


def prepare(db: Database, now: int) -> tuple[list[list[Responder]], str]:
    """A district with everything in it. Responders by gateway, and the path of a street."""
    with db.begin() as tx:
        streets = [
            tree.add_node(tx, SYSTEM, ROOT, tree.Kind.STREET, (f"街道{n}", f"Street {n}"), now_ms=now).path
            for n in range(STREETS)
        ]
        made = [
            posts.add(
                tx, SYSTEM,
                PostIn(node=streets[n % STREETS], name_zh=f"岗{n}", name_en=f"Post {n}", lat=place(n)[0],
                       lon=place(n)[1], headcount=2),
                now,
            ).id
            for n in range(POSTS)
        ]  # fmt: skip
        for n in range(20):
            lat, lon = place(n * 50)
            line = {"type": "LineString", "coordinates": [[lon, lat], [lon + 0.02, lat]]}
            around = [[lon, lat], [lon + 0.01, lat], [lon + 0.01, lat + 0.01], [lon, lat + 0.01], [lon, lat]]
            named = {"node": streets[n % STREETS], "name_zh": f"线{n}", "name_en": f"Line {n}"}
            add_route(tx, SYSTEM, RouteIn.model_validate({**named, "line": line}), now)
            ring = {"type": "Polygon", "coordinates": [around]}
            add_area(tx, SYSTEM, AreaIn.model_validate({**named, "outline": ring}), now)
    for n in range(GATEWAYS):
        actor = Principal("system", 0, "bench", Role.ADMINISTRATOR, streets[n % STREETS])
        with db.begin() as tx:
            devices.add_gateway(tx, actor, f"gw-{n:03d}", now)
            readings = [
                (k, Reading(f"dev-{n:03d}-{k:03d}", "temperature", 20.0, "Cel", now, now))
                for k in range(DEVICES // GATEWAYS)
            ]
            devices.apply_readings(tx, f"gw-{n:03d}", "e1", readings, now)
    _incidents(db, streets, now)
    return _responders(db, made, streets, now), streets[0]


def _incidents(db: Database, streets: list[str], now: int) -> None:
    for n in range(INCIDENTS):
        at = now - (INCIDENTS - n) * 60_000
        with db.begin() as tx:
            made = incidents.open_by_hand(
                tx, SYSTEM, node=streets[n % STREETS], category="facility", title=f"事件{n}", now_ms=at,
                lat=place(n)[0], lon=place(n)[1],
            )  # fmt: skip
            incidents.take(tx, SYSTEM, made, at)
            if n < INCIDENTS - OPEN:
                incidents.close(tx, SYSTEM, made, at, cause="设备故障", follow_up="")


def _responders(db: Database, made: list[int], streets: list[str], now: int) -> list[list[Responder]]:
    found: list[list[Responder]] = [[] for _ in range(GATEWAYS)]
    with db.begin() as tx:
        for n in range(RESPONDERS):
            gateway, node, post = n % GATEWAYS, streets[n % POSTS % STREETS], made[n % POSTS]
            device = f"arm-{n:04d}"
            carried = {
                "node": node, "gateway": f"gw-{gateway:03d}", "device": device, "kind": "armband", "created_at": now,
            }  # fmt: skip
            armband = tx.execute(equipment.insert().values(carried).returning(equipment.c.id)).scalar_one()
            row = {"node": node, "call_sign": f"P{n:04d}", "created_at": now}
            member = tx.execute(members.insert().values(row).returning(members.c.id)).scalar_one()
            duty = {
                "node": node, "member": member, "post": post, "starts_at": now - HOUR_MS, "ends_at": now + 8 * HOUR_MS,
                "armband": armband, "note": "", "created_by": "bench",
            }  # fmt: skip
            tx.execute(shifts.insert().values(duty))
            found[gateway].append(Responder(device, *place(n % POSTS)))
    return found


class Run:
    """Feeder and judge side by side, for a bounded time."""

    def __init__(self, db: Database, telemetry: TelemetryStore, responders: list[list[Responder]]) -> None:
        self._db = db
        self._committer = Committer(db, telemetry, IngestMetrics(CollectorRegistry()))
        self._responders = responders
        self._sequence = [1] * GATEWAYS
        self._ended = threading.Event()
        self._waiting: deque[float] = deque()
        self._chance = random.Random(1)
        self.taken_s: list[float] = []
        self.turn_s: list[float] = []
        self.decided_s: list[float] = []
        self.sent = 0

    def judge(self) -> None:
        """As `cloud.presence.service.run` does."""
        judge = Judge(self._db)
        while not self._ended.is_set() or self._waiting:
            begun = time.perf_counter()
            taken = judge.turn(_now())
            done = time.perf_counter()
            if taken:
                self.turn_s.append(done - begun)
            self.decided_s += [done - self._waiting.popleft() for _ in range(taken)]
            self._ended.wait(TURN_EVERY_S)

    def feed(self, seconds: float) -> None:
        """One gateway's pack after the other, each responder and each device every ten seconds."""
        begun = time.perf_counter()
        step = INTERVAL_S / GATEWAYS
        number = 0
        while number * step < seconds:
            time.sleep(max(0.0, begun + number * step - time.perf_counter()))
            gateway, now = number % GATEWAYS, _now()
            fixes = [self._fix(each, now, number) for each in self._responders[gateway]]
            pack = self._pack(gateway, fixes, now)
            arrived = time.perf_counter()
            self._waiting.extend([arrived] * len(fixes))  # before they can be judged
            assert len(self._committer.commit([pack], now)) == 1
            self.taken_s.append(time.perf_counter() - arrived)
            self.sent += len(fixes)
            number += 1
        self._ended.set()

    def _pack(self, gateway: int, fixes: list[Reading], now: int) -> Incoming:
        """The fixes, and a reading of every device of the gateway."""
        told = [
            Reading(f"dev-{gateway:03d}-{k:03d}", "temperature", round(self._chance.gauss(20, 1), 1), "Cel", now, now)
            for k in range(DEVICES // GATEWAYS)
        ]
        items = [encode_item(item) for item in (*fixes, *told)]
        header = PackHeader("e2", Lane.TELEMETRY, self._sequence[gateway], len(items), 1, "b1")
        self._sequence[gateway] += len(items)
        payload, properties = encode_pack(header, items)
        return Incoming(f"gw-{gateway:03d}", "up/telemetry", tuple(properties), payload)

    def _fix(self, each: Responder, now: int, number: int) -> Reading:
        """At the post with a receiver's error; one in ten walks away and comes back."""
        walks = each.device.endswith("0") and number // GATEWAYS % 6 >= 3
        east = (150 if walks else 0) + self._chance.gauss(0, 6.6)
        lon = each.lon + east / (111_195 * math.cos(math.radians(each.lat)))
        at = Position(each.lat + self._chance.gauss(0, 6.6) / 111_195, lon, 10.0)
        return Reading(each.device, "position", at, "", now, now)


def asked(db: Database, street: str) -> dict[str, list[float]]:
    """Lists of a street's dispatcher, again and again."""
    li = Principal("user", 1, "li", Role.DISPATCHER, street)
    lists: dict[str, Callable[[sa.Connection], object]] = {
        "posts (100 of 100)": lambda tx: posts.listed(tx, li, limit=100),
        "presence board (100 of 100)": lambda tx: posts.board(tx, li, limit=100),
        "presence board, whole district (100 of 1,000)": lambda tx: posts.board(tx, SYSTEM, limit=100),
        "devices (100 of 1,000)": lambda tx: devices.list_devices(tx, li, _now(), limit=100),
        f"incidents (100 of {INCIDENTS // STREETS})": lambda tx: incidents.list_incidents(
            tx, li, IncidentFilter(), _now(), limit=100
        ),
        f"incidents, whole district (100 of {INCIDENTS:,})": lambda tx: incidents.list_incidents(
            tx, SYSTEM, IncidentFilter(), _now(), limit=100
        ),
        f"incidents, open ones of the district (100 of {OPEN})": lambda tx: incidents.list_incidents(
            tx, SYSTEM, IncidentFilter(state=(State.OPEN,)), _now(), limit=100
        ),
        "alarms": lambda tx: alerts.list_alarms(tx, li, AlarmFilter(), limit=100),
    }
    spent: dict[str, list[float]] = {name: [] for name in lists}
    for name, ask in lists.items():
        for _ in range(ASKED):
            begun = time.perf_counter()
            with db.read() as tx:
                ask(tx)
            spent[name].append(time.perf_counter() - begun)
    return spent


def run(*, quick: bool) -> Result:
    """Feed for a minute (15 s when quick), and tell."""
    seconds = 15.0 if quick else 60.0
    with tempfile.TemporaryDirectory() as directory:
        db = open_database("sqlite", Path(directory))
        telemetry = open_store("sqlite", Path(directory))
        try:
            schema.migrate(db)
            responders, street = prepare(db, _now())
            running = Run(db, telemetry, responders)
            threads = [
                threading.Thread(target=running.judge, name="judge"),
                threading.Thread(target=running.feed, args=(seconds,), name="feeder"),
            ]
            for thread in threads:
                thread.start()
            spent: dict[str, list[float]] = {}
            while threads[1].is_alive():
                for name, times in asked(db, street).items():
                    spent.setdefault(name, []).extend(times)
                time.sleep(0.5)
            for thread in threads:
                thread.join()
            with db.read() as tx:
                states = counts(tx, SYSTEM)
                moments = tx.execute(sa.select(sa.func.count()).select_from(post_history)).scalar_one()
        finally:
            telemetry.close()
            db.close()
    return _result(running, spent, {state.value: count for state, count in states.items()}, moments)


def _result(running: Run, spent: dict[str, list[float]], states: dict[str, int], moments: int) -> Result:
    def row(name: str, times: list[float]) -> list[str | float | int]:
        return [name, *(1000 * percentile(times, share) for share in (0.5, 0.95, 0.99)), 1000 * max(times, default=0)]

    ended = ", ".join(f"{count} {state}" for state, count in states.items())
    columns = ("", "p50 ms", "p95 ms", "p99 ms", "worst ms")
    decided = Table(
        f"Presence: {RESPONDERS:,} responders, a fix per {INTERVAL_S:.0f} s each, {POSTS:,} posts, {DEVICES:,} devices",
        columns,
        [
            row("arrival of a fix to the decision, committed", running.decided_s),
            row("committing a pack of 20 fixes and 100 readings", running.taken_s),
            row("a judge's turn", running.turn_s),
        ],
        f"Embedded stores. {running.sent:,} fixes, and 1,000 readings/s of the devices; the judge begins with nothing "
        f"in memory. One responder in ten walks off and back. {moments:,} moments of post history; at the end {ended}. "
        "Target: p99 at most 2,000 ms.",
    )
    lists = Table(
        "Lists within a scope, meanwhile", columns, [row(name, times) for name, times in spent.items()],
        "Asked of the service by a street's dispatcher while fixes are judged. Target: p95 at most 100 ms.",
    )  # fmt: skip
    return Result([decided, lists])
