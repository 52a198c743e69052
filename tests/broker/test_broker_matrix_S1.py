"""S1: ten gateways at a real mosquitto by the generated configuration; every topic of everybody, both ways."""

from __future__ import annotations

import socket
import ssl
from itertools import product
from typing import TYPE_CHECKING

import pytest

from cloud.devices.broker import conf, rules
from cloud.devices.broker.rules import Action
from firmware_specs.wire import topic
from tests.broker.broker_support import Session, is_refused
from tests.support import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broker.broker_support import Site

pytestmark = [pytest.mark.peer, pytest.mark.timeout(120)]
NAMES = tuple(f"gw-{n}" for n in range(10))
KINDS = (
    "up/alarms", "up/telemetry", "status", "reported", "reported/config", "reported/firmware", "result/1", "discovered",
    "ack", "desired", "desired/config", "desired/update", "command/1", "canary", "up", "up/a/b",
)  # fmt: skip
"""All that the wire has, and some that nobody has."""
WIDE = (
    "#",
    "+/#",
    "patrolgrid/#",
    "patrolgrid/v1/+/ack",
    "patrolgrid/v1/+/desired/+",
    "$share/x/patrolgrid/#",
    "$SYS/#",
)


@pytest.fixture
def gateways(site: Site) -> dict[str, Session]:
    site.enrol(*NAMES)
    site.start()
    return {name: site.session(name) for name in NAMES}


def test_S1_ten_gateways_publish_to_everybody_and_cross_nowhere(site: Site, gateways: dict[str, Session]) -> None:
    cloud = site.session("", port=site.cloud_port)
    cloud.subscribe("#")
    sent = [
        gateways[speaker].client.publish(topic(victim, kind), speaker, 1)
        for speaker, victim, kind in product(NAMES, NAMES, KINDS)
    ]
    for each in sent:
        each.wait_for_publish(30)
    allowed = {
        (topic(victim, kind), speaker.encode())
        for speaker, victim, kind in product(NAMES, NAMES, KINDS)
        if rules.may(speaker, Action.PUBLISH, topic(victim, kind))
    }
    assert len(allowed) == len(NAMES) * 8
    wait_for(lambda: allowed <= set(cloud.heard), 20, "each gateway's own messages")
    assert set(cloud.heard) == allowed, f"crossings: {sorted(set(cloud.heard) - allowed)[:5]}"


def test_S1_ten_gateways_subscribe_to_everybody_and_hear_their_own(site: Site, gateways: dict[str, Session]) -> None:
    everything = [topic(victim, kind) for victim, kind in product(NAMES, KINDS)]
    for session in gateways.values():
        session.subscribe(*everything)
        session.subscribe(*WIDE)
    cloud = site.session("", port=site.cloud_port)
    for each in [cloud.client.publish(name, b"x", 1) for name in everything]:
        each.wait_for_publish(30)
    own = {name: {t for t in everything if rules.may(name, Action.SUBSCRIBE, t)} for name in NAMES}
    assert all(len(topics) == 5 for topics in own.values())
    wait_for(lambda: all(own[n] <= {t for t, _ in s.heard} for n, s in gateways.items()), 20, "what is theirs")
    crossed = {n: {t for t, _ in s.heard} - own[n] for n, s in gateways.items()}
    assert not any(crossed.values()), f"heard what is not theirs: {crossed}"


def test_S1_the_name_of_a_session_cannot_be_chosen(site: Site, gateways: dict[str, Session]) -> None:
    """Whoever could come as another would end the other's session."""
    site.session("gw-1", client_id="gw-0")
    assert gateways["gw-1"].lost.wait(10)  # it came as itself, and took its own place
    assert not gateways["gw-0"].lost.is_set()


def test_S1_without_a_certificate_of_ours_nobody_is_let_in(site: Site, gateways: dict[str, Session]) -> None:
    assert gateways
    with pytest.raises(ssl.SSLError), _tls(site) as anonymous:
        # TLS 1.3 tells a client that its certificate is missing when it first reads.
        anonymous.recv(1)
    assert is_refused(site, "gw-1", pem=_foreign(site))


def _tls(site: Site) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(site.kept / conf.CA))
    return context.wrap_socket(socket.create_connection(("127.0.0.1", site.port), 10), server_hostname="localhost")


def _foreign(site: Site) -> Path:
    from tests.system.pki import Authority

    (site.folder / "other").mkdir()
    cert, key = Authority(site.folder / "other", "strangers").issue("gw-1")
    file = site.folder / "foreign.pem"
    file.write_bytes(cert.read_bytes() + key.read_bytes())
    return file
