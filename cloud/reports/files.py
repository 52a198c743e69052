"""The files of a review, as they are handed out: what they hold and what they are called.

A name is made of our own words and digits only, so nothing from outside can lead anywhere.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from fastapi import Response

from cloud.console import i18n
from cloud.reports import render, sections, sheets

if TYPE_CHECKING:
    from cloud.reports.service import Archived

PDF: Final = "application/pdf"
XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class Language(StrEnum):
    """The language of a file."""

    ZH = "zh"
    EN = "en"


def pdf(archived: Archived, language: Language) -> Response:
    """A review as PDF. Raises Unavailable when this machine cannot make one."""
    words = i18n.WORDS[language]
    return _file(render.pdf(sections.write(words, archived), words), archived, language, "pdf", PDF)


def xlsx(archived: Archived, language: Language) -> Response:
    """A review as XLSX."""
    document = sections.write(i18n.WORDS[language], archived)
    return _file(sheets.xlsx(document, archived.view.created_at), archived, language, "xlsx", XLSX)


def _file(body: bytes, archived: Archived, language: Language, ending: str, media_type: str) -> Response:
    view = archived.view
    name = f"review-{view.id}-{view.kind}-{view.from_at:%Y%m%d}-{language}.{ending}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-cache"}
    return Response(body, media_type=media_type, headers=headers)
