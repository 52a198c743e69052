"""What work in the field is judged by, at the gateway and in the cloud: what tests a device, what a sheet is signed by.

Owns the ways in which a device proves itself in a walk test, and the sentence that a gateway signs. Pure.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from firmware_specs.schema import Profile

AILING: Final = frozenset({
    "device-silent", "gateway-offline", "uplink-down", "link-down", "battery-low", "disk-low", "outbox-filling",
    "clock-wrong", "overheating", "mains-lost", "power-lost", "fix-poor", "fix-lost", "fault",
})  # fmt: skip
"""Kinds that say how a device is, and never that somebody pressed its button."""
TEST_METRICS: Final = frozenset({"test", "test_button", "button"})
"""A boolean of this name that is true is a pressed test button, whatever the device."""
BATTERY_METRICS: Final = ("battery", "battery_voltage")
STATEMENT: Final = "PatrolGrid acceptance sheet v1"


class Proof(StrEnum):
    """What shows that a device works."""

    ALARM = "alarm"
    """Its test button raises an alarm."""
    CHANGE = "change"
    """It has no button: one of its states must change, as a door's does when it is opened."""
    READING = "reading"
    """It only measures: a good value since the walk began."""


def proof_of(profile: Profile | None) -> Proof:
    """How a device of a profile is tested; a device without one must raise an alarm or prove itself by hand."""
    if profile is None:
        return Proof.ALARM
    states = {name for name, spec in profile.metrics.items() if spec.type in {"bool", "text"}}
    if profile.category in {"door", "checkin", "radio"}:
        return Proof.CHANGE
    if any(rule.kind not in AILING and rule.metric in states for rule in profile.alarms):
        return Proof.ALARM
    return Proof.READING


def counts(kind: str) -> bool:
    """Whether an alarm of a kind shows that a device was tested."""
    return kind not in AILING


def shows(proof: Proof, metric: str, value: object, before: object = None) -> bool:
    """Whether a good value proves a device. before: the metric's value when the walk began, None when it had none."""
    if metric in TEST_METRICS and value is True:
        return True
    if proof is Proof.CHANGE:
        return isinstance(value, bool | str) and value != before
    number = isinstance(value, float | int) and not isinstance(value, bool)
    return proof is Proof.READING and number and metric not in BATTERY_METRICS


def statement(gateway: str, sheet: str, digest: str, at_ms: int) -> bytes:
    """What a gateway signs: never bytes that the cloud chose, but a sentence that can be nothing else.

    digest: SHA-256 of the sheet's canonical JSON, hex.
    """
    return f"{STATEMENT}\ngateway {gateway}\nsheet {sheet}\nsha256 {digest}\nat {at_ms}\n".encode()
