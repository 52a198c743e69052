"""The pages of claim codes: issuing one, its print that is shown once, their list, and a gateway's certificates."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Form, Path
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations
from markupsafe import Markup
from pydantic import Field

from cloud.console import choose
from cloud.console.forms import Button, Id, Sent
from cloud.console.pages import back_to, needing, page_router, render
from cloud.console.ui import Ui
from cloud.devices.enrolment import service
from cloud.devices.enrolment.rules import ClaimState
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import Permission
from cloud.state import now_ms
from firmware_specs.readings import NAME_PATTERN

PAGE: Final = 50
HOURS: Final = (1, 8, 24, 72, 168, 720)
"""How long a claim may be used, as offered."""

pages = page_router()


Reader = Annotated[Ui, needing(Permission.PROVISION, Permission.AUDIT)]
Gateway = Annotated[str, Path(pattern=NAME_PATTERN)]


class ClaimForm(Sent):
    """The form for a new claim. gateway: empty for a new name."""

    node: str = Field(max_length=255, pattern=r"^/([0-9]{1,18}/)*$")
    gateway: str = Field("", max_length=64, pattern=rf"^\s*$|{NAME_PATTERN}")
    location: str = Field("", max_length=500)
    hours: int = Field(72, ge=1, le=720)


@pages.get("/claims")
def claim_list(ui: Reader, state: State) -> Response:
    """Claims with their states, the newest first, and the form for a new one."""
    chosen = ui.query.get("state", "")
    wanted = ClaimState(chosen) if chosen in set(ClaimState) else None
    with state.db.read() as tx:
        cursor = ui.query.get("cursor") or None
        page = service.list_claims(tx, ui.who, now_ms(), state=wanted, limit=PAGE, cursor=cursor)
        names = choose.names(tx, ui, {claim.node for claim in page.items})
        nodes = choose.nodes(tx, ui) if ui.may(Permission.PROVISION) else []
    return render(
        ui, "claims.html", page=page, chosen=chosen, nodes=nodes,
        names=names,
        states=[("", ui.t("claims.all")), *((each.value, ui.t(f"claims.state_{each}")) for each in ClaimState)],
        hours=[(str(each), ui.span(each * 3600)) for each in HOURS],
        next=ui.link(cursor=page.next_cursor), first=ui.link(cursor=None),
    )  # fmt: skip


@pages.post("/claims")
def issue(ui: Reader, state: State, sent: Annotated[ClaimForm, Form()]) -> Response:
    """Make a claim and show it, this once."""
    given = service.NewClaim(
        node=sent.node, gateway=sent.gateway.strip() or None, location=sent.location.strip(), minutes=sent.hours * 60
    )
    with state.db.begin() as tx:
        made = service.issue_claim(tx, ui.who, given, now_ms())
        place = choose.names(tx, ui, [made.node])[made.node]
    # The picture is made of a path's numbers by us; what it says is in it as squares.
    page = render(ui, "claim.html", claim=made, place=place, qr=Markup(made.qr))  # noqa: S704 - no text is in it
    page.headers["Cache-Control"] = "no-store"
    return page


@pages.post("/claims/{claim_id}/revoke")
def revoke(ui: Reader, state: State, claim_id: Id, sent: Button) -> Response:
    """Withdraw a claim."""
    with state.db.begin() as tx:
        service.revoke_claim(tx, ui.who, claim_id, now_ms())
    return back_to(sent.back or "/claims")


@pages.get("/gateways/{gateway}/certificates")
def certificate_list(ui: Reader, state: State, gateway: Gateway) -> Response:
    """The certificates that a gateway was given."""
    with state.db.read() as tx:
        cursor = ui.query.get("cursor") or None
        page = service.list_certificates(tx, ui.who, gateway, now_ms(), limit=PAGE, cursor=cursor)
    return render(
        ui, "certificates.html", gateway=gateway, page=page, any_in_force=any(each.in_force for each in page.items),
        next=ui.link(cursor=page.next_cursor), first=ui.link(cursor=None),
    )  # fmt: skip


@pages.post("/gateways/{gateway}/revoke")
def revoke_gateway(ui: Reader, state: State, gateway: Gateway) -> Response:
    """Refuse a gateway from now on."""
    with state.db.begin() as tx:
        service.revoke_gateway(tx, ui.who, gateway, now_ms())
    return back_to(f"/gateways/{gateway}/certificates")
