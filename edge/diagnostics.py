"""The diagnostics bundle: what helps to find a fault, and nothing that is secret or names a person or a place (P7).

Owns what goes in, by a list of what may: numbers, switches and choices of the configuration, each other value only as
set or not; addresses as what kind they are; devices as how many of which type that we ship; texts of the log and of
checks with no word but those that are known to be harmless. Nothing is copied because nobody thought of leaving it out.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import ipaddress
import os
import platform
import re
import sys
import time
import zipfile
from collections import Counter
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
from pydantic import BaseModel

from edge import VERSION
from edge.binding import make_plan
from edge.check import findings
from edge.config import read_secret
from edge.control import ask, status_of
from edge.redact import plain, veil
from firmware_specs.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edge.binding import Plan
    from edge.check import Finding
    from edge.config import GatewayConfig
    from firmware_specs.wire import Status
    from firmware_specs.wire_vitals import Vitals

LOG_LINES: Final = 500
MAX_BYTES: Final = 1024 * 1024
_CHOICES: Final = frozenset({"kind", "version", "parity", "framing", "security"})
"""Keys of the configuration whose values are of a short list of ours."""
_ADDRESSES: Final = frozenset({"url", "bind"})
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", re.ASCII)
_TELLING_ENV: Final = re.compile(r"(?i)pass|secret|token|key|credential|auth|pin")
_WORD: Final = re.compile(r"[a-z_]{1,40}", re.ASCII)


class Facts(NamedTuple):
    """What a bundle is made from. positions: of each lane, the epoch and the sequence that follows."""

    plan: Plan
    status: Status | None
    positions: Mapping[str, tuple[str, int]]
    log: Sequence[str]
    findings: Sequence[Finding]


def secrets_of(config: GatewayConfig) -> frozenset[str]:
    """Values that are secret for sure: passwords and users of every endpoint, telling variables of the environment."""
    found = {value for name, value in os.environ.items() if _TELLING_ENV.search(name) and len(value) >= 4}
    for endpoint in (config.uplink, *config.connectors):
        found.add(getattr(endpoint, "user", None) or "")
        file: Path | None = getattr(endpoint, "password_file", None)
        if file:
            with contextlib.suppress(ConfigError):
                found.add(read_secret(file, "password_file"))
    return frozenset(found - {""})


def bundle(facts: Facts) -> bytes:
    """The zip file. Reads password files only to take what they say out of everything else."""
    secrets = secrets_of(facts.plan.config)
    names = {connector.name: f"connector-{n}" for n, connector in enumerate(facts.plan.config.connectors, 1)}
    documents: dict[str, Any] = {
        "about.json": _about(facts),
        "config.json": _config(facts.plan),
        "check.json": [
            {
                "what": _text(each.what, secrets, names),
                "state": each.state,
                "detail": _text(each.detail, secrets, names),
            }
            for each in facts.findings
        ],
        "outbox.json": {lane: {"epoch": epoch, "next": after} for lane, (epoch, after) in facts.positions.items()},
    }
    if facts.status:
        documents["status.json"] = _status(facts.status, secrets, names)
    lines = [_log_line(line, secrets, names) for line in facts.log]
    while True:
        data = _zipped(documents, lines)
        if len(data) <= MAX_BYTES or not lines:
            return data
        lines = lines[len(lines) // 2 + 1 :]


def _zipped(documents: Mapping[str, Any], lines: Sequence[str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, document in documents.items():
            archive.writestr(name, msgspec.json.format(msgspec.json.encode(document), indent=2))
        archive.writestr("log.txt", "".join(line + "\n" for line in lines))
    return out.getvalue()


def _text(text: str, secrets: frozenset[str], names: Mapping[str, str]) -> str:
    """A text with connectors under their numbers and nothing but known words."""
    return plain(veil(text, secrets), names)


def _log_line(line: str, secrets: frozenset[str], names: Mapping[str, str]) -> str:
    head, _, rest = line.partition(" ")
    if _TIME.fullmatch(head):
        return f"{head} {_text(rest, secrets, names)}"
    return _text(line, secrets, names)


def _about(facts: Facts) -> dict[str, Any]:
    uptime_s: float | None = None
    with contextlib.suppress(OSError, ValueError):
        uptime_s = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return {
        "gateway_sha256": hashlib.sha256(facts.plan.config.gateway.encode()).hexdigest(),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "agent": VERSION, "python": platform.python_version(), "system": platform.system(),
        "machine": platform.machine(), "processors": os.cpu_count(), "uptime_s": uptime_s,
        "monotonic_s": round(time.monotonic()), "implementation": sys.implementation.name,
    }  # fmt: skip


def _config(plan: Plan) -> dict[str, Any]:
    config = plan.config
    shipped = {each.name.removesuffix(".toml") for each in (files("firmware_specs") / "profiles").iterdir()}
    types = {device.id: device.profile if device.profile in shipped else "own-profile" for device in config.devices}
    counted: dict[str, Counter[str]] = {}
    for device in config.devices:
        counted.setdefault(device.connector, Counter())[types[device.id]] += 1
    tables = {name: dict(_table(value)) for name, value in config if isinstance(value, BaseModel)}
    connectors = [
        {"number": number, **dict(_table(each)), "devices": dict(counted.get(each.name, {}))}
        for number, each in enumerate(config.connectors, 1)
    ]
    return {"hash": plan.hash, **tables, "connectors": connectors, "profiles_refused": len(plan.refused)}


def _table(model: BaseModel) -> Iterator[tuple[str, Any]]:
    """What may be said of each key of a table."""
    for key, value in model:
        if value is None or isinstance(value, bool | int | float) or key in _CHOICES:
            yield key, value
        elif key in _ADDRESSES and isinstance(value, str):
            yield key, _address(value)
        else:
            yield key, "set"


def _address(address: str) -> dict[str, Any]:
    """What kind of address it is."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    host = parts.hostname or ""
    try:
        ip = ipaddress.ip_address(host)
        kind = "loopback" if ip.is_loopback else "private" if ip.is_private else "public"
    except ValueError:
        kind = "loopback" if host == "localhost" else "name"
    return {"scheme": parts.scheme, "host": kind, "port": parts.port}


def _status(status: Status, secrets: frozenset[str], names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "agent_version": plain(status.agent_version), "boot": status.boot, "config_hash": status.config_hash,
        "at_ms": status.at_ms, "clock": status.clock.value, "degraded": _text(status.degraded, secrets, names),
        "lanes": msgspec.to_builtins(status.lanes),
        "connectors": {
            names.get(name, "connector"): _text(state, secrets, names) for name, state in status.connectors.items()
        },
        "counters": {name: count for name, count in status.counters.items() if _WORD.fullmatch(name)},
        "vitals": _vitals(status.vitals, secrets, names) if status.vitals else None,
    }  # fmt: skip


def _vitals(vitals: Vitals, secrets: frozenset[str], names: Mapping[str, str]) -> dict[str, Any]:
    """Figures and words of ours; a text only as far as its words are known."""
    told: dict[str, Any] = msgspec.to_builtins(vitals)
    for each in (told, *told["starts"]):
        for key in ("renewal", "detail", "written_by"):
            if key in each:
                each[key] = _text(each[key], secrets, names)
    return told


async def gather(path: Path) -> Facts:
    """The same of this machine from outside of the agent, by its word when it runs. Raises ConfigError."""
    plan = make_plan(path)
    status = await status_of(plan.config.state_dir)
    log: list[str] = []
    with contextlib.suppress(OSError):
        async for answer in ask(plan.config.state_dir, "log"):
            log = [str(line) for line in answer.get("lines", ())]
    return Facts(plan, status, {}, log, [finding async for finding in findings(path)])


def write(path: Path, out: Path) -> int:
    """Make a bundle into a file that only its owner reads; its size. Raises ConfigError."""
    data = bundle(asyncio.run(gather(path)))
    try:
        fd = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
    except OSError as e:
        raise ConfigError(out, "--out", (e.strerror or str(e)).lower()) from e
    return len(data)
