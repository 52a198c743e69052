"""How a gateway stands to the configuration that is wanted of it. Pure.

Owns the phases and the judgement of what a gateway tells, and does not tell.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

GRACE_MS: Final = 60_000
"""Beyond the trial, in which a gateway that is there says what came of an order."""


class TemplateKind(StrEnum):
    """What a template is for."""

    NODE = "node"
    """Gateways at an organisation node and below it; its key is the node's path."""
    TYPE = "type"
    """Gateways that have a device of a type; its key is the profile's name."""


class Phase(StrEnum):
    """How a gateway stands to the configuration that the cloud wants of it."""

    UNSET = "unset"
    """The cloud wants none."""
    WAITING = "waiting"
    """It has not said anything of the order: it is away, or has only just got it."""
    NO_ANSWER = "no-answer"
    """It is there and says nothing of the order."""
    LOCAL = "local"
    TRIAL = "trial"
    IN_FORCE = "in-force"
    REFUSED = "refused"
    REVERTED = "reverted"


ENDED: Final = frozenset({Phase.IN_FORCE, Phase.REFUSED, Phase.REVERTED, Phase.LOCAL})
"""Phases that nothing follows by itself."""


class Told(NamedTuple):
    """What a gateway last told."""

    phase: str
    version: int
    hash: str
    reason: str


def phase_of(
    wanted: tuple[int, str] | None, told: Told | None, *, ordered_at: int, trial_s: int, online_since: int | None,
    now_ms: int,
) -> tuple[Phase, str]:  # fmt: skip
    """How a gateway stands and why. wanted: version and hash. online_since: None while it is away."""
    if wanted is None:
        return (Phase.LOCAL, "") if told and told.phase == Phase.LOCAL else (Phase.UNSET, "")
    if told and told.phase == Phase.LOCAL:
        return Phase.LOCAL, told.reason
    if told and (told.version, told.hash) == wanted and told.phase != "none":
        return Phase(told.phase), told.reason
    if told and told.version > wanted[0] and told.phase == Phase.IN_FORCE:
        return Phase.REFUSED, f"version {told.version} is in force there, newer than what is ordered"
    if online_since is not None and now_ms >= answer_due(ordered_at, trial_s, online_since):
        return Phase.NO_ANSWER, f"nothing was said of it within {trial_s + GRACE_MS // 1000} s"
    return Phase.WAITING, ""


def answer_due(ordered_at: int, trial_s: int, online_since: int) -> int:
    """Until when a gateway that is there has to say what came of an order."""
    return max(ordered_at, online_since) + trial_s * 1000 + GRACE_MS
