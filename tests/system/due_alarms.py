"""Alarms that escalate while the cloud is killed: raised by a gateway's packs, some acknowledged, then judged.

Every alarm is of a kind of its own, or the first would tell for all, and critical, so that each telling goes at once.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from firmware_specs.readings import AlarmEvent, AlarmPhase, Lane, Severity
from tests.support import wait_for
from tests.system.fakegateway import FakeGateway, packs_of
from tests.system.harness import ms_of, now_ms

if TYPE_CHECKING:
    from tests.system.harness import Json, Stack
    from tests.system.killing import Killer

STEPS_S: Final = (0, 1, 3)
"""Of the chain: when each of its steps is due."""
KIND: Final = "test-"
AGAIN_S: Final = 1.0


class Alarms:
    """Raises alarms one by one and holds their escalation against the chain."""

    def __init__(self, stack: Stack, gateway: FakeGateway, count: int) -> None:
        self._stack = stack
        self._gateway = gateway
        at = now_ms()
        phase, severity = AlarmPhase.RAISED, Severity.CRITICAL
        events = [
            AlarmEvent(f"o-{n}", f"dev-{n}", f"{KIND}{n}", severity, phase, "test/rule", "1.0", at, at)
            for n in range(count)
        ]
        self._packs = packs_of(events, Lane.ALARMS, 1)
        self._raised = 0

    def raise_one(self) -> None:
        """Raise the next; acknowledge one in three of those that are there, if the cloud is."""
        self._gateway.publish(self._packs[self._raised])
        self._raised += 1
        if self._raised % 3 == 0:
            waiting = self._stack.try_get("/alarms?state=open&limit=1000")
            mine = [each for each in waiting["items"] if each["kind"].startswith(KIND)] if waiting else []
            if mine:
                self._stack.try_post(f"/alarms/{mine[0]['id']}/acknowledge", {})

    def deliver(self) -> None:
        """Say again what was not acknowledged, until everything is."""
        said_at = 0.0

        def said() -> bool:
            nonlocal said_at
            through = self._gateway.through(Lane.ALARMS)
            if time.monotonic() > said_at + AGAIN_S:
                said_at = time.monotonic()
                for pack in self._packs[through:]:
                    self._gateway.publish(pack)
            return through == len(self._packs)

        wait_for(said, 20, "every alarm in the cloud")

    def settled(self) -> bool:
        """Whether every alarm was told to the last step, or acknowledged."""
        listed = self._stack.try_get("/alarms?limit=1000")
        mine = [each for each in listed["items"] if each["kind"].startswith(KIND)] if listed else []
        return all(each["escalation"] == len(STEPS_S) or each["acknowledged_at"] for each in mine)

    def judge(self, killer: Killer) -> Counter[str]:
        """Every step was taken once and on time, and told once. How many of each there were."""
        mine = [each for each in self._stack.items("/alarms") if each["kind"].startswith(KIND)]
        assert sorted(each["occurrence"] for each in mine) == sorted(f"o-{n}" for n in range(len(self._packs)))
        total: Counter[str] = Counter()
        for each in mine:
            whole = self._stack.get(f"/alarms/{each['id']}")
            total += self._judge(whole, killer)
        return total

    def _judge(self, alarm: Json, killer: Killer) -> Counter[str]:
        told = [row for row in alarm["history"] if row["action"] in {"told", "escalated"}]
        assert [row["action"] for row in told] == ["told", "escalated", "escalated"][: len(told)], alarm
        begun = ms_of(alarm["received_at"])
        due = [begun + seconds * 1000 for seconds in STEPS_S]
        for moment, row in zip(due, told, strict=False):
            assert killer.on_time(moment, ms_of(row["at"])), (alarm, killer.down)
        if alarm["acknowledged_at"]:
            seen = ms_of(alarm["acknowledged_at"])
            assert all(ms_of(row["at"]) <= seen for row in told), alarm
            assert all(killer.on_time(moment, seen) for moment in due[len(told) :] if moment <= seen), alarm
        else:
            assert len(told) == len(STEPS_S), alarm
        sent = self._stack.items(f"/deliveries?subject=alarm&subject_id={alarm['id']}")
        assert len(sent) == len(told), (alarm, sent)
        return Counter(row["action"] for row in told)
