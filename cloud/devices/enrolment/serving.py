"""Certificates of servers in files: the EST listener's own, renewed by itself, and others that are asked for.

Owns `data_dir/authority/servers`: `<name>.pem` is the certificate and the intermediate, as servers send them;
`<name>-key.pem` its key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from cloud.devices.enrolment import keys, making
from cloud.devices.enrolment.rules import host_kind
from firmware_specs.durable import alone
from firmware_specs.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from cloud.devices.enrolment.authority import Authority
    from cloud.devices.settings import EstConfig

FOLDER: Final = "servers"
EST: Final = "est"


class Files(NamedTuple):
    """Where a server's certificate chain and key are."""

    chain: Path
    key: Path


def files_of(folder: Path, name: str) -> Files:
    """The files of a server below a folder."""
    return Files(folder / f"{name}.pem", folder / f"{name}-key.pem")


def write(authority: Authority, folder: Path, name: str, hosts: Sequence[str], now: datetime) -> Files:
    """Issue a server's certificate into a folder, which may be the server's own. Raises Invalid, ConfigError."""
    certificate, key = authority.issue_server(name, hosts, at=now)
    keys.make_folder(folder)
    files = files_of(folder, name)
    keys.write(files.key, keys.pem_of(key))
    chain = b"".join(each.public_bytes(Encoding.PEM) for each in (certificate, authority.intermediate))
    keys.write(files.chain, chain, 0o644)
    return files


def ensure(authority: Authority, folder: Path, name: str, hosts: Sequence[str], now: datetime) -> Files:
    """The same, unless what is there still serves: this authority's, for these hosts, a third of its life left.

    The folder is ours: one that others read is refused. Several processes may do this at once: a chain and its key
    are two files, which go together only when one of them writes both.
    """
    keys.private_folder(folder)
    files = files_of(folder, name)
    with alone(folder):
        return files if _serves(authority, files, hosts, now) else write(authority, folder, name, hosts, now)


def _serves(authority: Authority, files: Files, hosts: Sequence[str], now: datetime) -> bool:
    try:
        found, key = making.read_certificate(files.chain), keys.read_key(files.key)
        found.verify_directly_issued_by(authority.intermediate)
    except (ConfigError, ValueError, TypeError, InvalidSignature):
        return False
    life = found.not_valid_after_utc - found.not_valid_before_utc
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    same = {str(each.value) for each in names} == {str(host_kind(host)) for host in hosts}
    return same and found.public_key() == key.public_key() and now < found.not_valid_after_utc - life / 3


def hosts_of(est: EstConfig) -> list[str]:
    """What the EST listener's certificate says it is, first what gateways call it."""
    named = urlsplit(est.public_url).hostname if est.public_url else None
    bound = None if est.anywhere else est.bind.rpartition(":")[0].strip("[]")
    return list(dict.fromkeys(host for host in (named, bound, *est.hosts) if host))
