"""The documents of gateways: writing a new version, ordering it, reading what there is.

Owns `config_documents` and the retained order. A version is made only when what the gateway runs changes, or when what
it refused or left is to be tried again; anything else, such as a remark, is kept with the version that is wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from cloud import catalogue
from cloud.devices.configs import standings, templates
from cloud.devices.configs.faults import ConfigFault
from cloud.devices.configs.merge import Rendered, effective
from cloud.devices.configs.models import TRIAL_S, DocumentView, VersionView
from cloud.devices.configs.rules import Phase
from cloud.devices.configs.store import config_documents
from cloud.devices.places import gateway_node, hold
from cloud.errors import Forbidden, Invalid, NotFound
from cloud.ingest import outgoing
from cloud.org import audit
from cloud.org.rules import Permission, Principal, visible
from cloud.paging import MAX_LIMIT, Page, at, decode_cursor, encode_cursor
from cloud.text import clean
from firmware_specs.gateway_document import hash_of
from firmware_specs.wire_fleet import MAX_CONFIG_BYTES, ConfigOrder, encode

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from cloud.devices.configs.models import NewTemplate

TOPIC: Final = "desired/config"


class ConfigDocument(NamedTuple):
    """A configuration. text: what the gateway runs. own: what was written for it alone, the rest is of templates."""

    version: int
    hash: str
    text: str
    own: str
    comment: str
    author: str
    at_ms: int
    trial_s: int


NOTHING: Final = ConfigDocument(0, hash_of(""), "", "", "", "", 0, TRIAL_S)
"""What a gateway runs of which nothing was ever wanted."""


class Note(NamedTuple):
    """Why a version is made, and how long the gateway tries it."""

    comment: str = ""
    trial_s: int = TRIAL_S


def node_of(tx: Connection, principal: Principal, gateway: str) -> str:
    """The node of a gateway within scope. Raises NotFound."""
    node = gateway_node(tx, gateway)
    if node is None or not visible(principal, node):
        raise NotFound(f"gateway {clean(gateway, 64)}: not found")
    return node


def may_change(tx: Connection, actor: Principal, gateway: str) -> str:
    """The node of a gateway that the actor may configure. Raises NotFound, Forbidden."""
    node = node_of(tx, actor, gateway)
    if not actor.may(Permission.PROVISION):
        raise Forbidden(f"role {actor.role} may not change configurations")
    return node


def current(tx: Connection, gateway: str) -> ConfigDocument | None:
    """The configuration that is wanted of a gateway, None when there is none."""
    wanted = sa.select(config_documents).where(config_documents.c.gateway == gateway)
    row = tx.execute(wanted.order_by(config_documents.c.version.desc()).limit(1)).first()
    return _document(row) if row else None


def version(tx: Connection, gateway: str, number: int) -> ConfigDocument:
    """One of a gateway's versions. Raises NotFound."""
    c = config_documents.c
    row = tx.execute(sa.select(config_documents).where(c.gateway == gateway, c.version == number)).first()
    if row is None:
        raise NotFound(f"configuration {number} of gateway {clean(gateway, 64)}: not found")
    return _document(row)


def history(tx: Connection, gateway: str, limit: int = 100, cursor: str | None = None) -> Page[VersionView]:
    """A gateway's versions, newest first. Raises Invalid on a bad cursor."""
    limit = min(max(limit, 1), MAX_LIMIT)
    c = config_documents.c
    wanted = sa.select(config_documents).where(c.gateway == gateway)
    if cursor:
        wanted = wanted.where(c.version < decode_cursor(cursor, int)[0])
    rows = tx.execute(wanted.order_by(c.version.desc()).limit(limit + 1)).all()
    following = encode_cursor(rows[limit - 1].version) if len(rows) > limit else None
    return Page(items=[VersionView(**_told(_document(row))) for row in rows[:limit]], next_cursor=following)


def view(gateway: str, document: ConfigDocument) -> DocumentView:
    """A configuration for the API."""
    return DocumentView(gateway=gateway, own=document.own, text=document.text, **_told(document))


def _told(document: ConfigDocument) -> dict[str, Any]:
    of = ("version", "hash", "comment", "author", "trial_s")
    return {name: getattr(document, name) for name in of} | {"at": at(document.at_ms)}


def _document(row: Row[Any]) -> ConfigDocument:
    return ConfigDocument(
        row.version, row.hash, row.text, row.own, row.comment, row.author, row.at, row.trial_s
    )  # fmt: skip


def rendered(
    tx: Connection, gateway: str, node: str, own: str, instead: NewTemplate | None = None
) -> Rendered:  # fmt: skip
    """What a gateway at a node runs by its own text and the templates of now. Raises ConfigFault."""
    layers = templates.layers_for(tx, node, instead)
    return effective(gateway, own, layers, catalogue.profiles())


def write(  # noqa: PLR0917 - whose, by whom, what, when
    tx: Connection, actor: Principal, gateway: str, own: str, made: Rendered, now_ms: int, note: Note
) -> ConfigDocument:
    """Have a gateway run a configuration, unless it is what is wanted of it already. The gateway's row is held."""
    if len(made.text.encode()) > MAX_CONFIG_BYTES:
        raise Invalid(f"configuration of {len(made.text.encode())} bytes, more than {MAX_CONFIG_BYTES}")
    before = current(tx, gateway)
    own, comment = clean(own, len(own)), clean(note.comment, 500)
    if before and before.hash == made.hash and not _left(tx, gateway, before):
        if before.own != own:
            mine = (config_documents.c.gateway == gateway, config_documents.c.version == before.version)
            tx.execute(config_documents.update().where(*mine).values(own=own))
            audit.record(tx, actor, "config.remark", f"gateway/{gateway}", at=now_ms, detail=f"{before.version}")
        return before._replace(own=own)
    row: dict[str, Any] = {
        "gateway": gateway, "version": max(before.version if before else 0, standings.newest_told(tx, gateway)) + 1,
        "hash": made.hash, "own": own, "text": made.text, "comment": comment, "author": actor.label, "at": now_ms,
        "trial_s": note.trial_s,
    }  # fmt: skip
    tx.execute(config_documents.insert().values(row))
    document = ConfigDocument(row["version"], made.hash, made.text, own, comment, actor.label, now_ms, note.trial_s)
    order = ConfigOrder(document.version, document.hash, document.text, document.trial_s)
    outgoing.put(tx, gateway, TOPIC, encode(order), now_ms)
    audit.record(tx, actor, "config.propose", f"gateway/{gateway}", at=now_ms,
                 detail=" ".join(filter(None, (f"version {document.version}", document.hash, comment))))  # fmt: skip
    standings.ordered(tx, gateway, now_ms, note.trial_s)
    return document


def _left(tx: Connection, gateway: str, document: ConfigDocument) -> bool:
    """Whether a gateway refused a version or went back from it: to want it again is to try it again."""
    return standings.ended(tx, gateway, document.version, document.hash) in {Phase.REFUSED, Phase.REVERTED}


def propose(  # noqa: PLR0917 - whose, by whom, what, when
    tx: Connection, actor: Principal, gateway: str, text: str, now_ms: int, comment: str = "", trial_s: int = TRIAL_S
) -> ConfigDocument:
    """Have a gateway run its own text with the templates of now; what is wanted already is no change.

    Raises NotFound, Forbidden, Invalid naming the line, the key and the cause.
    """
    node = may_change(tx, actor, gateway)
    hold(tx, gateway)
    try:
        made = rendered(tx, gateway, node, text)
    except ConfigFault as e:
        raise Invalid(str(e)) from e
    return write(tx, actor, gateway, text, made, now_ms, Note(comment, trial_s))


def restore(  # noqa: PLR0917 - whose, by whom, which, when
    tx: Connection, actor: Principal, gateway: str, number: int, now_ms: int, comment: str = ""
) -> ConfigDocument:
    """Have a gateway run exactly what an earlier version said, as a new version, whatever templates say now.

    number: 0 for nothing at all, as before its first version. Raises NotFound, Forbidden.
    """
    may_change(tx, actor, gateway)
    hold(tx, gateway)
    old = version(tx, gateway, number) if number else NOTHING
    made = Rendered(old.text, old.hash, {})
    return write(tx, actor, gateway, old.own, made, now_ms, Note(comment or f"back to version {number}", old.trial_s))
