"""The TLS port that gateways enrol at: a small HTTPS server with bounds on everything.

Owns sockets, threads and TLS. ASGI servers do not hand on the client's certificate, so this one is the standard
library's: one request a connection, at most 32 connections and 8 from one address, 16 KiB of body, 10 seconds of
silence and 30 in all. The handshake asks for a certificate and takes none too; one that is not of our authority or has
run out ends the handshake.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections import Counter
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Final

import structlog

from cloud.devices.enrolment import authority, claims, csr, serving
from cloud.devices.enrolment.est import PLAIN, Answer, Est, Request
from cloud.errors import RequestRefused
from cloud.state import now_ms
from cloud.threads import in_thread
from firmware_specs.errors import ConfigError, PatrolError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from cloud.config import Config
    from cloud.devices.settings import EstConfig
    from cloud.state import AppState

CONNECTIONS: Final = 32
FROM_ONE: Final = 8
SILENCE_S: Final = 10.0
WHOLE_S: Final = 30.0
LOOK_S: Final = 0.5
DRAINED: Final = 256 * 1024
"""Of a body that is too long: read and dropped, or the client would lose the answer by a reset."""
KEEP_EVERY_S: Final = 60.0
log: Final = structlog.get_logger("est")


def check(config: Config) -> None:
    """Look whether the listener could be served now, so that what is in its way is one line and not a dead task.

    Raises ConfigError, Invalid, LinkError.
    """
    if config.est:
        sock, _, _ = _prepared(config, config.est)
        sock.close()


def _prepared(config: Config, est: EstConfig) -> tuple[socket.socket, authority.Authority, ssl.SSLContext]:
    from cloud.serve import listening  # noqa: PLC0415 - it builds the application, which this is a part of

    issuing = authority.of(config)
    context = tls(issuing)
    certify(context, issuing, config.data_dir / authority.FOLDER, est)
    return listening(est.bind), issuing, context


async def run(state: AppState) -> None:
    """Listen until cancelled; nothing to do without `[est]`. Raises ConfigError, Invalid, LinkError."""
    est = state.config.est
    if est is None:
        return
    sock, issuing, context = await in_thread(_prepared, state.config, est)
    url = url_of(est, sock.getsockname()[1])
    server = Server(Est(state.db, issuing, state.config), sock, context)
    server.start()
    try:
        await in_thread(_announce, state, url)
        log.info("gateways may enrol", address=url, fingerprint=issuing.fingerprint)
        said = ""
        while True:
            await asyncio.sleep(KEEP_EVERY_S)
            fault = await in_thread(_keep, server, state.config, est)
            if fault and fault != said:
                log.error("the authority and the listener's certificate are kept as they are", error=fault)
            said = fault
    finally:
        server.stop()


def _keep(server: Server, config: Config, est: EstConfig) -> str:
    """Take an authority that was renewed and a certificate that is due; what is in the way, empty when nothing is."""
    try:
        issuing = authority.of(config)
        if issuing.issuers != server.est.authority.issuers:
            server.context.load_verify_locations(cadata=issuing.chain_pem())
            server.est = replace(server.est, authority=issuing)
        certify(server.context, issuing, config.data_dir / authority.FOLDER, est)
    except PatrolError as e:
        return str(e)
    return ""


def _announce(state: AppState, url: str) -> None:
    with state.db.begin() as tx:
        claims.announce(tx, url)


def url_of(est: EstConfig, port: int) -> str:
    """Where gateways reach the listener."""
    host = serving.hosts_of(est)[0]
    return est.public_url or f"https://{f'[{host}]' if ':' in host else host}:{port}"


def tls(issuing: authority.Authority) -> ssl.SSLContext:
    """A context that asks for a certificate of our authority, and does not insist."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=issuing.chain_pem())
    # Nothing is resumed: who shows a certificate is looked at each time.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context


def certify(context: ssl.SSLContext, issuing: authority.Authority, folder: Path, est: EstConfig) -> None:
    """Give the context the listener's own certificate, a new one when the old is near its end.

    Raises ConfigError, Invalid, StoreError.
    """
    files = serving.ensure(issuing, folder / serving.FOLDER, serving.EST, serving.hosts_of(est), authority.now())
    try:
        context.load_cert_chain(files.chain, files.key)
    except OSError as e:
        raise ConfigError(files.chain, "", f"cannot be served with {files.key.name}: {e.strerror or e}") from e


class Server:
    """Accepts, admits and ends connections. Each has a thread of its own."""

    def __init__(self, est: Est, sock: socket.socket, context: ssl.SSLContext) -> None:
        self.est = est
        self._sock = sock
        self.context = context
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[ssl.SSLSocket, tuple[str, float, threading.Thread]] = {}
        self._loop = threading.Thread(target=self._accept, name="est-accept")

    def start(self) -> None:
        """Begin to accept."""
        self._sock.settimeout(LOOK_S)
        self._loop.start()

    def stop(self) -> None:
        """Cut whatever is open and wait for its threads."""
        self._stopping.set()
        _cut(self._sock)
        self._loop.join()
        self._sock.close()
        with self._lock:
            left = list(self._open.items())
        for connection, (_, _, thread) in left:
            _cut(connection)
            thread.join(SILENCE_S)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            self._reap(time.monotonic())
            try:
                plain, address = self._sock.accept()
            except TimeoutError:
                continue
            except OSError as e:
                if self._stopping.is_set():
                    return
                log.warning("a connection could not be taken", error=str(e))
                self._stopping.wait(LOOK_S)
                continue
            self._admit(plain, str(address[0]))

    def _admit(self, plain: socket.socket, address: str) -> None:
        with self._lock:
            counted = Counter(each for each, _, _ in self._open.values())
        if counted.total() >= CONNECTIONS or counted[address] >= FROM_ONE:
            log.warning("too many connections", address=address)
            plain.close()
            return
        plain.settimeout(SILENCE_S)
        try:
            connection = self.context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        except OSError:
            plain.close()  # gone before it began
            return
        thread = threading.Thread(target=self._serve, args=(connection, address), name="est-connection")
        with self._lock:
            self._open[connection] = (address, time.monotonic(), thread)
        thread.start()

    def _reap(self, now: float) -> None:
        with self._lock:
            old = [each for each, (_, since, _) in self._open.items() if now - since > WHOLE_S]
        for connection in old:
            _cut(connection)

    def _serve(self, connection: ssl.SSLSocket, address: str) -> None:
        try:
            connection.do_handshake()
            Handler(connection, (address, 0), self.est)  # type: ignore[arg-type] # it asks nothing of its server
        except (OSError, ValueError) as e:
            log.info("a connection ended early", address=address, error=str(e))
        finally:
            with self._lock:
                self._open.pop(connection, None)
            connection.close()


def _cut(connection: socket.socket) -> None:
    """End a socket under whoever waits for it. The TLS layer's own `shutdown` would drop its state meanwhile."""
    try:
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        return  # ended by itself


class Handler(BaseHTTPRequestHandler):
    """One request, read with bounds and answered by `Est`."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.1"
    server_version = "PatrolGrid"
    sys_version = ""
    timeout = SILENCE_S
    error_content_type = PLAIN
    error_message_format = "%(message)s\n"
    server: Est  # type: ignore[assignment]
    connection: ssl.SSLSocket

    def do_GET(self) -> None:
        """Answer."""
        self._answer()

    def do_POST(self) -> None:
        """Answer."""
        self._answer()

    def _answer(self) -> None:
        try:
            body = self._body() if self.command == "POST" else b""
            request = Request(
                self.command, self.path, self.client_address[0], self.headers.get("Authorization", ""), body,
                self.connection.getpeercert(binary_form=True) or b"",
            )  # fmt: skip
            answer = self.server.answer(request, now_ms())
        except _BodyRefusedError as e:
            answer = Answer(e.status, f"{e}\n".encode())
        except StoreError as e:
            log.warning("store refused", error=str(e))
            answer = Answer(503, b"a store cannot be reached now; try again\n", headers={"Retry-After": "5"})
        if answer.status >= 400:
            log.info("refused", status=answer.status, path=self.path[:200], address=self.client_address[0],
                     reason=answer.body.decode().strip())  # fmt: skip
        self._send(answer)

    def _body(self) -> bytes:
        stated = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not stated:
            raise _BodyRefusedError(411, "a Content-Length is needed")
        if not stated.isascii() or not stated.isdigit() or len(stated) > 18:
            raise _BodyRefusedError(400, "Content-Length: not a number")
        length = int(stated)
        if length > csr.MAX_BYTES:
            self.rfile.read(min(length, DRAINED))
            raise _BodyRefusedError(413, f"request: more than {csr.MAX_BYTES} bytes")
        return self.rfile.read(length)

    def _send(self, answer: Answer) -> None:
        self.close_connection = True
        self.send_response(answer.status)
        headers = {"Content-Type": answer.kind, "Content-Length": str(len(answer.body)), "Connection": "close"}
        for name, value in (headers | answer.headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nothing by itself: what is refused is logged with its reason, and never with what it carried."""


class _BodyRefusedError(RequestRefused):
    """A body that is not read."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)
