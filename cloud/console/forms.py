"""What the console's forms have in common: what each carries, ids in addresses, and a body of the API from its fields.

That a form came from a page of the same session is checked before any handler runs (`cloud.console.pages`). A handler
then does three things: it makes a body of the fields, calls a service in a transaction, and leads on with `back_to`.
What is wrong is raised, and `pages` makes an answer of it.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from fastapi import Form, Path
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cloud.errors import Invalid

M = TypeVar("M", bound=BaseModel)
Id = Annotated[int, Path(ge=1, lt=2**63)]


class Sent(BaseModel):
    """What every form carries. back: the page to return to. Its token was read before."""

    model_config = ConfigDict(extra="ignore")

    back: str = Field("", max_length=2000)


Button = Annotated[Sent, Form()]
"""A form without fields of its own."""


def refused(e: ValidationError, whole: str = "form") -> Invalid:
    """What is wrong with a form, never what was written in it. whole: what is said of the form as a whole."""
    first = e.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return Invalid(f"{where}: {first['msg']}" if where else whole)


def checked(model: type[M], whole: str = "form", /, **given: Any) -> M:  # noqa: ANN401 - a form's
    """A body of the API from a form's fields; empty ones are left out. Raises Invalid (see `refused`)."""
    try:
        return model.model_validate({name: value for name, value in given.items() if value not in ("", None)})
    except ValidationError as e:
        raise refused(e, whole) from e


def numbered(text: str, what: str) -> int | None:
    """The id of a choice, None for none. Raises Invalid."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**63):
        raise Invalid(f"{what}: {text!r} is none")
    return int(text)


def point(text: str, wrong: str) -> tuple[float | None, float | None]:
    """Latitude and longitude as a map on a phone copies them. Raises Invalid. wrong: what it says."""
    if not text.strip():
        return None, None
    try:
        lat, lon = (float(part) for part in text.replace("，", ",").split(","))
    except ValueError as e:
        raise Invalid(wrong) from e
    return lat, lon
