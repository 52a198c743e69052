"""A configuration reference in Markdown, made from the models themselves.

Owns the layout of the page. What a key means is the docstring below the attribute; what a table is for, the model's
own. So the reference cannot fall behind the code.
"""

from __future__ import annotations

import types
import typing
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

_NAMES: Final[dict[object, str]] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    datetime: "date and time",
    types.NoneType: "",
}
_INLINE_KEYS: Final = 3
"""A table of so few keys is shown in its row, and explained once."""
_LIMITS: Final = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))


class _Table(NamedTuple):
    """A table of the file: its heading as TOML writes it, and its model."""

    heading: str
    model: type[BaseModel]


def markdown(model: type[BaseModel], title: str) -> str:
    """The reference of one file: a section a table, a row a key with type, default and meaning."""
    lines = [f"# {title}", "", _sentence(model.__doc__), ""]
    for table in _tables("", model, set()):
        if table.heading:
            lines += [f"## `{table.heading}`", "", _sentence(table.model.__doc__), ""]
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        for name, field in table.model.model_fields.items():
            cells = (f"`{field.alias or name}`", _kind(field), _default(field), _meaning(field))
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _tables(heading: str, model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[_Table]:
    """The model's own table, then those below it; a table that stands in several places is explained at the first."""
    if model in seen:
        return
    seen.add(model)
    yield _Table(heading, model)
    prefix = heading.strip("[]").partition("]")[0]
    for name, field in model.model_fields.items():
        path = f"{prefix}.{field.alias or name}" if prefix else field.alias or name
        members = list(_models(field.annotation, path, in_list=False))
        for below, member in members:
            yield from _tables(below + (_mark(member) if len(members) > 1 else ""), member, seen)


def _mark(member: type[BaseModel]) -> str:
    """What tells one member of a union from the others: ` kind = "mqtt"`, or its name."""
    for name, field in member.model_fields.items():
        values = typing.get_args(field.annotation)
        if typing.get_origin(field.annotation) is Literal and len(values) == 1:
            return f' {name} = "{values[0]}"'
    return f" ({member.__name__})"


def _models(annotation: Any, path: str, *, in_list: bool) -> Iterator[tuple[str, type[BaseModel]]]:  # noqa: ANN401
    """The models that a field's type holds, with the heading of their table."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield (f"[[{path}]]" if in_list else f"[{path}]"), annotation
        return
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is dict:
        yield from _models(arguments[1], f"{path}.<name>", in_list=False)
    elif origin is typing.Annotated:
        yield from _models(arguments[0], path, in_list=in_list)
    elif origin is not Literal:
        for argument in arguments:
            yield from _models(argument, path, in_list=in_list or origin in {list, tuple})


def _kind(field: FieldInfo) -> str:
    text = _type(field.annotation)
    limits = [
        f"{sign} {getattr(m, name)}"
        for m in field.metadata
        for name, sign in _LIMITS
        if getattr(m, name, None) is not None
    ]
    return f"{text} {', '.join(limits)}" if limits else text


def _type(annotation: Any) -> str:  # noqa: ANN401 - any annotation
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        text = " or ".join(f"`{value}`" for value in arguments)
    elif origin is typing.Annotated:
        text = _type(arguments[0])
    elif origin is dict:
        text = f"table of {_type(arguments[1])}"
    elif origin in {typing.Union, types.UnionType}:
        text = " or ".join(dict.fromkeys(each for each in map(_type, arguments) if each))
    elif origin is not None:
        text = f"list of {_type(arguments[0])}"
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        keys = list(annotation.model_fields)
        text = f"`{{ {', '.join(keys)} }}`" if len(keys) <= _INLINE_KEYS else "table"
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        text = ", ".join(f"`{member.value}`" for member in annotation if member.value != "")
    else:
        text = _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))
    return text


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, BaseModel) or value in ((), [], {}, ""):
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(f"`{entry}`" for entry in value)
    plain = value.value if isinstance(value, Enum) else str(value).lower() if isinstance(value, bool) else value
    return f"`{plain}`"


def _meaning(field: FieldInfo) -> str:
    """What the key is for; a table without words of its own has its model's, a tag says that it is one."""
    if field.description:
        return _sentence(field.description)
    if typing.get_origin(field.annotation) is Literal and len(typing.get_args(field.annotation)) == 1:
        return "Says that the table is of this kind."
    models = [model for _, model in _models(field.annotation, "", in_list=False)]
    if len(models) == 1:
        return _sentence(models[0].__doc__)
    return "One table of those below." if models else ""


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())
