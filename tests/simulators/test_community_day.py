"""The built-in community without sockets: who lives there, and which alarms its day raises by the profiles' rules."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

import pytest

from firmware_specs import alarms
from firmware_specs.errors import ConfigError
from firmware_specs.readings import Position
from firmware_specs.schema import Missing
from simulators.community import build_devices, load_needed
from simulators.device import minutes_since
from simulators.physics import Moment, metres
from simulators.script import load_community, seconds
from simulators.site import Endpoints, gateway_toml

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_specs.readings import Sample

FIXED_PROFILES = {
    "generic-smoke-senml", "generic-smoke-coap", "generic-temperature-json", "generic-door-opcua",
    "owntracks-armband", "generic-nmea-gnss", "kenwood-fleetsync", "kenwood-nexedge", "generic-checkin-terminal",
}  # fmt: skip
SPEED = 60.0
NOON_MS = 1_764_000_000_000


@cache
def day(seed: int = 1, until: str = "12:20") -> dict[str, list[tuple[Moment, list[Sample]]]]:
    """Everything that every device says from the day's begin, by device, at the demo's speed."""
    community = load_community()
    devices = build_devices(community, load_needed(community.devices()), seed=seed, speed=SPEED)
    said: dict[str, list[tuple[Moment, list[Sample]]]] = {name: [] for name in devices}
    begin_s = seconds(community.starts)
    for tick in range(int((seconds(until) - begin_s) / SPEED * 4)):
        moment = Moment(begin_s + tick / 4 * SPEED, tick / 4)
        for name, device in devices.items():
            if samples := device.due(moment):
                said[name].append((moment, samples))
    return said


def raised(seed: int) -> Counter[tuple[str, str]]:
    """(device, kind) of every alarm that the profiles' rules raise on that day, by real time."""
    community = load_community()
    profiles = load_needed(community.devices())
    found: Counter[tuple[str, str]] = Counter()
    for placed in community.devices():
        for rule in profiles[placed.profile].alarms:
            if isinstance(rule.when, Missing):
                continue
            state = alarms.RuleState()
            for moment, samples in day(seed)[placed.id]:
                for sample in samples:
                    if sample.metric == rule.metric:
                        step = alarms.step(rule, state, sample.value, NOON_MS + round(moment.real_s * 1000))
                        found[placed.id, rule.kind] += step.change is alarms.Change.RAISED
    return +found


def test_there_are_sixty_devices_of_every_fixed_profile_in_two_neighbourhoods() -> None:
    community = load_community()
    placed = community.devices()
    assert len(placed) >= 60
    assert {device.profile for device in placed} == FIXED_PROFILES
    assert len(community.neighbourhoods) == 2
    locations = {device.place.location for device in placed}
    assert "翠华社区/3号楼/5层 · Cuihua/Building 3/Floor 5" in locations


@pytest.mark.parametrize("seed", [1, 2])
def test_the_day_raises_one_fire_one_forced_door_one_sos_and_nothing_by_chance(seed: int) -> None:
    assert raised(seed) == {("smk-0008", "fire"): 1, ("door-06", "door-forced"): 1, ("arm-06", "sos"): 1}


def test_the_fire_is_there_within_the_time_that_the_demo_promises() -> None:
    fire = next(m for m, samples in day()["smk-0008"] for s in samples if s.metric == "alarm" and s.value is True)
    assert 60 <= fire.real_s <= 120


def test_a_dead_sensor_says_nothing_more() -> None:
    died = seconds("10:30")
    assert max(moment.day_s for moment, _ in day()["smk-0018"]) < died
    assert max(moment.day_s for moment, _ in day()["smk-0017"]) > died + 3600


def test_a_radio_sends_the_emergency_code_of_its_profile_once_and_later_a_normal_one() -> None:
    said = [(m.day_s, s.value) for m, samples in day()["rad-3001"] for s in samples if s.metric == "status"]
    assert [value for _, value in said] == ["255", "001"]


def test_a_patrol_round_checks_in_at_each_terminal_where_the_armband_is() -> None:
    community = load_community()
    places = {placed.id: placed.place.building for placed in community.devices()}
    check_ins = [
        (moment.day_s, name)
        for name in ("chk-01", "chk-02", "chk-03")
        for moment, samples in day(until="08:40")[name]
        for sample in samples
        if sample.metric == "checkin"
    ]
    assert [name for _, name in sorted(check_ins)] == ["chk-01", "chk-02", "chk-03", "chk-01"]
    said = day(until="08:40")["arm-02"]
    walked = [(moment.day_s, s.value) for moment, samples in said for s in samples if s.metric == "position"]
    for at_s, name in check_ins:
        _, where = min(walked, key=lambda entry: abs(entry[0] - at_s))
        assert isinstance(where, Position)
        building = places[name]
        assert metres(where, Position(building.lat, building.lon)) < 60


def test_the_same_seed_gives_the_same_day_and_another_another() -> None:
    first = day(1, "08:00")
    day.cache_clear()
    assert first == day(1, "08:00")
    assert first != day(2, "08:00")


def test_an_event_comes_again_the_next_day() -> None:
    assert minutes_since(3600, 3599) is None
    assert minutes_since(3600, 3660) == 1
    assert minutes_since(3600, 86400 + 3720) == 2


def test_a_script_that_names_an_unknown_device_or_key_is_refused_in_one_line(tmp_path: Path) -> None:
    text = (
        'starts = "08:00"\n[[neighbourhoods]]\nzh = "a"\nen = "a"\n[[neighbourhoods.buildings]]\nkey = "b"\nzh = "b"\n'
        'en = "b"\nlat = 34.0\nlon = 108.0\n[[groups]]\nprofile = "generic-smoke-senml"\nconnector = "sensors"\n'
        'id = "smk-{n}"\naddress = "s/{n}"\nplaces = ["b/1"]\n'
        '[[events]]\nname = "e"\nat = "09:00"\nzh = "e"\nen = "e"\n'
        '[[events.effects]]\nkind = "silent"\ndevice = "smk-2"\nuntil_min = 1\n'
    )
    file = tmp_path / "script.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"script.toml: .*no device 'smk-2' \(did you mean \"smk-1\"\?\)"):
        load_community(file)
    file.write_text(text.replace("smk-2", "smk-1").replace("until_min", "untill_min"))
    with pytest.raises(ConfigError, match=r'untill_min: unknown key \(did you mean "until_min"\?\)'):
        load_community(file)
    file.write_text(text.replace('places = ["b/1"]', 'places = ["b/9"]'))
    with pytest.raises(ConfigError, match=r"building 'b' has floors 1 to 6, not '9'"):
        load_community(file)


def test_the_gateway_file_names_every_connector_and_device(tmp_path: Path) -> None:
    import tomllib

    ends = Endpoints(
        "gw-1", tmp_path, "mqtt://127.0.0.1:1", "mqtt://127.0.0.1:2", "127.0.0.1:3", "opc.tcp://127.0.0.1:4",
        tmp_path / "tty",
    )  # fmt: skip
    community = load_community()
    table = tomllib.loads(gateway_toml(community, ends))
    assert len(table["devices"]) == len(community.devices())
    assert {d["connector"] for d in table["devices"]} == {c["name"] for c in table["connectors"]}
    assert {c["kind"] for c in table["connectors"]} == {"mqtt", "coap", "serial", "opcua"}
    assert not any("drill" in device for device in table["devices"])
    drilled = tomllib.loads(gateway_toml(community, ends, drill=True))
    assert all(device["drill"] is True for device in drilled["devices"])


def test_what_a_member_carries_is_in_one_place() -> None:
    where: dict[str, list[tuple[float, Position]]] = {}
    for name in ("arm-02", "rad-1002", "arm-04", "rad-3001"):
        said = day(until="10:20")[name]
        where[name] = [(m.day_s, s.value) for m, samples in said for s in samples if isinstance(s.value, Position)]
    for armband, radio in (("arm-02", "rad-1002"), ("arm-04", "rad-3001")):
        assert len({(p.lat, p.lon) for _, p in where[armband]}) > 3, "it moves"
        for at_s, place in where[radio]:
            near_s, near = min(where[armband], key=lambda entry: abs(entry[0] - at_s))
            assert metres(place, near) < 1 + abs(near_s - at_s) / 60 * 10
