"""The HTTP of silences, maintenance, escalation chains and explanations."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from cloud.alerts import chains, service, silences
from cloud.alerts.ops_models import ChainBody, ChainView, Explanation, SilenceBody, SilenceFilter, SilenceView
from cloud.org.auth import Administrator, SignedIn, State, Viewer  # noqa: TC001 - FastAPI reads annotations
from cloud.paging import Page  # noqa: TC001 - FastAPI reads annotations
from cloud.problems import documented
from cloud.routing import Id, Part, Wanted
from cloud.state import now_ms

router = APIRouter(tags=["alarms"], responses=documented(401, 403, 422, 503))


class SilenceQuery(SilenceFilter, Part):
    """The query of a list of silences."""


@router.get("/alarms/{alarm_id}/explanation", responses=documented(404))
def explain(state: State, who: Viewer, alarm_id: Id) -> Explanation:
    """Why it was raised, what keeps it quiet, who was told, and what comes next."""
    with state.db.read() as tx:
        return service.explain(tx, who, alarm_id, now_ms())


@router.get("/silences")
def list_silences(state: State, who: Viewer, query: Annotated[SilenceQuery, Query()]) -> Page[SilenceView]:
    """Silences and maintenances, newest first."""
    with state.db.read() as tx:
        return silences.list_silences(tx, who, query, now_ms(), limit=query.limit, cursor=query.cursor)


@router.post("/silences", status_code=201, responses=documented(404))
def add_silence(state: State, who: SignedIn, body: SilenceBody) -> SilenceView:
    """Silence something, or put it into maintenance, for 30 days at most.

    The answer counts what it keeps quiet now and what stays loud all the same: `never_silenced` names the kinds that no
    silence covers.
    """
    with state.db.begin() as tx:
        return silences.add_silence(tx, who, body, now_ms())


@router.get("/silences/{silence_id}", responses=documented(404))
def get_silence(state: State, who: Viewer, silence_id: Id) -> SilenceView:
    """One silence or maintenance."""
    with state.db.read() as tx:
        return silences.get_silence(tx, who, silence_id, now_ms())


@router.post("/silences/{silence_id}/end", responses=documented(404))
def end_silence(state: State, who: SignedIn, silence_id: Id) -> SilenceView:
    """End it now; what it kept quiet and still stands is told of again."""
    with state.db.begin() as tx:
        return silences.end_silence(tx, who, silence_id, now_ms())


@router.get("/chains")
def list_chains(state: State, who: Viewer, part: Wanted) -> Page[ChainView]:
    """The escalation chains that somebody made; where none fits, built-in ones hold."""
    with state.db.read() as tx:
        return chains.list_chains(tx, who, limit=part.limit, cursor=part.cursor)


@router.post("/chains", status_code=201, responses=documented(404, 409))
def add_chain(state: State, who: Administrator, body: ChainBody) -> ChainView:
    """Make a chain."""
    with state.db.begin() as tx:
        return chains.add_chain(tx, who, body, now_ms())


@router.get("/chains/{chain_id}", responses=documented(404))
def get_chain(state: State, who: Viewer, chain_id: Id) -> ChainView:
    """One chain."""
    with state.db.read() as tx:
        return chains.get_chain(tx, who, chain_id)


@router.put("/chains/{chain_id}", responses=documented(404, 409))
def put_chain(state: State, who: Administrator, chain_id: Id, body: ChainBody) -> ChainView:
    """Replace a chain."""
    with state.db.begin() as tx:
        return chains.put_chain(tx, who, chain_id, body, now_ms())


@router.delete("/chains/{chain_id}", status_code=204, responses=documented(404))
def remove_chain(state: State, who: Administrator, chain_id: Id) -> None:
    """Take a chain away."""
    with state.db.begin() as tx:
        chains.remove_chain(tx, who, chain_id, now_ms())
