"""Files that gateways send as the answer to a command: base64 in parts, put together when somebody takes them.

Owns what makes them whole: every part there, decodable, and the SHA-256 that the gateway told at the end.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloud.devices.remote.models import BundleView
from cloud.devices.remote.rules import KEPT_MS
from cloud.devices.remote.store import parts
from cloud.paging import at

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row


def data(tx: Connection, command: str) -> bytes | None:
    """The file, None when there is none or it is not whole."""
    rows = tx.execute(sa.select(parts.c.part, parts.c.text).where(parts.c.command == command).order_by(parts.c.part))
    texts = []
    for number, (part, text) in enumerate(rows):
        if part != number:
            return None
        texts.append(text)
    try:
        return base64.b64decode("".join(texts), validate=True) if texts else None
    except (binascii.Error, ValueError):
        return None


def fault(tx: Connection, command: str, told: str) -> str:
    """Why what came is not the file that the gateway made, empty when it is. told: its word, `sha256:<hex>`."""
    whole = data(tx, command)
    if whole is None:
        return "the file came with parts missing"
    return "" if told == f"sha256:{hashlib.sha256(whole).hexdigest()}" else "the file came damaged"


def view(tx: Connection, row: Row[Any]) -> BundleView | None:
    """What is there to take."""
    whole = data(tx, row.id)
    if whole is None:
        return None
    until = at((row.ended_at or row.issued_at) + KEPT_MS)
    return BundleView(size=len(whole), sha256=hashlib.sha256(whole).hexdigest(), until=until)
