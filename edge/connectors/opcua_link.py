"""Connecting to an OPC UA server: security, identity, deadlines, and one line for whatever goes wrong.

Owns how a client comes and goes. With security, messages are signed and encrypted, and the server's certificate must
be one of those in `trusted_dir`, byte for byte: a gateway knows its few servers, and no authority issues their names.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import struct
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from edge.config import read_secret
from firmware_specs.errors import ConfigError, LinkError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from cryptography import x509

    from edge.config import OpcuaConfig

GOODBYE_S: Final = 2.0
MAX_TRUSTED: Final = 100
ODDITIES: Final = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError, struct.error)
"""What asyncua lets through when a server's answer is not what the protocol says."""
_PEM: Final = b"-----BEGIN"


async def connect(config: OpcuaConfig) -> Any:  # noqa: ANN401 - asyncua's client stays in the connector
    """A new client with a session. Raises LinkError."""
    # Takes a second and 40 MB: only when OPC UA is configured, and not on the loop that serves the others.
    await asyncio.to_thread(importlib.import_module, "asyncua")
    from asyncua.client.client import Client  # noqa: PLC0415
    from asyncua.common.utils import ServiceError  # noqa: PLC0415
    from asyncua.ua.uaerrors import UaError  # noqa: PLC0415

    # Whatever it reports reaches us as an exception too, without the traceback.
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    client = Client(config.url, timeout=config.deadline_s, watchdog_intervall=max(1.0, config.watchdog_s / 3))
    try:
        async with asyncio.timeout(config.deadline_s):
            if config.user is not None:
                client.set_user(config.user)
                if config.password_file is not None:
                    client.set_password(await asyncio.to_thread(read_secret, config.password_file, "password_file"))
            if config.security != "none":
                await _secure(client, config)
            await client.connect()
    except (OSError, UaError, ServiceError, ConfigError, *ODDITIES) as e:
        await disconnect(client)
        raise LinkError(config.url, reason(e)) from e
    except asyncio.CancelledError:
        await disconnect(client)
        raise
    return client


async def disconnect(client: Any) -> None:  # noqa: ANN401
    """Say goodbye when the server listens, and close the socket in any case."""
    from asyncua.ua.uaerrors import UaError  # noqa: PLC0415

    protocol = client.uaclient.protocol
    try:
        with contextlib.suppress(OSError, UaError, *ODDITIES):
            async with asyncio.timeout(GOODBYE_S):
                await client.disconnect()
    finally:
        # A client that found the link lost by itself leaves the socket open.
        if protocol is not None and protocol.transport is not None:
            protocol.transport.abort()


async def _secure(client: Any, config: OpcuaConfig) -> None:  # noqa: ANN401
    from asyncua import ua  # noqa: PLC0415
    from asyncua.crypto import security_policies, uacrypto  # noqa: PLC0415

    policies = {
        "basic256sha256": security_policies.SecurityPolicyBasic256Sha256,
        "aes256sha256rsapss": security_policies.SecurityPolicyAes256Sha256RsaPss,
    }
    assert config.cert is not None and config.key is not None and config.trusted_dir is not None  # noqa: S101, PT018 - the model demands them
    own = await asyncio.to_thread(_certificate, config.cert)
    client.application_uri = _application_uri(own) or client.application_uri
    key = await asyncio.to_thread(_read, config.key, "key")
    client.certificate_validator = _pinned(await asyncio.to_thread(_trusted, config.trusted_dir))
    try:
        await client.set_security(
            policies[config.security],
            uacrypto.CertProperties(_der(own), "der"),
            uacrypto.CertProperties(key, "pem" if key.lstrip().startswith(_PEM) else "der"),
            mode=ua.MessageSecurityMode.SignAndEncrypt,
        )
    except (ValueError, TypeError) as e:
        raise ConfigError(config.key, "key", "not a private key") from e


def _pinned(trusted: frozenset[bytes]) -> Callable[[x509.Certificate, object], Awaitable[None]]:
    from asyncua.common.utils import ServiceError  # noqa: PLC0415
    from asyncua.ua.status_codes import StatusCodes  # noqa: PLC0415

    async def validate(certificate: x509.Certificate, _application: object) -> None:
        if _der(certificate) not in trusted:
            raise ServiceError(StatusCodes.BadCertificateUntrusted)
        if not certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc:
            raise ServiceError(StatusCodes.BadCertificateTimeInvalid)

    return validate


def _trusted(folder: Path) -> frozenset[bytes]:
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".der", ".pem", ".crt", ".cer"})
    except OSError as e:
        raise ConfigError(folder, "trusted_dir", e.strerror or str(e)) from e
    return frozenset(_der(_certificate(path)) for path in files[:MAX_TRUSTED])


def _certificate(path: Path) -> x509.Certificate:
    from cryptography import x509  # noqa: PLC0415

    data = _read(path, "cert")
    try:
        return x509.load_pem_x509_certificate(data) if _PEM in data else x509.load_der_x509_certificate(data)
    except ValueError as e:
        raise ConfigError(path, "cert", "not a certificate") from e


def _der(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    return certificate.public_bytes(Encoding.DER)


def _application_uri(certificate: x509.Certificate) -> str | None:
    """What the certificate says we are; servers compare it with what we say."""
    from cryptography import x509  # noqa: PLC0415

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    return next(iter(names.get_values_for_type(x509.UniformResourceIdentifier)), None)


def _read(path: Path, key: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise ConfigError(path, key, e.strerror or str(e)) from e


_HINTS: Final = {
    "BadCertificateUntrusted": "the server's certificate is not in trusted_dir, or the server does not trust ours",
    "BadSecurityChecksFailed": "the server does not trust our certificate",
    "BadCertificateTimeInvalid": "the certificate is outside its dates",
    "BadUserAccessDenied": "user or password refused",
    "BadIdentityTokenRejected": "user or password refused",
    "BadIdentityTokenInvalid": "user or password refused",
}


def reason(error: BaseException) -> str:
    """One line for an error of asyncua or of the network."""
    from asyncua.common.utils import ServiceError  # noqa: PLC0415
    from asyncua.ua.status_codes import get_name_and_doc  # noqa: PLC0415
    from asyncua.ua.uaerrors import UaStatusCodeError  # noqa: PLC0415

    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConfigError):
        return str(error)
    if isinstance(error, UaStatusCodeError | ServiceError):
        name, _ = get_name_and_doc(error.code)
        return f"{_HINTS[name]} ({name})" if name in _HINTS else name
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return " ".join(str(error).split()) or type(error).__name__
