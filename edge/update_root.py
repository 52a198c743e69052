"""Whose signatures on updates this gateway believes: the root that came with the enrolment.

Owns its place on the disk. A gateway that enrolled before there was an update repository asks for it once, at the
server that it enrolled at, by its certificate; a root that is there is never replaced but by what it has signed itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from firmware_specs.durable import write_file
from firmware_specs.errors import ConfigError, EnrolmentRefused, StoreError, UpdateRejected

ROOT_FILE: Final = Path("updates") / "root.json"
"""Below the state folder."""


def keep(state_dir: Path, root: str) -> None:
    """Keep the root that the cloud told, unless there is one. Raises OSError."""
    file = state_dir / ROOT_FILE
    if root and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_file(file, root.encode())


def trusted(state_dir: Path) -> bytes:
    """The root; blocks when it has to be asked for.

    Raises UpdateRejected when there is nobody to believe, LinkError when the cloud cannot be asked, StoreError.
    """
    file = state_dir / ROOT_FILE
    try:
        if not file.exists():
            keep(state_dir, _asked(state_dir))
        return file.read_bytes()
    except OSError as e:
        raise StoreError(str(file), (e.strerror or str(e)).lower()) from e


def _asked(state_dir: Path) -> str:
    from edge.est import EstClient  # noqa: PLC0415 - loads cryptography
    from edge.identity import CA, Identity  # noqa: PLC0415

    current = Identity(state_dir).current()
    origin = current.origin() if current else None
    if current is None or origin is None:
        raise UpdateRejected("no update root: this gateway was not enrolled")
    try:
        client = EstClient(origin.url)
        client.trust_pem((current.folder / CA).read_text(encoding="ascii"))
        root = client.bootstrap(current.cert, current.key).update_root
    except (EnrolmentRefused, ConfigError) as e:
        raise UpdateRejected(f"no update root: {e}") from e
    if not root:
        raise UpdateRejected(f"no update root: {origin.url} has none")
    return root
