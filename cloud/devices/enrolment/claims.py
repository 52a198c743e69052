"""Claims: issuing them, listing them, taking them back.

Owns how a claim comes to be. The code is told once and kept nowhere; its hash finds it again. A new claim for a gateway
takes the place of an open one for the same gateway.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

import segno
import sqlalchemy as sa

from cloud import stream
from cloud.db import data_dir_of, insert
from cloud.devices.enrolment import making
from cloud.devices.enrolment.authority import FOLDER
from cloud.devices.enrolment.models import ClaimView, IssuedClaim
from cloud.devices.enrolment.rules import ClaimState, Standing, code_hash, state_of
from cloud.devices.enrolment.store import claims, est_address
from cloud.devices.places import gateway_node
from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.org import audit, tree
from cloud.org.rules import Permission, scope, visible
from cloud.paging import MAX_LIMIT, Page, at, at_or_none, decode_cursor, encode_cursor
from cloud.text import clean
from firmware_specs.claims import RANDOM_BITS, Claim, code_of, text_of
from firmware_specs.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Row

    from cloud.devices.enrolment.models import NewClaim
    from cloud.org.rules import Principal

KIND: Final = "claim"
"""Of events in the stream."""


def announce(tx: Connection, url: str) -> None:
    """Remember where gateways reach the EST listener."""
    put = insert(tx, est_address).values(id=1, url=url)
    tx.execute(put.on_conflict_do_update(index_elements=["id"], set_={"url": url}))


def fingerprint(tx: Connection) -> str:
    """SHA-256 of the authority's root, in hex. Raises Conflict when there is no authority."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - only here

    try:
        root = making.read_certificate(making.paths_of(data_dir_of(tx) / FOLDER).root)
    except ConfigError as e:
        raise Conflict("there is no authority yet; an administrator makes it: patrol-cloud authority init") from e
    return root.fingerprint(hashes.SHA256()).hex()


def may_provision(actor: Principal) -> None:
    """Raises Forbidden."""
    if not actor.may(Permission.PROVISION):
        raise Forbidden(f"role {actor.role} may not provision gateways")


def issue(tx: Connection, actor: Principal, given: NewClaim, now_ms: int) -> IssuedClaim:
    """A new claim. Raises Forbidden, NotFound for its node, Invalid, Conflict without authority or listener.

    A gateway that exists stays where it is: its claim names its own node.
    """
    may_provision(actor)
    tree.get_node(tx, actor, given.node, hold=True)
    if given.gateway is not None:
        home = gateway_node(tx, given.gateway)
        # One that lies outside does not exist for the actor: the claim is made, and refused when it is used.
        if home is not None and home != given.node and visible(actor, home):
            raise Invalid(f"node: gateway {given.gateway} belongs to {home}")
        withdraw_for(tx, actor, given.gateway, now_ms)
    root = fingerprint(tx)
    url = tx.execute(sa.select(est_address.c.url)).scalar()
    if not url:
        raise Conflict("gateways cannot enrol yet: there is no [est] section in cloud.toml, or nobody has served it")
    code = code_of(secrets.randbits(RANDOM_BITS))
    location = clean(given.location, 500)
    expires_at = now_ms + given.minutes * 60_000
    row = {
        "hash": code_hash(code), "node": given.node, "gateway": given.gateway, "location": location,
        "created_at": now_ms, "created_by": clean(actor.label, 200), "expires_at": expires_at, "used_key": "",
        "used_from": "", "reused": 0, "revoked_by": "",
    }  # fmt: skip
    claim_id = int(tx.execute(claims.insert().values(row).returning(claims.c.id)).scalar_one())
    audit.record(
        tx, actor, "claim.issue", f"claim/{claim_id}", at=now_ms,
        detail=f"{given.node} {given.gateway or ''} until {at(expires_at).isoformat()}",
    )  # fmt: skip
    tell(tx, claim_id, now_ms)
    text = text_of(Claim(url, code, root))
    return IssuedClaim(
        id=claim_id, code=code, fingerprint=root, url=url, expires_at=at(expires_at), node=given.node,
        gateway=given.gateway, location=location, text=text, qr=picture(text),
    )  # fmt: skip


def picture(text: str) -> str:
    """A text as QR code in SVG, without anything that a strict policy refuses."""
    made: str = segno.make(text, error="m", micro=False).svg_inline(border=4, dark="#000", light="#fff", omitsize=True)
    return made


def _open(now_ms: int) -> tuple[ColumnElement[bool], ...]:
    return claims.c.used_at.is_(None), claims.c.revoked_at.is_(None), claims.c.expires_at > now_ms


def _withdraw(tx: Connection, actor: Principal, row: Row[Any], now_ms: int) -> None:
    values = {"revoked_at": now_ms, "revoked_by": clean(actor.label, 200)}
    tx.execute(claims.update().where(claims.c.id == row.id).values(values))
    audit.record(tx, actor, "claim.revoke", f"claim/{row.id}", at=now_ms)
    tell(tx, row.id, now_ms)


def withdraw_for(tx: Connection, actor: Principal, gateway: str, now_ms: int) -> None:
    """Withdraw every open claim within scope that is bound to a gateway."""
    open_ = sa.select(claims).where(*_open(now_ms), claims.c.gateway == gateway, scope(actor, claims.c.node))
    for row in tx.execute(open_.with_for_update()).all():
        _withdraw(tx, actor, row, now_ms)


def _row(tx: Connection, principal: Principal, claim_id: int, *, lock: bool = False) -> Row[Any]:
    wanted = sa.select(claims).where(claims.c.id == claim_id, scope(principal, claims.c.node))
    row = tx.execute(wanted.with_for_update() if lock else wanted).first() if 0 < claim_id < 2**63 else None
    if row is None:
        raise NotFound(f"claim {claim_id}: not found")
    return row


def revoke(tx: Connection, actor: Principal, claim_id: int, now_ms: int) -> ClaimView:
    """Withdraw a claim; a repeat changes nothing. Raises Forbidden, NotFound, Conflict when it was used."""
    may_provision(actor)
    row = _row(tx, actor, claim_id, lock=True)
    if row.used_at is not None:
        raise Conflict(f"claim {claim_id}: used already; revoke the gateway {row.enrolled} instead")
    if row.revoked_at is None:
        _withdraw(tx, actor, row, now_ms)
    return get(tx, actor, claim_id, now_ms)


def standing(row: Row[Any]) -> Standing:
    """What the rules look at."""
    return Standing(row.expires_at, row.revoked_at, row.used_at, row.used_key)


def _view(row: Row[Any], now_ms: int) -> ClaimView:
    return ClaimView(
        id=row.id, node=row.node, gateway=row.gateway, location=row.location, state=state_of(standing(row), now_ms),
        created_at=at(row.created_at), created_by=row.created_by, expires_at=at(row.expires_at),
        used_at=at_or_none(row.used_at), enrolled=row.enrolled, reused=row.reused, reused_at=at_or_none(row.reused_at),
        revoked_at=at_or_none(row.revoked_at), revoked_by=row.revoked_by or None,
    )  # fmt: skip


def tell(tx: Connection, claim_id: int, now_ms: int) -> None:
    """Tell the stream how a claim stands."""
    row = tx.execute(sa.select(claims).where(claims.c.id == claim_id)).one()
    stream.append(tx, KIND, _view(row, now_ms), at=now_ms, node=row.node, gateway=row.enrolled or row.gateway or "")


def get(tx: Connection, principal: Principal, claim_id: int, now_ms: int) -> ClaimView:
    """One claim. Raises NotFound."""
    return _view(_row(tx, principal, claim_id), now_ms)


def _in_state(state: ClaimState, now_ms: int) -> tuple[ColumnElement[bool], ...]:
    c = claims.c
    unused = (c.used_at.is_(None), c.revoked_at.is_(None))
    return {
        ClaimState.OPEN: _open(now_ms), ClaimState.USED: (c.used_at.is_not(None),),
        ClaimState.REVOKED: (c.used_at.is_(None), c.revoked_at.is_not(None)),
        ClaimState.EXPIRED: (*unused, c.expires_at <= now_ms),
    }[state]  # fmt: skip


def listed(
    tx: Connection, principal: Principal, now_ms: int, *, state: ClaimState | None = None, limit: int = 100,
    cursor: str | None = None,
) -> Page[ClaimView]:  # fmt: skip
    """Claims within scope, the newest first."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = sa.select(claims).where(scope(principal, claims.c.node))
    wanted = wanted.where(*_in_state(state, now_ms)) if state else wanted
    if cursor:
        wanted = wanted.where(claims.c.id < decode_cursor(cursor, int)[0])
    rows = tx.execute(wanted.order_by(claims.c.id.desc()).limit(limit + 1)).all()
    following = encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=[_view(row, now_ms) for row in rows[:limit]], next_cursor=following)
