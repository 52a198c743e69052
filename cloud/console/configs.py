"""The pages of configurations: how every gateway stands, the editor of one, templates, and changes to many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Form, Path
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations
from pydantic import Field

from cloud.console import choose
from cloud.console.forms import Id, Sent, checked
from cloud.console.pages import back_to, needing, page_router, render
from cloud.console.ui import Ui
from cloud.devices.configs import service
from cloud.devices.configs.faults import OWN
from cloud.devices.configs.models import TRIAL_S, NewTemplate
from cloud.devices.configs.rules import Phase, TemplateKind
from cloud.errors import NotFound
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import Permission
from cloud.state import now_ms
from firmware_specs.readings import NAME_PATTERN
from firmware_specs.wire_fleet import MAX_CONFIG_BYTES

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.devices.configs.faults import Fault
    from cloud.devices.configs.models import ConfigView

PAGE: Final = 50
AROUND: Final = 2
"""Lines shown before and after one that is wrong."""
PILLS: Final = {
    Phase.UNSET: "unknown", Phase.WAITING: "unknown", Phase.NO_ANSWER: "fault", Phase.LOCAL: "offline",
    Phase.TRIAL: "warning", Phase.IN_FORCE: "normal", Phase.REFUSED: "alarm", Phase.REVERTED: "alarm",
}  # fmt: skip
"""The look of each phase."""
Line = tuple[str, str]
"""The class of a line and its text."""

pages = page_router()


Configurer = Annotated[Ui, needing(Permission.PROVISION, Permission.AUDIT)]
Gateway = Annotated[str, Path(pattern=NAME_PATTERN)]


class TextForm(Sent):
    """The editor of one gateway. expected: the version that was edited."""

    text: str = Field("", max_length=MAX_CONFIG_BYTES)
    comment: str = Field("", max_length=500)
    trial_s: int = Field(TRIAL_S, ge=5, le=86400)
    expected: int = Field(0, ge=0, lt=2**63)


class TemplateForm(Sent):
    """The editor of a template."""

    kind: TemplateKind
    key: str = Field(min_length=1, max_length=255)
    text: str = Field("", max_length=MAX_CONFIG_BYTES)
    comment: str = Field("", max_length=500)


def marked(diff: str) -> list[Line]:
    """The lines of a difference, each with its class."""
    kinds = {"+": "plus", "-": "minus", "@": "hunk"}
    return [(kinds.get(line[:1], ""), line) for line in diff.splitlines()]


def around(text: str, line: int) -> list[tuple[int, str, bool]]:
    """The lines around one that is wrong: number, text, whether it is the one."""
    lines = text.splitlines()
    shown = range(max(1, line - AROUND), min(len(lines), line + AROUND) + 1)
    return [(number, lines[number - 1], number == line) for number in shown]


@pages.get("/configs")
def standing_list(ui: Configurer, state: State) -> Response:
    """How every gateway stands to what is wanted of it."""
    with state.db.read() as tx:
        page = service.list_standings(tx, ui.who, now_ms(), limit=PAGE, cursor=ui.query.get("cursor") or None)
        names = choose.names(tx, ui, (each.node for each in page.items))
    return render(ui, "configs.html", page=page, names=names, pills=PILLS)


@pages.get("/configs/{gateway}")
def editor(ui: Configurer, state: State, gateway: Gateway) -> Response:
    """One gateway: what is wanted, what runs, where each part comes from, what there was."""
    return _editor(ui, state, gateway)


def _editor(
    ui: Ui, state: State, gateway: str, *, draft: TextForm | None = None, fault: Fault | None = None
) -> Response:
    number = ui.query.get("version", "")
    with state.db.read() as tx:
        config = service.get_config(tx, ui.who, gateway, now_ms())
        past = service.history(tx, gateway, PAGE, ui.query.get("cursor") or None)
        names = choose.names(tx, ui, [config.standing.node])
        shown = None
        if number.isdecimal() and 0 < int(number) < 2**63:
            shown = service.see_version(tx, ui.who, gateway, int(number))
        against = config.document.version if config.document else 0
        difference = service.see_diff(tx, ui.who, gateway, shown.version, against) if shown else _drift(tx, ui, config)
    text = draft.text if draft else config.document.own if config.document else ""
    return render(
        ui, "config.html", 422 if fault else 200, config=config, past=past, names=names, shown=shown,
        difference=marked(difference), draft=draft, text=text, fault=fault,
        around=around(text, fault.line) if fault and fault.source == OWN else [], pills=PILLS, trial_s=TRIAL_S,
        expected=against,
    )  # fmt: skip


def _drift(tx: Connection, ui: Ui, config: ConfigView) -> str:
    """The difference between what runs and what is wanted, as far as what runs is known."""
    standing = config.standing
    if config.document is None or not standing.drift:
        return ""
    try:
        return service.see_diff(tx, ui.who, standing.gateway, standing.running_version, config.document.version)
    except NotFound:  # it came from another cloud
        return ""


@pages.post("/configs/{gateway}")
def propose(ui: Configurer, state: State, gateway: Gateway, form: Annotated[TextForm, Form()]) -> Response:
    """Have the gateway run the text; what is wrong with it is shown at its line, and the text is kept."""
    form.text = form.text.replace("\r\n", "\n")
    with state.db.read() as tx:
        fault = service.find_fault(tx, ui.who, gateway, form.text)
    if fault:
        return _editor(ui, state, gateway, draft=form, fault=fault)
    with state.db.begin() as tx:
        note = service.Note(form.comment.strip(), form.trial_s)
        service.propose_from(tx, ui.who, gateway, form.text, now_ms(), expected=form.expected, note=note)
    return back_to(f"/configs/{gateway}")


@pages.post("/configs/{gateway}/restore/{version}")
def restore(
    ui: Configurer, state: State, gateway: Gateway, version: Id
) -> Response:  # fmt: skip
    """Have the gateway run exactly what an earlier version said."""
    with state.db.begin() as tx:
        service.restore(tx, ui.who, gateway, version, now_ms())
    return back_to(f"/configs/{gateway}")


@pages.get("/config-templates")
def template_list(ui: Configurer, state: State) -> Response:
    """What gateways of a node, or with a type of device, have in common."""
    kind, key = ui.query.get("kind", ""), ui.query.get("key", "")
    with state.db.read() as tx:
        found = service.list_templates(tx, ui.who)
        names = choose.names(tx, ui, (each.key for each in found if each.kind is TemplateKind.NODE))
        nodes = choose.nodes(tx, ui)
    edited = next((each for each in found if (each.kind, each.key) == (kind, key)), None)
    return render(ui, "config_templates.html", templates=found, names=names, nodes=nodes, edited=edited)


@pages.post("/config-templates")
def put_template(ui: Configurer, state: State, form: Annotated[TemplateForm, Form()]) -> Response:
    """Put a template, or take it away with an empty text."""
    text = form.text.replace("\r\n", "\n")
    given = checked(NewTemplate, kind=form.kind, key=form.key.strip(), text=text, comment=form.comment.strip())
    with state.db.begin() as tx:
        service.put_template(tx, ui.who, given, now_ms())
    return back_to("/config-templates")
