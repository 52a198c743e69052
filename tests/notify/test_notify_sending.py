"""Sending to receivers that really listen: signatures, pinned addresses, re-binding, redirects, slowness, mail (S6)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import socket
import threading
import time
from email import message_from_string
from email.header import decode_header, make_header
from typing import TYPE_CHECKING, Any

import pytest

from cloud.alerts.notify import apprises, guard, texts, webhook
from cloud.alerts.notify.models import Status
from cloud.alerts.notify.sender import Sender
from cloud.alerts.notify.targets import Kind, parse
from cloud.errors import Invalid
from cloud.org.rules import Role
from firmware_specs.errors import LinkError
from tests.cloud.cloud_support import NOW
from tests.notify.notify_support import SECRET, Work, channel, listed, message, put
from tests.notify.receivers import Drip, Hooks, Mail, tls_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cloud.config import Config
    from cloud.db import Database


def test_a_webhook_is_signed_and_names_its_delivery(
    db: Database, configured: Callable[..., Config], hooks: Hooks
) -> None:
    config = configured(notify={"allow_hosts": [hooks.host]})
    channel(db, hooks.url, [hooks.host], language="en")
    assert put(db, message()) == [1]
    assert Work(config, db).drain() == 1
    (got,) = hooks.got
    at, _, given = got.headers["X-PatrolGrid-Signature"].partition(",v1=")
    assert at == f"t={NOW // 1000}"
    assert given == hmac.new(SECRET.encode(), f"{NOW // 1000}.".encode() + got.body, hashlib.sha256).hexdigest()
    (sent,) = listed(db)
    assert got.headers["X-PatrolGrid-Delivery"] == got.data["delivery"] == f"{sent.id}-{NOW}"
    assert got.headers["Host"] == hooks.host
    assert got.path == "/hook"
    assert (got.data["title"], got.data["subject"], got.data["attempt"]) == ("Major alarm: Smoke, 3 号楼", "alarm", 1)
    assert (sent.status, sent.receipt, sent.attempts) == (Status.SENT, "HTTP 200: ok", 1)


def test_a_refusal_is_tried_again_under_the_same_name_and_given_up_at_last(
    db: Database, configured: Callable[..., Config], hooks: Hooks
) -> None:
    config = configured(notify={"allow_hosts": [hooks.host]})
    channel(db, hooks.url, [hooks.host])
    hooks.answer = lambda _: (503, {}, b"later")
    put(db, message())
    work = Work(config, db)
    waits = []
    while work.drain():
        (row,) = listed(db)
        if row.next_at is not None:
            due = round(row.next_at.timestamp() * 1000)
            waits.append((due - work.now) // 1000)
            work.now = due
    assert waits == [10, 20, 40, 80, 160, 320, 640, 1280, *[1800] * 6]
    assert (row.status, row.attempts, row.receipt) == (Status.FAILED, 15, "HTTP 503: later")
    assert len({got.headers["X-PatrolGrid-Delivery"] for got in hooks.got}) == 1


def test_redirects_are_not_followed_S6(db: Database, configured: Callable[..., Config], hooks: Hooks) -> None:
    config = configured(notify={"allow_hosts": [hooks.host]})
    channel(db, hooks.url, [hooks.host])
    hooks.answer = lambda _: (307, {"Location": f"http://{hooks.host}/elsewhere"}, b"")
    put(db, message())
    Work(config, db).look()
    assert [got.path for got in hooks.got] == ["/hook"]
    (row,) = listed(db)
    assert (row.status, row.receipt) == (Status.WAITING, "HTTP 307: a redirect, which is not followed")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "240.0.0.1", "::1", "::ffff:127.0.0.1",
     "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1", "fd00::1"],
)  # fmt: skip
def test_a_name_that_resolves_to_what_is_not_public_is_refused_whole_S6(address: str) -> None:
    asked: list[str] = []

    def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["93.184.215.14", address]

    with pytest.raises(LinkError, match="refused"):
        guard.addresses("hook.example.com", 443, resolver, trusted=False)
    assert asked == ["hook.example.com"]


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "::1", "0"])
def test_every_spelling_of_this_machine_is_refused_S6(host: str) -> None:
    with pytest.raises(LinkError, match="refused"):
        guard.addresses(host, 443, guard.resolve, trusted=False)


def test_a_name_that_answers_otherwise_a_moment_later_gains_nothing_S6(
    db: Database, configured: Callable[..., Config], hooks: Hooks
) -> None:
    """DNS re-binding: the first answer is public, every later one is our loopback receiver."""
    channel(db, f"https://hook.example.com:{8443}/h")
    answers: list[Sequence[str]] = [["203.0.114.1"]]
    asked = 0

    def resolver(host: str, port: int) -> Sequence[str]:
        nonlocal asked
        asked += 1
        return answers.pop() if answers else ["127.0.0.1"]

    put(db, message())
    work = Work(configured(notify={"timeout_s": 0.2}), db, resolver=resolver)
    work.look()
    assert asked == 1, "the name is asked once, the connection is to what it answered"
    assert not hooks.got
    work.now += 10_000
    work.look()
    assert asked == 2
    assert "refused: 127.0.0.1 is a loopback address" in listed(db)[0].receipt


def test_the_connection_is_to_the_address_and_the_certificate_is_of_the_name_S6(tmp_path: Path) -> None:
    server, client = tls_for("hook.example.com", tmp_path)
    named: list[str | None] = []
    server.sni_callback = lambda *said: named.append(said[1])
    hooks = Hooks(server)
    try:
        target = parse(Kind.WEBHOOK, f"https://hook.example.com:{hooks.port}/h?a=1")
        answer = webhook.post(target, ["127.0.0.1"], b"{}", {}, timeout_s=5, context=client)
        assert answer == (200, "ok")
        assert named == ["hook.example.com"]
        assert (hooks.got[0].headers["Host"], hooks.got[0].path) == (f"hook.example.com:{hooks.port}", "/h?a=1")
        other = parse(Kind.WEBHOOK, f"https://other.example.com:{hooks.port}/h")
        with pytest.raises(LinkError, match="certificate"):
            webhook.post(other, ["127.0.0.1"], b"{}", {}, timeout_s=5, context=client)
        assert len(hooks.got) == 1
    finally:
        hooks.close()


def test_a_receiver_that_drips_is_cut_when_its_time_is_up(tmp_path: Path) -> None:
    _, client = tls_for("x", tmp_path)
    drip = Drip()
    try:
        target = parse(Kind.WEBHOOK, f"http://127.0.0.1:{drip.port}/")
        began = time.monotonic()
        with pytest.raises(LinkError, match="no whole answer within"):
            webhook.post(target, ["127.0.0.1"], b"{}", {}, timeout_s=0.3, context=client)
        assert time.monotonic() - began < 2
    finally:
        drip.close()


def test_of_a_long_answer_only_the_beginning_is_read(tmp_path: Path, hooks: Hooks) -> None:
    _, client = tls_for("x", tmp_path)
    hooks.answer = lambda _: (200, {}, b"a" * 5_000_000)
    answer = webhook.post(
        parse(Kind.WEBHOOK, hooks.url), ["127.0.0.1"], b"{}", {}, timeout_s=5, context=client
    )  # fmt: skip
    assert len(answer.text) == webhook.ANSWER_BYTES


def test_mail_goes_through_apprise(db: Database, configured: Callable[..., Config], mail: Mail) -> None:
    host = f"127.0.0.1:{mail.port}"
    config = configured(notify={"allow_hosts": [host]})
    target = f"mailto://{host}?smtp=127.0.0.1&mode=insecure&from=patrol@example.com&to=desk@example.com"
    channel(db, target, [host], kind="apprise")
    put(db, message(values={"what_zh": "烟雾\r\nBcc: evil@example.com", "where": "<b>3</b>"}))
    assert Work(config, db).drain() == 1
    (row,) = listed(db)
    assert (row.status, row.receipt) == (Status.SENT, "mailto: accepted")
    ((sender, to, text),) = mail.delivered
    assert (sender, to) == ("patrol@example.com", ["desk@example.com"])
    got = message_from_string(text)
    assert str(make_header(decode_header(got["Subject"]))) == "重要告警：烟雾 Bcc: evil@example.com <b>3</b>"
    assert got["Bcc"] is None
    assert got.get_content_type() == "text/plain"
    payload: Any = got.get_payload(decode=True)
    assert payload.decode().strip() == "地点：<b>3</b>"


def test_an_appliance_that_the_configuration_names_gets_its_message(hooks: Hooks) -> None:
    target = parse(Kind.APPRISE, f"mmost://{hooks.host}/abcdefghijklmnopqrstuvwxyz")
    text = texts.Text("**bold** @all [x](http://e)", "`code`")
    said = apprises.send(target, text, allowed={hooks.host}, resolver=guard.resolve, timeout_s=5)
    assert said == "mmost: accepted"
    told = hooks.got[0].data["text"]
    assert "**bold**" not in told
    assert "@all" not in told
    assert "[x]" not in told


def test_why_apprise_failed_is_told_without_what_is_secret(hooks: Hooks) -> None:
    class Root(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(record.getMessage())

    logged: list[str] = []
    secret = "abcdefghijklmnopqrstuvwxyz"
    hooks.answer = lambda _: (403, {}, secret.encode())
    target = parse(Kind.APPRISE, f"mmost://{hooks.host}/{secret}")
    listening = Root(logging.WARNING)  # what our log lets through of libraries
    logging.getLogger().addHandler(listening)
    try:
        with pytest.raises(LinkError) as raised:
            apprises.send(target, texts.Text("t", "b"), allowed={hooks.host}, resolver=guard.resolve, timeout_s=5)
    finally:
        logging.getLogger().removeHandler(listening)
    assert "403" in str(raised.value)
    assert secret not in str(raised.value)
    assert logged == []
    with pytest.raises(Invalid):
        apprises.send(target, texts.Text("t", "b"), allowed=(), resolver=guard.resolve, timeout_s=5)


def test_an_appliance_that_redirects_is_not_followed_S6(hooks: Hooks) -> None:
    hooks.answer = lambda _: (302, {"Location": f"http://{hooks.host}/internal"}, b"")
    target = parse(Kind.APPRISE, f"mmost://{hooks.host}/abcdefghijklmnopqrstuvwxyz")
    with pytest.raises(LinkError):
        apprises.send(target, texts.Text("t", "b"), allowed={hooks.host}, resolver=guard.resolve, timeout_s=5)
    assert len(hooks.got) == 1


def test_a_services_server_is_looked_at_before_each_sending_S6() -> None:
    target = parse(Kind.APPRISE, "mailtos://u:p@x.com?smtp=smtp.example.com&to=a@b.com")
    with pytest.raises(LinkError, match=r"refused: 10\.0\.0\.5 is a private address"):
        apprises.send(
            target, texts.Text("t", "b"), allowed=(), resolver=lambda *_: ["10.0.0.5"], timeout_s=1
        )  # fmt: skip


def test_a_name_that_answers_apprise_otherwise_gains_nothing_S6() -> None:
    """What was looked at is public; what the name leads to a moment later is this machine."""
    target = parse(Kind.APPRISE, "gotifys://localhost/abcdefghijklmno")
    with pytest.raises(LinkError, match=r"refused: (127\.0\.0\.1|::1) is a loopback address"):
        apprises.send(
            target, texts.Text("t", "b"), allowed=(), resolver=lambda *_: ["93.184.216.34"], timeout_s=1
        )  # fmt: skip


def test_only_who_sends_is_kept_from_this_machine_S6(hooks: Hooks) -> None:
    host, _, port = hooks.host.rpartition(":")

    def reach() -> None:
        socket.create_connection((host, int(port)), 1).close()

    def send() -> None:
        with guard.public_only("a name"):
            other = threading.Thread(target=reach)
            other.start()
            other.join()
            reach()

    with pytest.raises(ConnectionRefusedError, match="is a loopback address"):
        send()
    reach()


def test_what_nobody_foresaw_is_a_failed_try(db: Database, configured: Callable[..., Config]) -> None:
    def broken(_host: str, _port: int) -> list[str]:
        raise RuntimeError("a fault of ours")

    channel(db, "https://example.org/hook")
    put(db, message())
    assert Work(configured(), db, resolver=broken).look() == 1
    (row,) = listed(db)
    assert (row.status, row.attempts, row.receipt) == (Status.WAITING, 1, "unforeseen: RuntimeError")
    assert row.next_at


def test_a_slow_channel_delays_itself_only(db: Database, configured: Callable[..., Config], hooks: Hooks) -> None:
    """The slow one never answers; both of its places are taken, and the quick one gets its message all the same."""
    slow = socket.create_server(("127.0.0.1", 0))
    slow_host = f"127.0.0.1:{slow.getsockname()[1]}"
    allowed = [hooks.host, slow_host]
    config = configured(notify={"allow_hosts": allowed, "timeout_s": 1})
    channel(db, f"http://{slow_host}/", allowed, name="slow", audience=["dispatcher"])
    channel(db, hooks.url, allowed, name="quick", audience=["supervisor"])
    put(db, *(message(f"a{n}") for n in range(5)), message("q", roles=(Role.SUPERVISOR,)))
    began = time.monotonic()
    hooks.answer = lambda _: (200, {}, str(time.monotonic() - began).encode())
    try:
        assert Work(config, db).look() == 3
    finally:
        slow.close()
    (quick,) = [row for row in listed(db) if row.channel_name == "quick"]
    assert float(quick.receipt.removeprefix("HTTP 200: ")) < 0.9
    assert quick.status is Status.SENT


def test_what_another_key_sealed_is_a_failure_that_says_so(
    db: Database, configured: Callable[..., Config], hooks: Hooks
) -> None:
    config = configured(notify={"allow_hosts": [hooks.host]})
    channel(db, hooks.url, [hooks.host])
    put(db, message())
    key = config.data_dir / "notify.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.unlink()
    Work(config, db).look()
    assert "is not the key that this channel was sealed with" in listed(db)[0].receipt
    key.chmod(0o644)
    work = Work(config, db, now=NOW + 10_000)
    work.look()
    assert "is open to other accounts" in listed(db)[0].receipt


def test_what_is_under_way_when_the_service_ends_is_noted(
    db: Database, configured: Callable[..., Config], hooks: Hooks
) -> None:
    config = configured(notify={"allow_hosts": [hooks.host]})
    channel(db, hooks.url, [hooks.host])
    put(db, message())
    ended = threading.Event()

    def slowly(_: object) -> tuple[int, dict[str, str], bytes]:
        ended.wait(10)
        return 200, {}, b"in the end"

    hooks.answer = slowly

    async def serve() -> None:
        work = asyncio.create_task(Sender(config, db, clock=lambda: NOW).run())
        await asyncio.to_thread(hooks.came.acquire)
        work.cancel()
        ended.set()
        with contextlib.suppress(asyncio.CancelledError):
            await work

    asyncio.run(serve())
    (row,) = listed(db)
    assert (row.status, row.receipt) == (Status.SENT, "HTTP 200: in the end")
