"""Agents that a broker's retained orders configure, and a cloud of the fewest lines: it acknowledges every pack."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from firmware_specs.errors import PackError
from firmware_specs.gateway_document import hash_of
from firmware_specs.wire import Ack, decode_header, encode_message, split_topic, topic
from firmware_specs.wire_fleet import ConfigOrder, ConfigState, decode, encode

if TYPE_CHECKING:
    from pathlib import Path

    from paho.mqtt.client import MQTTMessage


class Cloud:
    """Acknowledges what gateways send, orders, and remembers what they report."""

    def __init__(self, port: int) -> None:
        self.states: dict[str, ConfigState] = {}
        self.locations: dict[str, str] = {}
        """What each gateway says of where it stands: it is of the configuration that runs."""
        self.phases: dict[str, list[str]] = {}
        self.silent: set[str] = set()
        """Gateways that are not acknowledged."""
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = self._heard
        self._client.connect("127.0.0.1", port)
        for below in ("up/+", "reported", "reported/config"):
            self._client.subscribe(f"patrolgrid/v1/+/{below}", 1)
        self._client.loop_start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def order(self, gateway: str, version: int, text: str, trial_s: int = 5) -> ConfigOrder:
        order = ConfigOrder(version, hash_of(text), text, trial_s)
        self._client.publish(topic(gateway, "desired/config"), encode(order), 1, retain=True).wait_for_publish(5)
        return order

    def _heard(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        gateway, rest = split_topic(message.topic)
        if rest == "reported":
            own = [d for d in json.loads(message.payload)["devices"] if d["id"] == gateway]
            self.locations[gateway] = own[0].get("location", "")
        elif rest == "reported/config":
            state = decode(bytes(message.payload), ConfigState)
            self.states[gateway] = state
            self.phases.setdefault(gateway, []).append(f"{state.phase} {state.version}")
        else:
            self._acknowledge(gateway, rest.removeprefix("up/"), message)

    def _acknowledge(self, gateway: str, lane: str, message: Any) -> None:  # noqa: ANN401 - paho's message
        try:
            if gateway in self.silent:
                return
            header, _ = decode_header(lane, message.properties.UserProperty)
        except PackError:
            return
        ack = Ack(header.epoch, header.lane, header.through)
        self._client.publish(topic(gateway, "ack"), encode_message(ack), 1)


def write_base(folder: Path, gateway: str, port: int) -> Path:
    """The own file of a managed gateway; its state folder is `state` beside it."""
    folder.mkdir()
    path = folder / "gateway.toml"
    path.write_text(
        f'gateway = "{gateway}"\nstate_dir = "state"\nmanaged = true\n[uplink]\nurl = "mqtt://127.0.0.1:{port}"\n'
        "backoff_max_s = 0.3\nconnect_timeout_s = 2.0\n"
    )
    return path
