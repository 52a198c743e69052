"""Bringing members, equipment, pseudonyms and shifts in from a file.

Owns the form of four sections. Nodes, posts and routes are named by their code, members by their call sign, devices as
`gateway/device`. A shift has absolute times (`starts_at`, `ends_at` with offset), or repeats: `from` and `to` in the
local time of its node, on `days`, for `weeks` from the day of the import on.
"""

from __future__ import annotations

from datetime import date, datetime, time
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

import sqlalchemy as sa
from pydantic import Field, StringConstraints, ValidationError, model_validator

from cloud import importing
from cloud.errors import Invalid, RequestRefused
from cloud.org import tree, zones
from cloud.paging import to_ms
from cloud.presence.rosters import members, posts, rules, shifts
from cloud.presence.rosters.models import (
    Body,
    CallSign,
    Kind,
    MemberChange,
    NewEquipment,
    NewMember,
    Remark,
)
from cloud.presence.rosters.store import equipment as equipment_table
from cloud.presence.rosters.store import members as members_table
from firmware_specs.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from cloud.org.rules import Principal

Code = Annotated[str, StringConstraints(min_length=1, max_length=64)]
DevicePath = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}/[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")
]
Clock = Annotated[str, StringConstraints(pattern=r"^(?:[01][0-9]|2[0-3]):[0-5][0-9]$")]
M = TypeVar("M", bound=Body)


class MemberEntry(Body):
    """`{call_sign, node, user}`."""

    call_sign: CallSign
    node: Code
    user: Annotated[str, StringConstraints(max_length=64)] | None = None


class EquipmentEntry(Body):
    """`{device = "gateway/device", kind, node, post}`."""

    device: DevicePath
    kind: Kind
    node: Code
    post: Code | None = None


class PseudonymEntry(Body):
    """`{pseudonym, member}`."""

    pseudonym: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    member: CallSign


class ShiftEntry(Body):
    """A shift, or a plan that repeats; see the module."""

    member: CallSign
    post: Code | None = None
    route: Code | None = None
    armband: DevicePath | None = None
    radio: DevicePath | None = None
    note: Remark = ""
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    from_: Clock | None = Field(default=None, alias="from")
    to: Clock | None = None
    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = rules.DAYS
    weeks: int = Field(default=1, ge=1, le=rules.MAX_WEEKS)

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        absolute = (self.starts_at is not None, self.ends_at is not None)
        repeating = (self.from_ is not None, self.to is not None)
        if not (all(absolute) and not any(repeating)) and not (all(repeating) and not any(absolute)):
            raise ValueError("give either starts_at and ends_at, or from and to")
        return self


def _parsed(section: str, number: int, table: dict[str, Any], model: type[M]) -> M:
    known = {field.alias or name for name, field in model.model_fields.items()}
    for key in table:
        if key not in known:
            raise Invalid(f"{section}[{number}].{key}: no such key{nearest(key, known)}")
    try:
        return model.model_validate(table)
    except ValidationError as e:
        raise importing.fault(f"{section}[{number}]", e) from e


def _each(
    section: str, model: type[M], take: Callable[[Connection, Principal, M, int], bool]
) -> Callable[[Connection, Principal, list[dict[str, Any]], int], int]:
    """An importer that takes one entry after the other; errors name the section and the entry."""

    def bring(tx: Connection, actor: Principal, tables: list[dict[str, Any]], now_ms: int) -> int:
        changed = 0
        for number, table in enumerate(tables, 1):
            entry = _parsed(section, number, table, model)
            try:
                changed += take(tx, actor, entry, now_ms)
            except RequestRefused as e:
                raise type(e)(f"{section}[{number}]: {e}") from e
        return changed

    return bring


def _member(tx: Connection, actor: Principal, entry: MemberEntry, now_ms: int) -> bool:
    node = tree.find_code(tx, actor, entry.node).path
    row = tx.execute(sa.select(members_table.c.id).where(members_table.c.call_sign == entry.call_sign)).first()
    if row is None:
        members.add_member(tx, actor, NewMember(call_sign=entry.call_sign, node=node, user=entry.user), now_ms)
        return True
    before = members.member_row(tx, actor, row.id)
    given = {"node": node} | ({"user": entry.user} if entry.user else {})
    members.change_member(tx, actor, row.id, MemberChange.model_validate(given), now_ms)
    return members.member_row(tx, actor, row.id) != before


def _equipment(tx: Connection, actor: Principal, entry: EquipmentEntry, now_ms: int) -> bool:
    gateway, _, device = entry.device.partition("/")
    node = tree.find_code(tx, actor, entry.node).path
    post = posts.find(tx, actor, "post", entry.post) if entry.post else None
    mine = (equipment_table.c.gateway == gateway, equipment_table.c.device == device)
    row = tx.execute(sa.select(equipment_table).where(*mine, equipment_table.c.archived_at.is_(None))).first()
    if row is not None:
        if (row.node, row.kind, row.post) == (node, entry.kind.value, post):
            return False
        members.archive_equipment(tx, actor, row.id, now_ms)
    new = NewEquipment(gateway=gateway, device=device, kind=entry.kind, node=node, post=post)
    members.add_equipment(tx, actor, new, now_ms)
    return True


def _pseudonym(tx: Connection, actor: Principal, entry: PseudonymEntry, now_ms: int) -> bool:
    member = members.find_member(tx, actor, entry.member)
    return members.put_pseudonym(tx, actor, entry.pseudonym, member, now_ms)


def _shift(tx: Connection, actor: Principal, entry: ShiftEntry, now_ms: int) -> bool:
    member = members.find_member(tx, actor, entry.member)
    post = posts.find(tx, actor, "post", entry.post) if entry.post else None
    route = posts.find(tx, actor, "route", entry.route) if entry.route else None
    carried = [
        members.find_equipment(tx, actor, *thing.split("/")) if thing else None
        for thing in (entry.armband, entry.radio)
    ]
    node = members.member_row(tx, actor, member).node
    changed = False
    for begins, ends in _times(tx, entry, node, now_ms):
        wanted = shifts.Plan(member, begins, ends, post, route, carried[0], carried[1], entry.note)
        changed |= shifts.bring(tx, actor, wanted, now_ms)
    return changed


def _times(tx: Connection, entry: ShiftEntry, node: str, now_ms: int) -> list[tuple[int, int]]:
    if entry.starts_at and entry.ends_at:
        return [(to_ms(entry.starts_at), to_ms(entry.ends_at))]
    zone = zones.zone_of(tx, node)
    begins, ends = (time.fromisoformat(text) for text in (entry.from_ or "", entry.to or ""))
    day: date = rules.day_of(now_ms, zone)
    return rules.repeated(day, zone, begins, ends, days=entry.days, weeks=entry.weeks)


importing.IMPORTERS["members"] = _each("members", MemberEntry, _member)
importing.IMPORTERS["equipment"] = _each("equipment", EquipmentEntry, _equipment)
importing.IMPORTERS["pseudonyms"] = _each("pseudonyms", PseudonymEntry, _pseudonym)
importing.IMPORTERS["shifts"] = _each("shifts", ShiftEntry, _shift)
