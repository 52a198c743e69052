"""What the service is made of beside its spine: routers, background work, and what enters itself when it is loaded.

Owns the lists that `cloud.app` builds from. Importing it loads every folder, so that a worker without HTTP acts the
same as one with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cloud.alerts.notify.routes
import cloud.alerts.ops_routes
import cloud.devices.broker.routes
import cloud.devices.campaigns.routes
import cloud.devices.configs.routes
import cloud.devices.enrolment.routes
import cloud.devices.field.routes
import cloud.devices.firmware.routes
import cloud.devices.health.routes
import cloud.devices.releases.routes
import cloud.devices.remote.routes
import cloud.incidents.drills.routes
import cloud.incidents.levels.routes
import cloud.incidents.routes
import cloud.maps.routes
import cloud.org.account_routes
import cloud.org.tree_routes
import cloud.presence.rosters.routes
import cloud.presence.routes
import cloud.reports.hazards.routes
import cloud.reports.routes
from cloud.alerts import selfwatch
from cloud.alerts.notify import service as notify
from cloud.devices.broker import keeping as broker
from cloud.devices.enrolment import listener
from cloud.devices.enrolment import watch as authority
from cloud.devices.releases import work as releases
from cloud.loaded import LOADED
from cloud.presence import service as presence
from cloud.reports import service as reports

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from cloud.state import AppState

API: Final = (
    cloud.org.tree_routes.router,
    cloud.org.account_routes.router,
    cloud.maps.routes.router,
    cloud.alerts.ops_routes.router,
    cloud.alerts.notify.routes.router,
    cloud.presence.routes.router,
    cloud.presence.rosters.routes.router,
    cloud.incidents.routes.router,
    cloud.incidents.levels.routes.router,
    cloud.incidents.drills.routes.router,
    cloud.reports.routes.router,
    cloud.reports.hazards.routes.router,
    cloud.devices.enrolment.routes.router,
    cloud.devices.broker.routes.router,
    cloud.devices.configs.routes.router,
    cloud.devices.campaigns.routes.router,
    cloud.devices.releases.routes.router,
    cloud.devices.remote.routes.router,
    cloud.devices.health.routes.router,
    cloud.devices.field.routes.router,
    cloud.devices.firmware.routes.router,
)
"""Routers below `/api/v1`."""

WORK: Final[dict[str, Callable[[AppState], Coroutine[Any, Any, None]]]] = {
    "presence": presence.run,
    "notify": notify.run,
    "reports": reports.run,
    "self-watch": selfwatch.run,
    "broker": broker.run,
    "authority": authority.run,
    "releases": releases.run,
}
"""Background work of the worker role, by name."""
SERVED: Final[dict[str, Callable[[AppState], Coroutine[Any, Any, None]]]] = {"est": listener.run}
"""Background work of the api role, by name."""
assert LOADED  # noqa: S101 - what enters itself when it is loaded
