"""What is signed about a release: the custom fields of a target, and which of two versions is the newer.

Owns the fields that `patrol-cloud release add` writes and a gateway reads once the signatures hold, the one comparison
of versions, and the names that a target may have. Pure: whoever fetches, signs or installs asks here.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec

from firmware_specs.errors import UpdateRejected
from firmware_specs.readings import NAME_PATTERN

AGENT_MODEL: Final = "agent"
ANY_PLATFORM: Final = "any"
MAX_TARGET_BYTES: Final = 512 * 1024 * 1024
_TARGET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}(?:/[A-Za-z0-9][A-Za-z0-9._+-]{0,99}){0,3}")
_VERSION: Final = re.compile(
    r"""v?(?P<release>\d{1,9}(?:\.\d{1,9}){0,5})
    (?:[-_.]?(?P<stage>alpha|beta|preview|pre|rc|a|b|c)[-_.]?(?P<count>\d{0,9}(?:\.\d{1,9}){0,3}))?
    (?:[-_.]?(?:post|rev|r)[-_.]?(?P<post>\d{1,9}))?
    (?:[-_.]?dev[-_.]?(?P<dev>\d{0,9}))?
    (?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?""",
    re.VERBOSE,
)
_STAGES: Final = {"alpha": 1, "a": 1, "beta": 2, "b": 2, "preview": 3, "pre": 3, "rc": 3, "c": 3}
_FINAL: Final = 4
_DEVELOPMENT: Final = 0
_NO_DEVELOPMENT: Final = 2**31


class ReleaseKind(StrEnum):
    """What a target is for."""

    AGENT = "agent"
    FIRMWARE = "firmware"


class Release(msgspec.Struct, frozen=True):
    """What is signed beside a target's length and hash.

    model: which device profile it is for, `agent` for the agent. requires: the least agent version that may take it,
    empty for any. platform: `any`, or what `platform_of` gives on the machine that it runs on. notes: for people.
    """

    kind: ReleaseKind
    model: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
    version: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    requires: Annotated[str, msgspec.Meta(max_length=64)] = ""
    platform: Annotated[str, msgspec.Meta(max_length=64)] = ANY_PLATFORM
    notes: Annotated[str, msgspec.Meta(max_length=2000)] = ""


class Target(msgspec.Struct, frozen=True):
    """A target as the signed metadata names it. sha256: hex."""

    path: str
    size: int
    sha256: str
    release: Release

    @property
    def kind(self) -> ReleaseKind:
        """What it is for."""
        return self.release.kind

    @property
    def model(self) -> str:
        """Which model it is for."""
        return self.release.model

    @property
    def version(self) -> str:
        """Its version."""
        return self.release.version


def version_key(version: str) -> tuple[tuple[int, ...], int, tuple[int, ...], int, int]:
    """What sorts versions as PEP 440 and semantic versioning do; trailing zeros and build metadata do not count.

    Raises ValueError on what is neither.
    """
    found = _VERSION.fullmatch(version.lower())
    if found is None:
        raise ValueError(f"{version[:64]!r} is not a version such as 1.4.2, 2.0rc1 or 2.0.0-beta.3")
    release = _trimmed(found["release"])
    post = -1 if found["post"] is None else int(found["post"])
    dev = _NO_DEVELOPMENT if found["dev"] is None else int(found["dev"] or 0)
    stage = _STAGES[found["stage"]] if found["stage"] else _FINAL
    if stage == _FINAL and post < 0 and found["dev"] is not None:
        stage = _DEVELOPMENT
    count = tuple(int(part) for part in (found["count"] or "").split(".") if part)
    return release, stage, count, post, dev


def _trimmed(release: str) -> tuple[int, ...]:
    numbers = [int(part) for part in release.split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def is_older(version: str, than: str) -> bool:
    """Whether a version comes before another. Raises ValueError on what is no version."""
    return version_key(version) < version_key(than)


def same_version(one: str, other: str) -> bool:
    """Whether both are one version, however they are written; what is no version is compared as text."""
    try:
        return version_key(one) == version_key(other)
    except ValueError:
        return one == other


def target_name(path: str) -> str:
    """The path of a target, when it is one that may be. Raises UpdateRejected."""
    if not _TARGET.fullmatch(path):
        raise UpdateRejected(f"{path[:120]!r} is not the path of a target")
    return path


def release_of(path: str, custom: dict[str, Any] | None) -> Release:
    """The signed fields of a target. Raises UpdateRejected when they are not whole."""
    try:
        release = msgspec.convert(custom or {}, Release)
        version_key(release.version)
        if release.requires:
            version_key(release.requires)
    except (msgspec.ValidationError, ValueError) as e:
        raise UpdateRejected(f"{path[:120]}: what is signed about it is not whole: {e}") from e
    if (release.kind is ReleaseKind.AGENT) != (release.model == AGENT_MODEL):
        raise UpdateRejected(f"{path[:120]}: {release.kind} for the model {release.model}")
    return release


def check_fits(release: Release, *, kind: ReleaseKind, model: str, version: str, agent: str) -> None:
    """Whether a release is what was ordered, for this model and this agent. Raises UpdateRejected saying why not.

    version: as ordered. agent: the version of the agent that runs. Whether it is older than what the thing runs is
    the caller's to ask.
    """
    if release.kind is not kind:
        raise UpdateRejected(f"it is {release.kind}, not {kind}")
    if release.model != model:
        raise UpdateRejected(f"it is for the model {release.model}, not {model}")
    if version_key(release.version) != version_key(version):
        raise UpdateRejected(f"it is version {release.version}, {version} was ordered")
    if release.requires and is_older(agent, release.requires):
        raise UpdateRejected(f"it needs agent {release.requires}, this one is {agent}")


def platform_of(system: str, machine: str) -> str:
    """The tag of a platform, such as `linux-x86_64`."""
    return f"{system}-{machine}".lower()
