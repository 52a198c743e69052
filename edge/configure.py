"""Configurations from the cloud: taken, tried, confirmed, and gone back from when the gateway loses the cloud by them.

Owns the life of an order on the gateway (commit-confirmed). It is staged and checked in full; that it is tried is on
disk before anything changes; it is confirmed when the cloud has answered since and every connector that it touched is
up again; otherwise the gateway goes back by itself. What is remembered is `configure_keep`'s, what is decided
`configure_rules`', how the agent changes over the gateway's.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from edge.binding import make_plan
from edge.clock import boot_id
from edge.config import EMPTY, Document, load_config
from edge.configure_keep import Keep
from edge.configure_rules import (
    Action,
    Kept,
    Outcome,
    Seen,
    Trial,
    Version,
    adopted,
    at_start,
    judge,
    lacking,
    left,
    reverted_by_hand,
    touched,
    tried,
)
from firmware_specs.errors import ConfigError, StoreError
from firmware_specs.wire_fleet import ConfigOrder, ConfigPhase, ConfigState, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.binding import Plan
    from edge.channel import Channel
    from edge.connectors.base import Connector
    from edge.uplink import Uplink

ORDER: Final = "desired/config"
REPORT: Final = "reported/config"
_LOOK_EVERY_S: Final = 1.0
_NOT_MANAGED: Final = "this gateway is configured by its own file: `managed` is not set in gateway.toml"
_log: structlog.stdlib.BoundLogger = structlog.get_logger("configure")


class StartOver(Exception):  # noqa: N818 - states what is wanted, not a failure
    """The configuration changes what holds as long as the agent runs: begin again with it, in this process."""


class Agent(Protocol):
    """What of the gateway changes over; see `edge.gateway`."""

    channel: Channel
    uplink: Uplink
    plan: Plan
    connectors: dict[str, str]
    changing: asyncio.Lock

    def prepare(self, plan: Plan) -> dict[str, Connector]:
        """The connectors that a plan needs anew. Raises ConfigError."""

    async def change_over(self, plan: Plan, built: dict[str, Connector]) -> None:
        """Run another plan."""


def _since_boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Configure:
    """See the module. `plan_at_start`, then `begin` with the state folder's lock, then `run` until cancelled."""

    def __init__(self, path: Path, since_boot_s: Callable[[], float] = _since_boot_s) -> None:
        """path: of `gateway.toml`. Raises ConfigError when it is wrong by itself."""
        base = load_config(path, EMPTY).config
        self.managed = base.managed
        self.error = ""
        """Why what is in force cannot be served, when it cannot."""
        self._path = path
        self._keep = Keep(base.state_dir)
        self._kept = self._keep.read() if base.managed else Kept()
        self._boot = boot_id()
        self._since_boot_s = since_boot_s
        self._orders: asyncio.Queue[ConfigOrder | None] = asyncio.Queue()
        """What came and is not taken yet; None has the agent start over."""
        self._began_at = float("-inf")

    # which configuration

    def plan_at_start(self) -> Plan:
        """What to run first. Raises ConfigError when the gateway's own file is wrong."""
        if not self.managed:
            return make_plan(self._path)
        kept = self._kept
        if kept.trial:
            trial, why = at_start(kept.trial, self._boot, self._since_boot_s())
            if trial:
                try:
                    plan = make_plan(self._path, self._document(trial.document))
                except ConfigError as e:
                    why = str(e)
                else:
                    self._kept = tried(kept, trial, kept.told.at_ms)
                    return plan
            self._kept = left(kept, ConfigPhase.REVERTED, kept.trial.document, why, _now_ms())
        return self._committed_plan()

    def plan(self) -> Plan:
        """What is to run now, read anew. Raises ConfigError naming the file, the key and the cause."""
        if not self.managed:
            return make_plan(self._path)
        running = self._kept.running
        return make_plan(self._path, self._document(running) if running else EMPTY)

    def _committed_plan(self) -> Plan:
        """What is in force, else the one before, else nothing: a gateway that the cloud can still reach."""
        for document in (self._kept.committed, self._kept.previous):
            if document:
                try:
                    plan = make_plan(self._path, self._document(document))
                except ConfigError as e:
                    self.error = self.error or str(e)
                    _log.error("configuration cannot be served", version=document.version, reason=str(e))
                else:
                    return plan
        return make_plan(self._path, EMPTY)

    def _document(self, document: Version) -> Document:
        return Document(f"configuration {document.version}", self._keep.text(document))

    # running

    def begin(self) -> None:
        """Remember what the start decided; the state folder is locked."""
        if self.managed:
            self._keep.set_aside()
            if self._kept != self._keep.read():
                self._remember(self._kept)

    async def run(self, agent: Agent) -> None:
        """Take orders until cancelled. Raises StartOver."""
        agent.channel.on(ORDER, self._ordered)
        self._tell(agent)
        if not self.managed:
            return
        self._began_at = asyncio.get_running_loop().time()
        while True:
            if self._kept.trial:
                await self._watch(agent, self._kept.trial)
            if self._kept.trial is None or not self._orders.empty():
                order = await self._orders.get()
                if order is None:
                    raise StartOver
                async with agent.changing:
                    await self._take(agent, order)

    def _ordered(self, _rest: str, payload: bytes) -> None:
        """Raises PackError for what is no order."""
        order = decode(payload, ConfigOrder)
        if self.managed:
            self._orders.put_nowait(order)
        else:
            _log.warning("configuration refused", version=order.version, reason=_NOT_MANAGED)

    async def _take(self, agent: Agent, order: ConfigOrder) -> None:
        decision = judge(self._kept, order, _now_ms())
        document = Version(order.version, order.hash)
        try:
            if decision.action is Action.TRY:
                await self._try(agent, order, document)
                return
            if decision.action is Action.ADOPT:
                self._keep.stage(document, order.text)
                self._commit(document)
            elif decision.told and decision.told != self._kept.told:
                self._remember(_with_told(self._kept, decision.told))
        except StoreError as e:
            self._refuse(document, str(e))
        self._tell(agent)

    async def _try(self, agent: Agent, order: ConfigOrder, document: Version) -> None:
        """Check and stage an order, remember that it is tried, and change over. Raises StoreError, StartOver."""
        try:
            plan = make_plan(self._path, Document(f"configuration {order.version}", order.text))
            built = agent.prepare(plan)
        except ConfigError as e:
            self._refuse(document, str(e))
            self._tell(agent)
            return
        before = self._kept.trial
        every = before is not None or _starts_over(agent.plan, plan)
        must = touched(agent.connectors, plan.devices if every else built, before)
        until_s = self._since_boot_s() + order.trial_s
        trial = Trial(document.version, document.hash, order.trial_s, self._boot, until_s, 0, must)
        self._keep.stage(document, order.text)
        kept = tried(self._kept, trial, _now_ms())
        self._keep.write(kept)
        self._kept = kept
        self._tell(agent)
        _log.info("configuration tried", version=document.version, hash=document.hash, trial_s=order.trial_s)
        await self._change(agent, plan, built)

    async def _change(self, agent: Agent, plan: Plan, built: dict[str, Connector]) -> None:
        if _starts_over(agent.plan, plan):
            raise StartOver
        if plan.hash != agent.plan.hash:
            await agent.change_over(plan, built)
        self._began_at = asyncio.get_running_loop().time()

    async def _watch(self, agent: Agent, trial: Trial) -> None:
        """Confirm what is tried, or go back, unless another order comes before either. Raises StartOver."""
        while self._orders.empty() and self._kept.trial == trial:
            seen = Seen(agent.uplink.acked_at > self._began_at, agent.uplink.state, agent.connectors)
            lacks = lacking(trial, seen)
            if not lacks:
                try:
                    self._commit(trial.document)
                except StoreError as e:
                    lacks = str(e)
                else:
                    self._tell(agent)
                    return
            left_s = trial.until_s - self._since_boot_s()
            if left_s <= 0:
                async with agent.changing:
                    if self._kept.trial == trial:  # nobody went back by hand meanwhile
                        await self._go_back(agent, trial, f"{lacks}; it was tried for {trial.trial_s} s")
                return
            agent.uplink.ask()
            await asyncio.sleep(min(_LOOK_EVERY_S, left_s))

    async def _go_back(self, agent: Agent, trial: Trial, reason: str) -> None:
        self._remember(left(self._kept, ConfigPhase.REVERTED, trial.document, reason, _now_ms()))
        _log.error("configuration gone back from", version=trial.version, reason=reason)
        await self._run_committed(agent)

    async def _run_committed(self, agent: Agent) -> None:
        """Change over to what is in force. Raises StartOver."""
        self.error = ""
        plan = self._committed_plan()
        self._tell(agent)
        await self._change(agent, plan, agent.prepare(plan))

    async def revert_by_hand(self, agent: Agent) -> dict[str, Any]:
        """Go back from what runs; what a technician is answered."""
        if not self.managed:
            return {"ok": False, "reason": _NOT_MANAGED}
        async with agent.changing:
            kept, why = reverted_by_hand(self._kept, _now_ms())
            if why:
                return {"ok": False, "reason": why}
            self._remember(kept)
            try:
                await self._run_committed(agent)
            except StartOver:
                self._orders.put_nowait(None)
            except ConfigError as e:
                return {"ok": False, "reason": str(e)}
        return {"ok": True, "reason": ""}

    # what is remembered and told

    def _commit(self, document: Version) -> None:
        """Put a document in force. Raises StoreError; then it is not."""
        kept = adopted(self._kept, document, _now_ms())
        self._keep.write(kept)
        self._kept = kept
        self._keep.sweep(kept)
        _log.info("configuration in force", version=document.version, hash=document.hash)

    def _refuse(self, document: Version, reason: str) -> None:
        _log.error("configuration refused, the last good one stays", version=document.version, reason=reason)
        trial = self._kept.trial
        refused = left(self._kept, ConfigPhase.REFUSED, document, reason, _now_ms())
        self._remember(tried(refused, trial, refused.told.at_ms) if trial else refused)

    def _remember(self, kept: Kept) -> None:
        """From now on, and over restarts as far as the disk allows."""
        self._kept = kept
        try:
            self._keep.write(kept)
        except StoreError as e:
            _log.error("the state of configurations cannot be kept", reason=str(e))

    def _tell(self, agent: Agent) -> None:
        kept = self._kept
        if not self.managed:
            state = ConfigState(ConfigPhase.LOCAL, reason=_NOT_MANAGED, running_hash=agent.plan.hash)
        else:
            told, running = kept.told, kept.running or Version(0, "")
            state = ConfigState(
                told.phase, told.version, told.hash, told.reason, told.at_ms, running.version, running.hash
            )  # fmt: skip
        agent.channel.state(REPORT, encode(state))


def _with_told(kept: Kept, told: Outcome) -> Kept:
    return Kept(kept.committed, kept.previous, kept.trial, kept.left, told)


def _starts_over(before: Plan, after: Plan) -> bool:
    """Whether the change touches what holds as long as the agent runs."""
    return (before.config.outbox, before.config.metrics) != (after.config.outbox, after.config.metrics)
