"""The wire of the fleet: what the cloud orders of a gateway beside what it is to hold to, and what comes of it.

Three kinds of orders wait at the broker, retained, each under a topic of its own, so that a shift that changes does not
send ten thousand devices again: `…/desired/config`, `…/desired/update`, `…/desired/firmware`. How each stands is told
under `…/reported/<the same>`, retained. Commands are `…/command/<id>`, retained until they are answered or expired;
answers are `…/result/<id>`. What a gateway hears and does not know is `…/discovered`, retained.

Pure: bytes in, values out. Raises PackError on anything that is not what its topic says, within its limits.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, TypeVar

import msgspec

from firmware_specs.errors import PackError
from firmware_specs.readings import NAME_PATTERN
from firmware_specs.wire_items import MAX_MS

CONFIG: Final = "config"
UPDATE: Final = "update"
FIRMWARE: Final = "firmware"
MAX_CONFIG_BYTES: Final = 2 * 1024 * 1024
"""Of a configuration's text: ten thousand devices fit."""
MAX_ORDER_BYTES: Final = 4 * 1024 * 1024
"""Of any message here."""
MAX_RESULT_TEXT: Final = 1024 * 1024
MAX_DISCOVERED: Final = 500

_Ms = Annotated[int, msgspec.Meta(ge=0, le=MAX_MS)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
_Line = Annotated[str, msgspec.Meta(max_length=2048)]


class ConfigOrder(msgspec.Struct, frozen=True):
    """Cloud to gateway, `…/desired/config`: the configuration that it is to run.

    version: rises by one a change. text: TOML with the tables of `gateway.toml` but its identity (`gateway`,
    `state_dir`). hash: the first 16 hex digits of the text's SHA-256. trial_s: a gateway that the cloud does not answer
    within this of the change goes back by itself.
    """

    version: _Count
    hash: _Line
    text: Annotated[str, msgspec.Meta(max_length=MAX_CONFIG_BYTES)]
    trial_s: Annotated[int, msgspec.Meta(ge=5, le=86400)] = 180


class ConfigPhase(StrEnum):
    """How an ordered configuration stands."""

    NONE = "none"
    """None was ever taken."""
    LOCAL = "local"
    """The gateway is configured by its own file and takes none."""
    TRIAL = "trial"
    IN_FORCE = "in-force"
    REFUSED = "refused"
    """It cannot be served; what was in force stays."""
    REVERTED = "reverted"
    """It was tried, and the gateway went back."""


class ConfigState(msgspec.Struct, frozen=True):
    """Gateway to cloud, `…/reported/config`. version, hash: of the order that phase and reason are about.

    running_version, running_hash: of what runs now.
    """

    phase: ConfigPhase
    version: _Count = 0
    hash: _Line = ""
    reason: _Line = ""
    at_ms: _Ms = 0
    running_version: _Count = 0
    running_hash: _Line = ""


TAKEN_BACK_MS: Final = 1
"""As the end of a start window: over on every clock."""


class UpdateOrder(msgspec.Struct, frozen=True):
    """Cloud to gateway, `…/desired/update`: the agent version that it is to run.

    campaign: which campaign orders it. target: path of the TUF target. metadata_url, targets_url: where the repository
    is. not_before_ms, ends_at_ms: the start window, ends_at_ms 0 for none; the same order with an end of TAKEN_BACK_MS
    takes it back. trial_s: a new version that is not healthy within this is left again. rollback: back to the version
    that was committed before; no other may be older.
    issued_ms: when it was given; what failed is tried again by one that was given later.
    """

    campaign: _Count
    target: _Line
    version: _Line
    metadata_url: _Line
    targets_url: _Line
    not_before_ms: _Ms = 0
    ends_at_ms: _Ms = 0
    trial_s: Annotated[int, msgspec.Meta(ge=5, le=86400)] = 300
    rollback: bool = False
    issued_ms: _Ms = 0


class UpdatePhase(StrEnum):
    """How an update stands, of the agent or of a device."""

    IDLE = "idle"
    WAITING = "waiting"
    """For its start window."""
    DOWNLOADING = "downloading"
    SENDING = "sending"
    """To the device."""
    STAGED = "staged"
    TRIAL = "trial"
    COMMITTED = "committed"
    REFUSED = "refused"
    """The same bytes are never tried again."""
    FAILED = "failed"
    ROLLED_BACK = "rolled-back"


ENDED: Final = frozenset({UpdatePhase.COMMITTED, UpdatePhase.REFUSED, UpdatePhase.FAILED, UpdatePhase.ROLLED_BACK})
"""Phases that nothing follows."""


class UpdateState(msgspec.Struct, frozen=True):
    """Gateway to cloud, `…/reported/update`: the last order and what runs now. done, size: bytes.

    ordered_ms: of a device's job, as it was ordered.
    """

    phase: UpdatePhase
    campaign: _Count = 0
    version: _Line = ""
    reason: _Line = ""
    at_ms: _Ms = 0
    running: _Line = ""
    done: _Count = 0
    size: _Count = 0
    ordered_ms: _Ms = 0


class FirmwareJob(msgspec.Struct, frozen=True):
    """New firmware for one device of a gateway. See UpdateOrder.

    ordered_ms: when; a job that has ended is done again only when it is ordered at another time. back: an older version
    is wanted.
    """

    campaign: _Count
    device: _Name
    target: _Line
    version: _Line
    not_before_ms: _Ms = 0
    ends_at_ms: _Ms = 0
    ordered_ms: _Ms = 0
    back: bool = False


class FirmwareOrder(msgspec.Struct, frozen=True):
    """Cloud to gateway, `…/desired/firmware`: all jobs that are wanted of it now."""

    jobs: Annotated[tuple[FirmwareJob, ...], msgspec.Meta(max_length=10_000)]
    metadata_url: _Line
    targets_url: _Line


class FirmwareState(msgspec.Struct, frozen=True):
    """Gateway to cloud, `…/reported/firmware`: by device, how its last job stands; `running` as the device says."""

    devices: dict[_Name, UpdateState]


class Command(msgspec.Struct, frozen=True):
    """Cloud to gateway, `…/command/<id>`. An expired or repeated one is refused and answered.

    gateway: whom it is for, empty for whoever hears it; a gateway refuses one that names another.
    """

    id: _Name
    kind: _Name
    issued_ms: _Ms
    expires_ms: _Ms
    arguments: Annotated[dict[_Line, _Line], msgspec.Meta(max_length=32)] = {}
    gateway: _Line = ""


class ResultPhase(StrEnum):
    """How a command stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    EXPIRED = "expired"


class Result(msgspec.Struct, frozen=True):
    """Gateway to cloud, `…/result/<id>`. part: counts from 0; all but the last are `running`. text: the output."""

    id: _Name
    phase: ResultPhase
    part: _Count = 0
    text: Annotated[str, msgspec.Meta(max_length=MAX_RESULT_TEXT)] = ""
    reason: _Line = ""
    at_ms: _Ms = 0


class DiscoveredDevice(msgspec.Struct, frozen=True):
    """An address that a connector hears and no device has. profiles: those that could read it, the best first."""

    connector: _Line
    kind: _Line
    address: _Line
    profiles: tuple[_Line, ...] = ()
    frames: _Count = 0
    first_ms: _Ms = 0
    last_ms: _Ms = 0
    sample: _Line = ""


class Discovered(msgspec.Struct, frozen=True):
    """Gateway to cloud, `…/discovered`, the latest heard first."""

    at_ms: _Ms
    devices: Annotated[tuple[DiscoveredDevice, ...], msgspec.Meta(max_length=MAX_DISCOVERED)]


_M = TypeVar(
    "_M", ConfigOrder, ConfigState, UpdateOrder, UpdateState, FirmwareOrder, FirmwareState, Command, Result, Discovered
)  # fmt: skip
_WORDS: Final[dict[type, str]] = {
    ConfigOrder: "configuration", ConfigState: "state of a configuration", UpdateOrder: "update",
    UpdateState: "state of an update", FirmwareOrder: "list of firmware jobs", FirmwareState: "state of firmware",
    Command: "command", Result: "result", Discovered: "list of discovered devices",
}  # fmt: skip


def encode(message: _M) -> bytes:
    """Any message of this module as JSON."""
    return msgspec.json.encode(message)


def decode(payload: bytes, kind: type[_M]) -> _M:
    """A message of a kind. Raises PackError when the payload is none."""
    if len(payload) > MAX_ORDER_BYTES:
        raise PackError(f"{_WORDS[kind]} of {len(payload)} bytes, more than {MAX_ORDER_BYTES}")
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise PackError(f"not a {_WORDS[kind]}: {e}") from e
