"""What the pages of rosters share: their view, their forms, and the units that a form offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Path, Request
from pydantic import BaseModel, Field, ValidationError

from cloud.console.pages import viewer_ui
from cloud.console.ui import Ui
from cloud.errors import Forbidden, Invalid
from cloud.org import auth, tree
from cloud.org.rules import ROOT

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.org.rules import Permission


def _ui(request: Request) -> Ui:
    ui = viewer_ui(request)
    ui.section = "rosters"
    return ui


View = Annotated[Ui, Depends(_ui)]
Thing = Annotated[int, Path(ge=1, lt=2**63)]


class Act(BaseModel):
    """What every form carries. back: the page to return to."""

    csrf: str = Field("", max_length=200)
    back: str = Field("/rosters", max_length=2000)
    note: str = Field("", max_length=2000)


def allowed(request: Request, ui: Ui, act: Act, permission: Permission) -> None:
    """Raises Forbidden when the form's token or the role is not right."""
    auth.check_csrf(request, act.csrf)
    if not ui.may(permission):
        raise Forbidden(f"role {ui.role} may not {permission}")


def checked(model: type[Any], **given: Any) -> Any:  # noqa: ANN401 - a body of the API
    """A body of the API from the fields of a form. Raises Invalid naming the field."""
    try:
        return model(**{name: value for name, value in given.items() if value != ""})
    except ValidationError as e:
        first = e.errors()[0]
        raise Invalid(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from e


def number(text: str, what: str) -> int | None:
    """An id of a choice, None for none. Raises Invalid."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**63):
        raise Invalid(f"{what}: {text!r} is none")
    return int(text)


def nodes_of(tx: Connection, ui: Ui) -> list[tuple[str, str]]:
    """The units within scope, for a choice: path and name, deeper ones indented."""
    listed = sorted(tree.list_nodes(tx, ui.who), key=lambda node: node.path)
    deep = ui.who.node.count("/")
    named = [
        (node.path, "\u3000" * max(0, node.path.count("/") - deep - 1) + name_of(ui, (node.name_zh, node.name_en)))
        for node in listed
    ]
    return [(ROOT, ui.t("rosters.everywhere")), *named] if ui.who.node == ROOT else named


def name_of(ui: Ui, names: tuple[str, str]) -> str:
    """The name in the viewer's language."""
    return names[0] if ui.t.code == "zh" else names[1]
