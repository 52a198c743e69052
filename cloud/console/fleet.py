"""How devices read on a page: their metrics as slots that a live event can fill, and counts by kind.

A slot carries what the page's script needs to write a later value the same way: decimals, unit, words of a boolean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from markupsafe import Markup

from cloud import catalogue
from cloud.console import show
from cloud.console.pages import environment
from cloud.console.ui import Ui, bar
from cloud.devices.models import DeviceState

if TYPE_CHECKING:
    from cloud.devices.models import DeviceView, StateCounts
    from firmware_specs.schema import MetricSpec, Profile


class Slot(NamedTuple):
    """One metric of a device as shown. marks: attributes for the script. wide: a text, not a figure."""

    title: str
    text: str
    quality: str
    marks: Markup
    age: Markup
    wide: bool


def marks(ui: Ui, metric: str, spec: MetricSpec | None, unit: str = "") -> Markup:
    """The attributes of a slot, escaped."""
    kind = spec.type if spec else "number"
    named = {
        "data-metric": metric,
        "data-type": kind,
        "data-unit": unit or (spec.unit.value if spec else ""),
        "data-precision": str(spec.precision if spec else 1),
        "data-true": ui.t.flag(metric, True),
        "data-false": ui.t.flag(metric, False),
    }
    return Markup(" ").join(Markup('{}="{}"').format(Markup(name), value) for name, value in named.items())  # noqa: S704 - our own names


def age_mark(ui: Ui, latest_at: Any, stale_s: float | None) -> Markup:  # noqa: ANN401 - datetime or None
    """An age that ticks, and that says when it is too old."""
    module: Any = environment().get_template("parts.html").module
    return Markup(module.age(ui, latest_at, stale_s))  # noqa: S704 - the macro escapes


def slot(ui: Ui, device: DeviceView, metric: str, profile: Profile | None) -> Slot:
    """One metric of a device, whether a value is known or not."""
    spec = profile.metrics.get(metric) if profile else None
    latest = device.latest.get(metric)
    title = ui.t.pick(spec.title) if spec else metric
    stale_s = show.stale_after_s(profile, metric)
    wide = bool(spec and spec.type in {"text", "position"}) or bool(latest and isinstance(latest.value, str))
    if latest is None:
        return Slot(title, show.DASH, "good", marks(ui, metric, spec), age_mark(ui, None, stale_s), wide)
    at = show.effective(latest.observed_at, latest.age_s, ui.now)
    text = show.value(ui.t, metric, latest.value, spec, latest.unit)
    return Slot(
        title, text, latest.quality.value, marks(ui, metric, spec, latest.unit), age_mark(ui, at, stale_s), wide
    )


def row(ui: Ui, device: DeviceView) -> dict[str, object]:
    """A device as a row of the list: its title, its face metrics, the age of its youngest value."""
    profile = catalogue.profile(device.profile)
    times = [show.effective(each.observed_at, each.age_s, ui.now) for each in device.latest.values()]
    stale_s = profile.silent_after_ms / 1000 if profile else None
    age = age_mark(ui, max(times, default=None), stale_s)
    return {
        "device": device,
        "title": title(ui, device),
        "slots": [slot(ui, device, metric, profile) for metric in show.face(profile, list(device.latest))],
        "age": Markup(str(age).replace("<time ", "<time data-seen ", 1)),  # noqa: S704 - the macro escaped it
    }


def title(ui: Ui, device: DeviceView) -> str:
    """What a device is called in the viewer's language."""
    return device.title_zh if ui.t.code == "zh" else device.title_en


def kinds(counts: StateCounts) -> list[dict[str, object]]:
    """Devices by category: how many, and a bar of their states; the largest first."""
    totals = {category: sum(states.values()) for category, states in counts.kinds.items()}
    return [
        {
            "category": category,
            "total": total,
            "bar": bar((state, counts.kinds[category].get(DeviceState(state), 0)) for state in _STATES),
        }
        for category, total in sorted(totals.items(), key=lambda pair: (-pair[1], pair[0]))
    ]


_STATES: Final = ("normal", "alarm", "fault", "unknown", "offline")
