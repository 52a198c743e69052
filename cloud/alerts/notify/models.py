"""What the API says of channels and deliveries, and what it takes."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from cloud.alerts.notify.targets import MOST, Kind
from cloud.org.node_models import NodePath  # noqa: TC001 - pydantic reads it
from cloud.org.rules import ROOT, Role
from cloud.paging import View
from firmware_specs.readings import Severity

Language = Literal["zh", "en"]
RATE: Final = 20


def _listener(text: str) -> str:
    name = text.removeprefix("user:")
    if text not in set(Role) and (name == text or not name.isprintable()):
        raise ValueError(f"neither a role ({', '.join(Role)}) nor user:NAME")
    return text


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has characters that cannot be shown")
    return text


Listener = Annotated[str, StringConstraints(min_length=1, max_length=69), AfterValidator(_listener)]
Audience = Annotated[
    list[Listener], Field(min_length=1, max_length=20), AfterValidator(lambda given: sorted(set(given)))
]  # fmt: skip
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64), AfterValidator(_line)
]  # fmt: skip
Address = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST)]
Secret = Annotated[str, StringConstraints(min_length=16, max_length=200), AfterValidator(_line)]
Rate = Annotated[int, Field(ge=1, le=600)]


class ChannelIn(BaseModel):
    """A new channel."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: Name
    node: NodePath = ROOT
    """It hears what happens here and below."""
    kind: Kind = Kind.WEBHOOK
    target: Address
    """Where to: `https://…` for a webhook, an address of apprise else. Never shown again."""
    secret: Secret | None = None
    """What a webhook's messages are signed with; made and shown once when it is left out."""
    language: Language = "zh"
    audience: Audience
    """Roles, or `user:NAME`."""
    min_severity: Severity = Severity.WARNING
    """What is less severe is not told, unless it is urgent."""
    sandbox: bool = False
    """Drills go here, and only drills."""
    enabled: bool = True
    rate: Rate = RATE
    """Messages a minute; beyond, those that are not urgent go as one."""


class ChannelChange(BaseModel):
    """What is to be different; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    target: Address | None = None
    secret: Secret | None = None
    language: Language | None = None
    audience: Audience | None = None
    min_severity: Severity | None = None
    sandbox: bool | None = None
    enabled: bool | None = None
    rate: Rate | None = None


class ChannelState(StrEnum):
    """How a channel does."""

    OFF = "off"
    FRESH = "fresh"
    """It has not sent anything yet."""
    WORKING = "working"
    FAILING = "failing"


class ChannelView(View):
    """A channel. Its target and secret are never shown."""

    id: int
    name: str
    node: str
    kind: Kind
    target: str
    """What may be shown of it."""
    language: Language
    audience: list[str]
    min_severity: Severity
    sandbox: bool
    enabled: bool
    rate: int
    state: ChannelState
    failing_since: datetime | None
    last_ok_at: datetime | None
    last_error: str
    waiting: int
    """Deliveries that have not ended."""


class ChannelMade(ChannelView):
    """A new channel, and what its receiver needs to know."""

    secret: str | None
    """The secret that was made for it; shown this once."""


class Status(StrEnum):
    """Where a delivery stands."""

    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"
    DIGESTED = "digested"
    """It went as part of another: `digest`."""


class DeliveryView(View):
    """One message to one channel."""

    id: int
    channel: int
    channel_name: str
    """Empty when the channel is gone."""
    node: str
    subject: str
    subject_id: int
    title: str
    body: str
    urgent: bool
    drill: bool
    status: Status
    attempts: int
    created_at: datetime
    next_at: datetime | None
    ended_at: datetime | None
    receipt: str
    """What the other side answered, or why it failed."""
    digest: int | None


class DeliveryFilter(BaseModel):
    """Which deliveries a list shows; empty means any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channel: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    status: tuple[Status, ...] = ()
    subject: Annotated[str, StringConstraints(max_length=16)] | None = None
    subject_id: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    urgent: bool | None = None
