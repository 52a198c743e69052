"""The pages of the tree: every node with what is at it, one node with its outline, and its users and tokens."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from fastapi import Form, Path
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations
from pydantic import Field

from cloud.alerts import service as alerts
from cloud.console.forms import Id, Sent
from cloud.console.pages import View, back_to, page_router, render
from cloud.devices import service as devices
from cloud.errors import Invalid
from cloud.org import node_files, tree
from cloud.org import service as org
from cloud.org.account_models import AccountName, Subject  # noqa: TC001 - FastAPI reads annotations
from cloud.org.auth import State  # noqa: TC001
from cloud.org.node_models import ChangedNode, NewNode, NodePath
from cloud.org.outlines import outline_of
from cloud.org.rules import ROOT, Permission, Role, ancestors
from cloud.state import now_ms

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from cloud.console.ui import Ui

MAX_ID: Final = 2**63 - 1
MAX_SHOWN: Final = 2000
DAY_MS: Final = 86_400_000
TOKEN_DAYS: Final = (7, 30, 90, 365)
DRAWN: Final = 240
"""Side of the square in which an outline is drawn."""

pages = page_router()
NodeId = Annotated[int, Path(ge=0, le=MAX_ID)]


class Line(NamedTuple):
    """A node of the tree as a line. depth: below the top of what is shown. Counts are of the node and all below."""

    node: tree.Node
    depth: int
    devices: int
    alarms: int
    users: int


def lines(nodes: Iterable[tree.Node], counts: dict[str, dict[str, int]]) -> list[Line]:
    """The tree in the order in which it is read, with counts summed upwards. counts: by what, by exact path."""
    summed: dict[str, dict[str, int]] = {what: {} for what in counts}
    for what, by_path in counts.items():
        for path, count in by_path.items():
            for above in ancestors(path):
                summed[what][above] = summed[what].get(above, 0) + count
    children: dict[str, list[tree.Node]] = {}
    known = {node.path: node for node in nodes}
    for node in known.values():
        above = tree.parent_of(node.path)
        children.setdefault(above if above in known else "", []).append(node)
    found: list[Line] = []
    todo = [(node, 0) for node in reversed(children.get("", []))]
    while todo:
        node, depth = todo.pop()
        of = {what: by_path.get(node.path, 0) for what, by_path in summed.items()}
        found.append(Line(node, depth, of["devices"], of["alarms"], of["users"]))
        todo += [(child, depth + 1) for child in reversed(children.get(node.path, []))]
    return found


def _counts(tx: Connection, ui: Ui) -> dict[str, dict[str, int]]:
    people = org.list_users(tx, ui.who) if ui.may(Permission.ADMINISTER) else []
    users: dict[str, int] = {}
    for user in people:
        users[user.node] = users.get(user.node, 0) + (not user.disabled)
    return {"devices": devices.count_by_node(tx, ui.who), "alarms": alerts.open_by_node(tx, ui.who), "users": users}


@pages.get("/organisation")
def organisation_page(ui: View, state: State) -> Response:
    """The tree."""
    with state.db.read() as tx:
        nodes = tree.list_nodes(tx, ui.who)
        counts = _counts(tx, ui)
    shown = lines(nodes, counts)
    whole = {what: sum(by_path.values()) for what, by_path in counts.items()}
    return render(
        ui, "organisation.html", lines=shown[:MAX_SHOWN], more=max(0, len(shown) - MAX_SHOWN), whole=whole,
        top=ui.who.node == ROOT, kinds=_kinds(ui), parents=_choices(ui, nodes),
    )  # fmt: skip


def _kinds(ui: Ui) -> list[tuple[str, str]]:
    return [(kind.value, ui.t(f"kind_of_node.{kind}")) for kind in tree.Kind]


def _choices(ui: Ui, nodes: list[tree.Node]) -> list[tuple[str, str]]:
    """Nodes for a choice, each with its ancestors' names."""
    named = {node.path: ui.called(node.name_zh, node.name_en) for node in nodes}
    top = [(ROOT, ui.t("organisation.root"))] if ui.who.node == ROOT else []
    return top + [
        (path, " / ".join(named[above] for above in ancestors(path) if above in named)) for path in sorted(named)
    ]


def drawing(outline: str | None) -> str:
    """An outline as the path of an SVG of `DRAWN` by `DRAWN`, longitudes shortened as they are there; else empty."""
    if outline is None:
        return ""
    geometry = json.loads(outline)
    west, south, east, north = outline_of(geometry).box
    shorten = max(0.05, math.cos(math.radians((south + north) / 2)))
    scale = DRAWN / max((east - west) * shorten, north - south)
    polygons = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
    rings = (ring for polygon in polygons for ring in polygon)
    drawn = (
        "L".join(f"{(lon - west) * shorten * scale:.1f} {(north - lat) * scale:.1f}" for lon, lat in ring[:-1])
        for ring in rings
    )
    return "".join(f"M{ring}Z" for ring in drawn)


def _node(tx: Connection, ui: Ui, node_id: int) -> tree.Node:
    """A node by its id; 0 is the root. Raises NotFound."""
    return tree.get_node(tx, ui.who, ROOT) if node_id == 0 else tree.find_id(tx, ui.who, node_id)


@pages.get("/organisation/{node_id}")
def node_page(ui: View, state: State, node_id: NodeId) -> Response:
    """One node: what it is, its outline, what is below it, and for administrators its users and tokens."""
    return _node_page(ui, state, node_id)


def _node_page(ui: Ui, state: State, node_id: int, told: dict[str, str] | None = None) -> Response:
    with state.db.read() as tx:
        node = _node(tx, ui, node_id)
        above = [path for path in ancestors(node.path)[:-1] if path.startswith(ui.who.node)]
        trail = [tree.get_node(tx, ui.who, path) for path in above]
        below = tree.list_nodes(tx, ui.who, node.path)
        counts = _counts(tx, ui)
        administers = ui.may(Permission.ADMINISTER)
        users = [user for user in org.list_users(tx, ui.who) if user.node == node.path] if administers else []
        tokens = org.list_tokens(tx, now_ms(), ui.who) if administers else []
        fleet = devices.at_node(tx, ui.who, node.path)
        in_force = {name: tree.inherited(tx, node.path, name) for name in ("settlement", "time_zone")}
        choices = _choices(ui, tree.list_nodes(tx, ui.who)) if administers else []
    shown = [line for line in lines(below, counts) if line.node.path != node.path]
    me = next((line for line in lines([*below, node], counts) if line.node.path == node.path), None)
    return render(
        ui, "node.html", node=node, trail=trail, lines=[line for line in shown if line.depth <= 1][:MAX_SHOWN], me=me,
        users=users, tokens=[token for token in tokens if token.node == node.path and token.in_force], fleet=fleet,
        in_force=in_force, zone=in_force["time_zone"] or state.config.time_zone, drawing=drawing(node.outline),
        kinds=_kinds(ui), choices=choices, told=told,
        roles=[(role.value, ui.t(f"role.{role}")) for role in Role], days=TOKEN_DAYS,
        settlements=[("", ui.t("organisation.inherited")), *(
            (each.value, ui.t(f"organisation.{each}")) for each in tree.Settlement
        )],
    )  # fmt: skip


class NodeForm(Sent):
    """A node's form. Empty means none, or inherited."""

    parent: NodePath = ROOT
    kind: tree.Kind = tree.Kind.STREET
    code: str = Field("", max_length=64)
    name_zh: str = Field("", max_length=200)
    name_en: str = Field("", max_length=200)
    population: str = Field("", max_length=12)
    settlement: str = Field("", max_length=8)
    time_zone: str = Field("", max_length=64)
    outline: str = Field("", max_length=900_000)

    def values(self) -> dict[str, Any]:
        """What was entered, for the models of the API. Raises Invalid."""
        given: dict[str, Any] = {"name_zh": self.name_zh.strip(), "code": self.code.strip() or None}
        given["name_en"] = self.name_en.strip() or given["name_zh"]
        for name in ("population", "settlement", "time_zone"):
            given[name] = getattr(self, name).strip() or None
        if self.outline.strip():
            given["outline"] = geometry_of(self.outline)
        return given


def geometry_of(text: str) -> object:
    """The geometry of GeoJSON that somebody pasted: itself, of a feature, of the only feature. Raises Invalid."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise Invalid("outline: not JSON") from e
    if isinstance(told, dict) and told.get("type") == "FeatureCollection":
        features = told.get("features")
        told = features[0] if isinstance(features, list) and len(features) == 1 else {}
    if isinstance(told, dict) and told.get("type") == "Feature":
        told = told.get("geometry")
    return told


NodeGiven = Annotated[NodeForm, Form()]


@pages.post("/organisation")
def add_node(ui: View, state: State, form: NodeGiven) -> Response:
    """Make a node."""
    new = node_files.checked(NewNode, {"parent": form.parent, "kind": form.kind, **form.values()})
    names = (new.name_zh, new.name_en or new.name_zh)
    with state.db.begin() as tx:
        tree.add_node(tx, ui.who, new.parent, new.kind, names, now_ms=now_ms(), code=new.code, **new.more())
    return back_to(form.back or "/organisation")


@pages.post("/organisation/{node_id}")
def change_node(ui: View, state: State, node_id: NodeId, form: NodeGiven) -> Response:
    """Give a node other values; an empty outline leaves the one that there is."""
    changed = node_files.checked(ChangedNode, form.values())
    with state.db.begin() as tx:
        tree.change_node(tx, ui.who, _node(tx, ui, node_id).path, changed.columns(), now_ms())
    return back_to(f"/organisation/{node_id}")


@pages.post("/organisation/{node_id}/archive")
def archive_node(ui: View, state: State, node_id: NodeId) -> Response:
    """Put a node away for good."""
    with state.db.begin() as tx:
        tree.archive_node(tx, ui.who, _node(tx, ui, node_id).path, now_ms())
    return back_to("/organisation")


class PlaceForm(Sent):
    """A gateway or a device to be put here; an empty device means the gateway."""

    gateway: str = Field("", max_length=64)
    device: str = Field("", max_length=64)


@pages.post("/organisation/{node_id}/places")
def place(
    ui: View, state: State, node_id: NodeId, form: Annotated[PlaceForm, Form()]
) -> Response:  # fmt: skip
    """Put a gateway or a device here."""
    with state.db.begin() as tx:
        node = _node(tx, ui, node_id)
        devices.place(tx, ui.who, form.gateway.strip(), form.device.strip() or None, node.path, now_ms())
    return back_to(f"/organisation/{node_id}")


class AccountForm(Sent):
    """A user or a token."""

    name: AccountName
    role: Role = Role.PROPERTY
    days: int = Field(30, ge=0, le=3660)
    subject: Subject = ""
    node: NodePath | None = None


Account = Annotated[AccountForm, Form()]


@pages.post("/organisation/{node_id}/users")
def add_user(ui: View, state: State, node_id: NodeId, form: Account) -> Response:
    """Make a user here; the page that answers tells the password, once."""
    with state.db.begin() as tx:
        node = _node(tx, ui, node_id)
        password = org.add_user(tx, ui.who, form.name, form.role, now_ms(), node=node.path)
    return _node_page(ui, state, node_id, {"what": "password", "name": form.name, "secret": password})


@pages.post("/organisation/{node_id}/users/{act}")
def change_user(
    ui: View, state: State, node_id: NodeId, act: Annotated[str, Path(max_length=16)], form: Account
) -> Response:
    """Change a user of this node, make it a new password, or keep it from signing in."""
    acts: dict[str, dict[str, Any]] = {"disable": {"disabled": True}, "enable": {"disabled": False}}
    acts["change"] = {"role": form.role, "subject": form.subject or None, **({"node": form.node} if form.node else {})}
    with state.db.begin() as tx:
        _node(tx, ui, node_id)
        if act == "password":
            password = org.reset_password(tx, ui.who, form.name, now_ms())
        elif act in acts:
            org.change_user(tx, ui.who, form.name, acts[act], now_ms())
        else:
            raise Invalid(f"users: {act!r} is nothing that can be done")
    if act == "password":
        return _node_page(ui, state, node_id, {"what": "password", "name": form.name, "secret": password})
    return back_to(f"/organisation/{node_id}")


@pages.post("/organisation/{node_id}/tokens")
def add_token(ui: View, state: State, node_id: NodeId, form: Account) -> Response:
    """Make a token here; the page that answers tells it, once."""
    now = now_ms()
    ends = now + form.days * DAY_MS if form.days else None
    with state.db.begin() as tx:
        node = _node(tx, ui, node_id)
        token = org.add_token(tx, ui.who, form.name, form.role, now_ms=now, expires_at=ends, node=node.path)
    return _node_page(ui, state, node_id, {"what": "token", "name": form.name, "secret": token})


@pages.post("/organisation/{node_id}/tokens/{token_id}/revoke")
def revoke_token(
    ui: View, state: State, node_id: NodeId, token_id: Id,
) -> Response:  # fmt: skip
    """Refuse a token from now on."""
    with state.db.begin() as tx:
        _node(tx, ui, node_id)
        org.revoke_token_id(tx, ui.who, token_id, now_ms())
    return back_to(f"/organisation/{node_id}")
