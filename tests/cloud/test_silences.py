"""Silences, maintenance, shelving, inhibition and groups on a real database: what keeps quiet, and how it returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cloud import timers
from cloud.alerts import hooks, quiet, service, silences
from cloud.alerts.models import AlarmDetail, AlarmFilter, AlarmView
from cloud.alerts.ops_models import SilenceBody, SilenceFilter
from cloud.devices import liveness
from cloud.devices.places import Place
from cloud.errors import Forbidden, Invalid, NotFound
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, Principal, Role
from firmware_specs.readings import Severity
from tests.cloud.cloud_support import NOW, cleared, know, raised

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloud.alerts.facts import Facts
    from cloud.alerts.hooks import Happening
    from cloud.alerts.ops_models import Explanation, SilenceView
    from cloud.db import Database
    from firmware_specs.readings import AlarmEvent

LI = Principal("user", 1, "li", Role.DISPATCHER)
TECH = Principal("user", 2, "zhao", Role.TECHNICIAN)
MINUTE = 60_000


def apply(db: Database, *items: tuple[int, AlarmEvent], gateway: str = "gw-1", now: int = NOW) -> None:
    with db.begin() as tx:
        service.apply_events(tx, gateway, "e1", items, now)


def door(occurrence: str, device: str = "door-1", at: int = NOW, **more: object) -> AlarmEvent:
    return raised(occurrence, device, at, kind="door-open", severity=Severity.MAJOR, rule="p/door", **more)


def silence(db: Database, who: Principal = LI, now: int = NOW, **body: object) -> SilenceView:
    with db.begin() as tx:
        given = SilenceBody.model_validate({"reason": "装修", "seconds": 3600, **body})
        return silences.add_silence(tx, who, given, now)


def tick(db: Database, now: int) -> None:
    with db.begin() as tx:
        timers.tick(tx, now)


def listed(db: Database, **query: object) -> list[AlarmView]:
    with db.read() as tx:
        return list(service.list_alarms(tx, SYSTEM, AlarmFilter.model_validate(query)).items)


def detail(db: Database, alarm: int) -> AlarmDetail:
    with db.read() as tx:
        return service.get_alarm(tx, SYSTEM, alarm)


def actions(db: Database, alarm: int) -> list[str]:
    return [entry.action for entry in detail(db, alarm).history]


@pytest.fixture
def told() -> Iterator[list[tuple[str, int]]]:
    """What listeners are told, as another folder would be."""
    heard: list[tuple[str, int]] = []

    def listen(_tx: object, happening: Happening, alarm: Facts, _now_ms: int) -> None:
        heard.append((happening.value, alarm.id))

    hooks.LISTENERS.append(listen)
    yield heard
    hooks.LISTENERS.remove(listen)


def test_a_silence_keeps_quiet_says_what_stays_loud_and_ends_by_its_timer(
    db: Database, told: list[tuple[str, int]]
) -> None:
    know(db, "gw-1")
    apply(db, (1, raised("o1")), (2, door("o2")))
    made = silence(db, gateway="gw-1")
    assert (made.active, made.quiet, made.loud) == (True, 1, 1)
    assert {"fire", "sos", "gas", "duress", "heat", "smoke", "emergency"} <= set(made.never_silenced)
    fire, quieted = listed(db, kind="fire")[0], listed(db, kind="door-open")[0]
    assert (fire.quiet, fire.silence, fire.protected) == ("", None, True)
    assert (quieted.quiet, quieted.silence) == ("silence", made.id)
    assert [alarm.id for alarm in listed(db, silenced=True)] == [quieted.id]
    assert [alarm.id for alarm in listed(db, quiet=False)] == [fire.id]
    told.clear()
    tick(db, NOW + 3600_000 + 5 * MINUTE)
    back = detail(db, quieted.id)
    assert (back.quiet, back.silence) == ("", None)
    assert [h.action for h in back.history][:3] == ["raised", "silenced", "returned"]
    assert told == [("raised", quieted.id)]
    with db.read() as tx:
        ended = silences.get_silence(tx, LI, made.id, NOW + 3600_000 + 5 * MINUTE)
    assert (ended.active, ended.ended_by) == (False, "system:patrolgrid")
    assert ended.ended_at == ended.ends_at


def test_what_is_raised_under_a_silence_is_born_quiet_and_cleared_as_ever(
    db: Database, told: list[tuple[str, int]]
) -> None:
    know(db, "gw-1")
    made = silence(db, gateway="gw-1", kind="door-open")
    apply(db, (1, door("o1")))
    (alarm,) = listed(db)
    assert (alarm.quiet, alarm.escalation, alarm.silence) == ("silence", 0, made.id)
    apply(db, (2, cleared("o1", "door-1", kind="door-open", rule="p/door")))
    with db.begin() as tx:
        silences.end_silence(tx, LI, made.id, NOW + 1)
    assert told == [("raised", alarm.id), ("cleared", alarm.id)], "cleared alarms do not come back"


def test_a_silence_that_starts_later_is_in_force_from_then_and_ends_by_hand(db: Database) -> None:
    know(db, "gw-1")
    apply(db, (1, door("o1")))
    made = silence(db, kind="door-open", starts_in_s=600)
    assert (made.active, listed(db)[0].quiet) == (False, "")
    tick(db, NOW + 600_000)
    assert listed(db)[0].quiet == "silence"
    with db.begin() as tx:
        ended = silences.end_silence(tx, LI, made.id, NOW + 700_000)
        assert silences.end_silence(tx, LI, made.id, NOW + 800_000) == ended
    assert (ended.ended_by, listed(db)[0].quiet) == ("li", "")
    tick(db, NOW + 9_000_000)
    assert actions(db, listed(db)[0].id).count("returned") == 1


def test_maintenance_marks_opens_nothing_and_brings_back_what_still_stands(
    db: Database, told: list[tuple[str, int]]
) -> None:
    know(db, "gw-1")
    made = silence(db, TECH, purpose="maintenance", gateway="gw-1", seconds=600)
    apply(db, (1, door("o1")), (2, raised("o2")), (3, door("o3", "door-2")))
    marked = {alarm.occurrence: (alarm.maintenance, alarm.quiet) for alarm in listed(db, maintenance=True)}
    assert marked == {
        "o1": (made.id, "maintenance"), "o2": (made.id, ""), "o3": (made.id, "maintenance"),
    }, "a fire is marked and loud"  # fmt: skip
    apply(db, (4, cleared("o3", "door-2", kind="door-open", rule="p/door")))
    told.clear()
    tick(db, NOW + 600_000)
    stands = listed(db, kind="door-open", state=["open"])[0]
    assert (stands.maintenance, stands.quiet) == (None, "")
    assert told == [("raised", stands.id)]


def test_rights_and_bounds_of_silences(db: Database) -> None:
    know(db, "gw-1", node="/1/")
    know(db, "gw-2", node="/2/")
    with pytest.raises(Forbidden, match="role technician may not silence"):
        silence(db, TECH, gateway="gw-1")
    with pytest.raises(Forbidden, match="role auditor may not maintain"):
        silence(db, Principal("user", 3, "anna", Role.AUDITOR), purpose="maintenance")
    with pytest.raises(NotFound, match="gw-2"):
        silence(db, inside("/1/"), gateway="gw-2")
    with pytest.raises(NotFound, match="device gw-1/none"):
        silence(db, gateway="gw-1", device="none")
    with db.begin() as tx:
        other = [tree.add_node(tx, SYSTEM, ROOT, tree.Kind.STREET, ("街", "Street"), now_ms=NOW).path for _ in "12"][1]
    with pytest.raises(Invalid, match="gw-1 does not belong to /2/"):
        silence(db, gateway="gw-1", node=other)
    for wrong in ({"seconds": 31 * 86400}, {"seconds": 1}, {"reason": " "}, {"device": "d"}, {"node": "1/"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            silence(db, **wrong)


def inside(node: str, role: Role = Role.DISPATCHER) -> Principal:
    return Principal("user", 4, "wang", role, node)


def test_scope_of_silences_S4(db: Database) -> None:
    know(db, "gw-1", node="/1/")
    mine, theirs = silence(db, inside("/1/")), silence(db, inside("/10/"))
    assert mine.node == "/1/"
    with db.begin() as tx:
        page = silences.list_silences(tx, inside("/1/"), SilenceFilter(), NOW)
        assert [each.id for each in page.items] == [mine.id]
        with pytest.raises(NotFound):
            silences.get_silence(tx, inside("/1/"), theirs.id, NOW)
        with pytest.raises(NotFound):
            silences.end_silence(tx, inside("/1/"), theirs.id, NOW)


def test_silences_page_and_filter(db: Database) -> None:
    made = [silence(db, seconds=60 * (n + 1)).id for n in range(5)]
    silence(db, purpose="maintenance")
    with db.read() as tx:
        first = silences.list_silences(tx, LI, SilenceFilter(purpose="silence"), NOW, limit=3)
        rest = silences.list_silences(tx, LI, SilenceFilter(purpose="silence"), NOW, cursor=first.next_cursor)
        assert [each.id for each in [*first.items, *rest.items]] == made[::-1]
        active = silences.list_silences(tx, LI, SilenceFilter(active=True), NOW + 150_000)
        over = silences.list_silences(tx, LI, SilenceFilter(active=False), NOW + 150_000)
        assert (len(active.items), len(over.items)) == (4, 2)


def test_shelving_ends_by_its_timer_and_says_so(db: Database, told: list[tuple[str, int]]) -> None:
    know(db, "gw-1")
    apply(db, (1, door("o1")))
    (alarm,) = listed(db)
    with db.begin() as tx:
        shelved = service.shelve(tx, LI, alarm.id, NOW, until_ms=NOW + 10 * MINUTE, reason="送货")
    assert shelved.quiet == "shelved"
    told.clear()
    tick(db, NOW + 10 * MINUTE - 1)
    assert listed(db)[0].quiet == "shelved"
    tick(db, NOW + 10 * MINUTE)
    back = detail(db, alarm.id)
    assert (back.quiet, back.shelved_until) == ("", None)
    assert told == [("raised", alarm.id)]
    entry = next(h for h in back.history if h.action == "unshelved")
    assert entry.actor == "system:patrolgrid"


def test_a_shelved_alarm_that_cleared_does_not_come_back(db: Database, told: list[tuple[str, int]]) -> None:
    know(db, "gw-1")
    apply(db, (1, door("o1")))
    (alarm,) = listed(db)
    with db.begin() as tx:
        service.shelve(tx, LI, alarm.id, NOW, until_ms=NOW + MINUTE, reason="送货")
    apply(db, (2, cleared("o1", "door-1", kind="door-open", rule="p/door")))
    told.clear()
    tick(db, NOW + MINUTE)
    assert told == []


def test_an_outage_explains_silent_devices_until_a_while_after_it_ended(
    db: Database, told: list[tuple[str, int]]
) -> None:
    know(db, "gw-1")
    with db.begin() as tx:
        liveness.went_offline(tx, "gw-1", at_ms=NOW, now_ms=NOW)
    apply(db, (1, raised("o1", "d-1", kind="device-silent", severity=Severity.MINOR)))
    outage, silent = listed(db, kind="gateway-offline")[0], listed(db, kind="device-silent")[0]
    assert (silent.inhibited_by, silent.quiet) == (outage.id, "inhibited")
    told.clear()
    with db.begin() as tx:
        liveness.came_online(tx, "gw-1", NOW + MINUTE)
    assert listed(db, kind="device-silent")[0].quiet == ""
    assert ("raised", silent.id) not in told, "it may clear by itself now"
    tick(db, NOW + MINUTE + quiet.SETTLE_MS)
    assert told[-1] == ("raised", silent.id)


def test_a_building_without_mains_explains_its_gateways_outages(db: Database) -> None:
    with db.begin() as tx:
        building = tree.add_node(tx, SYSTEM, ROOT, tree.Kind.BUILDING, ("3 号楼", "Building 3"), now_ms=NOW).path
    know(db, "gw-1", "gw-2", node=building)
    know(db, "gw-3")
    for gateway in ("gw-2", "gw-3"):
        with db.begin() as tx:
            liveness.went_offline(tx, gateway, at_ms=NOW, now_ms=NOW)
    apply(db, (1, raised("o1", "meter", kind="mains-lost", severity=Severity.MAJOR)))
    tick(db, NOW)
    found = {alarm.gateway: alarm.quiet for alarm in listed(db, kind="gateway-offline")}
    assert found == {"gw-2": "inhibited", "gw-3": ""}
    apply(db, (2, cleared("o1", "meter", kind="mains-lost")), now=NOW + 1)
    tick(db, NOW + 1)
    assert {alarm.quiet for alarm in listed(db, kind="gateway-offline")} == {""}


def group_of(db: Database) -> dict[str, str | None]:
    return {alarm.occurrence: alarm.group_key for alarm in listed(db)}


def test_what_one_event_makes_in_one_building_is_a_group_whatever_comes_first(db: Database) -> None:
    with db.begin() as tx:
        building = tree.add_node(tx, SYSTEM, ROOT, tree.Kind.BUILDING, ("3 号楼", "Building 3"), now_ms=NOW).path
        floor = tree.add_node(tx, SYSTEM, building, tree.Kind.FLOOR, ("2 层", "Floor 2"), now_ms=NOW).path
    know(db, "gw-1", node=building)
    know(db, "gw-2", node=floor)
    know(db, "gw-3")
    apply(db, (1, raised("o1")), (2, raised("o3", "smk-3", NOW + 90_000, kind="smoke")))
    assert group_of(db)["o1"] != group_of(db)["o3"]
    apply(db, (1, raised("o2", "smk-2", NOW + 45_000)), gateway="gw-2")
    apply(db, (1, raised("o4")), gateway="gw-3")
    apply(db, (3, raised("o5", drill=True)), (4, raised("o6", kind="sos")), (5, raised("o7", "d-7", NOW + 200_000)))
    groups = group_of(db)
    assert groups["o1"] == groups["o2"] == groups["o3"] is not None
    assert groups["o6"] is None
    assert len({groups[name] for name in ("o1", "o4", "o5", "o7")}) == 4
    assert {alarm.occurrence for alarm in listed(db, group=groups["o1"])} == {"o1", "o2", "o3"}


def test_whatever_a_place_is_called_its_alarms_form_groups_and_break_no_column(db: Database) -> None:
    words = "".join(chr(0x4E00 + n % 20_000) for n in range(9_000))
    with db.begin() as tx:
        for device in ("post:1", "post:2", "post:3"):
            place = Place("/1/", words if device != "post:3" else "东门")
            service.raise_own(
                tx, "", device, "post\u202eunmanned%_\\", Severity.MAJOR, at_ms=NOW, now_ms=NOW, where=place
            )  # fmt: skip
    assert [alarm.grouped for alarm in listed(db)] == [1, 2, 2]


def test_an_alarm_of_no_gateway_is_silenced_by_its_node(db: Database) -> None:
    with db.begin() as tx:
        post = tree.add_node(tx, SYSTEM, ROOT, tree.Kind.COMMUNITY, ("幸福里", "Xingfuli"), now_ms=NOW).path
        service.raise_own(
            tx, "", "post:12", "post-unmanned", Severity.MAJOR, at_ms=NOW, now_ms=NOW, where=Place(post, "东门岗")
        )  # fmt: skip
    made = silence(db, node=post)
    (alarm,) = listed(db, node=post)
    assert (alarm.gateway, alarm.device, alarm.silence) == ("", "post:12", made.id)
    assert not listed(db, node="/999/")


def explained(db: Database, alarm: int, who: Principal = SYSTEM, now: int = NOW) -> Explanation:
    with db.read() as tx:
        return service.explain(tx, who, alarm, now)


def test_an_alarm_explains_its_rule_its_readings_and_its_quiet(db: Database) -> None:
    know(db, "gw-1", node="/1/")
    high = silence(db, kind="fire")
    apply(db, (1, raised("o1")), (2, door("o2")))
    works = silence(db, inside("/1/"), purpose="maintenance", gateway="gw-1")
    fire = explained(db, listed(db, kind="fire")[0].id)
    assert fire.rule.known
    assert ("烟雾" in fire.rule.text_zh, "above" in fire.rule.text_en, fire.rule.version) == (True, True, "1.0")
    assert {(reason.kind, reason.id) for reason in fire.reasons} == {("marked", works.id), ("spared", high.id)}
    assert (fire.quiet, fire.chain, fire.taken, fire.percent) == ("", "built-in: critical", 1, 100)
    assert fire.next is not None
    assert (fire.next.step, [r.value for r in fire.next.roles]) == (2, ["supervisor"])
    hidden = explained(db, fire.alarm, inside("/1/"))
    assert [(r.id, "装修" in r.text_zh) for r in hidden.reasons if r.kind == "spared"] == [(None, False)], "S4"
    quieted = explained(db, listed(db, kind="door-open")[0].id)
    assert (quieted.quiet, quieted.next, quieted.rule.known) == ("maintenance", None, False)
    assert "装修（wang）" in quieted.reasons[0].text_zh
    with pytest.raises(NotFound):
        explained(db, fire.alarm, inside("/2/"))
