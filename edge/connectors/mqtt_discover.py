"""Listening for strangers on a broker: a link beside the connector's own, without a session, with QoS 0.

Owns that link. It acknowledges nothing and hands on no reading, so whatever it hears or misses changes nothing for the
devices; what a device publishes is left to the connector.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

import structlog

from edge.mqttlink import mqtt_link
from firmware_specs.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.config import MqttConfig
    from edge.connectors.base import Noted
    from edge.mqttclient import Message

RETRY_S: Final = 30.0
"""The longest wait between two tries; nobody waits for a stranger."""
_SUFFIX: Final = "-discover"
_log: structlog.stdlib.BoundLogger = structlog.get_logger("discover")


def listener_id(client_id: str) -> str:
    """What the broker knows this link by: another name than the connector's, also when that takes all 64 characters."""
    return client_id[: 64 - len(_SUFFIX)] + _SUFFIX


async def listen(config: MqttConfig, client_id: str, known: Callable[[bytes], bool], noted: Noted) -> None:
    """Note what is published under `config.discover` and is not known, until cancelled."""

    def heard(messages: list[Message]) -> None:
        for topic, payload, *_ in messages:
            if payload and not known(topic):
                noted(config.name, config.kind, topic.decode("utf-8", "replace"), payload)

    while True:
        try:
            async with mqtt_link(config, listener_id(client_id), heard, v5=config.version == "5", clean=True) as link:
                await link.subscribe([(topic, 0) for topic in config.discover])
                await link.keep_alive()
        except LinkError as e:
            _log.info("not listening for new devices", connector=config.name, reason=str(e))
        await asyncio.sleep(random.uniform(0, RETRY_S))  # noqa: S311 - jitter
