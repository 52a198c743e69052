"""What the API says of members, equipment, shifts and strength, and what it takes."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cloud.paging import View
from firmware_specs.readings import NAME_PATTERN

NODE_PATTERN: Final = r"^/(?:[0-9]{1,18}/)*$"
Id = Annotated[int, Field(ge=1, lt=2**63)]
NodePath = Annotated[str, StringConstraints(pattern=NODE_PATTERN, max_length=255)]
CallSign = Annotated[str, StringConstraints(pattern=r"^[^\s\x00-\x1f](?:[^\x00-\x1f]{0,62}[^\s\x00-\x1f])?$")]
DeviceName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Remark = Annotated[str, StringConstraints(max_length=2000)]


class Kind(StrEnum):
    """What a device is to the patrol. An armband and a radio are carried; the others stand at a post."""

    ARMBAND = "armband"
    RADIO = "radio"
    TERMINAL = "terminal"
    DOOR = "door"


CARRIED: Final = (Kind.ARMBAND, Kind.RADIO)


class ShiftState(StrEnum):
    """Where a shift stands."""

    PLANNED = "planned"
    RUNNING = "running"
    ENDED = "ended"


class Body(BaseModel):
    """A request; keys it does not know are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class NewMember(Body):
    """A patrol member. A call sign, never a name."""

    call_sign: CallSign
    node: NodePath
    user: Annotated[str, StringConstraints(pattern=NAME_PATTERN)] | None = None
    """The account by which the member signs in."""


class MemberChange(Body):
    """What becomes of a member; what is left out stays."""

    call_sign: CallSign | None = None
    node: NodePath | None = None
    user: Annotated[str, StringConstraints(pattern=NAME_PATTERN)] | None = None


class NewEquipment(Body):
    """A device of the patrol."""

    gateway: DeviceName
    device: DeviceName
    kind: Kind
    node: NodePath
    post: Id | None = None
    """At which a terminal or a door stands."""


class NewPseudonym(Body):
    """Which member a door's or terminal's pseudonym stands for."""

    pseudonym: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    member: Id


class Reveal(Body):
    """Whose a pseudonym is, and why that has to be known."""

    pseudonym: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=1000)]
    case_number: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]


class NewShift(Body):
    """A planned duty, at a post or on a route or neither, with what is carried on it."""

    member: Id
    starts_at: datetime
    ends_at: datetime
    post: Id | None = None
    route: Id | None = None
    armband: Id | None = None
    radio: Id | None = None
    note: Remark = ""


class Ending(Body):
    """Ends a shift before its time."""

    note: Remark = ""


class HandOver(Body):
    """Ends a shift and begins the one that takes over."""

    to: Id
    note: Remark = ""


class MemberView(View):
    """A patrol member."""

    id: int
    call_sign: str
    node: str
    user: str | None
    """The account, shown to those who plan the patrol."""
    on_duty: bool


class EquipmentView(View):
    """A device of the patrol. holder: the call sign of who carries it now."""

    id: int
    gateway: str
    device: str
    kind: Kind
    node: str
    post: int | None
    holder: str | None


class ShiftView(View):
    """A duty and what came of it."""

    id: int
    node: str
    member: int
    call_sign: str
    post: int | None
    route: int | None
    starts_at: datetime
    ends_at: datetime
    armband: int | None
    radio: int | None
    state: ShiftState
    begun_at: datetime | None
    ended_at: datetime | None
    """When it was ended before its time."""
    handed_to: int | None
    note: str


class StrengthView(View):
    """Members on duty per 100,000 people, against what is due."""

    node: str
    name_zh: str
    name_en: str
    basis: str
    """The nearest node upwards that has a population: whose people and members count."""
    population: int | None
    on_duty: int
    per_100k: float | None
    target: int
    required: int | None
    short: int


class LiftView(View):
    """An SOS that lifts the shift limit of a carried device for a while."""

    id: int
    gateway: str
    device: str
    call_sign: str | None
    at: datetime
    ends_at: datetime


class LookView(View):
    """Somebody looked at where a member was."""

    at: datetime
    viewer: str
    what: str


class RevealView(View):
    """Whose a pseudonym is."""

    member: int
    call_sign: str


class RosterEvent(View):
    """What changed of a roster, on the event stream: `shift`, `member`, `equipment` or `sos`, and its id."""

    subject: str
    id: int
