"""The hand at the test buttons: which button a device has, and what the device says while it is pressed."""

from __future__ import annotations

import pytest

from firmware_specs.load import load_profiles
from simulators.device import Device
from simulators.physics import Moment
from simulators.walking import button

PROFILES = load_profiles()[0]


@pytest.mark.parametrize(
    ("profile", "pressed"),
    [
        ("generic-smoke-senml", ("alarm", True)),
        ("generic-smoke-coap", ("alarm", True)),
        ("generic-door-opcua", ("open", True)),
        ("generic-checkin-terminal", ("checkin", "p-0te57000")),
        ("owntracks-armband", ("sos", True)),
        ("generic-temperature-json", None),
    ],
)
def test_every_kind_of_device_has_its_button(profile: str, pressed: object) -> None:
    assert button(PROFILES[profile]) == pressed


def test_a_pressed_button_is_said_at_once_and_let_go() -> None:
    device = Device("smk-1", PROFILES["generic-smoke-senml"], "sensors/smk-1", stagger=False)
    assert device.due(Moment(0.0, 0.0))
    assert device.due(Moment(1.0, 1.0)) == []
    device.press("alarm", value=True, for_s=2.0)
    said = {sample.metric: sample.value for sample in device.due(Moment(2.0, 2.0))}
    assert said["alarm"] is True
    assert device.due(Moment(3.0, 3.0)) == []
    said = {sample.metric: sample.value for sample in device.due(Moment(4.5, 4.5))}
    assert said["alarm"] is False


def test_a_text_is_said_once() -> None:
    device = Device("chk-1", PROFILES["generic-checkin-terminal"], "sensors/chk-1", stagger=False)
    device.due(Moment(0.0, 0.0))
    device.press("checkin", "p-1", 2.0)
    assert [s.value for s in device.due(Moment(1.0, 1.0)) if s.metric == "checkin"] == ["p-1"]
    assert device.due(Moment(2.0, 2.0)) == []
