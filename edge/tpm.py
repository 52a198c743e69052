"""Keys in a TPM 2.0: made in the chip and wrapped by it, of no use on another machine.

Owns the use of OpenSSL's provider `tpm2` (Debian: tpm2-openssl) through the command `openssl`. Which provider serves is
a setting of a whole process, and no other connection of the agent may have its certificates verified in a chip; so a
key in the TPM is used only by processes of their own: these commands, and `edge.tpm_line`. Each takes from 20 ms to
some seconds, as the chip is. A key's file holds what the chip wrapped, not the key. Raises LinkError when the TPM does
not do what is asked.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from firmware_specs.errors import LinkError

DEVICE: Final = Path("/dev/tpmrm0")
"""The kernel's resource manager: a TPM itself has room for three keys at a time."""
_WHERE: Final = "TPM2OPENSSL_TCTI"
"""The provider's own variable: where the TPM is, when it is not DEVICE."""
_SETTINGS: Final = Path(__file__).with_name("packaging") / "openssl-tpm.cnf"
_MARK: Final = b"-----BEGIN TSS2 PRIVATE KEY-----"
_ECDSA: Final = bytes.fromhex("300a06082a8648ce3d040302")
"""AlgorithmIdentifier of ecdsa-with-SHA256, in DER."""
_ECDSA_WITH_NULL: Final = bytes.fromhex("300c06082a8648ce3d0403020500")
_TIMEOUT_S: Final = 60.0


def is_present() -> bool:
    """Whether this machine has a TPM 2.0."""
    return bool(os.environ.get(_WHERE)) or DEVICE.exists()


def holds(key: Path) -> bool:
    """Whether a key's file is of a key in the TPM. Raises OSError."""
    with key.open("rb") as file:
        return file.read(len(_MARK)) == _MARK


def environment() -> dict[str, str]:
    """What a process needs beside the usual to use such a key."""
    return {_WHERE: f"device:{DEVICE}", **os.environ, "OPENSSL_CONF": str(_SETTINGS)}


def make() -> bytes:
    """A new key on P-256, as its file (PEM)."""
    made = _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "group:P-256")
    if not made.startswith(_MARK):
        # Without the provider OpenSSL makes a key all the same, and outside the TPM.
        raise LinkError("TPM", "OpenSSL makes no key in it (Debian: install tpm2-openssl)")
    return made


def request(key: Path, name: str) -> bytes:
    """A request for a certificate (PKCS #10, DER) in a name that the server may change."""
    return _plain(_openssl("req", "-new", "-key", str(key), "-subj", f"/CN={name}", "-outform", "DER"))


def sign(key: Path, said: bytes) -> bytes:
    """The signature of bytes: ECDSA over their SHA-256 (DER)."""
    return _openssl("dgst", "-sha256", "-sign", str(key), said=said)


def _plain(request: bytes) -> bytes:
    """A request whose algorithm has no parameters (RFC 5758); tpm2-openssl 1.1 gives it a NULL, which is not signed."""
    if _ECDSA_WITH_NULL not in request:
        return request
    head = 2 + (request[1] & 0x7F if request[1] & 0x80 else 0)
    body = request[head:].replace(_ECDSA_WITH_NULL, _ECDSA)
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([0x30, 0x80 | len(size)]) + size + body


def _openssl(*arguments: str, said: bytes = b"") -> bytes:
    try:
        done = subprocess.run(
            ["openssl", *arguments],  # noqa: S607 - wherever the system has it
            input=said, capture_output=True, timeout=_TIMEOUT_S, check=False, env=environment(),
        )  # fmt: skip
    except subprocess.TimeoutExpired as e:
        raise LinkError("TPM", f"no answer within {_TIMEOUT_S:g} s") from e
    except OSError as e:
        raise LinkError("TPM", f"openssl: {(e.strerror or str(e)).lower()}") from e
    told = done.stderr.decode("utf-8", "replace")
    if done.returncode or not done.stdout or "ERROR:tcti:" in told:
        raise LinkError("TPM", _reason(told) or f"openssl {arguments[0]} ended with {done.returncode}")
    return done.stdout


def _reason(told: str) -> str:
    """The first line that names a cause: the TPM's own libraries say `ERROR:layer:file:line:function() words`."""
    for line in told.splitlines():
        if line.startswith("ERROR:"):
            return line.rpartition("() ")[2].strip()
        if ":error:" in line:
            return line.split(":")[4] if line.count(":") > 4 else line
    return ""
