"""What a peer is: a real endpoint through which simulated devices speak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_specs.readings import Sample
    from simulators.device import Device


class Peer(Protocol):
    """An endpoint that several devices may share."""

    async def start(self) -> None:
        """Open the endpoint; it keeps trying to reach a far end that is not there yet."""

    async def send(self, device: Device, samples: Sequence[Sample], at_ms: int) -> None:
        """Say what a device has to say. Never waits for the far end longer than a moment."""

    async def stop(self) -> None:
        """Close the endpoint."""
