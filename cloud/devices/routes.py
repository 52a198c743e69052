"""The HTTP of gateways, devices and their history."""

from __future__ import annotations

import re
from datetime import datetime  # noqa: TC003 - FastAPI reads annotations
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query

from cloud import catalogue
from cloud.devices import service
from cloud.devices.models import DeviceState, DeviceView, GatewayView, PositionView, StateCounts  # noqa: TC001
from cloud.devices.views import value_view
from cloud.errors import Invalid
from cloud.org.auth import State, Viewer  # noqa: TC001
from cloud.paging import MAX_LIMIT, Page, View, at, decode_cursor, encode_cursor, to_ms
from cloud.problems import documented
from cloud.state import now_ms
from cloud.telemetry.store import TRACK_METRIC, Series
from firmware_specs.carried import TRACK_METRICS
from firmware_specs.readings import METRIC_PATTERN, NAME_PATTERN, Quality

router = APIRouter(tags=["devices"], responses=documented(401, 403, 422, 503))

MAX_POINTS: Final = 5000
DAY_MS: Final = 86_400_000
_STEP: Final = re.compile(r"(\d{1,6})(s|m|h|d)")
_UNIT_MS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": DAY_MS}

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Cursor = Annotated[str | None, Query(max_length=500)]
Name = Annotated[str, Path(pattern=NAME_PATTERN)]


class Telemetry(View):
    """History of one metric. The lists run parallel to `points`."""

    gateway: str
    device: str
    metric: str
    unit: str
    step: str
    points: list[tuple[datetime, float | bool | str | PositionView]]
    """Time and value, oldest first: readings as stored, or the mean of each step."""
    quality: list[Quality]
    low: list[float | None] | None = None
    """The least value of each step; None for raw readings."""
    high: list[float | None] | None = None
    next_cursor: str | None = None


def step_ms(text: str) -> int | None:
    """A step in milliseconds, None for raw. Raises Invalid."""
    if text == "raw":
        return None
    match = _STEP.fullmatch(text)
    width = int(match[1]) * _UNIT_MS[match[2]] if match else 0
    if not 1000 <= width <= 366 * DAY_MS:
        raise Invalid(f"step {text!r}: raw, or a number with s, m, h or d between 1s and 366d")
    return width


def _is_place(profile_name: str, metric: str) -> bool:
    profile = catalogue.profile(profile_name)
    spec = profile.metrics.get(metric) if profile else None
    return metric == TRACK_METRIC or (spec is not None and spec.type == "position")


@router.get("/devices")
def list_devices(  # noqa: PLR0917 - one parameter each of the query
    state: State,
    who: Viewer,
    gateway: Annotated[str | None, Query(max_length=64)] = None,
    profile: Annotated[str | None, Query(max_length=64)] = None,
    category: Annotated[str | None, Query(max_length=64)] = None,
    in_state: Annotated[list[DeviceState] | None, Query(alias="state")] = None,
    search: Annotated[str | None, Query(max_length=100)] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[DeviceView]:
    """The fleet with its latest values, by gateway and id. Several `state` parameters mean any of them."""
    with state.db.read() as tx:
        return service.list_devices(
            tx, who, now_ms(), gateway=gateway, profile=profile, category=category, state=in_state or (),
            search=search, limit=limit, cursor=cursor,
        )  # fmt: skip


@router.get("/devices/counts")
def counts(state: State, who: Viewer) -> StateCounts:
    """Devices by state, gateways by line."""
    with state.db.read() as tx:
        return service.state_counts(tx, who)


@router.get("/devices/{gateway}/{device}", responses=documented(404))
def get_device(state: State, who: Viewer, gateway: Name, device: Name) -> DeviceView:
    """One device with its latest values. Where the wearer of a carried one is needs the right to locate; on record."""
    return service.see_device(state.db, who, gateway, device, now_ms())


@router.get("/devices/{gateway}/{device}/telemetry", responses=documented(404))
def telemetry(  # noqa: PLR0917 - one parameter each of the query
    state: State,
    who: Viewer,
    gateway: Name,
    device: Name,
    metric: Annotated[str, Query(pattern=METRIC_PATTERN)],
    from_: Annotated[datetime | None, Query(alias="from")] = None,
    to: datetime | None = None,
    step: Annotated[str, Query(max_length=10)] = "raw",
    limit: Annotated[int, Query(ge=1, le=MAX_POINTS)] = 1000,
    cursor: Cursor = None,
) -> Telemetry:
    """History of a metric, by default of the last day. Looks at positions are on record; members' need the right."""
    now = now_ms()
    width = step_ms(step)
    until = to_ms(to) if to else now + 1
    since = to_ms(from_) if from_ else until - DAY_MS
    if since > until:
        raise Invalid("from: later than to")
    if cursor:
        since = int(decode_cursor(cursor, int)[0])
        if not since <= until:
            raise Invalid("cursor: later than to")
    with state.db.read() as tx:
        found = service.get_device(tx, who, gateway, device, now)
    place = _is_place(found.profile, metric)
    if place or metric in TRACK_METRICS:
        service.see_track(state.db, who, gateway, device, span=(since, until), place=place, now_ms=now)
    try:
        history = state.telemetry.history(Series(gateway, device, metric), since, until, width, limit)
    except ValueError as e:
        raise Invalid(str(e)) from e
    return Telemetry.model_construct(
        gateway=gateway, device=device, metric=metric, step=step,
        unit=history.points[-1].unit if history.points else "",
        points=[(at(point.at_ms), value_view(point.value)) for point in history.points],
        quality=[point.quality for point in history.points],
        low=[point.low for point in history.points] if width else None,
        high=[point.high for point in history.points] if width else None,
        next_cursor=None if history.next_ms is None else encode_cursor(history.next_ms),
    )  # fmt: skip


@router.get("/gateways")
def list_gateways(state: State, who: Viewer, limit: Limit = 100, cursor: Cursor = None) -> Page[GatewayView]:
    """Gateways with their outbox and loss ledger."""
    with state.db.read() as tx:
        return service.list_gateways(tx, who, limit=limit, cursor=cursor)


@router.get("/gateways/{gateway}", responses=documented(404))
def get_gateway(state: State, who: Viewer, gateway: Name) -> GatewayView:
    """One gateway."""
    with state.db.read() as tx:
        return service.get_gateway(tx, who, gateway)
