"""The pages of campaigns: which there are, how one goes, and the form of a new one with a look at who would be in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Form
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations

from cloud.console import choose
from cloud.console.campaign_forms import CampaignForm
from cloud.console.forms import Id, Sent, checked
from cloud.console.pages import View, back_to, page_router, render
from cloud.console.ui import Ui, bar
from cloud.devices.campaigns import service
from cloud.devices.campaigns.models import MemberQuery, Note
from cloud.devices.campaigns.rules import Act, Standing
from cloud.devices.campaigns.rules import State as Stands
from cloud.devices.releases import service as releases
from cloud.errors import Invalid
from cloud.org import service as org
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import SYSTEM, Permission
from cloud.state import now_ms

if TYPE_CHECKING:
    from cloud.devices.campaigns.models import PolicyBody, Preview, TallyView

PAGE: Final = 50
MEMBERS: Final = 25
LOOKS: Final = {
    Stands.DRAFT: "unknown", Stands.APPROVED: "acknowledged", Stands.RUNNING: "acknowledged", Stands.PAUSED: "major",
    Stands.ENDED: "normal", Stands.ABORTED: "offline", Stands.ROLLING_BACK: "minor", Stands.ROLLED_BACK: "offline",
}  # fmt: skip
MEMBER_LOOKS: Final = {
    Standing.PENDING: "offline", Standing.STARTED: "acknowledged", Standing.COMMITTED: "normal",
    Standing.FAILED: "critical", Standing.RETRYING: "warning", Standing.MISSED: "unknown",
    Standing.CANCELLED: "offline", Standing.BACKING: "acknowledged", Standing.BACK: "unknown",
    Standing.STUCK: "critical",
}  # fmt: skip
DOTS: Final = (
    ("normal", ("committed",)), ("critical", ("failed", "stuck")), ("minor", ("started", "backing")),
    ("warning", ("retrying",)), ("unknown", ("back", "missed")), ("offline", ("pending", "cancelled")),
)  # fmt: skip
"""The pieces of a wave's bar, in order, and what each counts."""
GRAVE: Final = frozenset({Act.ABORT, Act.ROLL_BACK})

pages = page_router()


class CampaignAct(Note, Sent):
    """A button of a campaign. The note goes into its history."""

    act: Act


def _bar(tally: TallyView) -> list[tuple[str, int, int]]:
    return bar((dot, sum(getattr(tally, name) for name in names)) for dot, names in DOTS)


@pages.get("/campaigns")
def campaign_list(ui: View, state: State) -> Response:
    """Every campaign, newest first."""
    chosen = ui.query.get("state", "")
    states = (Stands(chosen),) if chosen in set(Stands) else ()
    with state.db.read() as tx:
        page = service.list_campaigns(tx, ui.who, states=states, limit=PAGE, cursor=ui.query.get("cursor") or None)
        names = choose.names(tx, ui, (each.node for each in page.items))
    bars = {each.id: _bar(each.tally) for each in page.items}
    return render(
        ui, "campaigns.html", page=page, names=names, looks=LOOKS, bars=bars,
        chosen=chosen, next=ui.link(cursor=page.next_cursor), first=ui.link(cursor=None),
        states=[("", ui.t("campaigns.all")), *((each.value, ui.t(f"campaigns.state_{each}")) for each in Stands)],
    )  # fmt: skip


def _form(state: State, ui: Ui, form: CampaignForm, preview: Preview | None = None, wrong: str = "") -> Response:
    with state.db.read() as tx:
        nodes = choose.nodes(tx, ui, choose.PLACES)
        targets = [(each.path, f"{each.path} · {each.version}") for each in releases.targets(tx)]
    return render(
        ui, "campaign_new.html", status=422 if wrong else 200, form=form, preview=preview, wrong=wrong, nodes=nodes,
        targets=[("", "—"), *targets], days=[str(day) for day in range(1, 8)],
        kinds=[(kind, ui.t.name("campaigns.kind", kind)) for kind in sorted(service.KINDS)],
    )  # fmt: skip


@pages.get("/campaigns/new")
def new(ui: View, state: State) -> Response:
    """The form."""
    ui.need(Permission.ADMINISTER)
    return _form(state, ui, CampaignForm(health="1", node=ui.who.node))


@pages.post("/campaigns/new")
def create(ui: View, state: State, form: Annotated[CampaignForm, Form()]) -> Response:
    """Show who would be in it, or make it."""
    try:
        body = form.body()
        if form.step == "create":
            with state.db.read() as tx:
                chosen = service.choose(tx, ui.who, body, now_ms())
            with state.db.begin() as tx:
                made = service.create(tx, ui.who, body, now_ms(), chosen)
            return back_to(f"/campaigns/{made.id}")
        with state.db.read() as tx:
            return _form(state, ui, form, service.preview(tx, ui.who, body, now_ms()))
    except Invalid as e:
        return _form(state, ui, form, wrong=str(e))


def _member_query(ui: Ui) -> MemberQuery:
    """Which members the page shows. Raises Invalid."""
    given: dict[str, Any] = {name: ui.query.get(name) for name in ("wave", "reason", "search", "cursor")}
    chosen = ui.query.get("state")
    return checked(MemberQuery, limit=MEMBERS, state=(chosen,) if chosen else None, **given)


def _windows(ui: Ui, policy: PolicyBody) -> list[str]:
    """When its members may be started, in words."""
    return [
        ui.t(
            "campaigns.window", days=" ".join(ui.t(f"campaigns.day_{day}") for day in sorted(each.days)),
            begins=each.begins, ends=each.ends,
        )
        for each in policy.windows
    ]  # fmt: skip


@pages.get("/campaigns/{campaign_id}")
def campaign(ui: View, state: State, campaign_id: Id) -> Response:
    """How one goes: its waves, what failed and why, what may be done, who is in it."""
    query = _member_query(ui)
    with state.db.read() as tx:
        found = service.get_campaign(tx, ui.who, campaign_id)
        members = service.list_members(tx, ui.who, campaign_id, query)
        where = choose.names(tx, ui, [found.node])[found.node]
        own = org.same_person(tx, ui.who, found.author)
    acts = [act for act in found.acts if ui.may(Permission.ADMINISTER) and not (act is Act.APPROVE and own)]
    return render(
        ui, "campaign.html", each=found, windows=_windows(ui, found.policy), where=where, looks=LOOKS,
        member_looks=MEMBER_LOOKS, acts=acts, grave=GRAVE,
        bars={step.wave: _bar(step.tally) for step in found.steps}, members=members, query=query, engine=SYSTEM.label,
        next=ui.link(cursor=members.next_cursor), first=ui.link(cursor=None),
        standings=[
            ("", ui.t("campaigns.all")), *((each.value, ui.t(f"campaigns.member_{each}")) for each in Standing)
        ],
    )  # fmt: skip


@pages.post("/campaigns/{campaign_id}/do")
def act(ui: View, state: State, campaign_id: Id, sent: Annotated[CampaignAct, Form()]) -> Response:
    """Press one of its buttons."""
    if sent.act not in service.ACTS:
        raise Invalid("act: the engine's own")
    with state.db.begin() as tx:
        service.ACTS[sent.act](tx, ui.who, campaign_id, now_ms(), sent.note)
    return back_to(sent.back or f"/campaigns/{campaign_id}")
