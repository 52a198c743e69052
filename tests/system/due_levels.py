"""Response levels that begin and end while the cloud is killed: declared and approved over the API, then judged.

Each is declared for a node of its own, strict enough to be told at once. What was asked for while the cloud went away
may have taken effect or not; so what is judged is every declaration that there is.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.system.harness import iso, ms_of, now_ms

if TYPE_CHECKING:
    import random

    from tests.system.harness import Json, Stack
    from tests.system.killing import Killer

WAITS_MS: Final = (400, 2500)
"""Until it begins, and from then until it ends."""


class Levels:
    """Declares levels and holds what came of them against their times."""

    def __init__(self, stack: Stack, nodes: list[str], chief: str, dice: random.Random) -> None:
        """chief: the token of whoever approves."""
        self._stack = stack
        self._nodes = nodes
        self._chief = chief
        self._dice = dice

    def declare(self) -> None:
        """Declare one for the next node and have it approved, however often the cloud goes away meanwhile."""
        node = self._nodes.pop()
        made = None
        while made is None:
            begins = now_ms() + self._dice.randint(*WAITS_MS)
            body = {
                "node": node, "level": self._dice.choice((1, 2)), "reason": "演练之外", "starts_at": iso(begins),
                "ends_at": iso(begins + self._dice.randint(*WAITS_MS)),
            }  # fmt: skip
            made = self._stack.try_post("/levels/declarations", body)
        path = f"/levels/declarations/{made['id']}"
        while made is None or made["state"] == "pending":
            self._stack.try_post(f"{path}/approve", {}, token=self._chief)
            made = self._stack.try_get(path)

    def settled(self) -> bool:
        """Whether every declaration is over."""
        listed = self._stack.try_get("/levels/declarations?limit=1000")
        return bool(listed) and {each["state"] for each in listed["items"]} == {"expired"}

    def judge(self, killer: Killer) -> Counter[str]:
        """Every begin and end was written once and on time, and told once. How many of each there were."""
        rows = self._stack.items("/audit", token=self._chief)
        fired = {
            action: [(row["target"], ms_of(row["at"])) for row in rows if row["action"] == action]
            for action in ("level.begin", "level.expire")
        }
        total: Counter[str] = Counter()
        for declaration in self._stack.items("/levels/declarations"):
            due = self._due(declaration)
            for action, times in fired.items():
                found = [at for target, at in times if target == f"level/{declaration['id']}"]
                wanted = [due[action]] if action in due else []
                assert len(found) == len(wanted), (action, declaration, found)
                assert all(killer.on_time(*each) for each in zip(wanted, found, strict=True)), (action, declaration)
                total[action] += len(found)
            told = self._stack.items(f"/deliveries?subject=level&subject_id={declaration['id']}")
            assert len(told) == self._tellings(declaration, fired["level.begin"]), (declaration, told)
        assert {each["level"] for each in self._stack.items("/levels")} == {4}
        return total

    @staticmethod
    def _tellings(declaration: Json, begun: list[tuple[str, int]]) -> int:
        """That it was declared and that it was over; approved; begun, unless it was over by then."""
        began = [at for target, at in begun if target == f"level/{declaration['id']}"]
        return 2 + bool(declaration["decided_at"]) + sum(at < ms_of(declaration["ends_at"]) for at in began)

    @staticmethod
    def _due(declaration: Json) -> dict[str, int]:
        """What was to happen by itself, and when: one that was approved after its start began with that."""
        begins, decided = ms_of(declaration["starts_at"]), declaration["decided_at"]
        due = {"level.expire": ms_of(declaration["ends_at"])}
        return due | {"level.begin": begins} if decided and ms_of(decided) < begins else due
