"""The HTTP of response levels."""

from __future__ import annotations

from fastapi import APIRouter

from cloud.problems import documented

router = APIRouter(tags=["levels"], responses=documented(401, 403, 422, 503))
