"""Line protocol, and the influxdb-client that writes it: shared by the stores that speak it.

Owns influxdb-client. Writes are synchronous: the client's own batching loses points silently. One line a value; times
in milliseconds.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT_MS: Final = 30_000
MEASUREMENT: Final = "patrol"
_TAG: Final = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ "})
_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f%\\,="]')


def tag(text: str) -> str:
    """A tag's value, escaped; it must have no control characters and not be empty."""
    return text.translate(_TAG)


def pack_text(text: str) -> str:
    """Any text as a tag's value that is never empty: what a tag cannot hold is percent-encoded."""
    return "t:" + _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", text)


def unpack_text(text: str) -> str:
    """The text that `pack_text` packed."""
    return unquote(text[2:])


def field_text(text: str) -> str:
    """A text field, quoted."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class LineWriter:
    """Writes lines to `/api/v2/write`."""

    def __init__(self, store: str, url: str, token: str | None, org: str, bucket: str) -> None:
        self._store = store
        self._org = org
        self._bucket = bucket
        self.client = InfluxDBClient(url=url, token=token or "", org=org, timeout=TIMEOUT_MS)
        self._api = self.client.write_api(write_options=SYNCHRONOUS)

    def write(self, lines: Sequence[str]) -> None:
        """Write lines; returns when the server has taken them. Raises StoreError."""
        try:
            self._api.write(
                bucket=self._bucket,
                org=self._org,
                record="\n".join(lines).encode(),
                write_precision=WritePrecision.MS,  # type: ignore[arg-type] # it is a str
            )
        except ApiException as e:
            raise StoreError(self._store, f"write refused: {e.status} {first_line(e.body or e.reason)}") from e
        except (HTTPError, OSError) as e:
            raise StoreError(self._store, f"not reachable: {first_line(e)}") from e

    def close(self) -> None:
        """Close the connections."""
        self._api.close()  # type: ignore[no-untyped-call]
        self.client.close()  # type: ignore[no-untyped-call]


def first_line(thing: object) -> str:
    """The first line of an error or an answer, bounded."""
    text = thing.decode("utf-8", "replace") if isinstance(thing, bytes) else str(thing)
    return next(iter(text.strip().splitlines()), type(thing).__name__)[:300]
