"""Templates: what the gateways of a node, or those with a device of a type, have in common.

Owns the rows. A template that changes changes no gateway by itself: what it gives is taken over when a gateway's
configuration is made the next time, which a change to many does in waves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from cloud import catalogue
from cloud.devices.configs.faults import ConfigFault
from cloud.devices.configs.merge import Layer, read_layer
from cloud.devices.configs.models import NewTemplate, TemplateView
from cloud.devices.configs.rules import TemplateKind
from cloud.devices.configs.store import config_templates
from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.org import audit, tree
from cloud.org.rules import ROOT, Permission, Principal, ancestors, scope
from cloud.paging import Page, at, decode_cursor, encode_cursor
from cloud.text import clean
from firmware_specs.errors import nearest

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row


def layers_for(tx: Connection, node: str, instead: NewTemplate | None = None) -> list[Layer]:
    """The templates that hold for a gateway at a node: its nodes' from the root down, and every device type's.

    instead: one that stands in place of what there is.
    """
    above = ancestors(node)
    c = config_templates.c
    mine = sa.or_(c.kind == TemplateKind.TYPE, sa.and_(c.kind == TemplateKind.NODE, c.key.in_(above)))
    found = {(row.kind, row.key): row.text for row in tx.execute(_holding().where(mine))}
    if instead and (instead.kind is TemplateKind.TYPE or instead.key in above):
        found[instead.kind.value, instead.key] = instead.text
    order = sorted(found, key=lambda known: (known[0] != TemplateKind.NODE, len(known[1]), known[1]))
    return [Layer(TemplateKind(kind), key, found[kind, key]) for kind, key in order if found[kind, key].strip()]


def list_templates(tx: Connection, principal: Principal) -> list[TemplateView]:
    """Templates within scope: those of nodes, parents first, and those of every device type."""
    c = config_templates.c
    mine = sa.or_(c.kind == TemplateKind.TYPE, scope(principal, c.key))
    rows = tx.execute(_holding().where(mine, c.text != "").order_by(c.kind, sa.func.length(c.key), c.key))
    return [_view(row) for row in rows]


def page_templates(
    tx: Connection, principal: Principal, *, limit: int = 100, cursor: str | None = None
) -> Page[TemplateView]:  # fmt: skip
    """The same, a page at a time. Raises Invalid on a bad cursor."""
    found = list_templates(tx, principal)
    if cursor:
        after = decode_cursor(cursor, str, int, str)
        found = [each for each in found if (each.kind.value, len(each.key), each.key) > after]
    shown = found[:limit]
    more = len(found) > limit
    return Page(
        items=shown,
        next_cursor=encode_cursor(shown[-1].kind.value, len(shown[-1].key), shown[-1].key) if more else None,
    )


def get_template(tx: Connection, principal: Principal, kind: TemplateKind, key: str) -> TemplateView:
    """A template within scope as it is now. Raises NotFound."""
    c = config_templates.c
    mine = sa.or_(c.kind == TemplateKind.TYPE, scope(principal, c.key))
    row = tx.execute(_holding().where(mine, c.kind == kind, c.key == key, c.text != "")).first()
    if row is None:
        raise NotFound(f"template {kind} {clean(key, 255)}: not found")
    return _view(row)


def check_template(tx: Connection, actor: Principal, given: NewTemplate) -> None:
    """Raises Forbidden, NotFound when its node is not within scope, Invalid naming the key and the cause."""
    if not actor.may(Permission.PROVISION):
        raise Forbidden(f"role {actor.role} may not change configurations")
    if given.kind is TemplateKind.NODE:
        tree.get_node(tx, actor, given.key, hold=True)
    elif actor.node != ROOT:
        raise Forbidden("the template of a device type holds everywhere: only those at the root change it")
    elif given.text.strip() and catalogue.profile(given.key) is None:
        raise Invalid(f"key: no profile {given.key!r}{nearest(given.key, catalogue.profiles())}")
    try:
        read_layer(Layer(given.kind, given.key, given.text))
    except ConfigFault as e:
        raise Invalid(str(e)) from e


def put_template(tx: Connection, actor: Principal, given: NewTemplate, now_ms: int) -> TemplateView:
    """Put a template in place of what there is; the same text is no change.

    Raises as `check_template`, and Conflict when two do it at once.
    """
    check_template(tx, actor, given)
    return write(tx, actor, given, now_ms)


def write(tx: Connection, actor: Principal, given: NewTemplate, now_ms: int) -> TemplateView:
    """The same with a text that was checked before, such as one that was there. Raises Conflict."""
    before = newest(tx, given.kind, given.key)
    text = clean(given.text, len(given.text)) if given.text.strip() else ""
    if before is not None and before.text == text:
        return before
    row: dict[str, Any] = {
        "kind": given.kind.value, "key": given.key, "version": before.version + 1 if before else 1, "text": text,
        "comment": clean(given.comment, 500), "author": actor.label, "at": now_ms,
    }  # fmt: skip
    try:
        with tx.begin_nested():
            made = tx.execute(config_templates.insert().values(row).returning(config_templates)).one()
    except IntegrityError as e:
        raise Conflict(f"template {given.kind} {row['key']}: somebody else changed it just now") from e
    target = f"config-template/{given.kind}/{given.key}"
    audit.record(tx, actor, "config.template", target, at=now_ms, detail=f"version {made.version} {row['comment']}")
    return _view(made)


def newest(tx: Connection, kind: TemplateKind, key: str) -> TemplateView | None:
    """The last version of a template, also one that took it away; None when there never was any."""
    c = config_templates.c
    found = sa.select(config_templates).where(c.kind == kind, c.key == key).order_by(c.version.desc()).limit(1)
    row = tx.execute(found).first()
    return _view(row) if row else None


def text_of(tx: Connection, kind: TemplateKind, key: str, version: int) -> str:
    """The text of one version, empty when there is none."""
    c = config_templates.c
    found = sa.select(c.text).where(c.kind == kind, c.key == key, c.version == version)
    return tx.execute(found).scalar() or ""


def _holding() -> sa.Select[Any]:
    """The newest version of every template."""
    c = config_templates.c
    newest = sa.select(sa.func.max(c.id)).group_by(c.kind, c.key).scalar_subquery()
    return sa.select(config_templates).where(c.id.in_(newest))


def _view(row: Row[Any]) -> TemplateView:
    return TemplateView(
        kind=TemplateKind(row.kind), key=row.key, version=row.version, text=row.text, comment=row.comment,
        author=row.author, at=at(row.at),
    )  # fmt: skip


tree.OCCUPANTS["templates"] = lambda tx, path, _now: len(
    tx.execute(_holding().where(config_templates.c.kind == "node", config_templates.c.key == path,
                                config_templates.c.text != "")).all()
)  # fmt: skip
