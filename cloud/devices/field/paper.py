"""An acceptance sheet on paper, and the files by which anybody can verify it without us.

Owns the template of this folder. Chinese and English stand beside each other, since a sheet is handed over and kept.
Everything is escaped; nothing of the present is in it.
"""

from __future__ import annotations

import base64
import json
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import segno
from fastapi import Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cloud.console import i18n
from cloud.errors import NotFound
from cloud.reports import render
from cloud.reports.rules import plain

if TYPE_CHECKING:
    from cloud.devices.field.sheets import Archived

HERE: Final = Path(__file__).resolve().parent / "templates"


class Part(StrEnum):
    """A file of a sheet."""

    PDF = "pdf"
    JSON = "json"
    """What it says, in the bytes whose SHA-256 the statement names."""
    TXT = "txt"
    """The statement that the gateway signed."""
    SIG = "sig"
    """The signature of the statement, DER."""
    PEM = "pem"
    """The gateway's certificate."""


TYPES: Final = {
    Part.PDF: "application/pdf", Part.JSON: "application/octet-stream", Part.TXT: "application/octet-stream",
    Part.SIG: "application/octet-stream", Part.PEM: "application/octet-stream",
}  # fmt: skip
"""JSON and text too are handed out as they are, byte for byte."""


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def both(key: str) -> str:
    """A word in both languages."""
    name = f"install.{key}"
    zh, en = i18n.WORDS["zh"](name), i18n.WORDS["en"](name)
    return zh if zh == en else f"{zh} {en}"


def mark_word(mark: str) -> str:
    """The word of a result."""
    return both(f"marks.{mark}")


def paper(archived: Archived) -> str:
    """The sheet as HTML for the printer."""
    data: dict[str, Any] = json.loads(archived.data)
    view = archived.view
    signed = view.state == "signed"
    picture = Markup()
    if signed:
        text = f"{archived.said.decode()}signature {archived.signature}\n"
        picture = Markup(segno.make(text, error="m").svg_inline(scale=2, border=2))  # noqa: S704 - made by a library of squares
    style = Markup((HERE / "sheet.css").read_text(encoding="utf-8"))  # noqa: S704 - a file of ours
    return _environment().get_template("sheet.html").render(
        view=view, data=data, both=both, mark_word=mark_word, plain=plain, style=style, signed=signed, picture=picture,
        statement=archived.said.decode(), signature=archived.signature,
    )  # fmt: skip


def file(archived: Archived, part: Part) -> Response:
    """A file of a sheet. Raises NotFound for what an unsigned one has not, Unavailable when no PDF can be made."""
    view = archived.view
    if part is Part.PDF:
        body = render.printed(paper(archived), i18n.WORDS["zh"])
    elif part is Part.JSON:
        body = archived.data
    elif not archived.said:
        raise NotFound(f"acceptance sheet {view.id}: is not signed")
    elif part is Part.TXT:
        body = archived.said
    elif part is Part.SIG:
        body = base64.b64decode(archived.signature)
    else:
        body = archived.certificate.encode()
    headers = {
        "Content-Disposition": f'attachment; filename="acceptance-{view.id}.{part}"',
        "Cache-Control": "private, no-cache",
    }  # fmt: skip
    return Response(body, media_type=TYPES[part], headers=headers)
