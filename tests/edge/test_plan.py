"""Wrong names and topics are refused with the configuration, before they can end a running agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge.binding import make_plan
from firmware_specs.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def plan(folder: Path, address: str = "s/a", south: str = "127.0.0.1:1") -> None:
    path = folder / "gateway.toml"
    path.write_text(
        f'gateway = "gw-1"\nstate_dir = "state"\n[uplink]\nurl = "mqtt://127.0.0.1:1"\n'
        f'[[connectors]]\nkind = "mqtt"\nurl = "mqtt://{south}"\n'
        f'[[devices]]\nid = "a"\nprofile = "generic-temperature-json"\nconnector = "mqtt"\naddress = "{address}"\n'
    )
    make_plan(path)


@pytest.mark.parametrize("address", ["s/#/b", "s/a+", "s#", "#/s", "+s/a", "s/\\u0000", "s/\\u0001", "s/\\u009f"])
def test_a_topic_that_cannot_be_subscribed_to_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError, match=r"devices\[0\]\.address: .* is not a topic or topic filter"):
        plan(tmp_path, address)


@pytest.mark.parametrize("address", ["s/a", "#", "+", "s/#", "+/a/+", "/s/"])
def test_topics_and_filters_are_taken(tmp_path: Path, address: str) -> None:
    plan(tmp_path, address)


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", ".example"])
def test_a_host_that_no_resolver_takes_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="is not a host name"):
        plan(tmp_path, south=f"{host}:1883")
