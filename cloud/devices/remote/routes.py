"""The HTTP of remote help."""

from __future__ import annotations

from fastapi import APIRouter

from cloud.problems import documented

router = APIRouter(tags=["remote help"], responses=documented(401, 403, 422, 503))
