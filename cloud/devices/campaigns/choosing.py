"""Who is in a campaign and who is not, and why.

Owns the choice: made once, when a campaign is created, and frozen with it. A preview is the same choice without it. It
only reads, so that a large fleet is looked through before anything is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import sqlalchemy as sa

from cloud.devices import selecting as devices
from cloud.devices.campaigns import hooks, rules
from cloud.devices.campaigns.models import Choice, Chosen, NewCampaign, Preview
from cloud.devices.campaigns.store import campaigns, claims
from cloud.errors import Invalid
from cloud.org import tree
from cloud.org.rules import Principal, scope
from cloud.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

EXAMPLES: Final = 20
"""Shown of those that are in, and of those that are out for each reason."""


class Choosing(NamedTuple):
    """What became of a choice. out: with why, and the campaign that a gateway is busy with."""

    members: list[devices.Entry]
    out: list[tuple[devices.Entry, str, int | None]]
    waves: list[int]


def kind_of(name: str) -> hooks.Kind:
    """A kind by its name. Raises Invalid."""
    kind = hooks.KINDS.get(name)
    if kind is None:
        raise Invalid(f"kind: {name!r} is none of {', '.join(sorted(hooks.KINDS)) or 'none'}")
    return kind


def checked(tx: Connection, actor: Principal, new: NewCampaign, now_ms: int) -> NewCampaign:
    """The same with a subject that fits its kind. Raises Forbidden, Invalid, NotFound."""
    tree.may_administer(actor)
    kind = kind_of(new.kind)
    subject = dict(kind.check(tx, actor, new.subject, now_ms)) if kind.check else new.subject
    return new.model_copy(update={"subject": subject})


def fitting(tx: Connection, actor: Principal, choice: Choice) -> list[str]:
    """The gateways within scope that a choice means, by name. Raises NotFound."""
    tree.get_node(tx, actor, choice.node)
    unfit = _fitting(tx, actor, choice, of_devices=False)
    return [entry.gateway for entry in devices.gateways_below(tx, actor, choice.node) if not unfit(entry)]


def choose(tx: Connection, actor: Principal, new: NewCampaign, now_ms: int) -> Choosing:
    """Decide who is in. Raises Forbidden, Invalid, NotFound when the node does."""
    new = checked(tx, actor, new, now_ms)
    kind = kind_of(new.kind)
    tree.get_node(tx, actor, new.choice.node)
    found = (devices.devices_below if kind.of_devices else devices.gateways_below)(tx, actor, new.choice.node)
    unfit = _fitting(tx, actor, new.choice, of_devices=kind.of_devices)
    why = {(entry.gateway, entry.device): unfit(entry) for entry in found}
    fit = [key for key, reason in why.items() if not reason]
    why |= dict.fromkeys(kind.already(tx, new.subject, fit) if kind.already else (), "already")
    busy = _busy(tx, actor, new.kind)
    members: dict[hooks.Member, devices.Entry] = {}
    out: list[tuple[devices.Entry, str, int | None]] = []
    for entry in found:
        key = entry.gateway, entry.device
        if why[key]:
            out.append((entry, why[key], None))
        elif entry.gateway in busy:
            out.append((entry, "busy", busy[entry.gateway]))
        else:
            members[key] = entry
    if len(members) > rules.MAX_MEMBERS:
        raise Invalid(f"choice: {len(members)} members, more than {rules.MAX_MEMBERS}")
    order = rules.drawn(members)
    return Choosing([members[key] for key in order], out, rules.wave_sizes(len(members), new.policy.waves))


def _fitting(
    tx: Connection, actor: Principal, choice: Choice, *, of_devices: bool
) -> Callable[[devices.Entry], str]:  # fmt: skip
    serving = devices.serving(tx, actor, clean(choice.profile, 200)) if choice.profile and not of_devices else set()

    def why(entry: devices.Entry) -> str:
        if choice.gateways and entry.gateway not in choice.gateways:
            return "not-named"
        if entry.gateway in choice.without:
            return "left-out"
        if choice.agent_version and entry.agent_version != choice.agent_version:
            return "agent-version"
        if choice.profile and (entry.profile != choice.profile if of_devices else entry.gateway not in serving):
            return "profile"
        return ""

    return why


def _busy(tx: Connection, actor: Principal, kind: str) -> dict[str, int | None]:
    """Gateways that a running campaign of the kind has; its number when the actor may see it."""
    mine = scope(actor, campaigns.c.node)
    held = sa.select(claims.c.gateway, claims.c.campaign, mine).where(claims.c.kind == kind)
    rows = tx.execute(held.join(campaigns, campaigns.c.id == claims.c.campaign))
    return {row[0]: row[1] if row[2] else None for row in rows}


def preview(tx: Connection, actor: Principal, new: NewCampaign, now_ms: int) -> Preview:
    """What a campaign would be about. Raises Forbidden, Invalid, NotFound."""
    chosen = choose(tx, actor, new, now_ms)
    out: dict[str, int] = {}
    examples = [_chosen(entry) for entry in chosen.members[:EXAMPLES]]
    for entry, why, campaign in chosen.out:
        out[why] = out.get(why, 0) + 1
        if out[why] <= EXAMPLES:
            examples.append(_chosen(entry, why, campaign))
    offline = sum(not entry.online for entry in chosen.members)
    return Preview(members=len(chosen.members), waves=chosen.waves, offline=offline, out=out, examples=examples)


def _chosen(entry: devices.Entry, why: str = "", campaign: int | None = None) -> Chosen:
    return Chosen(
        gateway=entry.gateway, device=entry.device, node=entry.node, agent_version=entry.agent_version,
        online=entry.online, why=why, campaign=campaign,
    )  # fmt: skip
