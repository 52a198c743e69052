"""Where versions of the agent lie, which of them runs, and which may.

Owns the install folder. Each step is one rename on a synced disk, so after a power cut the one or the other version
is named, never half of one. What is not committed is on trial: the launcher counts its starts and goes back.

    versions/<name>/       an unpacked bundle; `bin/patrol-edge` is what is started
    current                link to what runs at the next start; `base`, or none: what the package installed
    committed              link to what has proven healthy; the launcher goes back to it
    previous               link to what was committed before that
    trial                  of `current` while it is not committed: its starts, its time, why it was given up

Only the standard library: the launcher must start when nothing else does.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Final, NamedTuple

from firmware_specs.durable import remove_file, sync_folder, write_file

if TYPE_CHECKING:
    from pathlib import Path

BASE: Final = "base"
"""The agent of the package, which no update replaces."""
ENTRY: Final = "bin/patrol-edge"
INSTALL_DIR: Final = "PATROL_INSTALL_DIR"
SLOT: Final = "PATROL_SLOT"
GUARD: Final = "PATROL_GUARD"
DEFAULT_TRIAL_S: Final = 300
_SEAL: Final = ".target"


class Trial(NamedTuple):
    """How the version that is not committed stands. attempts: starts so far. reason: why it was given up, if it was."""

    name: str
    attempts: int = 0
    trial_s: int = DEFAULT_TRIAL_S
    reason: str = ""


class Slots:
    """See the module. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.versions = folder / "versions"

    def named(self, link: str) -> str:
        """What a link names: a version, or `base`."""
        try:
            name = (self.folder / link).readlink().name
        except OSError:
            return BASE
        return name or BASE

    @property
    def current(self) -> str:
        """What runs at the next start."""
        return self.named("current")

    @property
    def committed(self) -> str:
        """What has proven healthy."""
        return self.named("committed")

    @property
    def previous(self) -> str:
        """What was committed before."""
        return self.named("previous")

    def point(self, link: str, name: str) -> None:
        """Have a link name a version."""
        beside = self.folder / f".{link}.new"
        beside.unlink(missing_ok=True)
        beside.symlink_to(BASE if name == BASE else f"versions/{name}")
        beside.replace(self.folder / link)
        sync_folder(self.folder)

    def place(self, name: str) -> Path:
        """The folder of a version."""
        return self.versions / name

    def entry(self, name: str) -> Path:
        """The program of a version."""
        return self.place(name) / ENTRY

    def runnable(self, name: str) -> bool:
        """Whether a version can be started."""
        return name == BASE or os.access(self.entry(name), os.X_OK)

    def sealed(self, name: str) -> str:
        """The digest of the bundle that a version was unpacked from, empty when it is not whole."""
        try:
            return (self.place(name) / _SEAL).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def fresh(self) -> Path:
        """An empty folder to unpack into; what an interrupted try left is gone."""
        self.versions.mkdir(parents=True, exist_ok=True, mode=0o755)
        new = self.versions / ".new"
        if new.exists():
            shutil.rmtree(new)
        new.mkdir(mode=0o755)
        return new

    def take_in(self, new: Path, name: str, digest: str) -> None:
        """Make an unpacked folder a version; one of that name that nothing runs is replaced."""
        write_file(new / _SEAL, digest.encode(), 0o644)
        place = self.place(name)
        if place.exists():
            old = self.versions / ".old"
            shutil.rmtree(old, ignore_errors=True)
            place.rename(old)
            sync_folder(self.versions)
        new.rename(place)
        sync_folder(self.versions)

    def sweep(self) -> None:
        """Delete every version that no link names."""
        named = {self.current, self.committed, self.previous}
        for path in self.versions.glob("*") if self.versions.is_dir() else ():
            if path.name not in named:
                shutil.rmtree(path, ignore_errors=True)

    def trial(self) -> Trial | None:
        """How the version that is not committed stands, None when nothing is known of it."""
        try:
            held = json.loads((self.folder / "trial").read_bytes())
            return Trial(str(held["name"]), int(held["attempts"]), int(held["trial_s"]), str(held["reason"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_trial(self, trial: Trial) -> None:
        """Keep how it stands, before anything is done by it."""
        write_file(self.folder / "trial", json.dumps(trial._asdict()).encode())

    def end_trial(self) -> None:
        """Forget it."""
        remove_file(self.folder / "trial")
