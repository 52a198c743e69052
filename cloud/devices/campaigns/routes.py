"""The HTTP of campaigns."""

from __future__ import annotations

from fastapi import APIRouter

from cloud.problems import documented

router = APIRouter(tags=["campaigns"], responses=documented(401, 403, 422, 503))
