"""A review's document as XLSX: one sheet a section, what it is of on the first and at the head of every printed page.

Text is written as text and never read as a formula, a link or a number; numbers are numbers. The file carries the time
at which the review was made and nothing of the present, so the same review gives the same bytes.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import xlsxwriter

if TYPE_CHECKING:
    from datetime import datetime

    from cloud.reports.document import Cell, Document, Heat, Section

_OPTIONS: Final = {
    "in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False,
}  # fmt: skip
_FORMATS: Final = {"count": "#,##0", "number": "#,##0.0", "share": "0.0%", "duration": "[h]:mm:ss"}
_DAY_S: Final = 86_400
_WIDEST: Final = 60
_A4: Final = 9
_LONGEST_HEAD: Final = 240
"""The format has room for 255 characters."""
_NOT_IN_A_NAME: Final = dict.fromkeys(map(ord, "[]:*?/\\'"))


class Sheets:
    """The workbook of one document."""

    def __init__(self, made_at: datetime) -> None:
        self._file = io.BytesIO()
        self._book = xlsxwriter.Workbook(self._file, _OPTIONS)
        self._book.set_properties({"created": made_at.replace(tzinfo=None), "author": "PatrolGrid"})
        self._bold = self._book.add_format({"bold": True})
        self._head_of = self._book.add_format({"bold": True, "bottom": 1, "bg_color": "#E8EEF6", "text_wrap": True})
        self._title = self._book.add_format({"bold": True, "font_size": 14})
        self._wrap = self._book.add_format({"text_wrap": True, "valign": "top"})
        self._forms = {form: self._book.add_format({"num_format": code}) for form, code in _FORMATS.items()}

    def write(self, document: Document) -> bytes:
        """The file."""
        for section in document.sections:
            sheet = self._book.add_worksheet(section.title.translate(_NOT_IN_A_NAME)[:31])
            _paper(sheet, document)
            row = self._head(sheet, document) if section is document.sections[0] else 0
            self._section(sheet, section, row)
        self._book.close()
        return self._file.getvalue()

    def _head(self, sheet: Any, document: Document) -> int:  # noqa: ANN401 - XlsxWriter is not typed
        sheet.write_string(0, 0, document.title, self._title)
        for row, (label, value) in enumerate(document.facts, 1):
            sheet.write_string(row, 0, label)
            sheet.write_string(row, 1, value)
        return len(document.facts) + 2

    def _section(self, sheet: Any, section: Section, row: int) -> None:  # noqa: ANN401
        widths: dict[int, int] = {}
        sheet.write_string(row, 0, section.title, self._title)
        if section.note:
            row += 1
            sheet.write_string(row, 0, section.note)
        row += 1
        for label, cell in section.facts:
            row += 1
            sheet.write_string(row, 0, label)
            widths[0] = max(widths.get(0, 0), _width(label))
            self._cell(sheet, row, 1, cell, widths)
        for table in section.tables:
            row += 2
            if table.title:
                sheet.write_string(row, 0, table.title, self._bold)
                row += 1
            for column, name in enumerate(table.head):
                sheet.write_string(row, column, name, self._head_of)
                widths[column] = max(widths.get(column, 0), _width(name))
            for cells in table.rows:
                row += 1
                for column, cell in enumerate(cells):
                    self._cell(sheet, row, column, cell, widths)
        for heat in section.heats:
            row = self._heat(sheet, heat, row + 2)
        for column, width in widths.items():
            sheet.set_column(column, column, min(width + 2, _WIDEST))

    def _cell(self, sheet: Any, row: int, column: int, cell: Cell, widths: dict[int, int]) -> None:  # noqa: ANN401
        widths[column] = max(widths.get(column, 0), _width(cell.text))
        if cell.value is None:
            sheet.write_string(row, column, cell.text, self._wrap)
        else:
            value = cell.value / _DAY_S if cell.form == "duration" else cell.value
            sheet.write_number(row, column, value, self._forms[cell.form])

    def _heat(self, sheet: Any, heat: Heat, row: int) -> int:  # noqa: ANN401
        sheet.write_string(row, 0, heat.title, self._bold)
        row += 1
        for hour in range(24):
            sheet.write_string(row, hour + 1, f"{hour:02}", self._bold)
        for day, counts in zip(heat.days, heat.counts, strict=True):
            row += 1
            sheet.write_string(row, 0, day)
            for hour, count in enumerate(counts):
                sheet.write_number(row, hour + 1, count)
        return row


def _paper(sheet: Any, document: Document) -> None:  # noqa: ANN401
    """A4 across, as wide as the page; the head says what it is of, in which `&` would begin a code."""
    sheet.set_landscape()
    sheet.set_paper(_A4)
    sheet.fit_to_pages(1, 0)
    told = " · ".join((document.title, document.facts[1][1], document.facts[2][1])).replace("&", "&&")
    sheet.set_header(f"&L{told[:_LONGEST_HEAD]}")
    sheet.set_footer("&R&P / &N")


def _width(text: str) -> int:
    """Roughly how wide a text is; a Chinese character takes two."""
    return sum(2 if ord(character) > 0x2E7F else 1 for character in text)


def xlsx(document: Document, made_at: datetime) -> bytes:
    """The document as a workbook."""
    return Sheets(made_at).write(document)
