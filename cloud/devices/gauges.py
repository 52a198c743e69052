"""How full the batteries and how strong the signals of devices are, by the units of their profiles.

Owns which metrics those are: a battery is what is measured in %EL, a signal what is measured in dBm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from cloud import catalogue
from cloud.devices.store import devices, latest
from firmware_specs.readings import Unit

if TYPE_CHECKING:
    from sqlalchemy import Connection

UNITS: Final = {Unit.BATTERY: "battery", Unit.DECIBEL_MILLIWATT: "signal"}


class Gauge(NamedTuple):
    """The latest value of a battery or of a signal. role: `battery` or `signal`."""

    device: str
    role: str
    value: float
    observed_at: int


def gauges(tx: Connection, gateway: str) -> list[Gauge]:
    """Of all devices of a gateway, by device."""
    roles = {
        (name, metric): UNITS[Unit(spec.unit)]
        for name, profile in catalogue.profiles().items()
        for metric, spec in profile.metrics.items()
        if spec.unit in UNITS
    }
    names = sorted({metric for _, metric in roles})
    if not names:
        return []
    here = sa.and_(devices.c.gateway == latest.c.gateway, devices.c.id == latest.c.device)
    wanted = sa.select(devices.c.id, devices.c.profile, latest.c.metric, latest.c.value, latest.c.observed_at)
    wanted = wanted.join_from(devices, latest, here).where(devices.c.gateway == gateway, latest.c.metric.in_(names))
    found = []
    for row in tx.execute(wanted.order_by(devices.c.id, latest.c.metric)):
        role = roles.get((row.profile, row.metric))
        value = msgspec.json.decode(row.value)
        if role and isinstance(value, int | float) and not isinstance(value, bool):
            found.append(Gauge(row.id, role, float(value), row.observed_at))
    return found
