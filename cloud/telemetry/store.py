"""What a telemetry store is: idempotent writes, history raw or down-sampled, retention.

Owns the protocol and the values that cross it, and nothing of any database. Times are integer milliseconds UTC.
A store raises StoreError when it cannot serve now (retry), PointRefused when a point can never be kept (do not).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from firmware_specs.errors import PatrolError, StoreError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from firmware_specs.readings import Quality, Reading, Value

DAY_MS: Final = 86_400_000
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DEFAULT_LIMIT: Final = 10_000
WRONG_CLOCK_BEFORE_MS: Final = 1_577_836_800_000
"""2020-01-01: an observed time before it comes from a clock that was never set; its age counts from when it came."""
TRACK_METRIC: Final = "position"
"""The metric whose history is a track of a person: kept for `Retention.track_days` at any resolution."""


class PointRefused(PatrolError):  # noqa: N818 - states what happened to the point
    """A point that this store can never keep: set its pack aside, do not retry."""

    def __init__(self, store: str, reason: str) -> None:
        self.store = store
        self.reason = reason
        super().__init__(f"{store}: {reason}")


class Point(NamedTuple):
    """A reading of a gateway, to be kept."""

    gateway: str
    reading: Reading


class Series(NamedTuple):
    """One metric of one device of one gateway."""

    gateway: str
    device: str
    metric: str


class HistoryPoint(NamedTuple):
    """One point of a history.

    Raw: the value as it was read; `readings` is 1, `low` and `high` are None.
    Down-sampled: `at_ms` is the bucket's beginning; of numbers `value` is the mean, `low` and `high` the least and
    the greatest, of anything else `value` is the last; `readings` is how many counted. Bad values count only in a
    bucket that has nothing better; `quality` is the worst of what counted, and readings in another unit than the
    bucket's last are left out.
    """

    at_ms: int
    value: Value
    quality: Quality
    unit: str
    low: float | None = None
    high: float | None = None
    readings: int = 1


class History(NamedTuple):
    """Points ascending in time, one per time; `next_ms` is where the next page begins, None at the end."""

    points: list[HistoryPoint]
    next_ms: int | None = None


class Retention(NamedTuple):
    """How many days each resolution is kept; a store that has only one keeps it for its own period."""

    raw_days: int = 90
    minute_days: int = 400
    hour_days: int = 3650
    track_days: int = 7


class TelemetryStore(Protocol):
    """Safe to use from any thread; writes of several threads or processes may interleave."""

    name: str
    """For messages: `telemetry sqlite`, `telemetry victoriametrics http://…`."""

    def write(self, batch: Sequence[Point]) -> None:
        """Keep readings; on return they survive the death of any process.

        Idempotent: same gateway, device, metric and observed time overwrite, the later in the batch wins.
        Raises StoreError when it cannot be done now, PointRefused when one of the points can never be kept;
        either way any part of the batch may have been kept.
        """

    def history(
        self, series: Series, from_ms: int, to_ms: int, step_ms: int | None = None, limit: int = DEFAULT_LIMIT
    ) -> History:
        """What is kept of a series in `from_ms <= time < to_ms`, at most `limit` points, oldest first.

        step_ms: None for readings as stored, else the bucket width; buckets begin at multiples of it since 1970
        and `from_ms` is rounded down to one. A series that is not known has no points. Raises StoreError.
        """

    def retain(self, now_ms: int) -> None:
        """Delete what is older than the retention. Raises StoreError."""

    def stats(self) -> Mapping[str, float]:
        """Figures for `/metrics`, name to value. Raises StoreError."""

    def away_s(self) -> float:
        """For how long the server behind it has not answered, asked now; 0 when it serves."""

    def close(self) -> None:
        """Finish; the store is not used afterwards."""


def plain(value: Value) -> Value:
    """The value as stores keep it: whole numbers as floats, a number that is not finite as its name."""
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return float(value) if math.isfinite(value) else str(float(value))
    return value


def checked_range(from_ms: int, to_ms: int, step_ms: int | None, limit: int) -> None:
    """Raises ValueError, naming the argument, when a history cannot be asked for so."""
    if not -(2**53) < from_ms <= to_ms < 2**53:
        raise ValueError(f"from {from_ms} to {to_ms}: not a range of milliseconds")
    if step_ms is not None and not 1 <= step_ms <= 366 * DAY_MS:
        raise ValueError(f"step {step_ms} ms: not between 1 ms and 366 days")
    if limit < 1:
        raise ValueError(f"limit {limit}: at least 1")


def open_store(
    url: str, data_dir: Path, *, token: str | None = None, retention: Retention | None = None
) -> TelemetryStore:
    """The store that a URL names; its library is loaded only then.

    url: `sqlite` (a file in data_dir), `influxdb+http(s)://host:port?org=…&bucket=…` or
    `victoriametrics+http(s)://host:port`. token: InfluxDB's token or VictoriaMetrics' bearer token.
    Raises StoreError naming the URL and the cause.
    """
    retention = retention or Retention()
    if url == "sqlite":
        from cloud.telemetry.sqlite import SqliteStore  # noqa: PLC0415 - each store brings its own library

        return SqliteStore(data_dir / "telemetry.db", retention)
    kind, plus, address = url.partition("+")
    if plus and urlsplit(address).scheme in {"http", "https"} and urlsplit(address).hostname:
        if kind == "victoriametrics":
            from cloud.telemetry.victoriametrics import VictoriaMetricsStore  # noqa: PLC0415 - as above

            return VictoriaMetricsStore(address, data_dir, token, retention)
        if kind == "influxdb":
            from cloud.telemetry.influx import InfluxStore  # noqa: PLC0415 - as above

            return InfluxStore(address, data_dir, token, retention)
    hint = nearest(kind, ("sqlite", "influxdb+http", "influxdb+https", "victoriametrics+http"))
    raise StoreError("telemetry", f"url {url!r} names no store{hint}")
