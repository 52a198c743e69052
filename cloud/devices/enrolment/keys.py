"""Private keys in files: written once, never readable by others, refused when they are.

Owns the modes. A key file is 0600 in a directory that is 0700; a looser one is an error that names the file and its
mode, since nobody can say who has read it.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from firmware_specs.durable import write_file
from firmware_specs.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

KEY_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700
LOOSE: Final = 0o077


def new_key() -> ec.EllipticCurvePrivateKey:
    """A new key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def make_folder(folder: Path) -> int:
    """Make a folder that only its owner reads, unless there is one. Gives its mode. Raises ConfigError."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        return stat.S_IMODE(folder.stat().st_mode)
    except OSError as e:
        raise ConfigError(folder, "", e.strerror or str(e)) from e


def private_folder(folder: Path) -> None:
    """The same. Raises ConfigError too when there is one that others read."""
    mode = make_folder(folder)
    if mode & LOOSE:
        raise ConfigError(folder, "", f"mode {mode:04o} lets others read it; chmod 0700")


def write(path: Path, data: bytes, mode: int = KEY_MODE) -> None:
    """Write a file wholly or not at all, with its mode from the first byte on. Raises ConfigError."""
    try:
        write_file(path, data, mode)
    except OSError as e:
        raise ConfigError(path, "", e.strerror or str(e)) from e


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A key as PKCS #8 in PEM, not encrypted: the file's mode keeps it."""
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key of a file. Raises ConfigError naming the file, and its mode when that is loose."""
    for each in (path.parent, path):
        try:
            mode = stat.S_IMODE(each.stat().st_mode)
        except OSError as e:
            raise ConfigError(each, "", e.strerror or str(e)) from e
        if mode & LOOSE:
            wanted = FOLDER_MODE if each is path.parent else KEY_MODE
            raise ConfigError(each, "", f"mode {mode:04o} lets others read the key; chmod {wanted:04o}")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as e:
        raise ConfigError(path, "", f"no private key: {getattr(e, 'strerror', None) or e}") from e
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(path, "", "not a key on an elliptic curve")
    return key
