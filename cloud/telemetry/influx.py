"""InfluxDB 2: written as line protocol, queried in Flux.

Owns the layout there: measurement `patrol`, tags gateway, device and metric, one field a kind of value (`number`,
`bool`, `text`, `lat`, `lon`, `acc`) and the fields `kind`, `unit`, `quality`. Same tags and time overwrite field by
field, and `kind` says which of them the last write meant. The bucket's own retention applies, and positions are deleted
when their own is over.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from cloud.telemetry.journal import Journal
from cloud.telemetry.lines import MEASUREMENT, LineWriter, field_text, first_line, tag
from cloud.telemetry.metricsql import Units
from cloud.telemetry.rollup import Row, fold_rows, page_of_buckets, page_of_rows, to_cell
from cloud.telemetry.store import (
    DEFAULT_LIMIT,
    TRACK_METRIC,
    Point,
    PointRefused,
    Series,
    checked_range,
    plain,
)
from firmware_specs.errors import StoreError
from firmware_specs.readings import Position

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cloud.telemetry.store import History, Retention
    from firmware_specs.readings import Value

LONGEST_TEXT: Final = 65_000
_EARLIEST_MS: Final = -9_223_372_036_854
_LATEST_MS: Final = 9_223_372_036_854
_PAGE: Final = 20_000


class InfluxStore:
    """A TelemetryStore on InfluxDB 2. url: `http(s)://host:port?org=…&bucket=…`."""

    def __init__(self, url: str, data_dir: Path, token: str | None, retention: Retention) -> None:
        self._track_days = retention.track_days
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        self.name = f"telemetry influxdb {parts.scheme}://{parts.netloc}"
        missing = [name for name in ("org", "bucket") if name not in query]
        if missing:
            raise StoreError(self.name, f"url has no {' and no '.join(missing)}: add ?org=…&bucket=…")
        if not token:
            raise StoreError(self.name, "no token: set token_file or PATROL_TELEMETRY_TOKEN")
        self._bucket = query["bucket"][0]
        address = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
        self._writer = LineWriter(self.name, address, token, query["org"][0], self._bucket)
        self._org = query["org"][0]
        self._query = self._writer.client.query_api()
        self._delete = self._writer.client.delete_api()
        self._journal = Journal(data_dir / "telemetry-journal-influx.db", self.name, self._started, self._writer.write)

    def _started(self) -> str:
        """Which process the server is makes no difference: it writes before it acknowledges. Raises StoreError."""
        if not self._writer.client.ping():
            raise StoreError(self.name, "not reachable")
        return "any"

    def write(self, batch: Sequence[Point]) -> None:
        """See TelemetryStore. Of one time only the last is sent: in one request none is the later."""
        latest = {(gateway, r.device, r.metric, r.observed_at): Point(gateway, r) for gateway, r in batch}
        if latest:
            self._journal.write([self._line(point) for point in latest.values()])

    def _line(self, point: Point) -> str:
        reading = point.reading
        if not _EARLIEST_MS < reading.observed_at < _LATEST_MS:
            raise PointRefused(self.name, f"time {reading.observed_at} ms is beyond what the server can keep")
        value = plain(reading.value)
        if isinstance(value, str) and len(value.encode()) > LONGEST_TEXT:
            raise PointRefused(self.name, f"text of {len(value)} characters is longer than {LONGEST_TEXT} bytes")
        tags = f"gateway={tag(point.gateway)},device={tag(reading.device)},metric={tag(reading.metric)}"
        unit, quality = field_text(reading.unit), field_text(reading.quality.value)
        return f"{MEASUREMENT},{tags} {_fields(value)},unit={unit},quality={quality} {reading.observed_at}"

    def history(
        self, series: Series, from_ms: int, to_ms: int, step_ms: int | None = None, limit: int = DEFAULT_LIMIT
    ) -> History:
        """See TelemetryStore. Buckets are folded here, so that they mean the same as in every store."""
        checked_range(from_ms, to_ms, step_ms, limit)
        units = Units()
        if step_ms is None:
            return page_of_rows(list(self._rows(series, from_ms, to_ms, limit + 1, units)), units, limit)
        buckets = fold_rows(self._all_rows(series, from_ms - from_ms % step_ms, to_ms, units), step_ms)
        return page_of_buckets(list(islice(buckets, limit + 1)), units, limit)

    def _all_rows(self, series: Series, from_ms: int, to_ms: int, units: Units) -> Iterator[Row]:
        while from_ms < to_ms:
            rows = list(self._rows(series, from_ms, to_ms, _PAGE, units))
            yield from rows
            if len(rows) < _PAGE:
                return
            from_ms = rows[-1].at + 1

    def _rows(self, series: Series, from_ms: int, to_ms: int, limit: int, units: Units) -> Iterator[Row]:
        begin, end = max(from_ms, _EARLIEST_MS + 1), min(to_ms, _LATEST_MS - 1)
        if begin >= end:
            return
        same = (f" and r.{name} == {_quoted(part)}" for name, part in zip(series._fields, series, strict=True))
        flux = "\n".join((
            f"from(bucket: {json.dumps(self._bucket)})",
            f"|> range(start: time(v: {begin * 1_000_000}), stop: time(v: {end * 1_000_000}))",
            f'|> filter(fn: (r) => r._measurement == "{MEASUREMENT}"{"".join(same)})',
            '|> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")',
            '|> group() |> sort(columns: ["_time"])',
            f"|> limit(n: {limit})",
        ))  # fmt: skip
        try:
            records = [record.values for table in self._query.query(flux) for record in table.records]
        except ApiException as e:
            raise StoreError(self.name, f"query refused: {e.status} {first_line(e.body or e.reason)}") from e
        except (HTTPError, OSError) as e:
            raise StoreError(self.name, f"not reachable: {first_line(e)}") from e
        for values in records:
            at = round(values["_time"].timestamp() * 1000)
            yield Row(at, to_cell(_value(values)), units.meta(values["unit"], values["quality"]))

    def retain(self, now_ms: int) -> None:
        """See TelemetryStore: the bucket has its own retention, positions have ours."""
        until = datetime.fromtimestamp(now_ms / 1000, UTC) - timedelta(days=self._track_days)
        which = f'_measurement="{MEASUREMENT}" AND metric="{TRACK_METRIC}"'
        begin = datetime.fromtimestamp(0, UTC)
        try:
            self._delete.delete(begin, until, which, bucket=self._bucket, org=self._org)
        except ApiException as e:
            raise StoreError(self.name, f"deletion refused: {e.status} {first_line(e.body or e.reason)}") from e
        except (HTTPError, OSError) as e:
            raise StoreError(self.name, f"not reachable: {first_line(e)}") from e

    def stats(self) -> dict[str, float]:
        """Figures of the journal; the server has its own."""
        return self._journal.stats()

    def away_s(self) -> float:
        """See TelemetryStore."""
        return self._journal.ask()

    def close(self) -> None:
        """Close the journal and the connections."""
        self._journal.close()
        self._writer.close()


def _quoted(text: str) -> str:
    """A Flux string: `$` of an interpolation is escaped as well."""
    return json.dumps(text, ensure_ascii=False).replace("${", "\\${")


def _fields(value: Value) -> str:
    if isinstance(value, bool):
        return f'bool={"true" if value else "false"},kind="bool"'
    if isinstance(value, str):
        return f'text={field_text(value)},kind="text"'
    if isinstance(value, Position):
        accuracy = -1.0 if value.accuracy_m is None else value.accuracy_m
        return f'lat={value.lat!r},lon={value.lon!r},acc={accuracy!r},kind="place"'
    return f'number={value!r},kind="number"'


def _value(values: dict[str, Any]) -> Value:
    kind = values["kind"]
    if kind == "place":
        return Position(values["lat"], values["lon"], None if values["acc"] < 0 else values["acc"])
    value: Value = values[kind]
    return value
