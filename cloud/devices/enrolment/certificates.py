"""The certificates that gateways were given: writing them down, looking at who shows one, revoking.

Owns the table. A certificate is in force while its gateway is known, it is not revoked and has not run out; all three
are looked at whenever one is shown, so revocation needs no list here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cloud.devices import service as devices
from cloud.devices.enrolment.authority import common_name, key_hash, millis, serial_of, when
from cloud.devices.enrolment.models import CertificateView
from cloud.devices.enrolment.rules import DAY_MS
from cloud.devices.enrolment.store import certificates
from cloud.devices.places import gateway_node, hold
from cloud.errors import Forbidden, TooManyTries
from cloud.org import audit
from cloud.org.rules import Permission, Principal, Role
from cloud.paging import MAX_LIMIT, Page, at, at_or_none, decode_cursor, encode_cursor
from cloud.text import clean

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from cloud.devices.enrolment.authority import Authority

LISTED_MS: Final = 7 * DAY_MS
"""A certificate stays listed so long after its end."""
MOST_A_DAY: Final = 24
"""Renewals of one gateway; a client that is mad must not fill the table."""


class Holder(NamedTuple):
    """Who shows a certificate that is in force."""

    gateway: str
    node: str
    serial: str


def est_actor(node: str) -> Principal:
    """Who does what a gateway asks for at its enrolment and renewal."""
    return Principal("system", 0, "est", Role.ADMINISTRATOR, node)


def write(
    tx: Connection, authority: Authority, csr: x509.CertificateSigningRequest, gateway: str, *, claim: int | None,
    days: int, now_ms: int,
) -> x509.Certificate:  # fmt: skip
    """Issue a certificate and write it down."""
    made = authority.issue_gateway(csr, gateway, at=when(now_ms), days=days)
    _put(tx, made, gateway, claim, now_ms)
    return made


def _put(tx: Connection, made: x509.Certificate, gateway: str, claim: int | None, now_ms: int) -> None:
    tx.execute(
        certificates.insert().values(
            serial=serial_of(made), gateway=gateway, claim=claim, key=key_hash(made.public_key()), issued_at=now_ms,
            not_before=millis(made.not_valid_before_utc), not_after=millis(made.not_valid_after_utc),
            pem=made.public_bytes(Encoding.PEM).decode(), revoked_at=None, revoked_by="", reason="",
        )
    )  # fmt: skip


def remember(tx: Connection, authority: Authority, der: bytes, now_ms: int) -> None:
    """Write down what a known gateway was given and the database has lost: it was restored from an older backup.

    So it has to be later than anything that is known of the gateway, and nothing is done for one that was revoked.
    """
    try:
        shown = x509.load_der_x509_certificate(der)
        gateway = common_name(shown)
        node = gateway_node(tx, gateway) if authority.is_gateways(shown, gateway) else None
    except (ValueError, TypeError, x509.InvalidVersion):
        return  # whoever looks at the holder says so
    if node is None:
        return
    hold(tx, gateway)
    c = certificates.c
    newest = tx.execute(sa.select(certificates).where(c.gateway == gateway).order_by(c.id.desc()).limit(1)).first()
    if newest and (newest.revoked_at is not None or newest.not_before >= millis(shown.not_valid_before_utc)):
        return
    _put(tx, shown, gateway, None, now_ms)
    audit.record(tx, est_actor(node), "certificate.remember", f"gateway/{gateway}", at=now_ms, detail=serial_of(shown))


def _load(row: Row[Any]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(row.pem.encode())


def by_claim(tx: Connection, claim: int, key: str, now_ms: int) -> x509.Certificate | None:
    """The certificate that a claim gave to a key, while it is in force."""
    c = certificates.c
    wanted = sa.select(certificates).where(c.claim == claim, c.key == key, c.revoked_at.is_(None), c.not_after > now_ms)
    row = tx.execute(wanted.order_by(c.id.desc()).limit(1)).first()
    return _load(row) if row and gateway_node(tx, row.gateway) is not None else None


def owners(tx: Connection, key: str) -> set[str]:
    """The known gateways that were ever given a certificate for a key."""
    named = tx.execute(sa.select(certificates.c.gateway).where(certificates.c.key == key).distinct()).scalars().all()
    return {gateway for gateway in named if gateway_node(tx, gateway) is not None}


def holder(tx: Connection, der: bytes, now_ms: int) -> Holder:
    """Who shows a certificate. The TLS layer has checked its chain. Raises Forbidden: unknown, revoked, over."""
    try:
        serial = serial_of(x509.load_der_x509_certificate(der))
    except (ValueError, TypeError, x509.InvalidVersion) as e:
        raise Forbidden("certificate: cannot be read") from e
    row = tx.execute(sa.select(certificates).where(certificates.c.serial == clean(serial, 40))).first()
    if row is None or _load(row).public_bytes(Encoding.DER) != der:
        raise Forbidden("certificate: not one that a gateway was given here")
    if row.revoked_at is not None:
        raise Forbidden(f"certificate: that of {row.gateway} is revoked; a new claim is needed")
    if row.not_after <= now_ms:
        raise Forbidden(f"certificate: that of {row.gateway} has expired; a new claim is needed")
    node = gateway_node(tx, row.gateway)
    if node is None:
        raise Forbidden(f"certificate: gateway {row.gateway} is not known any more; a new claim is needed")
    return Holder(row.gateway, node, serial)


def renew(
    tx: Connection, authority: Authority, who: Holder, csr: x509.CertificateSigningRequest, *, days: int, now_ms: int
) -> x509.Certificate:  # fmt: skip
    """The next certificate of a gateway; the same key asked for again within a day gets the same.

    Raises TooManyTries, and Forbidden when it was revoked since the holder was looked at.
    """
    hold(tx, who.gateway)
    c, key = certificates.c, key_hash(csr.public_key())
    if tx.execute(sa.select(c.revoked_at).where(c.serial == who.serial)).scalar() is not None:
        raise Forbidden(f"certificate: that of {who.gateway} is revoked; a new claim is needed")
    recent = sa.select(certificates).where(c.gateway == who.gateway, c.issued_at > now_ms - DAY_MS)
    rows = tx.execute(recent.order_by(c.id.desc())).all()
    for row in rows:
        if row.key == key and row.revoked_at is None and row.serial != who.serial:
            return _load(row)
    if len(rows) >= MOST_A_DAY:
        raise TooManyTries(f"gateway {who.gateway}: {MOST_A_DAY} certificates within a day; again tomorrow", 86400)
    return write(tx, authority, csr, who.gateway, claim=None, days=days, now_ms=now_ms)


def revoke(tx: Connection, actor: Principal, gateway: str, reason: str, now_ms: int) -> int:
    """Revoke whatever a gateway has in force; how many that were. The caller has looked at the right to."""
    hold(tx, gateway)  # a renewal that is under way comes before or after, and not between
    c = certificates.c
    mine = (c.gateway == gateway, c.revoked_at.is_(None), c.not_after > now_ms)
    values = {"revoked_at": now_ms, "revoked_by": clean(actor.label, 200), "reason": reason}
    gone = tx.execute(certificates.update().where(*mine).values(values).returning(c.serial)).scalars().all()
    for serial in sorted(gone):
        audit.record(tx, actor, "certificate.revoke", f"gateway/{gateway}", at=now_ms, detail=f"{serial} {reason}")
    return len(gone)


def revoked(tx: Connection, now_ms: int) -> dict[int, int]:
    """Serial numbers of certificates that are refused, each with when that began: for the revocation list.

    Revoked ones, and those of gateways that are not known any more; none that ran out by itself a week ago, which
    whoever's clock is behind refuses too.
    """
    c = certificates.c
    known = devices.known_gateways(tx)
    wanted = sa.select(c.serial, c.gateway, c.revoked_at, c.issued_at).where(c.not_after > now_ms - LISTED_MS)
    return {
        int(row.serial, 16): row.issued_at if row.revoked_at is None else row.revoked_at
        for row in tx.execute(wanted)
        if row.revoked_at is not None or row.gateway not in known
    }


def refused(tx: Connection, now_ms: int) -> dict[str, str]:
    """Serial numbers, in hex, of what is refused and has not run out by itself, each with its gateway."""
    c = certificates.c
    known = devices.known_gateways(tx)
    rows = tx.execute(sa.select(c.serial, c.gateway, c.revoked_at).where(c.not_after > now_ms)).all()
    return {row.serial: row.gateway for row in rows if row.revoked_at is not None or row.gateway not in known}


def certificates_in_time(tx: Connection, gateway: str, now_ms: int) -> list[bool]:
    """Of each of a gateway's certificates that has not run out: whether it is revoked."""
    c = certificates.c
    wanted = sa.select(c.revoked_at).where(c.gateway == gateway, c.not_after > now_ms)
    return [since is not None for since in tx.execute(wanted.order_by(c.id)).scalars()]


def _view(row: Row[Any], now_ms: int) -> CertificateView:
    return CertificateView(
        serial=row.serial, gateway=row.gateway, claim=row.claim, issued_at=at(row.issued_at),
        not_before=at(row.not_before), not_after=at(row.not_after),
        in_force=row.revoked_at is None and row.not_after > now_ms, revoked_at=at_or_none(row.revoked_at),
        revoked_by=row.revoked_by or None, reason=row.reason or None,
    )  # fmt: skip


def listed(tx: Connection, gateway: str, now_ms: int, limit: int, cursor: str | None) -> Page[CertificateView]:
    """A gateway's certificates, the newest first. The caller has looked at the right to see them."""
    c, limit = certificates.c, min(max(limit, 1), MAX_LIMIT)
    wanted = sa.select(certificates).where(c.gateway == gateway)
    if cursor:
        wanted = wanted.where(c.id < decode_cursor(cursor, int)[0])
    rows = tx.execute(wanted.order_by(c.id.desc()).limit(limit + 1)).all()
    following = encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=[_view(row, now_ms) for row in rows[:limit]], next_cursor=following)


def may_administer(actor: Principal) -> None:
    """Raises Forbidden."""
    if not actor.may(Permission.ADMINISTER):
        raise Forbidden(f"role {actor.role} may not revoke certificates")
