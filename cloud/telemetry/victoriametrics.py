"""VictoriaMetrics: written as line protocol, queried by its export and by MetricsQL.

Owns what is peculiar to it. It keeps float64 samples only, so a reading is a sample of `patrol_value` with the labels
`gateway, device, metric, kind, unit, quality`: a boolean is 0 or 1, a text the label `text`, a position three samples
(lat, lon, acc; -1 when it is not known) with the label `day`, by which old tracks are deleted. It silently drops or
spoils some things that must be kept, so those go to an embedded store beside it (`telemetry-side.db`): times beyond its
retention or more than a day ahead, numbers beyond 1e15 (a block shares one decimal exponent: 1e300 turns its neighbours
into 0), long texts. It acknowledges before it writes, hence the journal. Run it with `-dedup.minScrapeInterval=1ms`;
two values written for one time leave one of the two.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec
import structlog
from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError

from cloud.telemetry.journal import Journal
from cloud.telemetry.lines import TIMEOUT_MS, LineWriter, first_line, pack_text
from cloud.telemetry.metricsql import (
    Units,
    answered_buckets,
    exported_rows,
    first_query,
    lines_of,
    selector,
    stepped_query,
    tracks,
)
from cloud.telemetry.rollup import Bucket, Row, fold_rows, page_of_buckets, page_of_rows, to_cell
from cloud.telemetry.sqlite import SqliteStore
from cloud.telemetry.store import (
    DAY_MS,
    DEFAULT_LIMIT,
    MINUTE_MS,
    Point,
    Series,
    checked_range,
    plain,
)
from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cloud.telemetry.store import History, Retention
    from firmware_specs.readings import Value

_log: Final = structlog.get_logger("telemetry")
MOST: Final = 1e15
LONGEST_TEXT: Final = 1000
_AHEAD_MS: Final = DAY_MS
_EARLIEST_MS: Final = 100 * DAY_MS
"""Queries whose lookbehind reaches back to 1970 find nothing."""
_STEPS_A_QUERY: Final = 5000
_FIRST_WINDOW_MS: Final = DAY_MS
_FLAG: Final = re.compile(r'^flag\{name="([A-Za-z.]+)", *value="([^"]*)"', re.MULTILINE)
_STARTED: Final = re.compile(r"^process_start_time_seconds (\S+)", re.MULTILINE)
_PERIOD: Final = re.compile(r"(\d+(?:\.\d+)?)([hdwy]?)")
_UNIT_DAYS: Final = {"h": 1 / 24, "d": 1, "w": 7, "y": 365, "": 31}
_UNKNOWN_RETENTION_DAYS: Final = 28.0


def retention_days(period: str) -> float:
    """The server's `-retentionPeriod` in days; a bare number is months, counted short."""
    match = _PERIOD.fullmatch(period.strip())
    return (
        float(match[1]) * min(_UNIT_DAYS[match[2]], 28 if not match[2] else 365) if match else _UNKNOWN_RETENTION_DAYS
    )


class VictoriaMetricsStore:
    """A TelemetryStore on a VictoriaMetrics server, single or cluster behind its usual paths."""

    def __init__(self, url: str, data_dir: Path, token: str | None, retention: Retention) -> None:
        self.name = f"telemetry victoriametrics {url}"
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = PoolManager(timeout=Timeout(connect=5, read=TIMEOUT_MS / 1000), retries=False)
        self._track_days = retention.track_days
        self._keeps_ms = round(_UNKNOWN_RETENTION_DAYS * DAY_MS)
        self._writer = LineWriter(self.name, self._url, token, "patrol", "patrol")
        self._side = SqliteStore(data_dir / "telemetry-side.db", retention)
        self._journal = Journal(data_dir / "telemetry-journal.db", self.name, self._started, self._writer.write)
        self._journal.ask()  # what it keeps is to be known from the first batch on

    def _get(self, path: str, **fields: str) -> bytes:
        try:
            if fields:
                headers = self._headers | {"Content-Type": "application/x-www-form-urlencoded"}
                answer = self._http.request("POST", self._url + path, body=urlencode(fields), headers=headers)
            else:
                answer = self._http.request("GET", self._url + path, headers=self._headers)
        except (HTTPError, OSError) as e:
            raise StoreError(self.name, f"not reachable: {first_line(e)}") from e
        if answer.status not in {200, 204}:
            raise StoreError(self.name, f"{path} answered {answer.status}: {first_line(answer.data)}")
        return answer.data

    def _started(self) -> str:
        """The server's process, by its start time; its flags are read along the way."""
        text = self._get("/metrics").decode("utf-8", "replace")
        flags = dict(_FLAG.findall(text))
        keeps_ms = round(retention_days(flags.get("retentionPeriod", "")) * DAY_MS)
        if keeps_ms != self._keeps_ms:
            _log.info("telemetry store tells its retention", store=self.name, keeps_days=keeps_ms / DAY_MS)
            self._keeps_ms = keeps_ms
        if flags.get("dedup.minScrapeInterval", "") in {"0s", "0"}:
            _log.warning(
                "repeats will be stored twice: start the server with -dedup.minScrapeInterval=1ms", store=self.name
            )
        match = _STARTED.search(text)
        return match[1] if match else ""

    def write(self, batch: Sequence[Point]) -> None:
        """See TelemetryStore: first on our own disk, then to the server."""
        earliest, latest = self._window_ms(time.time_ns() // 1_000_000)
        lines: list[str] = []
        aside: list[Point] = []
        for point in batch:
            value = plain(point.reading.value)
            if earliest <= point.reading.observed_at <= latest and _fits(value):
                lines += lines_of(point, value)
            else:
                aside.append(point)
        if aside:
            self._side.write(aside)
        if lines:
            self._journal.write(lines)

    def _window_ms(self, now_ms: int) -> tuple[int, int]:
        """The times that the server keeps."""
        return max(_EARLIEST_MS, now_ms - self._keeps_ms + DAY_MS), now_ms + _AHEAD_MS

    def history(
        self, series: Series, from_ms: int, to_ms: int, step_ms: int | None = None, limit: int = DEFAULT_LIMIT
    ) -> History:
        """See TelemetryStore. Steps of a minute and more are computed by the server, shorter ones here."""
        checked_range(from_ms, to_ms, step_ms, limit)
        units = Units()
        if step_ms is None:
            return page_of_rows(self._rows(series, from_ms, to_ms, limit + 1, units), units, limit)
        from_ms -= from_ms % step_ms
        if step_ms < MINUTE_MS:
            found = self._folded(series, from_ms, to_ms, step_ms, limit=limit, units=units)
            return page_of_buckets(found, units, limit)
        buckets: list[Bucket] = []
        while len(buckets) <= limit and (first := self._first(series, from_ms, to_ms)) is not None:
            from_ms = first - first % step_ms
            until = min(to_ms, from_ms + min(limit + 1, _STEPS_A_QUERY) * step_ms)
            buckets += self._buckets(series, from_ms, until, step_ms, units)
            from_ms = until
        return page_of_buckets(buckets, units, limit)

    def _folded(
        self, series: Series, from_ms: int, to_ms: int, step_ms: int, *, limit: int, units: Units
    ) -> list[Bucket]:
        """At least the first `limit` buckets and one more, made here of so many readings at a time."""
        buckets: list[Bucket] = []
        while len(buckets) <= limit and (rows := self._rows(series, from_ms, to_ms, limit + 1, units)):
            last = rows[-1].at
            from_ms = min(to_ms, last - last % step_ms + step_ms)
            buckets += fold_rows([*rows, *self._window(series, last + 1, from_ms, units)], step_ms)
        return buckets

    def _first(self, series: Series, from_ms: int, to_ms: int) -> int | None:
        """When the first reading of a range is, in either store."""
        times = [point.at_ms for point in self._side.history(series, from_ms, to_ms, None, 1).points]
        begin, end = self._clamp(from_ms, to_ms)
        if begin < end:
            last = _last(end)
            query = first_query(series, last - begin + 1)
            answer = self._get("/api/v1/query", query=query, time=_seconds(last), nocache="1")
            times += [round(float(one["value"][1]) * 1000) for one in _result(answer)]
        return min(times, default=None)

    @staticmethod
    def _clamp(from_ms: int, to_ms: int) -> tuple[int, int]:
        return max(_EARLIEST_MS, from_ms), min(to_ms, time.time_ns() // 1_000_000 + 2 * _AHEAD_MS)

    def _rows(self, series: Series, from_ms: int, to_ms: int, limit: int, units: Units) -> list[Row]:
        """At least the first `limit` readings of a range, in windows that grow while there are few."""
        found: list[Row] = []
        window_ms = _FIRST_WINDOW_MS
        while from_ms < to_ms and len(found) < limit:
            first = self._first(series, from_ms, to_ms)
            if first is None:
                break
            until = min(to_ms, first + window_ms)
            found += self._window(series, first, until, units)
            from_ms, window_ms = until, window_ms * 4
        return found

    def _window(self, series: Series, from_ms: int, to_ms: int, units: Units) -> list[Row]:
        found: dict[int, Row] = {}
        begin, end = self._clamp(from_ms, to_ms)
        if begin < end:
            fields = {"match[]": selector(series), "start": _seconds(begin), "end": _seconds(_last(end))}
            found = exported_rows(self._get("/api/v1/export", **fields).splitlines(), units)
        aside = self._side.history(series, from_ms, to_ms, None, 1_000_000).points
        for point in aside:
            found[point.at_ms] = Row(point.at_ms, to_cell(point.value), units.meta(point.unit, point.quality.value))
        return [found[at] for at in sorted(found) if from_ms <= at < to_ms]

    def _buckets(self, series: Series, from_ms: int, to_ms: int, step_ms: int, units: Units) -> list[Bucket]:
        found: dict[int, Bucket] = {}
        begin = max(-(-_EARLIEST_MS // step_ms) * step_ms, from_ms)
        if begin < to_ms:
            answer = self._get(
                "/api/v1/query_range", query=stepped_query(series, step_ms), start=_seconds(begin + step_ms - 1),
                end=_seconds(to_ms - to_ms % step_ms + step_ms - 1), step=f"{step_ms}ms", nocache="1",
            )  # fmt: skip
            found = {bucket.at: bucket for bucket in answered_buckets(_result(answer), step_ms, units)}
        again = {
            p.at_ms - p.at_ms % step_ms for p in self._side.history(series, from_ms, to_ms, None, 1_000_000).points
        }
        if to_ms % step_ms:
            again.add(to_ms - to_ms % step_ms)
        for at in again:
            found.pop(at, None)
            part = fold_rows(self._rows(series, at, min(at + step_ms, to_ms), 2**62, units), step_ms)
            found.update((bucket.at, bucket) for bucket in part)
        return [found[at] for at in sorted(found) if from_ms <= at < to_ms]

    def flush(self) -> None:
        """Make what was written visible to queries now instead of within some seconds. For tests."""
        self._get("/internal/force_flush")

    def retain(self, now_ms: int) -> None:
        """See TelemetryStore: the server keeps its own retention; here what stands beside it, and the days of tracks.

        A day of tracks goes as soon as any of it is too old.
        """
        self._side.retain(now_ms)
        self._journal.catch_up()
        span = {"start": _seconds(_EARLIEST_MS), "end": _seconds(now_ms + 2 * _AHEAD_MS)}
        known = msgspec.json.decode(self._get("/api/v1/label/day/values", **{"match[]": tracks()}, **span))["data"]
        old = [day for day in known if int(day) * DAY_MS < now_ms - self._track_days * DAY_MS]
        if old:
            self._get("/api/v1/admin/tsdb/delete_series", **{"match[]": tracks(old)})

    def stats(self) -> dict[str, float]:
        """Figures of the journal and of the store beside it."""
        return self._journal.stats() | {f"side_{name}": figure for name, figure in self._side.stats().items()}

    def away_s(self) -> float:
        """See TelemetryStore."""
        return self._journal.ask()

    def close(self) -> None:
        """Close the connections and the store beside it."""
        self._journal.close()
        self._writer.close()
        self._side.close()
        self._http.clear()


def _fits(value: Value) -> bool:
    """Whether the server would keep a value as it is."""
    if isinstance(value, float):
        return -MOST <= value <= MOST
    return not isinstance(value, str) or len(pack_text(value)) <= LONGEST_TEXT


def _last(end_ms: int) -> int:
    """The last millisecond of a range, as the server is to be asked.

    It finds nothing at midnight when a query ends there, so that one is a millisecond longer; callers leave out what
    lies beyond their range.
    """
    return end_ms if (end_ms - 1) % DAY_MS == 0 else end_ms - 1


def _seconds(ms: int) -> str:
    return f"{ms / 1000:.3f}"


def _result(answer: bytes) -> list[dict[str, Any]]:
    data: dict[str, Any] = msgspec.json.decode(answer)
    result: list[dict[str, Any]] = data["data"]["result"]
    return result
