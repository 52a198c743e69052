"""Write a parsed TOML table as text: the inverse of reading it, and the same text for the same table.

Owns the form: plain keys first, then tables, then arrays of tables, each in the order that it is given. Pure.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def render(table: Mapping[str, Any]) -> str:
    """The text of a table whose values are strings, numbers, booleans, lists of these, tables or lists of tables.

    Raises ValueError for any other value.
    """
    blocks: list[str] = []
    _put(blocks, table, ())
    return "\n".join(blocks)


def _put(blocks: list[str], table: Mapping[str, Any], path: tuple[str, ...], header: str = "") -> None:
    plain = [f"{_key(name)} = {_value(value)}\n" for name, value in table.items() if not _is_block(value)]
    if header or plain:
        blocks.append(header + "".join(plain))
    for name, value in table.items():
        if isinstance(value, dict):
            _put(blocks, value, (*path, name), f"[{_dotted((*path, name))}]\n")
    for name, value in table.items():
        if _is_block(value) and not isinstance(value, dict):
            for each in value:
                _put(blocks, each, (*path, name), f"[[{_dotted((*path, name))}]]\n")


def _is_block(value: object) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and all(isinstance(part, dict) for part in value)
    )


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(map(_key, path))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _string(name)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    raise ValueError(f"a value of kind {type(value).__name__} cannot be written")


def _string(text: str) -> str:
    """A basic string (TOML 1.0): JSON's escapes, and DEL, which JSON leaves alone."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
