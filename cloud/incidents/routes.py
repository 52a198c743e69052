"""The HTTP of incidents and their plans."""

from __future__ import annotations

from fastapi import APIRouter

from cloud.problems import documented

router = APIRouter(tags=["incidents"], responses=documented(401, 403, 422, 503))
