"""Every error of PatrolGrid; its class says what the caller does about it.

Owns the hierarchy under `PatrolError`. A library's error is wrapped once, with `raise ... from`.
Each message is one line that names the thing and the cause.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class PatrolError(Exception):
    """The root of every error that PatrolGrid raises on purpose."""


class ConfigError(PatrolError):
    """A configuration file cannot be used: stop, or keep the last good one."""

    def __init__(self, file: Path | str, key: str, reason: str) -> None:
        self.file = str(file)
        self.key = key
        self.reason = reason
        super().__init__(f"{file}: {key}: {reason}" if key else f"{file}: {reason}")


class ProfileError(PatrolError):
    """A profile cannot be used: refuse that profile, run the rest."""

    def __init__(self, file: Path | str, key: str, reason: str) -> None:
        self.file = str(file)
        self.key = key
        self.reason = reason
        super().__init__(f"{file}: {key}: {reason}" if key else f"{file}: {reason}")


class FrameError(PatrolError):
    """A device frame cannot be decoded: count it, keep a sample, go on.

    offset: the byte at which decoding failed, counted from 0.
    """

    def __init__(self, source: str, offset: int, reason: str) -> None:
        self.source = source
        self.offset = offset
        self.reason = reason
        super().__init__(f"{source}: byte {offset}: {reason}")


class PackError(PatrolError):
    """A wire pack cannot be accepted: dead-letter it with the reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"pack refused: {reason}")


class LinkError(PatrolError):
    """An endpoint cannot be reached or fell silent: retry with backoff."""

    def __init__(self, endpoint: str, reason: str) -> None:
        self.endpoint = endpoint
        self.reason = reason
        super().__init__(f"{endpoint}: {reason}")


class OutboxFull(PatrolError):  # noqa: N818 - the design's name; it states a condition, not a failure
    """The outbox's byte budget is spent: apply the stated policy and report.

    limit_bytes: the budget that was reached.
    """

    def __init__(self, limit_bytes: int, reason: str) -> None:
        self.limit_bytes = limit_bytes
        self.reason = reason
        super().__init__(f"outbox full at {limit_bytes} bytes: {reason}")


class EnrolmentRefused(PatrolError):  # noqa: N818 - the design's name; it states what happened
    """A gateway gets no certificate: ask a human, trying again changes nothing."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"enrolment refused: {reason}")


class StoreError(PatrolError):
    """A database or disk refused: retry, and meanwhile say so."""

    def __init__(self, store: str, reason: str) -> None:
        self.store = store
        self.reason = reason
        super().__init__(f"{store}: {reason}")


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint such as ` (did you mean "baud"?)`, or the list of valid names when none is near."""
    names = sorted(valid)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f' (did you mean "{close[0]}"?)'
    return f" (one of: {', '.join(names)})" if names else ""
