"""Every profile against its golden file: frames worked by hand, which nothing here writes (see firmware_specs.golden).

A profile of a named protocol is decoded by the edge's own codec: a serial line is fed the frame's bytes for a device
at the frame's address, and then left quiet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge.codecs import frame_decoder, line_codec
from edge.codecs.lines import Refused
from firmware_specs.codec import decoder
from firmware_specs.golden import Frame, golden_path, load_golden, mismatches
from firmware_specs.layouts import NamedCodec
from firmware_specs.load import BUILTIN, load_profile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_specs.golden import Decode
    from firmware_specs.readings import Sample
    from firmware_specs.schema import Profile

PROFILES = sorted(path.stem for path in BUILTIN.glob("*.toml"))
CASES = [
    (name, frame, load_golden(BUILTIN / "golden" / f"{name}.toml").now_ms)
    for name in PROFILES
    for frame in load_golden(BUILTIN / "golden" / f"{name}.toml").frames
]


def on_a_line(profile: Profile, frame: Frame) -> Decode:
    """A line with one device, which must be the one that speaks."""

    def decode(data: bytes, now_ms: int) -> Sequence[Sample]:
        line = line_codec({frame.unit: profile})
        samples: list[Sample] = []
        for heard in [*line.feed(data, now_ms), *line.settle(now_ms)]:
            if isinstance(heard, Refused):
                raise heard.error
            assert heard.address == frame.unit
            samples += heard.samples
        return samples

    return decode


def decode_for(profile: Profile, frame: Frame) -> Decode:
    codec = profile.codec
    if isinstance(codec, NamedCodec):
        return frame_decoder(profile) if codec.name == "owntracks" else on_a_line(profile, frame)
    return decoder(profile)


@pytest.mark.parametrize(("name", "frame", "now_ms"), CASES, ids=[f"{name}-{frame.name}" for name, frame, _ in CASES])
def test_golden(name: str, frame: Frame, now_ms: int) -> None:
    profile = load_profile(BUILTIN / f"{name}.toml")
    assert mismatches(frame, now_ms, decode_for(profile, frame)) == []


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_has_a_golden_file_with_good_short_and_corrupt_frames(name: str) -> None:
    golden = load_golden(golden_path(BUILTIN / f"{name}.toml"))
    names = [frame.name for frame in golden.frames]
    assert any(frame.expect for frame in golden.frames)
    assert any(name.startswith("short") for name in names)
    assert any(name.startswith("corrupt") for name in names)
    assert all(frame.error is not None for frame in golden.frames if frame.name.startswith(("short", "corrupt")))


def test_a_wrong_golden_is_noticed() -> None:
    """The comparison itself can fail: each kind of difference is named."""
    profile = load_profile(BUILTIN / "generic-temperature-json.toml")
    decode = decoder(profile)
    good = {"name": "f", "text": '{"temp":21.5,"ts":1732385502123}'}
    cases: dict[str, dict[str, object]] = {
        "value 21.5, not 21.6": {"expect": [{"metric": "temperature", "value": 21.6}]},
        "humidity is missing": {
            "expect": [{"metric": "temperature", "value": 21.5}, {"metric": "humidity", "value": 1.0}]
        },
        "was not expected": {"expect": []},
        "must be refused": {"error": "x"},
        "observed_at": {"expect": [{"metric": "temperature", "value": 21.5, "observed_at": "2024-11-23T18:11:42Z"}]},
        "quality good, not bad": {"expect": [{"metric": "temperature", "value": 21.5, "quality": "bad"}]},
    }
    for words, more in cases.items():
        lines = mismatches(Frame.model_validate({**good, **more}), 0, decode)
        assert len(lines) == 1, lines
        assert words in lines[0]
    lines = mismatches(Frame.model_validate({"name": "f", "text": "{", "error": "no such words"}), 0, decode)
    assert "without 'no such words'" in lines[0]
    lines = mismatches(Frame.model_validate({"name": "f", "text": "{", "expect": []}), 0, decode)
    assert "refused" in lines[0]
