"""One connection to one MQTT broker, driven by asyncio without a thread.

Owns the socket (resolve, connect, TLS, all under one deadline), writing, keep-alive, and the words for every way a
broker can refuse us; when it is read is `mqttbeat`'s. A link is used once: when it is lost, a new one is made.
Knows nothing of what is published or heard. Raises LinkError only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.config import read_secret
from edge.mqttbeat import Beat
from edge.mqttclient import MAX_PACKET_BYTES, BatchClient, Message
from firmware_specs.errors import ConfigError, LinkError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from paho.mqtt.reasoncodes import ReasonCode


class Endpoint(Protocol):
    """What it takes to reach a broker; `edge.config` has two."""

    @property
    def url(self) -> str: ...  # noqa: D102
    @property
    def host_port(self) -> tuple[str, int]: ...  # noqa: D102
    @property
    def tls(self) -> bool: ...  # noqa: D102
    @property
    def user(self) -> str | None: ...  # noqa: D102
    @property
    def password_file(self) -> Path | None: ...  # noqa: D102
    @property
    def ca(self) -> Path | None: ...  # noqa: D102
    @property
    def cert(self) -> Path | None: ...  # noqa: D102
    @property
    def key(self) -> Path | None: ...  # noqa: D102
    @property
    def keepalive_s(self) -> int: ...  # noqa: D102
    @property
    def connect_timeout_s(self) -> float: ...  # noqa: D102


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """TLS 1.2 or newer, the broker's certificate and name verified. Raises LinkError naming the file."""
    file = endpoint.ca
    try:
        context = ssl.create_default_context(cafile=str(file) if file else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        file = endpoint.cert
        if file and endpoint.key:
            context.load_cert_chain(str(file), str(endpoint.key))
    except ssl.SSLError as e:
        raise LinkError(endpoint.url, f"{file}: not a usable PEM file ({e.reason or 'no certificate in it'})") from e
    except OSError as e:
        raise LinkError(endpoint.url, f"{file}: {e.strerror}") from e
    return context


async def open_socket(endpoint: Endpoint) -> socket.socket:
    """A connected, non-blocking socket, encrypted when the endpoint asks for it. Raises LinkError."""
    if endpoint.tls and endpoint.cert and endpoint.key and _in_tpm(endpoint.key):
        return await asyncio.to_thread(_by_tpm, endpoint, endpoint.cert, endpoint.key)
    try:
        async with asyncio.timeout(endpoint.connect_timeout_s):
            return await _connect(endpoint)
    except TimeoutError as e:
        raise LinkError(endpoint.url, f"no answer within {endpoint.connect_timeout_s:g} s") from e


def _in_tpm(key: Path) -> bool:
    from edge import tpm  # noqa: PLC0415 - only where there are keys

    with contextlib.suppress(OSError):  # which `tls_context` reports
        return tpm.holds(key)
    return False


def _by_tpm(endpoint: Endpoint, cert: Path, key: Path) -> socket.socket:
    from edge.tpm_line import open_line  # noqa: PLC0415 - only where there is a TPM

    try:
        trusted = endpoint.ca.read_text(encoding="ascii") if endpoint.ca else ""
        ready = open_line(*endpoint.host_port, trusted, cert, key, endpoint.connect_timeout_s)
    except UnicodeDecodeError as e:
        raise LinkError(endpoint.url, f"{endpoint.ca}: not a usable PEM file") from e
    except OSError as e:
        raise LinkError(endpoint.url, f"{e.filename}: {e.strerror}" if e.filename else str(e)) from e
    ready.setblocking(False)
    return ready


async def _connect(endpoint: Endpoint) -> socket.socket:
    loop = asyncio.get_running_loop()
    host, port = endpoint.host_port
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as e:
        raise LinkError(endpoint.url, f"{host}: {e.strerror}") from e
    cause: OSError = ConnectionRefusedError()
    for family, kind, protocol, _, address in found:
        raw = socket.socket(family, kind, protocol)
        try:
            raw.setblocking(False)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(raw, address)
            return await _encrypt(endpoint, raw, host) if endpoint.tls else raw
        except OSError as e:
            raw.close()
            cause = e
        except BaseException:
            raw.close()
            raise
    raise LinkError(endpoint.url, _words(cause)) from cause


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    # The event loop words its own errors around the address; the number says what happened.
    return (os.strerror(error.errno) if error.errno else str(error) or type(error).__name__).lower()


async def _encrypt(endpoint: Endpoint, raw: socket.socket, host: str) -> ssl.SSLSocket:
    loop = asyncio.get_running_loop()
    wrapped = tls_context(endpoint).wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False)
    while True:
        turn: asyncio.Future[None] = loop.create_future()
        try:
            wrapped.do_handshake()
        except ssl.SSLWantReadError:
            loop.add_reader(wrapped, _wake, turn)
        except ssl.SSLWantWriteError:
            loop.add_writer(wrapped, _wake, turn)
        except BaseException:
            wrapped.close()
            raise
        else:
            return wrapped
        try:
            await turn
        finally:
            loop.remove_reader(wrapped)
            loop.remove_writer(wrapped)


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


class MqttLink:
    """A connection that was accepted. Made by `mqtt_link`."""

    def __init__(self, endpoint: Endpoint, client: BatchClient, sock: socket.socket, *, v5: bool) -> None:
        self._endpoint = endpoint
        self._v5 = v5
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._fd = sock.fileno()
        """Kept apart: the client closes a broken socket before it says so, and a closed one has lost its number."""
        self._writing = False
        self._beat = Beat(self._fd, self._read)
        self.client = client
        self.session_present = False
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Ends with the LinkError when the connection is gone."""
        self._accepted: asyncio.Future[None] = self._loop.create_future()
        self._subscribed: dict[int, asyncio.Future[list[ReasonCode]]] = {}
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe

    async def start(self) -> None:
        """Send CONNECT and wait for the answer. Raises LinkError."""
        self._beat.start()
        self.client.start(self._sock)
        self.flush()
        try:
            async with asyncio.timeout(self._endpoint.connect_timeout_s):
                await self._accepted
        except TimeoutError as e:
            raise LinkError(self._endpoint.url, "the broker did not answer CONNECT") from e

    async def subscribe(self, topics: Sequence[tuple[str, int]]) -> None:
        """Subscribe and wait until the broker granted all. Raises LinkError naming a topic that it refused."""
        if self._v5:
            # Retained messages come once, when the subscription is new: an old word is no sign of life.
            new_only = SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
            options = [(t, SubscribeOptions(qos=qos, retainHandling=new_only)) for t, qos in topics]
            rc, mid = self.client.subscribe(options)
        else:
            rc, mid = self.client.subscribe(list(topics))
        if mid is None:
            if self.lost.done():
                await self.lost
            raise LinkError(self._endpoint.url, paho.error_string(rc))
        answer = self._subscribed[mid] = self._loop.create_future()
        self.flush()
        try:
            async with asyncio.timeout(self._endpoint.connect_timeout_s):
                await asyncio.wait({answer, self.lost}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError as e:
            raise LinkError(self._endpoint.url, "the broker did not answer SUBSCRIBE") from e
        if not answer.done():
            await self.lost
        for (topic, _), code in zip(topics, answer.result(), strict=False):
            if code.is_failure:
                raise LinkError(self._endpoint.url, f"subscription to {topic} refused: {code}")

    def unsubscribe(self, topic: str) -> None:
        """Hear a topic no more; what is under way still comes."""
        self.client.unsubscribe(topic)
        self.flush()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish with QoS 1; the connection's loss is how a failure shows."""
        self.client.send(topic.encode(), payload, retain=retain)
        if self.client.want_write():
            self.flush()

    def publish_pack(self, topic: bytes, payload: bytes, content_type: bytes, user: list[tuple[str, str]]) -> None:
        """Publish with QoS 1 and user properties."""
        self.client.send(topic, payload, content_type=content_type, user=user)
        if self.client.want_write():
            self.flush()

    def acknowledge(self, mids: Sequence[int], *, later: bool = False) -> None:
        """PUBACK these messages; `later` with the next publish."""
        self.client.acknowledge(mids, later=later)
        if self.client.want_write():
            self.flush()

    def flush(self) -> None:
        """Write what is queued, and the rest when the socket takes more."""
        if self.client.want_write() and not self.lost.done():
            self.client.loop_write()
        waiting = self.client.want_write() and not self.lost.done()
        if waiting != self._writing:
            self._writing = waiting
            if waiting:
                self._loop.add_writer(self._fd, self.flush)
            else:
                self._loop.remove_writer(self._fd)

    def _read(self) -> int:
        """Read what is there; how many messages that was."""
        before = self.client.heard
        self.client.loop_read()
        if self.client.want_write():
            self.flush()
        return self.client.heard - before

    def pause(self) -> None:
        """Stop reading; the broker is held back by TCP."""
        self._beat.pause()

    def resume(self) -> None:
        """Read on after `pause`."""
        self._beat.resume()

    async def keep_alive(self) -> None:
        """Ping as agreed until the link is lost. Raises LinkError."""
        while not self.lost.done():
            self.client.loop_misc()
            self.flush()
            await asyncio.wait({self.lost}, timeout=min(5.0, self._endpoint.keepalive_s / 4))
        await self.lost

    def close(self, graceful: bool) -> None:
        """Leave; without grace the broker publishes our will."""
        self._beat.stop()
        self._loop.remove_writer(self._fd)
        self.client.on_disconnect = None
        if graceful and not self.lost.done():
            self.client.disconnect()
            self.client.loop_write()
        with contextlib.suppress(OSError):
            self._sock.close()
        self.lost.cancel()
        self._accepted.cancel()
        for answer in self._subscribed.values():
            answer.cancel()

    def _on_connect(
        self, _client: paho.Client, _data: object, flags: paho.ConnectFlags, code: ReasonCode, _p: Properties | None
    ) -> None:
        self.session_present = flags.session_present
        if self._accepted.done():
            return
        if code.is_failure:
            self._accepted.set_exception(LinkError(self._endpoint.url, f"refused by the broker: {str(code).lower()}"))
        else:
            self._accepted.set_result(None)

    def _on_disconnect(
        self, _client: paho.Client, _data: object, flags: paho.DisconnectFlags, code: ReasonCode, _p: Properties | None
    ) -> None:
        self._beat.stop()
        self._loop.remove_writer(self._fd)
        said = f"the broker ended it: {str(code).lower()}" if flags.is_disconnect_packet_from_server else ""
        cause = said or self.client.cause or str(code).lower()
        error = LinkError(self._endpoint.url, cause)
        for future in (self._accepted, self.lost):
            if not future.done():
                future.set_exception(error)
                future.exception()

    def _on_subscribe(
        self, _client: paho.Client, _data: object, mid: int, codes: list[ReasonCode], _p: Properties | None
    ) -> None:
        answer = self._subscribed.pop(mid, None)
        if answer and not answer.done():
            answer.set_result(codes)


@asynccontextmanager
async def mqtt_link(
    endpoint: Endpoint,
    client_id: str,
    on_messages: Callable[[list[Message]], None],
    *,
    v5: bool = True,
    clean: bool = False,
    session_expiry_s: int = 0,
    receive_maximum: int = 65535,
    will: tuple[str, bytes] | None = None,
    quick: bool = False,
) -> AsyncIterator[MqttLink]:
    """Connect, and disconnect at the end: with grace when the block ends well, without when it raises.

    will: topic and retained payload. quick: see `BatchClient.quick`. Raises LinkError with the real cause.
    """
    client = BatchClient(client_id, v5, clean, on_messages)
    client.quick = quick
    if endpoint.user:
        client.username_pw_set(endpoint.user, _password(endpoint))
    if will:
        client.will_set(will[0], will[1], 1, True)
    host, port = endpoint.host_port
    if v5:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho's gap
        properties.SessionExpiryInterval = session_expiry_s
        properties.ReceiveMaximum = receive_maximum
        properties.MaximumPacketSize = MAX_PACKET_BYTES
        client.connect_async(host, port, endpoint.keepalive_s, clean_start=clean, properties=properties)
    else:
        client.connect_async(host, port, endpoint.keepalive_s)
    link = MqttLink(endpoint, client, await open_socket(endpoint), v5=v5)
    graceful = False
    try:
        await link.start()
        yield link
        graceful = True
    except asyncio.CancelledError:
        graceful = True
        raise
    finally:
        link.close(graceful)


def _password(endpoint: Endpoint) -> str | None:
    if endpoint.password_file is None:
        return None
    try:
        return read_secret(endpoint.password_file, "password_file")
    except ConfigError as e:
        raise LinkError(endpoint.url, str(e)) from e
