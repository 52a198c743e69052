"""What the API says of response levels, and what it takes."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cloud.org.node_models import NodePath  # noqa: TC001 - pydantic reads it
from cloud.org.rules import Role  # noqa: TC001 - pydantic reads it
from cloud.org.tree import Kind  # noqa: TC001 - pydantic reads it
from cloud.paging import View

Level = Annotated[int, Field(ge=1, le=4)]
OneLine = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Percent = Annotated[int, Field(ge=1, le=1000)]


class DeclarationState(StrEnum):
    """Where a declaration stands."""

    PENDING = "pending"
    """Somebody else must approve it."""
    APPROVED = "approved"
    """In force between its start and its end."""
    REJECTED = "rejected"
    ENDED = "ended"
    """Ended by hand, by a level 4, or before anybody decided."""
    EXPIRED = "expired"


class DeclarationView(View):
    """One declaration of a level."""

    id: int
    node: str
    node_zh: str
    node_en: str
    level: int
    reason: str
    scope: str
    """What it is about."""
    starts_at: datetime
    ends_at: datetime
    state: DeclarationState
    in_force: bool
    """Judged by time: approved, begun and not over."""
    declared_at: datetime
    declared_by: str
    approver: Role
    """Whose approval it takes, or took; whoever declared it never approves it."""
    decided_at: datetime | None
    decided_by: str | None
    decision_note: str
    ended_at: datetime | None
    ended_by: str | None
    drill: int | None
    """The drill that it belongs to; it changes nothing that is real."""


class NodeLevel(View):
    """The level that holds for a node now."""

    node: str
    name_zh: str
    name_en: str
    kind: Kind
    depth: int
    """How many nodes are above it; 0 for the root."""
    level: int
    declared: int | None
    """The node's own level, None when only what is above it counts."""
    since_node: str
    """The node whose declaration decides; the node itself when it is its own, or routine."""
    since_zh: str
    since_en: str
    until: datetime | None
    """When that declaration ends; None when routine."""
    declaration: int | None
    """Its id, when the caller may see it."""
    pending: int
    """Declarations for this node that await approval."""


class Outlook(View):
    """What would become of a declaration."""

    approver: Role | None
    """Whose approval it takes; None when it takes effect at once."""
    blocked_level: int | None
    """The stricter level above that forbids it."""
    blocked_zh: str
    blocked_en: str


class LevelEvent(View):
    """What the event stream says: something about a node's level has changed."""

    node: str
    level: int
    """Effective now."""
    declaration: int
    state: DeclarationState
    drill: int | None


class PolicyView(View):
    """What a level demands at a node."""

    level: int
    headcount_percent: int
    revisit_percent: int
    reporting_s: int
    escalation_percent: int
    source: str | None
    """The node that it was set for; None for the built-in one."""


class PolicyTable(View):
    """What each level demands at a node, routine first."""

    node: str
    items: list[PolicyView]


class ApproverView(View):
    """Which role approves levels below a node."""

    node: str
    role: Role


class Command(BaseModel):
    """The body of a POST or PUT; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class Declare(Command):
    """A level for a node. Level 4 ends the node's own stricter ones at once and takes no times."""

    node: NodePath
    level: Level
    reason: OneLine
    scope: Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)] = ""
    starts_at: datetime | None = None
    """From now when it is missing."""
    ends_at: datetime | None = None


class Renew(Command):
    """The same level for longer; decided anew."""

    ends_at: datetime
    reason: OneLine


class Decision(Command):
    """A remark on an approval or an end."""

    note: Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)] = ""


class Refusal(Command):
    """Why it is rejected."""

    note: OneLine


class PolicyRow(Command):
    """What a level demands."""

    level: Level
    headcount_percent: Percent
    revisit_percent: Percent
    reporting_s: Annotated[int, Field(ge=5, le=86_400)]
    escalation_percent: Percent


class PutPolicies(Command):
    """The policy of a node; levels that are left out stay as they are inherited. None at all: inherit everything."""

    node: NodePath
    rows: Annotated[list[PolicyRow], Field(max_length=4)]


class PutApprover(Command):
    """Which role approves below a node; null to inherit it."""

    node: NodePath
    role: Role | None
