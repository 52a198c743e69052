"""The cloud's side: what is ordered of gateways, what becomes of it, and who may see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from cloud.devices import service as devices
from cloud.devices.campaigns.models import Choice
from cloud.devices.firmware import rules, service
from cloud.devices.releases.store import repository, targets
from cloud.errors import Conflict, Invalid, NotFound
from cloud.ingest import hooks
from cloud.ingest.store import outgoing
from cloud.org.rules import SYSTEM, Principal, Role
from firmware_specs.errors import PackError
from firmware_specs.release import Release, ReleaseKind
from firmware_specs.wire import Reported, ReportedDevice
from firmware_specs.wire_fleet import ENDED, FirmwareOrder, FirmwareState, UpdatePhase, UpdateState, decode, encode
from tests.campaigns.campaigns_support import AUTHOR, OTHER, QUICK, come, turns
from tests.cloud.cloud_support import NOW, know

if TYPE_CHECKING:
    from cloud.db import Database
    from cloud.devices.firmware.models import FirmwareView
    from tests.cloud.cloud_support import Served

MODEL = "generic-smoke-senml"
TWO = "fw/smoke-2.bin"


def publish(db: Database, *more: tuple[str, str, str]) -> None:
    """Firmware 1.0.0 and 2.0.0 of the smoke detector, something for another model, and an agent."""
    rows = [("fw/smoke-1.bin", MODEL, "1.0.0"), (TWO, MODEL, "2.0.0"), ("fw/other.bin", "other", "2.0.0"), *more]
    with db.begin() as tx:
        tx.execute(
            repository.insert().values(
                id=1, metadata_url="https://u/metadata/", targets_url="https://u/targets/", root="{}",
                versions='{"timestamp": 1}', expiries="{}", read_at=NOW,
            )
        )  # fmt: skip
        for path, model, version in rows:
            release = Release(ReleaseKind.FIRMWARE, model, version)
            tx.execute(
                targets.insert().values(
                    path=path, kind="firmware", model=model, version=version, size=4000, sha256="a" * 64,
                    release=msgspec.json.encode(release).decode(), published_at=NOW,
                )
            )  # fmt: skip


def fleet(db: Database, *names: str, gateway: str = "gw-1", profile: str = MODEL, node: str = "/") -> None:
    know(db, gateway, node=node)
    with db.begin() as tx:
        found = tuple(ReportedDevice(name, profile, "m", f"s/{name}") for name in names)
        devices.apply_reported(tx, gateway, Reported(1, "h", found), NOW)


def tell(db: Database, *, now: int = NOW, **states: UpdateState) -> None:
    with db.begin() as tx:
        hooks.DOCUMENTS["reported/firmware"](tx, "gw-1", "", encode(FirmwareState(states)), now)


def ordered(db: Database, gateway: str = "gw-1") -> FirmwareOrder | None:
    with db.read() as tx:
        payload = tx.execute(
            sa.select(outgoing.c.payload).where(outgoing.c.gateway == gateway, outgoing.c.rest == "desired/firmware")
        ).scalar()
    return decode(payload, FirmwareOrder) if payload else None


def order(db: Database, *names: str, campaign: int = 1, now: int = NOW, target: str = TWO) -> dict[str, Any]:
    with db.begin() as tx:
        subject = dict(service.check(tx, SYSTEM, {"target": target}, now))
        for name in names:
            service.start(tx, campaign, subject, "gw-1", name, now)
    return subject


def view(db: Database, device: str = "a") -> FirmwareView:
    with db.read() as tx:
        return service.get(tx, SYSTEM, "gw-1", device)


def state(phase: UpdatePhase, at: int = NOW, **more: Any) -> UpdateState:  # noqa: ANN401
    told: dict[str, Any] = {"campaign": 1, "version": "2.0.0", "ordered_ms": at, "running": "1.0.0"}
    return UpdateState(phase, **told | more)


def test_an_order_holds_all_jobs_and_sheds_those_that_end(db: Database) -> None:
    publish(db)
    fleet(db, "a", "b")
    tell(db, a=UpdateState(UpdatePhase.IDLE, running="1.0.0"), zzz=UpdateState(UpdatePhase.IDLE, running="9"))
    assert view(db).running == "1.0.0"
    order(db, "a", "b")
    told = ordered(db)
    assert told is not None
    assert [(job.device, job.target, job.version, job.ordered_ms) for job in told.jobs] == [
        ("a", TWO, "2.0.0", NOW), ("b", TWO, "2.0.0", NOW)
    ]  # fmt: skip
    assert told.metadata_url == "https://u/metadata/"
    assert (view(db).phase, view(db).size, view(db).target) == ("ordered", 4000, TWO)

    tell(db, a=state(UpdatePhase.SENDING, done=2000, size=4000))
    assert (view(db).phase, view(db).done) == ("sending", 2000)
    done = state(UpdatePhase.COMMITTED, done=4000, size=4000, running="2.0.0")
    for _ in range(2):
        tell(db, a=done)
    told = ordered(db)
    assert told is not None
    assert [job.device for job in told.jobs] == ["b"]
    assert (view(db).phase, view(db).running, view(db).reason) == ("committed", "2.0.0", "")

    tell(db, a=state(UpdatePhase.FAILED, at=NOW - 1, reason="of an earlier order"))
    assert view(db).phase == "committed"
    with db.begin() as tx:
        service.stop(tx, 2, {}, "gw-1", "b", NOW)
        told = ordered(db)
        assert told is not None
        assert told.jobs, "another campaign's"
        service.stop(tx, 1, {}, "gw-1", "b", NOW)
    assert ordered(db) == FirmwareOrder((), "https://u/metadata/", "https://u/targets/")


def test_what_is_told_is_taken_while_nothing_is_published_any_more(db: Database) -> None:
    publish(db)
    fleet(db, "a", "b")
    order(db, "a", "b")
    with db.begin() as tx:
        tx.execute(repository.update().values(versions='{"root": 1}'))
    tell(db, a=state(UpdatePhase.COMMITTED, running="2.0.0"))
    assert view(db).phase == "committed"
    assert ordered(db) == FirmwareOrder((), "", ""), "nobody could fetch"


def test_what_does_not_fit_is_refused_before_it_is_ordered(db: Database) -> None:
    publish(db)
    fleet(db, "a")
    fleet(db, "door", gateway="gw-2", profile="generic-door-opcua")
    with db.begin() as tx:
        for subject, cause in (({}, "target"), ({"target": "fw/none.bin"}, "not published"), ({"target": 3}, "target")):
            with pytest.raises((Invalid, NotFound), match=cause):
                service.check(tx, SYSTEM, subject, NOW)
        with pytest.raises(Conflict, match="is for the model other, not generic-smoke-senml"):
            service.start(tx, 1, {"target": "fw/other.bin"}, "gw-1", "a", NOW)
        with pytest.raises(Conflict, match="no way for firmware into it"):
            service.start(tx, 1, {"target": TWO}, "gw-2", "door", NOW)
        with pytest.raises(NotFound, match="not found"):
            service.start(tx, 1, {"target": TWO}, "gw-1", "nobody", NOW)
        with pytest.raises(PackError):
            hooks.DOCUMENTS["reported/firmware"](tx, "gw-1", "", b"{", NOW)
    assert ordered(db) is None


def test_the_way_back_is_the_version_that_ran_when_it_is_published(db: Database) -> None:
    publish(db)
    fleet(db, "a", "b")
    tell(db, a=UpdateState(UpdatePhase.IDLE, running="1.0.0"), b=UpdateState(UpdatePhase.IDLE, running="0.5"))
    subject = order(db, "a", "b")
    committed = state(UpdatePhase.COMMITTED, running="2.0.0")
    tell(db, a=committed, b=committed)
    with db.begin() as tx:
        assert service.already(tx, subject, [("gw-1", "a"), ("gw-2", "a")]) == {("gw-1", "a")}
        service.back(tx, 1, subject, "gw-1", "a", NOW + 1)
        with pytest.raises(Conflict, match=r"the version before \(0\.5\) is not published"):
            service.back(tx, 1, subject, "gw-1", "b", NOW + 1)
    told = ordered(db)
    assert told is not None
    assert [(job.device, job.version, job.back) for job in told.jobs] == [("a", "1.0.0", True)]


def test_a_device_that_says_only_when_it_is_sent_to_what_it_runs_has_a_way_back_too(db: Database) -> None:
    publish(db)
    fleet(db, "a")
    subject = order(db, "a")
    tell(db, a=state(UpdatePhase.SENDING, running=""))
    tell(db, a=state(UpdatePhase.TRIAL))
    tell(db, a=state(UpdatePhase.COMMITTED, running="2.0.0"))
    with db.begin() as tx:
        service.back(tx, 1, subject, "gw-1", "a", NOW + 1)
    told = ordered(db)
    assert told is not None
    assert [(job.version, job.back) for job in told.jobs] == [("1.0.0", True)]


def test_a_campaign_of_firmware_goes_its_way_and_back(db: Database) -> None:
    from cloud.devices.campaigns import service as campaigns

    publish(db)
    fleet(db, "a", "b")
    with db.begin() as tx:
        come(tx, "gw-1", NOW)
    tell(db, a=UpdateState(UpdatePhase.IDLE, running="1.0.0"), b=UpdateState(UpdatePhase.IDLE, running="1.0.0"))
    new = campaigns.NewCampaign(
        kind="firmware", title="t", subject={"target": TWO}, choice=Choice(profile=MODEL),
        policy=campaigns.PolicyBody(**QUICK | {"waves": ("100%",)}),
    )  # fmt: skip
    with db.begin() as tx:
        number = campaigns.create(tx, AUTHOR, new, NOW).id
        campaigns.approve(tx, OTHER, number, NOW)
        campaigns.start(tx, AUTHOR, number, NOW)
    turns(db)
    told = ordered(db)
    assert told is not None
    at = {job.device: job.ordered_ms for job in told.jobs}
    assert at.keys() == {"a", "b"}
    ends: Any = {
        "a": state(UpdatePhase.COMMITTED, campaign=number, at=at["a"], running="2.0.0"),
        "b": state(UpdatePhase.FAILED, campaign=number, at=at["b"], reason="silent"),
    }
    tell(db, now=NOW + 20, **ends)
    turns(db, NOW + 20)
    with db.read() as tx:
        page = campaigns.list_members(tx, SYSTEM, number, _query())
    assert {member.device: (member.state.value, member.reason) for member in page.items} == {
        "a": ("committed", ""), "b": ("failed", "silent")
    }  # fmt: skip


def _query() -> Any:  # noqa: ANN401
    from cloud.devices.campaigns.models import MemberQuery

    return MemberQuery()


def test_the_api_gives_what_is_in_scope(service: Served) -> None:
    publish(service.db)
    fleet(service.db, "a", "b", node="/7/")
    tell(service.db, a=UpdateState(UpdatePhase.IDLE, running="1.0.0"))
    with service.client(Role.TECHNICIAN, "/7/") as own:
        body = own.get("/devices/gw-1/a/firmware").json()
        assert (body["running"], body["model"], body["phase"], body["campaign"]) == ("1.0.0", MODEL, "", None)
        assert own.get("/devices/gw-1/b/firmware").json()["running"] == ""
        assert [item["device"] for item in own.get("/firmware").json()["items"]] == ["a"]
        assert own.get("/firmware?running=2").json()["items"] == []
    with service.client(Role.TECHNICIAN, "/8/") as other:
        assert other.get("/devices/gw-1/a/firmware").status_code == 404
        assert other.get("/firmware").json()["items"] == []
    with service.anonymous() as nobody:
        assert nobody.get("/api/v1/firmware").status_code == 401


def test_the_page_of_a_device_shows_its_firmware(service: Served) -> None:
    publish(service.db)
    fleet(service.db, "a")
    tell(service.db, a=UpdateState(UpdatePhase.IDLE, running="1.0.0"))
    order(service.db, "a")
    tell(service.db, a=state(UpdatePhase.REFUSED, reason="<b>battery low</b>"))
    password = service.user("tina", Role.TECHNICIAN)
    with service.anonymous() as client:
        assert client.post("/sign-in", data={"user": "tina", "password": password}).status_code == 303
        page = client.get("/devices/gw-1/a", headers={"Accept-Language": "en"}).text
    assert "1.0.0" in page
    assert "2.0.0 ordered · refused · &lt;b&gt;battery low&lt;/b&gt;" in page or "已下达 2.0.0 · 已拒绝" in page


def test_S4_a_page_shows_what_the_list_holds(db: Database) -> None:
    fleet(db, *(f"d{n}" for n in range(5)))
    runs: Any = {f"d{n}": UpdateState(UpdatePhase.IDLE, running="1") for n in range(5)}
    tell(db, **runs)
    who, seen, cursor = Principal("user", 1, "a", Role.TECHNICIAN), [], None
    with db.read() as tx:
        while True:
            page = service.list_firmware(tx, who, limit=2, cursor=cursor)
            seen += [item.device for item in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
    assert seen == [f"d{n}" for n in range(5)]


@given(
    phase=st.sampled_from(UpdatePhase), campaign=st.integers(0, 3), version=st.sampled_from(["1", "2"]),
    at=st.integers(0, 3), wanted=st.booleans(),
)  # fmt: skip
def test_only_the_last_order_is_told_of(phase: UpdatePhase, campaign: int, version: str, at: int, wanted: bool) -> None:
    told = UpdateState(phase, campaign=campaign, version=version, ordered_ms=at)
    about = rules.is_about(told, rules.Ordered(1, "2", 3, wanted))
    assert about == ((campaign, version, at) == (1, "2", 3))
    assert (rules.ended(told) is None) == (phase not in ENDED)
