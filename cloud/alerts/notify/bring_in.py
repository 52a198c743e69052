"""Channels from an organisation file: the section `channels`.

A target is not written there: `target_file` names a file that holds it (and `secret_file` one with a webhook's secret,
which is needed here, since there is nobody to show a made one to). A channel is known by its node and name; the same
file twice changes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from cloud.alerts.notify import channels as made
from cloud.alerts.notify.models import ChannelChange, ChannelIn
from cloud.alerts.notify.targets import Kind
from cloud.errors import Invalid, RequestRefused
from cloud.org import tree
from cloud.org.rules import ROOT
from firmware_specs.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from cloud.org.rules import Principal

KEYS: Final = frozenset(
    {"node", "name", "kind", "target_file", "secret_file", "language", "audience", "min_severity", "sandbox", "enabled",
     "rate"}
)  # fmt: skip
SETTINGS: Final = ("language", "audience", "min_severity", "sandbox", "enabled", "rate")


def channels(tx: Connection, actor: Principal, tables: list[dict[str, Any]], now_ms: int) -> int:
    """Bring channels in; how many. Raises RequestRefused naming the entry and the key."""
    for number, table in enumerate(tables, 1):
        where = f"channels, entry {number}"
        for key in table:
            if key not in KEYS:
                raise Invalid(f"{where}: {key}: unknown key{nearest(key, KEYS)}")
        try:
            _bring(tx, actor, table, now_ms)
        except ValidationError as e:
            first = e.errors(include_url=False, include_input=False)[0]
            raise Invalid(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from e
        except RequestRefused as e:
            raise type(e)(f"{where}: {e}") from e
    return len(tables)


def _bring(tx: Connection, actor: Principal, table: Mapping[str, Any], now_ms: int) -> None:
    code = table.get("node")
    node = tree.find_code(tx, actor, code).path if isinstance(code, str) else ROOT
    given = {key: value for key, value in table.items() if key not in {"target_file", "secret_file"}}
    target = _read(table, "target_file")
    secret = _read(table, "secret_file") if "secret_file" in table else None
    wanted = ChannelIn.model_validate(given | {"node": node, "target": target, "secret": secret})
    if wanted.kind is Kind.WEBHOOK and secret is None:
        raise Invalid("secret_file: is missing; a webhook needs one")
    known = made.find_channel(tx, actor, node, wanted.name)
    if known is None:
        made.add_channel(tx, actor, wanted, now_ms=now_ms, allowed=None)
        return
    if known.kind is not wanted.kind:
        raise Invalid(f"kind: the channel {known.name} is of kind {known.kind}")
    change = {key: getattr(wanted, key) for key in SETTINGS if getattr(known, key) != getattr(wanted, key)}
    old_target, old_secret = made.sealed_of(tx, actor, known.id)
    if old_target != wanted.target:
        change["target"] = wanted.target
    if wanted.secret is not None and old_secret != wanted.secret:
        change["secret"] = wanted.secret
    if change:
        made.change_channel(tx, actor, known.id, ChannelChange(**change), now_ms=now_ms, allowed=None)


def _read(table: Mapping[str, Any], key: str) -> str:
    name = table.get(key)
    if not isinstance(name, str) or not name:
        raise Invalid(f"{key}: is missing; it names the file that holds it")
    try:
        return Path(name).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as e:
        raise Invalid(f"{key}: {name}: {getattr(e, 'strerror', None) or 'not readable text'}") from e
