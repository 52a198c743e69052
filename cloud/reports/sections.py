"""The sections of a review's document, one function each, and their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cloud.presence.review import STATES
from cloud.reports.collect import LISTED
from cloud.reports.document import (
    DASH,
    Cell,
    Document,
    Heat,
    Section,
    Table,
    Writer,
    count,
    duration,
    number,
    share,
    text,
)
from cloud.reports.rules import UNIT_SHARES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloud.console.i18n import Words
    from cloud.reports.data import Clock
    from cloud.reports.rules import Spread
    from cloud.reports.service import Archived

SEVERITIES: Final = ("critical", "major", "minor", "warning")
HAZARD_STATES: Final = ("new", "triaged", "handed-over", "escalated", "handled")
TERMS: Final = (
    "period", "drills", "percentile", "response", "presence", "coverage", "online", "strength", "on_duty", "false",
    "acknowledge", "readings", "hot", "hazards", "ranking",
)  # fmt: skip
"""Every figure has its definition in the appendix."""


def _facts(w: Writer, *pairs: tuple[str, Cell]) -> Sequence[tuple[str, Cell]]:
    return [(w.word(f"f_{key}"), cell) for key, cell in pairs]


def _spread(spread: Spread) -> tuple[Cell, ...]:
    return duration(spread.p50), duration(spread.p90), duration(spread.p95), duration(spread.longest)


def _part(part: float, whole: float) -> Cell:
    return share(part / whole if whole > 0 else None)


def summary(w: Writer) -> Section:
    """The figures that a reader in a hurry needs."""
    f = w.figures
    on_scene = next((clock.share for clock in f.clocks if clock.name == "on_scene"), None)
    return w.section(
        "summary", note=w.word("n_drills"),
        facts=_facts(
            w, ("incidents", count(f.incidents)), ("on_scene", share(on_scene)),
            ("manned", _part(f.posts_lasted.get("manned", 0), sum(f.posts_lasted.values()))),
            ("areas_covered", share(f.areas_covered)), ("devices_online", share(f.devices_online)),
            ("strength", number(f.strength[0].per_100k if f.strength else None)), ("alarms", count(f.alarms)),
            ("false_rate", _part(f.false, f.false_of)), ("hazards", count(f.hazards)), ("lost", count(f.readings.lost)),
            ("drill_incidents", count(f.incident_drills)), ("drill_alarms", count(f.alarm_drills)),
        ),
    )  # fmt: skip


def incidents(w: Writer) -> Section:
    """By category and place."""
    f = w.figures
    kinds = [name for name, _ in f.by_category]
    names = tuple(w.t.name("reviews", f"category_{name}").removeprefix("category_") for name in kinds)
    by_category = [
        (text(name), count(number_of), _part(number_of, f.incidents))
        for name, (_, number_of) in zip(names, f.by_category, strict=True)
    ]
    by_place = [
        (w.node(node), *(count(by.get(kind, 0)) for kind in kinds), count(sum(by.values()))) for node, by in f.by_place
    ]
    return w.section(
        "incidents",
        facts=_facts(
            w, ("incidents", count(f.incidents)), ("open", count(f.incidents_open)),
            ("lasted", duration(f.incidents_lasted.p50)), ("drill_incidents", count(f.incident_drills)),
        ),
        tables=[
            Table(w.word("t_categories"), (*w.head("category", "count"), "%"), by_category, 2),
            Table(w.word("t_places"), (*w.head("place"), *names, *w.head("total")), by_place),
        ],
    )  # fmt: skip


def response(w: Writer) -> Section:
    """The three clocks."""

    def row(clock: Clock) -> tuple[Cell, ...]:
        name = text(w.t.name("reviews", f"clock_{clock.name}").removeprefix("clock_"))
        return name, count(clock.decided), count(clock.within), share(clock.share), *_spread(clock.took)

    head = w.head("clock", "decided", "within", "share", "p50", "p90", "p95", "max")
    rows = [row(clock) for clock in w.figures.clocks if clock.decided]
    return w.section("response", note=w.word("n_clocks"), tables=[Table("", head, rows, 3)])


def presence(w: Writer) -> Section:
    """Posts by state, and each of the worst."""
    f = w.figures
    whole = sum(f.posts_lasted.values())
    by_state = [
        (
            text(w.word(f"presence_{state}")),
            duration(f.posts_lasted.get(state, 0)),
            _part(f.posts_lasted.get(state, 0), whole),
        )
        for state in STATES
        if whole
    ]
    posts = [
        (
            w.named(post.zh, post.en), w.node(post.node),
            *(_part(post.lasted.get(state, 0), sum(post.lasted.values())) for state in STATES),
        )
        for post in f.worst_posts
    ]  # fmt: skip
    named = tuple(w.word(f"presence_{state}") for state in STATES)
    return w.section(
        "presence", note=w.t("reviews.n_worst", n=LISTED),
        facts=_facts(w, ("posts", count(f.posts)), ("shifts", count(f.shifts)), ("begun", count(f.shifts_begun))),
        tables=[
            Table(w.word("t_states"), w.head("state", "time", "share_of_time"), by_state, 2),
            Table(w.word("t_posts"), (*w.head("post", "unit"), *named), posts, 2),
        ],
    )  # fmt: skip


def coverage(w: Writer) -> Section:
    """Areas and routes."""
    f = w.figures
    rows = [
        (
            text(f"{w.word(f'patrol_{each.kind}')} · {w.named(each.zh, each.en).text}"), w.node(each.node),
            count(each.spots), share(each.seen), share(each.covered), duration(each.revisit_s * 1000),
            duration(each.longest_ms),
        )
        for each in f.patrols
    ]  # fmt: skip
    head = w.head("patrol", "unit", "spots", "seen", "covered", "revisit", "longest")
    facts = (
        ("areas_seen", share(f.areas_seen)), ("areas_covered", share(f.areas_covered)),
        ("routes_seen", share(f.routes_seen)), ("routes_covered", share(f.routes_covered)),
    )  # fmt: skip
    return w.section(
        "coverage", note=w.t("reviews.n_worst", n=LISTED), facts=_facts(w, *facts) if rows else [],
        tables=[Table("", head, rows, 4)],
    )  # fmt: skip


def devices(w: Writer) -> Section:
    """Who could be heard."""
    f = w.figures
    rows = [(text(s.gateway), text(s.device or DASH), duration(s.offline_ms), share(s.share)) for s in f.worst_devices]
    return w.section(
        "devices",
        facts=_facts(
            w, ("devices", count(f.devices)), ("devices_online", share(f.devices_online)),
            ("gateways", count(f.gateways)), ("gateways_online", share(f.gateways_online)),
        ),
        tables=[Table(w.word("t_silent"), w.head("gateway", "device", "offline", "online"), rows, 3)],
    )  # fmt: skip


def strength(w: Writer) -> Section:
    """Members against what is due."""
    rows = [
        (
            w.node(each.node), count(each.people), count(each.members), number(each.due), number(each.per_100k),
            _part(each.members, each.due),
        )
        for each in w.figures.strength if each.people or each.members
    ]  # fmt: skip
    head = (*w.head("unit", "people", "members", "due", "per_100k"), "%")
    return w.section(
        "strength", facts=_facts(w, ("on_duty", number(w.figures.on_duty))), tables=[Table("", head, rows)]
    )


def alarms(w: Writer) -> Section:
    """By kind and severity; how many were false; how soon somebody saw them."""
    f = w.figures
    rows = [
        (text(w.t.name("kind", kind)), *(count(by.get(s, 0)) for s in SEVERITIES), count(sum(by.values())))
        for kind, by in f.by_kind
    ]
    severities = tuple(w.t(f"severity.{severity}") for severity in SEVERITIES)
    took = f.acknowledge_took
    return w.section(
        "alarms",
        facts=_facts(
            w, ("alarms", count(f.alarms)), ("late_alarms", count(f.alarms_late)), ("false", count(f.false)),
            ("false_rate", _part(f.false, f.false_of)), ("acknowledged", _part(f.acknowledged, f.alarms)),
            ("ack_p50", duration(took.p50)), ("ack_p90", duration(took.p90)), ("ack_p95", duration(took.p95)),
            ("ack_max", duration(took.longest)), ("drill_alarms", count(f.alarm_drills)),
        ),
        tables=[Table(w.word("t_kinds"), (*w.head("alarm"), *severities, *w.head("total")), rows)],
    )  # fmt: skip


def readings(w: Writer) -> Section:
    """The loss ledgers."""
    f = w.figures
    rows = [
        (text(each.gateway), count(each.received), count(each.late), count(each.thinned), count(each.lost))
        for each in f.worst_readings
    ]
    whole = f.readings
    return w.section(
        "readings",
        facts=_facts(
            w, ("received", count(whole.received)), ("late", count(whole.late)), ("thinned", count(whole.thinned)),
            ("lost", count(whole.lost)),
        ),
        tables=[Table("", w.head("gateway", "received", "late", "thinned", "lost"), rows)],
    )  # fmt: skip


def hot(w: Writer) -> Section:
    """Where most happened."""
    rows = [(w.node(each.node), count(each.incidents), count(each.alarms)) for each in w.figures.hot_places]
    return w.section("hot", tables=[Table("", w.head("place", "incidents", "serious"), rows)])


def hours(w: Writer) -> Section:
    """When most happened."""
    days = tuple(w.word(f"day_{day}") for day in range(7))
    named = (("h_incidents", w.figures.incident_hours), ("h_alarms", w.figures.alarm_hours))
    heats = [
        Heat(w.word(key), days, counts, max(map(max, counts))) for key, counts in named if any(map(any, counts))
    ]  # fmt: skip
    return w.section("hours", note=w.t("reviews.n_hours", zone=w.view.zone), heats=heats)


def hazards(w: Writer) -> Section:
    """What the front line reported."""
    f = w.figures
    rows = [
        (text(w.t.name("hazards.kinds", kind)), *(count(by.get(s, 0)) for s in HAZARD_STATES), count(sum(by.values())))
        for kind, by in f.hazard_kinds
    ]
    states = tuple(w.t(f"hazards.states.{state}") for state in HAZARD_STATES)
    return w.section(
        "hazards",
        facts=_facts(
            w, ("hazards", count(f.hazards)), ("taken_up", duration(f.hazards_taken_up.p50)),
            ("handled", duration(f.hazards_handled.p50)),
        ),
        tables=[Table("", (*w.head("hazard"), *states, *w.head("total")), rows)],
    )  # fmt: skip


def ranking(w: Writer) -> Section:
    """The units one level down, worst first."""
    rows = [
        (
            text(DASH) if unit.place is None else count(unit.place), w.node(unit.node), share(unit.score),
            *(share(unit.shares.get(name)) for name in UNIT_SHARES), count(unit.incidents), count(unit.alarms),
        )
        for unit in w.figures.units
    ]  # fmt: skip
    named = tuple(w.word(f"share_{name}") for name in UNIT_SHARES)
    head = (*w.head("rank", "unit", "score"), *named, *w.head("incidents", "alarms"))
    return w.section("ranking", tables=[Table("", head, rows, 2)])


def follow_ups(w: Writer) -> Section:
    """The worst, as they were listed when the review was made."""
    scores = {unit.node: unit.score for unit in w.figures.units}
    rows = [(w.node(node), share(scores.get(node))) for node in w.figures.follow_ups]
    return w.section("follow_ups", note=w.word("n_follow_ups"), tables=[Table("", w.head("unit", "score"), rows)])


def definitions(w: Writer) -> Section:
    """What every figure means."""
    rows = [(text(w.word(f"term.{term}")), Cell(w.word(f"definition.{term}"))) for term in TERMS]
    return w.section("definitions", tables=[Table("", w.head("figure", "definition"), rows)])


SECTIONS: Final[tuple[Callable[[Writer], Section], ...]] = (
    summary, incidents, response, presence, coverage, devices, strength, alarms, readings, hot, hours, hazards,
    ranking, follow_ups, definitions,
)  # fmt: skip


def write(words: Words, archived: Archived) -> Document:
    """The document of a review in one language."""
    writer = Writer(words, archived)
    return Document(words.code, writer.title(), writer.facts(), [section(writer) for section in SECTIONS])
