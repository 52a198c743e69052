"""The lock on a state folder: one agent at a time."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from firmware_specs.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def take_lock(path: Path, state_dir: Path) -> int:
    """The state folder for this process alone. Raises ConfigError when it cannot be made or another has it."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(state_dir / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise ConfigError(path, "state_dir", f"{state_dir}: {(e.strerror or str(e)).lower()}") from e
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(lock)
        raise ConfigError(path, "state_dir", f"{state_dir}: another agent is running on it") from e
    return lock
