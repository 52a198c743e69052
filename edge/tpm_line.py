"""A TLS connection by a key in the TPM, kept by a process of its own (see `edge.tpm` for why).

Owns that process: `open_line` starts it and gives a socket on which the plain bytes go, like any connected one; the
process connects, proves the gateway, says in one line how that went, and carries bytes until either side ends. When the
agent is gone its socket is, and so is the process. It runs this file alone, without the package: see `_main`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import selectors
import socket
import ssl
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_READY: Final = "ready"
_CHUNK: Final = 65536
_LONGER_S: Final = 1.0
"""Beyond the process's own deadline: it ends by that unless the chip holds it."""


def open_line(  # noqa: PLR0917 - what it takes to reach a server
    host: str, port: int, trusted: str, cert: Path, key: Path, timeout_s: float
) -> socket.socket:
    """A connected socket to a server that proved itself by `trusted` (PEM; empty: the system's) for its host's name.

    Blocks up to timeout_s. Raises OSError with what went wrong in its text.
    """
    from edge.tpm import environment  # noqa: PLC0415 - the process that runs this file has no package

    asked = [host, port, trusted, str(cert), str(key), timeout_s]
    near, far = socket.socketpair()
    try:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, json.dumps(asked)],
            stdin=far.fileno(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(),
        )  # fmt: skip
    except OSError:
        near.close()
        raise
    finally:
        far.close()
    # It ends by itself once the socket is closed; somebody must have waited for it, or it stays as a zombie.
    threading.Thread(target=child.wait, name="tpm-line", daemon=True).start()
    said = _first_line(child, timeout_s + _LONGER_S)
    if said == _READY:
        return near
    near.close()
    raise OSError(said or "the TPM did not answer in time")


def _first_line(child: subprocess.Popen[bytes], timeout_s: float) -> str:
    assert child.stdout  # noqa: S101 - a pipe was asked for
    with child.stdout, selectors.DefaultSelector() as waiting:
        waiting.register(child.stdout, selectors.EVENT_READ)
        if waiting.select(timeout_s):
            return child.stdout.readline().decode("utf-8", "replace").strip()
    child.kill()
    return ""


def _context(trusted: str, cert: str, key: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=trusted or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
    except ssl.SSLError as e:
        raise OSError(f"{key}: the TPM does not give this key, or {cert} is of another key") from e
    except OSError as e:
        raise OSError(f"{cert}: {(e.strerror or str(e)).lower()}") from e
    return context


async def _carry(  # noqa: PLR0917 - as they were sent
    host: str, port: int, trusted: str, cert: str, key: str, timeout_s: float
) -> None:
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(
            host, port, ssl=_context(trusted, cert, key), ssl_handshake_timeout=timeout_s
        )
    near_reader, near_writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=os.dup(0)))
    os.close(0)
    _say(_READY)
    raw: socket.socket = writer.get_extra_info("socket")

    def answer_at_once() -> None:
        # As `BatchClient.quick`: a broker with Nagle's algorithm waits for the acknowledgement of each segment.
        if hasattr(socket, "TCP_QUICKACK"):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    ways = [
        asyncio.ensure_future(_copy(near_reader, writer, lambda: None)),
        asyncio.ensure_future(_copy(reader, near_writer, answer_at_once)),
    ]
    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, then: Callable[[], None]) -> None:
    """One way, to its end; what was read is sent before the other side is closed."""
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            then()
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _main() -> None:
    """argv: the parameters of `_carry` as JSON. stdin: the agent's socket. stdout: one line."""
    try:
        asyncio.run(_carry(*json.loads(sys.argv[1])))
    except OSError as e:
        _say(_words(e))


if __name__ == "__main__":
    _main()
