"""The cloud service, wired: stores, routes, background work.

The only module that builds and joins parts. Roles: `api` serves HTTP, `ingest` takes in packs, `worker` judges
deadlines and keeps house, `all` does everything. Health and metrics are served in every role.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry

import cloud.alerts.routes
import cloud.devices.releases.serving
import cloud.devices.routes
import cloud.org.routes
import cloud.stream_routes
from cloud import catalogue, health, parts, problems, schema, work
from cloud.broadcast import Broadcaster
from cloud.console import errors
from cloud.console import routes as console
from cloud.db import open_database
from cloud.devices.liveness import Allowed
from cloud.http import Guard
from cloud.ingest.consumer import IngestService
from cloud.ingest.metrics import IngestMetrics
from cloud.listen import listen
from cloud.org import zones
from cloud.state import AppState
from cloud.telemetry.store import Retention, open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from cloud.config import Config
    from cloud.db import Database
    from cloud.telemetry.store import TelemetryStore

    Job = Callable[[], Coroutine[Any, Any, None]]
    Failed = Callable[[str, BaseException], None]

API: Final = "/api/v1"
log: Final = structlog.get_logger("cloud")


class Role(StrEnum):
    """What a process does."""

    ALL = "all"
    API = "api"
    INGEST = "ingest"
    WORKER = "worker"


def open_stores(config: Config) -> tuple[Database, TelemetryStore]:
    """Open and migrate the database, open the telemetry store. Raises StoreError."""
    db = open_database(config.database.url, config.data_dir, config.database.password())
    try:
        schema.migrate(db)
        kept = config.telemetry
        retention = Retention(kept.raw_days, kept.minute_days, kept.hour_days, kept.position_days)
        return db, open_store(kept.url, config.data_dir, token=kept.token(), retention=retention)
    except BaseException:
        db.close()
        raise


def create_app(config: Config, role: Role = Role.ALL, failed: Failed | None = None) -> FastAPI:
    """The service for a configuration and role; stores are opened now, background work starts with the server.

    failed: called with a task's name and its error when background work ends by one.
    Raises StoreError when a store cannot be reached.
    """
    zones.use(config.time_zone)
    for error in catalogue.use(config.profiles_dir):
        log.warning("profile refused", error=str(error))
    db, telemetry = open_stores(config)
    broadcaster = Broadcaster(
        db, config.http.stream_queue, config.http.heartbeat_s, poll_s=1.0 if role is Role.ALL else 0.1
    )
    state = AppState(config, db, telemetry, broadcaster)
    registry = CollectorRegistry()
    ingest = None
    if role in {Role.ALL, Role.INGEST}:
        limits = config.limits
        ingest = IngestService(
            config.broker, db, telemetry, IngestMetrics(registry), late_s=limits.late_s, sos_s=limits.sos_s
        )
    app = FastAPI(
        title="PatrolGrid",
        version="1",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lambda _app: _lifespan(state, _jobs(state, role, ingest), failed),
    )
    app.state.patrol = state
    app.include_router(health.router(state, ingest, registry))
    if role in {Role.ALL, Role.API}:
        app.include_router(_api())
        app.include_router(console.router(state))
        app.include_router(cloud.devices.releases.serving.router)
    problems.install(app)
    if role in {Role.ALL, Role.API}:
        errors.install(app)
    _describe(app)
    app.add_middleware(Guard, body_bytes=config.limits.body_bytes, pictures=config.map.host)
    return app


def _api() -> APIRouter:
    api = APIRouter(prefix=API)
    for part in (cloud.devices.routes, cloud.alerts.routes, cloud.org.routes, cloud.stream_routes):
        api.include_router(part.router)
    for router in parts.API:
        api.include_router(router)
    return api


def _jobs(state: AppState, role: Role, ingest: IngestService | None) -> dict[str, Job]:
    """The background work of a role, by name."""
    jobs: dict[str, Job] = {}
    broadcaster = state.broadcaster
    if role in {Role.ALL, Role.API}:
        jobs |= {"stream-pump": broadcaster.pump, "stream-live": broadcaster.live}
        jobs |= {name: partial(run, state) for name, run in parts.SERVED.items()}
        if not state.db.sqlite:
            jobs["stream-listen"] = lambda: listen(state.db, broadcaster.committed)
    if role in {Role.ALL, Role.WORKER}:
        liveness = state.config.liveness
        allowed = Allowed(round(liveness.gateway_s * 1000), round(liveness.device_grace_s * 1000))
        jobs |= {"deadlines": lambda: work.judge(state, allowed), "housekeeping": lambda: work.keep_house(state)}
        jobs |= {name: partial(run, state) for name, run in parts.WORK.items()}
    if ingest:
        jobs["ingest"] = ingest.run
    return jobs


@asynccontextmanager
async def _lifespan(state: AppState, jobs: dict[str, Job], failed: Failed | None) -> AsyncIterator[None]:
    """One task group for everything in the background."""

    def ended(task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.critical("background work failed", task=task.get_name(), exc_info=error)
            if failed:
                failed(task.get_name(), error)

    try:
        await state.broadcaster.begin()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job(), name=name) for name, job in jobs.items()]
            for task in tasks:
                task.add_done_callback(ended)
            yield
            state.broadcaster.close()
            for task in tasks:
                task.cancel()
    finally:
        state.telemetry.close()
        state.db.close()


def _describe(app: FastAPI) -> None:
    """Make the OpenAPI document tell the truth: problem documents instead of FastAPI's own validation errors."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document: dict[str, Any] = plain()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        made = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= made.pop("$defs", {}) | {"Problem": made}
        document["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer"},
            "session": {"type": "apiKey", "in": "cookie", "name": "patrolgrid_session"},
        }
        document["security"] = [{"token": []}, {"session": []}]
        return document

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way to extend it
