"""Orders to a gateway and its answers, without a broker."""

from __future__ import annotations

from edge.channel import ANSWERS, Channel
from firmware_specs.errors import PackError

Published = list[tuple[str, bytes, bool]]


def test_a_message_goes_to_the_handler_of_its_name_and_an_unknown_one_is_counted() -> None:
    channel, got = Channel(), []
    channel.on("desired/config", lambda rest, payload: got.append(("config", rest, payload)))
    channel.on("command", lambda rest, payload: got.append(("command", rest, payload)))

    def refuse(_rest: str, _payload: bytes) -> None:
        raise PackError("not an update")

    channel.on("desired/update", refuse)
    channel.take("desired/config", b"1")
    channel.take("command/c-1", b"2")
    channel.take("command/c-2", b"")  # only clears what was retained
    assert got == [("config", "", b"1"), ("command", "c-1", b"2")]
    assert channel.refused == 0
    channel.take("desired/update", b"3")
    channel.take("desired/other", b"4")
    assert channel.refused == 2
    assert len(got) == 2


def test_states_are_told_at_each_connection_and_answers_once() -> None:
    channel = Channel()
    first: Published = []
    second: Published = []
    channel.state("reported/config", b"a")
    channel.answer("result/1", b"r1")
    channel.attach(lambda *told: first.append(told))
    assert first == [("reported/config", b"a", True), ("result/1", b"r1", False)]
    channel.state("reported/config", b"b")
    channel.answer("result/2", b"r2")
    assert first[2:] == [("reported/config", b"b", True), ("result/2", b"r2", False)]
    channel.detach()
    channel.answer("result/3", b"r3")
    channel.attach(lambda *told: second.append(told))
    assert second == [("reported/config", b"b", True), ("result/3", b"r3", False)]


def test_the_oldest_answers_are_dropped_and_counted() -> None:
    channel, told = Channel(), []
    for n in range(ANSWERS + 3):
        channel.answer(f"result/{n}", b"")
    channel.attach(lambda rest, _payload, _retain: told.append(rest))
    assert channel.dropped == 3
    assert told[0] == "result/3"
    assert len(told) == ANSWERS
