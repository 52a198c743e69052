"""What the API says of campaigns, and what it takes."""

from __future__ import annotations

import json
import re
from datetime import datetime  # noqa: TC003 - pydantic reads it
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from cloud.devices.campaigns import rules
from cloud.devices.campaigns.rules import Act, Standing, State  # noqa: TC001 - pydantic reads it
from cloud.devices.models import DeviceName  # noqa: TC001 - pydantic reads it
from cloud.org.rules import ROOT
from cloud.paging import View

MAX_SUBJECT: Final = 256 * 1024
MAX_NAMED: Final = 10_000
"""Members that are named or left out one by one."""
NodePath = Annotated[str, StringConstraints(pattern=r"^/([0-9]{1,19}/)*$", max_length=255)]
Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]
KindName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z-]{0,15}$")]
Number = Annotated[int, Field(ge=1, lt=2**63)]


def _size(text: str) -> str:
    rules.wave_sizes(1, [text])
    return text


def _minute(text: str) -> str:
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise ValueError(f"{text!r} is no time of day such as 02:30")
    return text


def _subject(value: dict[str, Any]) -> dict[str, Any]:
    try:
        size = len(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError as e:
        raise ValueError("too deep") from e
    if size > MAX_SUBJECT:
        raise ValueError(f"more than {MAX_SUBJECT} bytes")
    return value


WaveSize = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,6}%?$"), AfterValidator(_size)]
TimeOfDay = Annotated[str, StringConstraints(pattern=r"^[0-9]{2}:[0-9]{2}$"), AfterValidator(_minute)]


class Body(BaseModel):
    """What is sent; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class WindowBody(Body):
    """When members may be started, in the local time of the campaign's node."""

    days: Annotated[tuple[Annotated[int, Field(ge=1, le=7)], ...], Field(min_length=1, max_length=7)] = tuple(
        range(1, 8)
    )
    """1 is Monday."""
    begins: TimeOfDay
    ends: TimeOfDay
    """The next day's when it is not after `begins`."""


class PolicyBody(Body):
    """How the campaign is to go."""

    waves: Annotated[tuple[WaveSize, ...], Field(min_length=1, max_length=50)] = ("1%", "10%", "100%")
    """Sizes of the waves: `5` members or `10%` of all; what is left over is a last wave."""
    approve_waves: bool = False
    """Each wave but the first waits for an approval of its own."""
    windows: Annotated[tuple[WindowBody, ...], Field(max_length=14)] = ()
    """Empty: at any time."""
    timeout_s: Annotated[int, Field(ge=5, le=30 * 86_400)] = 3600
    """No outcome within it is a failure."""
    offline_s: Annotated[int, Field(ge=5, le=365 * 86_400)] = 7 * 86_400
    """How long an offline gateway has, from the opening of its wave."""
    soak_s: Annotated[int, Field(ge=0, le=30 * 86_400)] = 3600
    """How long a wave that has ended is watched before its gate."""
    health: bool = True
    """Whether the gate asks for the health of who committed."""
    pause_percent: Annotated[int, Field(ge=1, le=100)] = 5
    """It pauses when this share of the started ones has failed…"""
    pause_least: Annotated[int, Field(ge=1, le=rules.MAX_MEMBERS)] = 2
    """…and at least so many."""
    back_in_waves: bool = False
    """A rollback takes the latest wave first, and the one before it when that is done; else all at once."""

    def rule(self) -> rules.Policy:
        """The same, for the rules."""
        windows = tuple(rules.Window(each.days, _of_day(each.begins), _of_day(each.ends)) for each in self.windows)
        return rules.Policy(**{name: getattr(self, name) for name in rules.Policy._fields if name != "windows"},
                            windows=windows)  # fmt: skip


def _of_day(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return 60 * int(hours) + int(minutes)


class Choice(Body):
    """Which gateways, or devices, it is about: those that fit everything that is said."""

    node: NodePath = ROOT
    """At and below this one."""
    gateways: Annotated[frozenset[DeviceName], Field(max_length=MAX_NAMED)] = frozenset()
    """Only these; empty: any."""
    without: Annotated[frozenset[DeviceName], Field(max_length=MAX_NAMED)] = frozenset()
    """Not these gateways."""
    agent_version: Line = ""
    """Only gateways that run this version."""
    profile: Line = ""
    """Only devices of this profile; of gateways, those that serve one."""


class NewCampaign(Body):
    """A campaign to be."""

    kind: KindName
    """`config`, `agent` or `firmware`."""
    title: Line = ""
    subject: Annotated[dict[str, Any], AfterValidator(_subject)]
    """What is to be changed, as its kind understands it."""
    choice: Choice = Choice()
    policy: PolicyBody = PolicyBody()


class Note(Body):
    """A remark."""

    note: Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)] = ""


class Chosen(View):
    """A gateway or device that is in or out."""

    gateway: str
    device: str
    node: str
    agent_version: str
    online: bool
    why: str
    """Empty when it is in; else `not-named`, `left-out`, `agent-version`, `profile`, `already` or `busy`."""
    campaign: int | None = None
    """Which one it is busy with."""


class Preview(View):
    """What a campaign would be about."""

    members: int
    waves: list[int]
    """How many each gets."""
    offline: int
    """Members that are offline now."""
    out: dict[str, int]
    """How many are left out, by why."""
    examples: list[Chosen]
    """The first of each, those that are in first."""


class TallyView(View):
    """How many members stand where."""

    total: int
    pending: int
    started: int
    committed: int
    failed: int
    """Forgiven ones too."""
    retrying: int
    missed: int
    cancelled: int
    backing: int
    back: int
    stuck: int
    unhealthy: int


class WaveView(View):
    """One wave."""

    wave: int
    opened_at: datetime | None
    gate_at: datetime | None
    """When its health is looked at."""
    passed_at: datetime | None
    tally: TallyView


class HistoryView(View):
    """Something that happened."""

    at: datetime
    who: str
    what: str
    wave: int
    detail: str


class ReasonView(View):
    """Why members failed, and how many for it."""

    reason: str
    count: int


class CampaignView(View):
    """A campaign as a list shows it."""

    id: int
    node: str
    kind: str
    title: str
    state: State
    reason: str
    """Why it is paused: `failed-share`, `wave-lost`, `by-hand`."""
    detail: str
    """How many of how many, which wave, or what was said."""
    author: str
    created_at: datetime
    approved_by: str | None
    approved_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    wave: int
    waves: int
    awaits_wave: int | None
    """The wave that waits for an approval."""
    tally: TallyView
    acts: list[Act]
    """What may be done with it now."""


class CampaignDetail(CampaignView):
    """A campaign as a whole."""

    subject: dict[str, Any]
    choice: Choice
    policy: PolicyBody
    zone: str
    """By whose clocks its start windows open."""
    steps: list[WaveView]
    reasons: list[ReasonView]
    """Of failures, the commonest first."""
    history: list[HistoryView]
    """Newest first."""


class CampaignEvent(View):
    """What the event stream says: a campaign has moved."""

    id: int
    state: State
    wave: int
    tally: TallyView


class MemberView(View):
    """A gateway or device of a campaign."""

    gateway: str
    device: str
    wave: int
    state: Standing
    phase: str
    """As it told last, while it is under way."""
    reason: str
    """Why it failed: `timeout`, `offline`, or what it said."""
    attempt: int
    started_at: datetime | None
    ended_at: datetime | None
    deadline_at: datetime | None
    unhealthy: bool


class MemberQuery(BaseModel):
    """Which members a list shows."""

    model_config = ConfigDict(extra="forbid")

    state: tuple[Standing, ...] = ()
    wave: Annotated[int, Field(ge=1, le=1000)] | None = None
    reason: Annotated[str, StringConstraints(max_length=500)] | None = None
    search: Annotated[str, StringConstraints(max_length=64)] | None = None
    """A part of the gateway's or the device's name."""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    cursor: Annotated[str, StringConstraints(max_length=500)] | None = None
