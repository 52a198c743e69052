"""What the API says of the fleet's health and of the loss ledger."""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - pydantic reads it
from datetime import date, datetime  # noqa: TC003 - the same

from cloud.devices.health.rules import State  # noqa: TC001 - the same
from cloud.paging import View


class MeasureView(View):
    """One measure of a gateway."""

    measure: str
    state: State
    value: float | None = None
    unit: str = ""
    """`share` (0 to 1), `count`, `s`, `ms`, `d`, `Cel`, `%EL`, `dBm`; empty for what has no figure."""
    of: float | None = None
    """What the value is compared with: a limit, a budget, or how many there are."""
    reason: str = ""
    """A word for why it is not good."""
    detail: str = ""
    at: datetime | None = None
    """Of when it is."""


class StartView(View):
    """A start of the agent."""

    at: datetime
    reason: str
    """How the run before ended: `first`, `stop`, `crash`, `kill`, `watchdog`, `power`."""
    detail: str = ""


class WrittenView(View):
    """What was written to the disk on a day, UTC."""

    day: date
    written: int
    """Bytes."""
    budget: int


class GatewayHealthRow(View):
    """A gateway in the list, as it was last judged."""

    gateway: str
    node: str
    state: State
    reasons: Sequence[str] = ()
    """The measures that are not good, the worst first."""
    judged_at: datetime | None = None


class GatewayHealth(View):
    """A gateway with every measure, judged now."""

    gateway: str
    node: str
    location: str = ""
    state: State
    agent_version: str = ""
    told_at: datetime | None = None
    """When it last told of itself."""
    measures: Sequence[MeasureView] = ()
    starts: Sequence[StartView] = ()
    written: Sequence[WrittenView] = ()


class NodeHealth(View):
    """Gateways at or below a node, by how they are."""

    node: str
    name_zh: str = ""
    name_en: str = ""
    gateways: int
    states: dict[State, int]


class LedgerDayView(View):
    """A gateway's ledger of a day of arrival, UTC."""

    day: date
    received: int
    late: int
    thinned: int
    lost: int
    off_shift: int


class LaneAccountView(View):
    """The sequence numbers of one lane of one epoch, from 1 on."""

    epoch: str
    lane: str
    through: int
    """The highest that is known of."""
    base: int
    """None below it comes any more."""
    arrived: int
    lost: int
    coming: int
    """Between what arrived, and still to come."""
    current: bool
    """Of the epoch that was heard last."""
    updated_at: datetime


class LossView(View):
    """Something that is lost, and why."""

    epoch: str = ""
    lane: str
    first: int = 0
    """The first and the last sequence number, 0 when it is not known which."""
    last: int = 0
    numbers: int = 0
    cause: str
    """`never-sent`, `epoch-ended`, `joined`, `quarantined`, `refused`."""
    at: datetime
    from_: datetime | None = None
    to: datetime | None = None
    detail: str = ""


class GatewayLedger(View):
    """What became of every reading that a gateway ever numbered (D6)."""

    gateway: str
    days: Sequence[LedgerDayView]
    received: int
    thinned: int
    off_shift: int
    lost: int
    reconciled: bool
    """Whether the ledger and the sequence numbers agree."""
    unexplained: int
    """By how many readings they differ."""
    lanes: Sequence[LaneAccountView]
    losses: Sequence[LossView]
