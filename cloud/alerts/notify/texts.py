"""What a notification says: templates in two languages, filled with text, fitted to what a service can show.

Owns `texts/*.toml`. A value is inserted as text and never read as a template: one pass over our own template, no format
specifications. What comes from outside is cleaned of control and direction characters and is bounded. What a service
would read as markup is escaped when it is sent.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cloud.alerts.notify.targets import Markup
from cloud.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloud.alerts.notify.targets import Service

LANGUAGES: Final = ("zh", "en")
VALUE: Final = 500
TITLE: Final = 200
BODY: Final = 4000
_FOLDER: Final = Path(__file__).resolve().parent / "texts"
_TEXTS: Final[dict[str, dict[str, Any]]] = {
    language: tomllib.loads((_FOLDER / f"{language}.toml").read_text(encoding="utf-8")) for language in LANGUAGES
}
_NAME: Final = re.compile(r"\{([a-z_]+)\}")
_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~@:])")
_LONE: Final = re.compile(r"[\s,：:，]+$")


class Text(NamedTuple):
    """A title of one line, and a body."""

    title: str
    body: str


def templates(language: str) -> list[str]:
    """The names of all templates of a language."""
    found = []
    for name, table in _TEXTS[language].items():
        found += [name] if "body" in table else [f"{name}.{n}" for n, t in table.items() if isinstance(t, dict)]
    return found


def plain(text: str, most: int = VALUE) -> str:
    """Text of one line without control, format and direction characters."""
    kept = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in clean(text, most * 2))
    return " ".join(kept.split())[:most]


def render(language: str, template: str, values: Mapping[str, str], *, drill: bool = False) -> Text:
    """A template with its values; one that nobody wrote is the plainest there is, so that nothing stays untold.

    Names of templates are read whether their parts are apart by a point, a dash or a line.
    """
    texts = _TEXTS[language]
    table = _find(texts, template)
    given = _values(language, values)
    title = _LONE.sub("", " ".join(_NAME.sub(lambda m: given.get(m[1], ""), table["title"]).split()))
    lines = [line for line in table["body"] if all(given.get(name) for name in _NAME.findall(line))]
    body = "\n".join(_NAME.sub(lambda m: given[m[1]], line) for line in lines)
    mark = texts["marks"]["drill"] if drill else ""
    return Text(f"{mark}{title or template}"[:TITLE], body[:BODY])


def _find(texts: Mapping[str, Any], template: str) -> Mapping[str, Any]:
    group, _, name = re.sub(r"[-_.]", ".", template).partition(".")
    table = texts.get(group, {})
    found = table.get(name) if name else table
    return found if isinstance(found, dict) and "body" in found else texts["other"]


def _values(language: str, values: Mapping[str, str]) -> dict[str, str]:
    """By name; those for this language count more than those for any."""
    severities: Mapping[str, str] = _TEXTS[language]["severity"]
    given = {name: plain(value) for name, value in values.items()}
    given |= {name[:-3]: value for name, value in given.items() if name.endswith(f"_{language}") and value}
    if "severity" in given:
        given["severity"] = severities.get(given["severity"], given["severity"])
    return given


def digest(language: str, titles: Sequence[str], most: int) -> Text:
    """One message that lists others; those that do not fit are counted."""
    table = _TEXTS[language]["digest"]
    title = table["title"].replace("{n}", str(len(titles)))
    lines = [*table["body"]]
    left = most - len(title) - len(lines[0]) - len(table["more"]) - 8
    for n, each in enumerate(titles):
        left -= len(each) + 3
        if left < 0:
            lines.append(table["more"].replace("{n}", str(len(titles) - n)))
            break
        lines.append(f"· {each}")
    return Text(title, "\n".join(lines))


def fitted(service: Service, text: Text) -> Text:
    """What is handed to a service: escaped, cut to its length; title and body in one when it knows no title."""
    title, body = (_escaped(service.markup, part) for part in text)
    if service.titled:
        return Text(title, _cut(body, service.length))
    return Text("", _cut(f"{title}\n{body}" if body else title, service.length))


def _escaped(markup: Markup, text: str) -> str:
    if markup is Markup.TAGS:
        return text.replace("<", "＜").replace(">", "＞").replace("@", "＠")
    if markup is Markup.MARKDOWN:
        return _MARKDOWN.sub(r"\\\1", text).replace("\\@", "＠")
    return text


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip("\\") + "…"
