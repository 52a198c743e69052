"""From a review's document to HTML and PDF.

Owns the templates of this folder. Everything is escaped. Nothing of the present is in it, so the same review gives the
same bytes for ever, as long as library and fonts stay. The PDF is made by `printer` in a process of its own, one at a
time, without the secrets of this process's environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cloud.errors import Unavailable
from cloud.reports import printer

if TYPE_CHECKING:
    from cloud.console.i18n import Words
    from cloud.reports.document import Document

HERE: Final = Path(__file__).resolve().parent / "templates"
TIMEOUT_S: Final = 120
WAITING: Final = 4
"""How many may wait for the printer; another is told to come again."""
ENVIRONMENT: Final = (
    "PATH", "HOME", "LANG", "PYTHONPATH", "LD_LIBRARY_PATH", "FONTCONFIG_FILE", "FONTCONFIG_PATH", "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
)  # fmt: skip
log: Final = structlog.get_logger("reviews")
_one_at_a_time: Final = threading.Lock()
_waiting: Final = threading.BoundedSemaphore(WAITING)


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
    """The document as PDF. Raises Unavailable when this machine cannot make one, or too many wait for theirs."""
    return printed(paper(document), words)


def printed(html: str, words: Words) -> bytes:
    """HTML as PDF, one at a time. Raises Unavailable as `pdf` does."""
    if not _waiting.acquire(blocking=False):
        raise Unavailable(words("reviews.printing_busy"))
    try:
        with _one_at_a_time:
            return _print(html, words)
    finally:
        _waiting.release()


def _print(html: str, words: Words) -> bytes:
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-m", printer.__name__], input=html.encode(), capture_output=True, timeout=TIMEOUT_S,
            env=environment, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as e:
        raise Unavailable(words("reviews.printing_busy")) from e
    if done.returncode == 0:
        return done.stdout
    log.error("no PDF could be made", status=done.returncode, said=done.stderr.decode(errors="replace")[-300:])
    if done.returncode == printer.LIBRARIES:
        raise Unavailable(words("reviews.printing_libraries"))
    if done.returncode in {printer.FONTS, -6, -11}:  # without any font at all the C library aborts
        raise Unavailable(words("reviews.printing_fonts"))
    raise Unavailable(words("reviews.printing_failed"))
