"""The hand at the test buttons: whoever starts a walk test in the console finds the devices tested one after the other.

Owns the pace, and which button of a device is pressed. It asks the HTTP API, as the console does, which devices of a
running walk test still wait. Nothing here ends the simulation; what cannot be done is tried again.
"""

from __future__ import annotations

import asyncio
import http.client
from typing import TYPE_CHECKING, Final

import structlog

from firmware_specs.fieldwork import AILING, TEST_METRICS, Proof, proof_of
from simulators.people import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_specs.readings import Value
    from firmware_specs.schema import Profile
    from simulators.device import Device
    from simulators.people import People

PACE_S: Final = 3.0
"""Slower than what the cloud takes for a fire that spreads: five alarms within five seconds."""
AGAIN_S: Final = 30.0
PRESS_S: Final = 2.0
ROLE: Final = "technician"
_CREDENTIAL: Final = "p-0te57000"
log = structlog.get_logger()


def button(profile: Profile) -> tuple[str, Value] | None:
    """What happens at a device when it is tested: the metric and what it says; None when measuring is enough."""
    flags = [name for name, spec in profile.metrics.items() if spec.type == "bool"]
    for name in flags:
        if name in TEST_METRICS:
            return name, True
    proof = proof_of(profile)
    if proof is Proof.READING:
        return None
    judged = {rule.metric for rule in profile.alarms if rule.kind not in AILING}
    if proof is Proof.CHANGE and "checkin" in profile.metrics:
        return "checkin", _CREDENTIAL
    if proof is Proof.CHANGE and "open" in flags:
        return "open", True
    return next(((name, True) for name in flags if name in judged), None)


class Walker:
    """See the module. `run` until cancelled."""

    def __init__(self, people: People, devices: Mapping[str, Device]) -> None:
        self._people = people
        self._devices = devices
        self._pressed: dict[tuple[int, str], float] = {}

    async def run(self) -> None:
        """Press one button every few seconds while somebody tests."""
        while True:
            try:
                await self._step()
            except (OSError, http.client.HTTPException, Refused, LookupError) as e:
                log.debug("no walk test", reason=str(e))
            await asyncio.sleep(PACE_S)

    async def _step(self) -> None:
        now = asyncio.get_running_loop().time()
        page = await self._people.get(ROLE, "/walk-tests?limit=5")
        for walk in page["items"]:
            if not walk["active"] or not walk["waiting"]:
                continue
            found = await self._people.get(ROLE, f"/walk-tests/{walk['id']}")
            for each in found["devices"]:
                key = (walk["id"], each["device"])
                device = self._devices.get(each["device"])
                pressed = button(device.profile) if device else None
                waits = each["mark"] == "waiting" and now - self._pressed.get(key, -AGAIN_S) >= AGAIN_S
                if device and pressed and waits:
                    self._pressed[key] = now
                    device.press(*pressed, PRESS_S)
                    log.info("test button", device=device.name, metric=pressed[0])
                    return
