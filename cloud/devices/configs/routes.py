"""The HTTP of configuration."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from cloud.devices.configs import service
from cloud.devices.configs.models import (
    ConfigView,
    DiffView,
    DocumentView,
    NewChange,
    NewTemplate,
    NewText,
    Preview,
    StandingView,
    TemplateView,
    VersionView,
)
from cloud.devices.configs.rules import TemplateKind  # noqa: TC001 - FastAPI reads annotations
from cloud.org.auth import State, Viewer, require
from cloud.org.rules import Permission, Principal
from cloud.paging import MAX_LIMIT, Page
from cloud.problems import documented
from cloud.state import now_ms
from firmware_specs.readings import NAME_PATTERN

router = APIRouter(tags=["configuration"], responses=documented(401, 403, 422, 503))

Name = Annotated[str, Path(pattern=NAME_PATTERN)]
Number = Annotated[int, Path(ge=1, lt=2**63)]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Cursor = Annotated[str | None, Query(max_length=500)]
Version = Annotated[int, Query(ge=0, lt=2**63)]
Key = Annotated[str, Query(min_length=1, max_length=255)]
Provisioner = Annotated[Principal, Depends(require(Permission.PROVISION))]


@router.get("/configs")
def list_standings(state: State, who: Viewer, limit: Limit = 100, cursor: Cursor = None) -> Page[StandingView]:
    """How every gateway stands to what is wanted of it, by name."""
    with state.db.read() as tx:
        return service.list_standings(tx, who, now_ms(), limit=limit, cursor=cursor)


@router.get("/gateways/{gateway}/config", responses=documented(404))
def get_config(state: State, who: Provisioner, gateway: Name) -> ConfigView:
    """What is wanted of a gateway, where each part comes from, and how it stands."""
    with state.db.read() as tx:
        return service.get_config(tx, who, gateway, now_ms())


@router.put("/gateways/{gateway}/config", responses=documented(404, 409))
def put_config(state: State, who: Provisioner, gateway: Name, body: NewText) -> DocumentView:
    """Have a gateway run its own text with the templates of now; what is wanted already is no change."""
    note = service.Note(body.comment, body.trial_s)
    with state.db.begin() as tx:
        made = service.propose_from(
            tx, who, gateway, body.text, now_ms(), expected=body.expected_version, note=note
        )  # fmt: skip
    return service.view(gateway, made)


@router.get("/gateways/{gateway}/config/history", responses=documented(404))
def history(
    state: State, who: Provisioner, gateway: Name, limit: Limit = 100, cursor: Cursor = None
) -> Page[VersionView]:
    """Every version that was ever ordered of a gateway, newest first."""
    with state.db.read() as tx:
        return service.see_history(tx, who, gateway, limit=limit, cursor=cursor)


@router.get("/gateways/{gateway}/config/history/{version}", responses=documented(404))
def get_version(state: State, who: Provisioner, gateway: Name, version: Number) -> DocumentView:
    """One version in full."""
    with state.db.read() as tx:
        return service.view(gateway, service.see_version(tx, who, gateway, version))


@router.post("/gateways/{gateway}/config/history/{version}/restore", responses=documented(404))
def restore(state: State, who: Provisioner, gateway: Name, version: Number) -> DocumentView:
    """Have a gateway run exactly what an earlier version said, as a new version."""
    with state.db.begin() as tx:
        return service.view(gateway, service.restore(tx, who, gateway, version, now_ms()))


@router.get("/gateways/{gateway}/config/diff", responses=documented(404))
def get_diff(
    state: State, who: Provisioner, gateway: Name, before: Annotated[Version, Query(alias="from")],
    after: Annotated[Version, Query(alias="to")],
) -> DiffView:  # fmt: skip
    """The difference between what two versions have the gateway run; version 0 is none at all."""
    with state.db.read() as tx:
        return DiffView(before=before, after=after, diff=service.see_diff(tx, who, gateway, before, after))


@router.get("/config-templates")
def list_templates(
    state: State, who: Provisioner, limit: Limit = 100, cursor: Cursor = None
) -> Page[TemplateView]:  # fmt: skip
    """The templates of organisation nodes within scope, and those of device types."""
    with state.db.read() as tx:
        return service.page_templates(tx, who, limit=limit, cursor=cursor)


@router.get("/config-templates/{kind}", responses=documented(404))
def get_template(state: State, who: Provisioner, kind: TemplateKind, key: Key) -> TemplateView:
    """One template. key: a node's path, or a profile's name."""
    with state.db.read() as tx:
        return service.get_template(tx, who, kind, key)


@router.put("/config-templates", responses=documented(404, 409))
def put_template(state: State, who: Provisioner, body: NewTemplate) -> TemplateView:
    """Put a template, or take it away with an empty text. No gateway changes by it before a change to many is made."""
    with state.db.begin() as tx:
        return service.put_template(tx, who, body, now_ms())


@router.post("/config-changes/preview", responses=documented(404))
def preview(state: State, who: Provisioner, body: NewChange) -> Preview:
    """What a change would do to each gateway that it chooses, those for which it is the same together."""
    with state.db.read() as tx:
        return service.preview(tx, who, body)
