"""Requests made from the routes of an application, by somebody of one side, about things of the other (S4).

Nothing here lists routes. What a parameter, a query or a field of a body stands for is said once, by its name; a name
that is not known is an error that says where to add it.
"""

from __future__ import annotations

import inspect
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, TypeAdapter

from tests.cloud.scope_world import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from fastapi import FastAPI
    from fastapi.dependencies.models import Dependant

    from tests.cloud.scope_world import Side

HERE: Final = "tests/cloud/scope_cases.py"
SAFE: Final = frozenset({"GET", "HEAD"})
PARAMETERS: Final = {
    "alarm_id": "alarm", "area_id": "area", "chain_id": "chain", "channel_id": "channel", "declaration": "declaration",
    "delivery_id": "delivery", "device": "device", "device_id": "device", "drill": "drill", "follow_up_id": "follow_up",
    "gateway": "gateway", "gateway_id": "gateway", "hazard_id": "hazard", "incident_id": "incident", "member": "member",
    "name": "user", "node_id": "street_id", "plan_id": "plan", "post_id": "post", "review_id": "review",
    "route_id": "route", "shift": "shift", "silence_id": "silence", "thing": "equipment", "token_id": "token",
}  # fmt: skip
"""Of paths: the name, and what of a side it stands for."""
CONSTANTS: Final = {"act": "disable", "clock": "on_scene", "line": "0"}
"""Of paths: what names no thing."""
QUERIES: Final = {
    "actor": "user", "bbox": "box", "below": "street", "channel": "channel", "device": "device", "edit": "chain",
    "gateway": "gateway", "group": "group", "made": "silence", "member": "member", "node": "street", "parent": "street",
    "q": "device", "search": "device", "subject_id": "alarm", "target": "target",
}  # fmt: skip
"""Of queries, the same."""
PLAIN: Final = frozenset({
    "action", "active", "cursor", "category", "code", "datum", "day", "drill", "ended", "error", "flapping", "folded",
    "format", "from", "iss", "kind", "lang", "level", "limit", "maintenance", "members", "metric", "next", "part",
    "profile", "purpose", "quiet", "raised_from", "raised_to", "sent", "severity", "show", "silenced", "state",
    "status", "step", "subject", "to", "urgent", "last_event_id", "from_",
})  # fmt: skip
"""Of queries: what names no thing."""
GIVEN: Final[dict[str, Callable[[], str]]] = {
    "metric": lambda: "smoke", "category": lambda: "fire", "level": lambda: "3",
    "from": lambda: (datetime.now(UTC) - timedelta(days=1)).isoformat(),
    "to": lambda: (datetime.now(UTC) + timedelta(days=1)).isoformat(),
}  # fmt: skip
"""Of queries: what has to be there."""
FIELDS: Final = {
    "armband": "armband", "device": "device", "gateway": "gateway", "into": "report", "member": "member",
    "members": ["member"], "node": "street", "parent": "street", "post": "post",
    "radio": "radio", "route": "route", "Reveal.pseudonym": "pseudonym", "RevealForm.pseudonym": "pseudonym", "HandOver.to": "relief", "HandOverForm.to": "relief",
    "cloud.incidents.models.HandOver.user": "user", "NewMember.user": "chief", "MemberChange.user": "chief",
    "MemberForm.user": "chief",
    "cloud.console.incidents.Act.user": "user", "ShiftForm.where": "where", "/organisation/{node_id}/users/{act}.name": "user",
}  # fmt: skip
"""Of bodies: the field, or path or model and field, and what it stands for; a list: several of them."""
OUTSIDE: Final = {
    "/api/v1/stream": "does not end; see the tests of the stream",
    "/api/v1/session": "signing in and out: names nothing but who asks",
    "/sign-in": "the same", "/sign-out": "the same",
}  # fmt: skip


class UnknownNameError(AssertionError):
    """The generator has not been told what a name stands for."""

    def __init__(self, where: str, name: str, table: str) -> None:
        super().__init__(f"{where}: {name!r} is new here; say in {HERE}, {table}, what it stands for")


class Route(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    dependant: Dependant
    endpoint: Any

    @property
    def label(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def api(self) -> bool:
        return self.path.startswith("/api/")


class Case(NamedTuple):
    """A request. sent: what it says of things, by place; they may come back and tell nothing new."""

    route: Route
    url: str
    query: dict[str, str]
    body: Any
    sent: tuple[str, ...] = ()
    about: str = ""
    """Which of its places are of the other side."""


def routes_of(app: FastAPI) -> Iterator[Route]:
    """Every route that the application serves."""
    for context in iter_route_contexts(app.routes):
        if getattr(context, "dependant", None) is None:
            continue  # the document and the assets
        for method in sorted(context.methods or ()):
            if context.path not in OUTSIDE:
                yield Route(method, context.path, context.dependant, context.endpoint)


def _all(dependant: Dependant, what: str) -> list[Any]:
    found = list(getattr(dependant, what))
    for each in dependant.dependencies:
        found += _all(each, what)
    return found


@cache
def _source(endpoint: Any, *models: type[BaseModel]) -> str:  # noqa: ANN401 - a function
    """The text of an endpoint, of what it calls in its module, and of the methods of its models."""
    module = inspect.getmodule(endpoint)
    found, text = {endpoint}, inspect.getsource(endpoint)
    while True:
        called = {getattr(module, name, None) for name in re.findall(r"(\w+)\(", text)} - found
        helpers = [each for each in called if inspect.isfunction(each) and inspect.getmodule(each) is module]
        if not helpers:
            return "\n".join([text, *map(inspect.getsource, models)])
        found.update(helpers)
        text = "\n".join([text, *map(inspect.getsource, helpers)])


def query_names(route: Route) -> list[str]:
    """What may stand in a query: as it is declared, and as a page of the console reads it."""
    names: list[str] = []
    for each in _all(route.dependant, "query_params"):
        kind = each.field_info.annotation
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            names += [field.alias or name for name, field in kind.model_fields.items()]
        else:
            names.append(each.alias)
    if not route.api and route.method in SAFE:
        source = _source(route.endpoint)
        names += re.findall(r'query\.(?:get|pop)\("(\w+)"', source)
        for listed in re.findall(r"query\.get\(name.*? for name in (\([^)]*\)|\w+)", source):
            table = getattr(inspect.getmodule(route.endpoint), listed, ())
            names += re.findall(r'"(\w+)"', listed) or list(table)
    for name in names:
        if name not in QUERIES and name not in PLAIN:
            raise UnknownNameError(route.label, name, "QUERIES or PLAIN")
    return list(dict.fromkeys(names))


def parameter_names(route: Route) -> list[str]:
    """What stands in the path and names a thing."""
    names = re.findall(r"{(\w+)(?::\w+)?}", route.path)
    for name in names:
        if name not in PARAMETERS and name not in CONSTANTS:
            raise UnknownNameError(route.label, name, "PARAMETERS or CONSTANTS")
    return [name for name in names if name in PARAMETERS]


class Things:
    """What names stand for on a side, or for nobody."""

    def __init__(self, side: Side | None) -> None:
        self._side = side

    def __getitem__(self, kind: str) -> Any:  # noqa: ANN401 - an id or a name
        ids = self._side.ids if self._side else {}
        if kind == "box":
            lat = self._side.lat if self._side else 40.0
            return f"108.8,{lat - 0.1},109.0,{lat + 0.1}"
        if kind == "where":
            return f"post:{self['post']}"
        if kind == "target":
            return f"incident/{self['incident']}"
        if self._side:
            return ids[kind]
        if kind == "street":
            return f"/{MISSING}/"
        if kind in {"gateway", "device", "user", "chief", "pseudonym", "group"}:
            return f"qqn-{kind}"
        return MISSING


def _value(schema: Mapping[str, Any], defs: Mapping[str, Any], name: str = "") -> Any:  # noqa: ANN401, PLR0911, C901 - JSON
    """Something that fits a schema."""
    if "$ref" in schema:
        return _value(defs[schema["$ref"].rpartition("/")[2]], defs, name)
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            options = [each for each in schema[several] if each.get("type") != "null"]
            return _value(options[0], defs, name)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        return {each: _value(schema["properties"][each], defs, each) for each in schema.get("required", ())}
    if kind == "array":
        return [_value(schema.get("items", {}), defs, name)] * max(1, schema.get("minItems", 1))
    if kind == "integer":
        return int(max(schema.get("minimum", 1), 1))
    if kind == "number":
        return max(float(schema.get("minimum", 1.0)), 1.0)
    if kind == "boolean":
        return True
    return _text(schema, name)


def _text(schema: Mapping[str, Any], name: str) -> str:
    ahead = datetime.now(UTC) + timedelta(hours=7 if name.startswith("start") else 8)
    if schema.get("format") == "date-time":
        return ahead.isoformat()
    if schema.get("format") == "date":
        return datetime.now(UTC).date().isoformat()
    return "words-" + "x" * max(0, schema.get("minLength", 0) - 6) if schema else "words"


WITHIN: Final = {"device": "gateway"}
"""Of bodies: a name that means something only together with another one."""
EITHER: Final = {"route": "post"}
"""Of bodies: what stands instead of another one, so it is there only when it is asked about."""
VALUES: Final[dict[str, Any]] = {
    "lat": 34.2, "lon": 108.9, "name_zh": "words", "name_en": "words", "comment": "words", "reason": "words",
    "text": "words", "checkpoints": [{"lat": 34.2, "lon": 108.9}], "call_sign": "words", "case_number": "7",
    "PostIn.outline": None, "AreaIn.outline": {"type": "Polygon", "coordinates": [
        [[108.9, 34.2], [108.901, 34.2], [108.901, 34.201], [108.9, 34.2]]
    ]},
    "FeatureCollection.features": [{"type": "Feature", "properties": {
        "code": "words", "kind": "street", "name_zh": "words"
    }}],
    "target": "https://hooks.example.org/words", "action": "merge", "audience": ["dispatcher"], "note": "words",
    "purpose": "silence", "Settings.purpose": "real", "seconds": 600, "level": 3, "follow_up": "words",
    "owner": "words", "users": "", "kinds": "", "ChainBody.kinds": [], "PlanPut.kinds": [], "reporting_s": 60,
    "steps": [{"after_s": 60, "roles": ["dispatcher"]}],
    "name": "words", "SilenceForm.kind": "smoke", "SilenceBody.kind": "smoke", "EquipmentForm.kind": "door",
    "NewEquipment.kind": "door", "Planned.kind": "incident", "Filed.kind": "exit-blocked", "roles": ["dispatcher"],
    "ChainForm.roles": ["0:dispatcher"], "after": ["60"], "up": ["0"], "min_severity": "major",
    "NewNode.kind": "community", "NodeForm.kind": "community", "role": "dispatcher", "ApproverForm.role": "supervisor",
    "PutApprover.role": "supervisor", "PolicyForm.headcount": [100] * 4, "revisit": [100] * 4,
    "reporting": [60] * 4, "escalation": [100] * 4,
    "rows": [{"level": 3, "headcount_percent": 110, "revisit_percent": 90, "reporting_s": 60, "escalation_percent": 80}],
    "PlanForm.category": "fire", "PlanForm.checklist": "words", "Act.line": 0,
    "people": 2, "receive_s": 60, "escalate_s": 300, "scene_m": 80.0, "is_done": True, "state": "underway",
}  # fmt: skip
"""Of bodies: what is said of what names no thing, by field, or model and field."""
_LOCAL: Final = {"starts": 7, "ends": 8}
"""Of forms: local times, in so many hours."""


def _named(path: str, model: type[BaseModel], field: str, table: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever the table holds
    """What a table says of a field, most particular first; the table itself when it says nothing."""
    for key in (f"{path}.{field}", f"{model.__module__}.{model.__name__}.{field}", f"{model.__name__}.{field}", field):
        if key in table:
            return table[key]
    return table


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return TypeAdapter(model).json_schema()


def _filled(route: Route, model: type[BaseModel], things: Mapping[str, Things]) -> tuple[dict[str, Any], list[str]]:
    """A plausible body and the places in it that name a thing. things: by place."""
    schema = _schema(model)
    source = _source(route.endpoint, model)
    names = "|".join(each.alias for each in _all(route.dependant, "body_params"))
    properties, defs = schema.get("properties", {}), schema.get("$defs", {})
    body: dict[str, Any] = {}
    places: list[str] = []
    for field, told in properties.items():
        kind = _named(route.path, model, field, FIELDS)
        said = _named(route.path, model, field, VALUES)
        if field in EITHER and f"body.{field}" not in things:
            places += [field] if kind is not FIELDS else []
            continue
        used = route.api or re.search(rf'\b(?:self|{names})\.{field}\b|"{field}"', source)
        if kind is not FIELDS and used:
            place = WITHIN.get(field, field)
            if place == field or place not in properties:
                places.append(field)
            of = things.get(f"body.{place}", things["*"])
            body[field] = [of[each] for each in kind] if isinstance(kind, list) else of[kind]
        elif said is not VALUES:
            body[field] = said
        elif field in _LOCAL:
            body[field] = (datetime.now(UTC) + timedelta(hours=8 + _LOCAL[field])).strftime("%Y-%m-%dT%H:%M")
        elif field in schema.get("required", ()) or field == "ends_at":
            body[field] = _value(told, defs, field)
    without = {other for field, other in EITHER.items() if field in body}
    return {name: value for name, value in body.items() if value is not None and name not in without}, places


def _models(route: Route) -> list[type[BaseModel]]:
    """The models of a body or a form."""
    found: list[type[BaseModel]] = []
    for each in _all(route.dependant, "body_params"):
        kinds = (each.field_info.annotation, *getattr(each.field_info.annotation, "__args__", ()))
        found += [kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, BaseModel)]
    return found


def case_of(route: Route, side: Things, other: Things | None = None, about: Iterable[str] = ()) -> Case:
    """A request in which the places that are named are of `other`, and all others of `side`.

    Queries are only there when they are named: a list without them is a list of everything.
    """
    chosen = set(about)
    things: dict[str, Things] = {"*": side} | dict.fromkeys(chosen, other or side)
    sent: list[str] = []

    def say(value: Any, place: str) -> str:  # noqa: ANN401 - an id or a name
        if place in chosen:
            sent.append(str(value))
        return str(value)

    url = route.path
    for name in re.findall(r"{(\w+)(?::\w+)?}", route.path):
        place = f"path.{name}"
        value = CONSTANTS.get(name) or things.get(place, side)[PARAMETERS[name]]
        url = re.sub(rf"{{{name}(:\w+)?}}", say(value, place), url)
    given: dict[str, str] = {}
    for each in _all(route.dependant, "query_params"):
        if each.alias in GIVEN and each.field_info.is_required():
            given[each.alias] = GIVEN[each.alias]()
        elif each.alias in QUERIES and each.field_info.is_required():
            given[each.alias] = things.get(f"query.{each.alias}", side)[QUERIES[each.alias]]
    for name in query_names(route):
        if f"query.{name}" in chosen:
            given[name] = say((other or side)[QUERIES[name]], f"query.{name}")
    body: Any = None
    for model in _models(route):
        body, fields = _filled(route, model, things)
        for field in fields:
            value = body.get(field, "")
            for each in value if isinstance(value, list) else [value]:
                say(each, f"body.{field}")
            sent += [str(body[inner]) for inner, outer in WITHIN.items() if outer == field and inner in body]
    return Case(route, url, given, body, tuple(sent), "+".join(sorted(chosen)))


def places_of(route: Route) -> list[str]:
    """Every place of a request that can name a thing."""
    found = [f"path.{name}" for name in parameter_names(route)]
    found += [f"query.{name}" for name in query_names(route) if name in QUERIES]
    for model in _models(route):
        _, fields = _filled(route, model, {"*": Things(None)})
        found += [f"body.{field}" for field in fields]
    return found


def about_of(route: Route, *, one_by_one: bool) -> list[list[str]]:
    """Which places are of the other side: all of path and body, all of the query, and each by itself if wanted."""
    places = places_of(route)
    asked = [place for place in places if place.startswith("query.")]
    fixed = [place for place in places if place not in asked and place.removeprefix("body.") not in EITHER]
    found = [fixed, asked] + ([[place] for place in places] if one_by_one else [])
    return [about for number, about in enumerate(found) if about and about not in found[:number]]
