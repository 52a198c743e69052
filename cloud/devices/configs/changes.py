"""Changes to many gateways: chosen, edited, previewed, and rolled out in the waves of a campaign.

Owns what a change is and what each step of a campaign of kind `config` does: it proposes the edit for one gateway, the
gateway's own word says how that went, and the way back is the text from before, exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from pydantic import ValidationError

from cloud.devices.campaigns import service as campaigns
from cloud.devices.campaigns.hooks import KINDS, Kind, Undone
from cloud.devices.campaigns.rules import drawn
from cloud.devices.configs import documents, standings, templates
from cloud.devices.configs.documents import NOTHING, ConfigDocument, Note, current, rendered
from cloud.devices.configs.edits import diff, with_key, without
from cloud.devices.configs.faults import ConfigFault
from cloud.devices.configs.models import Edit, NewChange, Preview, PreviewFault, PreviewGroup
from cloud.devices.configs.rules import ENDED, Phase
from cloud.devices.configs.store import config_change_steps
from cloud.devices.places import gateway_node, hold
from cloud.errors import NotFound
from cloud.importing import fault
from cloud.org.rules import ROOT, SYSTEM, Principal
from cloud.text import clean

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection, Row

    from cloud.devices.campaigns.hooks import Member
    from cloud.devices.configs.merge import Rendered

LOOKED: Final = 1_000
"""Gateways whose configuration is made to see what a change would do, in one go."""
TEMPLATE: Final = ""
"""In place of a gateway: the template that a campaign brought."""
KEPT: Final = "kept"
"""Said of a gateway that somebody ordered something of since."""
TAKEN_BACK: Final = "taken-back"


def preview(tx: Connection, principal: Principal, given: NewChange) -> Preview:
    """What a change would do to each gateway that it chooses; of very many, to a part that is spread over all of them.

    Raises NotFound, Forbidden, Invalid when the edit itself is wrong.
    """
    if given.edit.template:
        templates.check_template(tx, principal, given.edit.template)
    chosen = campaigns.fitting(tx, principal, given.choice)
    unknown = sorted(given.choice.gateways - set(chosen))
    if unknown:
        raise NotFound(f"gateway {unknown[0]}: not found")
    looked = sorted(gateway for gateway, _ in drawn((name, "") for name in chosen)[:LOOKED])
    groups: dict[str, list[str]] = {}
    faults: dict[str, list[str]] = {}
    unchanged: list[str] = []
    for gateway in looked:
        before = current(tx, gateway)
        try:
            _, made = _edited(tx, gateway, before, given.edit)
        except ConfigFault as e:
            faults.setdefault(str(e), []).append(gateway)
            continue
        told = diff((before or NOTHING).text, made.text)
        if told:
            groups.setdefault(told, []).append(gateway)
        else:
            unchanged.append(gateway)
    return Preview(
        groups=[PreviewGroup(gateways=names, diff=told) for told, names in groups.items()],
        faults=[PreviewFault(gateways=names, reason=reason) for reason, names in faults.items()],
        unchanged=unchanged, chosen=len(chosen), looked=len(looked),
    )  # fmt: skip


def _edited(tx: Connection, gateway: str, before: ConfigDocument | None, edit: Edit) -> tuple[str, Rendered]:
    """A gateway's own text after an edit, and what it would run then. Raises ConfigFault."""
    own = (before or NOTHING).own
    if edit.kind == "leave-out":
        own = without(own, [edit.key])
    elif edit.kind == "set":
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


def already(tx: Connection, subject: Mapping[str, Any], members: Collection[Member]) -> set[Member]:
    """Those that would run nothing else by it. Of more than can be looked through none is known: they are done at once.

    One that it is wrong for is not: its campaign shows why.
    """
    edit = edit_of(subject)
    return {member for member in members if _already(tx, edit, member[0])} if len(members) <= LOOKED else set()


def _already(tx: Connection, edit: Edit, gateway: str) -> bool:
    before = current(tx, gateway)
    try:
        _, made = _edited(tx, gateway, before, edit)
    except ConfigFault:
        return False
    return made.hash == (before or NOTHING).hash


def start(tx: Connection, campaign: int, subject: Mapping[str, Any], gateway: str, _device: str, now_ms: int) -> None:
    """Propose a change for one gateway; the first brings the template. Raises Invalid, ConfigFault when it is wrong."""
    edit = edit_of(subject)
    hold(tx, gateway)
    if edit.template and _step_of(tx, campaign, TEMPLATE) is None:
        before = templates.newest(tx, edit.template.kind, edit.template.key)
        put = templates.put_template(tx, SYSTEM, edit.template, now_ms)
        _step(tx, campaign, TEMPLATE, before.version if before else None, put.version, back=False)
    earlier, now = _step_of(tx, campaign, gateway), current(tx, gateway)
    own, made = _edited(tx, gateway, now, edit)
    note = Note(f"campaign {campaign} {edit.comment}".strip())
    document = documents.write(tx, SYSTEM, gateway, own, made, now_ms, note)
    from_ = earlier.before if earlier else now.version if now else None
    _step(tx, campaign, gateway, from_, document.version, back=False)
    _judge(tx, campaign, gateway, document, now_ms, back=False)


def back(tx: Connection, campaign: int, _subject: Mapping[str, Any], gateway: str, _device: str, now_ms: int) -> None:
    """Have a gateway run what it ran before the campaign, exactly. What others ordered since then stays."""
    row, now = _step_of(tx, campaign, gateway), current(tx, gateway)
    if not _return(tx, campaign, gateway, now_ms):
        since = row is not None and now is not None and now.version != row.version
        campaigns.outcome(tx, campaign, gateway, "", True, KEPT if since else "", now_ms, back=True)


def stop(tx: Connection, campaign: int, _subject: Mapping[str, Any], gateway: str, _device: str, now_ms: int) -> None:
    """Want again what was wanted before the campaign. Whoever runs the change already goes back from it."""
    _return(tx, campaign, gateway, now_ms)


def _return(tx: Connection, campaign: int, gateway: str, now_ms: int) -> bool:
    """Order what was before the campaign, unless it changed nothing, or others ordered something since."""
    hold(tx, gateway)
    row, now = _step_of(tx, campaign, gateway), current(tx, gateway)
    if row is None or now is None or now.version != row.version or row.before == row.version:
        return False
    document = documents.restore(tx, SYSTEM, gateway, row.before or 0, now_ms, f"back from campaign {campaign}")
    _step(tx, campaign, gateway, row.before, document.version, back=True)
    _judge(tx, campaign, gateway, document, now_ms, back=True)
    return True


def undo(tx: Connection, campaign: int, now_ms: int) -> Undone | None:
    """Put the template back that the campaign brought, unless somebody has changed it since."""
    row, template = _step_of(tx, campaign, TEMPLATE), edit_of(campaigns.subject_of(tx, campaign)).template
    if row is None or template is None or row.before == row.version:
        return None
    now = templates.newest(tx, template.kind, template.key)
    named = f"{template.kind} {template.key}"
    if now is None or now.version != row.version:
        return Undone("template-kept", f"{named}: {now.version if now else 0}")
    text = templates.text_of(tx, template.kind, template.key, row.before or 0)
    comment = f"back from campaign {campaign}"
    given = template.model_copy(update={"text": text, "comment": comment})
    put = templates.write(tx, SYSTEM, given, now_ms)
    _step(tx, campaign, TEMPLATE, row.before, put.version, back=True)
    return Undone("template-back", f"{named}: {row.version} → {put.version} = {row.before or 0}")


def _step_of(tx: Connection, campaign: int, gateway: str) -> Row[Any] | None:
    c = config_change_steps.c
    return tx.execute(sa.select(config_change_steps).where(c.campaign == campaign, c.gateway == gateway)).first()


def _step(
    tx: Connection, campaign: int, gateway: str, before: int | None, version: int, *, back: bool
) -> None:  # fmt: skip
    c = config_change_steps.c
    tx.execute(config_change_steps.delete().where(c.campaign == campaign, c.gateway == gateway))
    values = {"campaign": campaign, "gateway": gateway, "before": before, "version": version, "back": back}
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
        if back:  # an order that was taken back while it was under way
            campaigns.outcome(tx, *step, "", False, why or TAKEN_BACK, now_ms)
        campaigns.outcome(tx, *step, "", good, why, now_ms, back=back)


standings.ENDED.append(told)
KINDS["config"] = Kind(start=start, stop=stop, back=back, check=check, already=already, undo=undo)
