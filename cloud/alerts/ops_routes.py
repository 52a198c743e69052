"""The HTTP of silences, maintenance and escalation chains."""

from __future__ import annotations

from fastapi import APIRouter

from cloud.problems import documented

router = APIRouter(tags=["alarms"], responses=documented(401, 403, 422, 503))
