"""Changes to many gateways: what they would do, and how a campaign's steps order them, judge them, and lead back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cloud.devices.campaigns import service as campaigns
from cloud.devices.campaigns.models import Choice, MemberQuery, NewCampaign, PolicyBody
from cloud.devices.configs import changes
from cloud.devices.configs import service as configs
from cloud.devices.configs.models import Edit, NewChange, NewTemplate
from cloud.devices.configs.rules import TemplateKind
from cloud.errors import Forbidden, Invalid, NotFound
from cloud.org.rules import SYSTEM, Principal, Role
from firmware_specs.wire_fleet import ConfigPhase
from tests.cloud.cloud_support import NOW
from tests.configs.configs_support import LINE, LOBBY, OWN, propose, technician, tell, town

if TYPE_CHECKING:
    from cloud.db import Database

BUDGET = Edit(kind="set", key="outbox.budget_mb", value=200)


def preview(db: Database, edit: Edit, actor: Principal | None = None, **choice: Any) -> Any:  # noqa: ANN401
    with db.read() as tx:
        change = NewChange(choice=Choice.model_validate(choice), edit=edit)
        return changes.preview(tx, actor or technician(), change)


def state_of(db: Database, campaign: int, gateway: str) -> tuple[str, str]:
    with db.read() as tx:
        page = campaigns.list_members(tx, SYSTEM, campaign, MemberQuery())
        return next((each.state.value, each.reason) for each in page.items if each.gateway == gateway)


def test_a_preview_groups_gateways_for_which_the_change_is_the_same(db: Database) -> None:
    _, house = town(db, "gw-1", "gw-2", "gw-3")
    propose(db, "gw-1")
    propose(db, "gw-2")
    propose(db, "gw-3", f"{LINE}[outbox]\nbudget_mb = 200\n")
    seen = preview(db, BUDGET, node=house)
    assert [(group.gateways, "+budget_mb = 200" in group.diff) for group in seen.groups] == [(["gw-1", "gw-2"], True)]
    assert (seen.unchanged, seen.chosen, seen.faults) == (["gw-3"], 3, [])
    wrong = preview(db, Edit(kind="set", key="outbox.budget_mb", value=1), gateways=["gw-1"])
    assert "outbox.budget_mb: input should be greater than or equal to 4" in wrong.faults[0].reason
    with pytest.raises(NotFound):
        preview(db, BUDGET, technician(house), gateways=["gw-far"])
    named = preview(db, Edit(kind="set", key="devices.lobby.location", value="hall"), gateways=["gw-1"])
    assert '+location = "hall"' in named.groups[0].diff
    with pytest.raises(Forbidden):
        preview(db, Edit(kind="template", template=NewTemplate(kind=TemplateKind.TYPE, key="generic-smoke-senml",
                text="[device]\ndrill = true")), technician(house))  # fmt: skip


def campaign_of(db: Database, edit: Edit, **choice: Any) -> int:  # noqa: ANN401
    new = NewCampaign(
        kind="config", subject=edit.model_dump(mode="json"), choice=Choice.model_validate(choice),
        policy=PolicyBody(waves=("100%",)),
    )  # fmt: skip
    author = Principal("user", 1, "author", Role.ADMINISTRATOR)
    with db.begin() as tx:
        made = campaigns.create(tx, author, new, NOW).id
        campaigns.approve(tx, Principal("user", 2, "other", Role.ADMINISTRATOR), made, NOW)
        campaigns.start(tx, author, made, NOW)
    return made


def test_a_campaign_orders_waits_for_the_gateways_word_and_leads_back(db: Database) -> None:
    from cloud import timers
    from cloud.devices import service as devices

    town(db, "gw-1", "gw-2")
    first = {gateway: propose(db, gateway) for gateway in ("gw-1", "gw-2")}
    with db.begin() as tx:
        for gateway in first:
            devices.heard(tx, gateway, NOW)
    for gateway, document in first.items():
        tell(db, gateway, ConfigPhase.IN_FORCE, document)
    campaign = campaign_of(db, BUDGET)
    with db.begin() as tx:
        timers.tick(tx, NOW + 2000)
        wanted = {gateway: configs.current(tx, gateway) for gateway in first}
    assert {document.version for document in wanted.values() if document} == {2}
    good, bad = wanted["gw-1"], wanted["gw-2"]
    assert good is not None
    assert bad is not None
    assert good.comment == f"campaign {campaign}"
    tell(db, "gw-1", ConfigPhase.TRIAL, good, now_ms=NOW + 3000)
    tell(db, "gw-1", ConfigPhase.IN_FORCE, good, now_ms=NOW + 4000)
    tell(db, "gw-2", ConfigPhase.REVERTED, bad, "the cloud did not answer", now_ms=NOW + 4000, running=first["gw-2"])
    assert state_of(db, campaign, "gw-1") == ("committed", "")
    assert state_of(db, campaign, "gw-2") == ("failed", "reverted: the cloud did not answer")
    with db.begin() as tx:
        changes.back(tx, campaign, {}, "gw-1", "", NOW + 5000)
        back = configs.current(tx, "gw-1")
    assert back is not None
    assert (back.version, back.hash, back.own) == (3, first["gw-1"].hash, OWN)
    propose(db, "gw-2", LINE)
    with db.begin() as tx:
        changes.back(tx, campaign, {}, "gw-2", "", NOW + 5000)
        kept = configs.current(tx, "gw-2")
    assert kept is not None
    assert kept.own == LINE, "what somebody ordered since then stays"


def test_a_campaign_has_no_members_that_would_run_nothing_else(db: Database) -> None:
    town(db, "gw-1")
    propose(db, "gw-1", f"{LINE}{LOBBY}[outbox]\nbudget_mb = 200\n")
    with pytest.raises(Invalid, match="nobody fits"):
        campaign_of(db, BUDGET, gateways=["gw-1"])
    with pytest.raises(Invalid, match="subject: kind"):
        campaign_of(db, BUDGET.model_copy(update={"kind": "sett"}))
