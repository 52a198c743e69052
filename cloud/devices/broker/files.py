"""Files in the broker's folder: each is there wholly or not at all, and is touched only when it changes.

Owns the modes. Nothing is for everybody; the group, which a folder of mode 2750 hands on, is the broker's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from firmware_specs.durable import sync_folder
from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

MODE: Final = 0o640
OWN_MODE: Final = 0o600
"""Of what the broker has no business with: our own key for its listener."""


def read(path: Path) -> bytes | None:
    """What stands in a file, None when there is none. Raises StoreError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as e:
        raise StoreError(str(path), e.strerror or str(e)) from e


def put(path: Path, data: bytes, mode: int = MODE) -> bool:
    """Have a file say this; whether it had to be written. Raises StoreError."""
    if read(path) == data:
        return False
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        part.unlink(missing_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, mode)  # whatever the service's mask is
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    except OSError as e:
        raise StoreError(str(path), e.strerror or str(e)) from e
    return True


def drop(path: Path) -> bool:
    """Have no such file; whether there was one. Raises StoreError."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as e:
        raise StoreError(str(path), e.strerror or str(e)) from e
    return True
