"""The shared fixtures themselves: a broker that can be killed and comes back, a process that is ended."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests import support

if TYPE_CHECKING:
    from tests.support import StartMosquitto, StartProcess


@pytest.mark.peer
def test_a_broker_is_killed_and_comes_back_on_its_port(mosquitto: StartMosquitto) -> None:
    broker = mosquitto("max_inflight_messages 5")
    broker.kill()
    assert not support.accepts(broker.port)
    broker.start()
    assert support.accepts(broker.port)


def test_a_process_is_read_and_stopped(start_process: StartProcess) -> None:
    running = start_process(sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()")
    support.wait_for(lambda: "up" in running.text(), what="its first line")
    assert running.stop() != 0
    assert not running.alive


def test_waiting_says_what_did_not_come() -> None:
    with pytest.raises(AssertionError, match=r"the moon: not within 0.05 s"):
        support.wait_for(lambda: False, 0.05, "the moon")
