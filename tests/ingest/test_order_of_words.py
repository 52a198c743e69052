"""What a gateway said last counts, whatever else the same batch holds (D2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cloud.devices.store import gateways
from cloud.ingest.commit import Incoming
from firmware_specs.wire import Status, encode_message
from tests.ingest.ingest_packs import NOW, pack, reading

if TYPE_CHECKING:
    from tests.ingest.ingest_packs import Cloud


def status(*, online: bool) -> Incoming:
    told = Status(online=online, agent_version="1", boot="b", config_hash="h", at_ms=NOW)
    return Incoming("gw-1", "status", (), encode_message(told))


@pytest.mark.peer
@pytest.mark.parametrize(
    ("words", "online"),
    [
        ((status(online=False), pack([reading()])), True),
        ((pack([reading()]), status(online=False)), False),
        ((status(online=False), pack([reading()]), status(online=False)), False),
        ((status(online=False), status(online=True), pack([reading()])), True),
    ],
)
def test_the_will_and_a_pack_in_one_batch_D2(cloud: Cloud, words: tuple[Incoming, ...], online: bool) -> None:
    cloud.commit(status(online=True))
    cloud.commit(*words)
    assert cloud.rows(gateways)[0]["online"] is online
