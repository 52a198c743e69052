"""D1's figure: from a sensor's frame to the event at an HTTP stream client, all processes on one machine.

Brokers, gateway and cloud run as in production; 500 readings/s of other devices go through all of it meanwhile. The
time runs from the sensor's `send` to the line of the event stream, so it holds the broker's hop too.
"""

from __future__ import annotations

import threading

from tests.support import wait_for
from tests.system.harness import Device, Stack, counter_frame, ms_of, now_ms
from tests.system.listener import Listener

from .contenders import messages
from .load import Source
from .results import Cell, Result, Table, percentile
from .rig import PROFILES, scratch

BACKGROUND_DEVICES = 50
ALARM_DEVICES = 20
BACKGROUND_READINGS_S = 500.0
ALARMS_S = 5.0
BUDGET_MS = (100.0, 500.0)
"""The promise: p50 and p99."""


def stack_devices() -> list[Device]:
    """The devices of the background load and those that raise alarms."""
    background = [Device(f"d{i:03d}", "bench-probe", "sensors", f"sensors/d{i:03d}") for i in range(BACKGROUND_DEVICES)]
    return background + [
        Device(f"a{i:02d}", "test-counter", "sensors", f"sensors/a{i:02d}") for i in range(ALARM_DEVICES)
    ]


def run(*, quick: bool) -> Result:
    """Raise alarms one after the other under load and time each."""
    alarms = 40 if quick else 500
    with scratch() as folder, Stack(folder, stack_devices(), profiles=(PROFILES,)) as stack:
        stack.start()
        with Listener(stack) as listener:
            latency = _measure(stack, listener, alarms)
    p50, p99 = percentile(latency, 0.5), percentile(latency, 0.99)
    rows: list[list[Cell]] = [
        ["sensor frame to event at the stream client, ms", p50, p99, max(latency), len(latency)],
        ["to reach", *BUDGET_MS, "", ""],
    ]
    note = (
        f"{BACKGROUND_READINGS_S:.0f} readings/s of other devices meanwhile; two mosquitto, gateway, cloud, load and "
        "stream client share the machine."
    )
    return Result([Table("Alarm latency (D1)", ("", "p50", "p99", "worst", "alarms"), rows, note)])


def _measure(stack: Stack, listener: Listener, alarms: int) -> list[float]:
    stop = threading.Event()
    seconds = 2 * alarms / ALARMS_S + 60
    load = messages(int(BACKGROUND_READINGS_S / 3 * seconds), now_ms(), BACKGROUND_DEVICES)
    background = Source(stack.south_port, load, "background").thread(BACKGROUND_READINGS_S / 3, stop=stop)
    wait_for(lambda: stack.try_get(f"/devices/{stack.gateway}/d000"), 30, "the load in the cloud")
    first_ms = now_ms()
    frames = []
    for i in range(2 * alarms):
        # Every device burns for one message and is quiet for the next.
        fire = i // ALARM_DEVICES % 2 == 0
        frames.append((b"sensors/a%02d" % (i % ALARM_DEVICES), counter_frame(i, first_ms + i, fire=fire)))
    source = Source(stack.south_port, frames, "alarms")
    source.run(ALARMS_S * 2)
    expected = {
        (f"a{i % ALARM_DEVICES:02d}", first_ms + i): i for i in range(2 * alarms) if i // ALARM_DEVICES % 2 == 0
    }
    heard: dict[int, float] = {}

    def all_heard() -> bool:
        for at, kind, data in list(listener.events):
            if kind == "alarm" and data["state"] == "open":
                index = expected.get((data["device"], ms_of(data["raised_at"])))
                if index is not None:
                    heard.setdefault(index, at)
        return len(heard) == len(expected)

    wait_for(all_heard, 30, "every alarm on the stream")
    stop.set()
    background.join(10)
    return [1000 * (at - source.sent_at[index]) for index, at in heard.items()]
