"""What becomes of a claim that is presented, and what names a certificate may bear. Pure.

Owns the states of a claim and the order in which they are looked at. A claim is good once, for one key: the same key
may present it again within its life, since an answer can be lost on the way; any other key is a second use.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

GATEWAY_DOMAIN: Final = "gateways.patrolgrid.internal"
"""Where the DNS names of gateways' certificates lie. A certificate without one would have its common name judged as a
DNS name by OpenSSL whenever it has a dot, against constraints that are meant for servers."""
DAY_MS: Final = 86_400_000
AUTHORITY_WARN_MS: Final = 365 * DAY_MS
"""Before the end of the root or the intermediate: who has the root's key must be found, and come."""
SERVER_WARN_MS: Final = 60 * DAY_MS
"""Before the end of a server's certificate. One that renews itself is renewed with 121 days left."""
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_HOST: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class ClaimState(StrEnum):
    """Where a claim stands."""

    OPEN = "open"
    USED = "used"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Verdict(StrEnum):
    """What a claim that is presented comes to. The refusals are the words of the audit chain."""

    NEW = "new"
    AGAIN = "again"
    """The same key within the claim's life: the answer was lost, it is given once more."""
    UNKNOWN = "unknown"
    """Guessed, mistyped, or a claim of another cloud: the three are not told apart."""
    EXPIRED = "expired"
    REVOKED = "revoked"
    USED = "used"
    FOREIGN = "foreign"
    """A good claim in the hands of a key that is another gateway's."""


REFUSALS: Final = {
    Verdict.UNKNOWN: "the claim is not known here",
    Verdict.EXPIRED: "the claim has expired; ask for a new one",
    Verdict.REVOKED: "the claim was withdrawn; ask for a new one",
    Verdict.USED: "the claim was used already; ask for a new one",
    Verdict.FOREIGN: "the claim is not for this gateway",
}
"""What the client is told, one line."""


class Standing(NamedTuple):
    """What is known of a claim. used_key: the hash of the public key that used it."""

    expires_at: int
    revoked_at: int | None = None
    used_at: int | None = None
    used_key: str = ""


def state_of(claim: Standing, now_ms: int) -> ClaimState:
    """Where a claim stands now."""
    if claim.used_at is not None:
        return ClaimState.USED
    if claim.revoked_at is not None:
        return ClaimState.REVOKED
    return ClaimState.EXPIRED if claim.expires_at <= now_ms else ClaimState.OPEN


def judge(claim: Standing | None, key: str, now_ms: int) -> Verdict:
    """What a claim comes to that a key presents. Whether the key is another gateway's is not looked at here."""
    if claim is None:
        return Verdict.UNKNOWN
    if claim.used_at is not None:
        mine = claim.used_key == key and claim.revoked_at is None
        if not mine:
            return Verdict.USED
        return Verdict.AGAIN if now_ms < claim.expires_at else Verdict.EXPIRED
    if claim.revoked_at is not None:
        return Verdict.REVOKED
    return Verdict.EXPIRED if claim.expires_at <= now_ms else Verdict.NEW


def is_ending(until_ms: int, warn_ms: int, now_ms: int) -> bool:
    """Whether so little is left of a certificate that it is an alarm."""
    return until_ms - now_ms <= warn_ms


def code_hash(code: str) -> str:
    """What is kept of a code: SHA-256, plain, since 75 random bits cannot be tried out."""
    return hashlib.sha256(code.encode()).hexdigest()


def gateway_host(gateway: str) -> str:
    """The DNS name in a gateway's certificate: its id when that is a label, else a digest of it."""
    label = gateway if _LABEL.fullmatch(gateway) else f"x-{hashlib.sha256(gateway.encode()).hexdigest()[:32]}"
    return f"{label}.{GATEWAY_DOMAIN}"


def host_kind(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | str | None:
    """A server's address or lower-case DNS name; None when it is neither."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        name = host.lower()
        return name if len(name) <= 253 and _HOST.fullmatch(name) else None


def permitted(host: ipaddress.IPv4Address | ipaddress.IPv6Address | str, allowed: Collection[object]) -> bool:
    """Whether a host lies within constraints: networks for addresses, a name and whatever is below it for names."""
    if isinstance(host, str):
        return any(isinstance(each, str) and (host == each or host.endswith(f".{each}")) for each in allowed)
    networks = (each for each in allowed if isinstance(each, ipaddress.IPv4Network | ipaddress.IPv6Network))
    return any(host in network for network in networks)
