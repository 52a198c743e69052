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

MAX_FILE_BYTES = 4 * 1024 * 1024


class Model(BaseModel):
    """A frozen table of a TOML file; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


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
    try:
        table: dict[str, Any] = tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as e:
        raise error(name, "", f"byte {e.start}: not UTF-8") from e
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise error(name, "", f"not TOML: {e}") from e
    return validate(table, name, model, error)


def validate(table: Mapping[str, Any], name: Path | str, model: type[M], error: FileError = ConfigError) -> M:
    """Check a parsed table against a model. Raises `error` for the first thing that is wrong."""
    try:
        return model.model_validate(table)
    except ValidationError as e:
        first = min(e.errors(include_url=False), key=lambda d: d["type"] != "extra_forbidden")
        loc = first["loc"]
        key = _dotted(loc)
        if first["type"] == "extra_forbidden":
            raise error(name, key, f"unknown key{nearest(str(loc[-1]), _fields(model, loc[:-1]))}") from e
        cause = first.get("ctx", {}).get("error")
        reason = str(cause) if isinstance(cause, PatrolError | ValueError) else first["msg"]
        raise error(name, key, reason[:1].lower() + reason[1:]) from e


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
        candidates = following or candidates
    names: set[str] = set()
    for candidate in candidates:
        names |= {field.alias or name for name, field in candidate.model_fields.items()}
    return names


def _models(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is not None:
        return [m for argument in typing.get_args(annotation) for m in _models(argument)]
    return []
