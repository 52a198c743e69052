"""What other folders may do with configuration: have a gateway run one, read what is wanted and what runs.

What is wanted of a gateway waits for it at the broker, so that it comes to it after any outage; what came of it is
what the gateway says. Nothing is sent when nothing changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.devices import service as fleet
from cloud.devices.configs import changes, documents, rules, standings, templates
from cloud.devices.configs.documents import (
    ConfigDocument,
    Note,
    current,
    history,
    may_change,
    node_of,
    propose,
    rendered,
    restore,
    version,
    view,
)
from cloud.devices.configs.edits import diff, with_devices, without
from cloud.devices.configs.faults import ConfigFault, Fault
from cloud.devices.configs.models import ConfigView, PartView, StandingView, VersionView
from cloud.devices.configs.templates import get_template, list_templates, page_templates, put_template
from cloud.devices.places import hold
from cloud.errors import Conflict, Invalid
from cloud.org.rules import SYSTEM
from cloud.paging import Page

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection

    from cloud.org.rules import Principal
    from firmware_specs.gateway_file import DeviceConfig

ConfigStanding = StandingView
preview = changes.preview
__all__ = [
    "ConfigDocument", "ConfigStanding", "Note", "bootstrap", "change_devices", "current", "find_fault", "get_config",
    "get_template", "history", "list_standings", "list_templates", "page_templates", "preview", "propose",
    "propose_from", "put_template", "restore", "see_diff", "see_history", "see_version", "state", "version", "view",
]  # fmt: skip


def change_devices(  # noqa: PLR0917 - whose, by whom, what, when
    tx: Connection, actor: Principal, gateway: str, add: Sequence[DeviceConfig], remove: Collection[str], now_ms: int
) -> ConfigDocument:
    """Add devices to what is wanted of a gateway, in place of those of the same id, and take others out.

    Raises NotFound, Forbidden, Invalid naming the key and the cause.
    """
    node = may_change(tx, actor, gateway)
    hold(tx, gateway)
    entries = [device.model_dump(exclude_defaults=True) for device in add]
    text = with_devices((current(tx, gateway) or documents.NOTHING).own, entries, remove)
    given = {f"devices.{name}" for name in set(remove) - {device.id for device in add}}
    try:
        given &= rendered(tx, gateway, node, text).sources.keys()
    except ConfigFault as e:
        raise Invalid(str(e)) from e
    if given:  # by a template
        text = without(text, given)
    said = [f"+{device.id}" for device in add] + [f"-{name}" for name in sorted(remove)]
    return propose(tx, actor, gateway, text, now_ms, ", ".join(said))


def bootstrap(tx: Connection, gateway: str, node: str, now_ms: int) -> ConfigDocument | None:
    """The configuration that a gateway begins with: the one wanted of it, else what the templates of its node give.

    None when there is neither.
    """
    hold(tx, gateway)
    there = current(tx, gateway)
    if there:
        return there
    if not any(layer.kind is rules.TemplateKind.NODE for layer in templates.layers_for(tx, node)):
        return None
    try:
        made = rendered(tx, gateway, node, "")
    except ConfigFault:
        return None
    return documents.write(tx, SYSTEM, gateway, "", made, now_ms, Note("from the templates of its node"))


def state(tx: Connection, gateway: str, now_ms: int = 0) -> ConfigStanding:
    """How a gateway stands; that it does not answer is known only when the present is given. Raises NotFound."""
    return standings.of(tx, [fleet.get_gateway(tx, SYSTEM, gateway)], now_ms)[0]


def propose_from(
    tx: Connection, actor: Principal, gateway: str, text: str, now_ms: int, *, expected: int | None, note: Note
) -> ConfigDocument:
    """The same as `propose`, if the version wanted is the one expected. Raises Conflict when it is another."""
    may_change(tx, actor, gateway)
    hold(tx, gateway)
    before = current(tx, gateway)
    newest = before.version if before else 0
    if expected is not None and expected != newest:
        raise Conflict(f"gateway {gateway}: version {newest} came between; the change was made from {expected}")
    return propose(tx, actor, gateway, text, now_ms, note.comment, note.trial_s)


def get_config(tx: Connection, principal: Principal, gateway: str, now_ms: int) -> ConfigView:
    """What is wanted of a gateway within scope, where each part comes from, and how it stands. Raises NotFound."""
    node = node_of(tx, principal, gateway)
    document = current(tx, gateway)
    standing = state(tx, gateway, now_ms)
    parts: list[PartView] = []
    if document:
        try:
            made = rendered(tx, gateway, node, document.own)
        except ConfigFault:
            standing = standing.model_copy(update={"behind": True})
        else:
            standing = standing.model_copy(update={"behind": made.hash != document.hash})
            parts = [PartView(part=part, sources=list(of)) for part, of in sorted(made.sources.items())]
            parts += [PartView(part=p, sources=list(of), left_out=True) for p, of in sorted(made.left_out.items())]
    return ConfigView(document=view(gateway, document) if document else None, standing=standing, parts=parts)


def see_version(tx: Connection, principal: Principal, gateway: str, number: int) -> ConfigDocument:
    """One version of a gateway within scope. Raises NotFound."""
    node_of(tx, principal, gateway)
    return version(tx, gateway, number)


def see_history(
    tx: Connection, principal: Principal, gateway: str, *, limit: int = 100, cursor: str | None = None
) -> Page[VersionView]:
    """The versions of a gateway within scope, newest first. Raises NotFound, Invalid on a bad cursor."""
    node_of(tx, principal, gateway)
    return history(tx, gateway, limit, cursor)


def see_diff(tx: Connection, principal: Principal, gateway: str, before: int, after: int) -> str:
    """The difference between what two versions have a gateway within scope run; 0 is nothing. Raises NotFound."""
    node_of(tx, principal, gateway)
    texts = [version(tx, gateway, number).text if number else "" for number in (before, after)]
    return diff(texts[0], texts[1], (f"version {before}", f"version {after}"))


def find_fault(tx: Connection, principal: Principal, gateway: str, text: str) -> Fault | None:
    """What is wrong with a text for a gateway within scope, None when nothing is. Raises NotFound."""
    node = node_of(tx, principal, gateway)
    try:
        rendered(tx, gateway, node, text)
    except ConfigFault as e:
        return e.fault
    return None


def list_standings(
    tx: Connection, principal: Principal, now_ms: int, *, limit: int = 100, cursor: str | None = None
) -> Page[StandingView]:
    """How the gateways within scope stand, by name. Raises Invalid on a bad cursor."""
    page = fleet.list_gateways(tx, principal, limit=limit, cursor=cursor)
    return Page(items=standings.of(tx, page.items, now_ms), next_cursor=page.next_cursor)
