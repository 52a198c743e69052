"""The pages of silences, maintenance and escalation chains."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Form
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations
from pydantic import Field

from cloud.alerts import chains, silences
from cloud.alerts.ops_models import ChainBody, SilenceBody, SilenceFilter
from cloud.alerts.rules import PROTECTED, Purpose
from cloud.console import choose
from cloud.console.alarms import kinds_of
from cloud.console.forms import Button, Id, Sent, checked
from cloud.console.pages import View, back_to, page_router, render
from cloud.errors import NotFound
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import Role
from cloud.state import now_ms
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.alerts.ops_models import SilenceView
    from cloud.console.ui import Ui

PAGE: Final = 50
STEPS: Final = 5
SPANS: Final = (1800, 7200, 28800, 86400, 259200, 604800, 2592000)
"""How long a silence or maintenance may last, as offered, in seconds."""

pages = page_router()


def _made(tx: Connection, ui: Ui) -> SilenceView | None:
    """The silence that was just made, to say what it covers."""
    given = ui.query.get("made", "")
    if not given.isdecimal() or not 0 < int(given) < 2**63:
        return None
    try:
        return silences.get_silence(tx, ui.who, int(given), now_ms())
    except NotFound:  # an old address
        return None


@pages.get("/silences")
def silence_list(ui: View, state: State) -> Response:
    """What tells nobody, why, and until when."""
    query = SilenceFilter(active=None if ui.query.get("show") == "all" else True)
    with state.db.read() as tx:
        cursor = ui.query.get("cursor") or None
        page = silences.list_silences(tx, ui.who, query, now_ms(), limit=PAGE, cursor=cursor)
        names = choose.names(tx, ui, (each.node for each in page.items))
        nodes, made = choose.nodes(tx, ui, top=False), _made(tx, ui)
    offered = [purpose for purpose in Purpose if ui.may(silences.NEEDS[purpose])]
    return render(
        ui, "silences.html", page=page, names=names, made=made,
        never=ui.t("clause.join").join(sorted({ui.t.name("kind", kind) for kind in PROTECTED})),
        purposes=[(purpose.value, ui.t(f"silences.purpose_{purpose}")) for purpose in offered],
        nodes=[("", ui.t("silences.node_own")), *nodes], kinds=kinds_of(ui),
        spans=[(str(seconds), ui.span(seconds)) for seconds in SPANS],
    )  # fmt: skip


class SilenceForm(Sent):
    """The form of a silence or a maintenance; what is empty means any."""

    purpose: str = Field("", max_length=16)
    node: str = Field("", max_length=255)
    gateway: str = Field("", max_length=64)
    device: str = Field("", max_length=64)
    kind: str = Field("", max_length=64)
    reason: str = Field("", max_length=8000)
    seconds: int = Field(0)


@pages.post("/silences")
def add_silence(ui: View, state: State, form: Annotated[SilenceForm, Form()]) -> Response:
    """Begin a silence or a maintenance, and say what stays loud."""
    given = form.model_dump(exclude={"back", "seconds"})
    body = checked(SilenceBody, seconds=form.seconds, **{name: text.strip() for name, text in given.items()})
    with state.db.begin() as tx:
        made = silences.add_silence(tx, ui.who, body, now_ms())
    return back_to(f"/silences?made={made.id}")


@pages.post("/silences/{silence_id}/end")
def end_silence(ui: View, state: State, silence_id: Id, form: Button) -> Response:
    """End it now."""
    with state.db.begin() as tx:
        silences.end_silence(tx, ui.who, silence_id, now_ms())
    return back_to(form.back or "/silences")


@pages.get("/chains")
def chain_list(ui: View, state: State) -> Response:
    """Who is told of what, and when."""
    edit = ui.query.get("edit", "")
    with state.db.read() as tx:
        page = chains.list_chains(tx, ui.who, limit=PAGE, cursor=ui.query.get("cursor") or None)
        names = choose.names(tx, ui, (each.node for each in page.items))
        nodes = choose.nodes(tx, ui, top=False)
        edited = chains.get_chain(tx, ui.who, int(edit)) if edit.isdecimal() and int(edit) < 2**63 else None
    return render(
        ui, "chains.html", page=page, names=names, edited=edited, built_in=chains.built_in(),
        steps=max(STEPS, len(edited.steps) if edited else 0), nodes=[("", ui.t("silences.chain.node_own")), *nodes],
        severities=[(s.value, ui.t(f"severity.{s}")) for s in Severity],
        roles=[(role.value, ui.t(f"role.{role}")) for role in Role],
    )  # fmt: skip


class ChainForm(Sent):
    """The form of a chain. after, up: of each step, in order; an empty `after` is no step. roles: `step:role`.

    roster: the steps that tell those on duty too.
    """

    name: str = Field("", max_length=64)
    node: str = Field("", max_length=255)
    min_severity: str = Field("", max_length=16)
    kinds: str = Field("", max_length=1000)
    after: list[str] = Field(default_factory=list, max_length=10)
    up: list[str] = Field(default_factory=list, max_length=10)
    roles: list[str] = Field(default_factory=list, max_length=100)
    roster: list[str] = Field(default_factory=list, max_length=10)
    repeat_s: int = 0

    def body(self) -> ChainBody:
        """The chain that was meant. Raises Invalid naming the part that is wrong."""
        roles: dict[str, list[str]] = {}
        for step, _, role in (each.partition(":") for each in self.roles):
            roles.setdefault(step, []).append(role)
        steps = [
            {
                "after_s": after.strip(),
                "up": up.strip() or "0",
                "roles": roles.get(str(number), []),
                "roster": str(number) in self.roster,
            }
            for number, (after, up) in enumerate(zip_longest(self.after, self.up[: len(self.after)], fillvalue=""))
            if after.strip()
        ]
        kinds = [kind for part in self.kinds.replace("，", ",").split(",") if (kind := part.strip())]
        return checked(
            ChainBody, name=self.name, node=self.node, min_severity=self.min_severity, kinds=kinds, steps=steps,
            repeat_s=self.repeat_s,
        )  # fmt: skip


@pages.post("/chains")
def add_chain(ui: View, state: State, form: Annotated[ChainForm, Form()]) -> Response:
    """Make a chain."""
    with state.db.begin() as tx:
        chains.add_chain(tx, ui.who, form.body(), now_ms())
    return back_to("/chains")


@pages.post("/chains/{chain_id}")
def put_chain(
    ui: View, state: State, chain_id: Id, form: Annotated[ChainForm, Form()]
) -> Response:  # fmt: skip
    """Replace a chain."""
    with state.db.begin() as tx:
        chains.put_chain(tx, ui.who, chain_id, form.body(), now_ms())
    return back_to("/chains")


@pages.post("/chains/{chain_id}/remove")
def remove_chain(ui: View, state: State, chain_id: Id) -> Response:
    """Take a chain away."""
    with state.db.begin() as tx:
        chains.remove_chain(tx, ui.who, chain_id, now_ms())
    return back_to("/chains")
