"""Documents of gateways: proposed, ordered, judged by what comes back."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

import pytest

from cloud import stream, timers
from cloud.devices import service as devices
from cloud.devices.configs import service as configs
from cloud.devices.configs.models import NewTemplate
from cloud.devices.configs.rules import Phase, TemplateKind
from cloud.errors import Forbidden, Invalid, NotFound
from cloud.ingest import hooks
from cloud.org.rules import Principal, Role
from firmware_specs.errors import PackError
from firmware_specs.gateway_document import hash_of
from firmware_specs.gateway_file import DeviceConfig
from firmware_specs.wire_fleet import ConfigPhase
from tests.cloud.cloud_support import NOW
from tests.configs.configs_support import LINE, LOBBY, OWN, ordered, propose, state, technician, tell, town

if TYPE_CHECKING:
    from cloud.db import Database

DOOR = DeviceConfig(id="door", profile="generic-smoke-senml", connector="mqtt", address="s/door")


def test_a_proposal_is_ordered_once_and_the_same_again_sends_nothing(db: Database) -> None:
    town(db, "gw-1")
    made = propose(db, "gw-1")
    order = ordered(db, "gw-1")
    assert order is not None
    assert (order[0].version, order[0].hash) == (1, hash_of(order[0].text))
    assert made.text == order[0].text
    assert propose(db, "gw-1").version == 1
    remarked = propose(db, "gw-1", f"# another remark\n{LOBBY}\n{LINE}")
    assert (remarked.version, remarked.own[:9]) == (1, "# another")
    assert ordered(db, "gw-1") == order, "neither a remark nor another order of tables is anything to the gateway"
    with db.read() as tx:
        assert [each.version for each in configs.history(tx, "gw-1").items] == [1]


def test_how_a_gateway_stands_follows_what_it_tells(db: Database) -> None:
    town(db, "gw-1")
    assert state(db, "gw-1").phase is Phase.UNSET
    first = propose(db, "gw-1")
    assert (state(db, "gw-1").phase, state(db, "gw-1").drift) == (Phase.WAITING, False)
    tell(db, "gw-1", ConfigPhase.TRIAL, first)
    assert state(db, "gw-1").phase is Phase.TRIAL
    tell(db, "gw-1", ConfigPhase.IN_FORCE, first)
    assert (state(db, "gw-1").phase, state(db, "gw-1").drift) == (Phase.IN_FORCE, False)
    second = propose(db, "gw-1", LINE)
    assert (second.version, state(db, "gw-1").phase, state(db, "gw-1").drift) == (2, Phase.WAITING, True)
    tell(db, "gw-1", ConfigPhase.REVERTED, second, "the cloud did not answer", running=first)
    now = state(db, "gw-1")
    assert (now.phase, now.reason, now.running_version, now.drift) == (
        Phase.REVERTED, "the cloud did not answer", 1, True
    )  # fmt: skip


def test_what_was_left_is_tried_again_as_a_new_version(db: Database) -> None:
    town(db, "gw-1")
    first = propose(db, "gw-1")
    tell(db, "gw-1", ConfigPhase.REFUSED, first, "no such port")
    again = propose(db, "gw-1")
    assert (again.version, again.hash) == (2, first.hash)


def test_a_cloud_that_forgot_versions_never_orders_an_older_one(db: Database) -> None:
    town(db, "gw-1")
    tell(db, "gw-1", ConfigPhase.IN_FORCE, propose(db, "gw-1")._replace(version=9, hash="0123456789abcdef"))
    assert propose(db, "gw-1", LINE).version == 10


def test_one_who_never_answers_is_shown_when_it_is_there(db: Database) -> None:
    town(db, "gw-1")
    propose(db, "gw-1")
    late = NOW + 241_000
    assert state(db, "gw-1", late).phase is Phase.WAITING, "it is away: it cannot answer"
    with db.begin() as tx:
        devices.heard(tx, "gw-1", NOW)
    assert state(db, "gw-1", late - 2000).phase is Phase.WAITING
    assert state(db, "gw-1", late).phase is Phase.NO_ANSWER


def phases(db: Database) -> list[str]:
    """What the stream said of configurations."""
    return [json.loads(data)["phase"] for _, kind, _, data in stream.after(db, 0, 100) if kind == "config"]


def test_a_report_that_comes_again_says_nothing_and_silence_is_said_when_it_is_due_D7(db: Database) -> None:
    town(db, "gw-1")
    first = propose(db, "gw-1")
    for _ in range(3):
        tell(db, "gw-1", ConfigPhase.TRIAL, first)
    tell(db, "gw-1", ConfigPhase.IN_FORCE, first)
    tell(db, "gw-1", ConfigPhase.IN_FORCE, first, now_ms=NOW + 1000)
    assert phases(db) == ["waiting", "trial", "in-force"]
    propose(db, "gw-1", LINE)
    with db.begin() as tx:
        devices.heard(tx, "gw-1", NOW)
    with db.begin() as tx:
        timers.tick(tx, NOW + 10_000_000)
    assert phases(db)[3:] == ["waiting", "no-answer"]


def test_what_is_no_report_is_refused(db: Database) -> None:
    town(db, "gw-1")
    with db.begin() as tx, pytest.raises(PackError):
        hooks.DOCUMENTS["reported/config"](tx, "gw-1", "", b'{"phase": "fine"}', NOW)
    with db.begin() as tx:
        hooks.DOCUMENTS["reported/config"](tx, "nobody", "", b'{"phase": "none"}', NOW)


def test_devices_are_added_behind_what_a_person_wrote_and_taken_out(db: Database) -> None:
    town(db, "gw-1")
    propose(db, "gw-1")
    with db.begin() as tx:
        added = configs.change_devices(tx, technician(), "gw-1", [DOOR], [], NOW)
    assert added.own.startswith(OWN.rstrip())
    assert added.own.count("[[devices]]") == 2
    with db.begin() as tx:
        left = configs.change_devices(tx, technician(), "gw-1", [], ["lobby"], NOW)
    assert ("lobby" in left.text, "door" in left.text, left.version) == (False, True, 3)
    with db.begin() as tx, pytest.raises(Invalid, match=r"devices\[1\].profile: no profile 'generic-smok-senml'"):
        configs.change_devices(
            tx,
            technician(),
            "gw-1",
            [DOOR.model_copy(update={"id": "d2", "address": "s/2", "profile": "generic-smok-senml"})],
            [],
            NOW,
        )


def test_a_device_that_a_template_gives_is_taken_out_of_one_gateway(db: Database) -> None:
    street, _ = town(db, "gw-1", "gw-2")
    with db.begin() as tx:
        given = NewTemplate(kind=TemplateKind.NODE, key=street, text=f"{LINE}{LOBBY}")
        configs.put_template(tx, technician(), given, NOW)
        left = configs.change_devices(tx, technician(), "gw-1", [DOOR], ["lobby"], NOW)
        assert [each["id"] for each in tomllib.loads(left.text)["devices"]] == ["door"]
        assert left.text.startswith("# left out: devices.lobby\n")
        shown = configs.get_config(tx, technician(), "gw-1", NOW).parts
        parts = {each.part: (each.sources, each.left_out) for each in shown}
        assert parts["devices.lobby"] == ([f"node {street}", "own"], True)
        other = configs.change_devices(tx, technician(), "gw-2", [DOOR], [], NOW)
        again = LOBBY.replace("s/lobby", "s/new")
        back = configs.propose(tx, technician(), "gw-1", f"{left.own}{again}", NOW)
    assert "lobby" in other.text
    assert "s/new" in back.text


def test_a_version_can_be_gone_back_to(db: Database) -> None:
    town(db, "gw-1")
    first, _ = propose(db, "gw-1"), propose(db, "gw-1", LINE)
    with db.begin() as tx:
        back = configs.restore(tx, technician(), "gw-1", 1, NOW)
    assert (back.version, back.hash, back.own, back.comment) == (3, first.hash, OWN, "back to version 1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = ", r"configuration line 1: not TOML"),
        ('gateway = "gw-2"', r"configuration line 1: gateway: is the gateway's own"),
        ("[outbox]\nbudget = 3", r"configuration line 2: outbox.budget: unknown key \(did you mean \"budget_mb\"\?\)"),
        (LINE.replace('mqtt"', 'mqqt"', 1), r"line 2: connectors\[0\].kind: there is no 'mqqt'"),
        (f"{LINE}{LOBBY}".replace("smoke", "smok"), r"line 6: devices\[0\].profile: no profile .*did you mean"),
        (f"{LINE}{LOBBY}".replace('r = "mqtt', 'r = "mqt'), r"no connector 'mqt' \(did you mean \"mqtt\"\?\)"),
        (f"{LINE}{LOBBY}{LOBBY}", r"line 9: devices\[1\]: 'lobby' stands twice"),
        (LINE + LOBBY + LOBBY.replace('= "lobby', '= "l2'), r"'s/lobby on mqtt' stands twice"),
        ('[uplink]\nca = "x"', r"line 2: uplink.ca: unknown key"),
        ('[uplink]\nurl = "mqtt://far.example"', r"plain mqtt:// is accepted on loopback only"),
    ],
)  # fmt: skip
def test_a_fault_names_its_line_its_key_and_the_cause(db: Database, text: str, said: str) -> None:
    town(db, "gw-1")
    with pytest.raises(Invalid, match=said):
        propose(db, "gw-1", text)
    assert ordered(db, "gw-1") is None


def test_only_who_may_provision_proposes_and_only_within_scope_S4(db: Database) -> None:
    street, house = town(db, "gw-1")
    with db.begin() as tx:
        with pytest.raises(Forbidden):
            configs.propose(tx, Principal("user", 1, "d", Role.DISPATCHER, house), "gw-1", OWN, NOW)
        with pytest.raises(NotFound):
            configs.propose(tx, technician(house), "gw-far", OWN, NOW)
        with pytest.raises(NotFound):
            configs.get_config(tx, technician(house), "gw-far", NOW)
        assert configs.propose(tx, technician(street), "gw-1", OWN, NOW).version == 1
        assert [each.gateway for each in configs.list_standings(tx, technician(house), NOW).items] == ["gw-1"]
