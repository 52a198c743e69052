"""MetricsQL and the answers to it: how readings look as samples of VictoriaMetrics. Pure.

Owns the labels. Each point is one sample of `patrol_value`, but a position is three (kinds lat, lon, acc), of a series
for each day: the server deletes whole series only, and a track is kept for days.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cloud.telemetry.lines import MEASUREMENT, pack_text, tag, unpack_text
from cloud.telemetry.rollup import BY_RANK, RANK, Bucket, Cell, Row, to_cell
from cloud.telemetry.store import DAY_MS
from firmware_specs.readings import Position, Quality

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cloud.telemetry.store import Point, Series
    from firmware_specs.readings import Value

UNKNOWN_ACCURACY: Final = -1.0
_FUNCTIONS: Final = ("sum", "min", "max", "count", "last", "tlast")
_PLACE: Final = ("lat", "lon", "acc")


class Units(dict[int, str]):
    """Names of units by their numbers within one answer."""

    def meta(self, unit: str, quality: str) -> int:
        """Unit number * 4 + quality rank."""
        number = next((number for number, name in self.items() if name == unit), len(self))
        self[number] = unit
        return number << 2 | RANK[Quality(quality)]


def lines_of(point: Point, value: Value) -> list[str]:
    """A point as line protocol; value: its reading's, plain."""
    reading = point.reading
    if type(value) is float:
        head = _head(point.gateway, reading.device, reading.metric, reading.unit, reading.quality)
        return [f"{head}{value!r} {reading.observed_at}"]
    head = f"{MEASUREMENT},gateway={tag(point.gateway)},device={tag(reading.device)},metric={tag(reading.metric)}"
    unit = f",unit={tag(pack_text(reading.unit))}" if reading.unit else ""
    rest = f"{unit},quality={reading.quality.value}"
    return [
        f"{head},kind={kind}{rest}{label} value={number!r} {reading.observed_at}"
        for kind, number, label in _parts(value, reading.observed_at // DAY_MS)
    ]


@lru_cache(maxsize=100_000)
def _head(gateway: str, device: str, metric: str, unit: str, quality: Quality) -> str:
    """What the lines of a number have in common, up to the number."""
    labels = f",unit={tag(pack_text(unit))}" if unit else ""
    return (
        f"{MEASUREMENT},gateway={tag(gateway)},device={tag(device)},metric={tag(metric)},kind=number{labels}"
        f",quality={quality.value} value="
    )


def _parts(value: Value, day: int) -> Iterator[tuple[str, float, str]]:
    if isinstance(value, bool):
        yield "bool", float(value), ""
    elif isinstance(value, str):
        yield "text", 1.0, f",text={tag(pack_text(value))}"
    elif isinstance(value, Position):
        accuracy = UNKNOWN_ACCURACY if value.accuracy_m is None else value.accuracy_m
        yield from (
            (kind, part, f",day={day}") for kind, part in zip(_PLACE, (value.lat, value.lon, accuracy), strict=True)
        )
    else:
        yield "number", value, ""


def selector(series: Series) -> str:
    """The samples of a series."""
    labels = ",".join(f"{name}={json.dumps(part)}" for name, part in zip(series._fields, series, strict=True))
    return f"{MEASUREMENT}_value{{{labels}}}"


def tracks(days: Iterable[str] | None = None) -> str:
    """The samples of positions: of every series, or of some days and of those without a day."""
    which = "" if days is None else f',day=~"{"|".join(("", *days))}"'
    return f'{MEASUREMENT}_value{{kind=~"{"|".join(_PLACE)}"{which}}}'


def first_query(series: Series, span_ms: int) -> str:
    """When the first sample of the span before the query's time was, in seconds, by series."""
    return f"tfirst_over_time({selector(series)}[{span_ms}ms])"


def stepped_query(series: Series, step_ms: int) -> str:
    """All that a bucket needs, each function marked by the label `f`."""
    window = f"{selector(series)}[{step_ms}ms]"
    return "union(" + ",".join(f'label_set({name}_over_time({window}),"f","{name}")' for name in _FUNCTIONS) + ")"


def exported_rows(lines: Iterable[bytes], units: Units) -> dict[int, Row]:
    """Rows of an export. Of two samples for one time the one of better quality is taken."""
    found: dict[int, Row] = {}
    places: dict[tuple[int, int], dict[str, float]] = {}
    answers = [msgspec.json.decode(line) for line in lines if line.strip()]
    answers.sort(key=lambda answer: RANK[Quality(answer["metric"].get("quality", "good"))], reverse=True)
    for answer in answers:
        labels: dict[str, str] = answer["metric"]
        meta = _meta(labels, units)
        kind = labels.get("kind", "number")
        for at, number in zip(answer["timestamps"], answer["values"], strict=True):
            if number is None:
                continue
            if kind in _PLACE:
                places.setdefault((at, meta), {})[kind] = float(number)
            else:
                found[at] = Row(at, _cell(kind, float(number), labels), meta)
    for (at, meta), parts in places.items():
        if "lat" in parts and "lon" in parts:
            found[at] = Row(at, _place(parts), meta)
    return found


def _meta(labels: dict[str, str], units: Units) -> int:
    unit = labels.get("unit", "")
    return units.meta(unpack_text(unit) if unit else "", labels.get("quality", "good"))


def _cell(kind: str, number: float, labels: dict[str, str]) -> Cell:
    if kind == "bool":
        return int(number)
    return unpack_text(labels.get("text", "t:")) if kind == "text" else number


def _place(parts: dict[str, float]) -> Cell:
    accuracy = parts.get("acc", UNKNOWN_ACCURACY)
    return to_cell(Position(parts["lat"], parts["lon"], None if accuracy < 0 else accuracy))


class _Part:
    """What one bucket has of one unit, quality, kind, text and day; of a position all three kinds."""

    __slots__ = ("figures", "kind", "labels", "meta")

    def __init__(self, kind: str, meta: int, labels: dict[str, str]) -> None:
        self.kind = kind
        self.meta = meta
        self.labels = labels
        self.figures: dict[tuple[str, str], float] = {}

    def get(self, name: str, kind: str = "") -> float:
        """A figure by its function; kind: of a position `lat`, `lon` or `acc`."""
        return self.figures.get((kind or ("lat" if self.kind == "place" else self.kind), name), 0.0)

    def cell(self) -> Cell:
        """Its last value."""
        if self.kind == "place":
            return _place({kind: self.get("last", kind) for kind in _PLACE})
        return _cell(self.kind, self.get("last"), self.labels)


def answered_buckets(result: Iterable[dict[str, Any]], step_ms: int, units: Units) -> list[Bucket]:
    """Buckets of the answer to `stepped_query`, asked at the last millisecond of each."""
    parts: dict[int, dict[tuple[str, ...], _Part]] = {}
    for answer in result:
        labels: dict[str, str] = answer["metric"]
        kind, meta = labels.get("kind", "number"), _meta(labels, units)
        family = "place" if kind in _PLACE else kind
        key = (family, str(meta), labels.get("text", ""), labels.get("day", ""))
        for seconds, text in answer["values"]:
            at = round(float(seconds) * 1000) + 1 - step_ms
            part = parts.setdefault(at, {}).get(key)
            if part is None:
                part = parts[at][key] = _Part(family, meta, labels)
            part.figures[kind, labels["f"]] = float(text)
    return [_bucket(at, list(parts[at].values())) for at in sorted(parts)]


def _bucket(at: int, parts: list[_Part]) -> Bucket:
    usable = [part for part in parts if BY_RANK[part.meta & 3] is not Quality.BAD] or parts
    last = max(usable, key=lambda part: part.get("tlast"))
    meta = last.meta >> 2 << 2 | max(part.meta & 3 for part in usable)
    if last.kind != "number":
        return Bucket(at, round(sum(part.get("count") for part in usable)), None, None, None, last.cell(), meta)
    same = [part for part in usable if part.kind == "number" and part.meta >> 2 == last.meta >> 2]
    return Bucket(
        at, round(sum(part.get("count") for part in same)), sum(part.get("sum") for part in same),
        min(part.get("min") for part in same), max(part.get("max") for part in same), last.get("last"), meta,
    )  # fmt: skip
