"""Who may do what, and who may see what. Pure.

Owns the roles, what each permits, and the one scope predicate: `visible` for one thing, `scope` for a column of a
query. Every list, count and stream uses one of the two. The organisation is a tree; a node is named by its path, `/`
the root, `/3/17/` a node below; a principal sees its own node and everything beneath it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

ROOT: Final = "/"


class Role(StrEnum):
    """What a user or token is for."""

    TECHNICIAN = "technician"
    PROPERTY = "property"
    DISPATCHER = "dispatcher"
    SUPERVISOR = "supervisor"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"


class Permission(StrEnum):
    """One thing that a role may or may not do."""

    VIEW = "view"
    """See devices, gateways, telemetry, alarms and the stream."""
    COMMENT = "comment"
    ACKNOWLEDGE = "acknowledge"
    CLEAR = "clear"
    ASSIGN = "assign"
    SHELVE = "shelve"
    SILENCE = "silence"
    """Have alarms tell nobody for a time."""
    MAINTAIN = "maintain"
    """Put devices into maintenance."""
    LOCATE = "locate"
    """See where members on shift are; every look is recorded."""
    PATROL = "patrol"
    """Posts, routes, areas, members, equipment, shifts."""
    RESPOND = "respond"
    """Open, take, lead and close incidents."""
    DECLARE = "declare"
    """Declare a response level; whether it takes effect is the approver's to say."""
    DRILL = "drill"
    REPORT = "report"
    """Report a hazard."""
    TRIAGE = "triage"
    """Decide on reported hazards."""
    REVIEW = "review"
    """Make reviews and follow them up."""
    REVEAL = "reveal"
    """Ask which member a pseudonym stands for; with a reason and a case number, on record."""
    PROVISION = "provision"
    """Claim codes, configurations, adoption, walk tests and remote help of gateways."""
    AUDIT = "audit"
    """Read the audit chain."""
    ADMINISTER = "administer"
    """The tree, users, tokens, gateways, channels, plans, policies."""


_HANDLE: Final = frozenset({Permission.VIEW, Permission.COMMENT, Permission.ACKNOWLEDGE, Permission.REPORT})
_DISPATCH: Final = _HANDLE | {
    Permission.CLEAR, Permission.ASSIGN, Permission.SHELVE, Permission.SILENCE, Permission.MAINTAIN, Permission.LOCATE,
    Permission.RESPOND, Permission.DECLARE, Permission.TRIAGE,
}  # fmt: skip
PERMISSIONS: Final[dict[Role, frozenset[Permission]]] = {
    Role.TECHNICIAN: _HANDLE | {Permission.MAINTAIN, Permission.PROVISION},
    Role.PROPERTY: _HANDLE,
    Role.DISPATCHER: _DISPATCH,
    Role.SUPERVISOR: _DISPATCH
    | {Permission.PATROL, Permission.DRILL, Permission.REVIEW, Permission.REVEAL, Permission.AUDIT},
    Role.AUDITOR: frozenset({Permission.VIEW, Permission.AUDIT}),
    Role.ADMINISTRATOR: frozenset(Permission),
}


class Principal(msgspec.Struct, frozen=True):
    """Who acts: a user, a token, or the system itself.

    kind: `user`, `token` or `system`. node: path of the organisation node it belongs to. owner: the account that made
    a token, empty for one that was made at the server.
    """

    kind: str
    id: int
    name: str
    role: Role
    node: str = ROOT
    owner: str = ""

    @property
    def label(self) -> str:
        """How it is named in histories and in the audit chain."""
        return self.name if self.kind == "user" else f"{self.kind}:{self.name}"

    @property
    def account(self) -> str:
        """Who answers for it where two people are asked for: a token is nobody of its own beside who made it."""
        return self.owner or self.label

    def may(self, permission: Permission) -> bool:
        """Whether its role permits it."""
        return permission in PERMISSIONS[self.role]


SYSTEM: Final = Principal("system", 0, "patrolgrid", Role.ADMINISTRATOR)


def ancestors(path: str) -> list[str]:
    """The nodes above a node and the node itself, from the root: `/3/17/` gives `/`, `/3/`, `/3/17/`."""
    parts = path.strip("/").split("/")
    return [ROOT] + ["/" + "/".join(parts[: n + 1]) + "/" for n in range(len(parts)) if parts[n]]


def visible(principal: Principal, node: str) -> bool:
    """Whether something that belongs to `node` may be seen."""
    return node.startswith(principal.node)


def scope(principal: Principal, column: ColumnElement[str]) -> ColumnElement[bool]:
    """The same as a condition on a column of node paths."""
    return column.startswith(principal.node, autoescape=True)
