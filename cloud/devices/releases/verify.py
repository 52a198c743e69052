"""Whether a gateway would take what is published: the whole repository, read as a gateway reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Root

from cloud.devices.releases.files import listed_in, sha256_of
from cloud.errors import NotFound
from firmware_specs.errors import StoreError, UpdateRejected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from tuf.api.metadata import Metadata

    from cloud.devices.releases.files import Files


def verify(files: Files, now: datetime) -> list[str]:
    """What a gateway would refuse, in sentences; empty when all of it holds, every target's bytes too."""
    try:
        return [*_roots(files, now), *(_rest(files, now) if files.published else ["nothing is published"])]
    except (StoreError, NotFound, RepositoryError, UpdateRejected, OSError, KeyError) as e:
        return [str(e)]


def _roots(files: Files, now: datetime) -> Iterator[str]:
    before: Root | None = None
    for version in range(1, files.newest("root") + 1):
        held = files.load(files.metadata / f"{version}.root.json", Root)
        if not held.signed.get_root_verification_result(before, held.signed_bytes, held.signatures):
            yield f"root {version}: not signed by enough keys"
        before = held.signed
    if before is None:
        yield "no root is in force"
    elif before.is_expired(now):
        yield f"root {before.version}: expired {before.expires:%Y-%m-%d}"


def _rest(files: Files, now: datetime) -> Iterator[str]:
    root = files.root().signed
    timestamp, snapshot, targets = files.timestamp(), files.snapshot(), files.targets()
    held: tuple[tuple[str, Metadata[Any]], ...] = (
        ("timestamp", timestamp), ("snapshot", snapshot), ("targets", targets),
    )  # fmt: skip
    for role, metadata in held:
        if not root.get_verification_result(role, metadata.signed_bytes, metadata.signatures):
            yield f"{role} {metadata.signed.version}: not signed by enough keys"
        if metadata.signed.is_expired(now):
            yield f"{role} {metadata.signed.version}: expired {metadata.signed.expires:%Y-%m-%d %H:%M} UTC"
    timestamp.signed.snapshot_meta.verify_length_and_hashes(
        (files.metadata / f"{snapshot.signed.version}.snapshot.json").read_bytes()
    )
    snapshot.signed.meta["targets.json"].verify_length_and_hashes(
        (files.metadata / f"{targets.signed.version}.targets.json").read_bytes()
    )
    for target in listed_in(targets.signed):
        path = files.file_of(target)
        if not path.is_file() or path.stat().st_size != target.size or sha256_of(path) != target.sha256:
            yield f"{target.path}: its bytes are not those that are signed"
