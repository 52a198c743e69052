"""What people do with campaigns: create, approve, start, pause, resume, abort, roll back, retry.

Owns the acts. Each sets the campaign's timer first and then holds its row, the order of the engine; what follows from
an act is the engine's. Who wrote a campaign never approves it, nor a wave of it, also not by a token.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cloud.db import insert
from cloud.devices.campaigns import choosing, engine, hooks, members, rules, telling, views
from cloud.devices.campaigns.rules import Act, Event, Standing, State
from cloud.devices.campaigns.store import campaigns, claims, waves
from cloud.devices.campaigns.store import members as members_table
from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.org import service as org
from cloud.org import tree
from cloud.org.rules import Principal, visible
from cloud.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection, Row

    from cloud.devices.campaigns.choosing import Choosing
    from cloud.devices.campaigns.models import CampaignDetail, NewCampaign

_c = members_table.c


def create(
    tx: Connection, actor: Principal, new: NewCampaign, now_ms: int, chosen: Choosing | None = None
) -> CampaignDetail:  # fmt: skip
    """Make a campaign. chosen: its members, when they were chosen before; else those that fit now.

    Raises Forbidden, NotFound, Invalid.
    """
    subject = choosing.checked(tx, actor, new, now_ms).subject
    tree.get_node(tx, actor, new.choice.node, hold=True)
    chosen = chosen or choosing.choose(tx, actor, new, now_ms)
    if not chosen.members:
        raise Invalid("choice: nobody fits it")
    values = {
        "node": new.choice.node, "kind": new.kind, "title": clean(new.title, 200),
        "subject": clean(json.dumps(subject, ensure_ascii=False), 2**24), "choice": new.choice.model_dump_json(),
        "policy": new.policy.model_dump_json(), "state": State.DRAFT.value, "author": actor.label,
        "created_at": now_ms, "wave": 0, "approved_wave": 0, "reason": "", "detail": "",
    }  # fmt: skip
    row = tx.execute(campaigns.insert().values(**values).returning(campaigns)).one()
    members.add(tx, row.id, chosen.members, chosen.waves)
    detail = f"{len(chosen.members)} = {' + '.join(map(str, chosen.waves))}"
    telling.happened(tx, row, actor, "create", now_ms, detail=detail)
    telling.moved(tx, row, now_ms)
    return views.get_campaign(tx, actor, row.id)


def _held(tx: Connection, actor: Principal, campaign: int, act: Act, now_ms: int) -> tuple[Row[Any], State]:
    """A campaign that an act is for, and where it leads. Raises Forbidden, NotFound, Conflict."""
    tree.may_administer(actor)
    engine.nudge(tx, campaign, now_ms)
    row = engine.hold(tx, campaign)
    if row is None or not visible(actor, row.node):
        raise NotFound(f"campaign {campaign}: not found")
    to = rules.after(State(row.state), act)
    if to is None:
        raise Conflict(f"campaign {campaign}: is {row.state}, which allows no {act}")
    return row, to


def _done(
    tx: Connection, actor: Principal, row: Row[Any], act: Act, now_ms: int, *, note: str = "", wave: int = 0
) -> CampaignDetail:
    telling.happened(tx, row, actor, act.value, now_ms, wave=wave, detail=note)
    telling.moved(tx, row, now_ms)
    return views.get_campaign(tx, actor, row.id)


def approve(tx: Connection, actor: Principal, campaign: int, now_ms: int, note: str = "") -> CampaignDetail:
    """Let it be started, or its next wave be opened. Raises Forbidden for its author, NotFound, Conflict."""
    row, to = _held(tx, actor, campaign, Act.APPROVE, now_ms)
    if org.same_person(tx, actor, row.author):
        raise Forbidden(f"campaign {campaign}: who wrote it does not approve it, nor does a token of theirs")
    wave = 1
    if row.state == State.DRAFT.value:
        row = engine.change(
            tx, row, state=to.value, approved_by=actor.label, approved_at=now_ms, approved_wave=wave
        )  # fmt: skip
    elif row.awaits is None:
        raise Conflict(f"campaign {campaign}: no wave waits for an approval")
    else:
        wave = row.awaits
        row = engine.change(tx, row, approved_wave=wave, awaits=None)
    return _done(tx, actor, row, Act.APPROVE, now_ms, note=note, wave=wave)


def start(tx: Connection, actor: Principal, campaign: int, now_ms: int, note: str = "") -> CampaignDetail:
    """Begin with the first wave. Raises NotFound; Conflict when another one of the kind has some of its gateways."""
    row, to = _held(tx, actor, campaign, Act.START, now_ms)
    _claim(tx, actor, row)
    row = engine.change(tx, row, state=to.value, started_at=now_ms)
    return _done(tx, actor, row, Act.START, now_ms, note=note)


def pause(tx: Connection, actor: Principal, campaign: int, now_ms: int, note: str = "") -> CampaignDetail:
    """Start nobody more; who has started goes on. Raises NotFound, Conflict."""
    row, to = _held(tx, actor, campaign, Act.PAUSE, now_ms)
    row = engine.change(tx, row, state=to.value, reason="by-hand", detail=clean(note, 2000))
    telling.notified(tx, row, "paused", now_ms)
    return _done(tx, actor, row, Act.PAUSE, now_ms, note=note, wave=row.wave)


def resume(tx: Connection, actor: Principal, campaign: int, now_ms: int, note: str = "") -> CampaignDetail:
    """Go on; what has failed until now is forgiven. Raises NotFound, Conflict."""
    row, to = _held(tx, actor, campaign, Act.RESUME, now_ms)
    sick = sa.and_(_c.state == Standing.COMMITTED.value, _c.unhealthy)
    bad = sa.or_(_c.state == Standing.FAILED.value, sick)
    tx.execute(members_table.update().where(_c.campaign == campaign, bad).values(forgiven=True))
    row = engine.change(tx, row, state=to.value, reason="", detail="")
    return _done(tx, actor, row, Act.RESUME, now_ms, note=note, wave=row.wave)


def abort(tx: Connection, actor: Principal, campaign: int, now_ms: int, note: str = "") -> CampaignDetail:
    """Start nobody any more and take back what is not begun; who has committed stays. Raises NotFound, Conflict."""
    row, to = _held(tx, actor, campaign, Act.ABORT, now_ms)
    row = engine.change(tx, row, state=to.value, awaits=None, reason="", detail="")
    return _done(tx, actor, row, Act.ABORT, now_ms, note=note, wave=row.wave)


def roll_back(tx: Connection, actor: Principal, campaign: int, now_ms: int, note: str = "") -> CampaignDetail:
    """Bring back who committed. Raises NotFound; Conflict when nothing leads back or a later campaign changed them."""
    row, to = _held(tx, actor, campaign, Act.ROLL_BACK, now_ms)
    kind = hooks.KINDS.get(row.kind)
    if kind is None or kind.back is None:
        raise Conflict(f"campaign {campaign}: nothing leads back from {row.kind}")
    later = members.changed_since(tx, campaign, row.kind)
    if later:
        raise Conflict(f"campaign {campaign}: campaign {later[0]} has changed {later[1]} of its members since")
    _claim(tx, actor, row)
    row = engine.change(tx, row, state=to.value, ended_at=None, awaits=None, reason="", detail="")
    undone = kind.undo(tx, campaign, now_ms) if kind.undo else None
    if undone:
        telling.happened(tx, row, actor, undone.what, now_ms, detail=undone.detail)
    return _done(tx, actor, row, Act.ROLL_BACK, now_ms, note=note)


def retry(tx: Connection, actor: Principal, campaign: int, now_ms: int, note: str = "") -> CampaignDetail:
    """Have who failed or missed it started again, in a wave after all others; who is stuck is brought back again.

    Raises NotFound, Conflict.
    """
    row, to = _held(tx, actor, campaign, Act.RETRY, now_ms)
    again = [Standing.STUCK] if row.state == State.ROLLED_BACK.value else [Standing.FAILED, Standing.MISSED]
    chosen = _c.state.in_([each.value for each in again])
    values: dict[str, Any] = {"forgiven": False, "ended_at": None}
    if Standing.STUCK not in again:
        values |= {"wave": _wave_for_more(tx, row), "checked": False, "unhealthy": False}
    count = members.move_all(tx, campaign, Event.RETRY, chosen, **values)
    if not count:
        raise Conflict(f"campaign {campaign}: nobody is to be tried again")
    _claim(tx, actor, row)
    row = engine.change(tx, row, state=to.value, ended_at=None)
    return _done(tx, actor, row, Act.RETRY, now_ms, note=note or str(count))


def _wave_for_more(tx: Connection, row: Row[Any]) -> int:
    """The last wave when it is not open yet, else a new one."""
    last = int(tx.execute(sa.select(sa.func.max(waves.c.wave)).where(waves.c.campaign == row.id)).scalar_one())
    if last > row.wave:
        return last
    tx.execute(waves.insert().values(campaign=row.id, wave=last + 1))
    return last + 1


def _claim(tx: Connection, actor: Principal, row: Row[Any]) -> None:
    """Take the campaign's gateways for it. Raises Conflict when another one of the kind has any of them."""
    mine = sa.select(sa.literal(row.kind), _c.gateway, sa.literal(row.id)).where(_c.campaign == row.id)
    taken = insert(tx, claims).from_select(["kind", "gateway", "campaign"], mine.distinct().order_by(_c.gateway))
    tx.execute(taken.on_conflict_do_nothing())
    of = sa.and_(claims.c.kind == row.kind, claims.c.gateway == _c.gateway)
    other = sa.select(claims.c.campaign, sa.func.count(_c.gateway.distinct()), campaigns.c.node)
    other = other.join_from(members_table, claims, of).join(campaigns, campaigns.c.id == claims.c.campaign)
    other = other.where(_c.campaign == row.id, claims.c.campaign != row.id)
    found = tx.execute(other.group_by(claims.c.campaign, campaigns.c.node).order_by(claims.c.campaign)).first()
    if found:
        who = f"campaign {found[0]}" if visible(actor, found[2]) else f"another campaign of kind {row.kind}"
        raise Conflict(f"campaign {row.id}: {who} has {found[1]} of its gateways until it has ended")


ACTS: Final[Mapping[Act, Callable[[Connection, Principal, int, int, str], CampaignDetail]]] = {
    Act.APPROVE: approve, Act.START: start, Act.PAUSE: pause, Act.RESUME: resume, Act.ABORT: abort,
    Act.ROLL_BACK: roll_back, Act.RETRY: retry,
}  # fmt: skip
"""What people do with a campaign, given who, which one, when, and a remark."""
