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
    from collections.abc import Collection, Mapping

MARK: Final = "[…]"
"""Stands for what was taken out."""
MAX_DIGITS: Final = 6
_TELLING: Final = re.compile(
    r"(?i)\b([\w.-]*(?:passw|passphrase|secret|token|credential|pseudonym|apikey|api[_-]key|private[_-]?key|claim|pin|"
    r"authorization|cookie|phone|mobile|id[_-]?card|badge|holder|person)[\w.-]*)(\"?\s*[=:]\s*)"
    r"(\"[^\"]*\"|'[^']*'|(?:bearer|basic)\s+\S+|[^\s,;}\"']+)"
)
_PATTERNS: Final = (
    re.compile(r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|$)", re.DOTALL),
    re.compile(r"(?<=://)[^\s/@]+(?=@)"),
    re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    re.compile(r"(?<!\d)1[3-9]\d(?:[ .-]?\d{4}){2}(?!\d)"),
    re.compile(r"(?<![\w.])\+?\d(?:[ -]?\d){9,17}[\dXx]?(?![\w.])"),
    re.compile(r"(?<![\w-])(?=[\w+/=-]*\d)(?=[\w+/=-]*[A-Za-z])[\w+/=-]{24,}"),
)
_PART: Final = re.compile(r"\s+|\S+")
_TOKEN: Final = re.compile(r"\[…\]|[^\W_]+|_+|\s+|.", re.DOTALL)
_NUMBER: Final = re.compile(r"\d{1,5}(?:ms|s|mb|kb|b)?", re.IGNORECASE | re.ASCII)
_MARKS: Final = re.compile(r"(?:\[…\]){2,}")
_PUNCTUATION: Final = frozenset(" \t.,:;!?'\"()[]{}<>=+-*/%&|#~_…")


def veil(text: str, secrets: Collection[str] = ()) -> str:
    """A line without what is secret for sure or looks like it. secrets: values that are."""
    for secret in sorted((each for each in secrets if len(each) >= 3), key=len, reverse=True):
        text = text.replace(secret, MARK)
    text = _TELLING.sub(lambda found: f"{found[1]}{found[2]}{MARK}", text)
    for pattern in _PATTERNS:
        text = pattern.sub(MARK, text)
    return text


def plain(text: str, names: Mapping[str, str] | None = None) -> str:
    """A text of which only known words, numbers that say nothing and punctuation are left.

    names: what stands for a word of ours that is a name there. What `veil` knows to be secret is to be out of it
    already: a password can be made of known words. A number beside a name (a room, a badge) goes with it; numbers
    beside each other go when together they are as long as a telephone number or a place on earth.
    """
    out: list[str] = []
    numbers: list[int] = []
    after_mark = False

    def settle(beside_mark: bool) -> None:
        if beside_mark or sum(each.isdigit() for at in numbers for each in out[at]) > MAX_DIGITS:
            for at in numbers:
                out[at] = MARK
        numbers.clear()

    for part in _PART.findall(veil(text)):
        named = (names or {}).get(part)
        for token in [named] if named else _TOKEN.findall(part):
            if token.isspace() or token in _PUNCTUATION:
                out.append(" " if token.isspace() else token)
            elif _NUMBER.fullmatch(token) and not after_mark:
                numbers.append(len(out))
                out.append(token)
            else:
                after_mark = not named and token.lower() not in WORDS
                settle(after_mark)
                out.append(MARK if after_mark else token)
    settle(False)
    return _MARKS.sub(MARK, "".join(out))
