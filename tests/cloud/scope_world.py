"""A tree of two sibling districts that are filled alike, with one of everything that belongs to a node (S4).

Whatever stands in side B can be told from anything else: every text carries its mark, every name that a request has to
carry begins with its tag, and every id that a table counts up lies in its range. So an answer can be searched for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud.alerts import service as alerts
from cloud.db import metadata
from cloud.devices import service as devices
from cloud.devices.campaigns import hooks
from cloud.devices.firmware import service as firmware
from cloud.incidents.levels import service as levels
from cloud.org.rules import ROOT, Principal, Role
from cloud.presence import service as presence
from cloud.presence.judge import Judge
from cloud.presence.rosters import service as rosters
from cloud.state import now_ms
from cloud.telemetry.store import Point
from firmware_specs.readings import AlarmEvent, AlarmPhase, Clock, Evidence, Position, Reading, Severity
from firmware_specs.wire import Reported, ReportedDevice
from firmware_specs.wire_fleet import FirmwareState, UpdatePhase, UpdateState, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from httpx import Client

    from cloud.db import Database
    from cloud.telemetry.store import TelemetryStore
    from tests.cloud.cloud_support import Served

FIRST: Final = {"a": 0, "b": 70_000_000, "": 90_000_000}
"""What the ids of a side are above; empty: those of whatever is made after both."""
MISSING: Final = 60_000_000
"""An id, and the number of a node, that nothing has."""
MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
for kind in ("words", "more-words"):
    hooks.KINDS[kind] = hooks.Kind(start=lambda *_: None, stop=lambda *_: None)
FOREIGN: Final = re.compile(r"ZZB\w*|qqb[\w.-]*|(?<![\d.])7000\d{4}(?!\d)")
"""Anything of side B."""


@dataclass
class Side:
    """One district. ids: by kind, of what stands for all of its kind in requests."""

    name: str
    lat: float
    ids: dict[str, Any] = field(default_factory=dict)

    def text(self, what: str = "") -> str:
        return f"ZZ{self.name.upper()}{what}"

    def tag(self, what: str) -> str:
        return f"qq{self.name}-{what}"

    def outline(self, reach: float = 0.01) -> dict[str, Any]:
        west, east, south, north = 108.9 - reach, 108.9 + reach, self.lat - reach, self.lat + reach
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        return {"type": "Polygon", "coordinates": [ring]}


@dataclass
class World:
    """Both sides, and a client of the root administrator."""

    served: Served
    a: Side
    b: Side


def stamp(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


def count_from(db: Database, number: int) -> None:
    """Have every table count its ids on from a number."""
    with db.begin() as tx:
        tx.exec_driver_sql("DELETE FROM sqlite_sequence")
        for table in metadata.tables.values():
            if table.dialect_options["sqlite"]["autoincrement"]:
                tx.exec_driver_sql("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table.name, number))


def build(served: Served) -> World:
    """Fill both districts."""
    sides = Side("a", 34.2), Side("b", 35.2)
    with served.client(Role.ADMINISTRATOR) as root:
        for side in sides:
            count_from(served.db, FIRST[side.name])
            Filling(served, root, side).fill()
    count_from(served.db, FIRST[""])
    return World(served, *sides)


class Filling:
    """Fills one district: by the API where there is one, by services where gateways or the worker would."""

    def __init__(self, served: Served, root: Client, side: Side) -> None:
        self._db: Database = served.db
        self._telemetry: TelemetryStore = served.app.state.patrol.telemetry
        self._zone = served.app.state.patrol.config.time_zone
        self._root = root
        self._side = side
        self._ids = side.ids
        self._now = now_ms()
        self._numbers = iter(range(1, 100))

    def fill(self) -> None:
        for part in (
            self._tree, self._people, self._channels, self._places, self._fleet, self._patrol, self._alarms,
            self._evidence, self._incidents, self._levels, self._drills, self._hazards, self._reviews, self._campaigns,
            self._told,
        ):  # fmt: skip
            part()

    def _send(self, verb: str, path: str, **body: Any) -> Any:  # noqa: ANN401 - JSON
        answer = self._root.request(verb, path, json=body)
        assert answer.is_success, (verb, path, body, answer.text)
        return answer.json() if answer.content else None

    def _post(self, path: str, **body: Any) -> Any:  # noqa: ANN401 - JSON
        return self._send("POST", path, **body)

    def _tree(self) -> None:
        parent = ROOT
        for kind in ("district", "street", "community", "building"):
            made = self._post(
                "/nodes", parent=parent, kind=kind, code=self._side.tag(kind), name_zh=self._side.text(kind),
                name_en=self._side.text(kind), outline=self._side.outline(), population=50_000, settlement="urban",
            )  # fmt: skip
            parent = self._ids[kind] = made["path"]
            self._ids[f"{kind}_id"] = made["id"]

    def _people(self) -> None:
        for name, role in (("user", "dispatcher"), ("chief", "supervisor")):
            self._ids[name] = self._side.tag(name)
            self._post("/users", name=self._ids[name], role=role, node=self._ids["street"])
        token = self._post("/tokens", name=self._side.tag("token"), role="dispatcher", node=self._ids["street"])
        self._ids["token"] = token["id"]

    def _channels(self) -> None:
        made = self._post(
            "/channels", name=self._side.text("desk"), node=self._ids["street"], audience=["dispatcher", "supervisor"],
            target=f"https://hooks.example.org/{self._side.tag('hook')}",
        )  # fmt: skip
        self._ids["channel"] = made["id"]
        chain = self._post(
            "/chains", node=self._ids["street"], name=self._side.text("chain"),
            steps=[{"after_s": 60, "roles": ["dispatcher"]}],
        )  # fmt: skip
        self._ids["chain"] = chain["id"]

    def _places(self) -> None:
        named = {"node": self._ids["community"], "name_zh": self._side.text("here"), "name_en": self._side.text("here")}
        point = {"lat": self._side.lat, "lon": 108.9}
        self._ids["post"] = self._post("/posts", **named, **point, code=self._side.tag("post"))["id"]
        points = [{"name": self._side.text("point"), **point}]
        self._ids["route"] = self._post("/routes", **named, checkpoints=points, code=self._side.tag("route"))["id"]
        area = self._post("/areas", **named, outline=self._side.outline(0.001), code=self._side.tag("area"))
        self._ids["area"] = area["id"]

    def _fleet(self) -> None:
        gateway, at = self._side.tag("gw"), self._side.text("place")
        self._ids |= {"gateway": gateway, "device": self._side.tag("smk")}
        names = {"smk": "generic-smoke-senml", "arm": "owntracks-armband", "rad": "owntracks-armband", "door": "x"}
        told = tuple(ReportedDevice(self._side.tag(name), profile, "c", at, at) for name, profile in names.items())
        actor = Principal("system", 0, "tests", Role.ADMINISTRATOR, self._ids["community"])
        smoke = Reading(self._ids["device"], "smoke", 0.5, "", self._now - MINUTE, self._now - MINUTE)
        note = Reading(self._ids["device"], "note", self._side.text("said"), "", self._now, self._now)
        with self._db.begin() as tx:
            devices.add_gateway(tx, actor, gateway, self._now, at)
            devices.heard(tx, gateway, self._now)
            devices.apply_reported(tx, gateway, Reported(1, "h", told), self._now)
            devices.apply_readings(tx, gateway, "e", [(1, smoke), (2, note)], self._now)
            runs = UpdateState(UpdatePhase.IDLE, running=self._side.text("firmware"))
            told_of = encode(FirmwareState({self._ids["device"]: runs}))
            firmware.reported(tx, gateway, "", told_of, self._now)
        self._telemetry.write([Point(gateway, smoke), Point(gateway, note)])
        self._post("/places", gateway=gateway, device=self._ids["device"], node=self._ids["building"])

    def _patrol(self) -> None:
        node, gateway = self._ids["community"], self._ids["gateway"]
        signs = {name: self._side.tag(name) for name in ("eagle", "hawk")}
        first, second = (
            self._post("/members", call_sign=sign, node=node, user=user)["id"]
            for sign, user in zip(signs.values(), (self._ids["user"], None), strict=True)
        )
        things = {
            kind: self._post(
                "/equipment", gateway=gateway, device=self._side.tag(device), kind=kind, node=node,
                post=self._ids["post"] if kind == "door" else None,
            )["id"]
            for device, kind in (("arm", "armband"), ("rad", "radio"), ("door", "door"))
        }  # fmt: skip
        self._post("/pseudonyms", pseudonym=self._side.tag("pseudonym"), member=first)
        worn = {"armband": things["armband"], "radio": things["radio"], "note": self._side.text("note")}
        running, later = (
            self._post("/shifts", member=first, starts_at=stamp(begin), ends_at=stamp(begin + 3 * HOUR), **worn, **at)
            for begin, at in (
                (self._now - HOUR, {"post": self._ids["post"]}), (self._now + 5 * HOUR, {"route": self._ids["route"]})
            )
        )  # fmt: skip
        spell = {"starts_at": stamp(self._now - HOUR), "ends_at": stamp(self._now + 2 * HOUR)}
        other = self._post("/shifts", member=second, post=self._ids["post"], **spell)
        self._ids |= {
            "member": first, "other": second, "equipment": things["door"], "armband": things["armband"],
            "radio": things["radio"], "pseudonym": self._side.tag("pseudonym"), "running": running["id"],
            "shift": later["id"], "relief": other["id"],
        }  # fmt: skip

    def _raise(self, kind: str, rule: str = "rule", device: str = "smk", ago_ms: int = 0) -> int:
        at = self._now - ago_ms
        number = next(self._numbers)
        event = AlarmEvent(
            f"{self._side.tag('o')}{number}", self._side.tag(device), kind, Severity.MAJOR, AlarmPhase.RAISED,
            self._side.text(rule), "1.0", at, at, clock=Clock.SYNCED,
            evidence=(Evidence("note", self._side.text("seen"), self._now),),
        )  # fmt: skip
        with self._db.begin() as tx:
            alerts.apply_events(tx, self._ids["gateway"], "e", [(number, event)], at)
        listed = self._root.get("/alarms", params={"gateway": self._ids["gateway"], "kind": kind, "limit": 1}).json()
        return int(listed["items"][0]["id"])

    def _alarms(self) -> None:
        for purpose, kind in (("silence", "battery-low"), ("maintenance", "fault")):
            made = self._post(
                "/silences", purpose=purpose, gateway=self._ids["gateway"], device=self._ids["device"], kind=kind,
                node=self._ids["community"], reason=self._side.text("why"), seconds=3600,
            )  # fmt: skip
            self._ids["silence"] = made["id"]
        acknowledged, cleared, noted = (self._raise(kind) for kind in ("door-forced", "temperature-high", "water-leak"))
        said = {"comment": self._side.text("heard")}
        self._post(f"/alarms/{acknowledged}/ack", **said)
        self._post(f"/alarms/{acknowledged}/assign", user=self._ids["user"])
        self._post(f"/alarms/{cleared}/clear", **said)
        self._post(f"/alarms/{noted}/shelve", seconds=600, reason=self._side.text("later"))
        for kind, rule in (("battery-low", "rule"), ("fault", "rule"), ("smoke", "one"), ("smoke", "two")):
            self._raise(kind, rule)
        self._raise("fire", device="door", ago_ms=HOUR)
        self._ids["alarm"] = self._raise("fire")
        self._post(f"/alarms/{self._ids['alarm']}/comment", **said)
        found = self._root.get(f"/alarms/{self._ids['alarm']}").json()
        self._ids["group"] = found["group_key"] or "none"

    def _evidence(self) -> None:
        spot = Position(self._side.lat, 108.9, 8.0)
        device = self._side.tag("arm")
        times = range(self._now - 10 * MINUTE, self._now, 10_000)
        fixes = [Reading(device, "position", spot, "", at, at) for at in times]
        gateway = self._ids["gateway"]
        call = Reading(device, "sos", True, "", self._now, self._now)
        viewer = Principal("user", 1, self._side.tag("viewer"), Role.DISPATCHER, self._ids["street"])
        with self._db.begin() as tx:
            presence.take(tx, gateway, fixes, self._now)
            devices.apply_readings(tx, gateway, "e", [(10, fixes[-1])], self._now)
            rosters.lift(tx, gateway, [call], self._now, HOUR)
            rosters.look(tx, viewer, [self._ids["member"]], self._side.text("map"), self._now)
        judge = Judge(self._db)
        while judge.turn(self._now):
            pass
        judge.turn(self._now + 1)
        with self._db.begin() as tx:
            # Another judge of the same minute may follow: the one of the other side.
            tx.execute(sa.text("DELETE FROM presence_judge"))

    def _incidents(self) -> None:
        made = self._post(
            "/incidents", node=self._ids["building"], category="medical", title=self._side.text("fell"),
            place=self._side.text("stairs"), lat=self._side.lat, lon=108.9,
        )["id"]  # fmt: skip
        self._ids["incident"] = made
        self._post(f"/incidents/{made}/dispatch", members=[self._ids["member"]])
        self._post(f"/incidents/{made}/comment", comment=self._side.text("remark"))
        self._post(f"/incidents/{made}/take")
        self._post(f"/incidents/{made}/checklist/0")
        plan = self._send(
            "PUT", "/plans", node=self._ids["street"], category="fire", name_zh=self._side.text("plan"),
            name_en=self._side.text("plan"), checklist=[{"zh": self._side.text("first")}],
        )  # fmt: skip
        self._ids["plan"] = plan["id"]

    def _levels(self) -> None:
        said = {"reason": self._side.text("rain"), "scope": self._side.text("all"), "level": 3}
        ends = stamp(self._now + 6 * HOUR)
        declarations = [
            self._post("/levels/declarations", node=self._ids["street"], ends_at=ends, **said)["id"] for _ in range(2)
        ]
        chief = Principal("user", 2, self._ids["chief"], Role.SUPERVISOR, self._ids["street"])
        with self._db.begin() as tx:
            levels.approve(tx, chief, declarations[0], self._now, self._side.text("yes"))
        self._ids["declaration"] = declarations[1]
        row = {"level": 3, "headcount_percent": 120, "revisit_percent": 80, "reporting_s": 60}
        rows = [{**row, "escalation_percent": 70}]
        self._send("PUT", "/levels/policies", node=self._ids["street"], rows=rows)
        self._send("PUT", "/levels/approvers", node=self._ids["street"], role="supervisor")

    def _drills(self) -> None:
        for starts in (None, self._now + HOUR):
            made = self._post(
                "/drills", node=self._ids["community"], name=self._side.text("drill"), kind="incident",
                place=self._side.text("hall"), starts_at=stamp(starts) if starts else None,
                ends_at=stamp(self._now + 2 * HOUR),
            )  # fmt: skip
            self._ids["drill"] = made["id"]

    def _hazards(self) -> None:
        told = {"kind": "exit-blocked", "place": self._side.text("exit"), "text": self._side.text("boxes")}
        for name in ("report", "hazard"):
            self._ids[name] = self._post("/hazards", node=self._ids["building"], **told)["id"]
            self._post(f"/hazards/{self._ids[name]}/steps", action="note", note=self._side.text("looked"))

    def _reviews(self) -> None:
        today = datetime.now(UTC).date()
        day = (today - timedelta(days=1)).isoformat()
        made = self._post("/reviews", node=self._ids["street"], first_day=day, last_day=today.isoformat())
        self._ids["review"] = made["id"]
        asked = self._post(
            f"/reviews/{made['id']}/follow-ups", node=self._ids["community"], text=self._side.text("mend")
        )  # fmt: skip
        self._ids["follow_up"] = asked["id"]
        assert made["state"] == "made"

    def _campaigns(self) -> None:
        made = self._post(
            "/campaigns", kind="words", title=self._side.text("change"), subject={"to": self._side.text("version")},
            choice={"node": self._ids["street"]},
        )  # fmt: skip
        self._ids["campaign"] = made["id"]

    def _told(self) -> None:
        listed = self._root.get("/deliveries", params={"channel": self._ids["channel"]}).json()["items"]
        self._ids["delivery"] = listed[0]["id"]


def rows_of(db: Database, wanted: Callable[[str], object]) -> set[str]:
    """Every row of every table whose text is wanted."""
    found: set[str] = set()
    with db.read() as tx:
        for table in metadata.tables.values():
            for row in tx.execute(sa.select(table)):
                text = f"{table.name} {tuple(row)}"
                if wanted(text):
                    found.add(text)
    return found
