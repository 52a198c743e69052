"""Who is on duty and who carries what, at a time: the questions that other folders ask of shifts.

Owns when a shift runs as SQL; `rules.runs` says the same, and a test holds the two together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from cloud.org import service as org
from cloud.org import tree
from cloud.org.rules import ROOT, SYSTEM, ancestors
from cloud.presence.rosters import rules
from cloud.presence.rosters.models import CARRIED, StrengthView
from cloud.presence.rosters.store import equipment, members, pseudonyms, shifts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection

    from cloud.org.rules import Principal
    from cloud.presence.rosters.rules import Strength

MOST_NODES: Final = 200
BEGINS = sa.case(
    (sa.and_(shifts.c.begun_at.is_not(None), shifts.c.begun_at < shifts.c.starts_at), shifts.c.begun_at),
    else_=shifts.c.starts_at,
)
ENDS = sa.case(
    (sa.and_(shifts.c.ended_at.is_not(None), shifts.c.ended_at < shifts.c.ends_at), shifts.c.ended_at),
    else_=shifts.c.ends_at,
)


class Duty(NamedTuple):
    """A shift that runs."""

    shift: int
    member: int
    call_sign: str
    node: str
    post: int | None
    route: int | None
    starts_at: int
    ends_at: int


def running(from_ms: int, to_ms: int) -> ColumnElement[bool]:
    """Whether a shift runs at some time in `from_ms <= time < to_ms`. The first condition is what the index serves."""
    return sa.and_(shifts.c.ends_at > from_ms, from_ms < ENDS, to_ms > BEGINS, BEGINS < ENDS)


def selected(*more: sa.ColumnElement[str]) -> sa.Select[Any]:
    """What a `Duty` is made of, and more."""
    return sa.select(
        shifts.c.id, shifts.c.member, members.c.call_sign, shifts.c.node, shifts.c.post, shifts.c.route,
        BEGINS.label("begins"), ENDS.label("ends"), *more,
    ).join(members, members.c.id == shifts.c.member)  # fmt: skip


def on_duty(tx: Connection, at_ms: int, below: str = ROOT) -> list[Duty]:
    """The shifts that run at a time at or below a node, by node and call sign."""
    mine = shifts.c.node.startswith(below, autoescape=True)
    wanted = selected().where(running(at_ms, at_ms + 1), mine).order_by(shifts.c.node, members.c.call_sign)
    return [Duty(*row) for row in tx.execute(wanted)]


def accounts_on_duty(tx: Connection, node: str, at_ms: int) -> tuple[str, ...]:
    """The accounts of members whose shift runs at a node, at one below it, or at one above it but the root."""
    near = sa.or_(shifts.c.node.startswith(node, autoescape=True), shifts.c.node.in_(set(ancestors(node)) - {ROOT}))
    who = sa.select(members.c.user).join(shifts, shifts.c.member == members.c.id)
    found = tx.execute(who.where(running(at_ms, at_ms + 1), near, members.c.user.is_not(None))).scalars()
    return tuple(sorted(org.user_names(tx, set(found)).values()))


def _carries(gateway: str, device: str) -> ColumnElement[bool]:
    which = sa.select(equipment.c.id).where(equipment.c.gateway == gateway, equipment.c.device == device)
    return sa.or_(shifts.c.armband.in_(which), shifts.c.radio.in_(which))


def holder(tx: Connection, gateway: str, device: str, at_ms: int) -> Duty | None:
    """The shift that carries a device at a time."""
    row = tx.execute(selected().where(running(at_ms, at_ms + 1), _carries(gateway, device)).limit(1)).first()
    return Duty(*row) if row else None


def holders(tx: Connection, gateway: str, device: str, from_ms: int, to_ms: int) -> set[int]:
    """The members who carried a device at some time in a range."""
    wanted = sa.select(shifts.c.member).where(running(from_ms, to_ms), _carries(gateway, device))
    return set(tx.execute(wanted).scalars())


def carried(tx: Connection) -> set[tuple[str, str]]:
    """Gateway and device of everything that members carry, now or at other times."""
    wanted = sa.select(equipment.c.gateway, equipment.c.device)
    rows = tx.execute(wanted.where(equipment.c.kind.in_(CARRIED), equipment.c.archived_at.is_(None)))
    return {(gateway, device) for gateway, device in rows}


def worn(tx: Connection, gateways: Collection[str] | None) -> set[tuple[str, str]]:
    """What members carry or once carried, of some gateways or all: where it was says where they were."""
    wanted = sa.select(equipment.c.gateway, equipment.c.device)
    if gateways is not None:
        wanted = wanted.where(equipment.c.gateway.in_(gateways))
    return {(gateway, device) for gateway, device in tx.execute(wanted.where(equipment.c.kind.in_(CARRIED)))}


def member_names(tx: Connection, ids: Collection[int]) -> dict[int, str]:
    """Call signs by member, also of those who are with us no longer."""
    rows = tx.execute(sa.select(members.c.id, members.c.call_sign).where(members.c.id.in_(set(ids))))
    return {int(member): str(call_sign) for member, call_sign in rows}


def member_by_pseudonym(tx: Connection, pseudonym: str) -> int | None:
    """The member that a door's or terminal's pseudonym stands for, for evidence of presence; never for a page."""
    found: int | None = tx.execute(
        sa.select(pseudonyms.c.member).where(pseudonyms.c.pseudonym == pseudonym)
    ).scalar()  # fmt: skip
    return found


def strength(tx: Connection, node: str, at_ms: int) -> Strength:
    """The strength of a node: by the people and the members on duty of the nearest node upwards with a population."""
    return _strengths(tx, [node], _path(tx, node), at_ms)[0]


def strengths(tx: Connection, principal: Principal, node: str, at_ms: int) -> list[StrengthView]:
    """The strength of a node within scope and of what lies directly below it, at most 200. Raises NotFound."""
    top = tree.get_node(tx, principal, node)
    below = [each for each in tree.list_nodes(tx, principal, node) if each.path != node]
    listed = [top, *(each for each in below if tree.parent_of(each.path) == node)][:MOST_NODES]
    known = _path(tx, node) | {each.path: each for each in listed}
    return [
        StrengthView(**figures._asdict(), name_zh=each.name_zh, name_en=each.name_en, short=figures.short)
        for each, figures in zip(
            listed, _strengths(tx, [each.path for each in listed], known, at_ms), strict=True
        )
    ]  # fmt: skip


def _path(tx: Connection, node: str) -> dict[str, tree.Node]:
    return {path: tree.get_node(tx, SYSTEM, path) for path in ancestors(node)}


def _strengths(tx: Connection, nodes: Sequence[str], known: Mapping[str, tree.Node], at_ms: int) -> list[Strength]:
    """Of nodes one of which lies above the others. known: they and all above them."""
    running_now = sa.select(shifts.c.node, shifts.c.member).where(running(at_ms, at_ms + 1))
    basis = {node: _nearest(known, node, "population") or known[node] for node in nodes}
    widest = min((each.path for each in basis.values()), key=len)
    on = [tuple(row) for row in tx.execute(running_now.where(shifts.c.node.startswith(widest, autoescape=True)))]
    there = {
        path: len({member for at, member in on if at.startswith(path)}) for path in {b.path for b in basis.values()}
    }
    found = []
    for node in nodes:
        path, population = basis[node].path, basis[node].population
        says = _nearest(known, path, "settlement")
        found.append(rules.strength(node, path, population, there[path], says.settlement if says else None))
    return found


def _nearest(known: Mapping[str, tree.Node], node: str, column: str) -> tree.Node | None:
    """The nearest node upwards that has a column."""
    return next((known[path] for path in reversed(ancestors(node)) if getattr(known[path], column)), None)
