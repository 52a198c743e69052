"""A review as a document in one language: sections of figures, tables, heat maps. Page, PDF and XLSX are made of it.

Owns what is said and in which order, so that the three cannot differ. Every text that came from outside goes through
`rules.plain`. Nothing here knows the present: the same review gives the same document for ever.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

from cloud.reports.rules import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloud.console.i18n import Words
    from cloud.reports.data import Figures
    from cloud.reports.service import Archived

DASH: Final = "—"


class Cell(NamedTuple):
    """A value as it reads, and as a table of numbers holds it. form: text, count, number, share, duration."""

    text: str
    value: float | None = None
    form: str = "text"


class Table(NamedTuple):
    """A table. bars: the column of shares that a bar is drawn for, if any."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    bars: int | None = None


class Heat(NamedTuple):
    """Counts by weekday and hour."""

    title: str
    days: tuple[str, ...]
    counts: list[list[int]]
    most: int


class Section(NamedTuple):
    """A part of the document. key: its name among the words, `reviews.s_<key>`."""

    key: str
    title: str
    note: str = ""
    facts: Sequence[tuple[str, Cell]] = ()
    tables: Sequence[Table] = ()
    heats: Sequence[Heat] = ()


class Document(NamedTuple):
    """Everything. facts: what it is of; printed on each page's head."""

    language: str
    title: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]


def text(given: str) -> Cell:
    """Text from outside."""
    return Cell(plain(given))


def count(number: int) -> Cell:
    """A count."""
    return Cell(f"{number:,}", number, "count")


def number(value: float | None) -> Cell:
    """A number with one decimal."""
    return Cell(DASH) if value is None else Cell(f"{value:,.1f}", round(value, 6), "number")


def share(value: float | None) -> Cell:
    """A share."""
    return Cell(DASH) if value is None else Cell(f"{value:.1%}", round(value, 6), "share")


def duration(ms: int | None) -> Cell:
    """A duration: hours, minutes, seconds."""
    if ms is None:
        return Cell(DASH)
    seconds = (ms + 500) // 1000
    shown = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return Cell(shown, seconds, "duration")


class Writer:
    """The document of one review in one language."""

    def __init__(self, words: Words, archived: Archived) -> None:
        self.t = words
        self.view = archived.view
        self.figures: Figures = archived.figures
        self.zone = ZoneInfo(archived.view.zone)

    def word(self, key: str) -> str:
        """One of our words."""
        return self.t(f"reviews.{key}")

    def node(self, path: str) -> Cell:
        """What a node was called when the review was made."""
        zh, en = self.figures.names.get(path, (path, path))
        return text((zh if self.t.code == "zh" else en) or zh or path)

    def named(self, zh: str, en: str) -> Cell:
        """A thing with a name in each language."""
        return text((zh if self.t.code == "zh" else en) or zh or en)

    def time(self, time: datetime) -> str:
        """A time in the review's zone."""
        return f"{time.astimezone(self.zone):%Y-%m-%d %H:%M}"

    def head(self, *keys: str) -> tuple[str, ...]:
        """Words of columns."""
        return tuple(self.word(f"c_{key}") for key in keys)

    def section(
        self, key: str, *, note: str = "", facts: Sequence[tuple[str, Cell]] = (), tables: Sequence[Table] = (),
        heats: Sequence[Heat] = (),
    ) -> Section:  # fmt: skip
        """A section; one without anything says so."""
        shown = [table for table in tables if table.rows]
        empty = not (facts or shown or heats)
        note = self.word("n_nothing") if empty else note
        return Section(key, self.word(f"s_{key}"), note, facts, shown, heats)

    def period(self) -> str:
        """The period: whole days, or times where it was cut short."""
        last = self.view.to_at.astimezone(self.zone)
        if (last.hour, last.minute, last.second, last.microsecond) != (0, 0, 0, 0):
            return self.t(
                "reviews.period_cut", first=self.time(self.view.from_at), last=f"{last:%Y-%m-%d %H:%M}"
            )  # fmt: skip
        before = datetime.fromtimestamp(self.view.to_at.timestamp() - 1, self.zone)
        first = self.view.from_at.astimezone(self.zone)
        return self.t("reviews.period_text", first=f"{first:%Y-%m-%d}", last=f"{before:%Y-%m-%d}")

    def facts(self) -> list[tuple[str, str]]:
        """What the review is of, when and by whom it was made."""
        return [
            (self.word("node"), self.node(self.view.node).text), (self.word("period"), self.period()),
            (self.word("zone"), plain(self.view.zone)), (self.word("made"), self.time(self.view.created_at)),
            (self.word("by"), plain(self.t.person(self.view.created_by))),
        ]  # fmt: skip

    def title(self) -> str:
        """Its title."""
        kind = self.word(f"kind_{self.view.kind}")
        return self.t("reviews.document_title", node=self.node(self.view.node).text, kind=kind)
