"""The profiles that this cloud displays and judges by, loaded once.

A process has one catalogue; `use` is called by the entry point when the configuration names a folder of its own.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from firmware_specs.load import load_profiles

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_specs.errors import ProfileError
    from firmware_specs.schema import Profile

_folders: list[Path] = []


@cache
def _loaded() -> tuple[dict[str, Profile], list[ProfileError]]:
    return load_profiles(*_folders)


def use(folder: Path | None) -> list[ProfileError]:
    """Load the built-in profiles and those of a folder. Gives an error for each that was refused; the rest run."""
    _folders[:] = [folder] if folder else []
    _loaded.cache_clear()
    return _loaded()[1]


def profile(name: str) -> Profile | None:
    """A profile by name; None when this cloud does not know it."""
    return _loaded()[0].get(name)


def profiles() -> dict[str, Profile]:
    """Every profile by name."""
    return _loaded()[0]
