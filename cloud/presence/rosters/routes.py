"""The HTTP of members, equipment, shifts and strength."""

from __future__ import annotations

from fastapi import APIRouter

from cloud.problems import documented

router = APIRouter(tags=["rosters"], responses=documented(401, 403, 422, 503))
