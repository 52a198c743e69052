"""From the facts that other folders tell to the figures of a review.

Owns which facts make which figure. Reads in the caller's transaction, which need not be one for writing; the formulas
are `rules`'.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from cloud.alerts import review as alerts
from cloud.devices import review as fleet
from cloud.incidents import review as incidents
from cloud.org import tree
from cloud.org.rules import SYSTEM
from cloud.presence import review as presence
from cloud.reports import data, rules
from cloud.reports.hazards import service as hazards
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from zoneinfo import ZoneInfo

    from sqlalchemy import Connection

    from cloud.alerts.review import AlarmFact, AlarmFigures, Outage
    from cloud.devices.review import FleetFigures, Thing
    from cloud.incidents.review import ClockFact, IncidentFigures
    from cloud.presence.review import PatrolFact, PresenceFigures
    from cloud.reports.hazards.service import HazardFact
    from cloud.reports.periods import Period

T = TypeVar("T")
SERIOUS: Final = (Severity.CRITICAL.value, Severity.MAJOR.value)
LISTED: Final = 20
"""How many of the worst a table lists."""


class Facts(NamedTuple):
    """Everything that was read."""

    incidents: IncidentFigures
    alarms: AlarmFigures
    presence: PresenceFigures
    fleet: FleetFigures
    outages: list[Outage]
    hazards: list[HazardFact]
    people: list[rules.Settled]
    settlement: str | None


def read(tx: Connection, node: str, period: Period) -> Facts:
    """The facts of a node and a period."""
    known = fleet.figures(tx, node, *period)
    gateways = {thing.gateway for thing in (*known.devices, *known.gateways)}
    return Facts(
        incidents.figures(tx, node, *period), alerts.figures(tx, node, *period), presence.figures(tx, node, *period),
        known, alerts.outages(tx, gateways, *period), hazards.figures(tx, node, *period),
        [
            rules.Settled(each.path, each.population, each.settlement.value if each.settlement else None)
            for each in tree.list_nodes(tx, SYSTEM, below=node)
        ],
        tree.inherited(tx, node, "settlement"),
    )  # fmt: skip


def collect(tx: Connection, node: str, period: Period, zone: ZoneInfo) -> data.Figures:
    """The figures of a node and a period."""
    facts = read(tx, node, period)
    offline = _offline(facts, period)
    units = _units(facts, offline, node, period.to_ms)
    serious = [alarm for alarm in facts.alarms.alarms if alarm.severity in SERIOUS]
    hot = _hot(facts, serious)
    by_place = _cross(((fact.node, fact.category) for fact in facts.incidents.incidents), LISTED)
    listed = {
        node, *(unit.node for unit in units), *(each.node for each in hot), *(place for place, _ in by_place),
        *(post.node for post in facts.presence.posts), *(each.node for each in facts.presence.patrols),
    }  # fmt: skip
    ranked = [rules.Ranked(unit.node, unit.score, unit.place) for unit in units]
    return data.Figures(
        names=tree.names(tx, listed), by_place=by_place, hot_places=hot, units=units,
        follow_ups=rules.to_follow_up(ranked), strength=_strengths(facts, node, units),
        incident_hours=rules.hour_matrix((fact.event_at for fact in facts.incidents.incidents), zone),
        alarm_hours=rules.hour_matrix((alarm.raised_at for alarm in serious), zone),
        **_incidents(facts, period.to_ms), **_presence(facts, period), **_fleet(facts, offline),
        **_alarms(facts, serious), **_hazards(facts),
    )  # fmt: skip


def _cross(pairs: Iterable[tuple[str, str]], limit: int | None = None) -> list[tuple[str, dict[str, int]]]:
    """How often each pair occurs: by the first, most often first, then by the second."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for first, second in pairs:
        counts[first][second] += 1
    order = rules.most({first: sum(by.values()) for first, by in counts.items()}, limit or len(counts))
    return [(first, dict(sorted(counts[first].items()))) for first, _ in order]


def _incidents(facts: Facts, to_ms: int) -> dict[str, Any]:
    found = facts.incidents.incidents
    names = ["on_scene", "reinforcement", "area"]
    names += sorted({clock.name for clock in facts.incidents.clocks}.difference(names))
    return {
        "incidents": len(found), "incident_drills": facts.incidents.drills,
        "incidents_open": sum(fact.closed_at is None for fact in found),
        "by_category": rules.most(Counter(fact.category for fact in found), len(found)),
        "incidents_lasted": rules.spread(fact.closed_at - fact.event_at for fact in found if fact.closed_at),
        "clocks": [
            _clock(name, [clock for clock in facts.incidents.clocks if clock.name == name], to_ms) for name in names
        ],
    }  # fmt: skip


def _clock(name: str, clocks: list[ClockFact], to_ms: int) -> data.Clock:
    decided = [clock for clock in clocks if _decided(clock, to_ms)]
    within = sum(clock.stopped_at is not None and clock.stopped_at <= clock.due_at for clock in decided)
    took = rules.spread(clock.stopped_at - clock.started_at for clock in decided if clock.stopped_at is not None)
    return data.Clock(name, len(decided), within, rules.share(within, len(decided)), took)


def _decided(clock: ClockFact, to_ms: int) -> bool:
    """Stopped; or due within the period and not stopped, although its incident was not over before."""
    if clock.stopped_at is not None:
        return True
    return clock.due_at <= to_ms and (clock.closed_at is None or clock.closed_at > clock.due_at)


def _presence(facts: Facts, period: Period) -> dict[str, Any]:
    posts = facts.presence.posts
    duty = facts.presence.duty
    by_kind = {kind: [each for each in facts.presence.patrols if each.kind == kind] for kind in ("area", "route")}
    worst = sorted(posts, key=lambda post: (_manned(post.lasted) or 0.0, post.id))
    patrols = sorted(facts.presence.patrols, key=lambda each: (_covered([each]) or 0.0, each.kind, each.id))
    return {
        "posts": len(posts),
        "posts_lasted": {state: sum(post.lasted[state] for post in posts) for state in presence.STATES},
        "worst_posts": [data.Post(post.node, post.name_zh, post.name_en, post.lasted) for post in worst[:LISTED]],
        "areas_seen": _seen(by_kind["area"]), "areas_covered": _covered(by_kind["area"]),
        "routes_seen": _seen(by_kind["route"]), "routes_covered": _covered(by_kind["route"]),
        "patrols": [
            data.Patrol(
                each.kind, each.node, each.name_zh, each.name_en, each.revisit_s, each.spots, _seen([each]),
                _covered([each]), each.longest_ms,
            )
            for each in patrols[:LISTED]
        ],
        "shifts": sum(each.planned for each in duty), "shifts_begun": sum(each.begun for each in duty),
        "on_duty": sum(each.lasted_ms for each in duty) / max(1, period.to_ms - period.from_ms),
    }  # fmt: skip


def _manned(lasted: dict[str, int]) -> float | None:
    return rules.share(lasted["manned"], sum(lasted.values()))


def _seen(patrols: list[PatrolFact]) -> float | None:
    return rules.share(sum(each.seen for each in patrols), sum(each.spots for each in patrols))


def _covered(patrols: list[PatrolFact]) -> float | None:
    return rules.share(sum(each.covered_ms for each in patrols), sum(each.span_ms for each in patrols))


class Offline(NamedTuple):
    """How long a device or a gateway could not be heard, of the time in which it was known."""

    thing: Thing
    offline_ms: int
    span_ms: int


def _offline(facts: Facts, period: Period) -> list[Offline]:
    """Of every device and gateway; a gateway's outage is one of its devices too."""
    spans: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for outage in facts.outages:
        end = period.to_ms if outage.to_ms is None else outage.to_ms
        spans[outage.gateway, outage.device].append((outage.from_ms, end))
    found = []
    for thing in (*facts.fleet.gateways, *facts.fleet.devices):
        own = spans.get((thing.gateway, ""), []) + (spans.get((thing.gateway, thing.id), []) if thing.id else [])
        begin = max(period.from_ms, thing.since)
        found.append(Offline(thing, rules.union_ms(own, begin, period.to_ms), period.to_ms - begin))
    return found


def _online(offline: Iterable[Offline]) -> float | None:
    known = list(offline)
    span = sum(each.span_ms for each in known)
    return rules.share(span - sum(each.offline_ms for each in known), span)


def _fleet(facts: Facts, offline: list[Offline]) -> dict[str, Any]:
    """Of the devices only those are listed that were silent beyond their gateway's outages."""
    outages = {each.thing.gateway: each.offline_ms for each in offline if not each.thing.id}
    silent = [each for each in offline if not each.thing.id or each.offline_ms > outages.get(each.thing.gateway, 0)]
    worst = sorted(silent, key=lambda each: (-each.offline_ms, each.thing.gateway, each.thing.id))
    ledgers = sorted(facts.fleet.ledgers.items(), key=lambda pair: (-pair[1].lost, -pair[1].thinned, pair[0]))
    readings = [data.Readings(gateway, *ledger) for gateway, ledger in ledgers]
    names = ("received", "late", "thinned", "lost")
    return {
        "devices": len(facts.fleet.devices), "gateways": len(facts.fleet.gateways),
        "devices_online": _online(each for each in offline if each.thing.id),
        "gateways_online": _online(each for each in offline if not each.thing.id),
        "worst_devices": [
            data.Silent(each.thing.gateway, each.thing.id, each.offline_ms, _online([each]))
            for each in worst[:LISTED] if each.offline_ms
        ],
        "readings": data.Readings("", *(sum(getattr(each, name) for each in readings) for name in names)),
        "worst_readings": [each for each in readings[:LISTED] if each.lost or each.thinned or each.late],
    }  # fmt: skip


def _alarms(facts: Facts, serious: list[AlarmFact]) -> dict[str, Any]:
    found = facts.alarms.alarms
    causes = {fact.id: fact.cause for fact in facts.incidents.incidents}
    of = {alarm: causes.get(incident, "") for alarm, incident in facts.incidents.of_alarm.items()}
    cleared = [alarm for alarm in serious if alarm.cleared_at is not None]
    return {
        "alarms": len(found), "alarm_drills": facts.alarms.drills, "alarms_late": sum(alarm.late for alarm in found),
        "by_kind": _cross((alarm.kind, alarm.severity) for alarm in found),
        "false": sum(rules.is_false(alarm.remark, of.get(alarm.id)) for alarm in cleared), "false_of": len(cleared),
        "acknowledged": sum(alarm.acknowledged_at is not None for alarm in found),
        "acknowledge_took": rules.spread(
            alarm.acknowledged_at - alarm.received_at for alarm in found if alarm.acknowledged_at is not None
        ),
    }  # fmt: skip


def _hot(facts: Facts, serious: list[AlarmFact]) -> list[data.Hot]:
    by_incident = Counter(fact.node for fact in facts.incidents.incidents)
    by_alarm = Counter(alarm.node for alarm in serious)
    nodes = sorted(by_incident.keys() | by_alarm.keys(), key=lambda node: (-by_incident[node], -by_alarm[node], node))
    return [data.Hot(node, by_incident[node], by_alarm[node]) for node in nodes[:LISTED]]


def _hazards(facts: Facts) -> dict[str, Any]:
    taken = (fact.first_step_at - fact.reported_at for fact in facts.hazards if fact.first_step_at is not None)
    handled = (fact.handled_at - fact.reported_at for fact in facts.hazards if fact.handled_at is not None)
    return {
        "hazards": len(facts.hazards),
        "hazard_kinds": _cross((fact.kind, fact.state) for fact in facts.hazards),
        "hazards_taken_up": rules.spread(taken), "hazards_handled": rules.spread(handled),
    }  # fmt: skip


def _strength(facts: Facts, node: str) -> data.Strength:
    people, due = rules.required_members(
        [each for each in facts.people if each.path.startswith(node)], node, _above(facts, node)
    )
    there = sum(count for path, count in facts.presence.members.items() if path.startswith(node))
    return data.Strength(node, people, there, round(due, 1), there * rules.PER / people if people else None)


def _above(facts: Facts, node: str) -> str | None:
    """The settlement that a node inherits: of the nearest node above that says one."""
    said = [each for each in facts.people if each.settlement and node.startswith(each.path)]
    return max(said, key=lambda each: len(each.path)).settlement if said else facts.settlement


def _strengths(facts: Facts, node: str, units: list[data.Unit]) -> list[data.Strength]:
    below = [_strength(facts, unit.node) for unit in sorted(units, key=lambda unit: unit.node)]
    return [_strength(facts, node), *below]


def _split(rows: Iterable[T], node: str, of: Callable[[T], str]) -> dict[str, list[T]]:
    """Rows by the unit one level down; what belongs to the node itself is in none."""
    found: dict[str, list[T]] = defaultdict(list)
    for row in rows:
        unit = rules.child_of(node, of(row))
        if unit is not None:
            found[unit].append(row)
    return found


def _units(facts: Facts, offline: list[Offline], node: str, to_ms: int) -> list[data.Unit]:
    """The units one level down, worst first."""
    names = sorted(each.path for each in facts.people if rules.child_of(node, each.path) == each.path)
    found = _split(facts.incidents.incidents, node, lambda fact: fact.node)
    clocks = _split(facts.incidents.clocks, node, lambda clock: clock.node)
    alarms = _split(facts.alarms.alarms, node, lambda alarm: alarm.node)
    posts = _split(facts.presence.posts, node, lambda post: post.node)
    patrols = _split(facts.presence.patrols, node, lambda each: each.node)
    things = _split((each for each in offline if each.thing.id), node, lambda each: each.thing.node)
    shares: dict[str, dict[str, float | None]] = {}
    for unit in names:
        on_scene = _clock("on_scene", [clock for clock in clocks.get(unit, []) if clock.name == "on_scene"], to_ms)
        lasted = [post.lasted for post in posts.get(unit, [])]
        strength = _strength(facts, unit)
        raised = alarms.get(unit, [])
        shares[unit] = {
            "within": on_scene.share,
            "manned": rules.share(sum(each["manned"] for each in lasted), sum(sum(each.values()) for each in lasted)),
            "covered": _covered(patrols.get(unit, [])),
            "online": _online(things.get(unit, [])),
            "strength": rules.share(strength.members, strength.due),
            "acknowledged": rules.share(sum(alarm.acknowledged_at is not None for alarm in raised), len(raised)),
        }
    ranked = rules.rank(
        {unit: by.values() for unit, by in shares.items()}, {unit: len(found.get(unit, [])) for unit in names}
    )
    return [
        data.Unit(
            each.unit, each.place, each.score, len(found.get(each.unit, [])), len(alarms.get(each.unit, [])),
            shares[each.unit],
        )
        for each in ranked
    ]  # fmt: skip
