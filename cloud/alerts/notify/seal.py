"""Targets and secrets at rest: sealed with a key that lies beside the database and never in it.

The key file `notify.key` is made on first use, readable by the service's account only. Every process of one service
needs the same file; a backup of the database does not hold it.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Final

from cryptography.fernet import Fernet, InvalidToken

from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

FILE: Final = "notify.key"


class Seal:
    """Seals and opens with one key."""

    def __init__(self, data_dir: Path) -> None:
        """Raises StoreError when the key cannot be read or made, or is open to others."""
        self._path = data_dir / FILE
        try:
            if not self._path.exists():
                _make(self._path)
            if self._path.stat().st_mode & 0o077:
                raise StoreError(
                    str(self._path), "is open to other accounts: chmod 600, and give the channels new secrets"
                )
            self._fernet = Fernet(self._path.read_bytes().strip())
        except OSError as e:
            raise StoreError(str(self._path), e.strerror or str(e)) from e
        except ValueError as e:
            raise StoreError(str(self._path), "is no key of ours") from e

    def close(self, text: str) -> str:
        """Sealed text."""
        return self._fernet.encrypt(text.encode()).decode("ascii")

    def open(self, sealed: str) -> str:
        """The text. Raises StoreError when it was sealed with another key."""
        try:
            return self._fernet.decrypt(sealed.encode("ascii")).decode()
        except InvalidToken as e:
            raise StoreError(str(self._path), "is not the key that this channel was sealed with") from e


def _make(path: Path) -> None:
    """Written whole before it has its name; of several who make one at a time, the first one's stays."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
        f.write(Fernet.generate_key())
        f.flush()
        os.fsync(f.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
