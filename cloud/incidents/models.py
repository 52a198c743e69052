"""What the API says of incidents, and what it takes."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from cloud.errors import Invalid
from cloud.incidents.rules import Category, ClockName, How, State  # noqa: TC001 - pydantic reads them
from cloud.org.node_models import Latitude, Longitude, NodePath  # noqa: TC001 - the same
from cloud.org.rules import Role
from cloud.paging import View
from firmware_specs.readings import Severity

Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Seconds = Annotated[int, Field(ge=1, le=86_400)]
MemberId = Annotated[int, Field(ge=1, lt=2**63)]


class Source(StrEnum):
    """What an incident was opened from."""

    ALARM = "alarm"
    SOS = "sos"
    HAND = "hand"


class AreaBy(StrEnum):
    """What stops the clock of the area."""

    HAND = "hand"
    ALARMS = "alarms"
    """Every alarm of the incident has cleared and somebody is on scene."""


class ResponderState(StrEnum):
    """Where a responder stands."""

    DISPATCHED = "dispatched"
    ACCEPTED = "accepted"
    ON_SCENE = "on_scene"
    RELEASED = "released"


class ClockView(View):
    """One response clock."""

    name: ClockName
    target_s: int
    started_at: datetime
    due_at: datetime
    stopped_at: datetime | None
    stopped_by: str | None
    how: How | None
    """None while it runs."""
    reason: str
    breached_at: datetime | None
    """When it was due and ran on; stays when it is stopped."""
    escalated_to: str | None
    remaining_s: float | None
    """Negative when overdue; None when it does not run."""


class PlaceView(View):
    """A point, WGS-84."""

    lat: float
    lon: float


class IncidentView(View):
    """An incident as lists show it."""

    id: int
    node: str
    category: Category
    title_zh: str
    title_en: str
    place: str
    position: PlaceView | None
    """None when the place is not known: then only a hand stops the clocks."""
    radius_m: float
    source: Source
    state: State
    severity: Severity
    level: int
    event_at: datetime
    opened_at: datetime
    opened_by: str
    owner: str | None
    owned_at: datetime | None
    closed_at: datetime | None
    closed_by: str | None
    cause: str
    follow_up: str
    drill: int | None
    """The drill it belongs to, 0 when none was entered; None when it is real."""
    clocks: list[ClockView]


class AlarmRef(View):
    """An alarm of an incident."""

    id: int
    kind: str
    title_zh: str
    title_en: str
    gateway: str
    device: str
    location: str
    raised_at: datetime
    cleared_at: datetime | None


class ResponderView(View):
    """Somebody who was sent, or came."""

    member: int
    call_sign: str
    state: ResponderState
    dispatched_at: datetime
    dispatched_by: str
    """Empty when nobody sent them: they came."""
    accepted_at: datetime | None
    arrived_at: datetime | None
    released_at: datetime | None


class CheckView(View):
    """One line of the checklist."""

    zh: str
    en: str
    done_at: datetime | None
    done_by: str | None


class TimelineRow(View):
    """One thing that happened, with the hash that chains it to the one before."""

    incident: int
    seq: int
    at: datetime
    recorded_at: datetime
    actor: str
    action: str
    detail: dict[str, Any]
    previous: str
    hash: str


class IncidentDetail(IncidentView):
    """An incident with everything that belongs to it."""

    plan: int
    """The plan it was opened by, 0 for the built-in one."""
    arrivals: int
    """Arrivals that make the reinforcement."""
    area_by: AreaBy
    alarms: list[AlarmRef]
    responders: list[ResponderView]
    checklist: list[CheckView]
    timeline: list[TimelineRow]


class CandidateView(View):
    """Somebody on duty who could be sent."""

    member: int
    call_sign: str
    node: str
    travel_m: float | None
    """Great circle times 1.3; None without a fix of the last five minutes."""
    seen_at: datetime | None
    busy: int | None
    """The open incident that they were sent to."""


class MissedWhy(StrEnum):
    """What was missed."""

    NO_INCIDENT = "no-incident"
    """An alarm of a kind that opens incidents is in none."""
    LATE_ACKNOWLEDGEMENT = "late-acknowledgement"
    """Such an alarm was acknowledged after more than 5 minutes, or never."""
    LATE_RECEIPT = "late-receipt"
    """The first receiver took the incident after more than a minute, or nobody did."""


class MissedView(View):
    """Something for the missed-report review."""

    why: MissedWhy
    alarm: int | None
    incident: int | None
    node: str
    kind: str
    """Of the alarm, or the incident's category."""
    at: datetime
    late_s: float | None
    """How late it was; None when it never was."""


class PlanStep(BaseModel):
    """One line of a checklist; without English the Chinese stands for both."""

    model_config = ConfigDict(extra="forbid")

    zh: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]
    en: Annotated[str, StringConstraints(strip_whitespace=True, max_length=300)] = ""


class Targets(BaseModel):
    """Seconds from the event by which each clock should have stopped."""

    model_config = ConfigDict(extra="forbid")

    on_scene: Seconds = 300
    reinforcement: Seconds = 600
    area: Seconds = 1800


class PlanGiven(BaseModel):
    """A response plan, as given."""

    model_config = ConfigDict(extra="forbid")

    category: Category
    name_zh: Title
    name_en: Title
    checklist: Annotated[list[PlanStep], Field(max_length=40)] = []
    calls: Annotated[list[Role], Field(max_length=6)] = [Role.DISPATCHER, Role.SUPERVISOR]
    targets: Targets = Targets()
    scene_m: Annotated[float, Field(ge=5, le=5000, allow_inf_nan=False)] = 80.0
    arrivals: Annotated[int, Field(ge=2, le=100)] = 2
    """Arrivals that make the reinforcement."""
    receive_s: Seconds = 60
    """Within which somebody should take it, else one level up is told."""
    escalate_s: Seconds = 300
    """While a breached clock runs on, or nobody takes it, the next level up is told this often."""
    kinds: Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=64)]], Field(max_length=40)] = []
    area_by: AreaBy = AreaBy.HAND

    @classmethod
    def read(cls, where: str, table: dict[str, Any]) -> Self:
        """A plan of a file or form. Raises Invalid naming the entry and the key."""
        try:
            return cls.model_validate(table)
        except ValidationError as e:
            first = e.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise Invalid(f"{where}.{key}: {first['msg']}") from e


class PlanPut(PlanGiven):
    """A plan of a node."""

    node: NodePath


class PlanView(View):
    """A response plan."""

    id: int
    """0 for a built-in one."""
    node: str
    category: Category
    name_zh: str
    name_en: str
    checklist: list[PlanStep]
    calls: list[Role]
    targets: Targets
    scene_m: float
    arrivals: int
    receive_s: int
    escalate_s: int
    kinds: list[str]
    area_by: AreaBy


class IncidentFilter(BaseModel):
    """Which incidents a list shows; empty means any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: tuple[State, ...] = ()
    category: tuple[Category, ...] = ()
    drill: bool | None = None
    node: NodePath | None = None
    """At it or below."""


class Command(BaseModel):
    """The body of a POST; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class Open(Command):
    """An incident that somebody reports. event_at: when it happened, now when left out."""

    node: NodePath
    category: Category
    title: Title
    place: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = ""
    severity: Severity = Severity.MAJOR
    lat: Latitude | None = None
    lon: Longitude | None = None
    event_at: datetime | None = None


class Take(Command):
    """reason: needed to take an incident over from its owner."""

    reason: Line | None = None


class HandOver(Command):
    """To whom, by user name."""

    user: Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Send(Command):
    """Members to send."""

    members: Annotated[list[MemberId], Field(min_length=1, max_length=50)]


class Stop(Command):
    """Why a clock is stopped by hand."""

    reason: Line


class Tick(Command):
    """Whether a line of the checklist is done."""

    done: bool = True


class Remark(Command):
    """A remark."""

    comment: Line


class Close(Command):
    """What it was, and what follows from it."""

    cause: Line
    follow_up: Line


class Reopen(Command):
    """Why it is opened again."""

    reason: Line
