"""The routes of an application as the tests of scope see them, and what stands for a thing of a side (S4)."""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastapi.routing import iter_route_contexts

from tests.cloud.scope_world import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from fastapi.dependencies.models import Dependant
    from pydantic import BaseModel

    from tests.cloud.scope_world import Side

SAFE: Final = frozenset({"GET", "HEAD"})
OUTSIDE: Final = {
    "/api/v1/stream": "does not end; see the tests of the stream",
    "/api/v1/session": "signing in and out: names nothing but who asks",
    "/sign-in": "the same", "/sign-out": "the same",
    "/updates/metadata/{name}": "signed and for everybody; see the tests of releases",
    "/updates/targets/{path:path}": "the same",
}  # fmt: skip
NOBODYS: Final = {"street": f"/{MISSING}/"} | {
    name: f"qqn-{name}" for name in ("gateway", "device", "user", "chief", "pseudonym", "group")
}
"""Names that nothing has."""


class UnknownNameError(AssertionError):
    """The generator has not been told what a name stands for."""

    def __init__(self, where: str, name: str, table: str) -> None:
        super().__init__(f"{where}: {name!r} is new here; say in tests/cloud/{table} what it stands for")


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


def routes_of(app: FastAPI) -> Iterator[Route]:
    """Every route that the application serves."""
    for context in iter_route_contexts(app.routes):
        if getattr(context, "dependant", None) is None:
            continue  # the document and the assets
        for method in sorted(context.methods or ()):
            if context.path and context.path not in OUTSIDE:
                yield Route(method, context.path, context.dependant, context.endpoint)


def all_of(dependant: Dependant, what: str) -> list[Any]:
    """What is declared of a request, whoever declares it: `query_params`, `body_params`."""
    found = list(getattr(dependant, what))
    for each in dependant.dependencies:
        found += all_of(each, what)
    return found


@cache
def source_of(endpoint: Any, *models: type[BaseModel]) -> str:  # noqa: ANN401 - a function
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


class Things:
    """What names stand for on a side, or for nobody."""

    def __init__(self, side: Side | None) -> None:
        self._ids = side.ids if side else {}
        self._lat = side.lat if side else 40.0

    def __getitem__(self, kind: str) -> Any:  # noqa: ANN401 - an id or a name
        made = {
            "box": lambda: f"108.8,{self._lat - 0.1},109.0,{self._lat + 0.1}",
            "where": lambda: f"post:{self['post']}",
            "target": lambda: f"incident/{self['incident']}",
        }
        if kind in made:
            return made[kind]()
        return self._ids[kind] if self._ids else NOBODYS.get(kind, MISSING)
