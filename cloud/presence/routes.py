"""The HTTP of presence and coverage."""

from __future__ import annotations

from fastapi import APIRouter

from cloud.problems import documented

router = APIRouter(tags=["presence"], responses=documented(401, 403, 422, 503))
