"""The console's words in two languages, and which of them a request wants.

Owns `translations/*.toml`: `zh.toml`, and a file beside it for each group of pages, `zh.presence.toml`. Chinese
first: a browser that was never told otherwise gets Chinese. A missing key is an error when a page is rendered, and
a test compares the files, so none goes missing.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from firmware_specs.schema import Text

DIRECTORY: Final = Path(__file__).resolve().parent / "translations"
LANGUAGES: Final = ("zh", "en")
COOKIE: Final = "patrol_lang"


def flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted key and text of every leaf."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


class Words:
    """The words of one language."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.html = "zh-CN" if code == "zh" else "en"
        self.other = "en" if code == "zh" else "zh"
        self._texts: dict[str, str] = {}
        for file in sorted(DIRECTORY.glob(f"{code}*.toml")):
            with file.open("rb") as f:
                texts = dict(flatten(tomllib.load(f)))
            if twice := texts.keys() & self._texts.keys():
                raise ValueError(f"{file.name}: {min(twice)} is in another file too")
            self._texts |= texts

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key with its {names} filled in. Raises KeyError when there is none."""
        text = self._texts[key]
        return text.format(**values) if values else text

    def name(self, group: str, key: str) -> str:
        """The word for a key that comes from outside: itself when we have no word for it."""
        return self._texts.get(f"{group}.{key}", key)

    def person(self, label: str) -> str:
        """Who did something, as people are called: a user by the name, a token as one, the platform by its word."""
        kind, _, name = label.partition(":")
        return self("actor.token", name=name) if kind == "token" and name else self.name("actor", label)

    def flag(self, metric: str, value: bool) -> str:
        """The word for a boolean value of a metric: open or closed, forced or normal, yes or no."""
        word = str(value).lower()
        return self._texts.get(f"bool.{metric}.{word}") or self._texts[f"bool.{word}"]

    def pick(self, text: Text) -> str:
        """This language's half of a profile's text."""
        return text.zh if self.code == "zh" else text.en

    def group(self, *prefixes: str) -> dict[str, str]:
        """All texts below some prefixes, for the script of the page."""
        return {key: text for key, text in self._texts.items() if key.startswith(prefixes)}


WORDS: Final = {code: Words(code) for code in LANGUAGES}


def language(query: str | None, cookie: str | None) -> str:
    """The language of a request: what it asks for, else what the browser was told before, else Chinese."""
    for wanted in (query, cookie):
        if wanted in WORDS:
            return wanted
    return LANGUAGES[0]
