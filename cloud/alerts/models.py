"""What the API says of alarms, and what it takes."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cloud.alerts.rules import Why  # noqa: TC001 - pydantic reads it
from cloud.paging import View
from firmware_specs.readings import Clock, Severity  # noqa: TC001 - pydantic reads them

OneLine = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class AlarmState(StrEnum):
    """Where an alarm stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    CLEARED = "cleared"


class ClearReason(StrEnum):
    """Why an alarm is cleared."""

    CONDITION = "condition"
    """The condition ended at the gateway, or the silent one was heard again."""
    MANUAL = "manual"
    SUPERSEDED = "superseded"
    """The same rule raised again and the end of the former was never told: the gateway lost its state."""


class EvidenceView(View):
    """A reading that made the rule decide."""

    metric: str
    value: Any
    observed_at: datetime


class AlarmView(View):
    """One occurrence of an alarm."""

    id: int
    gateway: str
    device: str | None
    """None when the alarm is about the gateway itself."""
    location: str
    kind: str
    title_zh: str
    title_en: str
    severity: Severity
    state: AlarmState
    raised_at: datetime
    """Event time."""
    received_at: datetime
    """When the cloud heard of it."""
    late: bool
    """More than 15 minutes old on arrival."""
    drill: bool
    clock: Clock
    occurrence: str
    rule: str
    rule_version: str
    evidence: list[EvidenceView]
    acknowledged_at: datetime | None
    """Stays None on an alarm that cleared before anybody acknowledged it."""
    acknowledged_by: str | None
    cleared_at: datetime | None
    cleared_by: str | None
    clear_reason: ClearReason | None
    assigned_to: str | None
    shelved_until: datetime | None
    shelve_reason: str | None
    folded_into: int | None
    """The alarm that stands for this one: the gateway's outage, or another rule's alarm of the same kind."""
    folded: int
    """How many open alarms this one stands for."""
    node: str
    """The organisation node that it belongs to."""
    quiet: Why
    """Why it tells nobody; empty when it does. Of a cleared alarm: what held at the end."""
    protected: bool
    """Nothing silences its kind."""
    silence: int | None
    """The silence that covers it."""
    maintenance: int | None
    """The maintenance that covers it; a protected kind is told all the same unless its very device is named."""
    inhibited_by: int | None
    """The alarm whose cause explains this one."""
    group_key: str | None
    """The same for alarms that belong together: one family of kinds, one building, a minute apart at most."""
    grouped: int
    """How many alarms of its group are not cleared."""
    flapping: bool
    flap: float
    """Raises and clears of its kind on its device, each halving in ten minutes."""
    escalation: int
    """How many tellings were made since it was raised, or came back."""
    drill_id: int | None


class HistoryEntry(View):
    """One thing that happened to an alarm."""

    at: datetime
    actor: str
    action: str
    """raised, acknowledged, cleared, superseded, comment, assigned, shelved, unshelved, folded, unfolded, silenced,
    maintenance, inhibited, returned, told, escalated, repeated, grouped, digested."""
    detail: str


class AlarmDetail(AlarmView):
    """An alarm with everything that happened to it, oldest first."""

    history: list[HistoryEntry]


class OpenCounts(View):
    """Alarms that are not cleared nor folded, within the caller's scope; the same predicate as the list."""

    open: int
    acknowledged: int
    by_severity: dict[Severity, int]
    unacknowledged_cleared: int = 0
    """Cleared in the last day and never acknowledged."""


class AlarmFilter(BaseModel):
    """Which alarms a list shows; empty means any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: tuple[AlarmState, ...] = ()
    gateway: str | None = None
    device: str | None = None
    kind: str | None = None
    severity: tuple[Severity, ...] = ()
    drill: bool | None = None
    folded: bool | None = None
    """False hides those that another stands for."""
    silenced: bool | None = None
    maintenance: bool | None = None
    """Under maintenance, or not."""
    flapping: bool | None = None
    quiet: bool | None = None
    """True shows those that tell nobody, for whatever reason."""
    node: Annotated[str, StringConstraints(pattern=r"^/([0-9]{1,19}/)*$", max_length=255)] | None = None
    """Only what belongs to this node or to one below it."""
    group: Annotated[str, StringConstraints(max_length=500)] | None = None
    """Only those of a `group_key`."""
    raised_from: datetime | None = None
    raised_to: datetime | None = None


class Command(BaseModel):
    """The body of a POST; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class Note(Command):
    """An optional remark on an acknowledgement or a clear."""

    comment: OneLine | None = None


class Comment(Command):
    """A remark."""

    comment: OneLine


class Assign(Command):
    """Who takes care of it; null for nobody."""

    user: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None


class Shelve(Command):
    """Take an alarm out of sight for a while; seconds 0 brings it back."""

    seconds: Annotated[int, Field(ge=0, le=7 * 86400)]
    reason: OneLine
