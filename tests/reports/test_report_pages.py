"""The pages of reviews and hazards, served: what they show and refuse, and that hostile strings are text (S5)."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from cloud.app import Role as Part
from cloud.config import Config
from cloud.console import i18n
from cloud.org.rules import SYSTEM, Role
from cloud.reports import service as reports
from cloud.reports.hazards import service as hazards
from cloud.reports.hazards.models import HazardFilter, NewHazard
from cloud.reports.models import NewReview
from tests.cloud.cloud_support import NOW, serving
from tests.reports.reports_support import HOSTILE, HOUR, OCTOBER, Town, grow, seed_month

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from httpx import Client

    from cloud.db import Database
    from tests.cloud.cloud_support import Served


@pytest.fixture
def site(sqlite_db: Database, tmp_path: Path) -> Iterator[Served]:
    """The console on a database of its own."""
    del sqlite_db
    with serving(Config.model_validate({"data_dir": tmp_path, "database": {"url": "sqlite"}}), Part.API) as served:
        yield served


@contextmanager
def signed_in(site: Served, role: Role, lang: str = "en") -> Iterator[tuple[Client, str]]:
    """A browser of somebody, and the CSRF token of the session."""
    password = site.user(f"u-{role}", role)
    with site.anonymous() as client:
        client.cookies.set(i18n.COOKIE, lang)
        client.post("/sign-in", data={"user": f"u-{role}", "password": password})
        token = re.search(r'name="csrf" value="([^"]+)"', client.get("/hazards").text)
        assert token
        yield client, token[1]


def october(site: Served, node: str) -> int:
    given = NewReview.model_validate({"node": node, "first_day": "2026-10-01", "last_day": "2026-10-31"})
    return reports.make(site.db, SYSTEM, given, OCTOBER.to_ms + HOUR, "Asia/Shanghai").id


def hostile_site(site: Served) -> tuple[Town, int]:
    town = grow(site.db, HOSTILE[:3])
    seed_month(site.db, town, hostile=HOSTILE)
    with site.db.begin() as tx:
        for text in HOSTILE:
            given: dict[str, Any] = {"node": town.communities[0], "kind": "other", "place": text, "text": text}
            hazards.report(tx, SYSTEM, NewHazard.model_validate(given), NOW)
    return town, october(site, town.street)


def test_nothing_hostile_acts_on_any_page_S5(site: Served) -> None:
    _, review = hostile_site(site)
    with signed_in(site, Role.ADMINISTRATOR) as (client, _):
        paths = ["/reviews", f"/reviews/{review}", "/hazards", "/hazards?state=all", "/hazards/new"]
        with site.db.read() as tx:
            filed = hazards.list_hazards(tx, SYSTEM, HazardFilter()).items
        paths += [f"/hazards/{each.id}" for each in filed if each.place in HOSTILE]
        for path in paths:
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert "<script>alert" not in answer.text
            assert "<img" not in answer.text
            assert not re.search(r"<[^>]*\s(on\w+|style)\s*=", answer.text), path
            assert "script-src 'self'" in answer.headers["content-security-policy"]


def test_a_report_in_three_fields_and_its_way(site: Served) -> None:
    town = grow(site.db)
    with signed_in(site, Role.PROPERTY) as (client, csrf):
        form = client.get("/hazards/new").text
        assert "never a person&#39;s name" in form
        assert not re.search(r'name="(name|person|who|phone)"', form)
        sent = {"csrf": csrf, "kind": "gas-smell", "node": town.communities[0]}
        made = client.post("/hazards/new", data=sent)
        assert made.status_code == 303, made.text
        shown = client.get(made.headers["location"]).text
        assert "Received, thank you." in shown
        assert "Your role can only look." in shown
        assert client.post("/hazards/new", data={**sent, "csrf": ""}).status_code == 403
        assert client.post("/hazards/new", data={**sent, "point": "here"}).status_code == 422
        assert client.post("/hazards/new", data={**sent, "point": "91, 0"}).status_code == 422
        assert client.post("/hazards/new", data={**sent, "kind": "other"}).status_code == 422
        there = client.post("/hazards/new", data={**sent, "point": "34.26500，108.95400"}).headers["location"]
        assert "34.26500, 108.95400" in client.get(there).text
    path = made.headers["location"].partition("?")[0]
    with signed_in(site, Role.DISPATCHER) as (client, csrf):
        assert "Perhaps the same" in client.get(path).text
        for step in ({"action": "triage"}, {"action": "hand-over", "to": "物业"}, {"action": "handle", "note": "修好"}):
            assert client.post(f"{path}/steps", data={"csrf": csrf, **step}).status_code == 303
        assert client.post(f"{path}/steps", data={"csrf": csrf, "action": "triage"}).status_code == 409
        shown = client.get(path).text
        assert "修好" in shown
        assert f'href="{path}"' not in client.get("/hazards").text
        assert f'href="{path}"' in client.get("/hazards?state=handled").text


def test_reviews_are_made_read_and_followed_up(site: Served) -> None:
    town = grow(site.db)
    seed_month(site.db, town)
    review = october(site, town.street)
    with signed_in(site, Role.SUPERVISOR, "zh") as (client, csrf):
        page = client.get(f"/reviews/{review}").text
        assert "中山街道 治安防控复盘" in page
        assert "Asia/Shanghai" in page
        assert page.count('class="rv-cell"') == 2 * 7 * 24
        pdf = client.get(f"/reviews/{review}/pdf")
        assert (pdf.status_code, pdf.content[:5]) == (200, b"%PDF-")
        assert client.get(f"/reviews/{review}/xlsx").content[:2] == b"PK"
        ask = {"csrf": csrf, "node": town.communities[0], "text": "补两岗"}
        assert client.post(f"/reviews/{review}/follow-ups", data=ask).status_code == 303
        number = re.findall(r"/reviews/follow-ups/(\d+)", client.get(f"/reviews/{review}").text)[-1]
        change = {"csrf": csrf, "state": "done", "owner": "li", "back": f"/reviews/{review}"}
        assert client.post(f"/reviews/follow-ups/{number}", data=change).headers["location"] == f"/reviews/{review}"
        make = {"csrf": csrf, "node": town.street, "first_day": "2024-01-01", "last_day": "2024-01-31"}
        made = client.post("/reviews", data=make)
        assert made.headers["location"].startswith("/reviews/")
        assert client.post("/reviews", data={**make, "last_day": "2023-01-01"}).status_code == 422
        listed = client.get("/reviews").text
        assert "2024-01-01 – 2024-01-31" in listed
    with signed_in(site, Role.DISPATCHER) as (client, csrf):
        assert client.post("/reviews", data={**make, "csrf": csrf}).status_code == 403
        assert "<form" not in client.get(f"/reviews/{review}").text.partition('id="asked"')[2].partition("</main>")[0]
        assert client.get("/reviews/99").status_code == 404
