"""The pages of changes to many gateways: the edit, what it would do, and the campaign that rolls it out in waves."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Form
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations
from pydantic import Field, ValidationError

from cloud.console import choose
from cloud.console.configs import Configurer, marked
from cloud.console.forms import Sent
from cloud.console.pages import back_to, page_router, render
from cloud.devices.campaigns import service as campaigns
from cloud.devices.campaigns.models import Choice, NewCampaign, PolicyBody
from cloud.devices.configs import service
from cloud.devices.configs.models import Edit, NewChange, Preview
from cloud.importing import fault
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.state import now_ms
from firmware_specs.wire_fleet import MAX_CONFIG_BYTES

if TYPE_CHECKING:
    from cloud.console.ui import Ui

KINDS: Final = ("set", "leave-out", "template", "render")

pages = page_router()


class ChangeForm(Sent):
    """The form of a change. value: as TOML writes it; empty takes the key out. waves: sizes, by spaces."""

    kind: str = Field("set", max_length=16)
    key: str = Field("", max_length=255)
    value: str = Field("", max_length=500)
    template_kind: str = Field("node", max_length=8)
    template_key: str = Field("", max_length=255)
    text: str = Field("", max_length=MAX_CONFIG_BYTES)
    comment: str = Field("", max_length=500)
    node: str = Field("/", max_length=255)
    profile: str = Field("", max_length=64)
    version: str = Field("", max_length=64)
    gateways: str = Field("", max_length=100_000)
    waves: str = Field("1% 10% 100%", max_length=200)
    go: str = Field("", max_length=8)


def change_of(form: ChangeForm) -> NewChange:
    """What the form asks for. Raises Invalid naming what is wrong."""
    edit: dict[str, Any] = {"kind": form.kind, "comment": form.comment.strip()}
    if form.kind == "set":
        edit |= {"key": form.key.strip(), "value": _value(form.value)}
    elif form.kind == "leave-out":
        edit["key"] = form.key.strip()
    elif form.kind == "template":
        text = form.text.replace("\r\n", "\n")
        edit["template"] = {"kind": form.template_kind, "key": form.template_key.strip(), "text": text}
    choice: dict[str, Any] = {
        "node": form.node or "/", "profile": form.profile.strip(), "agent_version": form.version.strip(),
        "gateways": form.gateways.replace(",", " ").split(),
    }  # fmt: skip
    try:
        return NewChange(choice=Choice.model_validate(choice), edit=Edit.model_validate(edit))
    except ValidationError as e:
        raise fault("change", e) from e


def _value(text: str) -> str | float | bool | None:
    """A value as TOML writes it; what is none is a word. Empty: None."""
    if not text.strip():
        return None
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()
    return value if isinstance(value, str | int | float | bool) else text.strip()


@pages.get("/config-changes")
def change_form(ui: Configurer, state: State) -> Response:
    """What to change, and where."""
    return _page(ui, state, ChangeForm(), None)


def _page(ui: Ui, state: State, form: ChangeForm, preview: Preview | None) -> Response:
    with state.db.read() as tx:
        nodes = choose.nodes(tx, ui)
    groups = [(group.gateways, marked(group.diff)) for group in preview.groups] if preview else []
    return render(
        ui, "config_changes.html", form=form, preview=preview, groups=groups, nodes=nodes,
        kinds=[(kind, ui.t(f"configs.edit_{kind}")) for kind in KINDS],
        template_kinds=[(kind, ui.t(f"configs.kind_{kind}")) for kind in ("node", "type")],
    )  # fmt: skip


@pages.post("/config-changes")
def change(ui: Configurer, state: State, form: Annotated[ChangeForm, Form()]) -> Response:
    """Show what a change would do; with `go`, make the campaign that does it."""
    given = change_of(form)
    if form.go != "campaign":
        with state.db.read() as tx:
            preview = service.preview(tx, ui.who, given)
        return _page(ui, state, form, preview)
    try:
        policy = PolicyBody.model_validate({"waves": form.waves.split()})
    except ValidationError as e:
        raise fault("waves", e) from e
    subject = given.edit.model_dump(mode="json")
    title = form.comment.strip() or f"{form.kind} {form.key or form.template_key}".strip()
    new = NewCampaign(kind="config", title=title[:200], subject=subject, choice=given.choice, policy=policy)
    with state.db.read() as tx:
        chosen = campaigns.choose(tx, ui.who, new, now_ms())
    with state.db.begin() as tx:
        made = campaigns.create(tx, ui.who, new, now_ms(), chosen)
    return back_to(f"/campaigns/{made.id}")
