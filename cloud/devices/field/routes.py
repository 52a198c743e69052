"""The HTTP of field work.

What a phone may have to send again carries `Idempotency-Key`: with the same key the same answer comes back, and nothing
is done twice.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from pydantic import Field, StringConstraints

from cloud.devices.field import paper, service
from cloud.devices.field.models import (
    AdoptedView,
    Adoption,
    DeviceProgress,
    DiscoveredView,
    InstallView,
    MarkBody,
    Name,
    NewSheet,
    NewWalk,
    Replacement,
    RequestKey,
    SheetView,
    ShownBody,
    StepView,
    WalkDetail,
    WalkView,
)
from cloud.devices.field.paper import Part  # noqa: TC001 - FastAPI reads annotations
from cloud.org.auth import State, require
from cloud.org.rules import Permission, Principal
from cloud.paging import MAX_LIMIT, Page, View
from cloud.problems import documented
from cloud.state import now_ms

router = APIRouter(tags=["field work"], responses=documented(401, 403, 422, 503))

Technician = Annotated[Principal, Depends(require(Permission.PROVISION))]
GatewayId = Annotated[Name, Path()]
DeviceId = Annotated[Name, Path()]
WalkId = Annotated[int, Path(ge=1, lt=2**63)]
SheetId = Annotated[int, Path(ge=1, lt=2**63)]
Key = Annotated[RequestKey | None, Header(alias="Idempotency-Key")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Cursor = Annotated[Annotated[str, StringConstraints(max_length=500)] | None, Query()]
OfGateway = Annotated[Name | None, Query()]


class Discoveries(View):
    """Everything that a gateway hears and no device has."""

    items: Annotated[list[DiscoveredView], Field(max_length=500)]


class Progress(View):
    """The devices that were adopted or replaced last."""

    items: list[DeviceProgress]


class Steps(View):
    """What was done, the latest first."""

    items: list[StepView]


@router.get("/gateways/{gateway_id}/installation", responses=documented(404))
def installation(state: State, who: Technician, gateway_id: GatewayId) -> InstallView:
    """How far the installation of a gateway is, stage by stage."""
    with state.db.read() as tx:
        return service.installation(tx, who, gateway_id, now_ms())


@router.get("/gateways/{gateway_id}/discovered", responses=documented(404))
def discovered(state: State, who: Technician, gateway_id: GatewayId) -> Discoveries:
    """What the gateway hears and no device of it has, with profiles that could read it."""
    with state.db.read() as tx:
        return Discoveries(items=service.list_discovered(tx, who, gateway_id))


@router.get("/gateways/{gateway_id}/adopted", responses=documented(404))
def adopted(state: State, who: Technician, gateway_id: GatewayId) -> Progress:
    """The devices adopted last: whether the gateway has each in force, and since when it is heard."""
    with state.db.read() as tx:
        return Progress(items=service.progress(tx, who, gateway_id))


@router.post("/gateways/{gateway_id}/adopted", status_code=201, responses=documented(404, 409))
def adopt(state: State, who: Technician, gateway_id: GatewayId, body: Adoption, key: Key = None) -> AdoptedView:
    """Make a device of an address: into the gateway's configuration, with a name and a place."""
    now = now_ms()
    with state.db.begin() as tx:
        return service.once(
            tx, who, "adopt", key, now, AdoptedView, lambda: service.adopt(tx, who, gateway_id, body, now)
        )


@router.get("/gateways/{gateway_id}/field-history", responses=documented(404))
def history(state: State, who: Technician, gateway_id: GatewayId) -> Steps:
    """What was done in the field with a gateway and its devices."""
    with state.db.read() as tx:
        return Steps(items=service.history(tx, who, gateway_id))


@router.post("/gateways/{gateway_id}/devices/{device_id}/replacement", responses=documented(404, 409))
def replace(  # noqa: PLR0917 - FastAPI's
    state: State, who: Technician, gateway_id: GatewayId, device_id: DeviceId, body: Replacement, key: Key = None
) -> AdoptedView:  # fmt: skip
    """Put other hardware in a device's place: same id, new address, its history goes on."""
    now = now_ms()
    with state.db.begin() as tx:
        return service.once(
            tx, who, "replace", key, now, AdoptedView,
            lambda: service.replace(tx, who, gateway_id, device_id, body, now),
        )  # fmt: skip


@router.get("/walk-tests")
def list_walks(
    state: State, who: Technician, gateway: OfGateway = None, limit: Limit = 50, cursor: Cursor = None
) -> Page[WalkView]:
    """Walk tests, the latest first."""
    with state.db.read() as tx:
        return service.list_walks(tx, who, gateway, limit, cursor)


@router.post("/walk-tests", status_code=201, responses=documented(404, 409))
def start_walk(state: State, who: Technician, body: NewWalk, key: Key = None) -> WalkDetail:
    """Begin a walk test: the alarms of its devices are recorded and call nobody out while somebody has them in hand."""
    now = now_ms()
    with state.db.begin() as tx:
        return service.once(tx, who, "walk", key, now, WalkDetail, lambda: service.start_walk(tx, who, body, now))


@router.get("/walk-tests/{walk_id}", responses=documented(404))
def get_walk(state: State, who: Technician, walk_id: WalkId) -> WalkDetail:
    """One walk test with its devices."""
    with state.db.read() as tx:
        return service.get_walk(tx, who, walk_id)


@router.post("/walk-tests/{walk_id}/end", responses=documented(404))
def end_walk(state: State, who: Technician, walk_id: WalkId) -> WalkDetail:
    """End it now. Alarms of its devices that still stand are told at once."""
    with state.db.begin() as tx:
        return service.end_walk(tx, who, walk_id, now_ms())


@router.post("/walk-tests/{walk_id}/devices/{device_id}/mark", responses=documented(404, 409))
def mark(  # noqa: PLR0917 - FastAPI's
    state: State, who: Technician, walk_id: WalkId, device_id: DeviceId, body: MarkBody, key: Key = None
) -> WalkDetail:  # fmt: skip
    """A result by hand; `waiting` has the device tested once more."""
    now = now_ms()
    with state.db.begin() as tx:
        service.once(
            tx, who, "mark", key, now, WalkView, lambda: service.mark_device(tx, who, walk_id, device_id, body, now)
        )
        return service.get_walk(tx, who, walk_id)


@router.post("/walk-tests/{walk_id}/shown", responses=documented(404))
def shown(state: State, who: Technician, walk_id: WalkId, body: ShownBody) -> WalkView:
    """When results appeared on the technician's page."""
    with state.db.begin() as tx:
        return service.show_devices(tx, who, walk_id, body, now_ms())


@router.get("/acceptance-sheets")
def list_sheets(
    state: State, who: Technician, gateway: OfGateway = None, limit: Limit = 50, cursor: Cursor = None
) -> Page[SheetView]:
    """Acceptance sheets, the latest first."""
    with state.db.read() as tx:
        return service.list_sheets(tx, who, gateway, limit, cursor)


@router.post("/acceptance-sheets", status_code=201, responses=documented(404, 409))
def make_sheet(state: State, who: Technician, body: NewSheet, key: Key = None) -> SheetView:
    """Make a sheet of how things are now and ask the gateway to sign it."""
    now = now_ms()
    with state.db.begin() as tx:
        return service.once(
            tx, who, "sheet", key, now, SheetView,
            lambda: service.make_sheet(tx, who, body, now, state.config.time_zone),
        )  # fmt: skip


@router.get("/acceptance-sheets/{sheet_id}", responses=documented(404))
def get_sheet(state: State, who: Technician, sheet_id: SheetId) -> SheetView:
    """One sheet."""
    with state.db.read() as tx:
        return service.get_sheet(tx, who, sheet_id)


@router.post("/acceptance-sheets/{sheet_id}/sign", responses=documented(404, 409))
def sign_sheet(state: State, who: Technician, sheet_id: SheetId) -> SheetView:
    """Ask once more for the signature of an unsigned sheet; what it says stays as it is."""
    with state.db.begin() as tx:
        return service.sign_sheet(tx, who, sheet_id, now_ms())


@router.get(
    "/acceptance-sheets/{sheet_id}/files/{part}", response_class=Response,
    responses={
        **documented(404),
        200: {
            "description": "The file.",
            "content": {
                kind: {"schema": {"type": "string", "format": "binary"}} for kind in sorted(set(paper.TYPES.values()))
            },
        },
    },
)  # fmt: skip
def sheet_file(state: State, who: Technician, sheet_id: SheetId, part: Part) -> Response:
    """The sheet on paper, or one of the files by which anybody can verify it."""
    with state.db.read() as tx:
        archived = service.archived(tx, who, sheet_id)
    return paper.file(archived, part)
