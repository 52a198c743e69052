"""What other folders may do with enrolment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.devices import service as devices
from cloud.devices.enrolment import certificates as issued
from cloud.devices.enrolment import claims
from cloud.devices.enrolment.authority import Authority
from cloud.devices.enrolment.authority import of as authority_of
from cloud.devices.enrolment.certificates import certificates_in_time, holder, refused, revoked
from cloud.devices.enrolment.claims import announce
from cloud.devices.enrolment.claims import get as get_claim
from cloud.devices.enrolment.claims import issue as issue_claim
from cloud.devices.enrolment.claims import listed as list_claims
from cloud.devices.enrolment.claims import revoke as revoke_claim
from cloud.devices.enrolment.models import CertificateView, ClaimView, IssuedClaim, NewClaim, Revoked
from cloud.devices.enrolment.rules import ClaimState
from cloud.org import audit
from cloud.paging import MAX_LIMIT
from cloud.state import now_ms

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.org.rules import Principal
    from cloud.paging import Page

__all__ = [
    "Authority", "CertificateView", "ClaimState", "ClaimView", "IssuedClaim", "NewClaim", "Revoked", "announce",
    "authority_of", "certificates", "certificates_in_time", "get_claim", "holder", "issue_claim", "list_certificates",
    "list_claims", "refused", "revoke_claim", "revoke_gateway", "revoked",
]  # fmt: skip


def certificates(tx: Connection, gateway: str, now: int | None = None) -> list[CertificateView]:
    """A gateway's certificates, the newest first. now: the present in milliseconds, the wall clock's when left out."""
    return list(issued.listed(tx, gateway, now_ms() if now is None else now, MAX_LIMIT, None).items)


def list_certificates(
    tx: Connection, principal: Principal, gateway: str, now_ms: int, *, limit: int = 100, cursor: str | None = None
) -> Page[CertificateView]:  # fmt: skip
    """The same for a person. Raises NotFound when the gateway is absent or out of scope."""
    devices.get_gateway(tx, principal, gateway)
    return issued.listed(tx, gateway, now_ms, limit, cursor)


def revoke_gateway(tx: Connection, actor: Principal, gateway: str, now_ms: int) -> Revoked:
    """Refuse a gateway from now on: its certificates and its open claims. A repeat changes nothing.

    The gateway's row and history stay; a new claim lets it in again. Raises Forbidden, NotFound.
    """
    issued.may_administer(actor)
    devices.get_gateway(tx, actor, gateway)
    # In the order of `enrol`: a claim that is just being used is waited for, and what it gave is revoked.
    claims.withdraw_for(tx, actor, gateway, now_ms)
    count = issued.revoke(tx, actor, gateway, "revoked", now_ms)
    audit.record(tx, actor, "gateway.revoke", f"gateway/{gateway}", at=now_ms, detail=f"{count} certificates")
    return Revoked(gateway=gateway, certificates=count)
