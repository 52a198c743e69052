"""What a campaign can change: the kinds, entered by the folders that know how.

Owns the list. A kind puts orders out and tells what came of them through `service.outcome` and `service.progress`; when
and for whom it is called is the engine's. Every call is made within a transaction and happens once for each attempt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from sqlalchemy import Connection

    from cloud.org.rules import Principal

    Subject = Mapping[str, Any]
    """What is to be changed, as its kind understands it; JSON."""
    Order = Callable[[Connection, int, Subject, str, str, int], None]
    """Given the transaction, the campaign, its subject, the gateway, the device (empty for the gateway itself), now."""
    Member = tuple[str, str]
    """A gateway, and a device or nothing."""


class Undone(NamedTuple):
    """What a rollback did beside its members, or left and why, as the campaign's history has it."""

    what: str
    detail: str


class Kind(NamedTuple):
    """One kind of change.

    start: order it. Raises PatrolError when it cannot be ordered of this one, which then has failed for that reason.
    stop: take the order back; whoever has begun already may still tell an outcome.
    back: order what was before; its outcome is told with `back=True`. None when nothing leads back.
    check: make a subject fit before a campaign is made; raises Invalid, NotFound.
    already: those of the given with whom nothing is to be done, as far as that is cheap to know.
    undo: when a campaign is rolled back, put back what it changed beside its members.
    of_devices: members are devices, not gateways.
    """

    start: Order
    stop: Order
    back: Order | None = None
    check: Callable[[Connection, Principal, Subject, int], Subject] | None = None
    already: Callable[[Connection, Subject, Collection[Member]], Collection[Member]] | None = None
    undo: Callable[[Connection, int, int], Undone | None] | None = None
    of_devices: bool = False


KINDS: Final[dict[str, Kind]] = {}
"""By name: `config`, `agent`, `firmware`."""
