"""What the API says of silences, maintenance, chains and explanations, and what it takes."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from cloud.alerts.models import AlarmState, Command, EvidenceView, OneLine
from cloud.alerts.rules import Purpose, Why
from cloud.org.node_models import NodePath  # noqa: TC001 - pydantic reads it
from cloud.org.rules import Role  # noqa: TC001 - pydantic reads it
from cloud.paging import View
from firmware_specs.readings import NAME_PATTERN, Severity

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=64)]
KindName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
MAX_S: Final = 30 * 86400
"""A silence or maintenance lasts 30 days at most; then somebody has to mean it again."""


class SilenceBody(Command):
    """Have alarms tell nobody for a time. What is left out means any."""

    purpose: Purpose = Purpose.SILENCE
    node: NodePath | None = None
    """The device's, the gateway's or one's own when it is left out."""
    gateway: Name | None = None
    device: Name | None = None
    kind: KindName | None = None
    reason: OneLine
    seconds: Annotated[int, Field(ge=60, le=MAX_S)]
    starts_in_s: Annotated[int, Field(ge=0, le=MAX_S)] = 0

    @model_validator(mode="after")
    def _device_of_a_gateway(self) -> SilenceBody:
        if self.device is not None and self.gateway is None:
            raise ValueError("device: names are unique within their gateway; say which")
        return self


class SilenceView(View):
    """A silence or a maintenance."""

    id: int
    purpose: Purpose
    node: str
    gateway: str | None
    device: str | None
    kind: str | None
    reason: str
    owner: str
    created_at: datetime
    starts_at: datetime
    ends_at: datetime
    ended_at: datetime | None
    ended_by: str | None
    active: bool
    """In force now."""
    quiet: int
    """How many open alarms it keeps quiet now."""
    loud: int
    """How many open alarms within it stay loud, since nothing silences their kinds."""
    never_silenced: list[str]
    """The protected kinds: no silence covers them, and a maintenance only when it names their device."""


class SilenceFilter(BaseModel):
    """Which silences a list shows; empty means any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    purpose: Purpose | None = None
    active: bool | None = None


class StepView(View):
    """Whom to tell after how long, `up` levels further up the tree."""

    after_s: int
    roles: list[Role]
    up: int
    roster: bool
    """The accounts of members on duty are told too."""


class StepBody(Command):
    """The same, as it is given."""

    after_s: Annotated[int, Field(ge=0, le=7 * 86400)]
    roles: Annotated[list[Role], Field(min_length=1, max_length=6)]
    up: Annotated[int, Field(ge=0, le=8)] = 0
    roster: bool = False


class ChainBody(Command):
    """Who is told of an alarm that nobody acknowledges. kinds: empty for all."""

    node: NodePath | None = None
    """One's own when it is left out."""
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
    kinds: Annotated[list[KindName], Field(default_factory=list, max_length=50)]
    min_severity: Severity = Severity.WARNING
    steps: Annotated[list[StepBody], Field(min_length=1, max_length=10)]
    repeat_s: Annotated[int, Field(ge=0, le=7 * 86400)] = 0
    """0: the last step is not repeated."""

    @model_validator(mode="after")
    def _in_order(self) -> ChainBody:
        times = [step.after_s for step in self.steps]
        if times != sorted(set(times)):
            raise ValueError("steps: each must come after the one before it")
        if 0 < self.repeat_s < 60:
            raise ValueError("repeat_s: 0, or 60 at least")
        return self


class ChainView(View):
    """An escalation chain."""

    id: int
    node: str
    name: str
    kinds: list[str]
    min_severity: Severity
    steps: list[StepView]
    repeat_s: int
    updated_at: datetime


class ReasonKind(StrEnum):
    """Something that has to do with whether an alarm tells anybody."""

    FOLDED = "folded"
    SHELVED = "shelved"
    MAINTENANCE = "maintenance"
    SILENCE = "silence"
    INHIBITED = "inhibited"
    SPARED = "spared"
    """A silence covers it, and its kind is protected."""
    MARKED = "marked"
    """A maintenance covers it, and its kind is protected: it is told all the same."""
    GROUPED = "grouped"
    """Another alarm of its group tells for it."""
    FLAPPING = "flapping"
    DRILL = "drill"


class Reason(View):
    """One of them, in words. id: of the alarm, silence or maintenance that it is about."""

    kind: ReasonKind
    text_zh: str
    text_en: str
    id: int | None = None
    until: datetime | None = None


class RuleView(View):
    """What judged. known: the profile that is loaded is the version that judged, so the words are its words."""

    name: str
    version: str
    known: bool
    text_zh: str
    text_en: str


class Told(View):
    """One message to one channel about an alarm."""

    channel: str
    status: str
    at: datetime
    ended_at: datetime | None


class NextStep(View):
    """The telling that comes when nobody acknowledges."""

    due_at: datetime
    step: int
    steps: int
    repetition: int
    roles: list[Role]
    node: str


class Explanation(View):
    """Why an alarm was raised, whom it told, what kept it quiet, and what comes next."""

    alarm: int
    state: AlarmState
    rule: RuleView
    evidence: list[EvidenceView]
    quiet: Why
    """What keeps it quiet now; empty when people are told. Of a cleared alarm: what did last."""
    reasons: list[Reason]
    group: list[int]
    """The alarms of its group, itself among them, oldest first; at most 100."""
    flap: float
    flapping: bool
    chain: str
    chain_id: int | None
    """None for a built-in chain."""
    percent: int
    """Of the chain's times, by the response level in force."""
    taken: int
    """Tellings of this round."""
    told: list[Told]
    next: NextStep | None
