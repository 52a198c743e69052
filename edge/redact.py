"""What must not leave this gateway in a text that people read afar: secrets and what names a person. Pure.

Owns two ways. `veil` takes the known and the suspicious out of a live log line: secrets that are given, values behind
telling names, addresses of mail, telephone and identity numbers, keys and long tokens. `plain` lets only words through
that are known to be harmless, which is what a diagnostics bundle is made by: it goes further than the console.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from edge.redact_words import WORDS

if TYPE_CHECKING:
    from collections.abc import Collection

MARK: Final = "[…]"
"""Stands for what was taken out."""
_TELLING: Final = re.compile(
    r"(?i)\b([\w.-]*(?:passw|passphrase|secret|token|credential|pseudonym|apikey|api[_-]key|private[_-]?key|claim|pin|"
    r"authorization|cookie|phone|mobile|id[_-]?card|badge|holder|person)[\w.-]*)(\"?\s*[=:]\s*)"
    r"(\"[^\"]*\"|'[^']*'|(?:bearer|basic)\s+\S+|[^\s,;}\"']+)"
)
_PATTERNS: Final = (
    re.compile(r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|$)", re.DOTALL),
    re.compile(r"(?<=://)[^\s/@]+(?=@)"),
    re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    re.compile(r"(?<![\w.])\+?\d(?:[ -]?\d){9,17}[\dXx]?(?![\w.])"),
    re.compile(r"(?<![\w-])(?=[\w+/=-]*\d)(?=[\w+/=-]*[A-Za-z])[\w+/=-]{24,}"),
)
_TOKEN: Final = re.compile(r"[^\W_]+|_+|\s+|.", re.DOTALL)
_NUMBER: Final = re.compile(r"\d{1,5}(?:ms|s|mb|kb|b)?", re.IGNORECASE | re.ASCII)
_PUNCTUATION: Final = frozenset(" \t.,:;!?'\"()[]{}<>=+-*/%&|#~_…")


def veil(text: str, secrets: Collection[str] = ()) -> str:
    """A line without what is secret for sure or looks like it. secrets: values that are."""
    for secret in sorted((each for each in secrets if len(each) >= 3), key=len, reverse=True):
        text = text.replace(secret, MARK)
    text = _TELLING.sub(lambda found: f"{found[1]}{found[2]}{MARK}", text)
    for pattern in _PATTERNS:
        text = pattern.sub(MARK, text)
    return text


def plain(text: str, also: Collection[str] = ()) -> str:
    """A text of which only known words, short numbers and punctuation are left. also: more words that are known.

    What `veil` knows to be secret is to be out of it already: a password can be made of known words.
    """
    out: list[str] = []
    for token in _TOKEN.findall(veil(text)):
        if token.isspace():
            out.append(" ")
            continue
        harmless = token in _PUNCTUATION or token.lower() in WORDS or token in also or _NUMBER.fullmatch(token)
        if harmless:
            out.append(token)
        elif not out or out[-1] != MARK:
            out.append(MARK)
    return "".join(out)
