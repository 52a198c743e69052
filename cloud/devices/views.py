"""From rows to what the API says of gateways and devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from cloud import catalogue, stream
from cloud.alerts import service as alerts
from cloud.devices.models import DeviceView, GatewayView, LaneView, LatestView, LedgerView, PositionView
from cloud.devices.rules import Facts, device_state
from cloud.devices.store import devices, gateways, latest
from cloud.ingest import service as ingest
from cloud.paging import at, at_or_none
from cloud.presence.rosters import service as rosters
from firmware_specs.carried import TRACK_METRICS
from firmware_specs.readings import Clock, Position, Quality, Value
from firmware_specs.wire import LaneStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection, Row

_lanes = msgspec.json.Decoder(dict[str, LaneStatus]).decode
_texts = msgspec.json.Decoder(dict[str, str]).decode
_numbers = msgspec.json.Decoder(dict[str, int]).decode


def encode_value(value: Value) -> str:
    """A value as the `latest` table keeps it."""
    if isinstance(value, Position):
        return msgspec.json.encode({"lat": value.lat, "lon": value.lon, "accuracy_m": value.accuracy_m}).decode()
    return msgspec.json.encode(value).decode()


def value_view(value: Value) -> float | bool | str | PositionView:
    """A value as the API shows it."""
    if isinstance(value, Position):
        return PositionView(lat=value.lat, lon=value.lon, accuracy_m=value.accuracy_m)
    return value


def _latest_view(row: Row[Any], now_ms: int) -> LatestView:
    value = msgspec.json.decode(row.value)
    since = row.observed_at if row.observed_at <= now_ms else min(row.received_at, now_ms)
    return LatestView.model_construct(
        value=PositionView(**value) if isinstance(value, dict) else value, unit=row.unit,
        observed_at=at(row.observed_at), received_at=at(row.received_at), quality=Quality(row.quality),
        clock=Clock(row.clock), age_s=round((now_ms - since) / 1000, 1),
    )  # fmt: skip


def device_views(
    tx: Connection, rows: Sequence[Row[Any]], now_ms: int, *, positions: bool = False
) -> list[DeviceView]:  # fmt: skip
    """Views of rows of devices joined with their gateway's `online`, in their order.

    positions: with where the wearers of carried devices are; whoever asks is allowed to see it, and puts it on record.
    """
    if not rows:
        return []
    names = sorted({row.gateway for row in rows})
    kinds = alerts.active_kinds(tx, names)
    values: dict[tuple[str, str], dict[str, LatestView]] = {}
    ids = {row.id for row in rows}
    worn = set() if positions else rosters.worn(tx, names)
    wanted = sa.select(latest).where(latest.c.gateway.in_(names))
    if len(ids) <= 100:
        wanted = wanted.where(latest.c.device.in_(ids))
    for row in tx.execute(wanted.order_by(latest.c.gateway, latest.c.device, latest.c.metric)):
        if row.device in ids and not (
            (row.gateway, row.device) in worn and (row.metric in TRACK_METRICS or row.value.startswith('{"lat"'))
        ):
            values.setdefault((row.gateway, row.device), {})[row.metric] = _latest_view(row, now_ms)
    return [
        _device_view(row, values.get((row.gateway, row.id), {}), kinds.get((row.gateway, row.id), [])) for row in rows
    ]


def _device_view(row: Row[Any], values: dict[str, LatestView], kinds: Sequence[str]) -> DeviceView:
    profile = catalogue.profile(row.profile)
    bad = any(value.quality is Quality.BAD for value in values.values())
    state, reason = device_state(Facts(row.online, row.heard_at is not None, row.silent, bad, kinds))
    return DeviceView.model_construct(
        id=row.id, gateway=row.gateway, profile=row.profile, title_zh=profile.title.zh if profile else row.profile,
        title_en=profile.title.en if profile else row.profile, category=profile.category if profile else "other",
        node=row.node, location=row.location, connector=row.connector, address=row.address, state=state, reason=reason,
        alarms=len(kinds), last_seen_at=at_or_none(row.heard_at), latest=values,
    )  # fmt: skip


def gateway_views(tx: Connection, rows: Sequence[Row[Any]]) -> list[GatewayView]:
    """Views of rows of gateways, in their order."""
    names = [row.id for row in rows]
    tallies = ingest.ledger_totals(tx, names) if names else {}
    counts = _device_counts(tx, names)
    return [_gateway_view(row, counts.get(row.id, (0, 0)), _ledger(tallies.get(row.id))) for row in rows]


def _ledger(tally: Any) -> LedgerView:  # noqa: ANN401 - ingest's Tally or None
    return LedgerView(**tally._asdict()) if tally else LedgerView()


def _device_counts(tx: Connection, names: Collection[str]) -> dict[str, tuple[int, int]]:
    """How many devices each gateway has, and how many of them are silent."""
    if not names:
        return {}
    silent = sa.func.sum(sa.case((devices.c.silent, 1), else_=0))
    counted = sa.select(devices.c.gateway, sa.func.count(), silent).where(devices.c.gateway.in_(names))
    rows = tx.execute(counted.group_by(devices.c.gateway))
    return {gateway: (int(total), int(quiet)) for gateway, total, quiet in rows}


def _gateway_view(row: Row[Any], counts: tuple[int, int], ledger: LedgerView) -> GatewayView:
    total, silent = counts
    return GatewayView(
        id=row.id, node=row.node, location=row.location, online=row.online, last_seen_at=at_or_none(row.heard_at),
        changed_at=at_or_none(row.changed_at), agent_version=row.agent_version, boot=row.boot,
        config_hash=row.config_hash, config_version=row.config_version, clock=Clock(row.clock), degraded=row.degraded,
        connectors=_texts(row.connectors), counters=_numbers(row.counters),
        outbox={
            name: LaneView(
                waiting=lane.waiting, bytes=lane.bytes, thinned=lane.thinned,
                oldest_at=at(lane.oldest_ms) if lane.oldest_ms else None,
            )
            for name, lane in _lanes(row.lanes).items()
        },
        ledger=ledger, devices=total, devices_silent=silent, devices_unknown=0 if row.online else total,
    )  # fmt: skip


def announce_gateway(tx: Connection, gateway: str, now_ms: int) -> None:
    """Tell the event stream how a gateway stands now."""
    row = tx.execute(sa.select(gateways).where(gateways.c.id == gateway)).first()
    if row is not None:
        view = gateway_views(tx, [row])[0]
        stream.append(tx, "gateway", view, at=now_ms, node=row.node, gateway=gateway)
