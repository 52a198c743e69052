"""The pages of campaigns and releases."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from cloud.console.pages import PageRoute

pages = APIRouter(route_class=PageRoute, include_in_schema=False, default_response_class=HTMLResponse)
