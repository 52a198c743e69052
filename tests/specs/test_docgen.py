"""The configuration reference: made from the models, so it says what they say."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic reads it at run time
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from cloud.config import Config
from edge.config import GatewayConfig
from firmware_specs.docgen import markdown
from firmware_specs.readings import Lane
from firmware_specs.schema import Profile
from firmware_specs.tomlfile import Model


class _Serial(Model):
    """A line."""

    kind: Literal["serial"]
    port: Path
    """The device | file."""


class _Network(Model):
    """A socket."""

    kind: Literal["network"]
    host: str = "localhost"
    """Its name."""


class _Small(Model):
    """Two numbers."""

    a: int = 1
    """One."""


class _Root(Model):
    """The file."""

    name: str
    """Who
    it is."""
    links: tuple[Annotated[_Serial | _Network, Field(discriminator="kind")], ...] = ()
    """Ways out."""
    limit_s: float | None = Field(default=2.5, gt=0, le=10)
    """How long."""
    lane: Lane = Lane.TELEMETRY
    """Which."""
    small: _Small = _Small()
    """A table."""
    named: dict[str, _Small] = Field(default_factory=dict)
    """More tables."""
    on: bool = True
    """Whether."""


EXPECTED = """\
# The file

The file.

| key | type | default | meaning |
|---|---|---|---|
| `name` | text | required | Who it is. |
| `links` | list of `{ kind, port }` or `{ kind, host }` |  | Ways out. |
| `limit_s` | number > 0, ≤ 10 | `2.5` | How long. |
| `lane` | `alarms`, `telemetry` | `telemetry` | Which. |
| `small` | `{ a }` |  | A table. |
| `named` | table of `{ a }` |  | More tables. |
| `on` | true or false | `true` | Whether. |

## `[[links]] kind = "serial"`

A line.

| key | type | default | meaning |
|---|---|---|---|
| `kind` | `serial` | required | Says that the table is of this kind. |
| `port` | path | required | The device \\| file. |

## `[[links]] kind = "network"`

A socket.

| key | type | default | meaning |
|---|---|---|---|
| `kind` | `network` | required | Says that the table is of this kind. |
| `host` | text | `localhost` | Its name. |

## `[small]`

Two numbers.

| key | type | default | meaning |
|---|---|---|---|
| `a` | whole number | `1` | One. |
"""


def test_a_reference_by_hand() -> None:
    assert markdown(_Root, "The file") == EXPECTED


def models_of(page: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith("## ")]


def test_the_products_files_are_documented() -> None:
    gateway, cloud, profile = (markdown(model, "x") for model in (GatewayConfig, Config, Profile))
    for kind in ("mqtt", "coap", "serial", "opcua"):
        assert f'## `[[connectors]] kind = "{kind}"`' in gateway
    assert "## `[uplink]`" in models_of(gateway)
    assert "## `[[devices]]`" in models_of(gateway)
    for table in ("http", "broker", "telemetry", "database"):
        assert f"## `[{table}]`" in models_of(cloud)
    assert '## `[[alarms.when]] kind = "above"`' in profile or '## `[alarms.when] kind = "above"`' in profile


def test_every_key_of_a_profile_says_what_it_means() -> None:
    rows = [line.split(" | ") for line in markdown(Profile, "x").splitlines() if line.startswith("| `")]
    silent = [row[0] for row in rows if row[-1].strip(" |") == "" and row[0] not in {"| `kind`", "| `type`"}]
    assert silent == []


def test_a_model_is_explained_once_though_it_stands_twice() -> None:
    class Twice(BaseModel):
        first: _Small
        second: _Small

    assert models_of(markdown(Twice, "x")) == ["## `[first]`"]
