"""What other folders may do with notifications: put a message in, see what became of it, send what is due."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from cloud.alerts.notify.models import DeliveryView

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.org.rules import Role
    from cloud.state import AppState
    from firmware_specs.readings import Severity

__all__ = ["DeliveryView", "Message", "deliveries_of", "enqueue", "failing", "run"]


class Message(NamedTuple):
    """Something to tell.

    key: what makes a repeat of it the same. digest: it comes and goes and may wait for others.
    """

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
    users: tuple[str, ...] = ()
    digest: bool = False


def enqueue(tx: Connection, message: Message, now_ms: int | None = None) -> int:
    """Put a message in; how many deliveries were made."""
    del tx, message, now_ms
    return 0


def deliveries_of(tx: Connection, subject: str, subject_id: int) -> list[DeliveryView]:
    """What was told of one thing, oldest first."""
    del tx, subject, subject_id
    return []


def failing(tx: Connection, now_ms: int) -> list[str]:
    """The names of channels whose deliveries fail since five minutes."""
    del tx, now_ms
    return []


async def run(state: AppState) -> None:
    """Background work of the worker role, until cancelled."""
    del state
    await asyncio.Event().wait()
