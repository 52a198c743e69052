"""Members, equipment and pseudonyms: who patrols, with what, and whose a door's pseudonym is.

Owns their rows. Nobody is deleted: who or what is archived can be put on no shift, and what it once told stays guarded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloud.devices.places import place_of
from cloud.errors import Conflict, Invalid, NotFound
from cloud.org import audit, tree
from cloud.org import service as org
from cloud.org.rules import ROOT, Permission, Principal, scope, visible
from cloud.paging import MAX_LIMIT, Page, decode_cursor, encode_cursor
from cloud.presence.rosters import desired, duty, posts
from cloud.presence.rosters.models import CARRIED, EquipmentView, Kind, MemberView, RevealView
from cloud.presence.rosters.store import equipment, members, pseudonyms, shifts
from cloud.presence.rosters.tell import tell
from cloud.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row

    from cloud.presence.rosters.models import MemberChange, NewEquipment, NewMember


def _alive(table: sa.Table, principal: Principal) -> sa.ColumnElement[bool]:
    return sa.and_(scope(principal, table.c.node), table.c.archived_at.is_(None))


# members


def list_members(
    tx: Connection, principal: Principal, now_ms: int, *, below: str = ROOT, search: str | None = None,
    limit: int = 100, cursor: str | None = None,
) -> Page[MemberView]:  # fmt: skip
    """Members within scope at or below a node, by call sign."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = sa.select(members).where(
        _alive(members, principal), members.c.node.startswith(below, autoescape=True)
    )  # fmt: skip
    if search:
        wanted = wanted.where(members.c.call_sign.icontains(search, autoescape=True))
    if cursor:
        wanted = wanted.where(members.c.call_sign > decode_cursor(cursor, str)[0])
    rows = tx.execute(wanted.order_by(members.c.call_sign).limit(limit + 1)).all()
    following = encode_cursor(rows[limit - 1].call_sign) if len(rows) > limit else None
    return Page(items=_member_views(tx, principal, rows[:limit], now_ms), next_cursor=following)


def _member_views(tx: Connection, principal: Principal, rows: Sequence[Row[Any]], now_ms: int) -> list[MemberView]:
    ids = [row.id for row in rows]
    busy = sa.select(shifts.c.member).where(shifts.c.member.in_(ids), duty.running(now_ms, now_ms + 1))
    present = set(tx.execute(busy).scalars())
    accounts = org.user_names(tx, {row.user for row in rows if row.user}) if principal.may(Permission.PATROL) else {}
    return [
        MemberView(
            id=row.id, call_sign=row.call_sign, node=row.node, user=accounts.get(row.user), on_duty=row.id in present
        )
        for row in rows
    ]


def get_member(tx: Connection, principal: Principal, member: int, now_ms: int) -> MemberView:
    """One member. Raises NotFound."""
    return _member_views(tx, principal, [member_row(tx, principal, member)], now_ms)[0]


def member_row(tx: Connection, principal: Principal, member: int, *, lock: bool = False) -> Row[Any]:
    """The row of a member within scope. Raises NotFound."""
    wanted = sa.select(members).where(members.c.id == member, _alive(members, principal))
    row = tx.execute(wanted.with_for_update() if lock else wanted).first()
    if row is None:
        raise NotFound(f"member {member}: not found")
    return row


def find_member(tx: Connection, principal: Principal, call_sign: str) -> int:
    """The id of a member within scope by the call sign. Raises NotFound."""
    wanted = sa.select(members.c.id).where(members.c.call_sign == call_sign, _alive(members, principal))
    found: int | None = tx.execute(wanted).scalar()
    if found is None:
        raise NotFound(f"member {call_sign}: not known")
    return found


def add_member(tx: Connection, actor: Principal, new: NewMember, now_ms: int) -> MemberView:
    """A new member. Raises NotFound when the node or the account is not known, Conflict when one is taken."""
    node = tree.get_node(tx, actor, new.node).path
    values = {
        "node": node,
        "call_sign": _free_call_sign(tx, new.call_sign, 0),
        "user": _account(tx, actor, new.user, 0),
    }
    put = members.insert().values(**values, created_at=now_ms).returning(members.c.id)
    made = int(tx.execute(put).scalar_one())
    audit.record(tx, actor, "member.add", f"member/{made}", at=now_ms, detail=new.call_sign)
    tell(tx, "member", made, node, now_ms)
    return get_member(tx, actor, made, now_ms)


def change_member(tx: Connection, actor: Principal, member: int, change: MemberChange, now_ms: int) -> MemberView:
    """Change what is given; the same again changes nothing. Raises NotFound, Conflict."""
    row = member_row(tx, actor, member, lock=True)
    values: dict[str, Any] = {}
    if change.call_sign is not None:
        values["call_sign"] = _free_call_sign(tx, change.call_sign, member)
    if change.node is not None:
        values["node"] = tree.get_node(tx, actor, change.node).path
    if "user" in change.model_fields_set:
        values["user"] = _account(tx, actor, change.user, member)
    values = {name: value for name, value in values.items() if getattr(row, name) != value}
    if values:
        tx.execute(members.update().where(members.c.id == member).values(**values))
        detail = ", ".join(f"{name}={value}" for name, value in sorted(values.items()))
        audit.record(tx, actor, "member.change", f"member/{member}", at=now_ms, detail=detail)
        tell(tx, "member", member, values.get("node", row.node), now_ms)
    return get_member(tx, actor, member, now_ms)


def archive_member(tx: Connection, actor: Principal, member: int, now_ms: int) -> None:
    """The member patrols no longer. Raises NotFound, Conflict while shifts of the member run or are planned."""
    row = member_row(tx, actor, member, lock=True)
    ahead = sa.select(shifts.c.id).where(shifts.c.member == member, duty.running(now_ms, 2**62))
    if tx.execute(ahead.limit(1)).first():
        raise Conflict(f"member {row.call_sign}: has shifts that run or are planned")
    tx.execute(members.update().where(members.c.id == member).values(archived_at=now_ms, user=None))
    tx.execute(pseudonyms.delete().where(pseudonyms.c.member == member))
    audit.record(tx, actor, "member.archive", f"member/{member}", at=now_ms, detail=row.call_sign)
    tell(tx, "member", member, row.node, now_ms)


def _free_call_sign(tx: Connection, call_sign: str, but: int) -> str:
    text = clean(call_sign, 64)
    if tx.execute(sa.select(members.c.id).where(members.c.call_sign == text, members.c.id != but)).first():
        raise Conflict(f"call sign {text}: taken")
    return text


def _account(tx: Connection, actor: Principal, name: str | None, but: int) -> int | None:
    if name is None:
        return None
    user = org.find_user(tx, actor, name)
    if tx.execute(sa.select(members.c.id).where(members.c.user == user, members.c.id != but)).first():
        raise Conflict(f"user {name}: belongs to another member")
    return user


def member_of(tx: Connection, principal: Principal) -> int | None:
    """The member that signs in by an account, None when there is none."""
    if principal.kind != "user":
        return None
    found: int | None = tx.execute(sa.select(members.c.id).where(members.c.user == principal.id)).scalar()
    return found


# equipment


def list_equipment(
    tx: Connection, principal: Principal, now_ms: int, *, below: str = ROOT, kind: Kind | None = None,
    limit: int = 100, cursor: str | None = None,
) -> Page[EquipmentView]:  # fmt: skip
    """Devices of the patrol within scope at or below a node, by id."""
    limit = min(max(limit, 1), MAX_LIMIT)
    wanted = sa.select(equipment).where(
        _alive(equipment, principal), equipment.c.node.startswith(below, autoescape=True)
    )
    if kind is not None:
        wanted = wanted.where(equipment.c.kind == kind.value)
    if cursor:
        wanted = wanted.where(equipment.c.id > decode_cursor(cursor, int)[0])
    rows = tx.execute(wanted.order_by(equipment.c.id).limit(limit + 1)).all()
    following = encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=_equipment_views(tx, rows[:limit], now_ms), next_cursor=following)


def _equipment_views(tx: Connection, rows: Sequence[Row[Any]], now_ms: int) -> list[EquipmentView]:
    ids = [row.id for row in rows]
    mine = sa.or_(shifts.c.armband.in_(ids), shifts.c.radio.in_(ids))
    wanted = sa.select(shifts.c.armband, shifts.c.radio, members.c.call_sign).join(
        members, members.c.id == shifts.c.member
    )
    held: dict[int, str] = {}
    for armband, radio, call_sign in tx.execute(wanted.where(mine, duty.running(now_ms, now_ms + 1))):
        held |= {armband: call_sign, radio: call_sign}
    return [
        EquipmentView(
            id=row.id, gateway=row.gateway, device=row.device, kind=Kind(row.kind), node=row.node, post=row.post,
            holder=held.get(row.id),
        )
        for row in rows
    ]  # fmt: skip


def equipment_row(tx: Connection, principal: Principal, thing: int, *, lock: bool = False) -> Row[Any]:
    """The row of a device of the patrol within scope. Raises NotFound."""
    wanted = sa.select(equipment).where(equipment.c.id == thing, _alive(equipment, principal))
    row = tx.execute(wanted.with_for_update() if lock else wanted).first()
    if row is None:
        raise NotFound(f"equipment {thing}: not found")
    return row


def find_equipment(tx: Connection, principal: Principal, gateway: str, device: str) -> int:
    """The id of a device of the patrol within scope. Raises NotFound."""
    mine = (equipment.c.gateway == gateway, equipment.c.device == device, _alive(equipment, principal))
    found: int | None = tx.execute(sa.select(equipment.c.id).where(*mine)).scalar()
    if found is None:
        raise NotFound(f"equipment {gateway}/{device}: not known")
    return found


def add_equipment(tx: Connection, actor: Principal, new: NewEquipment, now_ms: int) -> EquipmentView:
    """A device becomes equipment of the patrol; one that was archived is again.

    Raises NotFound when the node, the post or the gateway is not within scope, Conflict when it is equipment already,
    Invalid when a carried device is given a post.
    """
    node = tree.get_node(tx, actor, new.node).path
    if not visible(actor, place_of(tx, new.gateway, new.device).node):
        raise NotFound(f"device {new.gateway}/{new.device}: not found")
    if new.post is not None:
        if new.kind in CARRIED:
            raise Invalid(f"post: an {new.kind} is carried and stands nowhere")
        posts.node_of(tx, actor, "post", new.post)
    known = tx.execute(
        sa.select(equipment.c.id, equipment.c.archived_at, equipment.c.kind)
        .where(equipment.c.gateway == new.gateway, equipment.c.device == new.device)
        .with_for_update()
    ).first()
    if known and known.archived_at is None:
        raise Conflict(f"equipment {new.gateway}/{new.device}: known already")
    values = {"node": node, "kind": new.kind.value, "post": new.post, "archived_at": None}
    if known:
        tx.execute(equipment.update().where(equipment.c.id == known.id).values(**values))
        made = int(known.id)
    else:
        values |= {"gateway": new.gateway, "device": new.device, "created_at": now_ms}
        made = int(tx.execute(equipment.insert().values(**values).returning(equipment.c.id)).scalar_one())
    _equipment_changed(
        tx, actor, "equipment.add", made, new.gateway, now_ms=now_ms, detail=f"{new.gateway}/{new.device} {new.kind}"
    )
    tell(tx, "equipment", made, node, now_ms)
    return _equipment_views(tx, [equipment_row(tx, actor, made)], now_ms)[0]


def archive_equipment(tx: Connection, actor: Principal, thing: int, now_ms: int) -> None:
    """The device is no longer the patrol's. Raises NotFound, Conflict while a shift that runs or is planned has it."""
    row = equipment_row(tx, actor, thing, lock=True)
    mine = sa.or_(shifts.c.armband == thing, shifts.c.radio == thing)
    if tx.execute(sa.select(shifts.c.id).where(mine, duty.running(now_ms, 2**62)).limit(1)).first():
        raise Conflict(f"equipment {row.gateway}/{row.device}: shifts that run or are planned have it")
    tx.execute(equipment.update().where(equipment.c.id == thing).values(archived_at=now_ms))
    _equipment_changed(
        tx, actor, "equipment.archive", thing, row.gateway, now_ms=now_ms, detail=f"{row.gateway}/{row.device}"
    )
    tell(tx, "equipment", thing, row.node, now_ms)


def _equipment_changed(
    tx: Connection, actor: Principal, action: str, thing: int, gateway: str, *, now_ms: int, detail: str
) -> None:
    audit.record(tx, actor, action, f"equipment/{thing}", at=now_ms, detail=detail)
    desired.mark(tx, [gateway])


# pseudonyms


def put_pseudonym(tx: Connection, actor: Principal, pseudonym: str, member: int, now_ms: int) -> bool:
    """Say which member a pseudonym stands for; whether that was new. Raises NotFound, Conflict when it is another's."""
    member_row(tx, actor, member)
    text = clean(pseudonym, 128)
    known = tx.execute(sa.select(pseudonyms.c.member).where(pseudonyms.c.pseudonym == text)).scalar()
    if known == member:
        return False
    if known is not None:
        raise Conflict("pseudonym: stands for another member")
    tx.execute(pseudonyms.insert().values(pseudonym=text, member=member))
    # Not which one: the audit chain must not turn pseudonyms back for whoever reads it.
    audit.record(tx, actor, "pseudonym.add", f"member/{member}", at=now_ms)
    return True


def reveal(
    tx: Connection, actor: Principal, pseudonym: str, *, reason: str, case: str, now_ms: int
) -> RevealView | None:
    """Turn a pseudonym back; None when it is nobody's within scope, which is on record too (P4)."""
    text = clean(pseudonym, 128)
    wanted = sa.select(members.c.id, members.c.call_sign).join(pseudonyms, pseudonyms.c.member == members.c.id)
    row = tx.execute(wanted.where(pseudonyms.c.pseudonym == text, scope(actor, members.c.node))).first()
    found = f"member/{row.id}" if row else "nobody"
    detail = f"case {clean(case, 64)}: {clean(reason, 1000)}"
    audit.record(tx, actor, "pseudonym.reveal", found, at=now_ms, detail=detail)
    return RevealView(member=row.id, call_sign=row.call_sign) if row else None


tree.OCCUPANTS["members"] = tree.counting(members, members.c.archived_at.is_(None))
tree.OCCUPANTS["equipment"] = tree.counting(equipment, equipment.c.archived_at.is_(None))
