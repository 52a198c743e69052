"""What the API says of drills, and what it takes."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from cloud.incidents.rules import Category
from cloud.org.node_models import Latitude, Longitude, NodePath  # noqa: TC001 - pydantic reads them
from cloud.paging import View


class DrillKind(StrEnum):
    """What a drill is made of."""

    INCIDENT = "incident"
    """One incident that the drill opens itself."""
    SCRIPT = "script"
    """Every alarm that gateways mark as drill while it runs."""


class DrillState(StrEnum):
    """Where a drill stands."""

    PLANNED = "planned"
    RUNNING = "running"
    ENDED = "ended"


class TimingView(View):
    """One time against its target."""

    name: str
    """receipt, on_scene, reinforcement, area."""
    target_s: int
    took_s: float | None
    """None when it never happened."""
    judged: bool
    """False when the drill ended before its time was up."""


class RunView(View):
    """What was measured of one incident, or of an alarm that opened none."""

    incident: int | None
    alarm: int | None
    began_at: datetime
    timings: list[TimingView]
    done: int
    steps: int


class PartView(View):
    """A part of the score."""

    name: str
    points: int
    got: float | None
    """None when nothing was measured of it: it is left out."""


class AnswerView(View):
    """Who answered: a role, or a call sign."""

    who: str
    call_sign: bool
    acts: int
    first_s: float
    """How long after the drill began it was first heard of."""


class MessagesView(View):
    """Messages to the sandbox."""

    delivered: int
    failed: int
    waiting: int


class ScoreView(View):
    """What a drill was worth."""

    total: int | None
    """0 to 100; None when nothing was measured."""
    parts: list[PartView]
    runs: list[RunView]
    answered: list[AnswerView]
    messages: MessagesView


class DrillView(View):
    """One drill."""

    id: int
    node: str
    node_zh: str
    node_en: str
    name: str
    kind: DrillKind
    category: Category
    place: str
    lat: float | None
    lon: float | None
    state: DrillState
    starts_at: datetime
    ends_at: datetime
    planned_at: datetime
    planned_by: str
    began_at: datetime | None
    """None when it never began."""
    started_by: str
    ended_at: datetime | None
    ended_by: str
    total: int | None
    """Its score, once it has ended."""


class DrillDetail(DrillView):
    """A drill with what belongs to it."""

    incidents: list[int]
    alarms: list[int]
    score: ScoreView | None


class Command(BaseModel):
    """The body of a POST; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class Plan(Command):
    """A drill to come; it starts by itself at its time, at once when that is left out."""

    node: NodePath
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    kind: DrillKind
    category: Category = Category.FIRE
    place: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = ""
    """Where the incident is, for people."""
    lat: Latitude | None = None
    lon: Longitude | None = None
    starts_at: datetime | None = None
    ends_at: datetime
