"""Plausible bodies and forms, made from the models of a route, and the places in them that name a thing (S4)."""

from __future__ import annotations

import inspect
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, TypeAdapter

from tests.cloud.scope_routes import all_of, source_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.cloud.scope_routes import Route, Things

FIELDS: Final[dict[str, Any]] = {
    "armband": "armband", "device": "device", "gateway": "gateway", "into": "report", "member": "member",
    "members": ["member"], "node": "street", "parent": "street", "post": "post",
    "radio": "radio", "route": "route",
    "Reveal.pseudonym": "pseudonym", "RevealForm.pseudonym": "pseudonym",
    "HandOver.to": "relief", "HandOverForm.to": "relief",
    "cloud.incidents.models.HandOver.user": "user", "NewMember.user": "chief",
    "NewTemplate.key": "street", "TemplateForm.key": "street", "ChangeForm.template_key": "street",
    "MemberChange.user": "chief",
    "MemberForm.user": "chief",
    "NewWalk.devices": ["device"], "cloud.console.incidents.Act.user": "user", "ShiftForm.where": "where",
    "/organisation/{node_id}/users/{act}.name": "user",
    "NewClaim.gateway": None, "ClaimForm.gateway": None,
}  # fmt: skip
"""Of bodies: the field, or path or model and field, and what it stands for; a list: several of them; None: a name that
is given, and that may be anybody's (`test_enrolling` says what becomes of it)."""
WITHIN: Final = {"device": "gateway"}
"""Of bodies: a name that means something only together with another one."""
EITHER: Final = {"route": "post"}
"""Of bodies: what stands instead of another one, so it is there only when it is asked about."""
VALUES: Final[dict[str, Any]] = {
    "NewCommand.kind": "check", "HelpForm.kind": "check",
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
    "NewText.text": 'location = "words"', "NewTemplate.text": 'location = "words"', "NewTemplate.kind": "node",
    "TextForm.text": 'location = "words"', "TemplateForm.text": 'location = "words"', "TemplateForm.kind": "node",
    "NewChange.edit": {"kind": "set", "key": "location", "value": "words"}, "ChangeForm.kind": "template",
    "ChangeForm.text": 'location = "words"', "ChangeForm.gateways": "", "expected": 1,
    "NewCampaign.kind": "words", "NewCampaign.subject": {}, "choice": {}, "policy": {},
    "name": "words", "SilenceForm.kind": "smoke", "SilenceBody.kind": "smoke", "EquipmentForm.kind": "door",
    "NewEquipment.kind": "door", "Planned.kind": "incident", "Filed.kind": "exit-blocked", "roles": ["dispatcher"],
    "ChainForm.roles": ["0:dispatcher"], "after": ["60"], "up": ["0"], "min_severity": "major",
    "NewNode.kind": "community", "NodeForm.kind": "community", "role": "dispatcher", "ApproverForm.role": "supervisor",
    "PutApprover.role": "supervisor", "PolicyForm.headcount": [100] * 4, "revisit": [100] * 4,
    "reporting": [60] * 4, "escalation": [100] * 4,
    "rows": [
        {"level": 3, "headcount_percent": 110, "revisit_percent": 90, "reporting_s": 60, "escalation_percent": 80}
    ],
    "PlanForm.category": "fire", "PlanForm.checklist": "words", "Act.line": 0,
    "AdoptForm.address": "words", "AdoptForm.connector": "words", "AdoptForm.profile": "words",
    "ReplaceForm.address": "words", "MarkForm.mark": "failed", "ShownBody.devices": {"words": 1},
    "arrivals": 2, "receive_s": 60, "escalate_s": 300, "scene_m": 80.0, "is_done": True, "state": "underway",
}  # fmt: skip
"""Of bodies: what is said of what names no thing, by field, or model and field."""
LOCAL: Final = {"starts": 7, "ends": 8}
"""Of forms: local times, in so many hours."""


def models_of(route: Route) -> list[type[BaseModel]]:
    """The models of a body or a form."""
    found: list[type[BaseModel]] = []
    for each in all_of(route.dependant, "body_params"):
        kinds = (each.field_info.annotation, *getattr(each.field_info.annotation, "__args__", ()))
        found += [kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, BaseModel)]
    return found


def _place_of(route: Route, model: type[BaseModel], field: str) -> str | None:
    """The place by which a field is asked about, None when it names nothing or the route does not look at it."""
    kind = _named(route.path, model, field, FIELDS)
    if kind is None or kind is FIELDS:
        return None
    names = "|".join(each.alias for each in all_of(route.dependant, "body_params"))
    looked_at = rf'\b(?:self|{names})\.{field}\b|"{field}"'
    if not route.api and not re.search(looked_at, source_of(route.endpoint, model)):
        return None  # forms of the console share models
    outer = WITHIN.get(field, field)
    return f"body.{outer if outer in model.model_fields else field}"


def body_places(route: Route) -> list[str]:
    """Every place of a body that can name a thing."""
    found = [_place_of(route, model, field) for model in models_of(route) for field in model.model_fields]
    return list(dict.fromkeys(place for place in found if place))


def body_of(route: Route, things: Mapping[str, Things]) -> tuple[dict[str, Any] | None, list[tuple[str, Any]]]:
    """A body, and what it says in which place. things: by place, `*` for any other."""
    body: dict[str, Any] | None = None
    said: list[tuple[str, Any]] = []
    for model in models_of(route):
        body = {}
        for field, told in _schema(model)["properties"].items():
            place = _place_of(route, model, field)
            if field in EITHER and place not in things:
                continue
            value = _value_of(route, model, field, told, things.get(place or "", things["*"]) if place else None)
            if value is not None:
                body[field] = value
            if place:
                said += [(place, each) for each in (value if isinstance(value, list) else [value])]
        for other in [EITHER[field] for field in EITHER if field in body]:
            body.pop(other, None)
    return body, said


def _value_of(route: Route, model: type[BaseModel], field: str, told: Mapping[str, Any], things: Things | None) -> Any:  # noqa: ANN401 - JSON
    schema = _schema(model)
    if things:
        kind = _named(route.path, model, field, FIELDS)
        return [things[each] for each in kind] if isinstance(kind, list) else things[kind]
    said = _named(route.path, model, field, VALUES)
    if said is not VALUES:
        return said
    if field in LOCAL:
        return (datetime.now(UTC) + timedelta(hours=8 + LOCAL[field])).strftime("%Y-%m-%dT%H:%M")
    needed = field in schema.get("required", ()) or field == "ends_at"
    return _value(told, schema.get("$defs", {}), field) if needed else None


def _named(path: str, model: type[BaseModel], field: str, table: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever the table holds
    """What a table says of a field, most particular first; the table itself when it says nothing."""
    for key in (f"{path}.{field}", f"{model.__module__}.{model.__name__}.{field}", f"{model.__name__}.{field}", field):
        if key in table:
            return table[key]
    return table


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return TypeAdapter(model).json_schema()


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
