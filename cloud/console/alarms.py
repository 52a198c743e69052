"""The alarm pages: the list with its filters, one alarm with its evidence and history, and what a person does to it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Form
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations
from pydantic import Field

from cloud import catalogue
from cloud.alerts import service
from cloud.alerts.models import AlarmDetail, AlarmFilter, AlarmState
from cloud.alerts.wording import OWN
from cloud.console import choose, moment, show
from cloud.console.forms import Id, Sent
from cloud.console.pages import View, back_to, page_router, render
from cloud.devices import service as fleet
from cloud.errors import Invalid, NotFound
from cloud.org import service as org
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.node_models import PATH_PATTERN
from cloud.org.rules import PERMISSIONS, SYSTEM, Permission, ancestors
from cloud.paging import MAX_LIMIT
from cloud.state import now_ms
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from cloud.alerts.models import AlarmView, HistoryEntry
    from cloud.console.ui import Ui
    from cloud.devices.models import GatewayView

PAGE: Final = 50
ACTIVE: Final = 200
"""Alarms to be handled on a page."""
MAX_ID: Final = 2**63 - 1
STEP: Final = re.compile(
    r"(?P<step>\d+)/(?P<steps>\d+) (?P<roles>[a-z]+(?:, [a-z]+)*) (?P<node>/[0-9/]*)"
    r" (?:×(?P<told>\d+)|alarm/(?P<alarm>\d+))"
)
"""How `cloud.alerts.escalation` writes a step into an alarm's history."""
SHOW: Final[dict[str, dict[str, bool]]] = {
    "loud": {"quiet": False}, "quiet": {"quiet": True}, "silenced": {"silenced": True},
    "maintenance": {"maintenance": True}, "flapping": {"flapping": True}, "drill": {"drill": True},
    "real": {"drill": False},
}  # fmt: skip
"""What the choice of whom an alarm tells means."""
SHELVE_S: Final = (1800, 7200, 28800, 86400, 604800)
"""How long an alarm may be put aside, as offered."""

pages = page_router()


def kinds_of(ui: Ui) -> list[tuple[str, str]]:
    """Every kind that a profile knows, and those of the cloud's own, with its word, by word."""
    kinds = {rule.kind for profile in catalogue.profiles().values() for rule in profile.alarms} | set(OWN)
    return sorted(((kind, ui.t.name("kind", kind)) for kind in kinds), key=lambda pair: pair[1])


def states_of(choice: str) -> tuple[AlarmState, ...]:
    """What the choice in the list's first field means."""
    if choice == "all":
        return ()
    if choice in set(AlarmState):
        return (AlarmState(choice),)
    return (AlarmState.OPEN, AlarmState.ACKNOWLEDGED)


def by_urgency(listed: Sequence[AlarmView]) -> list[AlarmView]:
    """Those that tell nobody last; open before acknowledged, then the more severe, then the newer."""
    ranks = {severity: rank for rank, severity in enumerate(Severity)}
    newest = sorted(listed, key=lambda alarm: alarm.raised_at, reverse=True)
    return sorted(
        newest, key=lambda alarm: (bool(alarm.quiet), alarm.state is not AlarmState.OPEN, ranks[alarm.severity])
    )


@pages.get("/alarms")
def alarm_list(ui: View, state: State) -> Response:
    """Alarms, without those that another stands for; what is to be handled by urgency, else newest first."""
    chosen = {name: ui.query.get(name, "") for name in ("state", "severity", "kind", "show", "node", "group", "cursor")}
    query = AlarmFilter(
        state=states_of(chosen["state"]),
        severity=(Severity(chosen["severity"]),) if chosen["severity"] in set(Severity) else (),
        kind=chosen["kind"][:64] or None,
        node=chosen["node"] if re.fullmatch(PATH_PATTERN, chosen["node"][:255]) else None,
        group=chosen["group"][:500] or None,
        folded=False,
        **SHOW.get(chosen["show"], {}),
    )
    with state.db.read() as tx:
        wanted = PAGE if chosen["state"] else ACTIVE
        page = service.list_alarms(tx, ui.who, query, limit=wanted, cursor=chosen["cursor"] or None)
        nodes = choose.nodes(tx, ui, top=False)
    t = ui.t
    return render(
        ui, "alarms.html", page=page, listed=page.items if chosen["state"] else by_urgency(page.items),
        chosen={**chosen, "any": bool(ui.query)},
        state_options=[
            ("", t("alarms.filter_active")), *((s.value, t(f"alarm_state.{s}")) for s in AlarmState),
            ("all", t("alarms.filter_all")),
        ],
        severity_options=[("", t("alarms.filter_all")), *((s.value, t(f"severity.{s}")) for s in Severity)],
        kind_options=[("", t("alarms.filter_all")), *kinds_of(ui)],
        show_options=[("", t("silences.filter_any")), *((name, t(f"silences.filter_{name}")) for name in SHOW)],
        node_options=[("", t("alarms.filter_all")), *nodes] if nodes else [],
        next=ui.link(cursor=page.next_cursor), first=ui.link(cursor=None),
    )  # fmt: skip


def _rule(ui: Ui, alarm: AlarmDetail) -> str:
    """The rule in words, when its profile is known in the version that judged."""
    name, _, rule_name = alarm.rule.partition("/")
    profile = catalogue.profile(name)
    if profile is None or profile.version != alarm.rule_version:
        return ""
    found = [rule for rule in profile.alarms if rule.name == rule_name]
    return show.rule(ui.t, profile, found[0]) if found else ""


def _evidence(ui: Ui, alarm: AlarmDetail) -> list[dict[str, object]]:
    profile = catalogue.profile(alarm.rule.partition("/")[0])
    rows: list[dict[str, object]] = []
    for reading in alarm.evidence:
        spec = profile.metrics.get(reading.metric) if profile else None
        title = ui.t.pick(spec.title) if spec else reading.metric
        rows.append(
            {"title": title, "value": show.value(ui.t, reading.metric, reading.value, spec), "at": reading.observed_at}
        )
    return rows


@pages.get("/alarms/{alarm_id}")
def alarm_page(ui: View, state: State, alarm_id: Id) -> Response:
    """One alarm: what it is, why it was raised, what was done."""
    with state.db.read() as tx:
        alarm = service.get_alarm(tx, ui.who, alarm_id)
        folded = _folded(tx, ui, alarm)
        outages = _outage(tx, ui, alarm)
        why = service.explain(tx, ui.who, alarm_id, now_ms())
        names = choose.names(tx, ui, ancestors(alarm.node))
        group = _group(tx, ui, alarm)
        people = _people(tx, ui) if ui.may(Permission.ASSIGN) else []
    delay_s = (alarm.received_at - alarm.raised_at).total_seconds()
    delay = f"{delay_s * 1000:.0f} ms" if delay_s < 2 else ui.span(delay_s)
    return render(
        ui, "alarm.html", alarm=alarm, rule=_rule(ui, alarm), evidence=_evidence(ui, alarm), delay_s=delay_s,
        delay_text=delay, quiet_details={alarm.rule}, why=why, group=group, place=names.get(alarm.node, alarm.node),
        said={entry: _said(ui, entry, names) for entry in alarm.history},
        folded=folded, outages=outages, chart=moment.chart(ui, alarm),
        people=[("", ui.t("alarm.nobody")), *((name, name) for name in people)],
        shelve_options=[(str(seconds), _until(ui, seconds)) for seconds in SHELVE_S],
    )  # fmt: skip


def _until(ui: Ui, seconds: int) -> str:
    """How long an alarm would be put aside, and until when."""
    return ui.t("alarm.shelve_for", span=ui.span(seconds), time=ui.moment(ui.now + timedelta(seconds=seconds)))


def _folded(tx: Connection, ui: Ui, alarm: AlarmDetail) -> list[AlarmView]:
    """The open alarms that this one stands for, at most a page of them."""
    if not alarm.folded:
        return []
    query = AlarmFilter(gateway=alarm.gateway, folded=True, state=states_of(""))
    listed = service.list_alarms(tx, ui.who, query, limit=MAX_LIMIT).items
    return [each for each in listed if each.folded_into == alarm.id][:PAGE]


def _said(ui: Ui, entry: HistoryEntry, names: dict[str, str]) -> str:
    """What the history says of an entry, its roles, areas and reasons in words."""
    step = STEP.fullmatch(entry.detail) if entry.actor == SYSTEM.label else None
    if step:
        roles = ui.t("clause.join").join(ui.t.name("role", role) for role in step["roles"].split(", "))
        said = [ui.t("silences.next_step", step=step["step"], steps=step["steps"], roles=roles)]
        said += [names[step["node"]]] if step["node"] in names else []
        said += [ui.t("silences.channels", n=step["told"])] if step["told"] else [f"#{step['alarm']}"]
        return " · ".join(said)
    reason, _, number = entry.detail.partition("/")
    if entry.actor == SYSTEM.label and reason in {"silence", "maintenance", "inhibited"}:
        return ui.t(f"silences.quiet_{reason}") + (f" #{number}" if number else "")
    return entry.detail


def _group(tx: Connection, ui: Ui, alarm: AlarmDetail) -> list[AlarmView]:
    """The other alarms of its group, at most a page of them."""
    if alarm.group_key is None:
        return []
    listed = service.list_alarms(tx, ui.who, AlarmFilter(group=alarm.group_key), limit=PAGE).items
    return [each for each in listed if each.id != alarm.id]


def _outage(tx: Connection, ui: Ui, alarm: AlarmDetail) -> list[GatewayView]:
    """The gateway whose outage this alarm is about, while it lasts and keeps devices out of reach."""
    if alarm.device is not None or not alarm.gateway or alarm.state is AlarmState.CLEARED:
        return []
    try:
        gateway = fleet.get_gateway(tx, ui.who, alarm.gateway)
    except NotFound:  # it was removed; its alarms stay
        return []
    return [gateway] if gateway.devices_unknown else []


def _people(tx: Connection, ui: Ui) -> list[str]:
    """Who may be given an alarm: users within the viewer's scope who may handle one."""
    return [
        user.name
        for user in org.list_users(tx, ui.who)
        if not user.disabled and Permission.ACKNOWLEDGE in PERMISSIONS[user.role]
    ]


class Act(Sent):
    """The form below an alarm."""

    comment: str = Field("", max_length=8000)
    user: str = Field("", max_length=64)
    seconds: int = Field(0, ge=0, le=7 * 86400)

    @property
    def remark(self) -> str | None:
        """What was said, if anything."""
        return self.comment.strip()[:2000] or None


Given = Annotated[Act, Form()]


@pages.post("/alarms/{alarm_id}/ack")
def acknowledge(ui: View, state: State, alarm_id: Id, act: Given) -> Response:
    """Somebody has seen it."""
    with state.db.begin() as tx:
        service.acknowledge(tx, ui.who, alarm_id, now_ms(), act.remark)
    return back_to(act.back or f"/alarms/{alarm_id}")


@pages.post("/alarms/{alarm_id}/clear")
def clear(ui: View, state: State, alarm_id: Id, act: Given) -> Response:
    """Clear it by hand."""
    with state.db.begin() as tx:
        service.clear(tx, ui.who, alarm_id, now_ms(), act.remark)
    return back_to(act.back or f"/alarms/{alarm_id}")


@pages.post("/alarms/{alarm_id}/comment")
def add_comment(ui: View, state: State, alarm_id: Id, act: Given) -> Response:
    """Say something about it; an empty remark changes nothing."""
    if act.remark:
        with state.db.begin() as tx:
            service.comment(tx, ui.who, alarm_id, now_ms(), act.remark)
    return back_to(act.back or f"/alarms/{alarm_id}")


@pages.post("/alarms/{alarm_id}/assign")
def assign(ui: View, state: State, alarm_id: Id, act: Given) -> Response:
    """Give it to a user who may handle it, or to nobody."""
    with state.db.begin() as tx:
        if act.user and ui.may(Permission.ASSIGN) and act.user not in _people(tx, ui):
            raise Invalid(f"{act.user!r}: {ui.t('alarm.assign_unknown')}")
        service.assign(tx, ui.who, alarm_id, now_ms(), act.user or None)
    return back_to(act.back or f"/alarms/{alarm_id}")


@pages.post("/alarms/{alarm_id}/shelve")
def shelve(ui: View, state: State, alarm_id: Id, act: Given) -> Response:
    """Put it aside for a while, with a reason; 0 seconds bring it back and need none."""
    if act.seconds and not act.remark and ui.may(Permission.SHELVE):
        raise Invalid(ui.t("alarm.shelve_reason"))
    now = now_ms()
    with state.db.begin() as tx:
        until = now + act.seconds * 1000
        service.shelve(tx, ui.who, alarm_id, now, until_ms=until, reason=act.remark or "")
    return back_to(act.back or f"/alarms/{alarm_id}")
