"""The HTTP of field work."""

from __future__ import annotations

from fastapi import APIRouter

from cloud.problems import documented

router = APIRouter(tags=["field work"], responses=documented(401, 403, 422, 503))
