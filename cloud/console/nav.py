"""Where the console leads: its pages in groups, in the order of the menu.

Owns the menu. An entry is shown to whom its page serves; the page itself refuses everybody else. On a phone the first
group stands at the bottom of the screen, and `/more` leads to the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from cloud.org.rules import Permission

if TYPE_CHECKING:
    from cloud.org.rules import Principal


class Entry(NamedTuple):
    """A page of the menu. name: its word is `nav.<name>`, its picture has the same name. needs: any of these."""

    name: str
    path: str
    needs: tuple[Permission, ...] = (Permission.VIEW,)


class Group(NamedTuple):
    """Pages that belong together. name: its word is `nav.group_<name>`, empty for the main ones."""

    name: str
    entries: tuple[Entry, ...]


MENU: Final = (
    Group("", (
        Entry("overview", "/"),
        Entry("alarms", "/alarms"),
        Entry("incidents", "/incidents"),
        Entry("map", "/map"),
    )),
    Group("patrol", (
        Entry("presence", "/presence"),
        Entry("rosters", "/rosters", (Permission.PATROL, Permission.LOCATE, Permission.AUDIT)),
        Entry("levels", "/levels"),
        Entry("drills", "/drills", (Permission.DRILL, Permission.RESPOND, Permission.AUDIT)),
    )),
    Group("follow", (
        Entry("hazards", "/hazards"),
        Entry("reviews", "/reviews", (Permission.REVIEW, Permission.RESPOND, Permission.AUDIT)),
        Entry("silences", "/silences", (Permission.SILENCE, Permission.MAINTAIN, Permission.AUDIT)),
    )),
    Group("fleet", (
        Entry("devices", "/devices"),
        Entry("gateways", "/gateways"),
        Entry("fleet", "/fleet"),
        Entry("install", "/install", (Permission.PROVISION,)),
        Entry("claims", "/claims", (Permission.PROVISION, Permission.AUDIT)),
        Entry("configs", "/configs", (Permission.PROVISION, Permission.AUDIT)),
        Entry("campaigns", "/campaigns", (Permission.ADMINISTER, Permission.AUDIT)),
    )),
    Group("admin", (
        Entry("organisation", "/organisation"),
        Entry("channels", "/channels", (Permission.ADMINISTER,)),
        Entry("audit", "/audit", (Permission.AUDIT,)),
    )),
)  # fmt: skip
SECTIONS: Final = frozenset({"more", *(entry.name for group in MENU for entry in group.entries)})
"""The first part of the addresses of the menu's pages, `overview` for none."""

WITHIN: Final = {
    "chains": "silences",
    "config-templates": "configs",
    "config-changes": "configs",
    "releases": "campaigns",
}
"""Pages that belong to one of the menu, by the first part of their addresses."""


def section(path: str) -> str:
    """The entry of the menu that an address belongs to, `more` for the rest of the menu; empty for none."""
    first = path.strip("/").partition("/")[0] or "overview"
    first = WITHIN.get(first, first)
    return first if first in SECTIONS else ""


def menu(who: Principal) -> list[Group]:
    """The menu as somebody sees it; a group without entries is left out."""
    seen = [
        Group(group.name, tuple(entry for entry in group.entries if any(map(who.may, entry.needs)))) for group in MENU
    ]
    return [group for group in seen if group.entries]
