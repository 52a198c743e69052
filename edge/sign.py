"""Signing an acceptance sheet with the key of this gateway's certificate: the command `sign`.

Owns the use of the key. The cloud gives a sheet's number and digest, never the bytes: the key is also what
proves this gateway to the broker, and nobody may have it sign what could be taken for something else.
"""

from __future__ import annotations

import asyncio
import base64
import re
import time
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from edge.remote import CommandFailed
from firmware_specs.errors import ConfigError, LinkError
from firmware_specs.fieldwork import statement

if TYPE_CHECKING:
    from pathlib import Path

    from edge.binding import Plan
    from edge.remote import Run, Tell
    from firmware_specs.wire_fleet import Command

KIND: Final = "sign"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_NUMBER: Final = re.compile(r"[0-9]{1,19}")


class Signed(msgspec.Struct, frozen=True):
    """The answer. at_ms: of the statement. signature: base64. certificate: PEM."""

    at_ms: int
    signature: str
    certificate: str


class Agent(Protocol):
    """What the command needs of the gateway that runs."""

    plan: Plan


def sign(said: bytes, key_file: Path, cert_file: Path) -> tuple[str, str]:
    """The signature of bytes, in base64, and the certificate whose key made it. Raises CommandFailed."""
    from cryptography import x509  # noqa: PLC0415 - only where there are keys
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    from edge import keys  # noqa: PLC0415

    try:
        made = keys.sign(key_file, said)
        certificate = x509.load_pem_x509_certificate(cert_file.read_bytes())
    except (ConfigError, LinkError) as e:
        raise CommandFailed(str(e)) from e
    except OSError as e:
        raise CommandFailed(f"{cert_file}: {(e.strerror or str(e)).lower()}") from e
    except ValueError as e:
        raise CommandFailed(f"{cert_file}: no certificate in PEM") from e
    return base64.b64encode(made).decode(), certificate.public_bytes(Encoding.PEM).decode()


def kind(agent: Agent) -> Run:
    """The command, for `Remote.kinds`."""

    async def run(command: Command, tell: Tell) -> None:
        sheet, digest = command.arguments.get("sheet", ""), command.arguments.get("sha256", "")
        if not _NUMBER.fullmatch(sheet) or not _DIGEST.fullmatch(digest):
            raise CommandFailed("sign needs a sheet's number and its SHA-256")
        config = agent.plan.config
        if config.uplink.key is None or config.uplink.cert is None:
            raise CommandFailed("this gateway has no key: it is not enrolled")
        at_ms = time.time_ns() // 1_000_000
        said = statement(config.gateway, sheet, digest, at_ms)
        signature, certificate = await asyncio.to_thread(sign, said, config.uplink.key, config.uplink.cert)
        tell(msgspec.json.encode(Signed(at_ms, signature, certificate)).decode())

    return run
