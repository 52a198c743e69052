"""Commands at the gateway: expired, repeated, foreign and unknown ones are refused and answered (S9)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

import pytest

from edge.channel import Channel
from edge.log import Ring
from edge.remote import BEHIND_MS, MAX_RUNNING, CommandFailed, Remote, Tell
from edge.remote_log import LIVE_LINES, log_tail
from edge.remote_memory import FILE, KEPT, Memory, Taken
from firmware_specs.errors import PackError
from firmware_specs.wire_fleet import Command, Result, ResultPhase, decode, encode

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000_000


class Bench:
    """A gateway's end of commands, and what it answered."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.runs = 0
        self.answers: list[Result] = []
        self.gate = asyncio.Event()
        self.gate.set()
        channel = Channel()
        channel.attach(lambda _rest, payload, _retain: self.answers.append(decode(payload, Result)))
        self.remote = Remote("gw-1", channel, folder, lambda: self.now)
        self.remote.kinds |= {"count": self.count, "fail": self.fail, "check": self.count}

    async def count(self, command: Command, tell: Tell) -> None:
        self.runs += 1
        await self.gate.wait()
        tell(f"{command.kind}\n")

    async def fail(self, _command: Command, _tell: Tell) -> None:
        raise CommandFailed("no")

    def take(self, name: str = "c1", kind: str = "count", **more: object) -> None:
        fields = {"issued_ms": NOW, "expires_ms": NOW + 60_000, **more}
        self.remote.take(name, encode(Command(name, kind, **fields)))  # type: ignore[arg-type]

    def phases(self) -> list[ResultPhase]:
        return [answer.phase for answer in self.answers]

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self.remote.run())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})

    async def settled(self) -> None:
        while self.remote._running:
            await asyncio.wait(set(self.remote._running.values()))


async def test_a_command_is_done_once_S9(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        bench.take()
        bench.take()  # while it runs: its own answers come
        await bench.settled()
        assert bench.phases() == [ResultPhase.RUNNING, ResultPhase.RUNNING, ResultPhase.DONE]
        assert [answer.part for answer in bench.answers] == [0, 0, 1]
        bench.take()
        assert bench.answers[-1].phase is ResultPhase.DONE
        assert (bench.runs, bench.remote.counters["commands_repeated"]) == (1, 2)
    async with Bench(tmp_path) as again:  # after a restart, with a clock that went back too
        again.now = 1_000
        again.take(kind="check")
        assert (again.runs, again.phases()) == (0, [ResultPhase.DONE])


async def test_what_a_restart_cut_short_has_failed_S9(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        bench.gate.clear()
        bench.take()
        await asyncio.sleep(0)
    assert bench.answers[-1].phase is ResultPhase.FAILED
    memory = Memory(tmp_path)
    memory.load()
    memory.put("c2", Taken(NOW + 60_000), NOW)  # killed: no end was written
    async with Bench(tmp_path) as again:
        again.take("c2")
        assert (again.runs, again.phases()) == (0, [ResultPhase.FAILED])


@pytest.mark.parametrize(
    ("more", "phase", "why"),
    [
        ({"expires_ms": NOW}, ResultPhase.EXPIRED, "too late"),
        ({"gateway": "gw-2"}, ResultPhase.REFUSED, "another gateway's"),
        ({"kind": "shell"}, ResultPhase.REFUSED, "knows no 'shell'"),
        ({"issued_ms": NOW + BEHIND_MS + 1, "expires_ms": NOW + BEHIND_MS * 2}, ResultPhase.REFUSED, "clock is behind"),
    ],
)
async def test_expired_foreign_and_unknown_are_refused_S9(
    tmp_path: Path, more: dict[str, object], phase: ResultPhase, why: str
) -> None:
    async with Bench(tmp_path) as bench:
        bench.take(**more)  # type: ignore[arg-type]
        (answer,) = bench.answers
        assert answer.phase is phase
        assert why in answer.reason
        assert (bench.runs, bench.remote.counters["commands_refused"]) == (0, 1)


async def test_what_changes_nothing_is_done_with_a_wrong_clock_too(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        bench.now = 1_000
        bench.take(kind="check")
        await bench.settled()
        assert bench.phases()[-1] is ResultPhase.DONE


async def test_a_command_that_cannot_be_written_down_is_not_begun_S9(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        (tmp_path / f".{FILE}.new").mkdir()
        bench.take()
        assert (bench.runs, bench.phases()) == (0, [ResultPhase.REFUSED])


async def test_too_many_at_a_time_and_stopping_one(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        bench.gate.clear()
        for number in range(MAX_RUNNING + 1):
            bench.take(f"c{number}")
        assert bench.answers[-1].phase is ResultPhase.REFUSED
        await asyncio.sleep(0)
        bench.take("s1", "stop", arguments={"id": "c0"})
        bench.gate.set()
        await bench.settled()
        ended = {answer.id: answer for answer in bench.answers}
        assert (ended["c0"].phase, ended["c0"].reason) == (ResultPhase.DONE, "stopped")
        bench.take("s2", "stop", arguments={"id": "c0"})
        bench.take("f1", "fail")
        await bench.settled()
        assert {answer.id for answer in bench.answers if answer.phase is ResultPhase.FAILED} == {"s2", "f1"}


async def test_a_payload_that_is_another_command_is_refused_S9(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        with pytest.raises(PackError):
            bench.remote.take("c1", encode(Command("c2", "count", NOW, NOW + 1)))
        with pytest.raises(PackError):
            bench.remote.take("c1", b"{")
        assert not bench.answers


def test_the_memory_keeps_the_latest_whatever_the_clock_says_S9(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Memory, "_write", lambda _self: None)
    memory = Memory(tmp_path)
    for number in range(KEPT + 10):
        memory.put(f"c{number}", Taken(NOW - 1), NOW)
    assert memory.get("c9") is None
    assert memory.get("c10") is not None


async def test_a_log_that_floods_is_thinned_and_veiled_P7() -> None:
    ring = Ring()
    parts: list[str] = []
    ring(None, "info", {"event": "before", "password": "hunter2"})
    task = asyncio.ensure_future(
        log_tail(ring, lambda: frozenset({"swordfish"}))(
            Command("c", "log-tail", 0, 1, {"lines": "5", "follow_s": "1"}),
            Tell(lambda _part, text: parts.append(text)),
        )
    )
    await asyncio.sleep(0.05)
    for number in range(LIVE_LINES + 7):
        ring(None, "info", {"event": f"swordfish {number}"})
    await task
    assert "hunter2" not in parts[0]
    assert parts[1].count("\n") == LIVE_LINES + 1
    assert "7 lines left out" in parts[1]
    assert "swordfish" not in parts[1]
