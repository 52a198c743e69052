"""The HTTP of members, equipment, shifts and strength."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - FastAPI reads annotations
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from cloud.errors import NotFound
from cloud.org.auth import SignedIn, State, Viewer, require
from cloud.org.rules import ROOT, Permission, Principal
from cloud.paging import MAX_LIMIT, Page, to_ms
from cloud.presence.rosters import service
from cloud.presence.rosters.models import (
    NODE_PATTERN,
    Ending,
    EquipmentView,
    HandOver,
    Kind,
    LiftView,
    LookView,
    MemberChange,
    MemberView,
    NewEquipment,
    NewMember,
    NewPseudonym,
    NewShift,
    Reveal,
    RevealView,
    ShiftView,
    StrengthView,
)
from cloud.problems import documented
from cloud.state import now_ms

router = APIRouter(tags=["rosters"], responses=documented(401, 403, 422, 503))

Planner = Annotated[Principal, Depends(require(Permission.PATROL))]
Responder = Annotated[Principal, Depends(require(Permission.RESPOND))]
Revealer = Annotated[Principal, Depends(require(Permission.REVEAL))]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Cursor = Annotated[str | None, Query(max_length=500)]
Thing = Annotated[int, Path(ge=1, lt=2**63)]
Below = Annotated[str, Query(alias="node", pattern=NODE_PATTERN, max_length=255)]


@router.get("/members")
def list_members(  # noqa: PLR0917 - one parameter each of the query
    state: State,
    who: Viewer,
    below: Below = ROOT,
    search: Annotated[str | None, Query(max_length=64)] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[MemberView]:
    """Patrol members at or below a node, by call sign."""
    with state.db.read() as tx:
        return service.list_members(tx, who, now_ms(), below=below, search=search, limit=limit, cursor=cursor)


@router.post("/members", status_code=201, responses=documented(404, 409))
def add_member(state: State, who: Planner, body: NewMember) -> MemberView:
    """A new member: a call sign at a node."""
    with state.db.begin() as tx:
        return service.add_member(tx, who, body, now_ms())


@router.get("/members/{member}", responses=documented(404))
def get_member(state: State, who: Viewer, member: Thing) -> MemberView:
    """One member."""
    with state.db.read() as tx:
        return service.get_member(tx, who, member, now_ms())


@router.patch("/members/{member}", responses=documented(404, 409))
def change_member(state: State, who: Planner, member: Thing, body: MemberChange) -> MemberView:
    """Change what is given."""
    with state.db.begin() as tx:
        return service.change_member(tx, who, member, body, now_ms())


@router.delete("/members/{member}", status_code=204, responses=documented(404, 409))
def archive_member(state: State, who: Planner, member: Thing) -> None:
    """The member patrols no longer."""
    with state.db.begin() as tx:
        service.archive_member(tx, who, member, now_ms())


@router.get("/equipment")
def list_equipment(  # noqa: PLR0917 - one parameter each of the query
    state: State,
    who: Viewer,
    below: Below = ROOT,
    kind: Kind | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[EquipmentView]:
    """Devices of the patrol at or below a node, and who carries them now."""
    with state.db.read() as tx:
        return service.list_equipment(tx, who, now_ms(), below=below, kind=kind, limit=limit, cursor=cursor)


@router.post("/equipment", status_code=201, responses=documented(404, 409))
def add_equipment(state: State, who: Planner, body: NewEquipment) -> EquipmentView:
    """Make a device equipment of the patrol. From then on positions of a carried one exist only on shift."""
    with state.db.begin() as tx:
        return service.add_equipment(tx, who, body, now_ms())


@router.delete("/equipment/{thing}", status_code=204, responses=documented(404, 409))
def archive_equipment(state: State, who: Planner, thing: Thing) -> None:
    """The device is no longer the patrol's."""
    with state.db.begin() as tx:
        service.archive_equipment(tx, who, thing, now_ms())


@router.post("/pseudonyms", status_code=204, responses=documented(404, 409))
def put_pseudonym(state: State, who: Planner, body: NewPseudonym) -> None:
    """Say which member a door's or terminal's pseudonym stands for."""
    with state.db.begin() as tx:
        service.put_pseudonym(tx, who, body.pseudonym, body.member, now_ms())


@router.post("/pseudonyms/reveal", responses=documented(404))
def reveal(state: State, who: Revealer, body: Reveal) -> RevealView:
    """Turn a pseudonym back, with a reason and a case number, on record whether it is somebody's or not."""
    with state.db.begin() as tx:
        found = service.reveal(
            tx, who, body.pseudonym, reason=body.reason, case=body.case_number, now_ms=now_ms()
        )  # fmt: skip
    if found is None:
        raise NotFound("pseudonym: not that of a member")
    return found


@router.get("/shifts")
def list_shifts(  # noqa: PLR0917 - one parameter each of the query
    state: State,
    who: Viewer,
    below: Below = ROOT,
    member: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    from_: Annotated[datetime | None, Query(alias="from")] = None,
    to: datetime | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[ShiftView]:
    """Shifts that run at some time in a range, by their start; by default those of the last day and all ahead."""
    now = now_ms()
    since = to_ms(from_) if from_ else now - 86_400_000
    until = to_ms(to) if to else 2**62
    with state.db.read() as tx:
        return service.list_shifts(
            tx, who, now, below=below, member=member, from_ms=since, to_ms=until, limit=limit, cursor=cursor
        )  # fmt: skip


@router.post("/shifts", status_code=201, responses=documented(404, 409))
def plan(state: State, who: Planner, body: NewShift) -> ShiftView:
    """Plan a shift. 409 when its member or something carried has another one at that time."""
    times = {"starts_at": to_ms(body.starts_at), "ends_at": to_ms(body.ends_at)}
    wanted = service.Plan(**body.model_dump() | times)
    with state.db.begin() as tx:
        return service.plan(tx, who, wanted, now_ms())


@router.get("/shifts/{shift}", responses=documented(404))
def get_shift(state: State, who: Viewer, shift: Thing) -> ShiftView:
    """One shift."""
    with state.db.read() as tx:
        return service.get_shift(tx, who, shift, now_ms())


@router.delete("/shifts/{shift}", status_code=204, responses=documented(404, 409))
def remove(state: State, who: Planner, shift: Thing) -> None:
    """Forget a shift that has not begun."""
    with state.db.begin() as tx:
        service.remove(tx, who, shift, now_ms())


@router.post("/shifts/{shift}/begin", responses=documented(404, 409))
def begin(state: State, who: Responder, shift: Thing) -> ShiftView:
    """The member has taken it up, an hour before its start at the earliest."""
    with state.db.begin() as tx:
        return service.begin(tx, who, shift, now_ms())


@router.post("/shifts/{shift}/end", responses=documented(404, 409))
def end(state: State, who: Responder, shift: Thing, body: Ending | None = None) -> ShiftView:
    """End it before its time, and with it the right to positions."""
    with state.db.begin() as tx:
        return service.end(tx, who, shift, now_ms(), body.note if body else "")


@router.post("/shifts/{shift}/handover", responses=documented(404, 409))
def hand_over(state: State, who: Responder, shift: Thing, body: HandOver) -> ShiftView:
    """End it and begin the shift that takes over."""
    with state.db.begin() as tx:
        return service.hand_over(tx, who, shift, body.to, now_ms(), note=body.note)


@router.get("/strength", responses=documented(404))
def strength(
    state: State,
    who: Viewer,
    node: Annotated[str | None, Query(pattern=NODE_PATTERN, max_length=255)] = None,
) -> Page[StrengthView]:
    """Members on duty per 100,000 people of a node and of what lies directly below it."""
    with state.db.read() as tx:
        return Page(items=service.strengths(tx, who, node or who.node, now_ms()))


@router.get("/overrides")
def list_lifts(state: State, who: Viewer) -> Page[LiftView]:
    """Each SOS that lifts the shift limit of a carried device now."""
    with state.db.read() as tx:
        return Page(items=service.list_lifts(tx, who, now_ms()))


@router.get("/me/looks", responses=documented(404))
def my_looks(state: State, who: SignedIn, limit: Limit = 100, cursor: Cursor = None) -> Page[LookView]:
    """Who looked at the position of the member that this account belongs to, the latest first."""
    with state.db.read() as tx:
        member = service.member_of(tx, who)
        if member is None:
            raise NotFound("no patrol member signs in by this account")
        return service.list_looks(tx, member, limit=limit, cursor=cursor)
