"""Renews the gateway's certificate while the agent runs, at two thirds of its life.

Owns the trial: a new pair with a new key is put in force by one rename, the uplink connects anew with it, and the old
pair stays until the cloud has acknowledged something over the new connection. If that does not happen in time, the old
one is put back and the new one tried again later; a new certificate is not asked for again. Whatever ends the agent
meanwhile, one complete pair is in force, and the next start goes on from there.
"""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec
import structlog

from edge import keys
from edge.est import EstClient
from edge.identity import BROKER_CA, CA, CERT, Identity, expired, issuers_in
from firmware_specs.errors import ConfigError, EnrolmentRefused, LinkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.config import GatewayConfig
    from edge.identity import Pair

_log: structlog.stdlib.BoundLogger = structlog.get_logger("renewal")


class Line(Protocol):
    """The way to the cloud, as far as it matters here: `edge.uplink.Uplink`."""

    acked_at: float

    def connect_anew(self, why: str) -> None: ...  # noqa: D102 - as the uplink's


class Pace(NamedTuple):
    """How often to look, how long a trial lasts, and when to try again what failed; each wait is drawn around it."""

    look_s: float = 600.0
    trial_s: float = 180.0
    retry_s: float = 3600.0
    poll_s: float = 0.5


PACE: Final = Pace()


def _nobody(_reason: str) -> None:
    """Nobody wants to know."""


async def keep_renewed(
    config: GatewayConfig, uplink: Callable[[], Line], pace: Pace = PACE, tell: Callable[[str], None] = _nobody
) -> None:
    """Renew until cancelled; nothing to do for a gateway that was not enrolled.

    uplink: the one that serves now. tell: is given why the last look failed, empty when it did not.
    """
    identity = Identity(config.state_dir)
    if config.uplink.cert != identity.link / CERT:
        return
    said = ""
    while True:
        wait_s = pace.look_s
        try:
            await _look(identity, uplink, pace)
            said = ""
            tell("")
        except (LinkError, EnrolmentRefused, ConfigError, OSError) as e:
            if str(e) != said:
                _log.warning("certificate not renewed", reason=str(e))
            said = str(e)
            tell(said)
            wait_s = pace.retry_s
        await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311 - spreads gateways, guards nothing


async def _look(identity: Identity, uplink: Callable[[], Line], pace: Pace) -> None:
    """Go on with what is under way, or begin when it is time."""
    with identity.locked():
        current = identity.current()
        life = current.life() if current else None
        if current is None or life is None:
            raise ConfigError(identity.link, "", "there is no certificate")
        complete = [pair for pair in identity.pairs() if pair.complete]
        older = [pair for pair in complete if pair.number < current.number]
        if older:
            # The last process ended within a trial, or before it took the old pair away.
            await _try(identity, older[-1], current, uplink, pace)
            return
        now_ms = time.time_ns() // 1_000_000
        new = complete[-1] if complete else current
        if new.number <= current.number:
            if not life.is_due(now_ms):
                return
            if now_ms >= life.until_ms:
                until = datetime.fromtimestamp(life.until_ms / 1000, UTC)
                raise EnrolmentRefused(expired(identity.link / CERT, until))
            new = await _in_thread(identity, current)
        identity.switch(new)
        uplink().connect_anew("a new certificate")
        await _try(identity, current, new, uplink, pace)


async def _in_thread(identity: Identity, current: Pair) -> Pair:
    """`_renewed` beside the loop. A cancellation waits for it: the pairs are its own until it has ended."""
    task = asyncio.ensure_future(asyncio.to_thread(_renewed, identity, current))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _renewed(identity: Identity, current: Pair) -> Pair:
    """The next pair, complete; what was begun by a process that ended is gone on with."""
    origin, life = current.origin(), current.life()
    if origin is None or life is None:
        raise ConfigError(current.folder, "", "not complete")
    asked = f"after {current.number}, until {life.until_ms}"
    new = identity.begin(asked, origin.url)
    trusted = (current.folder / CA).read_text(encoding="ascii")
    if new.life() is None:
        client = EstClient(origin.url)
        client.trust_pem(trusted)
        request = new.request(lambda: keys.make_like(current.key))
        new.take(client.renew(request, current.cert, current.key), issuers_in(trusted))
        _log.info("certificate renewed", pair=new.number)
    new.put_origin(msgspec.structs.replace(origin, asked=asked))
    for name in (CA, BROKER_CA):
        new.put(name, (current.folder / name).read_bytes())
    return new


async def _try(identity: Identity, old: Pair, new: Pair, uplink: Callable[[], Line], pace: Pace) -> None:
    """Wait until the cloud answers over the new pair, then take the old away; else put it back.

    Raises LinkError when it was put back.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() - began < pace.trial_s:
        if uplink().acked_at > began:
            identity.keep_only(new)
            _log.info("new certificate accepted", pair=new.number)
            return
        await asyncio.sleep(pace.poll_s)
    life = old.life()
    if life is None or time.time_ns() // 1_000_000 >= life.until_ms:
        return  # the old one is of no use any more
    identity.switch(old)
    uplink().connect_anew("back to the old certificate")
    raise LinkError(str(new.cert), f"not accepted within {pace.trial_s:g} s, the old one is in force again")
