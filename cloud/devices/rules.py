"""What state a device is in, and when its silence means something. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from cloud.devices.models import DeviceState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_specs.schema import Profile

SILENT_KIND: Final = "device-silent"
GATEWAY_KIND: Final = "gateway-offline"
FAULT_KINDS: Final = frozenset({"battery-low", "tamper", "fault"})
FAULT_BEGINS: Final = "battery-"
FAULT_ENDS: Final = "-fault"


class Facts(NamedTuple):
    """What a device's state is judged by. alarm_kinds: of its alarms that are not cleared."""

    gateway_online: bool
    heard: bool
    silent: bool
    bad_value: bool
    alarm_kinds: Sequence[str] = ()


def is_fault(kind: str) -> bool:
    """Whether an alarm of this kind is about the device itself and not about what it watches."""
    return kind in FAULT_KINDS or kind.endswith(FAULT_ENDS) or kind.startswith(FAULT_BEGINS)


def device_state(facts: Facts) -> tuple[DeviceState, str]:
    """The state and its reason. `states.judged` says the same in SQL.

    An alarm outranks everything: that the line is lost afterwards does not make a fire unknown. Then what cannot be
    known, then silence, then faults.
    """
    alarms = sorted(kind for kind in set(facts.alarm_kinds) if kind != SILENT_KIND and not is_fault(kind))
    faults = sorted(kind for kind in set(facts.alarm_kinds) if is_fault(kind))
    silent = facts.silent or SILENT_KIND in facts.alarm_kinds
    judged = (
        (bool(alarms), DeviceState.ALARM, ", ".join(alarms)),
        (not facts.gateway_online, DeviceState.UNKNOWN, GATEWAY_KIND),
        (silent, DeviceState.OFFLINE, "silent"),
        (not facts.heard, DeviceState.UNKNOWN, "never-heard"),
        (bool(faults), DeviceState.FAULT, ", ".join(faults)),
        (facts.bad_value, DeviceState.FAULT, "bad-value"),
    )
    return next(((state, reason) for holds, state, reason in judged if holds), (DeviceState.NORMAL, ""))


def allowed_silence_ms(profile: Profile, grace_ms: int) -> int:
    """How long the cloud waits before it calls a device silent by itself.

    The gateway hears every frame and judges first. It passes on a value within its deadband only once in `heartbeat_s`,
    so the cloud has to wait that much longer; the grace lets the gateway's own alarm arrive first.
    """
    heartbeats = [spec.heartbeat_s for spec in profile.metrics.values() if spec.deadband is not None]
    return profile.silent_after_ms + round(1000 * max(heartbeats, default=0.0)) + grace_ms


def lease_left_ms(lease_at: int, allowed_ms: int, now_ms: int) -> int:
    """Milliseconds until a lease ends, 0 or less when it has. A lease from the future, by a clock set back, is new."""
    return min(lease_at, now_ms) + allowed_ms - now_ms
