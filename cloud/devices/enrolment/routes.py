"""The HTTP of claims and of gateways' certificates."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from cloud.devices.enrolment import service
from cloud.devices.enrolment.models import (  # noqa: TC001 - FastAPI reads annotations
    CertificateView,
    ClaimView,
    IssuedClaim,
    NewClaim,
    Revoked,
)
from cloud.devices.enrolment.rules import ClaimState  # noqa: TC001 - FastAPI reads annotations
from cloud.errors import Forbidden
from cloud.org.auth import State, Viewer, require
from cloud.org.rules import Permission, Principal
from cloud.paging import MAX_LIMIT, Page
from cloud.problems import documented
from cloud.state import now_ms
from firmware_specs.readings import NAME_PATTERN

router = APIRouter(tags=["enrolment"], responses=documented(401, 403, 422, 503))


def reader(who: Viewer) -> Principal:
    """Who may see claims and certificates: whoever provisions, and whoever audits."""
    if not who.may(Permission.PROVISION) and not who.may(Permission.AUDIT):
        raise Forbidden(f"role {who.role} may not {Permission.PROVISION}")
    return who


Reader = Annotated[Principal, Depends(reader)]
Technician = Annotated[Principal, Depends(require(Permission.PROVISION))]
Administrator = Annotated[Principal, Depends(require(Permission.ADMINISTER))]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Cursor = Annotated[str | None, Query(max_length=500)]
ClaimId = Annotated[int, Path(ge=1, lt=2**63)]
Gateway = Annotated[str, Path(pattern=NAME_PATTERN)]


@router.get("/claims")
def list_claims(
    state: State, who: Reader, in_state: Annotated[ClaimState | None, Query(alias="state")] = None,
    limit: Limit = 100, cursor: Cursor = None,
) -> Page[ClaimView]:  # fmt: skip
    """Claim codes, the newest first, without the codes."""
    with state.db.read() as tx:
        return service.list_claims(tx, who, now_ms(), state=in_state, limit=limit, cursor=cursor)


@router.post("/claims", status_code=201, responses=documented(404, 409))
def issue_claim(state: State, who: Technician, body: NewClaim) -> IssuedClaim:
    """A new claim code, told this once. It takes the place of an open one for the same gateway."""
    with state.db.begin() as tx:
        return service.issue_claim(tx, who, body, now_ms())


@router.get("/claims/{claim_id}", responses=documented(404))
def get_claim(state: State, who: Reader, claim_id: ClaimId) -> ClaimView:
    """One claim."""
    with state.db.read() as tx:
        return service.get_claim(tx, who, claim_id, now_ms())


@router.delete("/claims/{claim_id}", status_code=204, responses=documented(404, 409))
def revoke_claim(state: State, who: Technician, claim_id: ClaimId) -> None:
    """Withdraw a claim that was not used yet."""
    with state.db.begin() as tx:
        service.revoke_claim(tx, who, claim_id, now_ms())


@router.get("/gateways/{gateway}/certificates", responses=documented(404))
def list_certificates(
    state: State, who: Reader, gateway: Gateway, limit: Limit = 100, cursor: Cursor = None
) -> Page[CertificateView]:
    """The certificates that a gateway was given, the newest first."""
    with state.db.read() as tx:
        return service.list_certificates(tx, who, gateway, now_ms(), limit=limit, cursor=cursor)


@router.post("/gateways/{gateway}/revoke", responses=documented(404))
def revoke_gateway(state: State, who: Administrator, gateway: Gateway) -> Revoked:
    """Refuse a gateway from now on: its certificates and open claims. A new claim lets it in again."""
    with state.db.begin() as tx:
        return service.revoke_gateway(tx, who, gateway, now_ms())
