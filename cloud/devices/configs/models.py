"""What the API says of configurations, and what it is told."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from cloud.devices.campaigns.models import Choice
from cloud.devices.configs.rules import Phase, TemplateKind  # noqa: TC001 - pydantic reads them
from cloud.paging import View
from firmware_specs.readings import NAME_PATTERN
from firmware_specs.wire_fleet import MAX_CONFIG_BYTES

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Text = Annotated[str, StringConstraints(max_length=MAX_CONFIG_BYTES)]
Comment = Annotated[str, StringConstraints(max_length=500)]
TrialS = Annotated[int, Field(ge=5, le=86400)]
TRIAL_S = 180


class VersionView(View):
    """A configuration in a gateway's history."""

    version: int
    hash: str
    comment: str
    author: str
    at: datetime
    trial_s: int


class DocumentView(VersionView):
    """A configuration in full."""

    gateway: str
    own: str
    """What was written for this gateway alone."""
    text: str
    """With the templates of that time: what the gateway runs."""


class StandingView(View):
    """How a gateway stands to what is wanted of it."""

    gateway: str
    node: str
    online: bool
    wanted_version: int
    """0 when the cloud wants none."""
    wanted_hash: str
    ordered_at: datetime | None
    phase: Phase
    reason: str = ""
    running_version: int = 0
    running_hash: str = ""
    told_at: datetime | None = None
    drift: bool = False
    """Whether it runs another configuration than the one that is wanted."""
    behind: bool = False
    """Whether the templates give another configuration now than when this one was made."""


class PartView(View):
    """A part of a configuration and where it comes from, the source that has the last word last."""

    part: str
    sources: list[str]
    left_out: bool = False
    """Whether the last of them leaves it out."""


class ConfigView(View):
    """A gateway's configuration and how it stands."""

    document: DocumentView | None
    standing: StandingView
    parts: list[PartView]


class DiffView(View):
    """The unified diff of two texts, empty when they are the same."""

    before: int
    after: int
    diff: str


class NewText(BaseModel):
    """A gateway's own text."""

    model_config = ConfigDict(extra="forbid")

    text: Text
    comment: Comment = ""
    trial_s: TrialS = TRIAL_S
    expected_version: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    """The version that the change was made from; refused with 409 when another one came between."""


class TemplateView(View):
    """A template."""

    kind: TemplateKind
    key: str
    version: int
    text: str
    comment: str
    author: str
    at: datetime


class NewTemplate(BaseModel):
    """A template's text; an empty one takes the template away."""

    model_config = ConfigDict(extra="forbid")

    kind: TemplateKind
    key: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    """A node's path for a node, a profile's name for a type."""
    text: Text
    comment: Comment = ""


class Edit(BaseModel):
    """What is done to each: a key set, a part left out, a template put, or what templates say now taken over."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["set", "leave-out", "template", "render"]
    key: Annotated[str, StringConstraints(max_length=255)] = ""
    """Of `set`: `outbox.budget_mb`, `devices.<id>.location`. Of `leave-out`: `devices.<id>`, `outbox.budget_mb`."""
    value: Annotated[float, Field(allow_inf_nan=False)] | int | bool | Comment | None = None
    """Of `set`; none takes the key out."""
    template: NewTemplate | None = None
    """Of `template`."""
    comment: Comment = ""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.kind in {"set", "leave-out"}) != bool(self.key):
            raise ValueError("key belongs to the edits `set` and `leave-out` and to no other")
        if (self.kind == "template") != (self.template is not None):
            raise ValueError("template belongs to the edit `template` and to no other")
        return self


class NewChange(BaseModel):
    """A change to many gateways. The same edit is the subject of a campaign of kind `config`."""

    model_config = ConfigDict(extra="forbid")

    choice: Choice = Choice()
    edit: Edit


class PreviewGroup(View):
    """Gateways for which a change is the same."""

    gateways: list[str]
    diff: str


class PreviewFault(View):
    """Gateways that a change is wrong for, and why."""

    gateways: list[str]
    reason: str


class Preview(View):
    """What a change would do."""

    groups: list[PreviewGroup]
    faults: list[PreviewFault]
    unchanged: list[str]
    chosen: int
    looked: int
    """Of how many of the chosen ones this is; fewer than all when they are very many."""
