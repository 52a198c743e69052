"""The pages of response levels: what is in force where, what awaits approval, declaring, what levels demand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from fastapi import Form, Query
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations
from pydantic import Field

from cloud.console import choose
from cloud.console.forms import Id, Sent, checked
from cloud.console.pages import View, back_to, page_router, render
from cloud.errors import Invalid, NotFound
from cloud.incidents.levels import service
from cloud.incidents.levels.models import DeclarationState, NodeLevel, PolicyRow
from cloud.org import service as org
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import Role
from cloud.paging import MAX_LIMIT, to_ms
from cloud.state import now_ms

if TYPE_CHECKING:
    from collections.abc import Sequence
    from zoneinfo import ZoneInfo

    from sqlalchemy import Connection

    from cloud.console.ui import Ui
    from cloud.incidents.levels.models import DeclarationView, PolicyTable
    from cloud.org.rules import Principal

HISTORY: Final = 20
MAX_ID: Final = 2**63 - 1

pages = page_router()
NodeText = Annotated[str, Field(max_length=255)]


class Means(NamedTuple):
    """What a level demands, in numbers that people know: of a post of two, of an hour, of ten minutes."""

    headcount: int
    revisit_min: int
    escalation_s: float


def local_time(ui: Ui, moment: datetime) -> str:
    """A time as a field for times holds it, in the site's zone."""
    return f"{moment.astimezone(ui.zone_info):%Y-%m-%dT%H:%M}"


def given_ms(ui: Ui, name: str, text: str) -> int | None:
    """What a field for times holds, in milliseconds UTC; None when it is empty. Raises Invalid."""
    if not text.strip():
        return None
    try:
        return to_ms(_zoned(datetime.fromisoformat(text.strip()), ui.zone_info))
    except (ValueError, OverflowError) as e:
        raise Invalid(f"{name}: {ui.t('levels.time_wrong')}") from e


def _zoned(moment: datetime, zone: ZoneInfo) -> datetime:
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def units(tx: Connection, who: Principal) -> list[NodeLevel]:
    """The units within scope, each below its parent, and the viewer's own place, were it a building."""
    found: list[NodeLevel] = []
    cursor = None
    while True:
        page = service.tree_levels(
            tx, who, now_ms(), limit=MAX_LIMIT, cursor=cursor,
            keep=lambda node: node.kind in choose.LARGE or node.path == who.node,
        )  # fmt: skip
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


def _chosen(ui: Ui, listed: Sequence[NodeLevel]) -> str:
    """The node whose demands are shown: as asked, else the viewer's own, else the first."""
    wanted = ui.query.get("node", "")
    known = {each.node for each in listed}
    own = ui.who.node if ui.who.node in known else ""
    return wanted if wanted in known else own or next(iter(known), ui.who.node)


def _policies(table: PolicyTable) -> list[tuple[object, Means]]:
    return [
        (row, Means(-(-10 * row.headcount_percent // 100), round(60 * row.revisit_percent / 100),
                    600 * row.escalation_percent / 100))
        for row in table.items
    ]  # fmt: skip


def may_decide(tx: Connection, ui: Ui, declaration: DeclarationView) -> bool:
    """Whether the viewer may approve or reject."""
    return ui.who.role is declaration.approver and not org.same_person(tx, ui.who, declaration.declared_by)


@pages.get("/levels")
def level_page(ui: View, state: State) -> Response:
    """What is in force where."""
    with state.db.read() as tx:
        listed = units(tx, ui.who)
        waiting = service.list_declarations(
            tx, ui.who, now_ms(), states=(DeclarationState.PENDING,), limit=MAX_LIMIT
        ).items
        decided_here = {each.id for each in waiting if may_decide(tx, ui, each)}
        past = service.list_declarations(tx, ui.who, now_ms(), limit=HISTORY, cursor=ui.query.get("cursor") or None)
        node = _chosen(ui, listed)
        try:
            table = service.get_policies(tx, ui.who, node)
        except NotFound:  # a viewer of a node that was archived
            table = None
        names = choose.names(tx, ui, (row.source for row in table.items) if table else ())
        approver = service.approver_of(tx, node)
    options = [(each.node, "\u3000" * each.depth + ui.called(each.name_zh, each.name_en)) for each in listed]
    day = ui.now + timedelta(days=1)
    return render(
        ui, "levels.html", levels=listed, waiting=waiting, past=past, node=node, approver=approver,
        node_name=next((ui.called(each.name_zh, each.name_en) for each in listed if each.node == node), node),
        policies=_policies(table) if table else [],
        source_names=names,
        decided_here=decided_here,
        node_options=options, ends=local_time(ui, day),
        level_options=[(str(n), ui.t("levels.badge", level=n, name=ui.t(f"levels.name_{n}"))) for n in (3, 2, 1, 4)],
        role_options=[
            ("", ui.t("levels.approver_inherit")), *((role.value, ui.t(f"role.{role}")) for role in service.APPROVERS),
        ],
        first=ui.link(cursor=None), next=ui.link(cursor=past.next_cursor),
    )  # fmt: skip


@pages.get("/levels/hint")
def hint(
    ui: View, state: State, node: Annotated[str, Query(max_length=255)], level: Annotated[int, Query(ge=1, le=4)]
) -> Response:
    """What would become of a declaration, below the form."""
    with state.db.read() as tx:
        seen = service.outlook(tx, ui.who, node, level, now_ms())
    return render(ui, "level_hint.html", outlook=seen, level=level, above=ui.called(seen.blocked_zh, seen.blocked_en))


class Declared(Sent):
    """The form that declares, and the one that renews."""

    node: NodeText = ""
    level: int = Field(4, ge=1, le=4)
    reason: str = Field("", max_length=8000)
    scope: str = Field("", max_length=8000)
    starts: str = Field("", max_length=40)
    ends: str = Field("", max_length=40)

    def because(self, ui: Ui) -> str:
        """The reason. Raises Invalid when there is none."""
        if not self.reason.strip():
            raise Invalid(ui.t("levels.reason"))
        return self.reason.strip()[:2000]


class Decided(Sent):
    """The form of a decision."""

    note: str = Field("", max_length=8000)


class PolicyForm(Sent):
    """Four numbers for each level, by the level; `inherit` drops the node's own."""

    node: NodeText = ""
    inherit: str = ""
    headcount: list[int] = Field([], max_length=4)
    revisit: list[int] = Field([], max_length=4)
    reporting: list[int] = Field([], max_length=4)
    escalation: list[int] = Field([], max_length=4)


class ApproverForm(Sent):
    """Which role approves; empty to inherit it."""

    node: NodeText = ""
    role: str = Field("", max_length=16)


@pages.post("/levels")
def declare(ui: View, state: State, act: Annotated[Declared, Form()]) -> Response:
    """Declare a level."""
    routine = act.level == service.ROUTINE
    starts = None if routine else given_ms(ui, ui.t("levels.starts"), act.starts)
    ends = None if routine else given_ms(ui, ui.t("levels.ends"), act.ends)
    with state.db.begin() as tx:
        service.declare(
            tx, ui.who, act.node, act.level, act.because(ui), now_ms=now_ms(), scope=act.scope.strip(),
            starts_at=starts, ends_at=ends,
        )  # fmt: skip
    return back_to(act.back or "/levels")


@pages.post("/levels/{declaration}/approve")
def approve(ui: View, state: State, declaration: Id, act: Annotated[Decided, Form()]) -> Response:
    """Let it come into force."""
    with state.db.begin() as tx:
        service.approve(tx, ui.who, declaration, now_ms(), act.note.strip())
    return back_to(act.back or "/levels")


@pages.post("/levels/{declaration}/reject")
def reject(ui: View, state: State, declaration: Id, act: Annotated[Decided, Form()]) -> Response:
    """Refuse it, with the reason."""
    if not act.note.strip():
        raise Invalid(ui.t("levels.note_needed"))
    with state.db.begin() as tx:
        service.reject(tx, ui.who, declaration, now_ms(), act.note.strip())
    return back_to(act.back or "/levels")


@pages.post("/levels/{declaration}/end")
def end(ui: View, state: State, declaration: Id, act: Annotated[Decided, Form()]) -> Response:
    """End it early, or withdraw it."""
    with state.db.begin() as tx:
        service.end(tx, ui.who, declaration, now_ms(), act.note.strip())
    return back_to(act.back or "/levels")


@pages.post("/levels/{declaration}/renew")
def renew(ui: View, state: State, declaration: Id, act: Annotated[Declared, Form()]) -> Response:
    """Ask for the same for longer."""
    ends = given_ms(ui, ui.t("levels.renew_until"), act.ends)
    if ends is None:
        raise Invalid(ui.t("levels.renew_until"))
    with state.db.begin() as tx:
        service.renew(tx, ui.who, declaration, ends_at=ends, reason=act.because(ui), now_ms=now_ms())
    return back_to(act.back or "/levels")


def _rows(ui: Ui, act: PolicyForm) -> dict[int, service.Policy]:
    """The four rows of the form. Raises Invalid naming what is wrong."""
    columns = (act.headcount, act.revisit, act.reporting, act.escalation)
    if any(len(column) != len(service.LEVELS) for column in columns):
        raise Invalid(ui.t("levels.edit"))
    rows = {}
    for level, *numbers in zip(service.LEVELS, *columns, strict=True):
        demands = service.Policy(*numbers)
        checked(PolicyRow, level=level, **demands._asdict())
        rows[level] = demands
    return rows


@pages.post("/levels/policies")
def put_policies(ui: View, state: State, act: Annotated[PolicyForm, Form()]) -> Response:
    """Set what levels demand at a node, or inherit it."""
    rows = {} if act.inherit else _rows(ui, act)
    with state.db.begin() as tx:
        service.put_policies(tx, ui.who, act.node, rows, now_ms())
    return back_to(act.back or "/levels")


@pages.post("/levels/approver")
def put_approver(ui: View, state: State, act: Annotated[ApproverForm, Form()]) -> Response:
    """Set which role approves at a node and below."""
    if act.role and act.role not in set(Role):
        raise Invalid(f"role: {act.role}")
    with state.db.begin() as tx:
        service.put_approver(tx, ui.who, act.node, Role(act.role) if act.role else None, now_ms())
    return back_to(act.back or "/levels")
