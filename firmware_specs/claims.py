"""Claim codes: what a technician types or scans to make a gateway the cloud's. Pure; both sides share it.

Owns the form of a code and of the text of its QR picture. A code is 15 characters of Crockford's base32 (75 bits) and a
check character, in four groups of four: `7K2M-X0QD-4TVB-9E3H`. The check is a weighted sum over GF(32), each place
with a weight of its own, so every single wrong character and every swap of two is noticed before anything is sent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

from firmware_specs.errors import PatrolError

if TYPE_CHECKING:
    from collections.abc import Sequence

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
RANDOM_CHARS: Final = 15
RANDOM_BITS: Final = 5 * RANDOM_CHARS
SCHEME: Final = "patrolgrid"
MAX_TEXT: Final = 1000
_GROUP: Final = 4
_READ: Final = {ord("I"): "1", ord("L"): "1", ord("O"): "0", **dict.fromkeys(map(ord, "- \t\r\n"), None)}
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")


class CodeRefused(PatrolError):  # noqa: N818 - states what happened to what was typed
    """What was typed or scanned is no claim: nothing was sent; look at it again."""


class Claim(NamedTuple):
    """What a QR picture says. url: the EST listener. root: SHA-256 of the root certificate in DER, in hex."""

    url: str
    code: str
    root: str


def _times(a: int, b: int) -> int:
    """The product in GF(32), modulo x^5 + x^2 + 1."""
    product = 0
    for bit in range(5):
        if b >> bit & 1:
            product ^= a << bit
    for bit in range(9, 4, -1):
        if product >> bit & 1:
            product ^= 0b100101 << (bit - 5)
    return product


def _check(values: Sequence[int]) -> int:
    """The check of the random part: with it, the sum of places times their weights 2^15 to 2^0 is nothing."""
    total = 0
    for value in values:
        total = _times(total, 2) ^ value
    return _times(total, 2)


def code_of(number: int) -> str:
    """The code of 75 random bits, in groups. Raises ValueError beyond them."""
    if not 0 <= number < 1 << RANDOM_BITS:
        raise ValueError(f"not a number of {RANDOM_BITS} bits")
    values = [number >> (5 * place) & 31 for place in reversed(range(RANDOM_CHARS))]
    text = "".join(ALPHABET[value] for value in [*values, _check(values)])
    return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))


def normalised(typed: str) -> str:
    """A code as it is written: groups, capitals, no I, L and O. Raises CodeRefused naming what is wrong with it."""
    plain = typed[:MAX_TEXT].upper().translate(_READ)
    wrong = next((char for char in plain if char not in ALPHABET), None)
    if wrong is not None:
        raise CodeRefused(f"claim code: {wrong!r} is in no code")
    if len(plain) != RANDOM_CHARS + 1:
        raise CodeRefused(f"claim code: {len(plain)} characters instead of {RANDOM_CHARS + 1}")
    values = [ALPHABET.index(char) for char in plain]
    if _check(values[:-1]) != values[-1]:
        raise CodeRefused("claim code: mistyped, its check character does not fit")
    return "-".join(plain[at : at + _GROUP] for at in range(0, len(plain), _GROUP))


def text_of(claim: Claim) -> str:
    """What the QR picture of a claim says."""
    return f"{SCHEME}:claim?" + urlencode({"url": claim.url, "code": claim.code, "root": claim.root}, safe=":/")


def parse(text: str) -> Claim:
    """What a QR picture says. Raises CodeRefused when it is none of a claim."""
    try:
        parts = urlsplit(text.strip()[:MAX_TEXT])
        query = parse_qs(parts.query, max_num_fields=8)
        address = urlsplit(query.get("url", [""])[-1])
        host = address.hostname
    except ValueError as e:
        raise CodeRefused("QR picture: not that of a claim") from e
    if parts.scheme != SCHEME or parts.path != "claim":
        raise CodeRefused("QR picture: not that of a claim")
    if address.scheme != "https" or not host:
        raise CodeRefused("QR picture: it names no https address")
    root = query.get("root", [""])[-1].lower()
    if not _FINGERPRINT.fullmatch(root):
        raise CodeRefused("QR picture: the fingerprint of the authority is missing")
    return Claim(address.geturl(), normalised(query.get("code", [""])[-1]), root)
