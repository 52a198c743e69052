"""P6: no endpoint takes or gives a resident's timeline, score or co-presence.

What is checked, over every route there is and the whole OpenAPI document:

- No path, parameter, field or enumerated value speaks of residents, or of what would make a person's profile; a score
  is a drill's and a timeline an incident's.
- A pseudonym is taken by the two operations that register and reveal it, both by POST, and neither tells a time or a
  place. So nobody can ask where or when, nor with whom, a pseudonym was.
- No search finds by the pseudonym that a door or a terminal told.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from starlette.routing import Route

from cloud.app import Role, create_app
from cloud.config import Config
from cloud.devices import service as devices
from tests.cloud.cloud_support import NOW, know, reading, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi import FastAPI

OF_PEOPLE = frozenset(
    {
        "resident", "residents", "citizen", "citizens", "household", "households", "tenant", "tenants", "inhabitant",
        "person", "persons", "people", "visitor", "visitors", "face", "faces", "facial", "gait", "biometric",
        "biometrics", "plate", "plates", "idcard", "ethnicity", "religion", "watchlist", "blacklist", "suspect",
        "suspects", "trajectory", "trajectories", "copresence", "encounter", "encounters", "acquaintance",
        "acquaintances", "whereabouts", "contacts", "companions",
    }
)  # fmt: skip
ONLY_OF = {
    "score": ("drill",), "scores": ("drill",), "rating": (), "timeline": ("incident", "drill"),
    "pseudonym": ("pseudonym", "reveal"), "pseudonyms": ("pseudonym",), "credential": (),
}  # fmt: skip
PSEUDONYMS = {("post", "/api/v1/pseudonyms"), ("post", "/api/v1/pseudonyms/reveal")}


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FastAPI]:
    made = create_app(Config.model_validate({"data_dir": tmp_path}), Role.API)
    yield made
    made.state.patrol.telemetry.close()
    made.state.patrol.db.close()


def words(name: str) -> set[str]:
    return set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))


def complaints(where: str, name: str) -> list[str]:
    found = words(name)
    wrong = [f"{where}: {word}" for word in sorted(found & OF_PEOPLE)]
    around = where.lower()
    elsewhere = (word for word in sorted(found & ONLY_OF.keys()) if not any(part in around for part in ONLY_OF[word]))
    return wrong + [f"{where}: {word}" for word in elsewhere]


def names(node: Any, where: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - JSON
    """Every property, parameter and enumerated value below a part of the document, and where it stands."""
    if isinstance(node, dict):
        for key, value in node.get("properties", {}).items() if isinstance(node.get("properties"), dict) else ():
            yield where, key
            yield from names(value, f"{where}.{key}")
        if "in" in node and isinstance(node.get("name"), str):
            yield where, node["name"]
        for value in node.get("enum", ()):
            yield where, str(value)
        for key, value in node.items():
            if key != "properties":
                yield from names(value, where)
    elif isinstance(node, list):
        for value in node:
            yield from names(value, where)


def test_P6_nothing_that_is_taken_or_given_is_of_residents(app: FastAPI) -> None:
    document = app.openapi()
    wrong: list[str] = []
    for path, operations in document["paths"].items():
        wrong += complaints(path, path)
        for where, name in names(operations, path):
            wrong += complaints(where, name)
    for schema, body in document["components"]["schemas"].items():
        for where, name in names(body, schema):
            wrong += complaints(where, name)
    for route in app.routes:
        if isinstance(route, Route):
            wrong += complaints(route.path, route.path)
    assert wrong == []


def test_P6_a_pseudonym_is_only_registered_and_revealed(app: FastAPI) -> None:
    document = app.openapi()
    takers = {
        (method, path)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "pseudonym" in str(_resolved(operation, document))
    }
    assert takers == PSEUDONYMS
    for method, path in PSEUDONYMS:
        given = str(_resolved(document["paths"][path][method]["responses"].get("200", {}), document))
        assert not re.search(r"date-time|'(?:at|lat|lon|gateway|device|post|node)'", given), path


def _resolved(node: Any, document: dict[str, Any], depth: int = 0) -> Any:  # noqa: ANN401 - JSON
    """A part of the document with its references replaced by what they refer to; descriptions left out."""
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str) and depth < 8:
            return _resolved(document["components"]["schemas"][reference.rpartition("/")[2]], document, depth + 1)
        return {
            key: _resolved(value, document, depth)
            for key, value in node.items()
            if key not in {"description", "summary", "operationId", "title"}
        }
    return [_resolved(value, document, depth) for value in node] if isinstance(node, list) else node


def test_P6_no_search_finds_by_a_pseudonym(tmp_path: Path) -> None:
    with serving(Config.model_validate({"data_dir": tmp_path})) as served:
        know(served.db, "gw-1")
        with served.db.begin() as tx:
            told = [reading(f"door-{n}", "credential", "k-7f3a91", NOW) for n in (1, 2)]
            devices.apply_readings(tx, "gw-1", "e", list(enumerate(told, 1)), NOW)
        searches = [
            (path, parameter["name"])
            for path, operations in served.app.openapi()["paths"].items()
            for parameter in operations.get("get", {}).get("parameters", ())
            if parameter["in"] == "query" and "{" not in path and "stream" not in path and _is_text(parameter["schema"])
        ]
        assert ("/api/v1/devices", "search") in searches
        with served.client() as api:
            for path, name in searches:
                answer = api.get(path.removeprefix("/api/v1"), params={name: "k-7f3a91"})
                assert "k-7f3a91" not in answer.text or answer.status_code == 422, (path, name)


def _is_text(schema: dict[str, Any]) -> bool:
    kinds = [schema, *schema.get("anyOf", ())]
    return any(each.get("type") == "string" and "format" not in each for each in kinds)


def test_the_check_can_fail() -> None:
    assert complaints("/residents/{id}", "residentScore")
    assert complaints("GET /members", "score")
    assert not complaints("DrillView", "score")
