"""How occurrences of alarms become the alarms that people see. Pure.

Owns the order-independence of promise D7: whatever order raises and clears come in, and however often, the same rows
result. The rules:

- An occurrence is identified by the gateway's own id for it. Its raise fills it, its clear ends it, in either order.
- Occurrences of one (gateway, device, kind) are a family. Within a family, a later raise of the same rule ends the
  earlier occurrence (`superseded`, at the time of the later raise) unless its own clear is known: the gateway lost its
  state in between. "Later" is by rank, the gateway's own order, never by a clock.
- Of those that remain active, the one with the lowest rank stands for the family and the others are folded into it.
  So two rules of one kind, such as a smoke limit and the detector's own alarm bit, make one alarm at a time.

Owns too what keeps an alarm quiet (`suppression`), how often a family comes and goes (`flaps`), which alarms belong
together (`group_base`) and whom a chain tells when (`chain_for`, `due_at`).
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WRONG_CLOCK_MS: Final = 86_400_000
"""A device clock that is more than a day away from the gateway's is not believed when lateness is judged."""


class Occurrence(NamedTuple):
    """What the rules need to know of a row. rank: None until the raise came. ended_at: by its own clear or by hand."""

    id: int
    rule: str
    rank: int | None
    raised_at: int
    ended_at: int | None


class Standing(NamedTuple):
    """What the rules make of it. superseded_at: None unless that is what ended it. stands: for its family."""

    superseded_at: int | None
    folded_into: int | None
    stands: bool

    @property
    def active(self) -> bool:
        """Neither ended nor superseded."""
        return self.stands or self.folded_into is not None


def settle(family: Iterable[Occurrence]) -> dict[int, Standing]:
    """The standing of every occurrence of a family, by id."""
    rows = sorted(family, key=lambda o: (o.rank is None, o.rank or 0, o.id), reverse=True)
    following: dict[str, int] = {}
    superseded: dict[int, int] = {}
    active: list[int] = []
    for row in rows:
        if row.ended_at is None:
            if row.rule in following:
                superseded[row.id] = following[row.rule]
            else:
                active.append(row.id)
        if row.rank is not None:
            following[row.rule] = row.raised_at
    first = active[-1] if active else None
    return {
        row.id: Standing(
            superseded.get(row.id), first if row.id in active and row.id != first else None, row.id == first
        )
        for row in rows
    }


def is_late(observed_at: int, received_at: int, now_ms: int, late_ms: int) -> bool:
    """Whether an alarm was too old on arrival. A clock that cannot be right is replaced by the gateway's."""
    believed = observed_at if abs(observed_at - received_at) <= WRONG_CLOCK_MS else received_at
    return now_ms - believed > late_ms


def family_key(gateway: str, device: str, kind: str) -> str:
    """What is unique among the alarms that stand for their family. None of the parts contains `|`."""
    return f"{gateway}|{device}|{kind}"


# ---- what keeps an alarm quiet

PROTECTED: Final = frozenset({
    "fire", "smoke", "heat", "gas", "gas-leak", "gas-high", "co", "co-high", "explosion", "sos", "emergency", "duress",
    "panic", "trapped", "lift-trapped",
})  # fmt: skip
"""Kinds that nothing silences: a life may hang on them."""


class Reach(StrEnum):
    """How far a cause explains its effects."""

    DEVICE = "device"
    GATEWAY = "gateway"
    NODE = "node"
    """At or below the cause's node; the root explains nothing, since there everything would be one place."""


class Cause(NamedTuple):
    """Alarms of these kinds explain those of the others within reach."""

    kinds: frozenset[str]
    effects: frozenset[str]
    reach: Reach


CAUSES: Final = (
    Cause(
        frozenset({"mains-lost", "power-lost"}),
        frozenset({"gateway-offline", "link-down", "uplink-down", "device-silent"}), Reach.NODE,
    ),
    Cause(frozenset({"link-down", "uplink-down"}), frozenset({"gateway-offline", "device-silent"}), Reach.GATEWAY),
    Cause(frozenset({"gateway-offline"}), frozenset({"device-silent"}), Reach.GATEWAY),
    Cause(frozenset({"device-silent", "device-fault"}), frozenset({"fix-lost", "fix-poor"}), Reach.DEVICE),
    Cause(frozenset({"fix-lost"}), frozenset({"fix-poor"}), Reach.DEVICE),
)  # fmt: skip
"""Root causes first. What stands first explains what both would."""
CAUSE_KINDS: Final = frozenset(kind for cause in CAUSES for kind in cause.kinds)
WIDE_KINDS: Final = frozenset(kind for cause in CAUSES if cause.reach is Reach.NODE for kind in cause.kinds)
"""Those that explain alarms of other gateways."""
EFFECT_KINDS: Final = frozenset(kind for cause in CAUSES for kind in cause.effects)


class Purpose(StrEnum):
    """Why alarms of something tell nobody for a time."""

    SILENCE = "silence"
    MAINTENANCE = "maintenance"


class Cover(NamedTuple):
    """A silence or a maintenance. gateway, device, kind: None for any. In force from starts_at until before ends_at."""

    id: int
    purpose: Purpose
    node: str
    gateway: str | None
    device: str | None
    kind: str | None
    starts_at: int
    ends_at: int

    def covers(self, alarm: Subject, now_ms: int) -> bool:
        """Whether it is in force and means this alarm."""
        return (
            self.starts_at <= now_ms < self.ends_at
            and alarm.node.startswith(self.node)
            and self.gateway in {None, alarm.gateway}
            and self.device in {None, alarm.device}
            and self.kind in {None, alarm.kind}
        )


class Subject(NamedTuple):
    """What of an open alarm decides whether it tells anybody."""

    id: int
    node: str
    gateway: str
    device: str
    kind: str
    drill: bool = False
    shelved_until: int | None = None
    folded_into: int | None = None


class Why(StrEnum):
    """What keeps an alarm quiet; the first that holds is named."""

    NOTHING = ""
    FOLDED = "folded"
    SHELVED = "shelved"
    MAINTENANCE = "maintenance"
    SILENCE = "silence"
    INHIBITED = "inhibited"


class Suppression(NamedTuple):
    """All that keeps an alarm quiet, or would.

    silence, maintenance: the cover's id. A maintenance may be marked on an alarm that is told all the same.
    inhibited_by: the alarm whose cause explains this one.
    spared_by: the silence that covers it and that its kind is protected from.
    """

    why: Why
    silence: int | None = None
    maintenance: int | None = None
    inhibited_by: int | None = None
    spared_by: int | None = None

    @property
    def loud(self) -> bool:
        """Whether people are told of it."""
        return self.why is Why.NOTHING


def suppression(alarm: Subject, covers: Iterable[Cover], causes: Iterable[Subject], now_ms: int) -> Suppression:
    """What keeps an open alarm quiet and why: the one decision behind its columns, its messages and its explanation.

    A protected kind is never silenced nor inhibited. Under maintenance it is quiet only when the maintenance names its
    very device, which somebody has in hand; the maintenance of a gateway or of a node marks it and no more.
    """
    in_force = sorted((each for each in covers if each.covers(alarm, now_ms)), key=lambda c: (-c.ends_at, c.id))
    protected = alarm.kind in PROTECTED
    silence = next((each.id for each in in_force if each.purpose is Purpose.SILENCE), None)
    works = [each for each in in_force if each.purpose is Purpose.MAINTENANCE]
    in_hand = [each for each in works if each.device is not None]
    maintenance = next((each.id for each in (in_hand or works)), None)
    inhibitor = None if protected else explained_by(alarm, causes)
    judged = (
        (alarm.folded_into is not None, Why.FOLDED),
        (alarm.shelved_until is not None and alarm.shelved_until > now_ms, Why.SHELVED),
        (bool(in_hand if protected else works), Why.MAINTENANCE),
        (silence is not None and not protected, Why.SILENCE),
        (inhibitor is not None, Why.INHIBITED),
    )
    return Suppression(
        next((why for holds, why in judged if holds), Why.NOTHING), None if protected else silence, maintenance,
        inhibitor, silence if protected else None,
    )  # fmt: skip


def explained_by(alarm: Subject, causes: Iterable[Subject]) -> int | None:
    """The open alarm whose cause explains this one. A drill explains nothing that is real."""
    found = [
        (place, other.gateway, other.device, other.kind, other.id)
        for other in causes
        for place, cause in enumerate(CAUSES)
        if other.kind in cause.kinds and alarm.kind in cause.effects and other.id != alarm.id
        and _within(alarm, other, cause.reach) and (alarm.drill or not other.drill)
    ]  # fmt: skip
    return min(found)[-1] if found else None


def _within(alarm: Subject, cause: Subject, reach: Reach) -> bool:
    if reach is Reach.NODE:
        return cause.node != "/" and alarm.node.startswith(cause.node)
    same_gateway = bool(alarm.gateway) and alarm.gateway == cause.gateway
    return same_gateway and (reach is Reach.GATEWAY or alarm.device == cause.device)


# ---- how often it comes and goes

FLAP_HALF_LIFE_MS: Final = 600_000
FLAP_ON: Final = 6.0
FLAP_OFF: Final = 3.0
ONCE: Final = 1.0
"""What one raise or clear counts, and so the score of what came once."""


class Flap(NamedTuple):
    """How often a family came and went by the time of an occurrence, and whether that is flapping."""

    score: float = 0.0
    flapping: bool = False


def flaps(family: Sequence[tuple[int, int | None]]) -> list[Flap]:
    """The score of each occurrence (raised_at, cleared_at) of a family, at its last change.

    Every raise and every clear counts 1 and halves in ten minutes. Flapping begins at 6 and ends below 3.
    """
    moments = sorted(
        (at, place) for place, times in enumerate(family) for at in times if at is not None
    )  # fmt: skip
    found = [Flap()] * len(family)
    score, last, flapping = 0.0, moments[0][0] if moments else 0, False
    for at, place in moments:
        score = score * 2.0 ** (-min(at - last, 100 * FLAP_HALF_LIFE_MS) / FLAP_HALF_LIFE_MS) + ONCE
        flapping = score >= FLAP_ON or (flapping and score >= FLAP_OFF)
        last = at
        found[place] = Flap(round(score, 3), flapping)
    return found


def calm_after_ms(score: float) -> int:
    """How long after its last change a family that flaps is calm again."""
    return math.ceil(FLAP_HALF_LIFE_MS * math.log2(max(score / FLAP_OFF, 1.0))) + 1


# ---- what belongs together

GROUP_MS: Final = 60_000
FAMILIES: Final = {
    "fire": "fire", "smoke": "fire", "heat": "fire", "gas": "fire", "gas-leak": "fire", "gas-high": "fire",
    "co": "fire", "co-high": "fire", "explosion": "fire",
    "device-silent": "silence", "gateway-offline": "silence", "link-down": "silence", "uplink-down": "silence",
    "mains-lost": "power", "power-lost": "power",
}  # fmt: skip
"""Kinds that one event makes together; every other kind is a family by itself."""
ALONE: Final = frozenset({"sos", "duress", "emergency", "panic", "trapped", "lift-trapped"})
"""Each is a person: one message must not stand for two."""


def group_base(kind: str, place: str) -> str | None:
    """What alarms that may form a group have in common; None for a kind that always stands alone."""
    return None if kind in ALONE else f"{FAMILIES.get(kind, kind)}@{place}"


# ---- who is told, and when


class Step(NamedTuple):
    """Whom to tell after how long, `up` levels further up the tree. roster: members on duty there, too."""

    after_s: int
    roles: tuple[str, ...]
    up: int = 0
    roster: bool = False

    @property
    def audience(self) -> tuple[str, ...]:
        """Who is told, in words of the translations' `role`."""
        return (*self.roles, "roster") if self.roster else self.roles


class Chain(NamedTuple):
    """Who is told of an alarm that nobody acknowledges. kinds: empty for all. id: None for a built-in one."""

    id: int | None
    node: str
    name: str
    kinds: frozenset[str]
    min_severity: Severity
    steps: tuple[Step, ...]
    repeat_s: int


_ORDER: Final = list(Severity)
_DISPATCH: Final = ("dispatcher",)
BUILT_IN: Final = {
    Severity.CRITICAL: Chain(
        None, "/", "built-in: critical", frozenset(), Severity.CRITICAL,
        (Step(0, _DISPATCH), Step(120, ("supervisor",)), Step(300, ("dispatcher", "supervisor"), 1)), 600,
    ),
    Severity.MAJOR: Chain(
        None, "/", "built-in: major", frozenset(), Severity.MAJOR,
        (Step(0, _DISPATCH), Step(600, ("supervisor",)), Step(1800, ("dispatcher", "supervisor"), 1)), 3600,
    ),
    Severity.MINOR: Chain(
        None, "/", "built-in: minor", frozenset(), Severity.MINOR,
        (Step(0, ("technician", "property")), Step(3600, _DISPATCH)), 0,
    ),
    Severity.WARNING: Chain(
        None, "/", "built-in: warning", frozenset(), Severity.WARNING, (Step(0, ("technician",)),), 0
    ),
}  # fmt: skip
"""What holds where nobody configured anything."""
MIN_REPEAT_MS: Final = 30_000


def urgency(severity: Severity) -> int:
    """A severity's place, 0 for the most urgent."""
    return _ORDER.index(severity)


def chain_for(chains: Iterable[Chain], node: str, kind: str, severity: Severity) -> Chain:
    """The chain of an alarm: of the nearest node; there, one that names its kind, then the more demanding severity."""
    fitting = [
        each
        for each in chains
        if node.startswith(each.node) and (not each.kinds or kind in each.kinds)
        and urgency(severity) <= urgency(each.min_severity)
    ]  # fmt: skip
    if not fitting:
        return BUILT_IN[severity]
    return min(fitting, key=lambda c: (-len(c.node), not c.kinds, urgency(c.min_severity), c.id or 0))


def due_at(chain: Chain, taken: int, *, begun_ms: int, last_ms: int, percent: int) -> int | None:
    """When the telling after `taken` of them is due, None when there is none. The last step repeats from its last.

    percent: of the times of the response level 4.
    """
    if taken < len(chain.steps):
        return begun_ms + chain.steps[taken].after_s * 10 * percent
    if not chain.repeat_s or not chain.steps:
        return None
    return last_ms + max(chain.repeat_s * 10 * percent, MIN_REPEAT_MS)


def telling(chain: Chain, taken: int) -> tuple[int, int]:
    """The step, and its repetition, that comes after `taken` tellings."""
    last = len(chain.steps) - 1
    return (taken, 0) if taken <= last else (last, taken - last)
