"""What a managed gateway does with an ordered configuration, and when a tried one is confirmed or left. Pure.

Owns the decisions; times and what is known of the links are passed in.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import msgspec

from firmware_specs.gateway_document import hash_of
from firmware_specs.wire_fleet import ConfigPhase

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from firmware_specs.wire_fleet import ConfigOrder

_Count = Annotated[int, msgspec.Meta(ge=0)]


MAX_STARTS: Final = 3
"""How often the agent may be started with a configuration that is not confirmed."""


class Version(msgspec.Struct, frozen=True):
    """A document by its number and the hash of its text."""

    version: _Count
    hash: str


class Trial(msgspec.Struct, frozen=True):
    """A document that runs and is not confirmed.

    boot, until_s: the machine's boot and the time since it at which it is left. starts: of the agent with it, the first
    excepted. must: connectors that were up before and have to be again.
    """

    version: _Count
    hash: str
    trial_s: _Count
    boot: str
    until_s: float
    starts: _Count = 0
    must: tuple[str, ...] = ()

    @property
    def document(self) -> Version:
        """Which document it is."""
        return Version(self.version, self.hash)


class Outcome(msgspec.Struct, frozen=True):
    """What came of an order."""

    phase: ConfigPhase
    version: _Count = 0
    hash: str = ""
    reason: str = ""
    at_ms: _Count = 0

    @property
    def document(self) -> Version:
        """Which document it is about."""
        return Version(self.version, self.hash)


class Kept(msgspec.Struct, frozen=True):
    """Everything that is remembered.

    committed: confirmed, and what is gone back to. previous: the one before it. left: the newest order that was refused
    or gone back from, and is not tried again. told: what the cloud is told.
    """

    committed: Version | None = None
    previous: Version | None = None
    trial: Trial | None = None
    left: Outcome | None = None
    told: Outcome = Outcome(ConfigPhase.NONE)

    @property
    def running(self) -> Version | None:
        """What is to run now."""
        return self.trial.document if self.trial else self.committed


class Action(StrEnum):
    """What is done with an order."""

    NOTHING = "nothing"
    """How it stands is known; it is told again."""
    REFUSE = "refuse"
    ADOPT = "adopt"
    """Its text runs already: only its number is new."""
    TRY = "try"


class Decision(NamedTuple):
    """What is done with an order. told: what the cloud is told of it when nothing is done, or when it is refused."""

    action: Action
    told: Outcome | None = None


def judge(kept: Kept, order: ConfigOrder, now_ms: int) -> Decision:
    """What to do with an order."""
    found = hash_of(order.text)
    if found != order.hash:
        return _refused(order, f"its text has hash {found}, not {order.hash}", now_ms)
    told = _known(kept, Version(order.version, order.hash), now_ms)
    if told:
        return Decision(Action.NOTHING, told)
    stale = _stale(kept, order)
    if stale:
        return _refused(order, stale, now_ms)
    runs = kept.committed is not None and kept.committed.hash == order.hash and not kept.trial
    return Decision(Action.ADOPT if runs else Action.TRY)


def _known(kept: Kept, wanted: Version, now_ms: int) -> Outcome | None:
    """How a document stands that was taken before, None when it is another one."""
    if kept.trial and kept.trial.document == wanted:
        return kept.told
    if kept.left and kept.left.document == wanted:
        return kept.left
    if kept.committed != wanted or kept.trial:
        return None
    known = kept.told.document == wanted and kept.told.phase is ConfigPhase.IN_FORCE
    return kept.told if known else Outcome(ConfigPhase.IN_FORCE, *_of(wanted), at_ms=now_ms)


def _stale(kept: Kept, order: ConfigOrder) -> str:
    """Why an order is too old to be taken, else empty."""
    newest = max((d.version for d in (kept.committed, kept.left, kept.trial) if d), default=-1)
    if order.version < newest:
        return f"version {order.version} is older than {newest}, which was taken already"
    return f"version {newest} was taken already, with another text" if order.version == newest else ""


def _of(document: Version) -> tuple[int, str]:
    return document.version, document.hash


def _refused(order: ConfigOrder, reason: str, now_ms: int) -> Decision:
    return Decision(Action.REFUSE, Outcome(ConfigPhase.REFUSED, order.version, order.hash, reason, now_ms))


def adopted(kept: Kept, document: Version, now_ms: int) -> Kept:
    """A document is in force, because it was confirmed or because its text ran already."""
    other = kept.committed is not None and kept.committed.hash != document.hash
    told = _newer(kept.left, Outcome(ConfigPhase.IN_FORCE, *_of(document), at_ms=now_ms))
    return Kept(document, kept.committed if other else kept.previous, None, kept.left, told)


def tried(kept: Kept, trial: Trial, now_ms: int) -> Kept:
    """A document is about to be tried."""
    told = Outcome(ConfigPhase.TRIAL, *_of(trial.document), at_ms=now_ms)
    return msgspec.structs.replace(kept, trial=trial, told=told)


def left(kept: Kept, phase: ConfigPhase, document: Version, reason: str, now_ms: int) -> Kept:
    """A document was refused, or gone back from, and is not tried again."""
    told = _newer(kept.left, Outcome(phase, *_of(document), reason[:2000], now_ms))
    return msgspec.structs.replace(kept, trial=None, left=told, told=told)


def _newer(known: Outcome | None, outcome: Outcome) -> Outcome:
    """The outcome of the newer order: the cloud waits for that of one refused while an older one was tried."""
    return known if known and known.version > outcome.version else outcome


def reverted_by_hand(kept: Kept, now_ms: int) -> tuple[Kept, str]:
    """Go back from what runs, as a person on the spot wants; and why it cannot be, else empty."""
    reason = "gone back by hand, on the gateway"
    if kept.trial:
        return left(kept, ConfigPhase.REVERTED, kept.trial.document, reason, now_ms), ""
    if kept.committed is None or kept.previous is None:
        return kept, "there is no earlier configuration"
    back = left(kept, ConfigPhase.REVERTED, kept.committed, reason, now_ms)
    return msgspec.structs.replace(back, committed=kept.previous, previous=None), ""


def at_start(trial: Trial, boot: str, since_boot_s: float) -> tuple[Trial | None, str]:
    """The trial as it goes on when the agent starts within it, or None and why it is left.

    A machine that was started anew has no clock in common with the time before: the trial begins again, and the number
    of starts bounds it.
    """
    starts = trial.starts + 1
    if starts > MAX_STARTS:
        return None, f"the agent was started {MAX_STARTS + 1} times within its trial"
    if trial.boot != boot:
        until_s = since_boot_s + trial.trial_s
        return msgspec.structs.replace(trial, boot=boot, until_s=until_s, starts=starts), ""
    if since_boot_s >= trial.until_s:
        return None, f"the agent was away until its trial of {trial.trial_s} s was over"
    return msgspec.structs.replace(trial, starts=starts), ""


class Seen(NamedTuple):
    """What a trial is judged by. acknowledged: whether the cloud answered since the change."""

    acknowledged: bool
    uplink: str
    connectors: Mapping[str, str]


def lacking(trial: Trial, seen: Seen) -> str:
    """What a tried configuration lacks to be confirmed, in one line; empty when it is good.

    The cloud must have acknowledged something since the change. A connector that the change touched and that was up
    before must be up. One that is new may be down, since its device may not be wired yet; one that was not touched may
    be down for reasons that are not the configuration's.
    """
    if not seen.acknowledged:
        why = "" if seen.uplink == "up" else f": {seen.uplink}"
        return f"the cloud did not answer{why}"
    for name in trial.must:
        state = seen.connectors.get(name, "not there")
        if state != "up":
            return f"connector {name} was up before and is not: {state}"
    return ""


def touched(before: Mapping[str, str], changed: Collection[str], trial: Trial | None) -> tuple[str, ...]:
    """The connectors that have to be up again: they were, and the change touches them.

    trial: one that this one takes the place of, and that may have brought down what was up before it.
    """
    were_up = {name for name, state in before.items() if state == "up"} | set(trial.must if trial else ())
    return tuple(sorted(were_up.intersection(changed)))
