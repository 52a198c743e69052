"""The copy of the repository in the database, its worker, its HTTP, and orders of the agent."""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
import sqlalchemy as sa

from cloud.alerts import service as alerts
from cloud.devices.campaigns import hooks as campaigns
from cloud.devices.campaigns import service as outcomes
from cloud.devices.releases import service, work
from cloud.errors import Conflict, Invalid, NotFound
from cloud.ingest import hooks
from cloud.ingest.store import outgoing
from cloud.org.rules import SYSTEM, Role
from cloud.state import now_ms
from edge.tufclient import fetch
from firmware_specs.errors import PackError
from firmware_specs.release import Release, ReleaseKind
from firmware_specs.wire_fleet import TAKEN_BACK_MS, UpdateOrder, UpdatePhase, UpdateState, decode, encode
from tests.cloud.cloud_support import NOW, know
from tests.releases.release_support import World, now

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloud.config import Config
    from cloud.db import Database
    from tests.cloud.cloud_support import Served

DAY_MS = 86_400_000


@pytest.fixture
def home(tmp_path: Path) -> World:
    """A repository where the service looks for it."""
    return World(tmp_path)


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What campaigns are told."""
    told: list[tuple[object, ...]] = []

    def take(
        _tx: object, campaign: int, gateway: str, _device: str, ok: bool, reason: str, _now: int, **more: object
    ) -> bool:
        told.append((campaign, gateway, ok, reason, more["back"]))
        return True

    monkeypatch.setattr(outcomes, "outcome", take)
    return told


def sync(db: Database, config: Config, at: int | None = None) -> None:
    with db.begin() as tx:
        service.sync(tx, config, service.open_repository(config), at or now_ms())


def open_alarms(db: Database) -> list[str]:
    with db.read() as tx:
        return sorted(kind for kinds in alerts.active_kinds(tx).values() for kind in kinds)


def tell(db: Database, state: UpdateState, gateway: str = "gw-1") -> None:
    with db.begin() as tx:
        hooks.DOCUMENTS["reported/update"](tx, gateway, "", encode(state), NOW)


def ordered(db: Database, gateway: str = "gw-1") -> UpdateOrder | None:
    with db.read() as tx:
        payload = tx.execute(
            sa.select(outgoing.c.payload).where(outgoing.c.gateway == gateway, outgoing.c.rest == "desired/update")
        ).scalar()
    return decode(payload, UpdateOrder) if payload else None


def test_the_database_follows_the_files(db: Database, home: World, configured: Callable[..., Config]) -> None:
    config = configured(updates={"url": "https://updates.example"})
    with db.read() as tx:
        assert service.bootstrap(tx) == ("", "", "")
        assert not service.show(tx, service.lifetimes(config), NOW).published
    root = home.whole()
    sync(db, config, NOW)
    sync(db, config, NOW + 5)
    with db.read() as tx:
        begin = service.bootstrap(tx)
        assert begin.root.encode() == root
        assert begin.metadata_url == "https://updates.example/updates/metadata/"
        assert [(t.path, t.kind, t.version) for t in service.targets(tx)] == [
            ("agent/agent-1.1.0.zip", ReleaseKind.AGENT, "1.1.0")
        ]
        view = service.show(tx, service.lifetimes(config), now_ms())
    assert [role.role for role in view.roles] == ["root", "targets", "snapshot", "timestamp"]
    assert [round(role.days_left) for role in view.roles] == [365, 90, 7, 1]
    assert not any(role.ending for role in view.roles)


def test_the_worker_renews_what_is_signed_online_at_half_of_its_life(
    db: Database, home: World, configured: Callable[..., Config]
) -> None:
    config = configured()
    home.whole()
    begin = now_ms()
    work.look(db, config, begin)
    versions = home.repository.versions()
    work.look(db, config, begin + 11 * 3_600_000)
    assert home.repository.versions() == versions, "nothing is due"
    work.look(db, config, begin + 13 * 3_600_000)
    assert home.repository.versions() == {**versions, "timestamp": versions["timestamp"] + 1}
    work.look(db, config, begin + 4 * DAY_MS)
    assert home.repository.versions()["snapshot"] == versions["snapshot"] + 1
    with db.read() as tx:
        view = service.show(tx, service.lifetimes(config), begin + 4 * DAY_MS)
    assert {role.role: round(role.days_left) for role in view.roles}["timestamp"] == 1
    assert open_alarms(db) == []


def test_a_timestamp_that_cannot_be_renewed_is_an_alarm_until_it_can(
    db: Database, home: World, configured: Callable[..., Config]
) -> None:
    config = configured()
    home.whole()
    begin = now_ms()
    key = next(home.repository.keys.glob("timestamp-*.pem"))
    hidden = key.rename(key.with_suffix(".away"))
    work.look(db, config, begin + 13 * 3_600_000)
    assert open_alarms(db) == []
    work.look(db, config, begin + 19 * 3_600_000)
    assert open_alarms(db) == ["release-renewal-failed"]
    hidden.rename(key)
    work.look(db, config, begin + 20 * 3_600_000)
    assert open_alarms(db) == []


def test_people_are_called_before_the_offline_roles_expire(
    db: Database, home: World, configured: Callable[..., Config]
) -> None:
    config = configured()
    home.whole()
    begin = now_ms()
    work.look(db, config, begin + 74 * DAY_MS)
    assert open_alarms(db) == []
    work.look(db, config, begin + 76 * DAY_MS)
    assert open_alarms(db) == ["release-expiring"]
    assert home.publish(now() + timedelta(days=76)).installed
    work.look(db, config, begin + 76 * DAY_MS)
    assert open_alarms(db) == []


def test_files_that_cannot_be_read_raise_the_alarm_before_gateways_refuse(
    db: Database, home: World, configured: Callable[..., Config]
) -> None:
    config = configured()
    home.whole()
    begin = now_ms()
    work.look(db, config, begin)
    for path in home.repository.metadata.glob("*.snapshot.json"):
        path.write_text("rotten")
    work.look(db, config, begin + DAY_MS // 2)
    assert open_alarms(db) == []
    work.look(db, config, begin + 19 * DAY_MS // 24)
    assert open_alarms(db) == ["release-renewal-failed"]
    shutil.rmtree(home.repository.folder)
    work.look(db, config, begin + 20 * DAY_MS // 24)
    assert open_alarms(db) == ["release-renewal-failed"]


def test_a_gateway_fetches_over_the_service_itself(service: Served, tmp_path: Path) -> None:
    home = World(tmp_path)
    root = home.whole(b"z" * 300_000)
    folder = tmp_path / "gw"
    path = fetch(
        folder, root, f"{service.url}/updates/metadata/", f"{service.url}/updates/targets/", "agent/agent-1.1.0.zip",
        folder / "downloads",
    )  # fmt: skip
    assert path.read_bytes() == b"z" * 300_000


def test_S10_nothing_but_the_repository_is_served(service: Served, tmp_path: Path) -> None:
    World(tmp_path).whole()
    with service.anonymous() as client:
        for path in (
            "metadata/1.root.json/..", "metadata/..%2fkeys", "metadata/root.json", "metadata/1.keys.json",
            "keys/x.pem", "metadata/%2e%2e%2fstaged%2froot.json", "targets/../keys/timestamp.pem", "targets/agent",
            "targets/%2e%2e/keys/x.pem", "targets//etc/passwd", "targets/agent/agent-1.1.0.zip",
            "staged/targets.json", "",
        ):  # fmt: skip
            answer = client.get(f"{service.url}/updates/{path}")
            assert answer.status_code in {404, 405}, path
            assert b"PRIVATE" not in answer.content


def test_targets_come_with_one_range_at_most(service: Served, tmp_path: Path) -> None:
    target = World(tmp_path)
    target.whole(b"0123456789" * 100)
    held = target.repository.listed()[0]
    address = f"{service.url}/updates/targets/agent/{held.sha256}.agent-1.1.0.zip"
    with service.anonymous() as client:
        part = client.get(address, headers={"Range": "bytes=10-"})
        assert (part.status_code, len(part.content)) == (206, 990)
        assert part.headers["content-range"] == "bytes 10-999/1000"
        many = client.get(address, headers={"Range": "bytes=0-1,2-3,4-5"})
        assert (many.status_code, len(many.content)) == (200, 1000)
        assert "immutable" in many.headers["cache-control"]
        stamp = client.get(f"{service.url}/updates/metadata/timestamp.json")
        assert stamp.headers["cache-control"] == "no-store"
        assert client.post(address).status_code == 405


def test_the_api_and_the_page_show_releases(service: Served, tmp_path: Path) -> None:
    home = World(tmp_path)
    home.begin()
    release = Release(ReleaseKind.AGENT, "agent", "1.1.0", "1.0", notes="<b>fixes</b>")
    home.add(b"bundle", release=release)
    home.publish()
    with service.anonymous() as client:
        assert client.get("/api/v1/releases").status_code == 401
        assert client.get("/releases").status_code == 303
        password = service.user("ann", Role.ADMINISTRATOR)
        assert client.post("/api/v1/session", json={"user": "ann", "password": password}).status_code == 200
        page = client.get("/releases").text
        assert "尚未发布" in page
        sync(service.db, service.app.state.patrol.config)
        page = client.get("/releases").text
        assert "信任根" in page
        assert "&lt;b&gt;fixes" in page
        client.cookies.set("patrol_lang", "en")
        assert "agent 1.0 or newer" in client.get("/releases").text
        shown = client.get("/api/v1/releases").json()
    assert [target["model"] for target in shown["targets"]] == ["agent"]
    assert [role["role"] for role in shown["roles"] if role["offline"]] == ["root", "targets"]


def test_a_campaign_orders_a_published_agent_and_hears_of_it(
    db: Database, home: World, configured: Callable[..., Config], outcome: list[tuple[object, ...]]
) -> None:
    kind = campaigns.KINDS["agent"]
    assert kind.check
    assert kind.already
    assert kind.back
    know(db, "gw-1")
    home.whole()
    home.add(b"firmware", "firmware/smoke/1.bin", Release(ReleaseKind.FIRMWARE, "generic-smoke-senml", "2.0"))
    home.publish()
    sync(db, configured(http={"public_url": "https://patrol.example"}))
    with db.begin() as tx:
        subject = kind.check(tx, SYSTEM, {"target": "agent/agent-1.1.0.zip"}, NOW)
        for wrong in ({}, {"target": 5}, {"target": "firmware/smoke/1.bin"}):
            with pytest.raises(Invalid):
                kind.check(tx, SYSTEM, wrong, NOW)
        with pytest.raises(NotFound):
            kind.check(tx, SYSTEM, {"target": "none"}, NOW)
        assert not kind.already(tx, subject, [("gw-1", "")])
        kind.start(tx, 7, subject, "gw-1", "", NOW)
    order = ordered(db)
    assert order == UpdateOrder(
        7, "agent/agent-1.1.0.zip", "1.1.0", "https://patrol.example/updates/metadata/",
        "https://patrol.example/updates/targets/", issued_ms=NOW,
    )  # fmt: skip
    tell(db, UpdateState(UpdatePhase.DOWNLOADING, 7, "1.1.0", running="1.0.0"))
    tell(db, UpdateState(UpdatePhase.TRIAL, 7, "1.1.0", running="1.1.0"))
    assert outcome == []
    tell(db, UpdateState(UpdatePhase.COMMITTED, 7, "1.1.0", running="1.1.0"))
    assert outcome == [(7, "gw-1", True, "", False)]
    assert ordered(db) is None
    with db.begin() as tx:
        assert kind.already(tx, subject, [("gw-1", ""), ("gw-2", "")]) == {("gw-1", "")}
        with pytest.raises(Conflict, match=r"before \(1.0.0\) is not published"):
            kind.back(tx, 7, subject, "gw-1", "", NOW)
    home.add(b"older", "agent/agent-1.0.0.zip", Release(ReleaseKind.AGENT, "agent", "1.0.0"))
    home.publish()
    sync(db, configured(http={"public_url": "https://patrol.example"}))
    with db.begin() as tx:
        kind.back(tx, 7, subject, "gw-1", "", NOW + 1)
    order = ordered(db)
    assert order
    assert (order.version, order.rollback) == ("1.0.0", True)
    tell(db, UpdateState(UpdatePhase.COMMITTED, 7, "1.1.0", running="1.1.0"))
    assert len(outcome) == 1, "what is told again of the way there is not of the way back"
    tell(db, UpdateState(UpdatePhase.COMMITTED, 7, "1.0.0", running="1.0.0"))
    assert outcome[1:] == [(7, "gw-1", True, "", True)]


def test_a_failure_is_told_with_its_reason_and_stop_takes_the_order_back(
    db: Database, home: World, configured: Callable[..., Config], outcome: list[tuple[object, ...]]
) -> None:
    kind = campaigns.KINDS["agent"]
    assert kind.back
    know(db, "gw-1", "gw-2")
    home.whole()
    sync(db, configured())
    subject = {"target": "agent/agent-1.1.0.zip", "version": "1.1.0"}
    with db.begin() as tx:
        for gateway in ("gw-1", "gw-2"):
            kind.start(tx, 8, subject, gateway, "", NOW)
    tell(db, UpdateState(UpdatePhase.ROLLED_BACK, 8, "1.1.0", "3 starts", running="1.0.0"))
    assert outcome == [(8, "gw-1", False, "3 starts", False)]
    with db.begin() as tx:
        kind.back(tx, 8, subject, "gw-1", "", NOW)
    assert outcome[-1] == (8, "gw-1", True, "", True), "it is where it was"
    with db.begin() as tx:
        kind.stop(tx, 9, subject, "gw-2", "", NOW)
    assert ordered(db, "gw-2"), "another campaign's order stays"
    given = ordered(db, "gw-2")
    assert given
    with db.begin() as tx:
        kind.stop(tx, 8, subject, "gw-2", "", NOW)
    assert ordered(db, "gw-2") == msgspec.structs.replace(given, ends_at_ms=TAKEN_BACK_MS), "who is away learns it too"
    tell(db, UpdateState(UpdatePhase.FAILED, 8, "1.1.0", "the order was taken back"), "gw-2")
    assert ordered(db, "gw-2") is None
    with db.begin() as tx:
        kind.stop(tx, 8, subject, "gw-2", "", NOW)
    assert ordered(db, "gw-2") is None, "there is nothing to take back"
    with db.begin() as tx, pytest.raises(Conflict, match="never told"):
        kind.back(tx, 8, subject, "gw-2", "", NOW)
    with db.begin() as tx, pytest.raises(PackError):
        hooks.DOCUMENTS["reported/update"](tx, "gw-1", "", b"{}", NOW)
