"""The importer's sections `posts`, `routes` and `areas`: the same tables as the API's, with a node's code for its path.

Owns too that a node which holds any of these is not archived.

What exists by its `code` is brought up to date; what would change nothing is not touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa
from pydantic import ValidationError

from cloud.errors import Invalid, RequestRefused
from cloud.importing import IMPORTERS, fault
from cloud.org import tree
from cloud.presence import posts as post_service
from cloud.presence import rounds
from cloud.presence.models import AreaIn, Named, PostIn, RouteIn
from cloud.presence.store import areas, posts, routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Table

    from cloud.org.rules import Principal


class _Section(NamedTuple):
    table: Table
    model: type[Named]
    values: Callable[[Any], dict[str, Any]]
    add: Callable[..., object]
    change: Callable[..., object]


_SECTIONS: Final = {
    "posts": _Section(posts, PostIn, post_service.values_of, post_service.add, post_service.change),
    "routes": _Section(routes, RouteIn, rounds.route_values, rounds.add_route, rounds.change_route),
    "areas": _Section(areas, AreaIn, lambda given: rounds.area_values(given)[0], rounds.add_area, rounds.change_area),
}


def _bring(name: str) -> Callable[[Connection, Principal, list[dict[str, Any]], int], int]:
    section = _SECTIONS[name]

    def bring(tx: Connection, actor: Principal, tables: list[dict[str, Any]], now_ms: int) -> int:
        changed = 0
        for number, table in enumerate(tables, 1):
            where = f"{name} {table.get('code') or number}"
            if not isinstance(table.get("code"), str) or not isinstance(table.get("node"), str):
                raise Invalid(f"{where}: code and node are needed, both as text")
            try:
                node = tree.find_code(tx, actor, table["node"])
                given = section.model.model_validate({**table, "node": node.path})
                changed += _put(tx, actor, section, given, now_ms)
            except ValidationError as e:
                raise fault(where, e) from e
            except RequestRefused as e:
                raise type(e)(f"{where}: {e}") from e
        return changed

    return bring


def _put(tx: Connection, actor: Principal, section: _Section, given: Named, now_ms: int) -> bool:
    """Whether it is new or changed."""
    row = tx.execute(sa.select(section.table).where(section.table.c.code == given.code)).first()
    if row is None:
        section.add(tx, actor, given, now_ms)
        return True
    wanted = {"node": given.node, "name_zh": given.name_zh, "name_en": given.name_en, **section.values(given)}
    if all(getattr(row, key) == value for key, value in wanted.items()):
        return False
    section.change(tx, actor, row.id, given, now_ms)
    return True


for _name, _section in _SECTIONS.items():
    IMPORTERS[_name] = _bring(_name)
    tree.OCCUPANTS[_name] = tree.counting(_section.table, _section.table.c.archived_at.is_(None))
