"""A text that is none, as a lenient library hands it over, does not cost a pack or the agent."""

from __future__ import annotations

from firmware_specs.readings import Reading
from firmware_specs.wire import decode_pack, encode_item

NOW = 1_790_000_000_000


def test_a_lone_surrogate_is_written_as_a_question_mark() -> None:
    record = encode_item(Reading("d", "credential", b"\xc0\xee".decode("utf-8", "surrogateescape"), "", NOW, NOW))
    properties = [("epoch", "e"), ("first", "1"), ("count", "1"), ("base", "1"), ("boot", "b")]
    ((_, item),) = decode_pack("telemetry", properties, b"[" + record + b"]").items
    assert isinstance(item, Reading)
    assert item.value == "??"
