"""What the cloud asks of this gateway by itself: commands, each done once, in time, or refused with a reason.

Owns the way of a command: judged, remembered, run as a task of its own, answered part by part and at the end. What is
expired, another gateway's, of no kind that is known, or one too many is refused and answered. One that comes again is
not done again: it is answered as it ended. There is no shell here and nothing that runs text: a kind is a function that
was entered in `kinds`, and its arguments are looked at by it alone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from edge.remote_memory import Memory, Taken
from firmware_specs.errors import PackError, PatrolError
from firmware_specs.wire_fleet import Command, Result, ResultPhase, decode, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from edge.channel import Channel

    Run = Callable[[Command, "Tell"], Awaitable[None]]

LOOKS: Final = frozenset({"check", "log-tail", "diagnostics", "stop"})
"""Kinds that change nothing: a gateway whose clock cannot say whether they expired may do them."""
BEHIND_MS: Final = 300_000
"""A command issued this far ahead of our clock says that the clock is wrong."""
MAX_RUNNING: Final = 8
MAX_RUN_S: Final = 3600.0
MAX_PART: Final = 64 * 1024
"""Characters of a part."""
MAX_PARTS: Final = 4000
MAX_TEXT: Final = 2 * 1024 * 1024
STOP: Final = "stop"
_log: structlog.stdlib.BoundLogger = structlog.get_logger("remote")


class CommandFailed(PatrolError):  # noqa: N818 - states what became of the command
    """A command cannot be done, or went wrong; the message is told."""


class Tell:
    """Takes the answer of a command, part by part. Raises CommandFailed when it grows too long.

    reason: told with the end of a command that is done.
    """

    def __init__(self, send: Callable[[int, str], None]) -> None:
        self._send = send
        self._size = 0
        self.part = 0
        self.reason = ""

    def __call__(self, text: str) -> None:
        """Tell a part; a long one goes in several."""
        for start in range(0, len(text), MAX_PART):
            piece = text[start : start + MAX_PART]
            self._size += len(piece)
            if self._size > MAX_TEXT or self.part >= MAX_PARTS:
                raise CommandFailed("the answer grew too long")
            self._send(self.part, piece)
            self.part += 1


class Remote:
    """See the module. `run` until cancelled; `kinds` takes more of them before."""

    def __init__(self, gateway: str, channel: Channel, state_dir: Path, now_ms: Callable[[], int]) -> None:
        self._gateway = gateway
        self._channel = channel
        self._now_ms = now_ms
        self._memory = Memory(state_dir)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._stopped: set[str] = set()
        self._group: asyncio.TaskGroup | None = None
        self.kinds: dict[str, Run] = {STOP: self._stop}
        """What may be asked, by name."""
        self.counters = {"commands": 0, "commands_refused": 0, "commands_repeated": 0}

    async def run(self) -> None:
        """Take commands until cancelled; those that run end with it."""
        self._memory.load()
        async with asyncio.TaskGroup() as self._group:
            self._channel.on("command", self.take)
            await asyncio.Event().wait()

    def take(self, rest: str, payload: bytes) -> None:
        """A command as it came. Raises PackError when it is none."""
        command = decode(payload, Command)
        if command.id != rest:
            raise PackError(f"command: topic and payload name two, {rest[:64]!r} and {command.id!r}")
        known = self._memory.get(command.id)
        if known is not None:
            self.counters["commands_repeated"] += 1
            _log.info("command repeated", id=command.id, kind=command.kind, phase=known.phase.value)
            if known.phase is not ResultPhase.RUNNING:
                self._answer(command, known.phase, known.part, known.reason)
            return
        phase, reason = self._judge(command)
        if phase is not ResultPhase.RUNNING:
            self.counters["commands_refused"] += 1
            _log.warning("command refused", id=command.id, kind=command.kind, reason=reason)
            self._end(command, phase, 0, reason)
            return
        try:
            self._memory.put(command.id, Taken(command.expires_ms), self._now_ms())
        except OSError as e:
            self._answer(command, ResultPhase.REFUSED, 0, f"it cannot be written down: {e.strerror or e}")
            return
        self._begin(command)

    def _judge(self, command: Command) -> tuple[ResultPhase, str]:
        now = self._now_ms()
        if command.gateway not in {"", self._gateway}:
            return ResultPhase.REFUSED, "it is another gateway's"
        if command.kind not in self.kinds:
            return ResultPhase.REFUSED, f"this agent knows no {command.kind!r}"
        if now >= command.expires_ms:
            return ResultPhase.EXPIRED, "it came too late"
        if now < command.issued_ms - BEHIND_MS and command.kind not in LOOKS:
            return ResultPhase.REFUSED, "the gateway's clock is behind: it cannot tell whether the command has expired"
        if len(self._running) >= MAX_RUNNING and command.kind != STOP:
            return ResultPhase.REFUSED, f"{MAX_RUNNING} commands are running already"
        return ResultPhase.RUNNING, ""

    def _begin(self, command: Command) -> None:
        if self._group is None:
            raise RuntimeError("commands are taken while Remote runs")
        self.counters["commands"] += 1
        _log.info("command begun", id=command.id, kind=command.kind)
        task = self._group.create_task(self._do(command), name=f"command-{command.kind}")
        self._running[command.id] = task
        task.add_done_callback(lambda _: self._over(command.id))

    def _over(self, command: str) -> None:
        self._running.pop(command, None)
        self._stopped.discard(command)

    async def _do(self, command: Command) -> None:
        tell = Tell(lambda part, text: self._answer(command, ResultPhase.RUNNING, part, text=text))
        self._answer(command, ResultPhase.RUNNING, 0)
        try:
            async with asyncio.timeout(MAX_RUN_S):
                await self.kinds[command.kind](command, tell)
        except TimeoutError:
            self._end(command, ResultPhase.FAILED, tell.part, f"it took longer than {MAX_RUN_S:g} s")
        except (PatrolError, OSError) as e:
            self._end(command, ResultPhase.FAILED, tell.part, str(e))
        except asyncio.CancelledError:
            asked = command.id in self._stopped
            phase = ResultPhase.DONE if asked else ResultPhase.FAILED
            self._end(command, phase, tell.part, "stopped" if asked else "the agent was ended")
            raise
        else:
            self._end(command, ResultPhase.DONE, tell.part, tell.reason)

    async def _stop(self, command: Command, tell: Tell) -> None:
        """End another command early."""
        wanted = command.arguments.get("id", "")
        task = self._running.get(wanted)
        if task is None or wanted == command.id:
            raise CommandFailed("no command of that id is running")
        self._stopped.add(wanted)
        task.cancel()
        tell("stopped")

    def _end(self, command: Command, phase: ResultPhase, part: int, reason: str) -> None:
        reason = reason[:500]
        try:
            self._memory.put(command.id, Taken(command.expires_ms, phase, reason, part), self._now_ms())
        except OSError as e:
            _log.warning("the end of a command is not written down", id=command.id, reason=e.strerror or str(e))
        self._answer(command, phase, part, reason)

    def _answer(self, command: Command, phase: ResultPhase, part: int, reason: str = "", text: str = "") -> None:
        result = Result(command.id, phase, part, text, reason, max(0, self._now_ms()))
        self._channel.answer(f"result/{command.id}", encode(result))
