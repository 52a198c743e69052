"""The printer: HTML from standard input to PDF on standard output, in a process of its own.

Owns WeasyPrint. A process of its own, because the libraries below it are C: without any font they take the whole
process down, and a long document would hold up alarms. It fetches nothing: whatever the HTML asks for is refused,
`data:` excepted. Ends with LIBRARIES or FONTS when those are missing.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

LIBRARIES: Final = 3
FONTS: Final = 4
PROBE: Final = '<html lang="zh-CN"><p>审'
_CHINESE: Final = range(0x4E00, 0xA000)


class _Missing(logging.Handler):
    """Notices Chinese characters that no font has."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found = False

    def emit(self, record: logging.LogRecord) -> None:
        if str(record.msg).startswith(".notdef") and isinstance(record.args, tuple):
            self.found = self.found or record.args[-1] in _CHINESE


def make(html: str, **options: Any) -> bytes:  # noqa: ANN401 - WeasyPrint's own
    """The PDF of a page. Raises OSError when a library is missing."""
    from weasyprint import HTML  # noqa: PLC0415 - heavy, and needs libraries of the system
    from weasyprint.urls import URLFetcher  # noqa: PLC0415

    fetcher = URLFetcher(allowed_protocols=("data",), allow_redirects=False)
    made: bytes = HTML(string=html, url_fetcher=fetcher).write_pdf(**options)
    return made


def main() -> int:
    """One document."""
    notice = _Missing()
    log = logging.getLogger("weasyprint")
    log.addHandler(notice)
    try:
        made = make(sys.stdin.buffer.read().decode())
    except OSError as e:
        sys.stderr.write(f"printer: {e}\n")
        return LIBRARIES
    if notice.found:  # one rare character, or no Chinese font at all?
        notice.found = False
        make(PROBE)
        if notice.found:
            return FONTS
    sys.stdout.buffer.write(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
