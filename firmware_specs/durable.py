"""Files that survive a power cut: written beside their place, synced, renamed, and the folder synced.

Owns that order of steps and nothing of what is in the files.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder against other processes that hold it before they write into it. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Have the folder's entries on the disk. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put a file in place of what was there: after it the old or the new one is there, whole. Raises OSError.

    mode: what it has then, whatever the process's mask is.
    """
    beside = path.with_name(f".{path.name}.new")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.fchmod(handle, mode)
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    beside.replace(path)
    sync_folder(path.parent)


def remove_file(path: Path) -> None:
    """Take a file away for good; no error when there is none. Raises OSError."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)
