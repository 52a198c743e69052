"""The HTTP of enrolment."""

from __future__ import annotations

from fastapi import APIRouter

from cloud.problems import documented

router = APIRouter(tags=["enrolment"], responses=documented(401, 403, 422, 503))
