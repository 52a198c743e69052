"""Every folder's service, loaded: their timers, hooks and importers are in place, and nothing of HTTP with them.

Owns that list. The administrative verbs need no more than this, and start in half the time.
"""

from __future__ import annotations

from typing import Final

from cloud.alerts import selfwatch
from cloud.alerts.notify import service as notify
from cloud.devices.broker import service as broker
from cloud.devices.campaigns import service as campaigns
from cloud.devices.configs import service as configs
from cloud.devices.enrolment import service as enrolment
from cloud.devices.field import service as field
from cloud.devices.firmware import service as firmware
from cloud.devices.health import service as health
from cloud.devices.releases import service as releases
from cloud.devices.remote import service as remote
from cloud.incidents import service as incidents
from cloud.incidents.drills import service as drills
from cloud.incidents.levels import service as levels
from cloud.org import node_files
from cloud.presence import service as presence
from cloud.presence.rosters import service as rosters
from cloud.reports import service as reports
from cloud.reports.hazards import service as hazards

LOADED: Final = (
    node_files, presence, rosters, incidents, levels, drills, notify, reports, hazards, selfwatch,
    enrolment, broker, configs, campaigns, releases, remote, health, field, firmware,
)  # fmt: skip
