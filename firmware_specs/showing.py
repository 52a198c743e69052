"""A profile as readable tables, for a person at a terminal.

Owns the layout. Knows nothing of files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Column, Table

from firmware_specs.layouts import BinaryCodec, JsonCodec, JsonPosition, NodesCodec, SenmlCodec
from firmware_specs.schema import Above, Below, Equals, OneOf, RateOfRise

if TYPE_CHECKING:
    from firmware_specs.layouts import Codec
    from firmware_specs.schema import Condition, FirmwareChannel, MetricSpec, Profile


def show_profile(profile: Profile, console: Console | None = None) -> None:
    """Print head, metrics with their place in the frame, and alarms."""
    out = console or Console(markup=False, highlight=False, emoji=False)
    out.print(f"{profile.profile} {profile.version}  {profile.title.zh} / {profile.title.en}", style="bold")
    out.print(f"{profile.category} over {profile.connector}, {layout(profile.codec)}")
    out.print(f"reports every {profile.interval_s:g} s, counts as silent after {profile.silent_after_ms / 1000:g} s")
    out.print(f"source: {profile.source}")
    metrics = Table(
        Column("metric", no_wrap=True), "in the frame", "type", "unit", "range", "deadband", "title", title="Metrics"
    )
    places = _places(profile.codec)
    for name, spec in profile.metrics.items():
        title = f"{spec.title.zh} / {spec.title.en}"
        deadband = "" if spec.deadband is None else f"{spec.deadband:g}"
        place = places.get(name, "" if places else name)
        metrics.add_row(name, place, spec.type, spec.unit.value, _range(spec), deadband, title)
    out.print(metrics)
    if profile.alarms:
        alarms = Table(Column("alarm", no_wrap=True), "kind", "severity", "raised when", "title", title="Alarms")
        for rule in profile.alarms:
            held = f" for {rule.for_s:g} s" if rule.for_s else ""
            when = f"{rule.metric} {condition(rule.when, profile)}{held}"
            alarms.add_row(rule.name, rule.kind, rule.severity.value, when, f"{rule.title.zh} / {rule.title.en}")
        out.print(alarms)
    if profile.firmware:
        out.print(f"firmware: {firmware(profile.firmware)}")


def firmware(channel: FirmwareChannel) -> str:
    """How firmware gets into the device, in words."""
    told = f"the metric {channel.version_metric}" if channel.version_metric else "the channel"
    where = "" if channel.channel == "xmodem" else f" at {channel.path!r}"
    return (
        f"{channel.channel}{where} in {channel.chunk_bytes} bytes, releases for the model {channel.model}; "
        f"back within {channel.reboot_s:g} s, its version told by {told}"
    )


def layout(codec: Codec) -> str:
    """The layout in a few words."""
    match codec:
        case SenmlCodec():
            return f"SenML ({codec.encoding.upper()})"
        case JsonCodec():
            return "a JSON object" + (f", its time in {codec.time!r} ({codec.time_unit})" if codec.time else "")
        case NodesCodec():
            return "OPC UA nodes"
        case BinaryCodec():
            return f"binary frames of {codec.length} bytes, check sum {codec.checksum}"
    return f"the protocol {codec.name!r}"


def condition(when: Condition, profile: Profile) -> str:
    """A condition in words."""
    match when:
        case Above() | Below():
            until = f", until {when.clear:g}" if when.clear is not None else ""
            return f"{when.kind} {when.limit:g}{until}"
        case Equals():
            return f"is {str(when.value).lower() if isinstance(when.value, bool) else when.value}"
        case OneOf():
            return f"is one of {', '.join(when.values)}"
        case RateOfRise():
            return f"rises more than {when.per_minute:g} a minute over {when.window_s:g} s"
    return f"is not heard for {when.after_s or profile.silent_after_ms / 1000:g} s"


def _range(spec: MetricSpec) -> str:
    if spec.minimum is None and spec.maximum is None:
        return ""
    low = "" if spec.minimum is None else f"{spec.minimum:g}"
    high = "" if spec.maximum is None else f"{spec.maximum:g}"
    return f"{low} to {high}" if low and high else f"from {low}" if low else f"to {high}"


def _places(codec: Codec) -> dict[str, str]:
    match codec:
        case JsonCodec():
            return {
                metric: f"{place.lat}, {place.lon}" if isinstance(place, JsonPosition) else place.path
                for metric, place in codec.fields.items()
            }
        case NodesCodec():
            return dict(codec.nodes)
        case BinaryCodec():
            return {field.metric: f"byte {field.offset}, {field.type}" for field in codec.fields}
        case SenmlCodec():
            return {metric: name for name, metric in codec.names.items()}
    return {}
