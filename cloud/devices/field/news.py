"""Telling open pages that something changed in the field work at a gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud import stream
from cloud.devices.field.models import FieldNews

if TYPE_CHECKING:
    from sqlalchemy import Connection


def tell(
    tx: Connection, gateway: str, node: str, about: str, now_ms: int, *, walk: int | None = None, device: str = "",
    mark: str = "",
) -> None:  # fmt: skip
    """An event of kind `walk`."""
    news = FieldNews(gateway=gateway, about=about, walk=walk, device=device, mark=mark)
    stream.append(tx, "walk", news, at=now_ms, node=node, gateway=gateway, device=device)
