"""Strangers at the gateway: a bounded list, guesses by trial decoding, and nothing of anybody's position (P1)."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import discover
from edge.channel import Channel
from edge.codecs.lines import Refused
from edge.codecs.strangers import Strangers
from edge.connectors import mqtt_discover
from edge.discover import Discovery, suggest
from firmware_specs import wire_fleet
from firmware_specs.load import load_profiles
from firmware_specs.wire_fleet import MAX_DISCOVERED, Discovered
from tests.support import wait_until

if TYPE_CHECKING:
    from firmware_specs.wire_fleet import DiscoveredDevice

PROFILES, _ = load_profiles()
ALL = tuple(PROFILES.values())
SMOKE = json.dumps([{"n": "smoke", "v": 0.7}, {"n": "temperature", "v": 23.4}, {"n": "alarm", "vb": False}]).encode()
WARM = b'{"temp":21.5,"hum":40,"bat":90,"ts":1800000000000}'
WHERE = b'{"_type":"location","lat":34.2,"lon":108.9,"tst":1800000000,"acc":5}'
DOOR = b'{"Open":false,"Forced":false,"Credential":"x"}'


@pytest.mark.parametrize(
    ("kind", "frame", "best"),
    [
        ("mqtt", SMOKE, "generic-smoke-senml"), ("coap", SMOKE, "generic-smoke-coap"),
        ("mqtt", WARM, "generic-temperature-json"), ("opcua", DOOR, "generic-door-opcua"),
        ("mqtt", WHERE, "owntracks-armband"),
    ],
)  # fmt: skip
def test_a_profile_that_reads_it_best_comes_first(kind: str, frame: bytes, best: str) -> None:
    names = suggest(ALL, kind, frame, 1_800_000_000_000).profiles
    assert names[0] == best


@pytest.mark.parametrize(
    ("body", "unit", "profile"),
    [
        ("PKNSH,3412.0000,N,10854.0000,E,120000,A,U1001", "U01001", "kenwood-nexedge"),
        ("PKLSH,3412.0000,N,10854.0000,E,120000,A,100,1001", "100-1001", "kenwood-fleetsync"),
    ],
)
def test_radios_without_a_device_are_told_by_their_units(body: str, unit: str, profile: str) -> None:
    total = 0
    for byte in body.encode():
        total ^= byte
    line = Strangers()
    (heard,) = line.feed(f"${body}*{total:02X}\r\n".encode(), 1)
    assert isinstance(heard, Refused)
    guess = suggest(ALL, "serial", heard.frame, 1, heard.stranger)
    assert (heard.stranger, *guess) == (unit, (profile,), f"{len(heard.frame)} B")


@given(st.binary(max_size=300), st.sampled_from(["mqtt", "coap", "serial", "opcua"]))
def test_no_bytes_break_the_guess(frame: bytes, kind: str) -> None:
    names = suggest(ALL, kind, frame, 1_800_000_000_000).profiles
    assert len(set(names)) == len(names)
    assert all(discover.spoken_on(PROFILES[name], kind) for name in names)


def made() -> Discovery:
    found = Discovery(Channel())
    found.configure(PROFILES, [("sensors", "sensors/known")])
    return found


def by_address(found: Discovery) -> dict[str, DiscoveredDevice]:
    return {each.address: each for each in found.listed()}


def test_a_position_never_leaves_the_gateway_P1() -> None:
    found = made()
    found.note("sensors", "mqtt", "owntracks/a", WHERE)
    found.note("sensors", "mqtt", "secret", b"34.2,108.9 nobody reads this")
    found.note("sensors", "mqtt", "sensors/warm", WARM)
    found.note("sensors", "mqtt", "sensors/more", WARM.replace(b"}", b',"lat":34.2,"lon":108.9,"owner":"Wang"}'))
    found.note("sensors", "mqtt", "terminal", b'{"checkin":"p-34.2-wang","duress":false}')
    told = by_address(found)
    assert told["owntracks/a"].profiles == ("owntracks-armband",)
    assert "34.2" not in told["owntracks/a"].sample
    assert "34.2" not in told["secret"].sample
    assert told["sensors/warm"].sample == "temperature 21.5 Cel, humidity 40 %RH, battery 90 %EL"
    assert told["sensors/more"].sample == told["sensors/warm"].sample
    assert told["terminal"].profiles
    assert "34.2" not in told["terminal"].sample


def test_the_list_is_bounded_and_the_oldest_goes() -> None:
    found = made()
    for n in range(MAX_DISCOVERED + 20):
        found.note("sensors", "mqtt", f"sensors/{n}", b"x")
    found.note("sensors", "mqtt", "sensors/20", b"x")
    listed = found.listed()
    assert len(listed) == MAX_DISCOVERED
    assert listed[0].address == "sensors/20"
    assert "sensors/19" not in by_address(found)
    wire_fleet.decode(wire_fleet.encode(Discovered(1, listed)), Discovered)


def test_what_has_a_device_is_no_stranger() -> None:
    found = made()
    found.note("sensors", "mqtt", "sensors/known", SMOKE)
    found.note("sensors", "mqtt", "sensors/new", SMOKE)
    assert list(by_address(found)) == ["sensors/new"]
    found.configure(PROFILES, [("sensors", "sensors/new")])
    assert found.listed() == ()
    found.note("sensors", "mqtt", "x" * 2000, SMOKE)
    found.note("sensors", "mqtt", "sensors/huge", b"x" * 100_000)
    assert found.listed() == ()


def test_the_cloud_is_told_of_news_and_not_of_every_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discover, "TELL_EVERY_S", 0.01)
    told: list[bytes] = []

    async def play() -> None:
        channel = Channel()
        channel.attach(lambda _rest, payload, _retained: told.append(payload))
        found = Discovery(channel)
        found.configure(PROFILES, [])
        work = asyncio.ensure_future(found.run())
        found.note("sensors", "mqtt", "sensors/a", SMOKE)
        await wait_until(lambda: told)
        for _ in range(50):
            found.note("sensors", "mqtt", "sensors/a", SMOKE)
            await asyncio.sleep(0.001)
        assert len(told) == 1
        found.note("sensors", "mqtt", "sensors/b", SMOKE)
        await wait_until(lambda: len(told) == 2)
        work.cancel()

    asyncio.run(asyncio.wait_for(play(), 10))
    last = wire_fleet.decode(told[-1], Discovered)
    assert [each.address for each in last.devices] == ["sensors/b", "sensors/a"]
    assert last.devices[1].frames == 51


def test_D1_thousands_of_strangers_at_once_are_tried_little_by_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discover, "TRIAL_EVERY_S", 0.002)

    async def play() -> None:
        found = made()
        for n in range(5000):
            found.note("sensors", "mqtt", f"sensors/{n}", WARM)
        tried = sum(bool(each.profiles) for each in found.listed())
        assert tried < MAX_DISCOVERED, "trying each at once takes seconds, in which no alarm is heard"
        work = asyncio.ensure_future(found.run())
        await wait_until(lambda: all(each.profiles for each in found.listed()), what="a guess at each that is listed")
        work.cancel()

    asyncio.run(asyncio.wait_for(play(), 20))


@given(st.text("abc-", min_size=1, max_size=140))
def test_the_broker_can_tell_the_listener_from_the_connector(client_id: str) -> None:
    """Of two clients of one id each ends the other's connection, for ever."""
    assert mqtt_discover.listener_id(client_id) != client_id
    assert len(mqtt_discover.listener_id(client_id)) <= 64
