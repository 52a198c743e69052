"""From a review's document to HTML and PDF.

Owns the templates of this folder. Everything is escaped. The PDF's renderer fetches nothing: whatever it is asked for
is refused, `data:` excepted. Nothing of the present is in it, so the same review gives the same bytes for ever, as long
as library and fonts stay. WeasyPrint is loaded only when a PDF is wanted, and makes one at a time.
"""

from __future__ import annotations

import logging
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cloud.errors import Unavailable

if TYPE_CHECKING:
    from cloud.console.i18n import Words
    from cloud.reports.document import Document

HERE: Final = Path(__file__).resolve().parent / "templates"
PROBE: Final = "审"
_LIBRARIES: Final = "printing_libraries"
_FONTS: Final = "printing_fonts"
_one_at_a_time: Final = threading.Lock()


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def fragment(document: Document) -> Markup:
    """The sections as HTML, for a page."""
    return Markup(_environment().get_template("sections.html").render(document=document))  # noqa: S704 - escaped by Jinja


def paper(document: Document) -> str:
    """The whole document as HTML for the printer."""
    style = Markup((HERE / "print.css").read_text(encoding="utf-8"))  # noqa: S704 - a file of ours
    return _environment().get_template("print.html").render(document=document, style=style)


def pdf(document: Document, words: Words) -> bytes:
    """The document as PDF. Raises Unavailable when a library or a font for Chinese is missing."""
    with _one_at_a_time:
        missing = _missing()
        if missing:
            raise Unavailable(words(f"reviews.{missing}"))
        return _print(paper(document))


class _Missing(logging.Handler):
    """Notices that a character has no glyph."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found = False

    def emit(self, record: logging.LogRecord) -> None:
        self.found = self.found or str(record.msg).startswith(".notdef")


@cache
def _missing() -> str:
    """The word for what is missing on this machine, empty when nothing is."""
    try:
        import weasyprint  # noqa: F401, PLC0415 - heavy, and needs libraries of the system
    except OSError:
        return _LIBRARIES
    notice = _Missing()
    log = logging.getLogger("weasyprint")
    log.addHandler(notice)
    try:
        _print(f'<html lang="zh-CN"><p>{PROBE}')
    finally:
        log.removeHandler(notice)
    return _FONTS if notice.found else ""


def _print(html: str, **options: Any) -> bytes:  # noqa: ANN401 - WeasyPrint's own
    from weasyprint import HTML  # noqa: PLC0415 - heavy, and needs libraries of the system
    from weasyprint.urls import URLFetcher  # noqa: PLC0415

    fetcher = URLFetcher(allowed_protocols=("data",), allow_redirects=False)
    made: bytes = HTML(string=html, url_fetcher=fetcher).write_pdf(**options)
    return made
