"""The agent's side of an order, up to the switch: what is refused, what waits, what goes on."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from edge import VERSION, update, update_root
from edge.channel import Channel
from edge.clock import GatewayClock
from edge.slots import INSTALL_DIR, SLOT, Slots
from edge.update import Updates
from edge.update_health import RSS_LIMIT, Vital, missing, rss_bytes
from firmware_specs.release import Release, ReleaseKind
from firmware_specs.wire_fleet import TAKEN_BACK_MS, UpdateOrder, UpdatePhase, UpdateState, decode, encode
from tests.releases.release_support import AGENT, Served, World, bundle
from tests.support import wait_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

PROGRAM = bundle({"bin/patrol-edge": ("#!/bin/sh\n", 0o755)})
NAME = "agent/agent-1.1.0.zip"


class Gateway:
    """What an update needs of a gateway; told: what the cloud would hear."""

    def __init__(self, folder: Path) -> None:
        uplink = SimpleNamespace(ca=None)
        self.plan: Any = SimpleNamespace(
            config=SimpleNamespace(state_dir=folder / "state", uplink=uplink), devices={"bus": ()}
        )
        self.clock = GatewayClock()
        self.channel = Channel()
        self.connectors = {"bus": "up", "air": "connecting"}
        self.outbox: Any = SimpleNamespace(alive=True)
        self.uplink: Any = SimpleNamespace(acked_at=float("-inf"), ask=lambda: None)
        self.told: list[UpdateState] = []
        self.news = asyncio.Event()
        self.restarted = asyncio.Event()
        self.channel.attach(self._hear)

    def _hear(self, rest: str, payload: bytes, _retain: bool) -> None:
        assert rest == "reported/update"
        self.told.append(decode(payload, UpdateState))
        self.news.set()

    def order(self, order: UpdateOrder) -> None:
        self.channel.take("desired/update", encode(order))

    async def until(self, *phases: UpdatePhase) -> UpdateState:
        async with asyncio.timeout(20):
            while not self.told or self.told[-1].phase not in phases:
                self.news.clear()
                await self.news.wait()
        return self.told[-1]


@contextlib.asynccontextmanager
async def running(gateway: Gateway) -> AsyncIterator[Updates]:
    """The updates of a gateway, until the block ends."""
    updates = Updates(gateway, gateway.restarted.set)
    task = asyncio.create_task(updates.run())
    try:
        yield updates
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slots:
    """The agent runs under the launcher, as the package installed it."""
    slots = Slots(tmp_path / "install")
    slots.folder.mkdir()
    monkeypatch.setenv(INSTALL_DIR, str(slots.folder))
    monkeypatch.setenv(SLOT, "base")
    monkeypatch.setattr(update, "RETRY_S", 0.05)
    return slots


@pytest.fixture
def enrolled(tmp_path: Path, world: World) -> Callable[..., Gateway]:
    """Publish a bundle and make a gateway that trusts it."""

    def make(data: bytes = PROGRAM, release: Release = AGENT) -> Gateway:
        root = world.begin()
        world.add(data, release=release)
        world.publish()
        gateway = Gateway(tmp_path)
        trusted = tmp_path / "state" / update_root.ROOT_FILE
        trusted.parent.mkdir(parents=True)
        trusted.write_bytes(root)
        return gateway

    return make


def order(served: Served, version: str = "1.1.0", **more: Any) -> UpdateOrder:  # noqa: ANN401
    return UpdateOrder(1, NAME, version, served.metadata_url, served.targets_url, trial_s=5, **more)


def test_an_order_leads_to_a_switch_and_a_restart(
    launched: Slots, enrolled: Callable[..., Gateway], served: Served
) -> None:
    async def play() -> None:
        gateway = enrolled()
        async with running(gateway):
            assert gateway.told[0] == UpdateState(UpdatePhase.IDLE, running=VERSION)
            gateway.order(order(served))
            async with asyncio.timeout(20):
                await gateway.restarted.wait()
        assert [state.phase for state in gateway.told][-2:] == [UpdatePhase.STAGED, UpdatePhase.TRIAL]
        done = [state for state in gateway.told if state.phase is UpdatePhase.DOWNLOADING][-1]
        assert (done.done, done.size) == (len(PROGRAM), len(PROGRAM))
        assert (launched.current, launched.committed) == ("1.1.0", "base")
        assert launched.runnable("1.1.0")

    asyncio.run(play())


@pytest.mark.parametrize(
    ("version", "release", "reason"),
    [
        ("0.0.9", Release(ReleaseKind.AGENT, "agent", "0.0.9"), f"0.0.9 is older than {VERSION}"),
        ("1.1.0", Release(ReleaseKind.AGENT, "agent", "1.1.0", "0.5"), "needs agent 0.5"),
        ("1.1.0", Release(ReleaseKind.FIRMWARE, "smoke", "1.1.0"), "firmware, not agent"),
        ("1.2.0", AGENT, "1.1.0, 1.2.0 was ordered"),
        ("1.1.0", Release(ReleaseKind.AGENT, "agent", "1.1.0", platform="plan9-mips"), "for plan9-mips"),
        ("newest", AGENT, "not a version"),
    ],
)
def test_S10_what_does_not_fit_is_refused_before_it_is_fetched(  # noqa: PLR0917 - fixtures and cases
    launched: Slots, enrolled: Callable[..., Gateway], served: Served, version: str, release: Release, reason: str
) -> None:
    async def play() -> None:
        gateway = enrolled(release=release)
        async with running(gateway):
            gateway.order(order(served, version))
            state = await gateway.until(UpdatePhase.REFUSED)
            assert reason in state.reason
            gateway.order(order(served, version))
            await asyncio.sleep(0)
        assert not [at for at, _ in served.asked if at.startswith("/targets/")]
        assert launched.current == "base"

    asyncio.run(play())


def test_S10_an_order_back_is_only_to_the_version_that_was_committed_before(
    launched: Slots, enrolled: Callable[..., Gateway], served: Served
) -> None:
    async def play() -> None:
        gateway = enrolled(release=Release(ReleaseKind.AGENT, "agent", "0.0.9"))
        async with running(gateway):
            gateway.order(order(served, "0.0.9", rollback=True))
            state = await gateway.until(UpdatePhase.REFUSED)
        assert state.reason == "0.0.9 is not the version that was committed before (none)"
        assert launched.current == "base"

    asyncio.run(play())


def test_S10_a_bundle_that_cannot_be_unpacked_is_not_tried_again_until_another_order(
    launched: Slots, enrolled: Callable[..., Gateway], served: Served
) -> None:
    async def play() -> None:
        gateway = enrolled(data=b"no bundle")
        async with running(gateway):
            gateway.order(order(served))
            assert "neither tar.zst nor zip" in (await gateway.until(UpdatePhase.REFUSED)).reason
            asked = len(served.asked)
        gateway.told.clear()
        async with running(gateway):
            gateway.order(order(served))
            await gateway.until(UpdatePhase.REFUSED)
            assert len(served.asked) == asked, "the same order again, after a restart too"
            gateway.order(order(served, issued_ms=5))
            await asyncio.to_thread(wait_for, lambda: len(served.asked) > asked, 10, "another try")
            await gateway.until(UpdatePhase.REFUSED)
        assert launched.current == "base"

    asyncio.run(play())


def test_an_agent_without_a_launcher_or_a_root_refuses(
    tmp_path: Path, served: Served, enrolled: Callable[..., Gateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        gateway = enrolled()
        async with running(gateway):
            gateway.order(order(served))
            assert "patrol-edge launch" in (await gateway.until(UpdatePhase.REFUSED)).reason
        monkeypatch.setenv(INSTALL_DIR, str(tmp_path / "install"))
        (tmp_path / "state" / update_root.ROOT_FILE).unlink()
        async with running(gateway):
            gateway.order(order(served, issued_ms=1))
            told = gateway.told
            await asyncio.to_thread(wait_for, lambda: "no update root" in told[-1].reason, 10, "the refusal")

    asyncio.run(play())


def test_the_start_window_is_waited_for_and_ends(
    launched: Slots, enrolled: Callable[..., Gateway], served: Served
) -> None:
    async def play() -> None:
        gateway = enrolled()
        now = gateway.clock.now_ms()
        async with running(gateway):
            gateway.order(order(served, not_before_ms=now + 60_000))
            await gateway.until(UpdatePhase.WAITING)
            assert served.asked == []
            gateway.order(order(served, issued_ms=1, ends_at_ms=now - 1))
            assert "window is over" in (await gateway.until(UpdatePhase.FAILED)).reason
        assert launched.current == "base"

    asyncio.run(play())


def test_an_order_that_was_taken_back_ends_whatever_it_is_at(
    launched: Slots, enrolled: Callable[..., Gateway], served: Served
) -> None:
    async def play() -> None:
        gateway = enrolled()
        held = threading.Event()

        def stalled(path: str) -> Iterator[bytes] | None:
            return (b"" for _ in range(1) if held.wait(20)) if path.startswith("/targets/") else None

        served.answer = stalled
        taken_back = order(served, ends_at_ms=TAKEN_BACK_MS)
        try:
            async with running(gateway):
                gateway.order(order(served))
                await gateway.until(UpdatePhase.DOWNLOADING)
                gateway.order(taken_back)
                assert (await gateway.until(UpdatePhase.FAILED)).reason == "the order was taken back"
                gateway.order(msgspec.structs.replace(taken_back, issued_ms=7))
                gateway.news.clear()
                await gateway.news.wait()
                state = await gateway.until(UpdatePhase.FAILED)
                assert state.reason == "the order was taken back", "one that was never heard of before too"
        finally:
            held.set()
        assert launched.current == "base"

    asyncio.run(play())


def test_what_comes_between_the_switch_and_the_restart_waits_for_the_other_version(
    launched: Slots, enrolled: Callable[..., Gateway], served: Served
) -> None:
    async def play() -> None:
        gateway = enrolled()
        async with running(gateway):
            gateway.order(order(served))
            async with asyncio.timeout(20):
                await gateway.restarted.wait()
            gateway.order(order(served, ends_at_ms=TAKEN_BACK_MS))
            gateway.order(order(served, issued_ms=9))
            await asyncio.sleep(0.05)
            assert gateway.told[-1].phase is UpdatePhase.TRIAL
        assert launched.current == "1.1.0"

    asyncio.run(play())


def test_a_version_that_went_back_by_itself_is_deleted_at_the_next_start(
    launched: Slots, enrolled: Callable[..., Gateway], served: Served
) -> None:
    async def play() -> None:
        gateway = enrolled()
        async with running(gateway) as updates:
            gateway.order(order(served))
            async with asyncio.timeout(20):
                await gateway.restarted.wait()
            updates._steps.give_up("sick", 1)
        assert launched.place("1.1.0").exists()
        again = Gateway(gateway.plan.config.state_dir.parent)
        async with running(again):
            await asyncio.to_thread(wait_for, lambda: not launched.place("1.1.0").exists(), 10, "the sweep")
        assert launched.trial() is None
        assert again.told[-1].reason == "sick"

    asyncio.run(play())


def test_a_download_goes_on_after_the_link_and_the_power_went(
    launched: Slots, enrolled: Callable[..., Gateway], served: Served
) -> None:
    async def play() -> None:
        gateway = enrolled(data=bundle({"bin/patrol-edge": ("#!/bin/sh\n", 0o755), "big": ("ab" * 50, 0o644)}))
        served.cut = 100_000
        served.answer = lambda path: iter([b""]) if path.startswith("/targets/") else None
        async with running(gateway):
            gateway.order(order(served))
            await asyncio.to_thread(
                wait_for, lambda: any(at.startswith("/targets/") for at, _ in served.asked), 10, "the download"
            )
        served.answer = lambda _path: None
        again = Gateway(gateway.plan.config.state_dir.parent)
        async with running(again), asyncio.timeout(20):
            await again.restarted.wait()
        assert launched.current == "1.1.0", "the kept order went on by itself"

    asyncio.run(play())


def test_another_order_takes_the_place_of_one_that_is_under_way(
    launched: Slots, enrolled: Callable[..., Gateway], served: Served
) -> None:
    async def play() -> None:
        gateway = enrolled()
        later = gateway.clock.now_ms() + 60_000
        async with running(gateway):
            gateway.order(order(served, not_before_ms=later))
            await gateway.until(UpdatePhase.WAITING)
            gateway.order(order(served, issued_ms=2))
            async with asyncio.timeout(20):
                await gateway.restarted.wait()
        assert launched.current == "1.1.0"

    asyncio.run(play())


def test_the_version_that_runs_is_committed_at_once(
    launched: Slots, enrolled: Callable[..., Gateway], served: Served
) -> None:
    async def play() -> None:
        gateway = enrolled()
        async with running(gateway):
            gateway.order(order(served, f"v{VERSION}"))
            state = await gateway.until(UpdatePhase.COMMITTED)
        assert "runs already" in state.reason
        assert served.asked == []
        assert launched.current == "base"

    asyncio.run(play())


def test_S10_health_names_everything_that_is_missing() -> None:
    good = Vital(10.0, 5.0, {"bus": "up", "air": "connecting"}, True, 50_000_000)
    assert missing(good, ("bus", "gone"), {"bus", "air"}) == []
    assert missing(good._replace(acked_at=5.0), (), ()) == ["the cloud has acknowledged nothing since the start"]
    assert missing(good, ("bus", "air"), {"bus", "air"}) == ["connector air is connecting"]
    assert missing(good._replace(connectors={}), ("bus",), {"bus"}) == ["connector bus is not there"]
    assert missing(good._replace(outbox_alive=False), (), ()) == ["the outbox does not write"]
    assert missing(good._replace(rss_bytes=RSS_LIMIT + 2**20), (), ()) == ["193 MiB of memory, more than 192"]
    assert 0 < rss_bytes() < 2**40
    assert platform.system()
