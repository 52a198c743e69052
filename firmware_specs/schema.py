"""Frozen models of a profile: one TOML file says everything about a device type.

Owns the shape of `profiles/*.toml`. Unknown keys are refused. No expressions or code: what data cannot say is a
named codec (`edge/codecs/`) or a new, tested field type here.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from firmware_specs.errors import nearest
from firmware_specs.layouts import BinaryCodec, Codec, JsonCodec, JsonPosition, Metric, NodesCodec, SenmlCodec
from firmware_specs.readings import NAME_PATTERN, Lane, Severity, Unit
from firmware_specs.tomlfile import Model

ConnectorKind = Literal["mqtt", "coap", "serial", "opcua", "gateway"]
Category = Literal["smoke", "temperature", "door", "checkin", "armband", "gnss", "radio", "panel", "gateway", "other"]


class Text(Model):
    """A text in both languages."""

    zh: str
    """Chinese, shown first."""
    en: str
    """English."""


class MetricSpec(Model):
    """One metric: what it measures and how it is judged on arrival."""

    title: Text
    """What people read."""
    type: Literal["number", "bool", "text", "position"] = "number"
    """A position is one reading with latitude, longitude and accuracy."""
    unit: Unit = Unit.NONE
    """Its SenML name (RFC 8428, 12.1). A unit that a frame states is brought to this one where that can be."""
    minimum: float | None = None
    """Below it a number is kept with bad quality."""
    maximum: float | None = None
    """Above it a number is kept with bad quality."""
    deadband: float | None = Field(default=None, ge=0)
    """A number that moved less than this since the last one kept is not kept again before `heartbeat_s`."""
    heartbeat_s: float = Field(default=300, gt=0)
    """Within a deadband one reading is kept at least this often."""
    precision: int = Field(default=1, ge=0, le=9)
    """Decimals shown; stores keep what came."""
    lane: Lane = Lane.TELEMETRY
    """`alarms` for presence events that must never wait: check-ins, SOS."""


class Above(Model):
    """A number over a limit; clears at `clear` or below (hysteresis)."""

    kind: Literal["above"]
    limit: float
    """Raised over it."""
    clear: float | None = None
    """Defaults to `limit`."""

    @model_validator(mode="after")
    def _clear_is_not_above(self) -> Self:
        if self.clear is not None and self.clear > self.limit:
            raise ValueError(f"clear {self.clear:g} is above limit {self.limit:g}")
        return self


class Below(Model):
    """A number under a limit; clears at `clear` or above (hysteresis)."""

    kind: Literal["below"]
    limit: float
    """Raised under it."""
    clear: float | None = None
    """Defaults to `limit`."""

    @model_validator(mode="after")
    def _clear_is_not_below(self) -> Self:
        if self.clear is not None and self.clear < self.limit:
            raise ValueError(f"clear {self.clear:g} is below limit {self.limit:g}")
        return self


class Equals(Model):
    """A boolean or text that has a value; clears when it has another."""

    kind: Literal["equals"]
    value: bool | str
    """Raised while the metric has it."""


class OneOf(Model):
    """A text that is one of several, such as the status codes that mean an emergency."""

    kind: Literal["one_of"]
    values: tuple[str, ...] = Field(min_length=1)
    """Raised while the metric has one of them."""


class RateOfRise(Model):
    """A number that rises by more than `per_minute` a minute, measured over `window_s`; clears at half of it."""

    kind: Literal["rate_of_rise"]
    per_minute: float = Field(gt=0)
    """In the metric's unit."""
    window_s: float = Field(default=60, gt=0, le=3600)
    """How far the rise looks back; two values closer than half of it say nothing."""


class Missing(Model):
    """Nothing of the metric for `after_s`; by default three reporting intervals of the profile."""

    kind: Literal["missing"]
    after_s: float | None = Field(default=None, gt=0)
    """Overrides the profile's silence."""


def _judged(when: Above | Below | Equals | OneOf | RateOfRise | Missing) -> tuple[str, ...]:
    """The types of metric that a condition can judge."""
    if isinstance(when, Above | Below | RateOfRise):
        return ("number",)
    if isinstance(when, Equals):
        return ("bool",) if isinstance(when.value, bool) else ("text",)
    return ("text",) if isinstance(when, OneOf) else ("number", "bool", "text", "position")


Condition = Annotated[Above | Below | Equals | OneOf | RateOfRise | Missing, Field(discriminator="kind")]


class AlarmRule(Model):
    """A declarative alarm: judged at the gateway, offline too, by the same code that the cloud uses."""

    name: Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
    """Unique in the profile."""
    kind: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    """What it means: `fire`, `door-forced`, `sos`, `emergency`, `device-silent`, `battery-low`, …"""
    severity: Severity
    """How urgent it is."""
    metric: Metric
    """What is judged."""
    when: Condition
    """The condition."""
    for_s: float = Field(default=0, ge=0, le=86400)
    """The condition must hold this long, by event time, before the alarm is raised; kept through restarts."""
    title: Text
    """What people read when it is raised."""


class FirmwareChannel(Model):
    """How new firmware gets into a device of this type, and how it tells which it runs."""

    channel: Literal["mqtt-chunks", "coap-block", "xmodem"]
    """Chunks below the device's topic, a block-wise PUT (RFC 7959), or XMODEM-CRC on its serial line."""
    model: Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
    """What releases call the device type: a release that is signed for another model is refused."""
    path: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}(/[A-Za-z0-9._-]{1,64}){0,3}$")] = "fw"
    """Below the device's topic or path; not for `xmodem`."""
    chunk_bytes: int = Field(default=1024, ge=16, le=65536)
    """At a time. `coap-block`: 16, 32, … 1024; `xmodem`: 128 or 1024."""
    window: int = Field(default=4, ge=1, le=16)
    """`mqtt-chunks`: how many chunks may be on their way without the device's word."""
    ack_timeout_s: float = Field(default=10, gt=0, le=600)
    """A device that says nothing for so long is asked where it stands."""
    give_up_s: float = Field(default=900, gt=0, le=86400)
    """A device that takes nothing for so long has failed."""
    reboot_s: float = Field(default=120, gt=0, le=86400)
    """Within so long of the last byte the device is back and tells its new version, or it has failed."""
    version_metric: Metric | None = None
    """The text metric by which the device tells its version; without one it answers on the channel."""
    enter: Annotated[str, StringConstraints(max_length=64, pattern=r"^[\x20-\x7e]*$")] = ""
    """`xmodem`: a line that is sent first and makes the device receive; CR LF follows it."""

    @model_validator(mode="after")
    def _fits_the_channel(self) -> Self:
        sizes = {"coap-block": (16, 32, 64, 128, 256, 512, 1024), "xmodem": (128, 1024)}.get(self.channel)
        if sizes and self.chunk_bytes not in sizes:
            raise ValueError(f"chunk_bytes: {self.channel} knows {', '.join(map(str, sizes))}, not {self.chunk_bytes}")
        if self.enter and self.channel != "xmodem":
            raise ValueError(f"enter: {self.channel} has no such line")
        if self.version_metric is None and self.channel == "xmodem":
            raise ValueError("version_metric: xmodem has no answer that tells a version; name a metric")
        return self


class Profile(Model):
    """One device type, the whole truth."""

    profile: Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
    """Its name: the file's name without `.toml`, `<vendor>-<model>`."""
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+$")]
    """Raised when the layout or an alarm changes; alarms carry it."""
    title: Text
    """What people read."""
    category: Category
    """What kind of device it is."""
    connector: ConnectorKind
    """How the gateway hears it."""
    source: str
    """The document or capture that the layout was taken from."""
    interval_s: float = Field(gt=0)
    """How often a healthy device reports; silence beyond three of these is a fault."""
    silence_after_s: float | None = Field(default=None, gt=0)
    """Overrides three intervals."""
    codec: Codec
    """The layout of its frames."""
    metrics: dict[Metric, MetricSpec] = Field(min_length=1)
    """What it measures, by name."""
    alarms: tuple[AlarmRule, ...] = ()
    """Its alarm defaults."""
    firmware: FirmwareChannel | None = None
    """How its firmware is updated, if we do."""

    @property
    def silent_after_ms(self) -> int:
        """Milliseconds without a word after which the device counts as silent."""
        return round(1000 * (self.silence_after_s or 3 * self.interval_s))

    @model_validator(mode="after")
    def _references_exist(self) -> Self:
        names = [rule.name for rule in self.alarms]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"alarms: two rules are called {name!r}")
        for where, metric in self._named_metrics():
            if metric not in self.metrics:
                raise ValueError(f"{where}: no metric {metric!r}{nearest(metric, self.metrics)}")
        return self

    @model_validator(mode="after")
    def _firmware_fits(self) -> Self:
        firmware = self.firmware
        if firmware is None:
            return self
        wanted = {"mqtt-chunks": "mqtt", "coap-block": "coap", "xmodem": "serial"}[firmware.channel]
        if self.connector != wanted:
            raise ValueError(
                f"firmware.channel: {firmware.channel} goes over {wanted}, the device is on {self.connector}"
            )
        metric = firmware.version_metric
        if metric is not None and self.metrics[metric].type != "text":
            raise ValueError(
                f"firmware.version_metric: {metric!r} is a {self.metrics[metric].type}, a version is a text"
            )
        return self

    @model_validator(mode="after")
    def _types_agree(self) -> Self:
        for rule in self.alarms:
            kind = self.metrics[rule.metric].type
            if kind not in _judged(rule.when):
                raise ValueError(f"alarms {rule.name!r}: {rule.when.kind} does not judge a {kind} ({rule.metric!r})")
        if isinstance(self.codec, JsonCodec):
            for metric, place in self.codec.fields.items():
                if isinstance(place, JsonPosition) != (self.metrics[metric].type == "position"):
                    raise ValueError(f"codec.fields {metric!r}: a position has lat and lon, anything else a path")
        elif isinstance(self.codec, BinaryCodec):
            for field in self.codec.fields:
                wanted = "bool" if field.type == "bit" else "text or number" if field.type == "bcd" else "number"
                if self.metrics[field.metric].type not in wanted:
                    raise ValueError(f"codec.fields {field.metric!r}: {field.type} gives a {wanted}")
        return self

    def _named_metrics(self) -> list[tuple[str, str]]:
        named = [(f"alarms {rule.name!r}", rule.metric) for rule in self.alarms]
        codec = self.codec
        if isinstance(codec, JsonCodec):
            named += [("codec.fields", metric) for metric in codec.fields]
        elif isinstance(codec, SenmlCodec):
            named += [("codec.names", metric) for metric in codec.names.values()]
        elif isinstance(codec, NodesCodec):
            named += [("codec.nodes", metric) for metric in codec.nodes]
        elif isinstance(codec, BinaryCodec):
            named += [("codec.fields", field.metric) for field in codec.fields]
        if self.firmware and self.firmware.version_metric is not None:
            named.append(("firmware.version_metric", self.firmware.version_metric))
        return named
