"""What devices say, as any bytes whatever: a message or a FrameError, and never anything else (S8)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edge.firmware.base import FirmwareDevice, Image, Pace
from edge.firmware.mqtt import MqttSender, _Talk
from firmware_specs import device_firmware as wire
from firmware_specs.errors import FrameError, LinkError, UpdateRejected
from firmware_specs.load import load_profile
from firmware_specs.schema import FirmwareChannel
from firmware_specs.skeleton import write_skeleton
from tests.connectors.line_support import profile

if TYPE_CHECKING:
    from pathlib import Path

KINDS: tuple[Any, ...] = (wire.Begin, wire.End, wire.Ack, wire.Status, wire.Standing)
FIRMWARE = FirmwareChannel(channel="mqtt-chunks", model="m", chunk_bytes=16, ack_timeout_s=0.01)
MQTT_CODEC = {"kind": "json", "fields": {"n": {"path": "n"}}}


@given(payload=st.binary(max_size=6000), kind=st.sampled_from(KINDS))
def test_S8_any_bytes_are_a_message_or_a_frame_error(payload: bytes, kind: Any) -> None:  # noqa: ANN401
    try:
        message = wire.decode(payload, kind, "a device")
    except FrameError:
        return
    assert wire.decode(wire.encode(message), kind, "again") == message


_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.lists(st.integers())


@given(
    message=st.sampled_from(KINDS).flatmap(
        lambda kind: st.fixed_dictionaries(dict.fromkeys(kind.__struct_fields__, _VALUES))
    )
)
def test_S8_any_values_are_a_message_or_a_frame_error(message: dict[str, object]) -> None:
    try:
        payload = msgspec.json.encode(message)
    except UnicodeEncodeError:
        return
    for kind in KINDS:
        try:
            wire.decode(payload, kind, "a device")
        except FrameError:
            continue


class Wire:
    """A connector that says what it is told to; the device's words come from outside."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.taps: dict[str, Any] = {}
        self.refused = 0

    def tap(self, topic: str, heard: Any) -> None:  # noqa: ANN401
        self.taps[topic] = heard

    def publish(self, topic: str, payload: bytes) -> None:
        self.sent.append((topic, payload))

    def refuse(self, *_: object) -> None:
        self.refused += 1


class Nobody:
    def runs(self, device: str, version: str, *, live: bool = True) -> None: ...
    def left(self, device: str, reason: str) -> None: ...


async def _ready() -> None: ...


@settings(max_examples=200, deadline=None)
@given(
    words=st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.builds(
                lambda at, state: wire.encode(wire.Ack("a" * 16, at, state)),
                st.integers(0, 300), st.sampled_from(wire.AckState),
            ),
        ),
        max_size=30,
    )
)  # fmt: skip
def test_S8_whatever_a_device_acknowledges_sending_ends_and_stays_within_the_image(
    tmp_path_factory: pytest.TempPathFactory, words: list[bytes]
) -> None:
    file = tmp_path_factory.getbasetemp() / "image"
    if not file.exists():
        file.write_bytes(bytes(200))
    line, device = Wire(), FirmwareDevice("d", "c", "t", FIRMWARE)

    async def run() -> None:
        with Image(file, 200, "a" * 64, "2") as image:
            talk = _Talk(line, device, image, Pace(_ready, 10**9))  # type: ignore[arg-type]
            for word in words:
                talk.heard(word, False)
            offsets: list[int] = []
            with contextlib.suppress(LinkError, UpdateRejected):
                await talk.run(offsets.append)
            assert all(0 <= offset <= 200 for offset in offsets)

    asyncio.run(run())
    for topic, payload in line.sent:
        if "/chunk/" in topic:
            assert 0 < len(payload) <= 16
            assert int(topic.rpartition("/")[2]) + len(payload) <= 200


def test_S8_a_status_that_is_none_is_counted(tmp_path: Path) -> None:
    line, device = Wire(), FirmwareDevice("d", "c", "t", FIRMWARE)
    MqttSender(line, [device], Nobody(), Pace(_ready))  # type: ignore[arg-type]
    line.taps["t/fw/status"](b"{", False)
    line.taps["t/fw/status"](b'{"version":"1"}', False)
    assert line.refused == 1


@pytest.mark.parametrize(
    ("section", "cause"),
    [
        ({"channel": "stable", "model": "m"}, "mqtt-chunks"),
        ({"channel": "mqtt-chunks", "model": "m", "chunks": 3}, "chunks"),
        ({"channel": "mqtt-chunks", "model": "m", "enter": "go"}, "no such line"),
        ({"channel": "coap-block", "model": "m", "chunk_bytes": 256}, "goes over coap, the device is on mqtt"),
        ({"channel": "coap-block", "model": "m", "chunk_bytes": 100}, "coap-block knows 16, 32"),
        ({"channel": "xmodem", "model": "m", "chunk_bytes": 128}, "name a metric"),
        ({"channel": "mqtt-chunks", "model": "m", "version_metric": "fw"}, "no metric 'fw'"),
        ({"channel": "mqtt-chunks", "model": "m", "version_metric": "n"}, "a version is a text"),
        ({"channel": "mqtt-chunks", "model": "m", "path": "a/#"}, "path"),
    ],
)
def test_a_firmware_section_that_cannot_be_is_refused(section: dict[str, object], cause: str) -> None:
    with pytest.raises(ValidationError) as caught:
        profile(MQTT_CODEC, "mqtt", "n", firmware=section)
    assert cause in str(caught.value)


@pytest.mark.parametrize("connector", ["mqtt", "coap", "serial"])
def test_the_commented_section_of_a_new_profile_is_a_good_one(tmp_path: Path, connector: str) -> None:
    path, _ = write_skeleton(tmp_path, "acme", "t100", connector)
    text = path.read_text()
    head, section = text.split("# [firmware]")
    lines = [line.removeprefix("# ") for line in f"[firmware]{section}".splitlines()]
    metric = '\n[metrics.firmware]\ntype = "text"\ntitle = { zh = "固", en = "f" }\n' if connector == "serial" else ""
    path.write_text(head + metric + "\n".join(lines))
    firmware = load_profile(path).firmware
    assert firmware
    assert firmware.model == "acme-t100"
