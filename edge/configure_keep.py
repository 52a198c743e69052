"""What a managed gateway remembers of its configurations: which is in force, which is tried, which it went back from.

Owns `config/` in the state folder: one file a version, and `state.json`, which points at them. Every step is one new
`state.json`, written beside it, synced, and renamed over it: after a power cut or a `kill -9` at any moment there is
the old state or the new one, and a file that it points at is whole. What cannot be read is set aside, and the gateway
begins anew with what the cloud has for it.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from edge.configure_rules import Kept, Outcome, Version
from firmware_specs.durable import write_file
from firmware_specs.errors import ConfigError, StoreError
from firmware_specs.gateway_document import hash_of
from firmware_specs.tomlfile import read_file
from firmware_specs.wire_fleet import ConfigPhase

if TYPE_CHECKING:
    from pathlib import Path

FOLDER: Final = "config"
STATE: Final = "state.json"
_log: structlog.stdlib.BoundLogger = structlog.get_logger("configure")


class Keep:
    """See the module."""

    def __init__(self, state_dir: Path) -> None:
        self.folder = state_dir / FOLDER

    def read(self) -> Kept:
        """What is remembered; nothing when there is nothing, or when it cannot be read."""
        try:
            return msgspec.json.decode((self.folder / STATE).read_bytes(), type=Kept)
        except FileNotFoundError:
            return Kept()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as e:
            _log.error("the state of configurations cannot be read; the cloud's order is taken anew", reason=str(e))
            return Kept()

    def set_aside(self) -> None:
        """Move a state that cannot be read out of the way, so that the next one does not hide it."""
        path = self.folder / STATE
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            try:
                msgspec.json.decode(data, type=Kept)
            except (msgspec.DecodeError, UnicodeDecodeError):
                path.rename(path.with_suffix(f".corrupt-{time.time_ns() // 1_000_000}"))

    def text(self, document: Version) -> str:
        """A document's text. Raises ConfigError when it is not there or not what it was."""
        path = self._path(document)
        try:
            text = read_file(path).decode("utf-8")
        except UnicodeDecodeError as e:
            raise ConfigError(path, "", "not UTF-8") from e
        if hash_of(text) != document.hash:
            raise ConfigError(path, "", f"its text is not that of hash {document.hash}")
        return text

    def stage(self, document: Version, text: str) -> None:
        """Put a document's text on disk. Raises StoreError."""
        path = self._path(document)
        with contextlib.suppress(ConfigError):
            if self.text(document) == text:
                return
        write_durably(path, text.encode("utf-8"))

    def write(self, kept: Kept) -> None:
        """Remember this from now on. Raises StoreError; what was remembered before then still is."""
        write_durably(self.folder / STATE, msgspec.json.encode(kept))

    def sweep(self, kept: Kept) -> None:
        """Delete documents that nothing points at."""
        wanted = {self._path(d).name for d in (kept.committed, kept.previous, kept.trial and kept.trial.document) if d}
        with contextlib.suppress(OSError):
            for path in self.folder.glob("*.toml"):
                if path.name not in wanted:
                    path.unlink(missing_ok=True)

    def _path(self, document: Version) -> Path:
        return self.folder / f"{document.version}.toml"


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file so that a power cut leaves the old one or the new one. Raises StoreError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_file(path, data)
    except OSError as e:
        raise StoreError(str(path), (e.strerror or str(e)).lower()) from e


def install(state_dir: Path, version: int, text: str) -> None:
    """Begin with a configuration that came with the enrolment: in force at the first start, without a trial.

    One that is in force already stays. Raises StoreError.
    """
    keep = Keep(state_dir)
    if keep.read().committed:
        return
    document = Version(version, hash_of(text))
    keep.stage(document, text)
    keep.write(Kept(committed=document, told=Outcome(ConfigPhase.IN_FORCE, version, document.hash)))
