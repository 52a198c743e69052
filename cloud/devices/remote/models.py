"""What the API takes and says of remote help."""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - pydantic reads it
from datetime import datetime  # noqa: TC003 - pydantic reads it
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cloud.devices.remote.rules import MAX_TTL_S, Phase
from cloud.paging import View

Word = Annotated[str, StringConstraints(max_length=64)]
Text = Annotated[str, StringConstraints(max_length=256)]


class NewCommand(BaseModel):
    """Something to ask of a gateway."""

    model_config = ConfigDict(extra="forbid")

    kind: Word
    """`check`, `log-tail`, `restart-connector`, `diagnostics`, `stop`."""
    arguments: Annotated[dict[Word, Text], Field(max_length=8)] = {}
    """log-tail: `lines` (0-500), `follow_s` (0-600); restart-connector: `name`; stop: `id` of a command that runs."""
    ttl_s: Annotated[int, Field(ge=5, le=MAX_TTL_S)] = 60
    """A gateway that has not heard of it within this does not do it any more."""


class BundleView(View):
    """A file that a gateway made."""

    size: int
    sha256: str
    until: datetime
    """When it is deleted."""


class CommandView(View):
    """A command and what came of it."""

    id: str
    gateway: str
    node: str
    kind: str
    arguments: dict[str, str]
    phase: Phase
    reason: str = ""
    """Why it was refused, failed or ended early."""
    asked_by: str
    issued_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    parts: Sequence[str] = ()
    """The answer as it came, part by part; empty for a file."""
    next_part: int = 0
    """Ask with `after` this for what comes next."""
    known_parts: int = 0
    """How many parts there are, those that got lost included."""
    missing: int = 0
    """Parts that got lost on the way."""
    bundle: BundleView | None = None
    """The file that came, for who asked and for administrators to take."""


class CommandNews(View):
    """That a command moved on, for the live stream; what it said is for who may ask."""

    id: str
    gateway: str
    kind: str
    phase: Phase
    parts: int
