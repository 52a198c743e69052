"""Golden files: frames of a device type with what they mean, worked by hand.

Owns the format and the comparison. One file a profile, `profiles/golden/<profile>.toml`:

    source = "the document or capture that the frames and values were taken from"
    now = 2023-11-14T22:13:20Z          # the gateway's clock while decoding

    [[frames]]
    name = "what this frame shows"
    text = '{"temp":21.5}'              # or hex = "82 a4 …"; for a serial line with its framing and check sums
    expect = [{ metric = "temperature", value = 21.5, unit = "Cel", observed_at = 2024-11-23T18:11:42.123Z }]

    [[frames]]
    name = "short"
    text = '{"temp":21'
    error = "truncated"                 # part of the error's text

The samples must be those listed, each metric in its order; of a listed one, only what is stated is compared (numbers
and degrees within 1e-6). `address` is the unit of a line on which several are heard; `frames.address` says whose frame
it is when no sample follows. A file is never written from a decoder's output: it could only bless its errors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from pydantic import AwareDatetime, Field, model_validator

from firmware_specs.errors import FrameError, ProfileError
from firmware_specs.readings import Position, Quality, Sample
from firmware_specs.tomlfile import Model, load_toml

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TOLERANCE = 1e-6


class Place(Model):
    """A position as a golden file writes it."""

    lat: float
    lon: float
    accuracy_m: float | None = None


class Expected(Model):
    """One sample. What is not stated is not compared."""

    metric: str
    value: bool | float | str | Place
    unit: str | None = None
    observed_at: AwareDatetime | None = None
    quality: Quality | None = None
    address: str | None = None

    def differs(self, sample: Sample) -> str:
        """What is wrong with the sample, or nothing."""
        if not _same(self.value, sample.value):
            return f"value {sample.value!r}, not {self.value!r}"
        if self.observed_at is not None and sample.observed_at != milliseconds(self.observed_at):
            return f"observed_at {sample.observed_at}, not {milliseconds(self.observed_at)}"
        if self.unit is not None and sample.unit not in {"", self.unit}:
            return f"unit {sample.unit!r}, not {self.unit!r}"
        if self.quality is not None and sample.quality is not self.quality:
            return f"quality {sample.quality.value}, not {self.quality.value}"
        return ""


def _same(expected: bool | float | str | Place, value: object) -> bool:
    if isinstance(expected, Place):
        return (
            isinstance(value, Position)
            and abs(value.lat - expected.lat) <= TOLERANCE
            and abs(value.lon - expected.lon) <= TOLERANCE
            and (expected.accuracy_m is None or value.accuracy_m == expected.accuracy_m)
        )
    if isinstance(expected, float) and isinstance(value, float):
        return abs(value - expected) <= TOLERANCE
    return type(value) is type(expected) and value == expected


class Frame(Model):
    """One frame and what it means."""

    name: str
    text: str | None = None
    hex: str | None = None
    address: str | None = None
    expect: tuple[Expected, ...] | None = None
    error: str | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.text is None) == (self.hex is None):
            raise ValueError(f"frame {self.name!r}: either text or hex")
        if (self.expect is None) == (self.error is None):
            raise ValueError(f"frame {self.name!r}: either expect or error")
        if self.hex is not None:
            try:
                bytes.fromhex(self.hex)
            except ValueError as e:
                raise ValueError(f"frame {self.name!r}: hex: {e}") from e
        return self

    @property
    def data(self) -> bytes:
        """Its bytes."""
        return bytes.fromhex(self.hex) if self.hex is not None else (self.text or "").encode()

    @property
    def unit(self) -> str:
        """The unit that speaks, `*` when the frame does not say."""
        named = [e.address for e in self.expect or () if e.address is not None]
        return self.address or next(iter(named), "*")


class Golden(Model):
    """The golden file of one profile."""

    source: str = Field(min_length=8)
    now: AwareDatetime = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    frames: tuple[Frame, ...] = Field(min_length=1)

    @property
    def now_ms(self) -> int:
        """The gateway's clock while decoding."""
        return milliseconds(self.now)


Decode = Callable[[bytes, int], "Sequence[Sample]"]


def load_golden(path: Path) -> Golden:
    """Read one golden file. Raises ProfileError naming the file and the key."""
    return load_toml(path, Golden, ProfileError)


def golden_path(profile_path: Path) -> Path:
    """Where the golden file of a profile is: in the folder `golden` beside it."""
    return profile_path.parent / "golden" / profile_path.name


def mismatches(frame: Frame, now_ms: int, decode: Decode) -> list[str]:
    """Decode one frame and say what differs, each in one line."""
    try:
        samples = decode(frame.data, now_ms)
    except FrameError as e:
        if frame.error is None:
            return [f"{frame.name}: refused: {e}"]
        return [] if frame.error in str(e) else [f"{frame.name}: the error is {str(e)!r}, without {frame.error!r}"]
    if frame.error is not None:
        return [f"{frame.name}: decoded, but must be refused"]
    return [f"{frame.name}: {line}" for line in _compare(frame.expect or (), samples)]


def _compare(expected: Sequence[Expected], samples: Sequence[Sample]) -> list[str]:
    got: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        got[sample.metric].append(sample)
    lines = []
    for wanted in expected:
        if not got[wanted.metric]:
            lines.append(f"{wanted.metric} is missing")
        elif difference := wanted.differs(got[wanted.metric].pop(0)):
            lines.append(f"{wanted.metric}: {difference}")
    lines += [f"{metric} was not expected: {left[0].value!r}" for metric, left in got.items() if left]
    return lines


def milliseconds(time: datetime) -> int:
    """Milliseconds UTC since 1970."""
    return round(time.timestamp() * 1000)
