"""Changes to many gateways: what they would do, and how a campaign's steps order them, judge them, and lead back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cloud.devices import service as devices
from cloud.devices.campaigns import service as campaigns
from cloud.devices.campaigns.models import Choice, MemberQuery, NewCampaign, PolicyBody
from cloud.devices.configs import changes, templates
from cloud.devices.configs import service as configs
from cloud.devices.configs.models import Edit, NewChange, NewTemplate
from cloud.devices.configs.rules import TemplateKind
from cloud.errors import Forbidden, Invalid, NotFound
from cloud.org.rules import SYSTEM, Principal, Role
from firmware_specs.wire_fleet import ConfigPhase
from tests.campaigns.campaigns_support import OTHER, come, seen, turns
from tests.cloud.cloud_support import NOW
from tests.configs.configs_support import LINE, LOBBY, OWN, propose, technician, tell, town

if TYPE_CHECKING:
    from cloud.db import Database

AUTHOR = Principal("user", 1, "author", Role.ADMINISTRATOR)
LATER = NOW + 5000
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


def campaign_of(db: Database, edit: Edit, actor: Principal = AUTHOR, **choice: Any) -> int:  # noqa: ANN401
    new = NewCampaign(
        kind="config", subject=edit.model_dump(mode="json"), choice=Choice.model_validate(choice),
        policy=PolicyBody(waves=("100%",), soak_s=0, health=False, pause_percent=100, timeout_s=60),
    )  # fmt: skip
    with db.begin() as tx:
        made = campaigns.create(tx, actor, new, NOW).id
        campaigns.approve(tx, OTHER, made, NOW)
        campaigns.start(tx, actor, made, NOW)
    return made


def online(db: Database, *gateways: str) -> None:
    """They are there, and run what was proposed first."""
    for gateway in gateways:
        first = propose(db, gateway)
        with db.begin() as tx:
            devices.heard(tx, gateway, NOW)
        tell(db, gateway, ConfigPhase.IN_FORCE, first)


def wanted(db: Database, gateway: str) -> configs.ConfigDocument:
    with db.read() as tx:
        found = configs.current(tx, gateway)
    assert found is not None
    return found


def roll_back(db: Database, campaign: int, now: int = LATER) -> None:
    with db.begin() as tx:
        campaigns.roll_back(tx, OTHER, campaign, now)
    turns(db, now)


def template_of(db: Database, key: str) -> tuple[int, str]:
    with db.read() as tx:
        found = templates.newest(tx, TemplateKind.NODE, key)
    return (found.version, found.text) if found else (0, "")


def told(db: Database, campaign: int) -> list[tuple[str, str]]:
    """What the campaign's history says of its template."""
    return [(each.what, each.detail) for each in seen(db, campaign).history if each.what.startswith("template")]


def test_a_rollback_puts_the_template_back_that_the_campaign_brought(db: Database) -> None:
    street, house = town(db, "gw-1", "gw-2")
    online(db, "gw-1", "gw-2")
    old, new = "[outbox]\nbudget_mb = 100\n", "[outbox]\nbudget_mb = 200\n"
    given = NewTemplate(kind=TemplateKind.NODE, key=street, text=old)
    with db.begin() as tx:
        configs.put_template(tx, technician(), given, NOW)
    edit = Edit(kind="template", template=given.model_copy(update={"text": new}))
    campaign = campaign_of(db, edit, gateways=["gw-1", "gw-2"])
    assert template_of(db, street) == (1, old), "before anybody was started"
    turns(db)
    assert template_of(db, street) == (2, new)
    for gateway in ("gw-1", "gw-2"):
        tell(db, gateway, ConfigPhase.REVERTED, wanted(db, gateway), "no", running=wanted(db, gateway))
    turns(db, LATER)
    assert "rollback" in seen(db, campaign).acts, "nobody has it, and the template has"
    roll_back(db, campaign)
    assert template_of(db, street) == (3, old)
    assert told(db, campaign) == [("template-back", f"node {street}: 2 → 3 = 1")]
    with db.read() as tx:
        assert (
            configs.get_template(tx, technician(), TemplateKind.NODE, street).comment
            == f"back from campaign {campaign}"
        )
    first = given.model_copy(update={"key": house, "text": new})
    again = campaign_of(db, Edit(kind="template", template=first), gateways=["gw-1"])
    turns(db, LATER)
    assert template_of(db, house) == (1, new)
    roll_back(db, again)
    assert template_of(db, house) == (2, ""), "there was none before"


def test_a_template_that_somebody_changed_since_is_neither_put_again_nor_put_back(db: Database) -> None:
    street, _ = town(db, "gw-1", "gw-2")
    online(db, "gw-1")
    propose(db, "gw-2")
    given = NewTemplate(kind=TemplateKind.NODE, key=street, text="[outbox]\nbudget_mb = 200\n")
    campaign = campaign_of(db, Edit(kind="template", template=given), gateways=["gw-1", "gw-2"])
    turns(db)
    mended = "[outbox]\nbudget_mb = 300\n"
    with db.begin() as tx:
        configs.put_template(tx, technician(), given.model_copy(update={"text": mended}), NOW)
        come(tx, "gw-2", NOW + 1000)
    turns(db, NOW + 1000)
    assert "budget_mb = 200" in wanted(db, "gw-2").text, "what was approved is what happens"
    assert template_of(db, street) == (2, mended)
    roll_back(db, campaign)
    assert template_of(db, street) == (2, mended)
    assert told(db, campaign) == [("template-kept", f"node {street}: 2")]


def test_a_rollback_wants_nothing_of_the_change_of_anybody_any_more(db: Database) -> None:
    """Of who committed, who refused, who is under way, and who had no configuration before."""
    town(db, "gw-1", "gw-2", "gw-3", "gw-4")
    online(db, "gw-1", "gw-2", "gw-3")
    first = wanted(db, "gw-1")
    with db.begin() as tx:
        devices.heard(tx, "gw-4", NOW)
    campaign = campaign_of(db, BUDGET, gateways=["gw-1", "gw-2", "gw-3", "gw-4"])
    turns(db)
    changed = {gateway: wanted(db, gateway) for gateway in ("gw-1", "gw-2", "gw-3", "gw-4")}
    for gateway in ("gw-1", "gw-4"):
        tell(db, gateway, ConfigPhase.IN_FORCE, changed[gateway])
    tell(db, "gw-2", ConfigPhase.REFUSED, changed["gw-2"], "no", running=first)
    roll_back(db, campaign)
    for gateway in ("gw-1", "gw-2", "gw-3"):
        assert (wanted(db, gateway).hash, wanted(db, gateway).own) == (first.hash, first.own)
    assert (wanted(db, "gw-4").text, wanted(db, "gw-4").own) == ("", ""), "none was wanted of it before"
    tell(db, "gw-3", ConfigPhase.IN_FORCE, changed["gw-3"])
    assert state_of(db, campaign, "gw-3")[0] == "started", "it is about to go back from that"
    for gateway in changed:
        tell(db, gateway, ConfigPhase.IN_FORCE, wanted(db, gateway), now_ms=LATER + 1000)
    turns(db, LATER + 1000)
    assert {gateway: state_of(db, campaign, gateway) for gateway in changed} == {
        "gw-1": ("back", ""), "gw-2": ("failed", "refused: no"), "gw-3": ("failed", "taken-back"), "gw-4": ("back", ""),
    }  # fmt: skip
    assert seen(db, campaign).state == "rolled-back"


def test_who_did_not_go_back_is_ordered_what_was_before_again_and_not_the_change(db: Database) -> None:
    town(db, "gw-1")
    online(db, "gw-1")
    first = wanted(db, "gw-1")
    campaign = campaign_of(db, BUDGET, gateways=["gw-1"])
    turns(db)
    changed = wanted(db, "gw-1")
    tell(db, "gw-1", ConfigPhase.IN_FORCE, changed)
    roll_back(db, campaign)
    tell(db, "gw-1", ConfigPhase.REVERTED, wanted(db, "gw-1"), "no line", running=changed)
    turns(db, LATER)
    assert state_of(db, campaign, "gw-1") == ("stuck", "reverted: no line")
    with db.begin() as tx:
        campaigns.retry(tx, OTHER, campaign, LATER)
    turns(db, LATER)
    assert (wanted(db, "gw-1").version, wanted(db, "gw-1").hash) == (4, first.hash)


def test_an_order_whose_time_is_over_is_taken_back(db: Database) -> None:
    """A gateway that comes days later does not take what nobody waits for any more."""
    town(db, "gw-1")
    online(db, "gw-1")
    first = wanted(db, "gw-1")
    campaign = campaign_of(db, BUDGET, gateways=["gw-1"])
    turns(db)
    turns(db, NOW + 61_000)
    assert state_of(db, campaign, "gw-1") == ("failed", "timeout")
    assert (wanted(db, "gw-1").version, wanted(db, "gw-1").hash) == (3, first.hash)
    with db.begin() as tx:
        campaigns.retry(tx, OTHER, campaign, NOW + 62_000)
        campaigns.resume(tx, OTHER, campaign, NOW + 62_000)
    turns(db, NOW + 62_000)
    again = wanted(db, "gw-1")
    assert "budget_mb = 200" in again.text
    tell(db, "gw-1", ConfigPhase.IN_FORCE, again, now_ms=NOW + 63_000)
    roll_back(db, campaign, NOW + 64_000)
    assert wanted(db, "gw-1").hash == first.hash


def test_a_campaign_orders_waits_for_the_gateways_word_and_leads_back(db: Database) -> None:
    town(db, "gw-1", "gw-2")
    online(db, "gw-1", "gw-2")
    first = wanted(db, "gw-1")
    campaign = campaign_of(db, BUDGET)
    turns(db)
    good, bad = wanted(db, "gw-1"), wanted(db, "gw-2")
    assert (good.version, bad.version, good.comment) == (2, 2, f"campaign {campaign}")
    tell(db, "gw-1", ConfigPhase.TRIAL, good, now_ms=NOW + 3000)
    assert state_of(db, campaign, "gw-1") == ("started", "")
    tell(db, "gw-1", ConfigPhase.IN_FORCE, good, now_ms=NOW + 4000)
    tell(db, "gw-2", ConfigPhase.REVERTED, bad, "the cloud did not answer", now_ms=NOW + 4000, running=first)
    assert state_of(db, campaign, "gw-1") == ("committed", "")
    assert state_of(db, campaign, "gw-2") == ("failed", "reverted: the cloud did not answer")
    kept = propose(db, "gw-2", LINE)
    roll_back(db, campaign)
    back = wanted(db, "gw-1")
    assert (back.version, back.hash, back.own) == (3, first.hash, OWN)
    assert wanted(db, "gw-2") == kept, "what somebody ordered since then stays"


def test_a_rollback_says_whom_it_left_since_somebody_ordered_something(db: Database) -> None:
    town(db, "gw-1")
    online(db, "gw-1")
    campaign = campaign_of(db, BUDGET, gateways=["gw-1"])
    turns(db)
    tell(db, "gw-1", ConfigPhase.IN_FORCE, wanted(db, "gw-1"))
    propose(db, "gw-1", LINE)
    roll_back(db, campaign)
    assert state_of(db, campaign, "gw-1") == ("back", "kept")


def test_a_campaign_has_no_members_that_would_run_nothing_else(db: Database) -> None:
    town(db, "gw-1")
    propose(db, "gw-1", f"{LINE}{LOBBY}[outbox]\nbudget_mb = 200\n")
    with pytest.raises(Invalid, match="nobody fits"):
        campaign_of(db, BUDGET, gateways=["gw-1"])
    with pytest.raises(Invalid, match="subject: kind"):
        campaign_of(db, BUDGET.model_copy(update={"kind": "sett"}))
