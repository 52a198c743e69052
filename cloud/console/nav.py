"""Where the console leads: its pages in groups, in the order of the menu, and the pages that stand beside one another.

Owns the menu. An entry is shown to whom its page serves; the page itself refuses everybody else. What a role needs most
comes first: on a phone the first group stands at the bottom of the screen, and `/more` leads to the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from cloud.org.rules import Permission, Role

if TYPE_CHECKING:
    from cloud.org.rules import Principal

FLEET: Final = (Permission.PROVISION, Permission.AUDIT)
PATROLS: Final = (Permission.PATROL, Permission.LOCATE, Permission.AUDIT)


class Entry(NamedTuple):
    """A page of the menu. name: its word is `nav.<name>`, its picture has the same name. needs: any of these."""

    name: str
    path: str
    needs: tuple[Permission, ...] = (Permission.VIEW,)


class Group(NamedTuple):
    """Pages that belong together. name: its word is `nav.group_<name>`, empty for the main ones."""

    name: str
    entries: tuple[Entry, ...]


class Lead(NamedTuple):
    """What a role is led to. first: the pages of the first group. group: the group that follows it."""

    first: tuple[str, ...]
    group: str


class Tab(NamedTuple):
    """A page beside this one. word: the key of its word. here: it is this one."""

    word: str
    path: str
    here: bool


MENU: Final = (
    Group("", (
        Entry("overview", "/"),
        Entry("alarms", "/alarms"),
    )),
    Group("patrol", (
        Entry("incidents", "/incidents"),
        Entry("map", "/map"),
        Entry("presence", "/presence"),
        Entry("rosters", "/rosters", PATROLS),
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
        Entry("claims", "/claims", FLEET),
        Entry("configs", "/configs", FLEET),
        Entry("campaigns", "/campaigns", (Permission.ADMINISTER, Permission.AUDIT)),
    )),
    Group("admin", (
        Entry("organisation", "/organisation"),
        Entry("channels", "/channels", (Permission.ADMINISTER,)),
        Entry("audit", "/audit", (Permission.AUDIT,)),
    )),
)  # fmt: skip
DISPATCH: Final = Lead(("incidents", "map"), "patrol")
LEADS: Final = {
    Role.TECHNICIAN: Lead(("install", "gateways"), "fleet"), Role.PROPERTY: Lead(("devices", "hazards"), "fleet"),
    Role.AUDITOR: Lead(("reviews", "audit"), "follow"),
}  # fmt: skip
"""Of the roles that do not lead incidents."""
SECTIONS: Final = frozenset({"more", *(entry.name for group in MENU for entry in group.entries)})
"""The first part of the addresses of the menu's pages, `overview` for none."""
WITHIN: Final = {
    "chains": "silences", "config-templates": "configs", "config-changes": "configs", "releases": "campaigns",
}  # fmt: skip
"""Pages that belong to one of the menu, by the first part of their addresses."""
TABS: Final = {
    "gateway": (
        Entry("gateway", "/gateways/{id}"),
        Entry("health", "/fleet/{id}"),
        Entry("install", "/install/{id}", (Permission.PROVISION,)),
        Entry("help", "/gateways/{id}/help", (Permission.PROVISION,)),
        Entry("config", "/configs/{id}", FLEET),
        Entry("certificates", "/gateways/{id}/certificates", FLEET),
    ),
    "incidents": (
        Entry("incidents", "/incidents"),
        Entry("missed", "/incidents/missed"),
        Entry("plans", "/incidents/plans"),
    ),
    "silences": (Entry("silences", "/silences"), Entry("chains", "/chains")),
    "rosters": (
        Entry("duty", "/rosters", PATROLS),
        Entry("members", "/rosters/members", PATROLS),
        Entry("equipment", "/rosters/equipment", PATROLS),
        Entry("looks", "/rosters/looks"),
    ),
    "configs": (
        Entry("configs", "/configs"),
        Entry("templates", "/config-templates"),
        Entry("changes", "/config-changes", (Permission.PROVISION,)),
    ),
    "campaigns": (Entry("campaigns", "/campaigns"), Entry("releases", "/releases")),
}
"""Pages that stand beside one another, by what they are about; their words are `tabs.<name>`."""


def section(path: str) -> str:
    """The entry of the menu that an address belongs to; empty for none."""
    first = path.strip("/").partition("/")[0] or "overview"
    first = WITHIN.get(first, first)
    return first if first in SECTIONS else ""


def menu(who: Principal) -> list[Group]:
    """The menu as somebody sees it, what the role needs most first; a group without entries is left out."""
    lead = LEADS.get(who.role, DISPATCH)
    known = {entry.name: entry for group in MENU for entry in group.entries}
    main, *rest = MENU
    first = Group("", (*main.entries, *(known[name] for name in lead.first)))
    ordered = [first, *sorted(rest, key=lambda group: group.name != lead.group)]
    seen = [
        Group(group.name, tuple(
            entry for entry in group.entries
            if any(map(who.may, entry.needs)) and (group is first or entry.name not in lead.first)
        ))
        for group in ordered
    ]  # fmt: skip
    return [group for group in seen if group.entries]


def tabs(who: Principal, group: str, path: str, thing: str = "") -> list[Tab]:
    """The pages beside the one at a path that somebody is led to. thing: what they are about."""
    shown = [entry for entry in TABS[group] if any(map(who.may, entry.needs))]
    places = [(entry.name, entry.path.format(id=thing)) for entry in shown]
    return [Tab(f"tabs.{name}", place, place == path) for name, place in places]
