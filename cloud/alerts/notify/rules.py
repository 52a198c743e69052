"""Who is told, when it is tried again, what goes as one, and where nothing may be sent. Pure.

- A channel hears a message of its node or of one below it, for one of its roles or users. It hears what is at least as
  severe as it asks for, and everything urgent. Drills go to sandbox channels and nothing else does.
- A failed try is repeated after 10 s, 20 s, 40 s … at most 30 minutes: for four hours, an urgent one for a day.
- A channel gets so many messages a minute. When more of those that are not urgent wait than it may have now, they go
  as one, the digest. An urgent one is never limited, and never part of a digest.
- A message whose title was told three times in ten minutes comes and goes: it waits for ten minutes and goes with what
  came meanwhile.
- No address is spoken to that is not a public one: `why_refused`. Addresses that carry an IPv4 address within
  (mapped, 6to4, NAT64, Teredo) are refused whatever they carry.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from typing import TYPE_CHECKING, Final, NamedTuple

from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from cloud.org.rules import Role

FIRST_RETRY_S: Final = 10
LAST_RETRY_S: Final = 1800
TRIES: Final = 15
"""Of a message that is not urgent: about four hours."""
URGENT_TRIES: Final = 55
"""About a day."""
WINDOW_MS: Final = 60_000
"""A channel's rate is counted over this."""
FLAP_MS: Final = 600_000
FLAP_TIMES: Final = 3
BUNDLE_MS: Final = 600_000
"""How long what comes and goes waits for others."""
FAILING_MS: Final = 300_000
"""A channel that fails for this long is an alarm of its own."""

_NETWORKS: Final = (
    ("this network", "0.0.0.0/8"), ("private", "10.0.0.0/8"), ("carrier-grade NAT", "100.64.0.0/10"),
    ("loopback", "127.0.0.0/8"), ("link-local", "169.254.0.0/16"), ("private", "172.16.0.0/12"),
    ("reserved", "192.0.0.0/24"), ("documentation", "192.0.2.0/24"), ("6to4", "192.88.99.0/24"),
    ("private", "192.168.0.0/16"), ("benchmarking", "198.18.0.0/15"), ("documentation", "198.51.100.0/24"),
    ("documentation", "203.0.113.0/24"), ("multicast", "224.0.0.0/4"), ("reserved", "240.0.0.0/4"),
    ("metadata", "168.63.129.16/32"),
    ("unspecified", "::/128"), ("loopback", "::1/128"), ("IPv4-mapped", "::ffff:0:0/96"),
    ("IPv4-translated", "::ffff:0:0:0/96"), ("IPv4-compatible", "::/96"), ("NAT64", "64:ff9b::/96"),
    ("NAT64", "64:ff9b:1::/48"), ("Teredo", "2001::/32"), ("reserved", "2001::/23"), ("documentation", "2001:db8::/32"),
    ("6to4", "2002::/16"), ("documentation", "3fff::/20"), ("private", "fc00::/7"), ("link-local", "fe80::/10"),
    ("site-local", "fec0::/10"), ("multicast", "ff00::/8"),
)  # fmt: skip
_REFUSED: Final = tuple((why, ipaddress.ip_network(network)) for why, network in _NETWORKS)
_METADATA: Final = frozenset(
    map(ipaddress.ip_address, ("169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "fd00:ec2::254"))
)
_GLOBAL_V6: Final = ipaddress.ip_network("2000::/3")


def why_refused(address: str) -> str:
    """Why nothing is sent to an address, empty when it is a public one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "not an address"
    if parsed in _METADATA:
        return "metadata"
    for why, network in _REFUSED:
        if parsed.version == network.version and parsed in network:
            return why
    if parsed.version == 6 and parsed not in _GLOBAL_V6:
        return "reserved"
    return ""


def retry_after_s(attempts: int, *, urgent: bool) -> int | None:
    """How long to wait after so many failed tries; None when it is given up."""
    if attempts >= (URGENT_TRIES if urgent else TRIES):
        return None
    return min(FIRST_RETRY_S << min(attempts - 1, 16), LAST_RETRY_S)


def hears(audience: Collection[str], roles: Collection[Role], users: Collection[str] = ()) -> bool:
    """Whether a channel is for one of those who are named; a message that names nobody is for every channel."""
    named = {role.value for role in roles} | {f"user:{name}" for name in users}
    return not named or not named.isdisjoint(audience)


def fits(severity: Severity, at_least: Severity, *, urgent: bool) -> bool:
    """Whether a message is severe enough for a channel."""
    order = list(Severity)
    return urgent or order.index(severity) <= order.index(at_least)


class Waiting(NamedTuple):
    """A delivery that is due. bundle: it comes and goes. whole: it is a digest itself."""

    id: int
    urgent: bool
    bundle: bool = False
    whole: bool = False


class Plan(NamedTuple):
    """What to do with a channel's due deliveries. send: one by one. digest: as one. defer: not before there is room."""

    send: tuple[int, ...]
    digest: tuple[int, ...] = ()
    defer: tuple[int, ...] = ()


def plan(due: Sequence[Waiting], room: int, free: int) -> Plan:
    """What to send now, given how many messages the channel may still have and how many can be sent at once.

    due: oldest first. Urgent ones go first and need no room.
    """
    urgent = [each.id for each in due if each.urgent]
    others = [each for each in due if not each.urgent]
    send = urgent[:free]
    if room <= 0:
        return Plan(tuple(send), defer=tuple(each.id for each in others))
    free -= len(send)
    if free <= 0 or not others:
        return Plan(tuple(send))
    loose = [each.id for each in others if not each.whole]
    coming_and_going = [each.id for each in others if each.bundle]
    as_one = loose if len(others) > room else coming_and_going
    if len(as_one) < 2:
        return Plan((*send, *(each.id for each in others[: min(free, room)])))
    apart = [each.id for each in others if each.id not in as_one]
    return Plan((*send, *apart[: min(free, room) - 1]), digest=tuple(as_one))


def signature(secret: str, at_s: int, body: bytes) -> str:
    """The value of `X-PatrolGrid-Signature`: HMAC-SHA256 over the time, a point and the body."""
    mac = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256)
    return f"t={at_s},v1={mac.hexdigest()}"
