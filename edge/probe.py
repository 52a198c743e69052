"""Hearing devices beside the agent: connectors that keep nothing and take nothing away from it.

Owns how `check` and `listen` borrow a connector: on a broker they come under another name, without a session and with
QoS 0, so that no message meant for the agent is acknowledged; a CoAP sensor that waits for an answer is told
to try again, because nothing here is put on disk.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

from edge.config import MqttConfig
from edge.connectors import Shared, build_connector
from edge.normalise import DeviceTracks, normalise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edge.binding import Plan
    from edge.clock import GatewayClock
    from edge.config import ConnectorConfig
    from edge.connectors.base import Connector
    from firmware_specs.errors import FrameError
    from firmware_specs.readings import Reading, Sample


class ProbeSink:
    """Normalises what is heard and hands it on; keeps nothing, so nothing is acknowledged."""

    is_full = False

    def __init__(
        self,
        plan: Plan,
        clock: GatewayClock,
        heard: Callable[[Sequence[Reading]], None],
        refused: Callable[[str, bytes, str], None],
    ) -> None:
        self._tracks: Mapping[str, DeviceTracks] = {d: DeviceTracks(d, p) for d, p in plan.profiles.items()}
        self._clock = clock
        self._heard = heard
        self._refused = refused

    def accept(
        self,
        device: str,
        samples: Sequence[Sample],
        committed: Callable[[bool], None] | None = None,
        mark: int = 0,  # noqa: ARG002 - a repeat is of no interest here
    ) -> None:
        """See `Sink`."""
        tracks = self._tracks.get(device)
        if tracks:
            self._heard([reading for reading, _ in normalise(tracks, samples, self._clock.now())])
        if committed:
            committed(False)

    def refuse(self, device: str, frame: bytes, error: FrameError) -> None:
        """See `Sink`."""
        self._refused(device, frame, str(error))

    async def ready(self) -> None:
        """See `Sink`: always."""

    def hold(self) -> None:
        """See `GroupSink`: there are no groups."""

    def release(self) -> None:
        """See `GroupSink`: there are no groups."""

    def after_commit(self, callback: Callable[[], None]) -> None:
        """See `GroupSink`: nothing is ever committed."""


def borrowed(plan: Plan, name: str) -> Connector:
    """The connector of that name, made harmless to the agent's own. Raises ProfileError as `build_connector` does."""
    config: ConnectorConfig = next(c for c in plan.config.connectors if c.name == name)
    if isinstance(config, MqttConfig):
        other = f"{plan.config.gateway}-{name}"[:48] + f"-probe-{os.getpid()}"
        config = config.model_copy(update={"client_id": other, "qos": 0, "session_expiry_s": 0})
    return build_connector(config, plan.devices[name], Shared(plan.config.gateway, deque(maxlen=1)))
