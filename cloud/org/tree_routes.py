"""The HTTP of the tree and of those who use it."""

from __future__ import annotations

from fastapi import APIRouter

from cloud.problems import documented

router = APIRouter(tags=["organisation"], responses=documented(401, 403, 422, 503))
