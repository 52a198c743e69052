"""A peer: the shortest gateway that one would write with paho: copy every message from south to north, keep nothing.

Usage: copyloop.py SOUTH_PORT NORTH_PORT
"""

from __future__ import annotations

import sys
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion


def main() -> None:
    """Copy until killed."""
    south_port, north_port = (int(text) for text in sys.argv[1:])
    north = Client(CallbackAPIVersion.VERSION2, "copy-north", clean_session=False)
    north.max_inflight_messages_set(1000)
    north.max_queued_messages_set(0)
    north.reconnect_delay_set(1, 2)
    south = Client(CallbackAPIVersion.VERSION2, "copy-south", clean_session=False)
    south.reconnect_delay_set(1, 2)

    def connected(client: Client, *_: object) -> None:
        client.subscribe("sensors/#", 1)

    def copy(_client: Client, _data: object, message: Any) -> None:  # noqa: ANN401 - paho's message
        north.publish(message.topic, message.payload, 1)

    south.on_connect = connected
    south.on_message = copy
    north.connect_async("127.0.0.1", north_port)
    north.loop_start()
    south.connect("127.0.0.1", south_port)
    south.loop_forever(retry_first_connection=True)


if __name__ == "__main__":
    main()
