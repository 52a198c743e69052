"""What a connector is, and what it hands on.

Owns the two protocols between the south side and the rest of the gateway. A connector knows its endpoint and its
devices; it never knows the outbox, the uplink or the rules. Library types stop inside the connector's module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from firmware_specs.errors import FrameError
    from firmware_specs.readings import Sample
    from firmware_specs.schema import Profile


class DeviceBinding(NamedTuple):
    """A configured device of one connector. address: what the connector calls it; `*` the only one of a line."""

    id: str
    profile: Profile
    address: str


class Sink(Protocol):
    """Where a connector puts what it heard. Both methods are quick, never block and never raise."""

    def accept(self, device: str, samples: Sequence[Sample], committed: Callable[[bool], None] | None = None) -> None:
        """Take the samples of one frame of one device; `committed` follows the group commit that holds them."""

    def refuse(self, device: str, frame: bytes, error: FrameError) -> None:
        """Count a frame that could not be decoded and keep it as a sample for the technician.

        device: its id, or the connector's name when the frame belongs to no known device.
        """

    async def ready(self) -> None:
        """Return when more can be taken; a connector that can pause its peer awaits this before reading on."""


class Noted(Protocol):
    """Whom a connector tells of an address that it hears and no device has. Quick, never blocks, never raises."""

    def __call__(self, connector: str, kind: str, address: str, frame: bytes, /) -> None:
        """A frame of it; on an opcua connector a JSON object of browse names and values."""


def unnoted(connector: str, kind: str, address: str, frame: bytes) -> None:
    """Whom nobody asked."""


class Connector(Protocol):
    """One south-side endpoint."""

    name: str

    async def run(self, sink: Sink, started: Callable[[], None]) -> None:
        """Serve the endpoint until cancelled; call `started` each time the link is up.

        Raises LinkError when the endpoint cannot be reached or was lost; the supervisor then calls again.
        """
