"""From a claim and a request to a gateway with a certificate: one transaction, or nothing.

Owns the order of things and the throttle. A try is counted before anything is looked at and taken back when it
succeeds. Then, in one transaction: the claim's row is locked and judged, the gateway made, older certificates revoked,
the new one issued and written down, the claim used up, the audit chain told. A crash before the commit leaves the claim
open; after it, the same key gets the same certificate again. A refusal is on record, and a second use is an alarm.
"""

from __future__ import annotations

import ipaddress
import secrets
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from cloud import metrics
from cloud.alerts import service as alerts
from cloud.db import in_turn
from cloud.devices import service as devices
from cloud.devices.enrolment import certificates, claims, hooks
from cloud.devices.enrolment.authority import common_name, key_hash, serial_of
from cloud.devices.enrolment.certificates import est_actor
from cloud.devices.enrolment.rules import REFUSALS, Verdict, code_hash, judge
from cloud.devices.enrolment.store import claims as table
from cloud.devices.enrolment.store import enrolment_tries as tries
from cloud.devices.places import Place, gateway_node, hold
from cloud.errors import Forbidden, NotFound, NotSignedIn, TooManyTries
from cloud.org import audit, tree
from cloud.org.rules import ROOT
from cloud.text import clean
from firmware_specs.claims import ALPHABET, CodeRefused, normalised
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from cryptography import x509
    from sqlalchemy import Connection, Row

    from cloud.db import Database
    from cloud.devices.enrolment.authority import Authority

REUSED: Final = "claim-reused"
"""The kind of the alarm."""
NAME_CHARS: Final = 8


class Limits(NamedTuple):
    """tries: failed ones from one address within the window; all_tries: from everywhere."""

    days: int = 90
    tries: int = 10
    all_tries: int = 200
    window_ms: int = 900_000


class Asked(NamedTuple):
    """What a client brings. holder: the gateway whose certificate it showed, if any."""

    code: str
    csr: x509.CertificateSigningRequest
    address: str
    holder: str = ""


def network_of(address: str) -> str:
    """What counts as one address: an IPv6 customer has a whole /64."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return clean(address, 64)
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), 64), strict=False))
    return str(parsed)


def count_try(db: Database, address: str, limits: Limits, now_ms: int) -> int:
    """Count a try. Raises TooManyTries."""
    since = now_ms - limits.window_ms
    with db.begin() as tx:
        in_turn(tx, "enrolment")  # tries at the same moment must see each other
        # One from the future is of a clock that was wrong.
        tx.execute(tries.delete().where(sa.or_(tries.c.at <= since, tries.c.at > now_ms)))
        mine = tries.c.address == network_of(address)
        for most, where in ((limits.tries, (mine,)), (limits.all_tries, ())):
            count, oldest = tx.execute(sa.select(sa.func.count(), sa.func.min(tries.c.at)).where(*where)).one()
            if count >= most:
                metrics.ENROLMENTS.labels("throttled").inc()
                wait_s = max(1, (int(oldest) - since + 999) // 1000)
                raise TooManyTries(f"too many failed enrolments; again in {wait_s} s", wait_s)
        put = tries.insert().values(address=network_of(address), at=now_ms).returning(tries.c.id)
        return int(tx.execute(put).scalar_one())


def enrol(db: Database, authority: Authority, asked: Asked, limits: Limits, now_ms: int) -> x509.Certificate:
    """A gateway's first certificate, or its next after a re-claim.

    Raises NotSignedIn for a claim that is not known, Forbidden for one that is no good, each on record. The caller has
    counted the try by `count_try`; `forgive` takes it back.
    """
    try:
        code = normalised(asked.code)
    except CodeRefused:
        code = ""
    key = key_hash(asked.csr.public_key())
    with db.begin() as tx:
        wanted = sa.select(table).where(table.c.hash == code_hash(code)).with_for_update()
        row = tx.execute(wanted).first() if code else None
        verdict = _judge(tx, row, key, asked.holder, now_ms)
        made = None
        if row and verdict is Verdict.AGAIN:
            made = _again(tx, row, key, now_ms)
            verdict = verdict if made else Verdict.USED
        elif row and verdict is Verdict.NEW:
            made = certificates.write(
                tx, authority, asked.csr, _gateway(tx, row, now_ms), claim=row.id, days=limits.days, now_ms=now_ms
            )
            _used(tx, row, made, asked.address, now_ms)
        if made is None:
            _refused(tx, row, verdict, asked.address, now_ms)
    metrics.ENROLMENTS.labels(verdict.value).inc()
    if made is None:
        raise (NotSignedIn if verdict is Verdict.UNKNOWN else Forbidden)(REFUSALS[verdict])
    return made


def forgive(db: Database, mine: int) -> None:
    """A try was none: it succeeded."""
    with db.begin() as tx:
        tx.execute(tries.delete().where(tries.c.id == mine))


def _judge(tx: Connection, row: Row[Any] | None, key: str, holder: str, now_ms: int) -> Verdict:
    """What a claim comes to, in the hands of a key and of a gateway that has a certificate already."""
    verdict = judge(claims.standing(row) if row else None, key, now_ms)
    if row is None or verdict is not Verdict.NEW:
        return verdict
    if certificates.owners(tx, key) - {row.gateway} or (holder and holder != row.gateway):
        return Verdict.FOREIGN
    try:
        tree.get_node(tx, est_actor(ROOT), row.node, hold=True)
    except NotFound:
        return Verdict.REVOKED  # its unit is archived
    if row.gateway is not None:
        hold(tx, row.gateway)
        if gateway_node(tx, row.gateway) not in {None, row.node}:
            return Verdict.FOREIGN  # it was moved since
    return verdict


def _again(tx: Connection, row: Row[Any], key: str, now_ms: int) -> x509.Certificate | None:
    """What the claim gave to the same key, if it is in force still."""
    made = certificates.by_claim(tx, row.id, key, now_ms)
    if made is not None:
        audit.record(tx, est_actor(row.node), "claim.repeat", f"claim/{row.id}", at=now_ms, detail=serial_of(made))
    return made


def _gateway(tx: Connection, row: Row[Any], now_ms: int) -> str:
    """The gateway of a claim: made now, or there already and stripped of its certificates."""
    actor = est_actor(row.node)
    generated = "gw-" + "".join(secrets.choice(ALPHABET) for _ in range(NAME_CHARS)).lower()
    name: str = row.gateway or generated
    if gateway_node(tx, name) is None:
        devices.add_gateway(tx, actor, name, now_ms, row.location)
    certificates.revoke(tx, actor, name, "superseded", now_ms)
    return name


def _used(tx: Connection, row: Row[Any], made: x509.Certificate, address: str, now_ms: int) -> None:
    """The claim is used up: its row, the audit chain, the stream, and whoever waits for gateways."""
    gateway, address = common_name(made), clean(address, 64)
    used = {
        "used_at": now_ms, "used_key": key_hash(made.public_key()), "used_from": address, "enrolled": gateway,
    }  # fmt: skip
    tx.execute(table.update().where(table.c.id == row.id).values(used))
    detail = f"{gateway} {serial_of(made)} {address}"
    audit.record(tx, est_actor(row.node), "claim.use", f"claim/{row.id}", at=now_ms, detail=detail)
    claims.tell(tx, row.id, now_ms)
    for call in hooks.ENROLLED:
        call(tx, gateway, row.node, now_ms)


def _refused(tx: Connection, row: Row[Any] | None, verdict: Verdict, address: str, now_ms: int) -> None:
    """Put a refusal on record; a second use is an alarm where the claim belongs."""
    target = f"claim/{row.id}" if row else "claim/unknown"
    detail = f"{verdict} {clean(address, 64)}"
    audit.record(tx, est_actor(row.node if row else ROOT), "claim.refused", target, at=now_ms, detail=detail)
    if row is None or verdict is not Verdict.USED:
        return
    tx.execute(table.update().where(table.c.id == row.id).values(reused=table.c.reused + 1, reused_at=now_ms))
    claims.tell(tx, row.id, now_ms)
    alerts.raise_own(
        tx, "", f"claim:{row.id}", REUSED, Severity.MAJOR, at_ms=now_ms, now_ms=now_ms,
        where=Place(row.node, row.location or row.enrolled or ""),
    )  # fmt: skip
