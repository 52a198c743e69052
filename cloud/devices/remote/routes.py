"""The HTTP of remote help."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response

from cloud.devices.remote import service
from cloud.devices.remote.models import CommandView, NewCommand  # noqa: TC001 - FastAPI reads annotations
from cloud.errors import Invalid
from cloud.org.auth import State, require
from cloud.org.rules import Permission, Principal
from cloud.paging import Page  # noqa: TC001 - the same
from cloud.problems import documented
from cloud.state import now_ms
from firmware_specs.readings import NAME_PATTERN

router = APIRouter(tags=["remote help"], responses=documented(401, 403, 422, 503))

Helper = Annotated[Principal, Depends(require(Permission.PROVISION))]
Gateway = Annotated[str, Path(pattern=NAME_PATTERN)]
CommandId = Annotated[str, Path(pattern=NAME_PATTERN)]


@router.post("/gateways/{gateway}/commands", status_code=201, responses=documented(404, 429))
def send(state: State, who: Helper, gateway: Gateway, body: NewCommand) -> CommandView:
    """Ask something of a gateway: it is done once, or not at all after its time. No kind runs text."""
    if why := service.fault(body.kind, body.arguments):
        raise Invalid(why)
    with state.db.begin() as tx:
        return service.send(tx, who, gateway, body.kind, body.arguments, now_ms(), body.ttl_s)


@router.get("/gateways/{gateway}/commands", responses=documented(404))
def list_commands(
    state: State,
    who: Helper,
    gateway: Gateway,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> Page[CommandView]:
    """What was asked of a gateway, the latest first, without what was said."""
    with state.db.read() as tx:
        return service.list_commands(tx, who, gateway, limit=limit, cursor=cursor)


@router.get("/commands/{command}", responses=documented(404))
def get_command(
    state: State, who: Helper, command: CommandId, after: Annotated[int, Query(ge=0, lt=2**53)] = 0
) -> CommandView:
    """One command and its answer, from a part on, at most 500 parts."""
    with state.db.read() as tx:
        return service.get(tx, who, command, after)


@router.get(
    "/commands/{bundle}/file",
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}, "description": "The file."}, **documented(404)},
)
def download(state: State, who: Helper, bundle: CommandId) -> Response:
    """The diagnostics bundle that a gateway made; taking it is put on record."""
    with state.db.begin() as tx:
        data = service.download(tx, who, bundle, now_ms())
    headers = {"Content-Disposition": f'attachment; filename="{bundle}.zip"'}
    return Response(data, media_type="application/zip", headers=headers)
