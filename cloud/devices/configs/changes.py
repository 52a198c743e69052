"""Changes to many gateways: chosen, edited, previewed, and rolled out in the waves of a campaign.

Owns what a change is and what each step of a campaign of kind `config` does: it proposes the edit for one gateway, the
gateway's own word says how that went, and the way back is the text from before, exactly.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from cloud.devices import service as fleet
from cloud.devices.campaigns import service as campaigns
from cloud.devices.configs import documents, standings, templates
from cloud.devices.configs.documents import ConfigDocument, Note, current, rendered
from cloud.devices.configs.edits import diff, with_key
from cloud.devices.configs.faults import ConfigFault
from cloud.devices.configs.models import Edit, NewChange, Preview, PreviewFault, PreviewGroup, Selection
from cloud.devices.configs.rules import Phase
from cloud.devices.configs.store import config_change_steps, config_changes
from cloud.devices.places import gateway_node, hold
from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.org import audit, tree
from cloud.org.rules import ROOT, SYSTEM, Permission, Principal, visible
from cloud.paging import MAX_LIMIT
from cloud.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from cloud.devices.configs.merge import Rendered
    from cloud.devices.models import GatewayView

MOST: Final = 10_000
"""Gateways of one change."""


class Change(NamedTuple):
    """A change as it was made."""

    id: int
    edit: Edit
    comment: str


def chosen(tx: Connection, principal: Principal, selection: Selection) -> list[str]:
    """The gateways within scope that a selection means, by name. Raises NotFound, Invalid when they are too many."""
    if selection.node != ROOT:
        tree.get_node(tx, principal, selection.node)
    named = set(selection.gateways)
    found = [g for g in _gateways(tx, principal) if g.node.startswith(selection.node)]
    unknown = sorted(named - {gateway.id for gateway in found})
    if unknown:
        raise NotFound(f"gateway {unknown[0]}: not found")
    wanted = [g.id for g in found if (not named or g.id in named) and selection.version in {"", g.agent_version}]
    if selection.profile:
        wanted = [g for g in wanted if _has_type(tx, principal, g, selection.profile)]
    if len(wanted) > MOST:
        raise Invalid(f"selection: {len(wanted)} gateways, more than {MOST}")
    return wanted


def _gateways(tx: Connection, principal: Principal) -> Iterator[GatewayView]:
    cursor: str | None = None
    while True:
        page = fleet.list_gateways(tx, principal, limit=MAX_LIMIT, cursor=cursor)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return


def _has_type(tx: Connection, principal: Principal, gateway: str, profile: str) -> bool:
    return bool(fleet.list_devices(tx, principal, 0, gateway=gateway, profile=profile, limit=1).items)


def preview(tx: Connection, principal: Principal, given: NewChange) -> Preview:
    """What a change would do to each gateway. Raises NotFound, Forbidden, Invalid when the edit itself is wrong."""
    template = given.edit.template
    if template:
        templates.check_template(tx, principal, template)
    groups: dict[str, list[str]] = {}
    faults: dict[str, list[str]] = {}
    unchanged: list[str] = []
    gateways = chosen(tx, principal, given.selection)
    for gateway in gateways:
        before = current(tx, gateway)
        try:
            _, made = _edited(tx, gateway, before, given.edit)
        except ConfigFault as e:
            faults.setdefault(str(e), []).append(gateway)
            continue
        told = diff(before.text if before else "", made.text)
        if told:
            groups.setdefault(told, []).append(gateway)
        else:
            unchanged.append(gateway)
    return Preview(
        groups=[PreviewGroup(gateways=names, diff=told) for told, names in groups.items()],
        faults=[PreviewFault(gateways=names, reason=reason) for reason, names in faults.items()],
        unchanged=unchanged, chosen=len(gateways),
    )  # fmt: skip


def _edited(tx: Connection, gateway: str, before: ConfigDocument | None, edit: Edit) -> tuple[str, Rendered]:
    """A gateway's own text after an edit, and what it would run then. Raises ConfigFault."""
    own = before.own if before else ""
    if edit.kind == "set":
        value = edit.value
        whole = isinstance(value, float) and value.is_integer()
        own = with_key(own, edit.key, int(value) if whole and value is not None else value)
    node = gateway_node(tx, gateway) or ROOT
    return own, rendered(tx, gateway, node, own, edit.template)


def make(tx: Connection, actor: Principal, given: NewChange, now_ms: int) -> tuple[Change, list[str]]:
    """Write a change down, and its template with it; the gateways that it would change, for a campaign's waves.

    Raises NotFound, Forbidden, Invalid when it is wrong for any gateway, Conflict when it changes none.
    """
    if not actor.may(Permission.PROVISION):
        raise Forbidden(f"role {actor.role} may not change configurations")
    seen = preview(tx, actor, given)
    if seen.faults:
        fault = seen.faults[0]
        raise Invalid(f"gateway {fault.gateways[0]}: {fault.reason}")
    gateways = sorted(name for group in seen.groups for name in group.gateways)
    if not gateways:
        raise Conflict("change: no gateway would run anything else by it")
    if given.edit.template:
        templates.put_template(tx, actor, given.edit.template, now_ms)
    row: dict[str, Any] = {
        "node": actor.node, "edit": given.edit.model_dump_json(), "comment": clean(given.comment, 500),
        "author": actor.label, "at": now_ms,
    }  # fmt: skip
    made = int(tx.execute(config_changes.insert().values(row).returning(config_changes.c.id)).scalar_one())
    audit.record(tx, actor, "config.change", f"config-change/{made}", at=now_ms,
                 detail=clean(f"{len(gateways)} gateways {given.edit.kind} {given.edit.key}", 500))  # fmt: skip
    return Change(made, given.edit, row["comment"]), gateways


def get_change(tx: Connection, principal: Principal, change: int) -> Change:
    """A change within scope. Raises NotFound."""
    wanted = sa.select(config_changes).where(config_changes.c.id == change)
    row = tx.execute(wanted).first() if 0 < change < 2**63 else None
    if row is None or not visible(principal, row.node):
        raise NotFound(f"configuration change {change}: not found")
    return Change(row.id, Edit.model_validate(json.loads(row.edit)), row.comment)


# ---- the steps of a campaign


def start(  # noqa: PLR0917 - as campaigns call it
    tx: Connection, campaign: int, subject: str, gateway: str, _device: str, now_ms: int
) -> None:
    """Propose a change for one gateway."""
    hold(tx, gateway)
    before = current(tx, gateway)
    try:
        change = get_change(tx, SYSTEM, int(subject) if subject.isdecimal() else 0)
        own, made = _edited(tx, gateway, before, change.edit)
    except (ConfigFault, NotFound) as e:
        campaigns.outcome(tx, campaign, gateway, "", ok=False, reason=clean(str(e), 500), now_ms=now_ms)
        return
    note = Note(clean(f"campaign {campaign} {change.comment}".strip(), 500))
    document = documents.write(tx, SYSTEM, gateway, own, made, now_ms, note)
    _step(tx, campaign, gateway, before.version if before else None, document.version)
    _judge(tx, campaign, gateway, document, now_ms)


def back(  # noqa: PLR0917 - as campaigns call it
    tx: Connection, campaign: int, _subject: str, gateway: str, _device: str, now_ms: int
) -> None:
    """Have a gateway run what it ran before the campaign. What others ordered since then stays."""
    c = config_change_steps.c
    row = tx.execute(sa.select(config_change_steps).where(c.campaign == campaign, c.gateway == gateway)).first()
    hold(tx, gateway)
    now = current(tx, gateway)
    if row is None or row.before is None or now is None or now.version != row.version or row.before == row.version:
        campaigns.outcome(tx, campaign, gateway, "", ok=True, reason="nothing to go back from", now_ms=now_ms)
        return
    document = documents.restore(tx, SYSTEM, gateway, row.before, now_ms, f"back from campaign {campaign}")
    _step(tx, campaign, gateway, row.version, document.version)
    _judge(tx, campaign, gateway, document, now_ms)


def stop(  # noqa: PLR0917 - as campaigns call it
    _tx: Connection, _campaign: int, _subject: str, _gateway: str, _device: str, _now_ms: int
) -> None:
    """A campaign waits or ends: what was ordered stays, the gateway decides by itself and tells."""


def _step(tx: Connection, campaign: int, gateway: str, before: int | None, version: int) -> None:
    c = config_change_steps.c
    tx.execute(config_change_steps.delete().where(c.campaign == campaign, c.gateway == gateway))
    values = {"campaign": campaign, "gateway": gateway, "before": before, "version": version}
    tx.execute(config_change_steps.insert().values(values))


def _judge(tx: Connection, campaign: int, gateway: str, document: ConfigDocument, now_ms: int) -> None:
    """A gateway that runs it already says nothing more: take its last word."""
    phase = standings.ended(tx, gateway, document.version, document.hash)
    row = standings.told(tx, gateway)
    if phase is not None and row is not None:
        _outcome(tx, campaign, gateway, phase, row.reason, now_ms)


def told(  # noqa: PLR0917 - as standings call it
    tx: Connection, gateway: str, version: int, phase: Phase, reason: str, now_ms: int
) -> None:
    """A gateway tells what came of a version: tell the campaigns that ordered it."""
    c = config_change_steps.c
    wanted = sa.select(c.campaign)
    if phase is not Phase.LOCAL:
        wanted = wanted.where(c.version == version)
    for campaign in tx.execute(wanted.where(c.gateway == gateway).order_by(c.campaign)).scalars().all():
        _outcome(tx, campaign, gateway, phase, reason, now_ms)


def _outcome(  # noqa: PLR0917 - whose, what, why, when
    tx: Connection, campaign: int, gateway: str, phase: Phase, reason: str, now_ms: int
) -> None:
    if phase is Phase.IN_FORCE:
        campaigns.outcome(tx, campaign, gateway, "", ok=True, reason="", now_ms=now_ms)
    elif phase in {Phase.REFUSED, Phase.REVERTED, Phase.LOCAL}:
        campaigns.outcome(tx, campaign, gateway, "", ok=False, reason=clean(f"{phase}: {reason}", 500), now_ms=now_ms)
    elif phase is Phase.TRIAL:
        campaigns.progress(tx, campaign, gateway, "", Phase.TRIAL.value, now_ms)
