"""The presence pages over HTTP: what they show to whom, in both languages, and that strange names stay text."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import sqlalchemy as sa

from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, Role
from cloud.presence import rounds
from cloud.presence.judge import Judge
from cloud.presence.models import AreaIn, RouteIn
from cloud.presence.rosters.store import looks
from cloud.state import now_ms
from tests.cloud.presence_support import HOUR, LAT, LON, MINUTE, add_guard, add_post, settle, stay, take

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx import Client

    from tests.cloud.cloud_support import Served

HOSTILE = "<script>alert(1)</script>"


@contextlib.contextmanager
def signed_in(service: Served, name: str, role: Role) -> Iterator[Client]:
    password = service.user(name, role)
    with service.anonymous() as client:
        assert client.post("/sign-in", data={"user": name, "password": password}).status_code == 303
        yield client


def prepare(service: Served) -> int:
    """A manned post and a route and an area with strange names; the post's id."""
    now = now_ms()
    db = service.db
    post = add_post(db, now=now - HOUR, name_zh="南门岗", name_en=HOSTILE)
    guard = add_guard(db, "巡-07", post=post.id, starts=now - HOUR, ends=now + HOUR)
    take(db, stay(guard.device, now - 2 * MINUTE, now), now)
    ring = [[LON, LAT], [LON + 0.002, LAT], [LON, LAT + 0.002], [LON, LAT]]
    named = {"node": "/", "name_zh": HOSTILE, "name_en": HOSTILE}
    with db.begin() as tx:
        tree.add_node(tx, SYSTEM, ROOT, tree.Kind.STREET, ("街道", "Street"), now_ms=now)
        outline = {"type": "Polygon", "coordinates": [ring]}
        rounds.add_area(tx, SYSTEM, AreaIn.model_validate({**named, "outline": outline}), now)
        points = [{"name": HOSTILE, "lat": LAT, "lon": LON}]
        rounds.add_route(tx, SYSTEM, RouteIn.model_validate({**named, "checkpoints": points}), now)
    settle(Judge(db), now)
    return post.id


def looked(service: Served) -> int:
    with service.db.read() as tx:
        return int(tx.execute(sa.select(sa.func.count()).select_from(looks)).scalar_one())


def test_the_board_and_a_post_for_a_dispatcher(service: Served) -> None:
    post = prepare(service)
    with signed_in(service, "li", Role.DISPATCHER) as client:
        board = client.get("/presence").text
        assert "南门岗" in board
        assert "在岗上" not in board
        assert "1 / 1" in board
        assert HOSTILE not in board
        assert "巡-07" not in board
        assert client.get("/presence", params={"state": "unmanned"}).text.count(f'data-post="{post}"') == 0
        assert 'id="presence-coverage"' in client.get("/presence", params={"part": "coverage"}).text
        assert looked(service) == 0
        page = client.get(f"/presence/{post}").text
        assert "巡-07" in page
        assert looked(service) == 1
        live = client.get(f"/presence/{post}", params={"part": "state"}).text
        assert "巡-07" not in live
        assert looked(service) == 1
        client.cookies.set("patrol_lang", "en")
        english = client.get(f"/presence/{post}").text
        assert "&lt;script&gt;" in english
        assert HOSTILE not in english
        assert client.get("/presence/999").status_code == 404


def test_who_is_at_a_post_is_not_shown_to_those_who_may_not_locate(service: Served) -> None:
    post = prepare(service)
    with signed_in(service, "zhao", Role.PROPERTY) as client:
        page = client.get(f"/presence/{post}").text
    assert "南门岗" in page
    assert "巡-07" not in page
    assert looked(service) == 0
