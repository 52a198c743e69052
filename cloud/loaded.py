"""Every folder's service, loaded: their timers, hooks and importers are in place, and nothing of HTTP with them.

Owns that list. The administrative verbs need no more than this, and start in half the time.
"""

from __future__ import annotations

from typing import Final

from cloud.alerts import selfwatch
from cloud.alerts.notify import service as notify
from cloud.incidents import service as incidents
from cloud.incidents.drills import service as drills
from cloud.incidents.levels import service as levels
from cloud.org import node_files
from cloud.presence import service as presence
from cloud.presence.rosters import service as rosters
from cloud.reports import service as reports
from cloud.reports.hazards import service as hazards

LOADED: Final = (node_files, presence, rosters, incidents, levels, drills, notify, reports, hazards, selfwatch)
