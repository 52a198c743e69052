"""Check one profile: that it loads, and that its golden file holds.

Owns what a checked file comes to in one line. Profiles of a protocol that data cannot describe are decoded by the
edge's codecs, which are not known here: their golden file is read, and decoded by the tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from firmware_specs.codec import decoder
from firmware_specs.errors import ProfileError
from firmware_specs.golden import golden_path, load_golden, mismatches
from firmware_specs.layouts import NamedCodec
from firmware_specs.load import load_profile

if TYPE_CHECKING:
    from pathlib import Path


class Checked(NamedTuple):
    """What a file came to. frames: how many of its golden file were decoded. note: what was not done, and why."""

    file: Path
    errors: list[str]
    frames: int = 0
    note: str = ""

    @property
    def line(self) -> str:
        """The result in one line."""
        if self.errors:
            more = f" (and {len(self.errors) - 1} more)" if len(self.errors) > 1 else ""
            return f"FAIL {self.errors[0]}{more}"
        return f"ok   {self.file}: {self.note or f'{self.frames} golden frames'}"


def check_profile(path: Path) -> Checked:
    """Check a profile and, when it is there, its golden file."""
    golden_file = golden_path(path)
    try:
        profile = load_profile(path)
        if not golden_file.exists():
            return Checked(path, [], note=f"no golden file {golden_file.parent.name}/{golden_file.name}")
        golden = load_golden(golden_file)
    except ProfileError as e:
        return Checked(path, [str(e)])
    if isinstance(profile.codec, NamedCodec):
        note = f"{len(golden.frames)} golden frames read; the edge's codec {profile.codec.name!r} decodes them"
        return Checked(path, [], note=note)
    decode = decoder(profile)
    errors = [f"{golden_file}: {line}" for frame in golden.frames for line in mismatches(frame, golden.now_ms, decode)]
    return Checked(path, errors, frames=len(golden.frames))
