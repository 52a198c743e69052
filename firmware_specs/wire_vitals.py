"""What a gateway tells of the machine it runs on, within its status: what the fleet's health is judged from.

Every field has a default that says that it is not known. Times are milliseconds UTC by the gateway's clock.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import msgspec

from firmware_specs.wire_items import MAX_MS

MAX_STARTS: Final = 20
MAX_DAYS: Final = 10
_Ms = Annotated[int, msgspec.Meta(ge=0, le=MAX_MS)]
_Bytes = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Line = Annotated[str, msgspec.Meta(max_length=256)]


class StartReason(StrEnum):
    """Why the agent had to start: how its last run ended."""

    FIRST = "first"
    """There was no run before, or nothing is known of it."""
    STOP = "stop"
    """It was told to stop and did."""
    CRASH = "crash"
    """An error of its own ended it."""
    KILL = "kill"
    """It was gone without a word and the machine ran on: killed, or out of memory."""
    WATCHDOG = "watchdog"
    """The service manager ended it because a part of it did not answer."""
    POWER = "power"
    """The machine started anew without having stopped it: the power failed, or the kernel did."""


UNCLEAN: Final = frozenset({StartReason.CRASH, StartReason.KILL, StartReason.WATCHDOG, StartReason.POWER})


class Start(msgspec.Struct, frozen=True):
    """A start of the agent. detail: the class of the error after a crash."""

    at_ms: _Ms
    reason: StartReason
    detail: _Line = ""


class Vitals(msgspec.Struct, frozen=True):
    """Of the machine and of the agent on it.

    clock_offset_ms: what the kernel is still correcting. disk_free, disk_size: bytes of the state folder's disk.
    written: bytes written by day (days since 1970, UTC), the running day last; of the whole disk, or of the agent alone
    when written_by says `process`. written_budget: bytes a day. certificate_until_ms, certificate_from_ms: of our own
    certificate. renewal: why its renewal failed. memory: resident bytes of the agent. under_voltage: whether the board
    says that its supply is too weak. starts: the latest, the oldest first.
    """

    uptime_s: _Bytes | None = None
    clock_offset_ms: Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)] | None = None
    disk_free: _Bytes | None = None
    disk_size: _Bytes | None = None
    written: Annotated[tuple[tuple[_Bytes, _Bytes], ...], msgspec.Meta(max_length=MAX_DAYS)] = ()
    written_by: _Line = ""
    written_budget: _Bytes | None = None
    certificate_from_ms: _Ms | None = None
    certificate_until_ms: _Ms | None = None
    renewal: _Line = ""
    memory: _Bytes | None = None
    under_voltage: bool | None = None
    starts: Annotated[tuple[Start, ...], msgspec.Meta(max_length=MAX_STARTS)] = ()
