"""The keys that sign releases: Ed25519, each a private file `<role>-<id>.pem` of mode 0600 and a public `.pub`.

Owns making, reading and naming them. Those of root and targets live on a medium of their own, encrypted with a
passphrase unless that is waived; those of snapshot and timestamp live online, plain. A private key is never shown,
never logged and never in a database.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey

from firmware_specs.durable import sync_folder
from firmware_specs.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from securesystemslib.signer import Key

    Ask = Callable[[Path], bytes]
    """The passphrase of a key file."""

SHOWN: Final = 12
"""Hex digits of a key's id that name its files: enough to tell keys apart."""


def make_key(folder: Path, role: str, passphrase: bytes | None) -> Path:
    """A new key pair in a folder; gives the public file. Raises ConfigError when it cannot be written there."""
    signer = CryptoSigner.generate_ed25519()
    name = f"{role}-{signer.public_key.keyid[:SHOWN]}"
    guard = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    private = load_pem_private_key(signer.private_bytes, None)
    public = {"role": role, "keyid": signer.public_key.keyid, "key": signer.public_key.to_dict()}
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _create(folder / f"{name}.pem", private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, guard), 0o600)
        _create(folder / f"{name}.pub", json.dumps(public, indent=1).encode() + b"\n", 0o644)
        sync_folder(folder)
    except OSError as e:
        raise ConfigError(folder, "", f"no key can be written there: {(e.strerror or str(e)).lower()}") from e
    return folder / f"{name}.pub"


def _create(path: Path, data: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read_public(path: Path, role: str) -> SSlibKey:
    """A public key of a role. Raises ConfigError when the file holds none."""
    try:
        held = json.loads(path.read_bytes())
        key = SSlibKey.from_dict(held["keyid"], held["key"])
        found = held["role"]
    except OSError as e:
        raise ConfigError(path, "", (e.strerror or str(e)).lower()) from e
    except (ValueError, KeyError, TypeError) as e:
        raise ConfigError(path, "", f"not a public key of a release: {e}") from e
    if found != role:
        raise ConfigError(path, "", f"a key of {found}, not of {role}")
    return key


def signers(
    folders: Sequence[Path], role: str, known: dict[str, Key], ask: Ask | None = None
) -> list[CryptoSigner]:  # fmt: skip
    """Those of a role's keys that folders hold and that are known. ask: for passphrases.

    Raises ConfigError for a folder that is not there, a file that others may read, that is damaged, or whose
    passphrase is wrong.
    """
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(folder, "", "no such folder of keys; is the medium mounted?")
    found = []
    for path in (each for folder in folders for each in sorted(folder.glob(f"{role}-*.pem"))):
        private = _read_private(path, ask)
        signer = CryptoSigner(private)
        public = next((key for key in known.values() if _same(key, signer.public_key)), None)
        if isinstance(public, SSlibKey):
            found.append(CryptoSigner(private, public))
    return found


def _same(key: Key, other: Key) -> bool:
    return isinstance(key, SSlibKey) and isinstance(other, SSlibKey) and key.keyval == other.keyval


def _read_private(path: Path, ask: Ask | None) -> Ed25519PrivateKey:
    try:
        mode = path.stat().st_mode & 0o077
        data = path.read_bytes()
    except OSError as e:
        raise ConfigError(path, "", (e.strerror or str(e)).lower()) from e
    if mode:
        raise ConfigError(path, "", "a private key that others may read; chmod 600 it")
    secret = ask(path) if ask and b"ENCRYPTED" in data else None
    try:
        key = load_pem_private_key(data, secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        raise ConfigError(path, "", f"cannot be read as a private key: {str(e) or 'wrong passphrase'}") from e
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(path, "", "not an Ed25519 key")
    return key
