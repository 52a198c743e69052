"""One signed POST to one address that was looked at before.

Speaks HTTP/1.1 over a connection that is made to the address; Host header, SNI and certificate are those of the name.
No proxy, no cookies, no redirects: a 3xx is a failure. At most 4 KiB of the answer is read, and everything together
takes no longer than its time-out, however slowly the other side talks.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from firmware_specs.errors import LinkError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping, Sequence

    from cloud.alerts.notify.targets import Target

ANSWER_BYTES: Final = 4096


class Answer(NamedTuple):
    """What the other side said."""

    status: int
    text: str


def post(
    target: Target, addresses: Sequence[str], body: bytes, headers: Mapping[str, str], *, timeout_s: float,
    context: ssl.SSLContext,
) -> Answer:  # fmt: skip
    """Send it. Raises LinkError when nobody answered in time, or not in HTTP."""
    ends = time.monotonic() + timeout_s
    try:
        with contextlib.closing(_connect(target, addresses, ends)) as plain, _cut_at(plain, ends):
            sock = context.wrap_socket(plain, server_hostname=target.host) if target.secure else plain
            with contextlib.closing(sock):
                answer = _talk(target, sock, context, body, headers)
        if time.monotonic() >= ends:  # what was cut may look whole: headers end where the connection does
            raise TimeoutError
    except (OSError, http.client.HTTPException, ValueError) as e:
        if time.monotonic() >= ends:
            raise LinkError(target.host, f"no whole answer within {timeout_s:g} s") from e
        raise LinkError(target.host, getattr(e, "strerror", None) or str(e) or type(e).__name__) from e
    return answer


def _connect(target: Target, addresses: Sequence[str], ends: float) -> socket.socket:
    """To the first address that answers, within the time that is left."""
    last: OSError = TimeoutError("timed out")
    for address in addresses:
        left = ends - time.monotonic()
        if left <= 0:
            break
        try:
            return socket.create_connection((address, target.port), timeout=left)
        except OSError as e:
            last = e
    raise last


@contextlib.contextmanager
def _cut_at(plain: socket.socket, ends: float) -> Iterator[None]:
    """Cut the connection when its time is up: a time-out of a socket starts anew with every byte."""
    file = plain.dup()  # TLS takes the socket over; the connection behind stays the same

    def cut() -> None:
        with contextlib.suppress(OSError):
            file.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, ends - time.monotonic()), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        file.close()


def _talk(
    target: Target, sock: socket.socket, context: ssl.SSLContext, body: bytes, headers: Mapping[str, str]
) -> Answer:
    connection = (
        http.client.HTTPSConnection(target.host, target.port, context=context)
        if target.secure
        else http.client.HTTPConnection(target.host, target.port)
    )
    connection.sock = sock
    try:
        connection.request("POST", target.path, body, dict(headers))
        answer = connection.getresponse()
        text = answer.read(ANSWER_BYTES).decode("utf-8", "replace")
    finally:
        connection.close()
    return Answer(answer.status, text)
