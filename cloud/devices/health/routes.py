"""The HTTP of fleet health."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from cloud.devices.health import service
from cloud.devices.health.models import (  # noqa: TC001 - FastAPI reads annotations
    GatewayHealth,
    GatewayHealthRow,
    GatewayLedger,
    NodeHealth,
)
from cloud.devices.health.rules import State as Health  # noqa: TC001 - the same
from cloud.org.auth import State, Viewer  # noqa: TC001 - the same
from cloud.org.rules import ROOT
from cloud.paging import MAX_LIMIT, Page
from cloud.presence.rosters.models import NODE_PATTERN
from cloud.problems import documented
from cloud.state import now_ms
from firmware_specs.readings import NAME_PATTERN

router = APIRouter(tags=["fleet health"], responses=documented(401, 403, 422, 503))

Gateway = Annotated[str, Path(pattern=NAME_PATTERN)]
Node = Annotated[str | None, Query(pattern=NODE_PATTERN, max_length=255)]


@router.get("/fleet/health")
def list_health(  # noqa: PLR0917 - one parameter each of the query
    state: State,
    who: Viewer,
    node: Node = None,
    health: Annotated[Health | None, Query(alias="state")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> Page[GatewayHealthRow]:
    """Gateways at or below a node as they were last judged, the worst first."""
    with state.db.read() as tx:
        return service.list_health(tx, who, below=node or ROOT, state=health, limit=limit, cursor=cursor)


@router.get("/fleet/health/nodes", responses=documented(404))
def by_node(state: State, who: Viewer, node: Node = None) -> Page[NodeHealth]:
    """A node and those directly below it that have gateways, each with how all that lie beneath are."""
    with state.db.read() as tx:
        return Page(items=service.by_node(tx, who, node or who.node))


@router.get("/gateways/{gateway}/health", responses=documented(404))
def of_gateway(state: State, who: Viewer, gateway: Gateway) -> GatewayHealth:
    """One gateway with every measure, judged now."""
    with state.db.read() as tx:
        return service.of_gateway(tx, who, gateway, now_ms())


@router.get("/gateways/{gateway}/ledger", responses=documented(404))
def ledger(
    state: State, who: Viewer, gateway: Gateway, days: Annotated[int, Query(ge=1, le=366)] = 31
) -> GatewayLedger:
    """The loss ledger by day, reconciled with the sequence numbers: nothing is lost that is not listed (D6)."""
    with state.db.read() as tx:
        return service.ledger(tx, who, gateway, days)
