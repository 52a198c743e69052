"""A review's files: what they hold, that they never change, and that hostile strings in them do nothing (S5)."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import threading
import xml.etree.ElementTree as ET
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from cloud.console import i18n
from cloud.errors import Unavailable
from cloud.org.rules import SYSTEM
from cloud.reports import document, files, printer, render, sections, service, sheets
from cloud.reports.files import Language
from cloud.reports.models import NewReview
from tests.reports.reports_support import HOSTILE, HOUR, OCTOBER, grow, seed_month

if TYPE_CHECKING:
    from pathlib import Path

    from cloud.db import Database
    from cloud.reports.document import Document
    from cloud.reports.service import Archived

CELL = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def archived(db: Database, hostile: tuple[str, ...] = ()) -> Archived:
    """A month of a street; with hostile strings in every text that comes from outside."""
    town = grow(db, hostile[:3] or ("东里", "西里", "南里"))
    seed_month(db, town, hostile=hostile)
    given = NewReview.model_validate({"node": town.street, "first_day": "2026-10-01", "last_day": "2026-10-31"})
    made = service.make(db, SYSTEM, given, OCTOBER.to_ms + HOUR, "Asia/Shanghai")
    with db.read() as tx:
        return service.archived(tx, SYSTEM, made.id)


@pytest.fixture
def quick(sqlite_db: Database) -> Archived:
    return archived(sqlite_db)


@pytest.fixture
def bad(sqlite_db: Database) -> Archived:
    return archived(sqlite_db, HOSTILE)


def written(of: Archived, language: str = "zh") -> Document:
    return sections.write(i18n.WORDS[language], of)


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_section_is_there_and_zone_and_period_are_printed(quick: Archived, language: str) -> None:
    made = written(quick, language)
    assert [section.key for section in made.sections] == [section.__name__ for section in sections.SECTIONS]
    facts = " ".join(value for _, value in made.facts)
    assert "Asia/Shanghai" in facts
    assert "2026-10-01" in facts
    assert "2026-10-31" in facts
    html = render.paper(made)
    assert html.count("Asia/Shanghai") >= 2  # at the head and on every page
    for term in sections.TERMS:
        assert i18n.WORDS[language](f"reviews.definition.{term}").split("。")[0][:20] in html.replace("&#34;", '"')


def test_files_are_the_same_for_ever(quick: Archived) -> None:
    words = i18n.WORDS["zh"]
    first = render.pdf(written(quick), words)
    assert first.startswith(b"%PDF-")
    assert render.pdf(written(quick), words) == first
    book = files.xlsx(quick, Language.ZH).body
    assert files.xlsx(quick, Language.ZH).body == book


def test_every_printed_page_of_a_workbook_says_what_it_is_of(quick: Archived) -> None:
    title = written(quick).title
    with zipfile.ZipFile(io.BytesIO(sheets.xlsx(written(quick), quick.view.created_at))) as book:
        pages = [book.read(name).decode() for name in book.namelist() if name.startswith("xl/worksheets/sheet")]
    assert len(pages) == len(sections.SECTIONS)
    for page in pages:
        head = re.search("<oddHeader>(.*?)</oddHeader>", page)
        assert head
        assert all(part in head[1] for part in (title, "2026-10-01", "2026-10-31", "Asia/Shanghai"))


def test_nothing_hostile_acts_in_html_S5(bad: Archived) -> None:
    for html in (render.paper(written(bad)), str(render.fragment(written(bad)))):
        assert "&lt;script&gt;" in html
        assert not re.search(r"<(script|img|iframe|object|link|base|a)\b", html)
        assert not re.search(r"\s(on\w+|href|src|style)\s*=\s*[\"']", re.sub(r"&[#\w]+;", "", html))
        assert not re.search(r"[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", html)
        assert "{{7*7}}" in html


def test_nothing_hostile_acts_in_a_workbook_S5(bad: Archived) -> None:
    with zipfile.ZipFile(io.BytesIO(sheets.xlsx(written(bad), bad.view.created_at))) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    assert not [name for name in parts if "external" in name.lower() or ".." in name or name.startswith("/")]
    found = 0
    for name, part in parts.items():
        if not name.endswith((".xml", ".rels")):
            continue
        root = ET.fromstring(part)  # noqa: S314 - our own file
        assert not list(root.iter(f"{CELL}f")), name
        assert not list(root.iter(f"{CELL}hyperlink")), name
        assert b'TargetMode="External"' not in part
        found += sum(text.text in HOSTILE for text in root.iter(f"{CELL}t"))
    assert found >= 4
    types = {cell.get("t") for name in parts if "worksheets/sheet" in name for cell in _cells(parts[name])}
    assert types <= {"s", None, "n"}  # shared strings and numbers


def _cells(part: bytes) -> list[ET.Element]:
    return list(ET.fromstring(part).iter(f"{CELL}c"))  # noqa: S314 - our own file


def test_nothing_hostile_acts_in_a_pdf_S5(bad: Archived, tmp_path: Path) -> None:
    made = printer.make(render.paper(written(bad)), uncompressed_pdf=True)
    for word in (b"/JavaScript", b"/JS", b"/URI", b"/Launch", b"/EmbeddedFile", b"/SubmitForm", b"/OpenAction"):
        assert word not in made
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext (Debian: poppler-utils) is not installed: a PDF's text was not read back")
    (tmp_path / "r.pdf").write_bytes(made)
    told = subprocess.run(["pdftotext", "-raw", tmp_path / "r.pdf", "-"], capture_output=True, check=True, timeout=60)
    text = re.sub(r"\s+", "", told.stdout.decode())
    for given in ("<script>alert(1)</script>", "+1+1", "http://127.0.0.1:9/x.png"):
        assert given in text
    assert "\u202e" not in text


def test_the_printer_fetches_nothing(tmp_path: Path) -> None:
    asked: list[str] = []

    class Ask(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Ask)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    (tmp_path / "secret.css").write_text("p { color: red }")
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        made = printer.make(
            f'<link rel=stylesheet href="{url}/a.css"><link rel=stylesheet href="file://{tmp_path}/secret.css">'
            f'<style>@import "{url}/b.css"; p {{ background: url({url}/c.png) }}</style><p><img src="{url}/d.png">',
            uncompressed_pdf=True,
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert made.startswith(b"%PDF-")
    assert asked == []
    assert b"1 0 0 rg" not in made  # the colour that the file would have given


def test_a_file_is_called_by_our_words_only(bad: Archived) -> None:
    named = files.xlsx(bad, Language.EN).headers["content-disposition"]
    assert re.fullmatch(r'attachment; filename="review-\d+-monthly-\d{8}-en\.xlsx"', named)


def test_a_machine_without_chinese_fonts_says_so_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No font at all, which brings the printer down and nothing else."""
    (tmp_path / "fonts.conf").write_text(f"<fontconfig><dir>{tmp_path}/none</dir></fontconfig>")
    monkeypatch.setenv("FONTCONFIG_FILE", str(tmp_path / "fonts.conf"))
    with pytest.raises(Unavailable, match="no font with Chinese characters"):
        render._print("<p>x", i18n.WORDS["en"])


def test_the_printer_is_not_told_our_secrets() -> None:
    assert not [name for name in render.ENVIRONMENT if name.startswith("PATROL")]


@pytest.mark.parametrize(
    ("ms", "shown"),
    [(None, "—"), (0, "0:00:00"), (1499, "0:00:01"), (3_599_600, "1:00:00"), (360_000_000, "100:00:00")],
)
def test_durations_read_as_hours_minutes_seconds(ms: int | None, shown: str) -> None:
    assert document.duration(ms).text == shown


def test_an_empty_period_says_so(sqlite_db: Database) -> None:
    town = grow(sqlite_db)
    given = NewReview.model_validate({"node": town.communities[0], "first_day": "2026-10-01", "last_day": "2026-10-01"})
    made = service.make(sqlite_db, SYSTEM, given, OCTOBER.to_ms, "Asia/Shanghai")
    with sqlite_db.read() as tx:
        empty = service.archived(tx, SYSTEM, made.id)
    html = render.paper(written(empty, "en"))
    assert html.count("Nothing in this period.") >= 5
