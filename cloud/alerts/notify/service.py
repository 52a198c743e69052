"""What other folders may do with notifications: put a message in, send what is due."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.org.rules import Role
    from cloud.state import AppState
    from firmware_specs.readings import Severity


class Message(NamedTuple):
    """What is to be told, to whom. key: the same key again makes no second delivery."""

    node: str
    subject: str
    subject_id: int
    template: str
    values: dict[str, str]
    severity: Severity
    roles: tuple[Role, ...]
    urgent: bool
    drill: bool
    key: str


def enqueue(tx: Connection, message: Message) -> int:
    """Put a message in; how many deliveries were made."""
    del tx, message
    return 0


async def run(state: AppState) -> None:
    """Background work of the worker role, until cancelled."""
    del state
    await asyncio.Event().wait()
