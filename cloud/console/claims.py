"""The pages of claim codes: issuing one, its print that is shown once, their list, and a gateway's certificates."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, Path, Request
from fastapi.responses import HTMLResponse, Response
from markupsafe import Markup
from pydantic import BaseModel, Field

from cloud.console import choose
from cloud.console.pages import PageRoute, back_to, render, viewer_ui
from cloud.console.ui import Ui
from cloud.devices.enrolment import service
from cloud.devices.enrolment.rules import ClaimState
from cloud.errors import Conflict, Forbidden, Invalid
from cloud.org import auth, tree
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import Permission
from cloud.state import now_ms
from firmware_specs.readings import NAME_PATTERN

PAGE: Final = 50
HOURS: Final = (1, 8, 24, 72, 168, 720)
"""How long a claim may be used, as offered."""

pages = APIRouter(route_class=PageRoute, include_in_schema=False, default_response_class=HTMLResponse)


def reader_ui(ui: Annotated[Ui, Depends(viewer_ui)]) -> Ui:
    """The view of who may see claims: whoever provisions, and whoever audits. Raises Forbidden."""
    if not ui.may(Permission.PROVISION) and not ui.may(Permission.AUDIT):
        raise Forbidden(f"role {ui.role} may not {Permission.PROVISION}")
    ui.section = "claims"
    return ui


View = Annotated[Ui, Depends(reader_ui)]
Id = Annotated[int, Path(ge=1, lt=2**63)]
Gateway = Annotated[str, Path(pattern=NAME_PATTERN)]


class ClaimForm(BaseModel):
    """The form for a new claim. gateway: empty for a new name."""

    csrf: str = Field("", max_length=200)
    node: str = Field(max_length=255, pattern=r"^/([0-9]{1,18}/)*$")
    gateway: str = Field("", max_length=64, pattern=rf"^\s*$|{NAME_PATTERN}")
    location: str = Field("", max_length=500)
    hours: int = Field(72, ge=1, le=720)


class Sent(BaseModel):
    """What a button carries."""

    csrf: str = Field("", max_length=200)
    back: str = Field("", max_length=2000)


@pages.get("/claims")
def claim_list(ui: View, state: State) -> Response:
    """Claims with their states, the newest first, and the form for a new one."""
    chosen = ui.query.get("state", "")
    wanted = ClaimState(chosen) if chosen in set(ClaimState) else None
    with state.db.read() as tx:
        cursor = ui.query.get("cursor") or None
        page = service.list_claims(tx, ui.who, now_ms(), state=wanted, limit=PAGE, cursor=cursor)
        names = tree.names(tx, {claim.node for claim in page.items})
        nodes = choose.nodes(tx, ui, set(tree.Kind)) if ui.may(Permission.PROVISION) else []
    return render(
        ui, "claims.html", page=page, chosen=chosen, nodes=nodes,
        names={path: choose.name(ui, *pair) for path, pair in names.items()},
        states=[("", ui.t("claims.all")), *((each.value, ui.t(f"claims.state_{each}")) for each in ClaimState)],
        hours=[(str(each), ui.span(each * 3600)) for each in HOURS],
        next=ui.link(cursor=page.next_cursor), first=ui.link(cursor=None),
    )  # fmt: skip


@pages.post("/claims")
def issue(request: Request, ui: View, state: State, sent: Annotated[ClaimForm, Form()]) -> Response:
    """Make a claim and show it, this once."""
    auth.check_csrf(request, sent.csrf)
    given = service.NewClaim(
        node=sent.node, gateway=sent.gateway.strip() or None, location=sent.location.strip(), minutes=sent.hours * 60
    )
    try:
        with state.db.begin() as tx:
            made = service.issue_claim(tx, ui.who, given, now_ms())
            name = tree.names(tx, [made.node]).get(made.node)
    except Conflict as e:
        raise Invalid(str(e)) from e  # an error page that says what is missing, not that somebody was faster
    place = choose.name(ui, *name) if name else made.node
    # The picture is made of a path's numbers by us; what it says is in it as squares.
    page = render(ui, "claim.html", claim=made, place=place, qr=Markup(made.qr))  # noqa: S704 - no text is in it
    page.headers["Cache-Control"] = "no-store"
    return page


@pages.post("/claims/{claim_id}/revoke")
def revoke(request: Request, ui: View, state: State, claim_id: Id, sent: Annotated[Sent, Form()]) -> Response:
    """Withdraw a claim."""
    auth.check_csrf(request, sent.csrf)
    with state.db.begin() as tx:
        service.revoke_claim(tx, ui.who, claim_id, now_ms())
    return back_to(sent.back or "/claims")


@pages.get("/gateways/{gateway}/certificates")
def certificate_list(ui: View, state: State, gateway: Gateway) -> Response:
    """The certificates that a gateway was given."""
    with state.db.read() as tx:
        cursor = ui.query.get("cursor") or None
        page = service.list_certificates(tx, ui.who, gateway, now_ms(), limit=PAGE, cursor=cursor)
    return render(
        ui, "certificates.html", gateway=gateway, page=page, any_in_force=any(each.in_force for each in page.items),
        next=ui.link(cursor=page.next_cursor), first=ui.link(cursor=None),
    )  # fmt: skip


@pages.post("/gateways/{gateway}/revoke")
def revoke_gateway(
    request: Request, ui: View, state: State, gateway: Gateway, sent: Annotated[Sent, Form()]
) -> Response:
    """Refuse a gateway from now on."""
    auth.check_csrf(request, sent.csrf)
    with state.db.begin() as tx:
        service.revoke_gateway(tx, ui.who, gateway, now_ms())
    return back_to(f"/gateways/{gateway}/certificates")
