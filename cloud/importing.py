"""Bringing an organisation in from a file: its tree, posts, members, shifts, plans.

Owns the file's form: TOML, or JSON, one list of tables a section; or a GeoJSON FeatureCollection of nodes. Each folder
enters the sections that it understands in `IMPORTERS`; they run in the order of `ORDER`, all in one transaction. What
exists already (by its `code` or natural key) is brought up to date, so the same file twice changes nothing.
"""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any, Final

from cloud.errors import Invalid
from cloud.text import clean
from firmware_specs.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pydantic import ValidationError
    from sqlalchemy import Connection

    from cloud.org.rules import Principal

JSON: Final = (".json", ".geojson")
ORDER: Final = (
    "features", "nodes", "places", "posts", "routes", "areas", "members", "equipment", "pseudonyms", "shifts", "plans",
    "policies", "chains", "channels",
)  # fmt: skip
IMPORTERS: Final[dict[str, Callable[[Connection, Principal, list[dict[str, Any]], int], int]]] = {}
"""By section: given the transaction, who acts, the section's tables and the present; how many are new or changed.
Raises RequestRefused naming what is wrong. A node is named by its `code` throughout."""


def fault(where: str, e: ValidationError) -> Invalid:
    """What is wrong with an entry of a section, for one line: where, the key and the cause."""
    first = e.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error") or first["msg"]
    parts = (where, ".".join(map(str, first["loc"])), f"{str(cause)[:1].lower()}{str(cause)[1:]}")
    return Invalid(clean(": ".join(filter(None, parts)), 500))


def read(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The sections of a file. Raises ConfigError naming the file, the section and the nearest valid one."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows' editors begin a file with a mark
        found = json.loads(text) if path.suffix in JSON else tomllib.loads(text)
    except OSError as e:
        raise ConfigError(path, "", e.strerror or str(e)) from e
    except (ValueError, RecursionError) as e:
        raise ConfigError(path, "", f"not {'JSON' if path.suffix in JSON else 'TOML'}: {e}") from e
    if not isinstance(found, dict):
        raise ConfigError(path, "", "not a table of sections")
    if found.get("type") == "FeatureCollection":
        found = {"features": found.get("features")}
    for section, tables in found.items():
        if section not in ORDER:
            raise ConfigError(path, section, f"no such section; there are {', '.join(ORDER)}")
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise ConfigError(path, section, "not a list of tables")
    return found


def apply(tx: Connection, actor: Principal, sections: dict[str, list[dict[str, Any]]], now_ms: int) -> dict[str, int]:
    """Bring the sections in; how many entries of each are new or changed."""
    done: dict[str, int] = {}
    for section in ORDER:
        if section in sections:
            done[section] = IMPORTERS[section](tx, actor, sections[section], now_ms)
    return done
