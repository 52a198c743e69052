"""The pages of silences, maintenance and escalation chains."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Depends, Form, Path, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, Field, ValidationError

from cloud.alerts import chains, silences
from cloud.alerts.ops_models import ChainBody, SilenceBody, SilenceFilter
from cloud.alerts.rules import PROTECTED, Purpose
from cloud.console.alarms import kinds_of, nodes_of
from cloud.console.pages import PageRoute, back_to, render, viewer_ui
from cloud.console.ui import Ui
from cloud.errors import Invalid, NotFound
from cloud.org import auth, tree
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import Role
from cloud.state import now_ms
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from cloud.alerts.ops_models import SilenceView

PAGE: Final = 50
STEPS: Final = 5
SPANS: Final = (1800, 7200, 28800, 86400, 259200, 604800, 2592000)
"""How long a silence or maintenance may last, as offered, in seconds."""

pages = APIRouter(route_class=PageRoute, include_in_schema=False, default_response_class=HTMLResponse)
View = Annotated[Ui, Depends(viewer_ui)]
Id = Annotated[int, Path(ge=1, lt=2**63)]


def _names(tx: Connection, ui: Ui, paths: Iterable[str]) -> dict[str, str]:
    """What nodes are called in the viewer's language."""
    return {path: zh if ui.t.code == "zh" else en for path, (zh, en) in tree.names(tx, paths).items()}


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
    ui.section = "alarms"
    query = SilenceFilter(active=None if ui.query.get("show") == "all" else True)
    with state.db.read() as tx:
        cursor = ui.query.get("cursor") or None
        page = silences.list_silences(tx, ui.who, query, now_ms(), limit=PAGE, cursor=cursor)
        names = _names(tx, ui, (each.node for each in page.items))
        nodes, made = nodes_of(tx, ui), _made(tx, ui)
    offered = [purpose for purpose in Purpose if ui.may(silences.NEEDS[purpose])]
    return render(
        ui, "silences.html", page=page, names=names, made=made,
        never=ui.t("clause.join").join(sorted({ui.t.name("kind", kind) for kind in PROTECTED})),
        purposes=[(purpose.value, ui.t(f"silences.purpose_{purpose}")) for purpose in offered],
        nodes=[("", ui.t("silences.node_own")), *nodes], kinds=kinds_of(ui),
        spans=[(str(seconds), ui.span(seconds)) for seconds in SPANS],
    )  # fmt: skip


class Sent(BaseModel):
    """What every form carries."""

    csrf: str = Field("", max_length=200)
    back: str = Field("", max_length=2000)


class SilenceForm(Sent):
    """The form of a silence or a maintenance; what is empty means any."""

    purpose: str = Field("", max_length=16)
    node: str = Field("", max_length=255)
    gateway: str = Field("", max_length=64)
    device: str = Field("", max_length=64)
    kind: str = Field("", max_length=64)
    reason: str = Field("", max_length=8000)
    seconds: int = Field(0)


def _refused(e: ValidationError) -> Invalid:
    first = e.errors()[0]
    return Invalid(f"{'.'.join(map(str, first['loc'])) or 'form'}: {first['msg']}")


@pages.post("/silences")
def add_silence(request: Request, ui: View, state: State, form: Annotated[SilenceForm, Form()]) -> Response:
    """Begin a silence or a maintenance, and say what stays loud."""
    auth.check_csrf(request, form.csrf)
    given: dict[str, Any] = {
        name: text.strip()
        for name in ("purpose", "node", "gateway", "device", "kind", "reason")
        if (text := getattr(form, name)).strip()
    }
    try:
        body = SilenceBody.model_validate({**given, "seconds": form.seconds})
    except ValidationError as e:
        raise _refused(e) from e
    with state.db.begin() as tx:
        made = silences.add_silence(tx, ui.who, body, now_ms())
    return back_to(f"/silences?made={made.id}")


@pages.post("/silences/{silence_id}/end")
def end_silence(request: Request, ui: View, state: State, silence_id: Id, form: Annotated[Sent, Form()]) -> Response:
    """End it now."""
    auth.check_csrf(request, form.csrf)
    with state.db.begin() as tx:
        silences.end_silence(tx, ui.who, silence_id, now_ms())
    return back_to(form.back or "/silences")


@pages.get("/chains")
def chain_list(ui: View, state: State) -> Response:
    """Who is told of what, and when."""
    ui.section = "alarms"
    edit = ui.query.get("edit", "")
    with state.db.read() as tx:
        page = chains.list_chains(tx, ui.who, limit=PAGE, cursor=ui.query.get("cursor") or None)
        names = _names(tx, ui, (each.node for each in page.items))
        nodes = nodes_of(tx, ui)
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
        try:
            return ChainBody.model_validate(
                {
                    "name": self.name, "node": self.node or None, "min_severity": self.min_severity, "kinds": kinds,
                    "steps": steps, "repeat_s": self.repeat_s,
                }
            )  # fmt: skip
        except ValidationError as e:
            raise _refused(e) from e


@pages.post("/chains")
def add_chain(request: Request, ui: View, state: State, form: Annotated[ChainForm, Form()]) -> Response:
    """Make a chain."""
    auth.check_csrf(request, form.csrf)
    with state.db.begin() as tx:
        chains.add_chain(tx, ui.who, form.body(), now_ms())
    return back_to("/chains")


@pages.post("/chains/{chain_id}")
def put_chain(
    request: Request, ui: View, state: State, chain_id: Id, form: Annotated[ChainForm, Form()]
) -> Response:  # fmt: skip
    """Replace a chain."""
    auth.check_csrf(request, form.csrf)
    with state.db.begin() as tx:
        chains.put_chain(tx, ui.who, chain_id, form.body(), now_ms())
    return back_to("/chains")


@pages.post("/chains/{chain_id}/remove")
def remove_chain(request: Request, ui: View, state: State, chain_id: Id, form: Annotated[Sent, Form()]) -> Response:
    """Take a chain away."""
    auth.check_csrf(request, form.csrf)
    with state.db.begin() as tx:
        chains.remove_chain(tx, ui.who, chain_id, now_ms())
    return back_to("/chains")
