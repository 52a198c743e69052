"""Public errors of the contract: each names the file, the key and the cause in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from firmware_specs.errors import (
    ConfigError,
    FrameError,
    LinkError,
    OutboxFull,
    PackError,
    PatrolError,
    ProfileError,
    StoreError,
    nearest,
)
from firmware_specs.load import BUILTIN, load_profile, load_profiles
from firmware_specs.readings import NameRefused, checked_name
from firmware_specs.schema import Profile
from firmware_specs.tomlfile import Model, load_toml, parse_toml

JSON = (BUILTIN / "generic-temperature-json.toml").read_text()
HOT = 'when = { kind = "above", limit = 57, clear = 50 }'


def refusal(text: str) -> str:
    with pytest.raises(ProfileError) as refused:
        parse_toml(text.encode(), "p.toml", Profile, ProfileError)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("interval_s =", "intervall_s =", 'p.toml: intervall_s: unknown key (did you mean "interval_s"?)'),
        ("interval_s = 60", "", "p.toml: interval_s: is missing"),
        ('path = "temp"', 'pth = "temp"', 'p.toml: codec.fields.temperature.pth: unknown key (did you mean "path"?)'),
        ('kind = "json"', 'kind = "jsn"', "p.toml: codec.kind: there is no 'jsn' (did you mean \"json\"?)"),
        ('kind = "json"', "", "p.toml: codec.kind: is missing"),
        ("limit = 57", "limt = 57", 'p.toml: alarms[0].when.limt: unknown key (did you mean "limit"?)'),
        ("limit = 57", "limit = nan", "p.toml: alarms[0].when.limit: input should be a finite number"),
        ("limit = 57", "limit = 40", "p.toml: alarms[0].when: clear 50 is above limit 40"),
        (
            '"above", limit',
            '"over", limit',
            "p.toml: alarms[0].when.kind: there is no 'over' (did you mean \"above\"?)",
        ),
        (
            HOT,
            'when = { kind = "below", limit = 5, clear = 4 }',
            "p.toml: alarms[0].when: clear 4 is below limit 5",
        ),
        (
            HOT,
            'when = { kind = "equals", value = true }',
            "alarms 'heat': equals does not judge a number ('temperature')",
        ),
        (
            'metric = "temperature"',
            'metric = "temprature"',
            "p.toml: alarms 'heat': no metric 'temprature' (did you mean \"temperature\"?)",
        ),
        ('name = "heat-rising"', 'name = "heat"', "p.toml: alarms: two rules are called 'heat'"),
        ('time_unit = "ms"', 'time_unit = "us"', "p.toml: codec.time_unit: input should be 's' or 'ms'"),
        ('{ path = "temp" }', '{ lat = "a", lon = "b" }', "codec.fields 'temperature': a position has lat and lon"),
        ('unit = "Cel"', 'unit = "C"', "p.toml: metrics.temperature.unit: input should be '', 'Cel',"),
        ("[metrics.humidity]", "[metrics.Humidity]", "p.toml: metrics.Humidity: string should match pattern"),
        ("[codec]", "[codec", "p.toml: not TOML: Expected ']'"),
    ],
)
def test_profiles_that_are_refused(old: str, new: str, expected: str) -> None:
    assert expected in refusal(JSON.replace(old, new, 1))


BINARY = """
profile = "p"
version = "1.0"
title = { zh = "a", en = "a" }
category = "other"
connector = "serial"
source = "a test"
interval_s = 1
[codec]
kind = "binary"
length = 4
header = "aa"
checksum = "xor8"
[[codec.fields]]
metric = "x"
offset = 1
type = "u16"
[metrics.x]
title = { zh = "a", en = "a" }
"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("offset = 1", "offset = 2", "p.toml: codec: fields: 'x' ends after the 3 bytes that carry data"),
        ('"aa"', '"a"', "p.toml: codec: header: 'a' is not hex"),
        ('"aa"', '"aabbccdd"', "p.toml: codec: header: 4 bytes where 3 precede the check sum"),
        ('type = "u16"', 'type = "bit"', "codec.fields 'x': bit gives a bool"),
        ('type = "u16"', 'type = "u15"', "p.toml: codec.fields[0].type: input should be 'u8',"),
    ],
)
def test_binary_layouts_that_are_refused(old: str, new: str, expected: str) -> None:
    parse_toml(BINARY.encode(), "p.toml", Profile, ProfileError)
    assert expected in refusal(BINARY.replace(old, new, 1))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    missing, folder, big, latin = (
        tmp_path / name for name in ("missing.toml", "folder.toml", "big.toml", "latin.toml")
    )
    folder.mkdir()
    big.write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    latin.write_bytes(b'x = "\xe9"')
    for path, words in (
        (missing, "No such file or directory"),
        (folder, "Is a directory"),
        (big, "larger than 4194304 bytes"),
        (latin, "byte 5: not UTF-8"),
    ):
        with pytest.raises(ConfigError) as refused:
            load_toml(path, Profile)
        assert str(refused.value) == f"{path}: {words}"
        assert (refused.value.file, refused.value.key) == (str(path), "")


def test_a_profile_is_called_like_its_file_and_compiles(tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text(JSON)
    with pytest.raises(ProfileError, match=r"other.toml: profile: 'generic-temperature-json' is not the file's name"):
        load_profile(path)
    path = tmp_path / "generic-temperature-json.toml"
    path.write_text(JSON.replace('path = "hum"', 'path = "temp.x"'))
    with pytest.raises(
        ProfileError, match=r"generic-temperature-json.toml: codec.fields: temp.x: 'temp' is a value and"
    ):
        load_profile(path)


def test_a_bad_profile_is_refused_and_the_rest_runs(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("x = 1")
    (tmp_path / "generic-temperature-json.toml").write_text(JSON.replace("interval_s = 60", "interval_s = 5"))
    (tmp_path / "generic-door-opcua.toml").write_text("broken")
    profiles, errors = load_profiles(tmp_path, tmp_path / "nowhere")
    assert profiles["generic-temperature-json"].interval_s == 5
    assert profiles["generic-door-opcua"].title.en == "Door controller", "the built-in one stays in force"
    assert [Path(error.file).name for error in errors] == ["bad.toml", "generic-door-opcua.toml", "nowhere"]
    assert "no such folder" in str(errors[-1])


def test_the_fixed_profiles_are_there() -> None:
    profiles, errors = load_profiles()
    assert errors == []
    assert set(profiles) >= {
        "generic-smoke-senml", "generic-smoke-coap", "generic-temperature-json", "generic-door-opcua",
        "owntracks-armband", "generic-nmea-gnss", "kenwood-fleetsync", "kenwood-nexedge", "generic-checkin-terminal",
        "patrolgrid-gateway", "generic-temperature-serial",
    }  # fmt: skip
    for profile in profiles.values():
        for rule in profile.alarms:
            if rule.kind in {"fire", "sos", "emergency", "duress"}:
                assert rule.severity == "critical"


def test_every_error_is_one_line_that_names_the_thing() -> None:
    for error, text in (
        (ConfigError("gateway.toml", "uplink.url", "is missing"), "gateway.toml: uplink.url: is missing"),
        (ProfileError("p.toml", "", "not TOML"), "p.toml: not TOML"),
        (FrameError("nmea", 12, "check sum is 24"), "nmea: byte 12: check sum is 24"),
        (PackError("no such lane: 'x'"), "pack refused: no such lane: 'x'"),
        (LinkError("mqtt://h:1883", "connection refused"), "mqtt://h:1883: connection refused"),
        (OutboxFull(1000, "alarms do not fit"), "outbox full at 1000 bytes: alarms do not fit"),
        (StoreError("outbox.db", "disk I/O error"), "outbox.db: disk I/O error"),
    ):
        assert isinstance(error, PatrolError)
        assert str(error) == text


def test_names_that_the_wire_cannot_carry() -> None:
    assert checked_name("device", "smk-1") == "smk-1"
    for name in ("", "a b", "a/b", "-a", "a\n", "烟", "x" * 65):
        with pytest.raises(NameRefused, match=r"device .*: 1 to 64 letters, digits and"):
            checked_name("device", name)


def test_nearest_names_one_or_lists_all() -> None:
    assert nearest("bauds", ["baud", "port"]) == ' (did you mean "baud"?)'
    assert nearest("zzz", ["baud", "port"]) == " (one of: baud, port)"
    assert nearest("zzz", []) == ""


class _Plain(Model):
    kind: Literal["plain"]
    size: int = 1


class _Fancy(Model):
    kind: Literal["fancy"]
    colour: str = "red"


class _File(Model):
    things: tuple[_Plain | _Fancy, ...] = ()
    named: dict[str, _Plain] = Field(default_factory=dict)


def test_nearest_key_in_lists_and_dicts() -> None:
    with pytest.raises(ConfigError, match=r'f: named.a.siz: unknown key \(did you mean "size"\?\)'):
        parse_toml(b'[named.a]\nkind = "plain"\nsiz = 1', "f", _File)
    with pytest.raises(ConfigError, match=r"f: things\[0\]\."):
        parse_toml(b'[[things]]\nkind = "fancy"\ncolor = "x"', "f", _File)
