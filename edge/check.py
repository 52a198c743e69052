"""`patrol-edge check`: every precondition of a gateway, one line each, before anybody relies on it.

Owns the list of preconditions. Each is tried for real: brokers are connected to, ports opened, names resolved,
certificates read. Where an agent is running already, its own word is taken instead, so that nothing is disturbed.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from edge.binding import make_plan
from edge.clock import GatewayClock, is_disciplined
from edge.control import status_of
from edge.lock import take_lock
from edge.mqttlink import mqtt_link
from edge.probe import ProbeSink, borrowed
from firmware_specs.errors import ConfigError, LinkError, PatrolError, ProfileError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from edge.binding import Plan
    from edge.config import GatewayConfig
    from firmware_specs.readings import Reading
    from firmware_specs.wire import Status

_TRY_S: Final = 20.0
_WARN_DAYS: Final = 30
_SANE_SINCE_MS: Final = 1_767_225_600_000
"""2026-01-01: an earlier clock was never set."""


class Finding(NamedTuple):
    """One precondition and how it stands."""

    what: str
    state: Literal["ok", "warn", "fail"]
    detail: str


async def findings(path: Path) -> AsyncIterator[Finding]:
    """Every precondition, each as it is found."""
    try:
        plan = await asyncio.to_thread(make_plan, path)
    except ConfigError as e:
        yield Finding("config", "fail", str(e))
        return
    devices = len(plan.config.devices)
    yield Finding("config", "ok", f"{path}: {len(plan.config.connectors)} connectors, {devices} devices")
    for finding in (
        *(Finding("profile", "warn", str(error)) for error in plan.refused),
        _clock(), *_disk(plan.config), *_certificates(plan.config),
    ):  # fmt: skip
        yield finding
    agent = await status_of(plan.config.state_dir)
    if agent:
        for finding in _told(agent):
            yield finding
        return
    for finding in _free(path, plan.config):
        yield finding
    yield await _uplink(plan.config)
    for name in plan.devices:
        yield await _connector(plan, name)


async def check(path: Path, *, as_json: bool) -> int:
    """Print every finding as it is made; 1 when one of them is a failure."""
    found: list[Finding] = []
    async for finding in findings(path):
        found.append(finding)
        if not as_json:
            _print(finding)
    failed = sum(finding.state == "fail" for finding in found)
    if as_json:
        print(json.dumps({"ok": not failed, "findings": [finding._asdict() for finding in found]}))
    else:
        print(f"{failed} of {len(found)} failed" if failed else f"all {len(found)} hold")
    return 1 if failed else 0


def _print(finding: Finding) -> None:
    mark = finding.state.upper().ljust(4)
    if sys.stdout.isatty():
        colour = {"ok": 32, "warn": 33, "fail": 31}[finding.state]
        mark = f"\x1b[{colour}m{mark}\x1b[0m"
    print(f"{mark}  {finding.what:<22}  {finding.detail}", flush=True)


def _clock() -> Finding:
    now_ms = time.time_ns() // 1_000_000
    shown = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="seconds")
    if now_ms < _SANE_SINCE_MS:
        return Finding("clock", "fail", f"{shown}: never set; readings would be marked and corrected later")
    if not is_disciplined():
        return Finding("clock", "warn", f"{shown}: no time source disciplines it; readings are marked unsynced")
    return Finding("clock", "ok", f"{shown}, disciplined")


def _disk(config: GatewayConfig) -> list[Finding]:
    folder = config.state_dir
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = folder / f".check-{os.getpid()}"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
        free = shutil.disk_usage(folder).free
    except OSError as e:
        return [Finding("disk", "fail", f"{folder}: {(e.strerror or str(e)).lower()}")]
    budget = config.outbox.budget_mb * 1_000_000
    detail = f"{folder}: {free / 1e6:,.0f} MB free, the outbox may take {budget / 1e6:,.0f} MB"
    return [Finding("disk", "ok" if free > budget else "warn", detail)]


def _certificates(config: GatewayConfig) -> list[Finding]:
    found = []
    for where, endpoint in (("uplink", config.uplink), *((c.name, c) for c in config.connectors)):
        for key in ("ca", "cert"):
            file: Path | None = getattr(endpoint, key, None)
            if file:
                found.append(_certificate(f"{where} {key}", file))
    if config.uplink.key:
        found.append(_key(config.uplink.key))
    return found


def _key(file: Path) -> Finding:
    from edge import keys  # noqa: PLC0415 - only where there are keys

    try:
        keys.sign(file, b"a check")
        where = f"in the TPM, which signs by it; {file} is of no use elsewhere" if keys.holds(file) else str(file)
        if file.stat().st_mode & 0o077:
            return Finding("uplink key", "warn", f"{where}: others on this machine may read it; chmod 600")
    except PatrolError as e:
        return Finding("uplink key", "fail", str(e))
    return Finding("uplink key", "ok", where)


def _certificate(what: str, file: Path) -> Finding:
    from cryptography import x509  # noqa: PLC0415 - only where there are certificates

    from edge.identity import expired  # noqa: PLC0415 - the same

    try:
        data = file.read_bytes()
        if b"-----BEGIN" in data:
            certificate = x509.load_pem_x509_certificate(data)
        else:
            certificate = x509.load_der_x509_certificate(data)
    except OSError as e:
        return Finding(what, "fail", f"{file}: {(e.strerror or str(e)).lower()}")
    except ValueError:
        return Finding(what, "fail", f"{file}: not a certificate")
    until = certificate.not_valid_after_utc
    days = (until - datetime.now(UTC)).days
    detail = f"{file}: valid until {until:%Y-%m-%d}, {days} days left"
    if days < 0:
        return Finding(what, "fail", expired(file, until))
    return Finding(what, "warn" if days < _WARN_DAYS else "ok", detail)


def _told(agent: Status) -> list[Finding]:
    """What the running agent says of its links."""
    found = [Finding("agent", "ok", f"version {agent.agent_version} is running; the rest is its word")]
    if agent.degraded:
        found.append(Finding("agent", "fail", agent.degraded))
    for name, state in agent.connectors.items():
        found.append(Finding(f"connector {name}", "ok" if state == "up" else "fail", state))
    waiting = sum(lane.waiting for lane in agent.lanes.values())
    found.append(Finding("outbox", "ok", f"{waiting:,} waiting"))
    return found


def _free(path: Path, config: GatewayConfig) -> list[Finding]:
    try:
        os.close(take_lock(path, config.state_dir))
    except ConfigError as e:
        return [Finding("state_dir", "fail", e.reason)]
    return []


async def _uplink(config: GatewayConfig) -> Finding:
    try:
        async with asyncio.timeout(_TRY_S), mqtt_link(config.uplink, config.gateway, lambda _: None, clean=True):
            return Finding("uplink", "ok", f"{config.uplink.url}: connected")
    except LinkError as e:
        return Finding("uplink", "fail", str(e))
    except TimeoutError:
        return Finding("uplink", "fail", f"{config.uplink.url}: no answer within {_TRY_S:g} s")


async def _connector(plan: Plan, name: str) -> Finding:
    """Run the connector until it says that its link is up."""
    what = f"connector {name}"
    up = asyncio.Event()
    frames: list[str] = []

    def refused(device: str, _frame: bytes, error: str) -> None:
        frames.append(f"{device}: {error}")

    def heard(_readings: Sequence[Reading]) -> None:
        return

    try:
        connector = borrowed(plan, name)
    except ProfileError as e:
        return Finding(what, "fail", str(e))
    task = asyncio.ensure_future(connector.run(ProbeSink(plan, GatewayClock(), heard, refused), up.set))
    waiter = asyncio.ensure_future(up.wait())
    await asyncio.wait({task, waiter}, timeout=_TRY_S, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    try:
        if task.done():
            await task
    except LinkError as e:
        return Finding(what, "fail", str(e))
    finally:
        task.cancel()
        await asyncio.wait({task})
    served = f"{len(plan.devices[name])} devices"
    if not up.is_set():
        return Finding(what, "fail", f"no link within {_TRY_S:g} s")
    if frames:
        return Finding(what, "warn", f"link up, {served}; {frames[0]}")
    return Finding(what, "ok", f"link up, {served}")
