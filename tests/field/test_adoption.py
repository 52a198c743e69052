"""Strangers, adoption and replacement on a real database: configured, placed, on record, done once."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from cloud.devices import service as devices
from cloud.devices.configs import service as configs
from cloud.devices.field import service
from cloud.devices.field.models import AdoptedView, Adoption, Replacement
from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.ingest import hooks
from cloud.org.rules import ROOT, SYSTEM, Principal, Role
from firmware_specs.errors import PackError
from tests.cloud.cloud_support import NOW
from tests.field.field_support import SMOKE, configure, in_force, serve, site, technician, tell_strangers, value

if TYPE_CHECKING:
    from cloud.db import Database

TECH = technician()


def adoption(device: str = "smk-1", **more: object) -> Adoption:
    given = {"device": device, "profile": SMOKE, "connector": "mqtt", "address": f"sensors/{device}", **more}
    return Adoption.model_validate(given)


def adopt(db: Database, given: Adoption, who: Principal = TECH, now: int = NOW) -> AdoptedView:
    with db.begin() as tx:
        return service.adopt(tx, who, "gw-1", given, now)


def strangers(db: Database, who: Principal = TECH) -> list[str]:
    with db.read() as tx:
        return [each.address for each in service.list_discovered(tx, who, "gw-1")]


def test_the_list_is_what_the_gateway_told_last(db: Database) -> None:
    site(db)
    tell_strangers(db, "sensors/a", "sensors/b")
    assert set(strangers(db)) == {"sensors/a", "sensors/b"}
    tell_strangers(db, "sensors/b", "sensors/c", now=NOW + 5000)
    tell_strangers(db, "sensors/b", "sensors/c", now=NOW + 5000)
    assert set(strangers(db)) == {"sensors/b", "sensors/c"}
    with pytest.raises(PackError), db.begin() as tx:
        hooks.DOCUMENTS["discovered"](tx, "gw-1", "", b"[]", NOW)
    with pytest.raises(NotFound):
        strangers(db, technician("/999/"))


def test_adoption_configures_places_and_is_on_record(db: Database) -> None:
    house = site(db)
    configure(db)
    tell_strangers(db, "sensors/smk-1")
    made = adopt(db, adoption(location="3 号楼/2 层", node=house, lat=34.2, lon=108.9))
    assert made.node == house
    assert strangers(db) == []
    with db.read() as tx:
        wanted = configs.current(tx, "gw-1")
        assert wanted is not None
        (device,) = tomllib.loads(wanted.text)["devices"]
        assert device["id"] == "smk-1"
        assert device["location"] == "3 号楼/2 层"
        (progress,) = service.progress(tx, TECH, "gw-1")
        assert (progress.in_force, progress.heard_at) == (False, None)
    serve(db, "smk-1", version=2)
    in_force(db, wanted.version, wanted.hash)
    value(db, "smk-1", "smoke", 0.1, NOW + 1000)
    with db.read() as tx:
        (progress,) = service.progress(tx, TECH, "gw-1")
        assert progress.in_force
        assert progress.heard_at is not None
        (step,) = service.history(tx, TECH, "gw-1", "smk-1")
        assert (step.action, step.actor, step.config_version) == ("adopted", "tech", wanted.version)
        points = {each.device: (each.lat, each.lon) for each in devices.standing(tx, SYSTEM)}
        assert points["smk-1"] == (34.2, 108.9)


def test_what_cannot_be_adopted_is_refused_by_name(db: Database) -> None:
    site(db, "smk-9")
    configure(db)
    with pytest.raises(Conflict, match="smk-9"):
        adopt(db, adoption("smk-9"))
    with pytest.raises(Invalid, match="profile"):
        adopt(db, adoption(profile="no-such-profile"))
    with pytest.raises(Invalid, match="connector"):
        adopt(db, adoption(connector="nowhere"))
    with pytest.raises(NotFound):
        adopt(db, adoption(node="/999/"))
    with pytest.raises(Forbidden):
        adopt(db, adoption(), Principal("user", 3, "wang", Role.DISPATCHER, ROOT))
    with pytest.raises(NotFound):
        adopt(db, adoption(), technician("/999/"))
    with db.read() as tx:
        assert service.history(tx, TECH, "gw-1") == []


def test_a_replaced_sensor_keeps_its_id_and_its_history(db: Database) -> None:
    site(db)
    configure(db)
    adopt(db, adoption(location="lobby", drill=True))
    serve(db, "smk-1", version=2)
    value(db, "smk-1", "smoke", 0.1, NOW)
    with db.begin() as tx:
        made = service.replace(tx, TECH, "gw-1", "smk-1", Replacement(address="sensors/new", note="坏了"), NOW + 5000)
        assert made.address == "sensors/new"
        wanted = configs.current(tx, "gw-1")
        assert wanted is not None
        (device,) = tomllib.loads(wanted.text)["devices"]
        assert (device["id"], device["address"], device["drill"]) == ("smk-1", "sensors/new", True)
        steps = service.history(tx, TECH, "gw-1", "smk-1")
        assert [each.action for each in steps] == ["replaced", "adopted"]
        assert "坏了" in steps[0].note
        assert "smoke" in devices.get_device(tx, SYSTEM, "gw-1", "smk-1", NOW).latest
        with pytest.raises(Conflict):
            service.replace(tx, TECH, "gw-1", "smk-1", Replacement(address="sensors/new"), NOW)


def test_a_wrong_address_is_put_right_before_the_gateway_has_it(db: Database) -> None:
    site(db)
    configure(db)
    adopt(db, adoption(location="lobby"))
    serve(db, "smk-1", version=2)
    for address in ("sensors/mistyped", "sensors/smk-1"):
        with db.begin() as tx:
            service.replace(tx, TECH, "gw-1", "smk-1", Replacement(address=address), NOW)
            wanted = configs.current(tx, "gw-1")
        assert wanted is not None
        assert [each["address"] for each in tomllib.loads(wanted.text)["devices"]] == [address]
        assert "lobby" in wanted.text


def test_a_replaced_gateway_is_noted_in_its_history(db: Database) -> None:
    site(db)
    with db.begin() as tx:
        service.note_gateway(tx, TECH, "gw-1", "雷击", NOW)
    with db.read() as tx:
        (step,) = service.history(tx, TECH, "gw-1", "")
    assert (step.action, step.note) == ("replaced", "雷击")


def test_the_same_request_is_done_once_D7(db: Database) -> None:
    site(db)
    configure(db)
    answers = []
    for _ in range(3):
        with db.begin() as tx:
            answers.append(
                service.once(
                    tx, TECH, "adopt", "key-00001", NOW, AdoptedView,
                    lambda: service.adopt(tx, TECH, "gw-1", adoption(), NOW),
                )
            )  # fmt: skip
    assert answers[0] == answers[1] == answers[2]
    with db.read() as tx:
        assert len(service.history(tx, TECH, "gw-1")) == 1


def test_a_request_that_was_refused_may_be_sent_again(db: Database) -> None:
    site(db)
    for _ in range(2):
        with pytest.raises(Invalid), db.begin() as tx:
            service.once(
                tx, TECH, "adopt", "key-00001", NOW, AdoptedView,
                lambda: service.adopt(tx, TECH, "gw-1", adoption(profile="none"), NOW),
            )  # fmt: skip
