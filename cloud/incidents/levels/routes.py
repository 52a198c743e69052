"""The HTTP of response levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import ConfigDict, Field

from cloud.incidents.levels import service
from cloud.incidents.levels.models import (  # noqa: TC001 - FastAPI reads annotations
    ApproverView,
    Decision,
    DeclarationState,
    DeclarationView,
    Declare,
    NodeLevel,
    PolicyTable,
    PutApprover,
    PutPolicies,
    Refusal,
    Renew,
)
from cloud.org.auth import Administrator, SignedIn, State, Viewer, require
from cloud.org.node_models import NodePath  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import ROOT, Permission, Principal
from cloud.paging import Page, to_ms
from cloud.problems import documented
from cloud.routing import Id, Part
from cloud.state import now_ms

if TYPE_CHECKING:
    from datetime import datetime

router = APIRouter(tags=["levels"], responses=documented(401, 403, 422, 503))

Declarer = Annotated[Principal, Depends(require(Permission.DECLARE))]


class LevelQuery(Part):
    """Which nodes a list shows."""

    model_config = ConfigDict(extra="forbid")

    node: NodePath = ROOT
    """At and below this one."""
    drill: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    """As this drill sees it."""


class DeclarationQuery(LevelQuery):
    """Which declarations a list shows."""

    state: tuple[DeclarationState, ...] = ()


def _ms(time: datetime | None) -> int | None:
    return None if time is None else to_ms(time)


@router.get("/levels")
def list_levels(state: State, who: Viewer, query: Annotated[LevelQuery, Query()]) -> Page[NodeLevel]:
    """The level in force at every node, each below its parent."""
    with state.db.read() as tx:
        return service.tree_levels(
            tx, who, now_ms(), below=query.node, drill=query.drill, limit=query.limit, cursor=query.cursor
        )


@router.get("/levels/declarations")
def list_declarations(state: State, who: Viewer, query: Annotated[DeclarationQuery, Query()]) -> Page[DeclarationView]:
    """Declarations, newest first; a drill's are listed only when it is named."""
    with state.db.read() as tx:
        return service.list_declarations(
            tx, who, now_ms(), below=query.node, states=query.state, drill=query.drill, limit=query.limit,
            cursor=query.cursor,
        )  # fmt: skip


@router.post("/levels/declarations", responses=documented(404, 409))
def declare(state: State, who: Declarer, body: Declare) -> DeclarationView:
    """Declare a level: 3 to 1 await approval, 4 ends the node's own stricter ones at once."""
    with state.db.begin() as tx:
        return service.declare(
            tx, who, body.node, body.level, body.reason, now_ms=now_ms(), scope=body.scope,
            starts_at=_ms(body.starts_at), ends_at=_ms(body.ends_at),
        )  # fmt: skip


@router.get("/levels/declarations/{declaration}", responses=documented(404))
def get_declaration(state: State, who: Viewer, declaration: Id) -> DeclarationView:
    """One declaration."""
    with state.db.read() as tx:
        return service.get_declaration(tx, who, declaration, now_ms())


@router.post("/levels/declarations/{declaration}/approve", responses=documented(404, 409))
def approve(state: State, who: SignedIn, declaration: Id, body: Decision | None = None) -> DeclarationView:
    """Let it come into force."""
    with state.db.begin() as tx:
        return service.approve(tx, who, declaration, now_ms(), body.note if body else "")


@router.post("/levels/declarations/{declaration}/reject", responses=documented(404, 409))
def reject(state: State, who: SignedIn, declaration: Id, body: Refusal) -> DeclarationView:
    """Refuse it, with the reason."""
    with state.db.begin() as tx:
        return service.reject(tx, who, declaration, now_ms(), body.note)


@router.post("/levels/declarations/{declaration}/end", responses=documented(404, 409))
def end(state: State, who: Declarer, declaration: Id, body: Decision | None = None) -> DeclarationView:
    """End it early, or withdraw it while it awaits approval."""
    with state.db.begin() as tx:
        return service.end(tx, who, declaration, now_ms(), body.note if body else "")


@router.post("/levels/declarations/{declaration}/renew", responses=documented(404, 409))
def renew(state: State, who: Declarer, declaration: Id, body: Renew) -> DeclarationView:
    """Declare the same for the time after it; decided anew."""
    with state.db.begin() as tx:
        return service.renew(tx, who, declaration, ends_at=to_ms(body.ends_at), reason=body.reason, now_ms=now_ms())


@router.get("/levels/policies", responses=documented(404))
def get_policies(state: State, who: Viewer, node: Annotated[NodePath, Query()] = ROOT) -> PolicyTable:
    """What each level demands at a node."""
    with state.db.read() as tx:
        return service.get_policies(tx, who, node)


@router.put("/levels/policies", responses=documented(404))
def put_policies(state: State, who: Administrator, body: PutPolicies) -> PolicyTable:
    """Set a node's policy; a stricter level may not be laxer in any column."""
    rows = {
        row.level: service.Policy(
            row.headcount_percent, row.revisit_percent, row.reporting_s, row.escalation_percent
        )
        for row in body.rows
    }  # fmt: skip
    with state.db.begin() as tx:
        service.put_policies(tx, who, body.node, rows, now_ms())
        return service.get_policies(tx, who, body.node)


@router.get("/levels/approvers")
def list_approvers(state: State, who: Viewer) -> Page[ApproverView]:
    """Which roles approve levels, where that was set; elsewhere supervisors do."""
    with state.db.read() as tx:
        return Page(items=service.list_approvers(tx, who))


@router.put("/levels/approvers", responses=documented(404))
def put_approver(state: State, who: Administrator, body: PutApprover) -> Page[ApproverView]:
    """Set which role approves at a node and below."""
    with state.db.begin() as tx:
        service.put_approver(tx, who, body.node, body.role, now_ms())
        return Page(items=service.list_approvers(tx, who))
