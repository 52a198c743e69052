"""A thousand gateways come back to a broker that was restarted: all of them, and not all at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from structlog.testing import capture_logs

from cloud.devices.broker import conf
from edge.channel import Channel
from edge.config import UplinkConfig
from edge.mqttlink import mqtt_link
from edge.outbox import Outbox
from edge.uplink import Uplink
from firmware_specs.errors import LinkError
from firmware_specs.wire import topic
from tests.support import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broker.broker_support import Site

pytestmark = [pytest.mark.peer, pytest.mark.timeout(120)]
GATEWAYS = 1000


class Seen(NamedTuple):
    """What happened, by the loop's clock. due: when each wanted to try; a loop that is busy lets it do so later."""

    due: list[float]
    up: dict[str, float]


class Dialler(Uplink):
    """An uplink with the agent's own waits and connection, that has nothing to say: its outbox is never opened."""

    def __init__(self, name: str, config: UplinkConfig, outbox: Outbox, seen: Seen) -> None:
        def nothing(*_: object) -> None:
            raise AssertionError("it has nothing to say")

        super().__init__(
            gateway=name, config=config, north=outbox.north, boot="b", status=nothing, reported=nothing,  # type: ignore[arg-type]
            desired=nothing, channel=Channel(),  # type: ignore[arg-type]
        )  # fmt: skip
        self._seen = seen

    async def _sleep(self, seconds: float) -> None:
        self._seen.due.append(self._loop.time() + seconds)
        await super()._sleep(seconds)

    async def _session(self) -> None:
        async with mqtt_link(self._config, self._gateway, lambda _: None, clean=True, quick=True) as link:
            await link.subscribe([(topic(self._gateway, "ack"), 1)])
            self._seen.up[self._gateway] = self._loop.time()
            self.state = "up"
            try:
                await link.keep_alive()
            except LinkError:
                self._seen.up.pop(self._gateway)
                raise


def certificates(site: Site) -> list[tuple[str, Path]]:
    """A certificate for each; all with one key, since what is measured is not the making of keys."""
    key = ec.generate_private_key(ec.SECP256R1())
    secret = key.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    made = []
    for name in (f"gw-{n:04}" for n in range(GATEWAYS)):
        file = site.folder / f"{name}.pem"
        file.write_bytes(site.authority.issue_gateway(csr, name).public_bytes(Encoding.PEM) + secret)
        made.append((name, file))
    return made


async def storm(site: Site) -> tuple[list[float], list[float]]:
    """When each gateway was back, and when any was due to try; in seconds since the broker was there again."""
    ca, seen = site.kept / conf.CA, Seen([], {})
    url = f"mqtts://localhost:{site.port}"
    outbox = Outbox(site.folder, "b", budget_bytes=10**7, linger_s=0)
    diallers = [
        Dialler(name, UplinkConfig(url=url, ca=ca, cert=file, key=file), outbox, seen)
        for name, file in certificates(site)
    ]
    tasks = [asyncio.ensure_future(each.run()) for each in diallers]
    try:
        await wait_until(lambda: len(seen.up) == GATEWAYS, 60, "all gateways")
        seen.due.clear()
        assert site.broker
        site.broker.kill()
        await wait_until(lambda: not seen.up, 10, "the loss of all")
        site.start_broker()
        began = asyncio.get_running_loop().time()
        await wait_until(lambda: len(seen.up) == GATEWAYS, 60, "all gateways again")
        return sorted(at - began for at in seen.up.values()), sorted(at - began for at in seen.due)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def test_a_thousand_gateways_return_to_a_restarted_broker_and_not_at_once(site: Site) -> None:
    site.start()
    with capture_logs():
        back, due = asyncio.run(storm(site))
    busiest = max(Counter(int(at * 4) for at in due).values())
    middle = due[len(due) * 9 // 10] - due[len(due) // 10]
    print(f"back after {back[GATEWAYS // 2]:.1f} s (half), {back[-1]:.1f} s (all); {len(due)} tries, four fifths of "
          f"them over {middle:.1f} s, {busiest} in the busiest quarter of a second")  # fmt: skip
    assert len(back) == GATEWAYS
    assert busiest <= GATEWAYS * 0.12, "drawn from 5 s, a quarter of a second has a twentieth"
    assert middle >= 3
