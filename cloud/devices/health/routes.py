"""The HTTP of fleet health."""

from __future__ import annotations

from fastapi import APIRouter

from cloud.problems import documented

router = APIRouter(tags=["fleet health"], responses=documented(401, 403, 422, 503))
