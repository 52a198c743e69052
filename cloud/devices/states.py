"""The rule of `rules.device_state` as SQL, so that the database filters and counts a fleet by it.

Owns the join that a state is judged by. A test holds the two forms of the rule together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloud import catalogue
from cloud.alerts import service as alerts
from cloud.devices.models import DeviceState
from cloud.devices.rules import FAULT_BEGINS, FAULT_ENDS, FAULT_KINDS, SILENT_KIND
from cloud.devices.store import devices, gateways, latest
from cloud.org.rules import Principal, scope
from firmware_specs.readings import Quality

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement, Connection

OTHER: str = "other"
"""The category of a device whose profile is not known here."""


def _fault(kind: ColumnElement[str]) -> ColumnElement[bool]:
    # Not LIKE, which ignores case on SQLite.
    return sa.or_(
        kind.in_(sorted(FAULT_KINDS)),
        sa.func.substr(kind, 1, len(FAULT_BEGINS)) == FAULT_BEGINS,
        sa.func.substr(kind, sa.func.length(kind) - len(FAULT_ENDS) + 1) == FAULT_ENDS,
    )


def judged(wanted: sa.Select[Any]) -> tuple[sa.Select[Any], ColumnElement[str]]:
    """A query of devices joined with gateways, joined with what is open of each, and its column of states."""
    flags = alerts.active_flags(
        alarm=lambda kind: sa.and_(kind != SILENT_KIND, sa.not_(_fault(kind))),
        fault=_fault,
        silent=lambda kind: kind == SILENT_KIND,
    )
    bad = sa.exists().where(
        latest.c.gateway == devices.c.gateway, latest.c.device == devices.c.id, latest.c.quality == Quality.BAD.value
    )
    state = sa.case(
        (flags.c.alarm == 1, DeviceState.ALARM.value),
        (sa.not_(gateways.c.online), DeviceState.UNKNOWN.value),
        (sa.or_(devices.c.silent, flags.c.silent == 1), DeviceState.OFFLINE.value),
        (devices.c.heard_at.is_(None), DeviceState.UNKNOWN.value),
        (flags.c.fault == 1, DeviceState.FAULT.value),
        (bad, DeviceState.FAULT.value),
        else_=DeviceState.NORMAL.value,
    )
    mine = sa.and_(flags.c.gateway == devices.c.gateway, flags.c.device == devices.c.id)
    return wanted.outerjoin(flags, mine), state


def in_states(wanted: sa.Select[Any], states: Iterable[DeviceState]) -> sa.Select[Any]:
    """Only those devices that are in one of the states."""
    joined, state = judged(wanted)
    return joined.where(state.in_([each.value for each in states]))


def in_category(category: str) -> ColumnElement[bool]:
    """Whether a device's profile is of a category; a profile that is not known here is of `other`."""
    known = catalogue.profiles()
    found = devices.c.profile.in_(sorted(name for name, profile in known.items() if profile.category == category))
    return sa.or_(found, devices.c.profile.not_in(sorted(known))) if category == OTHER else found


def counts(tx: Connection, principal: Principal) -> dict[str, dict[DeviceState, int]]:
    """Devices within scope by category and state; what there is none of is absent."""
    joined, state = judged(sa.select(sa.func.count()).join_from(devices, gateways, gateways.c.id == devices.c.gateway))
    counted = joined.where(scope(principal, devices.c.node)).add_columns(devices.c.profile, state.label("state"))
    found: dict[str, dict[DeviceState, int]] = {}
    for count, name, each in tx.execute(counted.group_by(devices.c.profile, sa.text("state"))):
        profile = catalogue.profile(name)
        states = found.setdefault(profile.category if profile else OTHER, {})
        states[DeviceState(each)] = states.get(DeviceState(each), 0) + int(count)
    return found
