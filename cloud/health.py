"""`/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from prometheus_client import generate_latest

from cloud import metrics, schema
from cloud.alerts import service as alerts
from cloud.devices import service as devices
from cloud.devices.health import service as health
from cloud.errors import Unavailable
from cloud.org.rules import SYSTEM
from cloud.problems import documented
from cloud.state import now_ms

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from cloud.ingest.consumer import IngestService
    from cloud.state import AppState

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def router(state: AppState, ingest: IngestService | None, registry: CollectorRegistry) -> APIRouter:
    """The routes, for one process."""
    made = APIRouter(tags=["health"])

    @made.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process is alive."""
        return {"status": "alive"}

    @made.get("/readyz", responses=documented(503))
    def readyz() -> dict[str, str]:
        """It can serve: the database answers and has our schema, and packs are taken in."""
        with state.db.read() as tx:
            if schema.current(tx) != schema.head():
                raise Unavailable("database: another revision of the schema than this program's")
        fault = ingest.readiness() if ingest else ""
        if fault:
            raise Unavailable(f"ingest: {fault}")
        return {"status": "ready"}

    @made.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def figures() -> Response:
        """Prometheus text."""
        with state.db.read() as tx:
            fleet = devices.state_counts(tx, SYSTEM)
            judged = health.counts(tx, SYSTEM)
            alarms = alerts.open_counts(tx, SYSTEM, now_ms())
        metrics.GATEWAYS.labels("online").set(fleet.gateways_online)
        metrics.GATEWAYS.labels("offline").set(fleet.gateways_offline)
        for health_state, count in judged.items():
            metrics.GATEWAY_HEALTH.labels(health_state.value).set(count)
        for device_state, count in fleet.devices.items():
            metrics.DEVICES.labels(device_state.value).set(count)
        metrics.ALARMS.labels("open").set(alarms.open)
        metrics.ALARMS.labels("acknowledged").set(alarms.acknowledged)
        for name, figure in state.telemetry.stats().items():
            metrics.TELEMETRY.labels(name).set(figure)
        return Response(metrics.render() + generate_latest(registry), media_type=PROMETHEUS)

    return made
