"""What is wrong with a configuration, and where a person wrote it. Pure.

Owns the finding of a key's line in a text, and the way back from a joined configuration to the text that a part of it
came from.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from firmware_specs.errors import ConfigError
from firmware_specs.gateway_document import parse

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN: Final = "own"
"""The source of what stands in the gateway's own text."""
EDIT: Final = "edit"
"""The source of what an edit names."""
NAMED_BY: Final = {"connectors": "name", "devices": "id"}
"""By list: the key that its entries are known by."""
_LINE: Final = re.compile(r"\(at line (\d+), column \d+\)")


class Fault(NamedTuple):
    """What is wrong. line: of the gateway's own text, 0 when it does not stand there. source: where it stands."""

    key: str
    reason: str
    source: str = OWN
    line: int = 0


class ConfigFault(ConfigError):  # noqa: N818 - says what is wrong, as a Fault does
    """A configuration that cannot be served; `fault` says what of it."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        known = {OWN: "configuration", EDIT: "edit"}
        source = known.get(fault.source) or f"template {fault.source}"
        super().__init__(f"{source} line {fault.line}" if fault.line else source, fault.key, fault.reason)


def entry_name(table: str, entry: Mapping[str, Any]) -> str:
    """What a connector or a device is known by."""
    return str(entry.get(NAMED_BY[table]) or entry.get("kind") or "")


def parsed(text: str, source: str) -> dict[str, Any]:
    """The tables of a text. Raises ConfigFault with the line when it is not TOML."""
    try:
        return parse(text, "")
    except ConfigError as e:
        match = _LINE.search(e.reason)
        raise ConfigFault(Fault("", e.reason, source, int(match[1]) if match else text.count("\n") + 1)) from e


def placed(
    e: ConfigError, whole: Mapping[str, Any], table: Mapping[str, Any], own: str, sources: Mapping[str, tuple[str, ...]]
) -> Fault:
    """The fault of a joined configuration, where a person wrote it."""
    match = re.match(r"(connectors|devices)\[(\d+)\](.*)", e.key)
    if match is None:
        named = next((m for m in re.finditer(r"'([^']+)'", e.reason)), None)
        line = line_of(own, e.key) or (_line_with(own, named[1]) if named and not e.key else 0)
        return Fault(e.key, e.reason, OWN if line or not e.key else _last(sources, e.key), line)
    name, index, rest = match[1], int(match[2]), match[3]
    known = entry_name(name, whole[name][index])
    for place, entry in enumerate(table.get(name, [])):
        if entry_name(name, entry) == known:
            key = f"{name}[{place}]{rest}"
            return Fault(key, e.reason, OWN, line_of(own, key))
    return Fault(f"{name}.{known}{rest}", e.reason, _last(sources, f"{name}.{known}"))


def _last(sources: Mapping[str, tuple[str, ...]], part: str) -> str:
    return sources.get(part, (OWN,))[-1]


def line_of(text: str, key: str) -> int:
    """The line where a key stands (`devices[3].profile`, `outbox.budget_mb`), or its table; 0 when neither does."""
    match = re.match(r"(\w+)(?:\[(\d+)\])?(?:\.(\w+))?", key)
    if match is None:
        return 0
    table, index, last = match[1], match[2], match[3]
    header = rf"\[\[\s*{table}\s*\]\]" if index is not None else rf"\[\s*{table}\s*\]"
    wanted, seen, found = int(index or 0), -1, 0
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if re.match(header, bare):
            seen += 1
            found = number if seen == wanted else found
        elif bare.startswith("[") and seen == wanted:
            break
        elif (last and seen == wanted and _is_key(last, bare)) or (seen < 0 and _is_key(table, bare)):
            return number
    return found


def _is_key(key: str, line: str) -> bool:
    return re.match(rf"[\"']?{key}[\"']?\s*=", line) is not None


def _line_with(text: str, word: str) -> int:
    """The last line that has a word in quotes: of two that are the same, the second one is the surplus."""
    lines = [n for n, line in enumerate(text.splitlines(), 1) if f'"{word}"' in line or f"'{word}'" in line]
    return lines[-1] if lines else 0
