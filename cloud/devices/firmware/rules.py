"""What follows from what a gateway tells of its devices' firmware. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from firmware_specs.release import ReleaseKind, same_version
from firmware_specs.wire_fleet import ENDED, UpdatePhase

if TYPE_CHECKING:
    from collections.abc import Iterable

    from firmware_specs.release import Target
    from firmware_specs.wire_fleet import UpdateState


class Ordered(NamedTuple):
    """The last order of a device."""

    campaign: int
    version: str
    at_ms: int
    wanted: bool


def is_about(state: UpdateState, order: Ordered) -> bool:
    """Whether what a gateway tells is about the last order, and not about one before."""
    told = (state.campaign, state.version, state.ordered_ms)
    return order.at_ms > 0 and told == (order.campaign, order.version, order.at_ms)


def ended(state: UpdateState) -> bool | None:
    """Whether a job ended well; None while it has not ended."""
    return state.phase is UpdatePhase.COMMITTED if state.phase in ENDED else None


def leads_back(targets: Iterable[Target], model: str, version: str) -> Target | None:
    """The published firmware of a model that is a version, if there is one."""
    for target in targets:
        release = target.release
        fits = release.kind is ReleaseKind.FIRMWARE and release.model == model
        if fits and version and same_version(release.version, version):
            return target
    return None
