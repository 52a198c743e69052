"""How values, times and ages read on a page. Pure.

Owns units, decimals, ages and rules in words; `static/js/format.js` says the same for values that arrive live, and a
browser test holds the two together. Everything here returns plain text: the templates escape it.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import TYPE_CHECKING, Final

from cloud.devices.models import PositionView
from firmware_specs.readings import Lane
from firmware_specs.schema import Above, Below, Equals, Missing, OneOf, RateOfRise

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from cloud.console.i18n import Words
    from firmware_specs.schema import AlarmRule, MetricSpec, Profile

UNITS: Final = {
    "Cel": "°C", "%RH": "%", "%EL": "%", "%obs/m": "%/m", "deg": "°", "count": "",
}  # fmt: skip
"""SenML names that people write otherwise."""
_WIDE: Final = Context(prec=60)
_HAN: Final = re.compile("[\u3400-\u9fff]")
DASH: Final = "—"
FACE_METRICS: Final = 4
"""A row of the device list shows this many metrics."""


def place(language: str, text: str) -> str:
    """A place in one language: that half of `某区/1号楼 · Area/Building 1`; anything else as it was written."""
    halves = text.split(" · ")
    if len(halves) != 2 or not 0 < halves[0].count("/") == halves[1].count("/"):
        return text
    zh, en = halves
    return text if not _HAN.search(zh) or _HAN.search(en) else zh if language == "zh" else en


def unit(name: str) -> str:
    """A unit as people write it."""
    return UNITS.get(name, name)


def number(value: float, decimals: int) -> str:
    """A number with its decimals, halves away from zero as in the page's script; no minus zero."""
    if not abs(value) < 1e21:  # not finite, or too large to be read digit by digit
        return f"{value:.6g}"
    text = f"{Decimal(value).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP, _WIDE):f}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def position(place: PositionView) -> str:
    """Latitude, longitude and accuracy."""
    accuracy = "" if place.accuracy_m is None else f" ±{place.accuracy_m:.0f} m"
    return f"{place.lat:.5f}, {place.lon:.5f}{accuracy}"


def value(words: Words, metric: str, given: object, spec: MetricSpec | None = None, named_unit: str = "") -> str:
    """A value with its unit, as one line of text."""
    if isinstance(given, bool):
        return words.flag(metric, given)
    if isinstance(given, int | float):
        shown = unit(named_unit or (spec.unit.value if spec else ""))
        digits = number(given, spec.precision if spec else 1)
        return f"{digits}{'' if shown in {'', '%', '°'} else ' '}{shown}"
    if isinstance(given, PositionView):
        return position(given)
    if isinstance(given, dict) and {"lat", "lon"} <= given.keys():
        return position(PositionView.model_validate(given))
    return str(given)


def ago(words: Words, seconds: float) -> str:
    """How long ago something was."""
    if seconds < 2:
        return words("age.now")
    unit_name, count = _largest(seconds)
    return words(f"age.{unit_name}", n=count)


def span(words: Words, seconds: float) -> str:
    """How long something takes or took."""
    unit_name, count = _largest(seconds)
    return words(f"span.{unit_name}", n=count)


def _largest(seconds: float) -> tuple[str, int]:
    """The unit in which a span reads best; below two of a unit the smaller one is used."""
    for name, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return name, int(seconds // size)
    return "s", max(0, int(seconds))


def moment(time: datetime | None, zone: ZoneInfo, now: datetime) -> str:
    """A time in the site's zone; the day is left out when it is today."""
    if time is None:
        return DASH
    local = time.astimezone(zone)
    if local.date() == now.astimezone(zone).date():
        return f"{local:%H:%M:%S}"
    return f"{local:%Y-%m-%d %H:%M:%S}"


def size(count: int) -> str:
    """Bytes as people read them."""
    amount = float(count)
    for name in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {name}" if name == "B" else f"{amount:.1f} {name}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def effective(observed: datetime, age_s: float, now: datetime) -> datetime:
    """The time from which an age counts: the observed one, unless its clock lies ahead."""
    return observed if observed <= now else now - timedelta(seconds=age_s)


def rule(words: Words, profile: Profile, judged: AlarmRule) -> str:
    """A rule in words: `烟雾 高于 0.25 %/m`, and for how long."""
    spec = profile.metrics[judged.metric]
    when = judged.when
    args: dict[str, object] = {"metric": words.pick(spec.title)}

    def shown(given: object) -> str:
        return value(words, judged.metric, given, spec)

    if isinstance(when, Above | Below):
        args["limit"] = shown(when.limit)
    elif isinstance(when, Equals):
        args["value"] = shown(when.value)
    elif isinstance(when, OneOf):
        args["values"] = ", ".join(when.values)
    elif isinstance(when, RateOfRise):
        args["limit"] = shown(when.per_minute)
    elif isinstance(when, Missing):
        args["span"] = span(words, when.after_s or profile.silent_after_ms / 1000)
    text = words(f"rule.{when.kind}", **args)
    if judged.for_s:
        text += words("rule.for", span=span(words, judged.for_s))
    if isinstance(when, Above | Below) and when.clear is not None:
        text += words("rule.hysteresis", clear=shown(when.clear))
    return text


def stale_after_s(profile: Profile | None, metric: str) -> float | None:
    """The age from which a value of a metric is out of date; None when no age makes it so.

    Three reporting intervals, and the time for which a value within its deadband is not repeated. An event, such as a
    check-in, is as old as it is.
    """
    spec = profile.metrics.get(metric) if profile else None
    if profile is None or spec is None or spec.lane is Lane.ALARMS:
        return None
    return profile.silent_after_ms / 1000 + (spec.heartbeat_s if spec.deadband is not None else 0)


def gap_ms(profile: Profile | None, metric: str) -> int | None:
    """The distance of two readings from which a line between them would be made up; None when there is none.

    Three reporting intervals, and the time for which a value within its deadband is not repeated.
    """
    spec = profile.metrics.get(metric) if profile else None
    if profile is None or spec is None or spec.lane is Lane.ALARMS:
        return None
    return round(1000 * (3 * profile.interval_s + (spec.heartbeat_s if spec.deadband is not None else 0)))


def face(profile: Profile | None, known: list[str]) -> list[str]:
    """The metrics that a row shows, most telling first: those that its profile names first, battery last."""
    names = list(profile.metrics) if profile else []
    names += [name for name in known if name not in names]
    names.sort(key=lambda name: name == "battery")
    battery = [name for name in names if name == "battery"]
    return [name for name in names if name != "battery"][: FACE_METRICS - len(battery)] + battery
