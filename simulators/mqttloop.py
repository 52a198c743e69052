"""Many MQTT 5 connections in one event loop: paho's protocol engine without its threads.

Owns the sockets' callbacks. A connection that is lost is tried again with the client's own back-off.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from firmware_specs.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MISC_S: Final = 1.0
_RETRY_S: Final = 2.0
_INFLIGHT: Final = 65535


class LoopClient:
    """One connection. Topics are subscribed again after every connect."""

    def __init__(  # noqa: PLR0917 - an endpoint, an identity and two callbacks
        self, host: str, port: int, client_id: str, topics: Sequence[str] = (),
        received: Callable[[str, bytes], None] = lambda _t, _p: None, connected: Callable[[], None] = lambda: None,
        *, will: tuple[str, bytes] | None = None,
    ) -> None:  # fmt: skip
        """topics: subscribed at QoS 1. received: called with topic and payload; connected: after each connect.

        will: topic and payload, retained.
        """
        self.host = host
        self.port = port
        self.is_connected = asyncio.Event()
        self._topics = tuple(topics)
        self._received = received
        self._connected = connected
        self._misc: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5)
        if will is not None:
            client.will_set(*will, qos=1, retain=True)
        client.max_inflight_messages_set(_INFLIGHT)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_register_write
        client.on_socket_unregister_write = self._on_unregister_write
        self._client = client

    async def start(self, timeout_s: float = 10.0) -> None:
        """Connect and subscribe. Raises LinkError when the broker cannot be reached in time."""
        self._loop = asyncio.get_running_loop()
        try:
            self._client.connect(self.host, self.port, keepalive=30, clean_start=True)
            async with asyncio.timeout(timeout_s):
                self._misc = asyncio.create_task(self._keep_alive(), name="mqtt-misc")
                await self.is_connected.wait()
        except (OSError, TimeoutError) as e:
            await self.stop()
            raise LinkError(f"mqtt://{self.host}:{self.port}", str(e) or "no answer") from e

    async def stop(self) -> None:
        """Disconnect."""
        await self._end(politely=True)

    async def drop(self) -> None:
        """Go without a word, as when the power is cut: the broker publishes the will."""
        await self._end(politely=False)

    async def _end(self, *, politely: bool) -> None:
        if self._misc is not None:
            self._misc.cancel()
            await asyncio.gather(self._misc, return_exceptions=True)
        if politely and self._client.is_connected():
            self._client.disconnect()
            self._client.loop_misc()
        sock = self._client.socket()
        if sock is not None:
            self._on_socket_close(self._client, None, sock)
            sock.close()

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False,
        user_properties: Sequence[tuple[str, str]] = (), content_type: str = "",
    ) -> bool:  # fmt: skip
        """Publish now; False when the connection is down."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if user_properties:
            properties.UserProperty = list(user_properties)
        if content_type:
            properties.ContentType = content_type
        plain = not user_properties and not content_type
        info = self._client.publish(topic, payload, qos, retain, None if plain else properties)
        return info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(_MISC_S)
            if self._client.loop_misc() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                await asyncio.sleep(_RETRY_S)
                try:
                    self._client.reconnect()
                except OSError:
                    continue

    def _on_connect(self, client: paho.Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:  # noqa: ANN401
        if reason.is_failure:
            return
        if self._topics:
            client.subscribe([(topic, 1) for topic in self._topics])
        else:
            self._ready()

    def _on_subscribe(self, *_: object) -> None:
        self._ready()

    def _ready(self) -> None:
        self.is_connected.set()
        self._connected()

    def _on_disconnect(self, *_: object) -> None:
        self.is_connected.clear()

    def _on_message(self, _c: paho.Client, _u: Any, message: paho.MQTTMessage) -> None:  # noqa: ANN401
        self._received(message.topic, bytes(message.payload))

    def _on_socket_open(self, client: paho.Client, _u: Any, sock: Any) -> None:  # noqa: ANN401
        asyncio.get_running_loop().add_reader(sock, client.loop_read)

    def _on_socket_close(self, _c: paho.Client, _u: Any, sock: Any) -> None:  # noqa: ANN401
        self._on_unregister_write(self._client, None, sock)
        if self._is_usable(sock) and self._loop is not None:
            self._loop.remove_reader(sock)

    def _on_register_write(self, client: paho.Client, _u: Any, sock: Any) -> None:  # noqa: ANN401
        asyncio.get_running_loop().add_writer(sock, client.loop_write)

    def _on_unregister_write(self, _c: paho.Client, _u: Any, sock: Any) -> None:  # noqa: ANN401
        if self._is_usable(sock) and self._loop is not None:
            self._loop.remove_writer(sock)

    def _is_usable(self, sock: Any) -> bool:  # noqa: ANN401
        # These are also called when the client is collected, perhaps after the loop's end.
        return self._loop is not None and not self._loop.is_closed() and sock.fileno() >= 0
