"""The HTTP of configuration."""

from __future__ import annotations

from fastapi import APIRouter

from cloud.problems import documented

router = APIRouter(tags=["configuration"], responses=documented(401, 403, 422, 503))
