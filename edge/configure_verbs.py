"""`patrol-edge config show|revert`: which configuration runs, and the way back that needs no cloud."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import TYPE_CHECKING, Any, Final

from edge.config import EMPTY, load_config
from edge.configure_keep import Keep
from edge.configure_rules import reverted_by_hand
from edge.control import ask
from edge.lock import take_lock
from firmware_specs.errors import ConfigError, nearest

if TYPE_CHECKING:
    from pathlib import Path

    from edge.configure_rules import Version

VERBS: Final = ("show", "revert")


def run(verb: str, path: Path, *, as_json: bool) -> int:
    """The exit code: 1 when there is nothing to go back to. Raises ConfigError, StoreError."""
    if verb not in VERBS:
        raise ConfigError("config", "", f"there is no verb {verb!r}{nearest(verb, VERBS)}")
    base = load_config(path, EMPTY).config
    if not base.managed:
        raise ConfigError(path, "managed", "is not set: this file alone is the configuration")
    return _show(base.state_dir, as_json=as_json) if verb == "show" else _revert(path, base.state_dir, as_json=as_json)


def _show(state_dir: Path, *, as_json: bool) -> int:
    kept = Keep(state_dir).read()
    if as_json:
        known = {"committed": kept.committed, "previous": kept.previous, "trial": kept.trial and kept.trial.document}
        said = {name: {"version": d.version, "hash": d.hash} if d else None for name, d in known.items()}
        last = {"phase": kept.told.phase, "version": kept.told.version, "reason": kept.told.reason}
        print(json.dumps({**said, "last": last}))
        return 0
    for name, document in (("in force", kept.committed), ("before it", kept.previous)):
        print(f"{name:<10}  {_named(document)}")
    if kept.trial:
        print(f"{'on trial':<10}  {_named(kept.trial.document)}")
    print(f"{'last order':<10}  {' '.join(filter(None, (kept.told.phase, str(kept.told.version), kept.told.reason)))}")
    running = kept.running
    if running:
        print(f"\n{Keep(state_dir).text(running)}")
    return 0


def _named(document: Version | None) -> str:
    return f"version {document.version}, hash {document.hash}" if document else "none"


def _revert(path: Path, state_dir: Path, *, as_json: bool) -> int:
    answer = asyncio.run(_of_agent(state_dir)) or _offline(path, state_dir)
    if as_json:
        print(json.dumps(answer))
    else:
        print(answer["reason"] or "gone back to the configuration before")
    return 0 if answer["ok"] else 1


async def _of_agent(state_dir: Path) -> dict[str, Any] | None:
    try:
        async for line in ask(state_dir, "config-revert"):
            return line
    except OSError:
        return None
    return None


def _offline(path: Path, state_dir: Path) -> dict[str, Any]:
    """The same while no agent runs: it begins with it at its next start."""
    lock = take_lock(path, state_dir)
    try:
        keep = Keep(state_dir)
        kept, why = reverted_by_hand(keep.read(), time.time_ns() // 1_000_000)
        if not why:
            keep.write(kept)
    finally:
        os.close(lock)
    return {"ok": not why, "reason": why}
