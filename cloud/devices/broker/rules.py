"""Who may say and hear what at the broker, and when a revocation list has to be made again. Pure.

Owns the table of topics. Both ways of asking are made from it: the access file that mosquitto reads, and the answers
over HTTP; so they cannot differ. Identity is the common name of a certificate, and nothing that a client says.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from firmware_specs.readings import NAME_PATTERN
from firmware_specs.wire import TOPIC_ROOT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

UP: Final = ("up/+", "status", "reported", "reported/#", "result/+", "discovered")
"""What a gateway may publish, below its own name."""
DOWN: Final = ("ack", "desired", "desired/+", "command/+")
"""What it may hear."""
RENEW_AFTER_MS: Final = 6 * 3_600_000
"""A list is made anew this often, also when nothing was revoked: its age says that it is being kept."""
BEHIND_MS: Final = 60_000
"""A revocation that the broker does not have by now is an alarm (S3)."""
CUT_AGAIN_MS: Final = 10_000
"""A session is ended a second time after this, for a broker that took the new list later than it was told to."""
CUTS: Final = 2
_NAME: Final = re.compile(NAME_PATTERN)


class Action(StrEnum):
    """What a client asks for."""

    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"


def is_name(name: str) -> bool:
    """Whether a common name can be a gateway's: one level of a topic, without wildcards."""
    return _NAME.fullmatch(name) is not None


def access_file() -> str:
    """The access rules of the gateways' listener for mosquitto; `%u` is the common name."""
    lines = [f"pattern write {TOPIC_ROOT}/%u/{each}" for each in UP]
    lines += [f"pattern read {TOPIC_ROOT}/%u/{each}" for each in DOWN]
    return "\n".join(lines) + "\n"


def may(name: str, action: Action, topic: str) -> bool:
    """Whether the gateway of that common name may publish to a topic, or subscribe to a filter."""
    if not is_name(name) or "\x00" in topic:
        return False
    wild = any(sign in topic for sign in "+#")
    if action is Action.PUBLISH and wild:
        return False
    allowed = UP if action is Action.PUBLISH else DOWN
    return any(covers(f"{TOPIC_ROOT}/{name}/{each}", topic) for each in allowed)


def covers(pattern: str, topic: str) -> bool:
    """Whether all that a filter can match lies within a pattern; a topic is a filter that matches itself."""
    allowed, wanted = pattern.split("/"), topic.split("/")
    for at, level in enumerate(allowed):
        if level == "#":
            return True  # "a/#" holds "a" itself too
        if at == len(wanted):
            return allowed[at:] == ["#"]
        if wanted[at] == "#" or (level != "+" and wanted[at] != level):
            return False
    return len(wanted) == len(allowed) or (len(wanted) < len(allowed) and allowed[len(wanted) :] == ["#"])


def list_is_due(made_ms: int, until_ms: int, listed: Collection[int], revoked: Collection[int], now_ms: int) -> bool:
    """Whether a revocation list has to be made again.

    made_ms, until_ms: from when to when it holds. listed: its serial numbers. A list from the future, which a clock
    that jumped back leaves, is made again too: whoever checks it would refuse everybody.
    """
    if set(listed) != set(revoked):
        return True
    return not made_ms <= now_ms < min(made_ms + RENEW_AFTER_MS, until_ms)


def certificate_is_due(from_ms: int, until_ms: int, now_ms: int) -> bool:
    """Whether a certificate is past two thirds of its life, or not valid yet."""
    return not from_ms <= now_ms < from_ms + (until_ms - from_ms) * 2 // 3


def is_stale(made_ms: int | None, stale_ms: int, behind_since_ms: int | None, now_ms: int) -> bool:
    """Whether the broker's list is an alarm: it is too old, there is none, or it does not follow a revocation.

    behind_since_ms: since when the broker lacks what it should have, None when it lacks nothing.
    """
    too_old = made_ms is None or now_ms - made_ms > stale_ms
    behind = behind_since_ms is not None and now_ms - behind_since_ms > BEHIND_MS
    return too_old or behind


def may_connect(name: str, *, known: bool, revoked: Iterable[bool]) -> bool:
    """Whether a gateway may connect, for a broker that asks. revoked: of each of its certificates that has not expired.

    A known gateway without any certificate of ours has one of another authority, which the broker has checked.
    """
    all_revoked = list(revoked)
    return is_name(name) and known and not (all_revoked and all(all_revoked))
