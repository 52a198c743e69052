"""Changes to many gateways: chosen, edited, previewed, and rolled out in the waves of a campaign.

Owns what a change is and what each step of a campaign of kind `config` does: it proposes the edit for one gateway, the
gateway's own word says how that went, and the way back is the text from before, exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from pydantic import ValidationError

from cloud.devices import service as fleet
from cloud.devices.campaigns import service as campaigns
from cloud.devices.campaigns.hooks import KINDS, Kind
from cloud.devices.configs import documents, standings, templates
from cloud.devices.configs.documents import ConfigDocument, Note, current, rendered
from cloud.devices.configs.edits import diff, with_key
from cloud.devices.configs.faults import ConfigFault
from cloud.devices.configs.models import Edit, NewChange, Preview, PreviewFault, PreviewGroup
from cloud.devices.configs.rules import ENDED, Phase
from cloud.devices.configs.store import config_change_steps
from cloud.devices.places import gateway_node, hold
from cloud.errors import NotFound
from cloud.importing import fault
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, Principal
from cloud.paging import MAX_LIMIT
from cloud.text import clean
from firmware_specs.gateway_document import hash_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection, Row

    from cloud.devices.campaigns.models import Choice
    from cloud.devices.configs.merge import Rendered
    from cloud.devices.models import GatewayView


def chosen(tx: Connection, principal: Principal, choice: Choice) -> list[str]:
    """The gateways within scope that a choice means, by name. Raises NotFound."""
    if choice.node != ROOT:
        tree.get_node(tx, principal, choice.node)
    found = [g for g in _gateways(tx, principal) if g.node.startswith(choice.node) and g.id not in choice.without]
    unknown = sorted(choice.gateways - {gateway.id for gateway in found})
    if unknown:
        raise NotFound(f"gateway {unknown[0]}: not found")
    wanted = [
        g.id for g in found
        if (not choice.gateways or g.id in choice.gateways) and choice.agent_version in {"", g.agent_version}
    ]  # fmt: skip
    return [g for g in wanted if not choice.profile or _has_type(tx, principal, g, choice.profile)]


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
    gateways = chosen(tx, principal, given.choice)
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


# ---- the steps of a campaign


def check(tx: Connection, actor: Principal, subject: Mapping[str, Any], _now_ms: int) -> dict[str, Any]:
    """An edit as a campaign's subject. Raises Forbidden, NotFound, Invalid naming what is wrong with it."""
    edit = edit_of(subject)
    if edit.template:
        templates.check_template(tx, actor, edit.template)
    return edit.model_dump(mode="json")


def edit_of(subject: Mapping[str, Any]) -> Edit:
    """An edit from its JSON. Raises Invalid naming what is wrong with it."""
    try:
        return Edit.model_validate(subject)
    except ValidationError as e:
        raise fault("subject", e) from e


def already(tx: Connection, subject: Mapping[str, Any], gateway: str, _device: str) -> bool:
    """Whether a gateway would run nothing else by it. One that it is wrong for is not: its campaign shows why."""
    before = current(tx, gateway)
    try:
        _, made = _edited(tx, gateway, before, edit_of(subject))
    except ConfigFault:
        return False
    return made.hash == (before.hash if before else hash_of(""))


def start(tx: Connection, campaign: int, subject: Mapping[str, Any], gateway: str, _device: str, now_ms: int) -> None:
    """Propose a change for one gateway, and its template with it. Raises Invalid, ConfigFault when it is wrong."""
    edit = edit_of(subject)
    hold(tx, gateway)
    if edit.template:
        templates.put_template(tx, SYSTEM, edit.template, now_ms)
    before = current(tx, gateway)
    own, made = _edited(tx, gateway, before, edit)
    earlier = _step_of(tx, campaign, gateway)
    note = Note(f"campaign {campaign} {edit.comment}".strip())
    document = documents.write(tx, SYSTEM, gateway, own, made, now_ms, note)
    number = before.version if before else None
    _step(tx, campaign, gateway, earlier.before if earlier else number, document, back=False)
    _judge(tx, campaign, gateway, document, now_ms, back=False)


def back(tx: Connection, campaign: int, _subject: Mapping[str, Any], gateway: str, _device: str, now_ms: int) -> None:
    """Have a gateway run what it ran before the campaign, exactly. What others ordered since then stays."""
    hold(tx, gateway)
    row = _step_of(tx, campaign, gateway)
    now = current(tx, gateway)
    if row is None or now is None or now.version != row.version or row.before in {None, row.version}:
        campaigns.outcome(tx, campaign, gateway, "", True, "", now_ms, back=True)
        return
    document = documents.restore(tx, SYSTEM, gateway, row.before, now_ms, f"back from campaign {campaign}")
    _step(tx, campaign, gateway, row.version, document, back=True)
    _judge(tx, campaign, gateway, document, now_ms, back=True)


def stop(
    _tx: Connection, _campaign: int, _subject: Mapping[str, Any], _gateway: str, _device: str, _now_ms: int
) -> None:
    """Nothing: what was ordered stays, since the gateway alone decides whether it keeps it, and tells."""


def _step_of(tx: Connection, campaign: int, gateway: str) -> Row[Any] | None:
    c = config_change_steps.c
    return tx.execute(sa.select(config_change_steps).where(c.campaign == campaign, c.gateway == gateway)).first()


def _step(
    tx: Connection, campaign: int, gateway: str, before: int | None, document: ConfigDocument, *, back: bool
) -> None:
    c = config_change_steps.c
    tx.execute(config_change_steps.delete().where(c.campaign == campaign, c.gateway == gateway))
    values = {"campaign": campaign, "gateway": gateway, "before": before, "version": document.version, "back": back}
    tx.execute(config_change_steps.insert().values(values))


def _judge(
    tx: Connection, campaign: int, gateway: str, document: ConfigDocument, now_ms: int, *, back: bool
) -> None:  # fmt: skip
    """A gateway that runs it already says nothing more: take its last word."""
    phase = standings.ended(tx, gateway, document.version, document.hash)
    row = standings.told(tx, gateway)
    if row is not None and row.phase == Phase.LOCAL:
        phase = Phase.LOCAL
    if phase is not None and row is not None:
        _outcome(tx, (campaign, gateway), phase, row.reason, now_ms, back=back)


def told(  # noqa: PLR0917 - as standings call it
    tx: Connection, gateway: str, version: int, phase: Phase, reason: str, now_ms: int
) -> None:
    """A gateway tells what came of a version: tell the campaigns that ordered it."""
    c = config_change_steps.c
    wanted = sa.select(c.campaign, c.back).where(c.gateway == gateway).order_by(c.campaign)
    if phase is not Phase.LOCAL:
        wanted = wanted.where(c.version == version)
    for row in tx.execute(wanted).all():
        _outcome(tx, (row.campaign, gateway), phase, reason, now_ms, back=row.back)


def _outcome(tx: Connection, step: tuple[int, str], phase: Phase, reason: str, now_ms: int, *, back: bool) -> None:
    if phase is Phase.TRIAL:
        campaigns.progress(tx, *step, "", phase.value, now_ms)
    elif phase in ENDED:
        good = phase is Phase.IN_FORCE
        why = "" if good else clean(f"{phase}: {reason}", 500)
        campaigns.outcome(tx, *step, "", good, why, now_ms, back=back)


standings.ENDED.append(told)
KINDS["config"] = Kind(start=start, stop=stop, back=back, check=check, already=already)
