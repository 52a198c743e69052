"""What of a gateway's health must not wait for somebody to look: when an alarm is raised and cleared. Pure.

Owns the hysteresis. Of a gateway that is not heard nothing changes: it is offline, which is an alarm of its own.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from cloud.devices.health.rules import (
    CERTIFICATE_D,
    DAY_MS,
    FRESH_MS,
    UNSYNCED_MS,
    WEAR,
    Facts,
    over_budget,
    renewal_overdue,
    whole_days,
)


class Want(StrEnum):
    """What is to be done about an alarm."""

    RAISE = "raise"
    CLEAR = "clear"
    LEAVE = "leave"


FULL: Final = 0.05
ROOM: Final = 0.08
STEADY_MS: Final = 600_000
"""A clock is trusted again when it was synced this long."""
ALARMS: Final = ("gateway-disk-full", "gateway-certificate", "gateway-clock", "gateway-wear")


def alarms(facts: Facts, synced_since: int | None, now_ms: int) -> dict[str, Want]:
    """What must not wait, with its hysteresis; of a gateway that is not heard nothing changes."""
    wanted = dict.fromkeys(ALARMS, Want.LEAVE)
    vitals = facts.vitals
    if not facts.online or vitals is None or facts.told_at is None or now_ms - facts.told_at > FRESH_MS:
        return wanted
    if vitals.disk_free is not None and vitals.disk_size:
        share = vitals.disk_free / vitals.disk_size
        wanted["gateway-disk-full"] = _between(share <= FULL, share >= ROOM)
    if vitals.certificate_until_ms is None:
        wanted["gateway-certificate"] = Want.CLEAR
    else:
        left = vitals.certificate_until_ms - now_ms
        near = left < CERTIFICATE_D.bad * DAY_MS and (renewal_overdue(vitals, now_ms) or left <= 0)
        wanted["gateway-certificate"] = _between(near, not near)
    if facts.unsynced_since is not None:
        wanted["gateway-clock"] = _between(now_ms - facts.unsynced_since > UNSYNCED_MS.bad, False)
    elif synced_since is not None:
        wanted["gateway-clock"] = _between(False, now_ms - synced_since >= STEADY_MS)
    days, budget = whole_days(facts.written), vitals.written_budget
    if budget and days:
        wanted["gateway-wear"] = _between(over_budget(facts.written, budget), days[-1][1] < WEAR.watch * budget)
    return wanted


def _between(over: bool, under: bool) -> Want:
    return Want.RAISE if over else Want.CLEAR if under else Want.LEAVE
