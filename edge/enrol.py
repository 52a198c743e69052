"""`patrol-edge enrol`: from a claim to a gateway that can run.

Owns the order of steps. Each file is there wholly or not at all, and `gateway.toml` comes last, so whatever interrupts
it leaves nothing, or what the same command goes on from with the same key and the same request, or all of it. A gateway
that is enrolled already stays as it is until the new pair is in force, which is one rename. The code is not kept, only
its digest.
"""

from __future__ import annotations

import hashlib
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from edge import est, keys, update_root
from edge.config import EMPTY, load_config
from edge.configure_keep import install
from edge.identity import BROKER_CA, CA, CERT, KEY, Identity, Life, Origin, Pair, issuers_in
from firmware_specs import claims
from firmware_specs.durable import write_file
from firmware_specs.errors import ConfigError, EnrolmentRefused
from firmware_specs.gateway_file import MQTT_PORTS, split_url
from firmware_specs.readings import checked_name
from firmware_specs.tomltext import render

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from firmware_specs.claims import Claim

_SANE_SINCE_S: Final = 1_767_225_600
"""2026-01-01: an earlier clock was never set, and every certificate would seem not to hold yet."""


class Wanted(NamedTuple):
    """What to enrol with, and where to put it. ca: a file with the root, for a claim that does not name it."""

    claim: Claim
    config: Path
    state_dir: Path
    ca: Path | None = None
    key: keys.Keeping = keys.Keeping.AUTO


class Enrolled(NamedTuple):
    """What came of it. anew: whether anything had to be done."""

    gateway: str
    life: Life
    anew: bool


def read_claim(address: str, code: str, root: str, ca: Path | None) -> Claim:
    """What was typed or scanned: a QR picture's text in place of address or code, or address, code and fingerprint.

    Raises EnrolmentRefused when nothing says whom to believe, CodeRefused when it is no claim.
    """
    for text in (code, address):
        if text.strip().lower().startswith(f"{claims.SCHEME}:"):
            return claims.parse(text)
    plain = "".join(char for char in root.lower() if char not in ": ")
    if plain and (len(plain) != 64 or any(char not in "0123456789abcdef" for char in plain)):
        raise EnrolmentRefused("--root is not the SHA-256 fingerprint of a certificate: 64 hexadecimal digits")
    if not plain and ca is None:
        raise EnrolmentRefused(
            "nothing says which cloud to believe: give the text of the QR picture, --root FINGERPRINT or --ca FILE"
        )
    return claims.Claim(address.strip(), claims.normalised(code), plain)


def enrol(wanted: Wanted, tell: Callable[[str], None] = lambda _: None) -> Enrolled:
    """Enrol, or go on where it was interrupted. tell: takes each step's name when it is done.

    Raises EnrolmentRefused, LinkError when the cloud cannot be reached, ConfigError or
    StoreError for what stands in the way here.
    """
    if time.time() < _SANE_SINCE_S:
        shown = datetime.now(UTC).isoformat(timespec="seconds")
        raise EnrolmentRefused(f"the clock says {shown}: set it first, certificates cannot be judged by it")
    client = est.EstClient(wanted.claim.url)
    identity = Identity(wanted.state_dir.absolute())
    mine = _own_file(wanted.config, identity)
    if not os.access(wanted.config.absolute().parent, os.W_OK | os.X_OK):
        raise ConfigError(wanted.config, "", "its folder is not there or cannot be written to")
    with identity.locked():
        asked = hashlib.sha256(wanted.claim.code.encode()).hexdigest()
        pair = identity.begin(asked, client.url)
        life = pair.life()
        in_force = identity.current()
        if life and mine and in_force and in_force.number == pair.number:
            identity.keep_only(pair)
            return Enrolled(life.name, life, anew=False)
        trusted = client.trust_root(wanted.claim.root) if wanted.claim.root else client.trust_file(_file(wanted.ca))
        pair.put(CA, trusted.encode())
        tell("authority")
        request = pair.request(lambda: keys.make(wanted.key, tell))
        tell("key in the TPM" if keys.holds(pair.key) else "key in a file")
        if life is None:
            life = pair.take(client.enrol(wanted.claim.code, request), issuers_in(trusted))
        tell("certificate")
        told = client.bootstrap(pair.cert, pair.key)
        _check(told, life, mine, wanted.config)
        _keep(identity, pair, told, Origin(client.url, asked, told.metadata_url, told.targets_url))
        tell("first configuration")
        identity.switch(pair)
        if not mine:
            write_file(wanted.config.absolute(), _gateway_toml(identity, told))
        identity.keep_only(pair)
        tell("done")
    return Enrolled(life.name, life, anew=True)


def _file(ca: Path | None) -> Path:
    if ca is None:
        raise EnrolmentRefused("nothing says which cloud to believe")
    return ca


def _own_file(config: Path, identity: Identity) -> str:
    """The gateway that a configuration file is of, empty when there is none.

    Raises EnrolmentRefused when it is not of an enrolment into this folder, ConfigError when it cannot be read.
    """
    if not config.exists():
        return ""
    found = load_config(config, EMPTY).config
    if found.uplink.cert != identity.link / CERT:
        raise EnrolmentRefused(
            f"{config} is there already and does not take its certificate from {identity.link}; move it away, or give "
            f"another --config or --state"
        )
    return found.gateway


def _check(told: est.Bootstrap, life: Life, mine: str, config: Path) -> None:
    """Raises EnrolmentRefused when what came does not fit together."""
    if told.gateway != life.name:
        raise EnrolmentRefused(f"the certificate is for {life.name!r} and the configuration for {told.gateway!r}")
    if mine and mine != told.gateway:
        raise EnrolmentRefused(
            f"the claim is of {told.gateway}, and {config} of {mine}: give another --config and --state"
        )
    checked_name("gateway", told.gateway)
    try:
        split_url(told.broker_url, MQTT_PORTS)
        issuers_in(told.broker_ca)
    except ValueError as e:
        raise EnrolmentRefused(f"the cloud names no broker that can be used: {e}") from e


def _keep(identity: Identity, pair: Pair, told: est.Bootstrap, origin: Origin) -> None:
    """Write what the cloud told, before anything refers to it."""
    # A root that is there has been followed since; an older one in its place would be a way back.
    update_root.keep(identity.state_dir, told.update_root)
    if told.config:
        install(identity.state_dir, told.config_version, told.config)
    pair.put_origin(origin)
    pair.put(BROKER_CA, told.broker_ca.encode())  # last: with it the pair is complete


def _gateway_toml(identity: Identity, told: est.Bootstrap) -> bytes:
    uplink: dict[str, object] = {"url": told.broker_url}
    if told.broker_url.startswith("mqtts:"):
        uplink |= {
            "ca": str(identity.link / BROKER_CA), "cert": str(identity.link / CERT), "key": str(identity.link / KEY),
        }  # fmt: skip
    table = {"gateway": told.gateway, "state_dir": str(identity.state_dir), "managed": True, "uplink": uplink}
    return ("# Written by patrol-edge enrol. Connectors and devices come from the cloud.\n" + render(table)).encode()
