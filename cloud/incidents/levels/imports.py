"""The section `policies` of an organisation's file: what levels demand at a node, and who approves them.

Owns the form of its entries: `{node, level, headcount_percent, …}` for one level of a node, or `{node, approver}`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cloud.errors import Invalid, RequestRefused
from cloud.incidents.levels.models import PolicyRow
from cloud.incidents.levels.policies import put_approver, put_policies
from cloud.incidents.levels.rules import Policy
from cloud.org import tree
from cloud.org.rules import Role

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.org.rules import Principal


def bring_in(tx: Connection, actor: Principal, entries: list[dict[str, Any]], now_ms: int) -> int:
    """Bring the entries in; how many there were. Raises RequestRefused naming section, entry and key."""
    tables: dict[str, dict[int, Policy]] = {}
    firsts: dict[str, int] = {}
    for number, entry in enumerate(entries, 1):
        path = _node(tx, actor, number, entry)
        if "approver" in entry:
            _approver(tx, actor, number, entry, path=path, now_ms=now_ms)
        else:
            row = _row(number, entry)
            if row.level in tables.setdefault(path, {}):
                raise Invalid(f"policies[{number}].level: {row.level} is given twice for {entry['node']}")
            firsts.setdefault(path, number)
            tables[path][row.level] = Policy(
                row.headcount_percent, row.revisit_percent, row.reporting_s, row.escalation_percent
            )
    for path, rows in tables.items():
        try:
            put_policies(tx, actor, path, rows, now_ms)
        except RequestRefused as e:
            raise type(e)(f"policies[{firsts[path]}].{e}") from e
    return len(entries)


def _node(tx: Connection, actor: Principal, number: int, entry: dict[str, Any]) -> str:
    code = entry.get("node")
    if not isinstance(code, str) or not code:
        raise Invalid(f"policies[{number}].node: is missing or not a code")
    try:
        return tree.find_code(tx, actor, code).path
    except RequestRefused as e:
        raise type(e)(f"policies[{number}].{e}") from e


def _approver(tx: Connection, actor: Principal, number: int, entry: dict[str, Any], *, path: str, now_ms: int) -> None:
    unknown = sorted(entry.keys() - {"node", "approver"})
    if unknown:
        raise Invalid(f"policies[{number}].{unknown[0]}: unknown key beside approver")
    try:
        put_approver(tx, actor, path, Role(entry["approver"]), now_ms)
    except ValueError as e:
        raise Invalid(f"policies[{number}].approver: {entry['approver']!r} is no role") from e
    except RequestRefused as e:
        raise type(e)(f"policies[{number}].{e}") from e


def _row(number: int, entry: dict[str, Any]) -> PolicyRow:
    try:
        return PolicyRow.model_validate({key: value for key, value in entry.items() if key != "node"})
    except ValidationError as e:
        first = e.errors()[0]
        raise Invalid(f"policies[{number}].{'.'.join(map(str, first['loc']))}: {first['msg']}") from e
