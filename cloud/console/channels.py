"""The pages of notification channels: how each does, what was told and what came back, and setting them up.

A target and a secret are fields that are always empty: what is there already is never shown. The one exception is a
secret that was just made, on the page that answers the form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from fastapi import Form
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations
from pydantic import Field

from cloud.alerts.notify import channels, deliveries
from cloud.alerts.notify.models import ChannelChange, ChannelIn, DeliveryFilter, Status
from cloud.alerts.notify.targets import SERVICES, Kind
from cloud.console import choose
from cloud.console.forms import Button, Id, Sent, checked
from cloud.console.pages import View, back_to, page_router, render
from cloud.org import tree
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import Permission, Role
from cloud.paging import MAX_LIMIT
from cloud.state import now_ms
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.console.ui import Ui


PAGE: Final = 50
MAX_ID: Final = 2**63 - 1
OFFERED: Final = ("wecombot", "wechat", "dingtalk", "feishu", "mailtos", "twilio", "smseagles")
"""Services whose form the page shows; the rest are in the documentation."""

pages = page_router()


class Switch(Sent):
    """On or off."""

    enabled: bool


class Settings(Sent):
    """The form of a channel. users: names, apart by commas or spaces."""

    name: str = Field("", max_length=200)
    node: str = Field("/", max_length=255)
    kind: Kind = Kind.WEBHOOK
    target: str = Field("", max_length=4000)
    secret: str = Field("", max_length=400)
    language: Literal["zh", "en"] = "zh"
    roles: list[Role] = Field(default_factory=list, max_length=20)
    users: str = Field("", max_length=2000)
    min_severity: Severity = Severity.WARNING
    purpose: Literal["real", "drill"] = "real"
    rate: int = Field(20, ge=1, le=600)

    def settings(self) -> dict[str, Any]:
        """What a new and a changed channel have in common."""
        named = [f"user:{name}" for name in self.users.replace(",", " ").replace("，", " ").split()]
        return {
            "name": self.name, "language": self.language, "audience": [*(role.value for role in self.roles), *named],
            "min_severity": self.min_severity, "sandbox": self.purpose == "drill", "rate": self.rate,
        }  # fmt: skip


def _nodes(tx: Connection, ui: Ui) -> list[tuple[str, str]]:
    """The nodes that a channel can be made at, for a choice."""
    top = [tree.get_node(tx, ui.who, ui.who.node)]
    listed = [node for node in tree.list_nodes(tx, ui.who) if node.path != top[0].path]
    order = sorted([*top, *listed], key=lambda node: [int(part) for part in node.path.split("/") if part])
    chinese = ui.t.code == "zh"
    return [
        (node.path, "　" * (node.path.count("/") - 1) + ((node.name_zh if chinese else node.name_en) or node.path))
        for node in order
    ]


def _options(ui: Ui) -> dict[str, Any]:
    """The choices of a channel's form."""
    t = ui.t
    return {
        "kinds": [(kind.value, t(f"channels.kind_{kind}")) for kind in Kind],
        "languages": [("zh", "中文"), ("en", "English")],
        "severities": [(severity.value, t(f"severity.{severity}")) for severity in Severity],
        "purposes": [(name, t(f"channels.purpose_{name}")) for name in ("real", "drill")],
        "roles": [(role.value, t(f"role.{role}")) for role in Role],
        "forms": [SERVICES[name].form for name in OFFERED],
    }


def _told(tx: Connection, ui: Ui, channel: int | None = None) -> dict[str, Any]:
    """The list of deliveries with its filter."""
    chosen = ui.query.get("status", "")
    query = DeliveryFilter(channel=channel, status=(Status(chosen),) if chosen in set(Status) else ())
    page = deliveries.list_deliveries(tx, ui.who, query, limit=PAGE, cursor=ui.query.get("cursor") or None)
    statuses = [("", ui.t("alarms.filter_all")), *((s.value, ui.t(f"channels.status_{s}")) for s in Status)]
    return {
        "told": page.items, "statuses": statuses, "chosen": chosen, "first": ui.link(cursor=None),
        "next": ui.link(cursor=page.next_cursor) if page.next_cursor else "", "cursor": ui.query.get("cursor", ""),
    }  # fmt: skip


def _list(ui: Ui, state: State, **more: object) -> Response:
    with state.db.read() as tx:
        listed = list(channels.list_channels(tx, ui.who, limit=MAX_LIMIT).items)
        names = choose.names(tx, ui, (channel.node for channel in listed))
        nodes = _nodes(tx, ui) if ui.may(Permission.ADMINISTER) else []
        told = _told(tx, ui)
    context: dict[str, Any] = {"made": None, **told, **more}
    return render(ui, "channels.html", channels=listed, names=names, nodes=nodes, options=_options(ui), **context)


@pages.get("/channels")
def channel_list(ui: View, state: State) -> Response:
    """Every channel and what was told last."""
    return _list(ui, state)


@pages.get("/channels/{channel_id}")
def channel_page(ui: View, state: State, channel_id: Id) -> Response:
    """One channel: how it does, its settings, what it was told."""
    with state.db.read() as tx:
        channel = channels.get_channel(tx, ui.who, channel_id)
        names = choose.names(tx, ui, [channel.node])
        told = _told(tx, ui, channel_id)
    users = [each.removeprefix("user:") for each in channel.audience if each.startswith("user:")]
    return render(
        ui, "channel.html", channel=channel, names=names, options=_options(ui), users=", ".join(users), **told
    )  # fmt: skip


@pages.post("/channels")
def add(ui: View, state: State, given: Annotated[Settings, Form()]) -> Response:
    """Make a channel; the page that answers shows the secret that was made, this once."""
    ui.need(Permission.ADMINISTER)
    wanted = checked(
        ChannelIn, **given.settings(), node=given.node, kind=given.kind, target=given.target, secret=given.secret
    )
    allowed = channels.hosts_of(state.config.notify.allow_hosts)
    with state.db.begin() as tx:
        made = channels.add_channel(tx, ui.who, wanted, now_ms=now_ms(), allowed=allowed)
    return _list(ui, state, made=made) if made.secret else back_to("/channels")


@pages.post("/channels/{channel_id}")
def change(
    ui: View, state: State, channel_id: Id, given: Annotated[Settings, Form()]
) -> Response:  # fmt: skip
    """Change its settings; an empty target or secret stays as it is."""
    ui.need(Permission.ADMINISTER)
    wanted = checked(ChannelChange, **given.settings(), target=given.target, secret=given.secret)
    allowed = channels.hosts_of(state.config.notify.allow_hosts)
    with state.db.begin() as tx:
        channels.change_channel(tx, ui.who, channel_id, wanted, now_ms=now_ms(), allowed=allowed)
    return back_to(f"/channels/{channel_id}")


@pages.post("/channels/{channel_id}/switch")
def switch(ui: View, state: State, channel_id: Id, given: Annotated[Switch, Form()]) -> Response:
    """On or off."""
    ui.need(Permission.ADMINISTER)
    with state.db.begin() as tx:
        wanted = ChannelChange(enabled=given.enabled)
        channels.change_channel(tx, ui.who, channel_id, wanted, now_ms=now_ms(), allowed=None)
    return back_to(given.back or f"/channels/{channel_id}")


@pages.post("/channels/{channel_id}/test")
def try_out(ui: View, state: State, channel_id: Id, given: Button) -> Response:
    """Send a test message."""
    ui.need(Permission.ADMINISTER)
    with state.db.begin() as tx:
        channels.try_out(tx, ui.who, channel_id, now_ms())
    return back_to(given.back or f"/channels/{channel_id}")


@pages.post("/channels/{channel_id}/remove")
def remove(ui: View, state: State, channel_id: Id) -> Response:
    """Remove it."""
    ui.need(Permission.ADMINISTER)
    with state.db.begin() as tx:
        channels.remove_channel(tx, ui.who, channel_id, now_ms())
    return back_to("/channels")


@pages.post("/channels/deliveries/{delivery_id}/resend")
def resend(ui: View, state: State, delivery_id: Id, given: Button) -> Response:
    """Send one that has ended again."""
    ui.need(Permission.RESPOND)
    with state.db.begin() as tx:
        deliveries.resend(tx, ui.who, delivery_id, now_ms())
    return back_to(given.back or "/channels")
