"""Channels and deliveries over HTTP and on pages, the organisation file, and a worker that is killed."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from httpx import Client

from cloud import importing
from cloud.alerts.notify import channels, store
from cloud.alerts.notify.models import ChannelState, Status
from cloud.errors import RequestRefused
from cloud.org import tree
from cloud.org.audit import audit
from cloud.org.rules import SYSTEM, Role
from cloud.org.tree import Kind
from cloud.state import now_ms
from tests.cloud.cloud_support import NOW, Served, wait_for
from tests.notify.notify_support import SECRET, Work, channel, listed, message, put

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloud.config import Config
    from cloud.db import Database
    from tests import support
    from tests.notify.receivers import Hooks

PROGRAM = Path(sys.executable).with_name("patrol-cloud")
HIDDEN = "Hidden-Path-1234"
NEW: dict[str, Any] = {
    "name": "desk", "target": f"https://hook.example.com/{HIDDEN}", "audience": ["dispatcher"], "language": "en",
}  # fmt: skip
HOSTILE = "<script>alert(1)</script>{{7*7}}"

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"target": f"http://127.0.0.1:9/{HIDDEN}"}, "not encrypted"),
    ({"target": f"https://169.254.169.254/{HIDDEN}"}, "metadata"),
    ({"kind": "apprise", "target": f"json://10.0.0.1/{HIDDEN}"}, "not let in"),
    ({"kind": "apprise", "target": f"twilio://{HIDDEN}"}, "not twilio://SID:TOKEN@FROM/TO"),
    ({"kind": "apprise", "target": "feishu://token", "secret": SECRET}, "only a webhook has one"),
    ({"secret": "short"}, "16 characters"),
    ({"audience": []}, "audience"),
    ({"audience": ["everybody"]}, "neither a role"),
    ({"rate": 0}, "rate"),
    ({"node": "/../"}, "node"),
    ({"unknown": 1}, "unknown"),
]


def test_what_cannot_be_a_channel_is_refused_without_repeating_the_target_S6(service: Served) -> None:
    with service.client(Role.ADMINISTRATOR) as client:
        for change, why in REFUSED:
            refused = client.post("/channels", json=NEW | change)
            assert refused.status_code == 422, change
            assert why in refused.text
            assert HIDDEN not in refused.text
        assert client.get("/channels").json()["items"] == []


def test_a_channel_is_made_changed_tried_and_removed_and_its_secrets_never_come_back(service: Served) -> None:
    with service.client(Role.ADMINISTRATOR) as client:
        made = client.post("/channels", json=NEW)
        assert made.status_code == 201
        secret = made.json()["secret"]
        assert len(secret) >= 40
        place = f"/channels/{made.json()['id']}"
        assert made.json()["target"] == "https://hook.example.com/…"
        assert client.post("/channels", json=NEW).status_code == 409
        own = client.post("/channels", json=NEW | {"name": "own", "secret": SECRET}).json()
        assert own["secret"] is None
        change = {"rate": 5, "audience": ["user:li", "auditor"], "target": f"https://other.example.com/{HIDDEN}"}
        changed = client.patch(place, json=change).json()
        assert (changed["rate"], changed["audience"], changed["name"]) == (5, ["auditor", "user:li"], "desk")
        assert changed["target"] == "https://other.example.com/…"
        told = client.post(f"{place}/test").json()
        assert (told["status"], told["subject"], told["title"]) == ("waiting", "test", "Test message: desk")
        assert client.get("/deliveries", params={"status": ["waiting"], "subject": "test"}).json()["items"] == [told]
        assert client.get(f"/deliveries/{told['id']}").json() == told
        assert client.post(f"/deliveries/{told['id']}/resend").status_code == 409
        assert client.delete(place).status_code == 204
        assert client.get(place).status_code == 404
        again = client.post(f"/deliveries/{told['id']}/resend")
        assert again.status_code == 409
        said = [
            client.get(path).text for path in ("/channels", f"/channels/{own['id']}", "/deliveries", "/audit")
        ]  # fmt: skip
    with service.db.read() as tx:
        stored = str(tx.execute(sa.select(store.channels)).all())
        actions = set(tx.execute(sa.select(audit.c.action)).scalars())
    for hidden in (HIDDEN, secret, SECRET):
        assert all(hidden not in text for text in (*said, stored, changed.__repr__()))
    assert {"channel.add", "channel.change", "channel.test", "channel.remove"} <= actions


def test_only_administrators_set_channels_up_and_responders_send_again_S4(service: Served) -> None:
    with service.db.begin() as tx:
        one = tree.add_node(tx, SYSTEM, "/", Kind.STREET, ("一", "One"), now_ms=NOW).path
    mine = channel(service.db, NEW["target"], name="mine", node=one)
    channel(service.db, NEW["target"], name="top")
    put(service.db, message("1", node=one), message("2"))
    (delivery,) = listed(service.db, channel=mine.id)
    with service.client(Role.DISPATCHER, one) as client:
        assert [c["name"] for c in client.get("/channels").json()["items"]] == ["mine"]
        assert {d["node"] for d in client.get("/deliveries").json()["items"]} == {one}
        assert client.post("/channels", json=NEW).status_code == 403
        assert client.patch(f"/channels/{mine.id}", json={}).status_code == 403
        assert client.delete(f"/channels/{mine.id}").status_code == 403
        assert client.post(f"/channels/{mine.id}/test").status_code == 403
        assert client.post(f"/deliveries/{delivery.id}/resend").status_code == 409
    with service.client(Role.PROPERTY, one) as client:
        assert client.post(f"/deliveries/{delivery.id}/resend").status_code == 403
    with service.client(Role.ADMINISTRATOR, one) as client:
        assert client.post("/channels", json=NEW).status_code == 404, "the root is not theirs"
        assert client.post("/channels", json=NEW | {"node": one}).status_code == 201


def test_the_pages_set_up_a_channel_and_show_what_became_of_messages_S5(service: Served) -> None:
    password = service.user("boss", Role.ADMINISTRATOR)
    channel(service.db, NEW["target"], name=HOSTILE)
    put(service.db, message(values={"what": HOSTILE, "where": HOSTILE}))
    with Client(base_url=service.url, timeout=20, follow_redirects=True) as browser:
        browser.post("/sign-in", data={"user": "boss", "password": password})
        page = browser.get("/channels?lang=en").text
        assert HOSTILE not in page
        assert "&lt;script&gt;alert(1)" in page
        found = re.search(r'name="csrf" value="([^"]+)"', page)
        assert found
        csrf = {"csrf": found[1]}
        form = csrf | {"name": "pager", "node": "/", "kind": "webhook", "target": NEW["target"], "roles": ["auditor"]}
        assert browser.post("/channels", data=form | {"csrf": "no"}).status_code == 403
        made = browser.post("/channels", data=form).text
        secret = re.search(r'id="secret">([^<]+)<', made)
        assert secret
        page = browser.get("/channels").text
        assert secret[1] not in page
        assert HIDDEN not in page
        with service.db.read() as tx:
            pager = channels.find_channel(tx, SYSTEM, "/", "pager")
        assert pager
        place = f"/channels/{pager.id}"
        assert "pager" in browser.get(place).text
        changed = browser.post(
            place, data=csrf | {"name": "pager", "roles": ["auditor"], "users": "li, 王", "rate": "7"}
        )
        assert "li, 王" in changed.text
        assert "测试消息：pager" in browser.post(f"{place}/test", data=csrf).text
        assert "Switch on" in browser.post(f"{place}/switch", data=csrf | {"enabled": "false"}).text
        (told,) = listed(service.db, channel=pager.id)
        assert told.status is Status.FAILED
        assert "Send again" in browser.get(f"{place}?status=failed").text
        again = browser.post(f"/channels/deliveries/{told.id}/resend", data=csrf)
        assert again.status_code == 200
        assert listed(service.db, channel=pager.id)[0].status is Status.WAITING
        wrong = browser.post("/channels", data=form | {"name": "x", "target": f"http://10.0.0.1/{HIDDEN}"})
        assert wrong.status_code == 422
        assert HIDDEN not in wrong.text
        assert browser.post(f"{place}/remove", data=csrf).url.path == "/channels"
        assert browser.get(place).status_code == 404


def test_pages_are_for_reading_when_one_may_not_administer(service: Served) -> None:
    password = service.user("li", Role.DISPATCHER)
    made = channel(service.db, NEW["target"])
    with Client(base_url=service.url, timeout=20, follow_redirects=True) as browser:
        browser.post("/sign-in", data={"user": "li", "password": password})
        for path in ("/channels", f"/channels/{made.id}"):
            page = browser.get(path)
            assert page.status_code == 200
            assert "test" not in re.findall(r'action="[^"]*"', page.text)
            assert 'name="target"' not in page.text
        csrf = re.search(r'name="csrf" value="([^"]+)"', browser.get("/").text)
        assert csrf
        refused = browser.post(f"/channels/{made.id}/test", data={"csrf": csrf[1]})
        assert refused.status_code == 403


def _bring(db: Database, *tables: dict[str, Any]) -> None:
    with db.begin() as tx:
        importing.apply(tx, SYSTEM, {"channels": list(tables)}, NOW)


def test_channels_come_from_an_organisation_file_and_twice_changes_nothing(db: Database, tmp_path: Path) -> None:
    (tmp_path / "target").write_text(f"https://hook.example.com/{HIDDEN}\n")
    (tmp_path / "secret").write_text(SECRET)
    with db.begin() as tx:
        tree.add_node(tx, SYSTEM, "/", Kind.STREET, ("一", "One"), now_ms=NOW, code="street-1")
    table = {
        "node": "street-1", "name": "desk", "target_file": str(tmp_path / "target"),
        "secret_file": str(tmp_path / "secret"), "audience": ["supervisor", "dispatcher"],
    }  # fmt: skip
    mail = {"name": "mail", "kind": "apprise", "target_file": str(tmp_path / "mail"), "audience": ["auditor"]}
    (tmp_path / "mail").write_text("mailtos://u:p@qq.com?to=a@b.com")

    def rows() -> list[Any]:
        with db.read() as tx:
            return list(tx.execute(sa.select(store.channels).order_by(store.channels.c.id)))

    def changes() -> int:
        with db.read() as tx:
            return int(tx.execute(sa.select(sa.func.count()).select_from(audit)).scalar_one())

    _bring(db, table, mail)
    before, count = rows(), changes()
    assert [row.name for row in before] == ["desk", "mail"]
    _bring(db, table, mail)
    assert (rows(), changes()) == (before, count)
    _bring(db, table | {"rate": 3, "audience": ["auditor"]})
    assert (rows()[0].rate, rows()[0].audience) == (3, '["auditor"]')
    (tmp_path / "target").write_text("https://other.example.com/")
    _bring(db, table)
    assert rows()[0].mask == "https://other.example.com/…"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"target": "https://x"}, "channels, entry 1: target: unknown key"),
        ({"target_file": "nowhere"}, "channels, entry 1: target_file: nowhere: No such file"),
        ({"target_file": None}, "channels, entry 1: target_file: is missing"),
        ({"secret_file": None}, "channels, entry 1: secret_file: is missing"),
        ({"node": "no-such"}, "channels, entry 1: node no-such: not known"),
        ({"rate": "many"}, "channels, entry 1: rate"),
        ({"kind": "apprise"}, "channels, entry 1: target: https:// is not let in"),
    ],
)
def test_what_is_wrong_in_an_organisation_file_is_named(
    sqlite_db: Database, tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    (tmp_path / "target").write_text("https://hook.example.com/")
    (tmp_path / "secret").write_text(SECRET)
    table = {"name": "desk", "target_file": str(tmp_path / "target"), "audience": ["auditor"]}
    if change.get("kind") != "apprise":
        table["secret_file"] = str(tmp_path / "secret")
    with pytest.raises(RequestRefused, match=re.escape(why)):
        _bring(sqlite_db, table | change)


def test_a_worker_killed_while_it_sends_is_followed_by_one_that_sends_again_D3(
    db: Database, tmp_path: Path, hooks: Hooks, start_process: support.StartProcess,
    configured: Callable[..., Config],
) -> None:  # fmt: skip
    """By `kill -9`, after the receiver has it and before the sender knows; the receiver sees the same name twice."""
    made = channel(db, hooks.url, [hooks.host])
    put(db, message(urgent=True), now=now_ms())
    config = configured(notify={"allow_hosts": [hooks.host]})
    file = tmp_path / "cloud.toml"
    file.write_text(
        f'data_dir = "{tmp_path}"\n[http]\nbind = "127.0.0.1:0"\n[database]\nurl = "{config.database.url}"\n'
        f'[notify]\nallow_hosts = ["{hooks.host}"]\ntimeout_s = 60\n'
    )
    running = start_process(PROGRAM, "serve", "--role", "worker", "--config", file)

    def killed(_: object) -> tuple[int, dict[str, str], bytes]:
        running.kill()
        return 200, {}, b"had it"

    hooks.answer = killed
    wait_for(lambda: not running.alive, 30, "the message to come, and the worker's end")
    (row,) = listed(db)
    assert (row.status, row.attempts) == (Status.WAITING, 1)
    hooks.answer = lambda _: (200, {}, b"had it twice")
    assert Work(config, db, now=now_ms()).drain() == 0
    assert Work(config, db, now=now_ms() + 250_000).drain() == 1
    (row,) = listed(db)
    assert (row.status, row.attempts, row.receipt) == (Status.SENT, 2, "HTTP 200: had it twice")
    first, second = hooks.got
    assert first.headers["X-PatrolGrid-Delivery"] == second.headers["X-PatrolGrid-Delivery"]
    with db.read() as tx:
        assert channels.get_channel(tx, SYSTEM, made.id).state is ChannelState.WORKING
    assert SECRET not in running.text()
