"""Requests made from the routes of an application, by somebody of one side, about things of the other (S4).

Nothing here lists routes. What a parameter, a query or a field of a body stands for is said once, by its name; a name
that is not known is an error that says where to add it.
"""

from __future__ import annotations

import inspect
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic import BaseModel

from tests.cloud.scope_bodies import EITHER, body_of, body_places
from tests.cloud.scope_routes import SAFE, UnknownNameError, all_of, source_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.cloud.scope_routes import Route, Things

YESTERDAY, TOMORROW = (datetime.now(UTC) + timedelta(days=days) for days in (-1, 1))
PARAMETERS: Final = {
    "alarm_id": "alarm", "area_id": "area", "bundle": "bundle", "campaign_id": "campaign", "chain_id": "chain",
    "channel_id": "channel", "claim_id": "claim", "command": "command", "declaration": "declaration",
    "delivery_id": "delivery", "device": "device", "device_id": "device", "drill": "drill", "follow_up_id": "follow_up",
    "gateway": "gateway", "gateway_id": "gateway", "hazard_id": "hazard", "incident_id": "incident", "member": "member",
    "name": "user", "node_id": "street_id", "plan_id": "plan", "post_id": "post", "review_id": "review",
    "route_id": "route", "sheet_id": "sheet", "shift": "shift", "silence_id": "silence", "thing": "equipment",
    "token_id": "token", "walk_id": "walk",
}  # fmt: skip
"""Of paths: the name, and what of a side it stands for."""
CONSTANTS: Final = {
    "act": "disable",
    "clock": "on_scene",
    "kind": "node",
    "line": "0",
    "move": "pause",
    "part": "json",
    "version": "1",
}
"""Of paths: what names no thing."""
QUERIES: Final = {
    "command": "command",
    "actor": "user", "bbox": "box", "below": "street", "channel": "channel", "device": "device", "edit": "chain",
    "gateway": "gateway", "group": "group",
    "key": "street", "label": "gateway", "made": "silence", "member": "member", "node": "street", "parent": "street",
    "q": "device", "search": "device", "subject_id": "alarm", "target": "target",
}  # fmt: skip
"""Of queries, the same."""
PLAIN: Final = frozenset({
    "action", "active", "address", "after", "connector", "days",
    "cursor", "category", "code", "datum", "day", "drill", "ended", "error", "flapping", "folded",
    "format", "from", "iss", "kind", "lang", "level", "limit", "maintenance", "members", "metric", "next", "part",
    "profile", "purpose", "quiet", "raised_from", "raised_to", "sent", "severity", "show", "silenced", "state",
    "reason", "status", "step", "subject", "to", "urgent", "version", "wave", "last_event_id", "from_",
    "phase", "running",
})  # fmt: skip
"""Of queries: what names no thing."""
GIVEN: Final = {
    "metric": "smoke", "category": "fire", "level": "3", "from": YESTERDAY.isoformat(), "to": TOMORROW.isoformat(),
    "/api/v1/gateways/{gateway}/config/diff.from": "0", "/api/v1/gateways/{gateway}/config/diff.to": "1",
}  # fmt: skip
"""Of queries: what has to be there; by the name, or the path and the name."""


class Case(NamedTuple):
    """A request. sent: what it says of things, by place; they may come back and tell nothing new."""

    route: Route
    url: str
    query: dict[str, str]
    body: Any
    sent: tuple[str, ...] = ()
    about: str = ""
    """Which of its places are of the other side."""


def query_names(route: Route) -> list[str]:
    """What may stand in a query: as it is declared, and as a page of the console reads it."""
    names: list[str] = []
    for each in all_of(route.dependant, "query_params"):
        kind = each.field_info.annotation
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            names += [field.alias or name for name, field in kind.model_fields.items()]
        else:
            names.append(each.alias)
    if not route.api and route.method in SAFE:
        source = source_of(route.endpoint)
        names += re.findall(r'query\.(?:get|pop)\("(\w+)"', source)
        for listed in re.findall(r"query\.get\(name.*? for name in (\([^)]*\)|\w+)", source):
            table = getattr(inspect.getmodule(route.endpoint), listed, ())
            names += re.findall(r'"(\w+)"', listed) or list(table)
    for name in names:
        if name not in QUERIES and name not in PLAIN:
            raise UnknownNameError(route.label, name, "scope_cases.py, QUERIES or PLAIN,")
    return list(dict.fromkeys(names))


def parameter_names(route: Route) -> list[str]:
    """What stands in the path and names a thing."""
    names = re.findall(r"{(\w+)(?::\w+)?}", route.path)
    for name in names:
        if name not in PARAMETERS and name not in CONSTANTS:
            raise UnknownNameError(route.label, name, "scope_cases.py, PARAMETERS or CONSTANTS,")
    return [name for name in names if name in PARAMETERS]


def case_of(route: Route, side: Things, other: Things | None = None, about: Iterable[str] = ()) -> Case:
    """A request in which the places that are named are of `other`, and all others of `side`.

    Queries are only there when they are named or needed: a list without them is a list of everything.
    """
    chosen = set(about)
    things = {"*": side} | dict.fromkeys(chosen, other or side)
    body, told = body_of(route, things)
    url, asked = route.path, {}
    for name in re.findall(r"{(\w+)(?::\w+)?}", route.path):
        place = f"path.{name}"
        value = CONSTANTS.get(name) or str(things.get(place, side)[PARAMETERS[name]])
        told.append((place, value))
        url = re.sub(rf"{{{name}(:\w+)?}}", value, url)
    needed = {each.alias for each in all_of(route.dependant, "query_params") if each.field_info.is_required()}
    for name in query_names(route):
        place = f"query.{name}"
        if name in QUERIES and (place in chosen or name in needed):
            asked[name] = str(things.get(place, side)[QUERIES[name]])
            told.append((place, asked[name]))
        elif name in needed:
            asked[name] = GIVEN.get(f"{route.path}.{name}") or GIVEN[name]
    sent = tuple(str(value) for place, value in told if place in chosen and value)
    return Case(route, url, asked, body, sent, "+".join(sorted(chosen)))


def places_of(route: Route) -> list[str]:
    """Every place of a request that can name a thing."""
    paths = [f"path.{name}" for name in parameter_names(route)]
    queries = [f"query.{name}" for name in query_names(route) if name in QUERIES]
    return paths + queries + body_places(route)


def about_of(route: Route, *, one_by_one: bool) -> list[list[str]]:
    """Which places are of the other side: all of path and body, all of the query, and each by itself if wanted."""
    places = places_of(route)
    asked = [place for place in places if place.startswith("query.")]
    fixed = [place for place in places if place not in asked and place.removeprefix("body.") not in EITHER]
    found = [fixed, asked] + ([[place] for place in places] if one_by_one else [])
    return [about for number, about in enumerate(found) if about and about not in found[:number]]
