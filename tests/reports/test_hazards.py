"""Hazard reports on real databases: filing, triage, merging, escalation, scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.incidents import review
from cloud.org.audit import audit
from cloud.org.rules import SYSTEM, Principal, Role
from cloud.reports.hazards import service
from cloud.reports.hazards.models import HazardDetail, HazardFilter, HazardStep, HazardView, NewHazard
from cloud.reports.hazards.rules import HazardAction, HazardKind, HazardState
from cloud.stream import events
from tests.cloud.cloud_support import NOW

if TYPE_CHECKING:
    from cloud.db import Database
    from tests.cloud.cloud_support import Served
    from tests.reports.reports_support import Town

ZHAO = Principal("user", 1, "zhao", Role.PROPERTY)
LI = Principal("user", 2, "li", Role.DISPATCHER)


def file(db: Database, node: str, at: int = NOW, who: Principal = ZHAO, **more: Any) -> HazardView:  # noqa: ANN401
    given = NewHazard.model_validate({"node": node, "kind": "exit-blocked", "text": "楼道堆物", **more})
    with db.begin() as tx:
        return service.report(tx, who, given, at)


def act(
    db: Database, hazard: int, action: str, at: int = NOW + 1000, who: Principal = LI, **more: object
) -> HazardView:
    with db.begin() as tx:
        return service.act(tx, who, hazard, HazardStep.model_validate({"action": action, **more}), at)


def shown(db: Database, hazard: int, who: Principal = LI) -> HazardDetail:
    with db.read() as tx:
        return service.get_hazard(tx, who, hazard)


def test_from_report_to_handled(db: Database, town: Town) -> None:
    filed = file(db, town.communities[0], place="3 号楼")
    assert (filed.state, filed.owner, filed.node_zh) == (HazardState.NEW, None, "东里")
    act(db, filed.id, "triage", note="去看")
    act(db, filed.id, "hand-over", to="物业")
    act(db, filed.id, "handle", NOW + 9000, note="已清理")
    seen = shown(db, filed.id)
    assert (seen.state, seen.owner) == (HazardState.HANDLED, "物业")
    assert [(step.action, step.actor, step.owner, step.note) for step in seen.steps] == [
        ("reported", "zhao", None, ""), ("triaged", "li", "li", "去看"), ("handed-over", "li", "物业", ""),
        ("handled", "li", "物业", "已清理"),
    ]  # fmt: skip
    assert seen.allowed == [HazardAction.REOPEN, HazardAction.NOTE]
    with db.read() as tx:
        told = tx.execute(sa.select(events.c.kind, events.c.node)).all()
        chain = tx.execute(sa.select(audit.c.action).where(audit.c.target == f"hazard/{filed.id}")).scalars().all()
        (fact,) = service.figures(tx, town.street, NOW, NOW + 1)
    assert told == [("hazard", town.communities[0])] * 4
    assert chain == ["hazard.reported", "hazard.triaged", "hazard.handed-over", "hazard.handled"]
    assert (fact.first_step_at, fact.handled_at) == (NOW + 1000, NOW + 9000)
    act(db, filed.id, "reopen", NOW + 10_000)
    with db.read() as tx:
        assert service.figures(tx, town.street, NOW, NOW + 1)[0].handled_at is None


def test_what_a_state_does_not_allow_is_refused(db: Database, town: Town) -> None:
    filed = file(db, town.communities[0])
    act(db, filed.id, "handle")
    with pytest.raises(Conflict, match=f"hazard {filed.id}: cannot triage while it is handled"):
        act(db, filed.id, "triage")
    other = file(db, town.communities[0])
    with pytest.raises(Invalid, match="to: say to whom"):
        act(db, other.id, "hand-over")
    with pytest.raises(Invalid, match="into"):
        act(db, other.id, "merge", into=other.id)
    with pytest.raises(Forbidden):
        act(db, other.id, "triage", who=ZHAO)
    with pytest.raises(Forbidden):
        file(db, town.communities[0], who=Principal("user", 3, "an", Role.AUDITOR))


def test_duplicates_are_offered_and_merging_keeps_both_histories(db: Database, town: Town) -> None:
    node = town.communities[0]
    first, second, third = file(db, node), file(db, node, NOW + 500, text="又堵了"), file(db, node, NOW + 700)
    assert shown(db, second.id).likely_same == [third.id, first.id]
    act(db, third.id, "merge", into=second.id, note="同一处")
    act(db, second.id, "merge", NOW + 2000, into=first.id)
    seen = shown(db, first.id)
    assert seen.merged == 2
    assert [each.id for each in seen.reports] == [second.id, third.id]
    assert [each.text for each in seen.reports] == ["又堵了", "楼道堆物"]
    assert [(step.hazard, step.action) for step in seen.steps] == [
        (first.id, "reported"), (second.id, "reported"), (third.id, "reported"), (second.id, "absorbed"),
        (third.id, "merged"), (first.id, "absorbed"), (second.id, "merged"),
    ]  # fmt: skip
    gone = shown(db, third.id)
    assert (gone.state, gone.merged_into, gone.allowed) == (HazardState.MERGED, first.id, [])
    with pytest.raises(Conflict, match="is itself merged"):
        act(db, first.id, "merge", into=second.id)
    with db.read() as tx:
        assert [each.id for each in service.list_hazards(tx, LI, HazardFilter()).items] == [first.id]
        assert len(service.figures(tx, town.street, 0, NOW * 2)) == 1
        assert service.open_count(tx, LI) == 1


def test_escalating_tells_the_node_above_once_a_level(db: Database, town: Town) -> None:
    filed = file(db, town.communities[0], kind="gas-smell")
    above = [act(db, filed.id, "escalate") for _ in range(4)]
    assert [view.escalated_to for view in above] == [town.street, town.town, town.district, "/"]
    messages = [service.told(view) for view in above]
    assert [message.node for message in messages] == [view.escalated_to for view in above]
    assert len({message.key for message in messages}) == 4
    assert {message.template for message in messages} == {"hazard.escalated"}
    with pytest.raises(Conflict, match="the top has been told"):
        act(db, filed.id, "escalate")


def test_escalating_can_open_an_incident_once(db: Database, town: Town) -> None:
    filed = file(db, town.communities[0], kind="gas-smell", text="闻到煤气", lat=34.2, lon=108.9)
    opened = act(db, filed.id, "escalate", open_incident=True).incident
    with db.read() as tx:
        (incident,) = review.figures(tx, town.street, NOW, NOW + 60_000).incidents
    assert (incident.id, incident.category, incident.node) == (opened, "fire", town.communities[0])
    assert incident.event_at == NOW
    with pytest.raises(Conflict, match=f"incident {opened} was opened already"):
        act(db, filed.id, "escalate", open_incident=True)


def test_scope_holds_for_list_detail_and_action_S4(db: Database, town: Town) -> None:
    file(db, town.communities[0])
    far = file(db, town.communities[1])
    inside = Principal("user", 9, "sun", Role.DISPATCHER, town.communities[0])
    with db.begin() as tx:
        assert len(service.list_hazards(tx, inside, HazardFilter()).items) == 1
        assert service.open_count(tx, inside) == 1
        with pytest.raises(NotFound):
            service.get_hazard(tx, inside, far.id)
        with pytest.raises(NotFound):
            service.act(tx, inside, far.id, HazardStep(action=HazardAction.NOTE), NOW)
        near = service.list_hazards(tx, inside, HazardFilter()).items[0]
        with pytest.raises(NotFound):
            service.act(tx, inside, near.id, HazardStep(action=HazardAction.MERGE, into=far.id), NOW)
    with pytest.raises(NotFound):
        file(db, town.communities[1], who=inside)


def test_lists_page_and_filter(db: Database, town: Town) -> None:
    for n in range(5):
        file(db, town.communities[n % 2], NOW + n, kind="crowding" if n == 3 else "exit-blocked")
    with db.read() as tx:
        page = service.list_hazards(tx, SYSTEM, HazardFilter(), limit=3)
        rest = service.list_hazards(tx, SYSTEM, HazardFilter(), limit=3, cursor=page.next_cursor)
        assert [each.id for each in (*page.items, *rest.items)] == [5, 4, 3, 2, 1]
        assert rest.next_cursor is None
        assert [h.id for h in service.list_hazards(tx, SYSTEM, HazardFilter(kind=HazardKind.CROWDING)).items] == [4]
        assert [h.id for h in service.list_hazards(tx, SYSTEM, HazardFilter(node=town.communities[1])).items] == [4, 2]


def test_over_http(service: Served, town: Town) -> None:
    body = {"node": town.communities[0], "kind": "lamp-broken", "place": "东门", "text": "路灯不亮"}
    with service.client(Role.PROPERTY) as property_staff, service.client(Role.DISPATCHER) as dispatcher:
        made = property_staff.post("/hazards", json=body)
        assert made.status_code == 201, made.text
        path = f"/hazards/{made.json()['id']}"
        assert property_staff.post(f"{path}/steps", json={"action": "handle"}).status_code == 403
        assert property_staff.post("/hazards", json={**body, "name": "张三"}).status_code == 422
        assert property_staff.post("/hazards", json={**body, "lat": 34.2}).status_code == 422
        assert property_staff.post("/hazards", json={**body, "text": "x" * 501}).status_code == 422
        assert property_staff.post("/hazards", json={**body, "kind": "other", "text": ""}).status_code == 422
        assert dispatcher.post(f"{path}/steps", json={"action": "triage"}).json()["state"] == "triaged"
        assert dispatcher.post(f"{path}/steps", json={"action": "triage"}).status_code == 409
        assert dispatcher.get(path).json()["steps"][0]["action"] == "reported"
        assert dispatcher.get("/hazards", params={"state": "triaged"}).json()["items"][0]["node_en"] == "东里"
        assert dispatcher.get("/hazards/99").status_code == 404
    with service.client(Role.DISPATCHER, town.communities[1]) as elsewhere:
        assert elsewhere.get(path).status_code == 404
        assert elsewhere.post(f"{path}/steps", json={"action": "note"}).status_code == 404
