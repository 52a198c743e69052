"""The files of the update repository: where each is, reading what is in force, writing whole, one writer at a time.

Owns the layout below `<data_dir>/updates`. Readers need no lock: every file but the timestamp is named by its version
or its hash and never changes, and the timestamp is what makes the rest count. Knows nothing of keys or ceremonies.

    metadata/  1.root.json, 7.targets.json, 9.snapshot.json, timestamp.json      what is served
    targets/   <folder>/<sha256>.<name>                                          what is served
    staged/    root.json, targets.json                                           drafts, signed by and by
    keys/      snapshot-<id>.pem, timestamp-<id>.pem                             the online keys
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from cloud.errors import NotFound
from firmware_specs.durable import write_file
from firmware_specs.errors import StoreError
from firmware_specs.release import Target, release_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

S = TypeVar("S", Root, Targets, Snapshot, Timestamp)
_SERIALIZER: Final = JSONSerializer(compact=False)


class Files:
    """See the module."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metadata = folder / "metadata"
        self.targets_folder = folder / "targets"
        self.staged = folder / "staged"
        self.keys = folder / "keys"

    @property
    def exists(self) -> bool:
        """Whether a root is in force."""
        return self.newest("root") > 0

    @property
    def published(self) -> bool:
        """Whether a gateway could read it."""
        return (self.metadata / "timestamp.json").exists()

    def root(self) -> Metadata[Root]:
        """The root in force. Raises NotFound when there is none."""
        version = self.newest("root")
        if not version:
            raise NotFound(f"{self.folder}: no root is in force; `patrol-cloud release init`, then `root-sign`")
        return self.load(self.metadata / f"{version}.root.json", Root)

    def root_text(self) -> str:
        """The root in force as it is served."""
        return (self.metadata / f"{self.root().signed.version}.root.json").read_text(encoding="utf-8")

    def timestamp(self) -> Metadata[Timestamp]:
        """Raises NotFound before the first publication."""
        if not self.published:
            raise NotFound(f"{self.folder}: nothing is published; `patrol-cloud release publish`")
        return self.load(self.metadata / "timestamp.json", Timestamp)

    def snapshot(self) -> Metadata[Snapshot]:
        """The snapshot that the timestamp names."""
        version = self.timestamp().signed.snapshot_meta.version
        return self.load(self.metadata / f"{version}.snapshot.json", Snapshot)

    def targets(self) -> Metadata[Targets]:
        """The targets that the snapshot names."""
        version = self.snapshot().signed.meta["targets.json"].version
        return self.load(self.metadata / f"{version}.targets.json", Targets)

    def versions(self) -> dict[str, int]:
        """By role, the version in force."""
        return {role: held.version for role, held in self._in_force().items()}

    def expiries(self) -> dict[str, datetime]:
        """By role, when what is in force expires."""
        return {role: held.expires for role, held in self._in_force().items()}

    def _in_force(self) -> dict[str, Root | Targets | Snapshot | Timestamp]:
        found: dict[str, Root | Targets | Snapshot | Timestamp] = {"root": self.root().signed}
        if self.published:
            found["targets"] = self.targets().signed
            found["snapshot"] = self.snapshot().signed
            found["timestamp"] = self.timestamp().signed
        return found

    def listed(self) -> list[Target]:
        """What is published, by path."""
        if not self.published:
            return []
        return listed_in(self.targets().signed)

    def drafted(self) -> list[Target] | None:
        """What the next publication would list, None when nothing is changed."""
        held = self.targets_draft()
        return listed_in(held.signed) if held else None

    def root_draft(self) -> Metadata[Root] | None:
        """The next root while it waits for signatures."""
        path = self.staged / "root.json"
        held = self.load(path, Root) if path.exists() else None
        return held if held and held.signed.version == self.newest("root") + 1 else None

    def targets_draft(self) -> Metadata[Targets] | None:
        """The next list of targets while it is made ready."""
        path = self.staged / "targets.json"
        held = self.load(path, Targets) if path.exists() else None
        before = self.targets().signed.version if self.published else 0
        return held if held and held.signed.version == before + 1 else None

    def file_of(self, target: Target) -> Path:
        """Where a target's bytes are."""
        folder, slash, name = target.path.rpartition("/")
        return self.targets_folder / f"{folder}{slash}{target.sha256}.{name}"

    def newest(self, role: str) -> int:
        """The highest version of a role that is there, 0 for none."""
        return max((version_of(path) for path in self.metadata.glob(f"*.{role}.json")), default=0)

    def load(self, path: Path, kind: type[S]) -> Metadata[S]:
        """Metadata of a kind. Raises StoreError."""
        try:
            held: Metadata[S] = Metadata.from_bytes(path.read_bytes())
        except OSError as e:
            raise StoreError(str(path), (e.strerror or str(e)).lower()) from e
        except DeserializationError as e:
            raise StoreError(str(path), f"not metadata: {e.__cause__ or e}") from e
        if not isinstance(held.signed, kind):
            raise StoreError(str(path), f"holds {held.signed.type}")
        return held

    def write(self, path: Path, held: Metadata[Any]) -> None:
        """Put metadata in place, whole or not at all. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, bytes_of(held), 0o644)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One writer at a time, of all processes."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def bytes_of(held: Metadata[Any]) -> bytes:
    """Metadata as it is written."""
    return held.to_bytes(_SERIALIZER)


def meta_of(version: int, data: bytes) -> MetaFile:
    """How other metadata names these bytes."""
    return MetaFile(version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})


def version_of(path: Path) -> int:
    """The version that a file is named by."""
    number = path.name.partition(".")[0]
    return int(number) if number.isdigit() else 0


def sha256_of(path: Path) -> str:
    """The digest of a file, hex. Raises OSError."""
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def listed_in(targets: Targets) -> list[Target]:
    """The targets of metadata, by path. Raises UpdateRejected when one's fields are not whole."""
    return [
        Target(path, file.length, file.hashes["sha256"], release_of(path, file.custom))
        for path, file in sorted(targets.targets.items())
    ]
