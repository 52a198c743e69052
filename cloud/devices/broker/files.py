"""Files in the broker's folder: each is there wholly or not at all, and is touched only when it changes.

Owns the modes. Nothing is for everybody; the group, which a folder of mode 2750 hands on, is the broker's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_specs.durable import alone, write_file
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        with alone(path.parent):
            write_file(path, data, mode)
    except OSError as e:
        raise StoreError(str(path), e.strerror or str(e)) from e
    return True
