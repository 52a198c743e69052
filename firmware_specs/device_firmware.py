"""What a gateway and a device say to each other about firmware: our protocol for devices that we update.

Owns the messages; `docs/firmware.md` is for those who build devices. Over MQTT they are JSON below the device's topic:
the gateway publishes `begin`, `chunk/<offset>` (the bytes themselves), `end` and `ask`; the device publishes `ack` and
`status`. Over CoAP a GET of the firmware resource gives `Standing`. An image is known by the first 16 hex digits of its
SHA-256. Pure: bytes in, values out; raises FrameError on anything else.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, TypeVar

import msgspec

from firmware_specs.errors import FrameError

MAX_MESSAGE_BYTES: Final = 4096
MAX_IMAGE_BYTES: Final = 64 * 1024 * 1024
BEGIN: Final = "begin"
CHUNK: Final = "chunk"
END: Final = "end"
ASK: Final = "ask"
ACK: Final = "ack"
STATUS: Final = "status"

_Offset = Annotated[int, msgspec.Meta(ge=0, le=MAX_IMAGE_BYTES)]
_Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}$")]
_Version = Annotated[str, msgspec.Meta(max_length=64)]
_Reason = Annotated[str, msgspec.Meta(max_length=500)]


def image_id(sha256: str) -> str:
    """How an image is called."""
    return sha256[:16]


class Begin(msgspec.Struct, frozen=True):
    """Gateway to device: an image is there for it. chunk: bytes of a chunk; the last one may be shorter."""

    id: _Id
    version: _Version
    model: _Version
    size: _Offset
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    chunk: Annotated[int, msgspec.Meta(ge=1, le=65536)]


class End(msgspec.Struct, frozen=True):
    """Gateway to device: that was all; check it, take it over and restart."""

    id: _Id
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class AckState(StrEnum):
    """How a device stands with an image."""

    RECEIVING = "receiving"
    VERIFIED = "verified"
    """All of it is there and its hash holds; the device restarts now."""
    INSTALLED = "installed"
    """It runs already."""
    REFUSED = "refused"
    """It will not have it; the reason says why."""


class Ack(msgspec.Struct, frozen=True):
    """Device to gateway, after `begin`, a chunk or `end`. next: the offset that it wants now: it has all before."""

    id: _Id
    next: _Offset = 0
    state: AckState = AckState.RECEIVING
    reason: _Reason = ""


class Status(msgspec.Struct, frozen=True):
    """Device to gateway, at each start (retained is welcome), when asked, and when it could not take an image over.

    version: what runs now. failed: why the last image was left again.
    """

    version: _Version
    model: _Version = ""
    failed: _Reason = ""


class Standing(msgspec.Struct, frozen=True):
    """Device to gateway over CoAP, by GET. id, next: the image that it holds a part of, and from where to go on."""

    version: _Version
    id: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{16})?$")] = ""
    next: _Offset = 0
    failed: _Reason = ""


_M = TypeVar("_M", Begin, End, Ack, Status, Standing)


def encode(message: _M) -> bytes:
    """A message as JSON."""
    return msgspec.json.encode(message)


def decode(payload: bytes, kind: type[_M], source: str) -> _M:
    """A message of a kind. Raises FrameError, naming the source, when the payload is none."""
    if len(payload) > MAX_MESSAGE_BYTES:
        raise FrameError(source, MAX_MESSAGE_BYTES, f"{len(payload)} bytes, more than {MAX_MESSAGE_BYTES}")
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise FrameError(source, 0, f"not a firmware {kind.__name__.lower()}: {e}") from e
