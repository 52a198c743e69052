"""The EST listener under clients that are slow, many or talk nonsense: everybody else is served."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from cloud.devices.enrolment import hsm, listener
from firmware_specs.errors import PatrolError
from tests.cloud.cloud_support import wait_for
from tests.enrolment.enrolment_support import Listening, curl, listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cloud.config import Config
    from cloud.db import Database

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def est(db: Database, configured: Callable[..., Config], tmp_path: Path) -> Iterator[Listening]:
    with listening(db, configured(est={"bind": "127.0.0.1:0"}), tmp_path) as found:
        yield found


def connect(est: Listening) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(est.url.rpartition(":")[2])), timeout=10)


def served(est: Listening) -> bool:
    return curl(est.trust, f"{est.url}/.well-known/est/cacerts")[0] == 200


def ended(idle: socket.socket) -> bool:
    """Waits until the other side has closed."""
    with contextlib.suppress(ConnectionResetError):
        return idle.recv(1) == b""
    return True


def test_one_address_holds_eight_connections_and_no_more(est: Listening) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(listener.FROM_ONE):
            stack.enter_context(connect(est))
        wait_for(lambda: not served(est), 10, "the bound")
        with connect(est) as ninth:
            assert ended(ninth)
    wait_for(lambda: served(est), 10, "room")


def test_a_client_that_says_nothing_is_cut(est: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "WHOLE_S", 0.1)
    with connect(est) as idle:
        assert ended(idle)


def test_a_stop_ends_what_is_open(db: Database, configured: Callable[..., Config], tmp_path: Path) -> None:
    with listening(db, configured(est={"bind": "127.0.0.1:0"}), tmp_path) as est:
        idle = connect(est)
        assert served(est)
    with idle:
        assert ended(idle)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("est-")]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"), (b"HEAD / HTTP/1.1\r\n\r\n", b"501"), (b"GET " + b"/" * 70_000, b"414"),
        (b"POST /.well-known/est/simpleenroll HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"431"),
    ],
)  # fmt: skip
def test_nonsense_is_answered_in_one_line(est: Listening, sent: bytes, status: bytes) -> None:
    trusting = ssl.create_default_context(cafile=str(est.trust))
    with connect(est) as plain, trusting.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped:
        wrapped.sendall(sent)
        answer = b""
        with contextlib.suppress(ConnectionResetError, ssl.SSLError):
            while part := wrapped.recv(65_536):
                answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status in head.split(b"\r\n")[0]
    assert b"<" not in body
    assert body.count(b"\n") <= 1


def test_a_token_that_cannot_be_asked_is_one_line(database_url: str, tmp_path: Path) -> None:
    pytest.importorskip("pkcs11", reason="python-pkcs11 (extra hsm) is not installed")
    with pytest.raises(PatrolError, match="token x") as caught:
        hsm.find(f"pkcs11:token=x;object=y?module-path={tmp_path / 'none.so'}", "1234")
    assert "\n" not in str(caught.value)
