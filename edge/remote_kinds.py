"""The commands that every agent knows: `check`, `log-tail`, `restart-connector`, `diagnostics`.

Owns what each looks at and in which order what it changes happens. Everything else it is handed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from edge import diagnostics
from edge.check import findings
from edge.log import RING
from edge.redact import veil
from edge.remote import CommandFailed
from edge.remote_log import log_tail
from firmware_specs.readings import Lane

if TYPE_CHECKING:
    from pathlib import Path

    from edge.binding import Plan
    from edge.outbox import Outbox
    from edge.remote import Run, Tell
    from firmware_specs.wire import Status
    from firmware_specs.wire_fleet import Command

_UP_WITHIN_S: Final = 20.0
_LOOK_EVERY_S: Final = 0.2
_FILE_PART: Final = 48 * 1024
"""Characters of base64 of a part; whole quanta of four."""


class Agent(Protocol):
    """What the commands need of the gateway that runs."""

    plan: Plan
    outbox: Outbox
    connectors: dict[str, str]

    @property
    def path(self) -> Path:
        """Of `gateway.toml`."""

    def status(self, online: bool) -> Status:
        """As it is now."""

    async def restart_connector(self, name: str) -> None:
        """Raises ConfigError."""


def kinds(agent: Agent) -> dict[str, Run]:
    """The kinds by name."""

    def secrets() -> frozenset[str]:
        return diagnostics.secrets_of(agent.plan.config)

    return {
        "check": _check(agent),
        "log-tail": log_tail(RING, secrets),
        "restart-connector": _restart(agent),
        "diagnostics": _diagnostics(agent),
    }


def _check(agent: Agent) -> Run:
    async def run(_command: Command, tell: Tell) -> None:
        known = diagnostics.secrets_of(agent.plan.config)
        async for finding in findings(agent.path):
            told = {"what": finding.what, "state": finding.state, "detail": veil(finding.detail, known)}
            tell(msgspec.json.encode(told).decode())

    return run


def _restart(agent: Agent) -> Run:
    one_at_a_time = asyncio.Lock()

    async def run(command: Command, tell: Tell) -> None:
        name = command.arguments.get("name", "")
        async with one_at_a_time:
            if name not in agent.connectors:
                raise CommandFailed(f"no connector {name[:64]!r}")
            await agent.restart_connector(name)
            tell("begun anew\n")
            until = asyncio.get_running_loop().time() + _UP_WITHIN_S
            while (state := agent.connectors.get(name, "gone")) != "up":
                if asyncio.get_running_loop().time() >= until:
                    known = diagnostics.secrets_of(agent.plan.config)
                    raise CommandFailed(f"begun anew and not up after {_UP_WITHIN_S:g} s: {veil(state, known)}")
                await asyncio.sleep(_LOOK_EVERY_S)
            tell("up\n")

    return run


def _diagnostics(agent: Agent) -> Run:
    async def run(_command: Command, tell: Tell) -> None:
        facts = diagnostics.Facts(
            plan=agent.plan,
            status=agent.status(True),
            positions={lane.value: agent.outbox.north.position(lane) for lane in Lane},
            log=RING.last(diagnostics.LOG_LINES),
            findings=[finding async for finding in findings(agent.path)],
        )
        data = await asyncio.to_thread(diagnostics.bundle, facts)
        text = base64.b64encode(data).decode()
        for start in range(0, len(text), _FILE_PART):
            tell(text[start : start + _FILE_PART])
        tell.reason = f"sha256:{hashlib.sha256(data).hexdigest()}"

    return run
