"""The pages of members and equipment, of who looked at one's position (P5), and of turning a pseudonym back (P4)."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Form
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations
from pydantic import Field

from cloud.console import choose
from cloud.console.forms import Button, Id, Sent, checked
from cloud.console.pages import View, back_to, page_router, render
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import Permission
from cloud.presence.rosters import service
from cloud.presence.rosters.models import Kind, NewEquipment, NewMember, Reveal
from cloud.state import now_ms

PAGE: Final = 50

pages = page_router()


class MemberForm(Sent):
    """A new member."""

    call_sign: str = Field(max_length=200)
    node: str = Field(max_length=255)
    user: str = Field("", max_length=64)


class EquipmentForm(Sent):
    """A device that becomes equipment. post: an id, or empty."""

    gateway: str = Field(max_length=64)
    device: str = Field(max_length=64)
    kind: str = Field(max_length=16)
    node: str = Field(max_length=255)
    post: str = Field("", max_length=20)


class RevealForm(Sent):
    """Whose a pseudonym is, and why that has to be known."""

    pseudonym: str = Field(max_length=128)
    reason: str = Field("", max_length=1000)
    case_number: str = Field("", max_length=64)


@pages.get("/rosters/members")
def member_list(ui: View, state: State) -> Response:
    """Everybody who patrols, by call sign."""
    search, cursor = ui.query.get("q", "")[:64], ui.query.get("cursor", "")
    with state.db.read() as tx:
        page = service.list_members(tx, ui.who, now_ms(), search=search or None, limit=PAGE, cursor=cursor or None)
        names = choose.names(tx, ui, {member.node for member in page.items})
        nodes = choose.nodes(tx, ui)
    rows = [{"member": member, "node": names[member.node]} for member in page.items]
    following = ui.link(cursor=page.next_cursor) if page.next_cursor else ""
    return render(
        ui, "roster_members.html", rows=rows, nodes=nodes, search=search, next=following,
        first=ui.link(cursor=None) if cursor else "",
    )  # fmt: skip


@pages.post("/rosters/members")
def add_member(ui: View, state: State, act: Annotated[MemberForm, Form()]) -> Response:
    """A new member."""
    ui.need(Permission.PATROL)
    new = checked(NewMember, call_sign=act.call_sign.strip(), node=act.node, user=act.user)
    with state.db.begin() as tx:
        service.add_member(tx, ui.who, new, now_ms())
    return back_to(act.back or "/rosters")


@pages.post("/rosters/members/{member}/archive")
def archive_member(ui: View, state: State, member: Id, act: Button) -> Response:
    """The member patrols no longer."""
    ui.need(Permission.PATROL)
    with state.db.begin() as tx:
        service.archive_member(tx, ui.who, member, now_ms())
    return back_to(act.back or "/rosters")


@pages.get("/rosters/equipment")
def equipment_list(ui: View, state: State) -> Response:
    """The devices of the patrol, and who carries them."""
    cursor = ui.query.get("cursor", "")
    with state.db.read() as tx:
        page = service.list_equipment(tx, ui.who, now_ms(), limit=PAGE, cursor=cursor or None)
        names = choose.names(tx, ui, {thing.node for thing in page.items})
        posts = [(str(thing), ui.called(zh, en)) for thing, zh, en in service.place_choices(tx, ui.who, "post")]
        nodes = choose.nodes(tx, ui)
    rows = [
        {"thing": thing, "node": names[thing.node], "post": dict(posts).get(str(thing.post), "")}
        for thing in page.items
    ]
    return render(
        ui, "roster_equipment.html", rows=rows, nodes=nodes,
        posts=[("", ui.t("rosters.nothing")), *posts],
        kinds=[(kind.value, ui.t(f"rosters.{kind}")) for kind in Kind],
        next=ui.link(cursor=page.next_cursor) if page.next_cursor else "", first=ui.link(cursor=None) if cursor else "",
    )  # fmt: skip


@pages.post("/rosters/equipment")
def add_equipment(ui: View, state: State, act: Annotated[EquipmentForm, Form()]) -> Response:
    """A device becomes equipment of the patrol."""
    ui.need(Permission.PATROL)
    new = checked(
        NewEquipment,
        gateway=act.gateway.strip(),
        device=act.device.strip(),
        kind=act.kind,
        node=act.node,
        post=act.post,
    )
    with state.db.begin() as tx:
        service.add_equipment(tx, ui.who, new, now_ms())
    return back_to(act.back or "/rosters")


@pages.post("/rosters/equipment/{thing}/archive")
def archive_equipment(ui: View, state: State, thing: Id, act: Button) -> Response:
    """The device is no longer the patrol's."""
    ui.need(Permission.PATROL)
    with state.db.begin() as tx:
        service.archive_equipment(tx, ui.who, thing, now_ms())
    return back_to(act.back or "/rosters")


@pages.get("/rosters/looks")
def my_looks(ui: View, state: State) -> Response:
    """Who looked at the position of the member that this account belongs to (P5)."""
    cursor = ui.query.get("cursor", "")
    with state.db.read() as tx:
        member = service.member_of(tx, ui.who)
        page = service.list_looks(tx, member, limit=PAGE, cursor=cursor or None) if member else None
    following = ui.link(cursor=page.next_cursor) if page and page.next_cursor else ""
    return render(ui, "roster_looks.html", page=page, next=following, first=ui.link(cursor=None) if cursor else "")


@pages.post("/rosters/reveal")
def reveal(ui: View, state: State, act: Annotated[RevealForm, Form()]) -> Response:
    """Turn a pseudonym back, on record (P4)."""
    ui.need(Permission.REVEAL)
    body = checked(Reveal, pseudonym=act.pseudonym, reason=act.reason, case_number=act.case_number)
    with state.db.begin() as tx:
        found = service.reveal(
            tx, ui.who, body.pseudonym, reason=body.reason, case=body.case_number, now_ms=now_ms()
        )  # fmt: skip
    return render(ui, "roster_revealed.html", found=found)
