"""Find, read and check profiles.

Owns the built-in folder and the order of folders. A bad profile is refused by itself: its error names the file and
the key, and the others are still used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from firmware_specs.codec import decoder
from firmware_specs.errors import ProfileError
from firmware_specs.layouts import NamedCodec
from firmware_specs.schema import Profile
from firmware_specs.tomlfile import load_toml

BUILTIN: Final = Path(__file__).parent / "profiles"
"""The profiles that come with PatrolGrid."""


def load_profile(path: Path) -> Profile:
    """Read one profile. Raises ProfileError naming the file, the key and the cause."""
    profile = load_toml(path, Profile, ProfileError)
    if profile.profile != path.stem:
        raise ProfileError(path, "profile", f"{profile.profile!r} is not the file's name {path.stem!r}")
    if not isinstance(profile.codec, NamedCodec):
        try:
            decoder(profile)
        except ProfileError as e:
            raise ProfileError(path, e.key, e.reason) from e
    return profile


def load_profiles(*folders: Path) -> tuple[dict[str, Profile], list[ProfileError]]:
    """The built-in profiles and those of further folders, by name; and an error for each that was refused.

    A profile in a later folder replaces one of the same name. A bad replacement leaves the earlier one in force.
    """
    profiles: dict[str, Profile] = {}
    errors: list[ProfileError] = []
    for folder in (BUILTIN, *folders):
        if not folder.is_dir():
            errors.append(ProfileError(folder, "", "no such folder"))
            continue
        for path in sorted(folder.glob("*.toml")):
            try:
                profile = load_profile(path)
            except ProfileError as e:
                errors.append(e)
            else:
                profiles[profile.profile] = profile
    return profiles, errors
