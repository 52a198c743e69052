"""What a broker asks over HTTP, and what it is answered; the shape that EMQX has for both."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cloud.devices.broker.rules import Action  # noqa: TC001 - pydantic reads it
from cloud.paging import View


class Decision(StrEnum):
    """What the broker is to do."""

    ALLOW = "allow"
    DENY = "deny"


class ConnectAsked(BaseModel):
    """A client that wants to connect. The broker has checked its certificate."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    cn: Annotated[str, Field(max_length=256)]
    """The common name of its certificate."""
    clientid: Annotated[str, Field(max_length=256)]
    """What it calls itself; for a gateway nothing but its name."""


class TopicAsked(BaseModel):
    """A client that wants to publish or subscribe."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    cn: Annotated[str, Field(max_length=256)]
    action: Action
    topic: Annotated[str, Field(max_length=65535)]
    """A topic, or the filter of a subscription."""


class Answered(View):
    """The answer."""

    result: Decision
    is_superuser: bool = False
    """Whether the broker need not ask again about topics."""
