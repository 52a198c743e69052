"""The wire of the fleet: its messages there and back, and what is none of them."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_specs import wire_fleet as wire
from firmware_specs.errors import PackError

MESSAGES = [
    wire.ConfigOrder(3, "abc", "location = 'x'\n"),
    wire.ConfigState(wire.ConfigPhase.TRIAL, 3, "abc", "", 5, 2, "old"),
    wire.UpdateOrder(1, "agent/a.tar", "1.2.0", "http://x/m/", "http://x/t/"),
    wire.UpdateState(wire.UpdatePhase.DOWNLOADING, 1, "1.2.0", done=5, size=9),
    wire.FirmwareOrder((wire.FirmwareJob(1, "smk-1", "firmware/s.bin", "2.0"),), "m", "t"),
    wire.FirmwareState({"smk-1": wire.UpdateState(wire.UpdatePhase.SENDING)}),
    wire.Command("c-1", "check", 1, 2, {"a": "b"}),
    wire.Result("c-1", wire.ResultPhase.DONE, 2, "text"),
    wire.Discovered(1, (wire.DiscoveredDevice("sensors", "mqtt", "sensors/x", ("generic-smoke-senml",)),)),
]
KINDS = [type(message) for message in MESSAGES]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_message_comes_back_as_it_went(message: object) -> None:
    assert wire.decode(wire.encode(message), type(message)) == message  # type: ignore[type-var]


@given(st.sampled_from(KINDS), st.binary(max_size=300))
def test_arbitrary_bytes_are_a_message_or_refused(kind: type, payload: bytes) -> None:
    with contextlib.suppress(PackError):
        assert isinstance(wire.decode(payload, kind), kind)


@given(st.sampled_from(MESSAGES), st.dictionaries(st.text(max_size=8), st.none() | st.integers() | st.text(max_size=9)))
def test_a_message_with_other_fields_is_a_message_or_refused(message: object, fields: dict[str, object]) -> None:
    body = {**msgspec.to_builtins(message), **fields}
    kind: Any = type(message)
    with contextlib.suppress(PackError):
        assert isinstance(wire.decode(msgspec.json.encode(body), kind), kind)


def test_limits_are_named() -> None:
    with pytest.raises(PackError, match="configuration of 4194305 bytes, more than 4194304"):
        wire.decode(b" " * (wire.MAX_ORDER_BYTES + 1), wire.ConfigOrder)
    with pytest.raises(PackError, match=r"not a command: .*at `\$\.id`"):
        wire.decode(b'{"id": "a/b", "kind": "x", "issued_ms": 1, "expires_ms": 2}', wire.Command)
    many = wire.encode(wire.Discovered(1, MESSAGES[8].devices * 501))  # type: ignore[attr-defined]
    with pytest.raises(PackError, match="not a list of discovered devices"):
        wire.decode(many, wire.Discovered)
