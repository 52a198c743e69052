"""D3: `kill -9` of any process loses nothing that was accepted and raises no alarm twice.

What "accepted" means here: a reading that the gateway answered with CoAP 2.04, or one that the sensors' broker took
(PUBACK) in the part of the test where that broker lives. mosquitto keeps its queue in memory, so while it is killed
too, only CoAP counts. `PATROL_KILLS` sets the number of kills, `PATROL_SEED` repeats a run.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.bench.load import Source
from tests.support import wait_for
from tests.system.coapfeed import CoapFeeder
from tests.system.harness import coap_counter, counter, counter_frame, ms_of, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.system.harness import Part, Stack

KILLS = int(os.environ.get("PATROL_KILLS", "100"))
pytestmark = [pytest.mark.system, pytest.mark.timeout(120 + 6 * KILLS)]
MQTT_RATE = 40.0
ALARM_RATE = 1.0


def _kill_some(stack: Stack, victims: Sequence[Part], kills: int, dice: random.Random, feeder: CoapFeeder) -> None:
    """Kill at random moments, measured by how much was accepted since the last restart; restart at once."""
    order = [*victims, *dice.choices(victims, k=kills)][:kills]
    dice.shuffle(order)
    for part in order:
        part.kill()
        part.start()
        if part is stack.cloud and dice.random() < 0.5:
            part.wait_ready()
        if part is not stack.cloud or dice.random() < 0.7:
            goal = feeder.accepted + dice.randint(1, 6)
            wait_for(lambda goal=goal: feeder.accepted >= goal, 30, f"{goal} readings accepted after {part.name}")  # type: ignore[misc]


def _stored(stack: Stack, device: str, first_ms: int) -> Counter[int]:
    """How often each number is stored; the time must belong to the number."""
    points = stack.raw(device)
    assert all(at == first_ms + value for at, value in points), f"{device}: a value at another's time"
    return Counter(int(value) for _, value in points)


def _all_there(stack: Stack, device: str, first_ms: int, accepted: int) -> bool:
    last = stack.try_get(f"/devices/{stack.gateway}/{device}")
    if not last or "n" not in last["latest"] or last["latest"]["n"]["value"] < accepted - 1:
        return False
    return set(range(accepted)) <= set(_stored(stack, device, first_ms))


def _alarm_frames(count: int, first_ms: int) -> list[tuple[bytes, bytes]]:
    """Fires that burn for one message each: every odd number is one."""
    return [(b"sensors/alarm-1", counter_frame(i, first_ms + i, fire=i % 2 == 1)) for i in range(count)]


def test_D3_kill_9_of_agent_brokers_and_cloud_loses_nothing_and_repeats_no_alarm(
    make_stack: Callable[..., Stack],
) -> None:
    seed = int(os.environ.get("PATROL_SEED", str(random.SystemRandom().randrange(10**6))))
    print(f"PATROL_SEED={seed} PATROL_KILLS={KILLS}")
    dice = random.Random(seed)
    stack = make_stack([counter("mqtt-1"), counter("alarm-1"), coap_counter("coap-1")]).start()
    first_ms = now_ms()
    readings = [(b"sensors/mqtt-1", counter_frame(i, first_ms + i)) for i in range(int(MQTT_RATE * 8 * KILLS))]
    sources = [
        Source(stack.south_port, readings, "src-readings"),
        Source(stack.south_port, _alarm_frames(int(ALARM_RATE * 8 * KILLS), first_ms), "src-alarms"),
    ]
    threads = [sources[0].thread(MQTT_RATE), sources[1].thread(ALARM_RATE)]
    feeder = CoapFeeder(stack.coap_port, "coap-1", first_ms)
    feeder.start()
    with_south = KILLS // 4
    _kill_some(stack, (stack.edge, stack.cloud, stack.north), KILLS - with_south, dice, feeder)
    for source, thread in zip(sources, threads, strict=True):
        source.finish()
        thread.join(30)
        assert source.acked == len(source.sent_at) > 0
    # The sensors' broker must have handed its queue over before it is killed too.
    wait_for(lambda: _all_there(stack, "mqtt-1", first_ms, sources[0].acked), 60, "the readings by MQTT in the cloud")
    wait_for(lambda: _all_there(stack, "alarm-1", first_ms, sources[1].acked), 30, "the alarm device's readings")
    _kill_some(stack, stack.parts, with_south, dice, feeder)
    _after_the_kills(stack, feeder, first_ms, [source.acked for source in sources])


def _after_the_kills(stack: Stack, feeder: CoapFeeder, first_ms: int, acked: Sequence[int]) -> None:
    for part in stack.parts:
        part.wait_ready()
    wait_for(stack.online, 30, "the gateway online")
    feeder.finish()
    # A sensors' broker that was killed has forgotten who subscribes, and takes what nobody hears: one message is said
    # again until the gateway has come back to it. It is stored once all the same.
    frame = counter_frame(acked[0], first_ms + acked[0])

    def last_is_there() -> bool:
        Source(stack.south_port, [(b"sensors/mqtt-1", frame)], "src-last").run(deadline_s=30)
        return _all_there(stack, "mqtt-1", first_ms, acked[0] + 1)

    wait_for(last_is_there, 60, "the last reading by MQTT")
    expected = {"mqtt-1": acked[0] + 1, "alarm-1": acked[1], "coap-1": feeder.accepted}
    for device, count in expected.items():
        wait_for(lambda d=device, n=count: _all_there(stack, d, first_ms, n), 60, f"{count} readings of {device}")  # type: ignore[misc]
    for device, count in expected.items():
        stored = _stored(stack, device, first_ms)
        assert set(stored) == set(range(count)), f"{device}: accepted {count}, stored {len(stored)}"
        assert set(stored.values()) == {1}, f"{device}: stored twice {[n for n, k in stored.items() if k > 1][:5]}"
    _no_alarm_twice(stack, first_ms, acked[1])
    ledger = stack.ledger()
    print(f"kills { ({part.name: part.kills for part in stack.parts}) }, readings {expected}, ledger {ledger}")
    assert ledger["lost"] == 0
    assert ledger["thinned"] == 0
    # One repeat for each try whose 2.04 died with the gateway; by MQTT there is none, its marks tell repeats apart.
    items = 2 * sum(expected.values()) + 2 * (expected["alarm-1"] // 2) - (1 - expected["alarm-1"] % 2)
    assert items <= ledger["received"] <= items + 2 * (feeder.tries - feeder.accepted)
    assert feeder.refusals == []
    assert sum(part.kills for part in stack.parts) == KILLS


def _no_alarm_twice(stack: Stack, first_ms: int, frames: int) -> None:
    fires = [alarm for alarm in stack.items("/alarms") if alarm["kind"] == "fire"]
    raised = Counter(ms_of(alarm["raised_at"]) - first_ms for alarm in fires)
    assert set(raised) == set(range(1, frames, 2))
    assert set(raised.values()) == {1}
    burning = [alarm for alarm in fires if alarm["state"] != "cleared"]
    assert len(burning) == (0 if frames % 2 else 1)


def test_D3_a_reading_is_not_accepted_while_the_gateway_cannot_keep_it(make_stack: Callable[..., Stack]) -> None:
    """The negative control of the feeder: with no gateway there is no 2.04."""
    stack = make_stack([coap_counter("coap-1")])
    feeder = CoapFeeder(stack.coap_port, "coap-1", now_ms())
    feeder.start()
    reached = threading.Event()
    wait_for(lambda: feeder.tries > 3 or reached.is_set(), 10, "a few tries")
    assert feeder.accepted == 0
    stack.start(stack.edge)
    wait_for(lambda: feeder.accepted >= 1, 30, "accepted once the gateway runs, without broker and cloud")
    feeder.finish()
