"""S8: every parser, fed arbitrary and mutated bytes, gives values or its own error in one line; nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_specs.codec import decoder
from firmware_specs.errors import ConfigError, FrameError, PackError, PatrolError, ProfileError
from firmware_specs.golden import Golden, load_golden
from firmware_specs.layouts import NamedCodec
from firmware_specs.load import BUILTIN, load_profile
from firmware_specs.readings import Sample
from firmware_specs.schema import Profile
from firmware_specs.senml import Resolved, decode_cbor, decode_json
from firmware_specs.skeleton import SKELETONS, write_skeleton
from firmware_specs.tomlfile import parse_toml
from firmware_specs.wire import decode_ack, decode_pack, decode_reported, decode_status, parse_geo, split_topic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = 1_700_000_000_000
PACK = b'[{"bn":"smk-1/","bt":1732385502,"n":"smoke","u":"%obs/m","v":0.7},{"n":"alarm","vb":false}]'
ITEM = (
    b'[{"n":"smk-1","t":1732385502.123,"rt":1,"alarm_":{"id":"o1","kind":"fire","sev":"critical","phase":"raised",'
    b'"rule":"r","ver":"1.0","ev":[["smoke",9.5,1732385502123]]}}]'
)
STATUS = b'{"online":true,"agent_version":"1","boot":"b","config_hash":"h","at_ms":1,"lanes":{"alarms":{"waiting":1}}}'


def mutated(*seeds: bytes) -> st.SearchStrategy[bytes]:
    """Anything, and real frames with bytes changed, left out or put in."""

    @st.composite
    def change(draw: st.DrawFn) -> bytes:
        frame = bytearray(draw(st.sampled_from(seeds)))
        for _ in range(draw(st.integers(0, 4))):
            if not frame:
                break
            at = draw(st.integers(0, len(frame) - 1))
            match draw(st.sampled_from("xid")):
                case "x":
                    frame[at] = draw(st.integers(0, 255))
                case "i":
                    frame[at:at] = draw(st.binary(max_size=3))
                case _:
                    del frame[at : at + draw(st.integers(1, 8))]
        return bytes(frame)

    return st.binary(max_size=200) | change()


def survives(parse: Callable[[], object], error: type[PatrolError]) -> Any:  # noqa: ANN401 - whatever it parses
    """The result, or None for a refusal, which must be one line."""
    try:
        return parse()
    except error as e:
        words = str(e)
    assert "\n" not in words
    return None


def all_resolved(records: object) -> bool:
    return records is None or (isinstance(records, list) and all(isinstance(r, Resolved) for r in records))


@given(mutated(PACK, ITEM))
def test_s8_senml_json(frame: bytes) -> None:
    assert all_resolved(survives(lambda: decode_json(frame, NOW), FrameError))


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=8),
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(st.integers(-8, 9) | st.text(max_size=4), below, max_size=5)
    ),
    max_leaves=12,
)


@given(
    mutated(cbor2.dumps([{-2: "smk-1/", -3: 1.7e9, 0: "smoke", 2: 1.5}, {0: "alarm", 4: True}]))
    | json_like.map(cbor2.dumps)
)
def test_s8_senml_cbor(frame: bytes) -> None:
    assert all_resolved(survives(lambda: decode_cbor(frame, NOW), FrameError))


def data_profiles(folder: Path) -> list[tuple[Profile, Golden]]:
    """The built-in profiles of layouts, and the skeletons, which add the binary one."""
    for connector in SKELETONS:
        write_skeleton(folder, "acme", connector, connector)
    found = []
    for path in [*BUILTIN.glob("*.toml"), *folder.glob("*.toml")]:
        profile = load_profile(path)
        if not isinstance(profile.codec, NamedCodec):
            found.append((profile, load_golden(path.parent / "golden" / path.name)))
    return found


def test_s8_every_profile_decoder(tmp_path: Path) -> None:
    profiles = data_profiles(tmp_path)
    assert {profile.codec.kind for profile, _ in profiles} == {"json", "senml", "nodes", "binary"}
    for profile, golden in profiles:
        fuzz(profile, [frame.data for frame in golden.frames if frame.data])


def fuzz(profile: Profile, seeds: list[bytes]) -> None:
    decode, metrics = decoder(profile), frozenset(profile.metrics)

    @given(mutated(*seeds))
    def feed(frame: bytes) -> None:
        samples = survives(lambda: decode(frame, NOW), FrameError)
        assert samples is None or all(isinstance(s, Sample) and s.metric in metrics for s in samples)

    feed()


numbers = st.integers(0, 12).map(str) | st.text(max_size=4)
properties = st.fixed_dictionaries(
    {
        "epoch": st.just("e") | st.text(max_size=4),
        "first": numbers,
        "count": numbers,
        "base": numbers,
        "boot": st.just("b"),
    },
    optional={"encoding": st.sampled_from(["", "zstd", "x"])},
).map(lambda given: list(given.items()))


@given(mutated(PACK, ITEM), properties, st.sampled_from(["alarms", "telemetry"]) | st.text(max_size=4))
def test_s8_packs(payload: bytes, given_properties: list[tuple[str, str]], lane: str) -> None:
    survives(lambda: decode_pack(lane, given_properties, payload), PackError)
    fitting = [("epoch", "e"), ("first", "1"), ("count", "1"), ("base", "1"), ("boot", "b")]
    survives(lambda: decode_pack("alarms", fitting, payload), PackError)


@given(mutated(b'{"epoch":"e","lane":"alarms","through":4}', STATUS, b'{"version":1,"config_hash":"h","devices":[]}'))
def test_s8_acknowledgements_statuses_and_reports(payload: bytes) -> None:
    for decode in (decode_ack, decode_status, decode_reported):
        survives(lambda decode=decode: decode(payload), PackError)  # type: ignore[misc]


@given(st.text(max_size=40) | st.from_regex(r"geo:-?[0-9.]{0,5},-?[0-9.]{0,5}(;u=[0-9.]{0,4})?"))
def test_s8_geo_uris_and_topics(text: str) -> None:
    survives(lambda: parse_geo(text), PackError)
    survives(lambda: split_topic(text), PackError)
    survives(lambda: split_topic("patrolgrid/v1/" + text), PackError)


TOML = (BUILTIN / "generic-temperature-json.toml").read_bytes()


@given(mutated(TOML))
def test_s8_profiles(data: bytes) -> None:
    survives(lambda: parse_toml(data, "p.toml", Profile, ProfileError), ProfileError)


@given(mutated((BUILTIN / "golden" / "generic-temperature-json.toml").read_bytes()))
def test_s8_golden_files(data: bytes) -> None:
    survives(lambda: parse_toml(data, "g.toml", Golden, ConfigError), ConfigError)


@pytest.mark.parametrize("depth", [10, 1000, 30000])
def test_s8_depth_is_refused_not_followed(depth: int) -> None:
    deep = b"[" * depth
    for decode in (decode_json, decode_cbor):
        with pytest.raises(FrameError):
            decode(deep, NOW)
    with pytest.raises(PackError):
        decode_pack(
            "alarms", [("epoch", "e"), ("first", "1"), ("count", "1"), ("base", "1"), ("boot", "b")], b'[{"x":' + deep
        )
    with pytest.raises(ProfileError):
        parse_toml(b"x = " + deep, "p.toml", Profile, ProfileError)
