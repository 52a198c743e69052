"""What the API says of users and tokens, and what it takes."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cloud.org.node_models import NodePath  # noqa: TC001 - pydantic reads it
from cloud.org.rules import ROOT, Role
from cloud.paging import View
from firmware_specs.readings import NAME_PATTERN

AccountName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Subject = Annotated[str, StringConstraints(strip_whitespace=True, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]


class UserView(View):
    """A user, without the password's hash."""

    name: str
    role: Role
    node: str
    created_at: datetime
    disabled: bool
    subject: str | None = None
    """The account of the identity provider that signs in as this user."""


class TokenView(View):
    """An API token, without its secret."""

    id: int
    name: str
    role: Role
    node: str
    created_at: datetime
    expires_at: datetime | None
    in_force: bool
    owner: str | None
    """Who made it, and whose word it is where two people are asked for; None when made at the command line."""


class NewUser(BaseModel):
    """A user to be made."""

    model_config = ConfigDict(extra="forbid")

    name: AccountName
    role: Role
    node: NodePath = ROOT
    subject: Subject | None = None


class MadeUser(View):
    """A new user, or one with a new password, which is told this once."""

    user: UserView
    password: str


class ChangedUser(BaseModel):
    """What is to be other; what is absent stays."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    role: Role = Role.PROPERTY
    node: NodePath = ROOT
    disabled: bool = False
    subject: Subject | None = None
    """`issuer|sub` of the account, or `claim:value` that links it at its first sign-in; null takes the link away."""

    def changes(self) -> dict[str, Any]:
        """What was given."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return given | ({"subject": given["subject"] or None} if "subject" in given else {})


class NewToken(BaseModel):
    """A token to be made. days: until it expires; null for never."""

    model_config = ConfigDict(extra="forbid")

    name: AccountName
    role: Role = Role.DISPATCHER
    node: NodePath = ROOT
    days: Annotated[float, Field(gt=0, le=3660, allow_inf_nan=False)] | None = None


class MadeToken(View):
    """A new token, which is told this once."""

    id: int
    name: str
    token: str
