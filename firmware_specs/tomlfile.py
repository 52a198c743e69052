"""Read a TOML file into a pydantic model, and say in one line what is wrong with it and where.

Owns the wording of configuration errors. Models are frozen and forbid unknown keys.
"""

from __future__ import annotations

import tomllib
import types
import typing
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from firmware_specs.errors import ConfigError, PatrolError, ProfileError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydantic_core import ErrorDetails

MAX_FILE_BYTES = 4 * 1024 * 1024


class Model(BaseModel):
    """A frozen table of a TOML file; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


M = TypeVar("M", bound=BaseModel)
FileError = type[ConfigError] | type[ProfileError]


def load_toml(path: Path, model: type[M], error: FileError = ConfigError) -> M:
    """Read, check and freeze one file.

    Raises `error` (ConfigError or ProfileError) naming the file, the key and the cause; for an unknown key also
    the nearest valid one.
    """
    return parse_toml(read_file(path, error), path, model, error)


def read_file(path: Path, error: FileError = ConfigError) -> bytes:
    """The bytes of a file of at most 4 MiB. Raises `error` when it is not there, not readable or too large."""
    try:
        with path.open("rb") as f:
            data = f.read(MAX_FILE_BYTES + 1)
    except OSError as e:
        raise error(path, "", e.strerror or str(e)) from e
    if len(data) > MAX_FILE_BYTES:
        raise error(path, "", f"larger than {MAX_FILE_BYTES} bytes")
    return data


def parse_toml(data: bytes, name: Path | str, model: type[M], error: FileError = ConfigError) -> M:
    """The same for bytes that were read elsewhere; `name` stands for them in errors."""
    return validate(parse_table(data, name, error), name, model, error)


def parse_table(data: bytes, name: Path | str, error: FileError = ConfigError) -> dict[str, Any]:
    """The tables of a file that was read elsewhere. Raises `error` when it is not TOML."""
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as e:
        raise error(name, "", f"byte {e.start}: not UTF-8") from e
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise error(name, "", f"not TOML: {e}") from e


def validate(table: Mapping[str, Any], name: Path | str, model: type[M], error: FileError = ConfigError) -> M:
    """Check a parsed table against a model. Raises `error` for the first thing that is wrong."""
    try:
        return model.model_validate(table)
    except ValidationError as e:
        details = e.errors(include_url=False)
        first = min(details, key=lambda d: d["type"] != "extra_forbidden")
        raise error(name, *_explained(first, table, model)) from e


def validate_part(table: Mapping[str, Any], name: Path | str, model: type[BaseModel]) -> None:
    """Check what there is of a table that is completed elsewhere. Raises ConfigError for the first thing wrong."""
    try:
        model.model_validate(table)
    except ValidationError as e:
        wrong = [d for d in e.errors(include_url=False) if d["type"] not in {"missing", "union_tag_not_found"}]
        if wrong:
            first = min(wrong, key=lambda d: d["type"] != "extra_forbidden")
            raise ConfigError(name, *_explained(first, table, model)) from e


def _explained(detail: ErrorDetails, table: Mapping[str, Any], model: type[BaseModel]) -> tuple[str, str]:
    """The key as the file has it, and what is wrong with it."""
    loc, kind, context = detail["loc"], detail["type"], detail.get("ctx", {})
    key = _dotted(_in_file(loc, table, keep_last=kind in {"missing", "extra_forbidden"}))
    if kind == "extra_forbidden":
        return key, f"unknown key{nearest(str(loc[-1]), _fields(model, loc[:-1]))}"
    if kind == "missing":
        return key, "is missing"
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        discriminator = str(context["discriminator"]).strip("'")
        where = f"{key}.{discriminator}" if key else discriminator
        if kind == "union_tag_not_found":
            return where, "is missing"
        tags = [tag.strip(" '") for tag in str(context["expected_tags"]).split(",")]
        return where, f"there is no {str(context['tag'])[:64]!r}{nearest(str(context['tag']), tags)}"
    cause = context.get("error")
    reason = str(cause) if isinstance(cause, PatrolError | ValueError) else detail["msg"]
    return key, reason[:1].lower() + reason[1:]


def _in_file(loc: tuple[int | str, ...], table: object, *, keep_last: bool) -> tuple[int | str, ...]:
    """The parts of `loc` that stand in the file; pydantic's own, such as the name of a union's member, do not."""
    parts: list[int | str] = []
    for index, part in enumerate(loc):
        in_list = isinstance(table, list) and isinstance(part, int) and part < len(table)
        if in_list or (isinstance(table, dict) and part in table):
            table = table[part]  # type: ignore[index]  # mypy does not follow in_list
        elif not (keep_last and index == len(loc) - 1):
            continue
        parts.append(part)
    return tuple(parts)


def _dotted(loc: tuple[int | str, ...]) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _fields(model: Any, loc: tuple[int | str, ...]) -> set[str]:  # noqa: ANN401 - walks annotations of any kind
    """The valid keys of the table at `loc` below `model`, walking unions, lists and dicts."""
    candidates = list(_models(model))
    for part in loc:
        following: list[type[BaseModel]] = []
        for candidate in candidates:
            if isinstance(part, str) and part in candidate.model_fields:
                following += _models(candidate.model_fields[part].annotation)
        members = [candidate for candidate in candidates if isinstance(part, str) and _is_member(candidate, part)]
        candidates = following or members or candidates
    names: set[str] = set()
    for candidate in candidates:
        names |= {field.alias or name for name, field in candidate.model_fields.items()}
    return names


def _is_member(model: type[BaseModel], part: str) -> bool:
    """Whether pydantic calls this member of a union so: by its class, or by the value of its discriminator."""
    return model.__name__ == part or any(
        typing.get_origin(field.annotation) is typing.Literal and part in typing.get_args(field.annotation)
        for field in model.model_fields.values()
    )


def _models(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is not None:
        return [m for argument in typing.get_args(annotation) for m in _models(argument)]
    return []
