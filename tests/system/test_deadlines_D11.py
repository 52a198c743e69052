"""D11 and D2: deadlines survive: `for` timers and leases are rows, and those that came due meanwhile fire at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bench.load import Source
from tests.support import wait_for
from tests.system.harness import Device, counter, counter_frame, ms_of, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.system.harness import Json, Stack

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]
HELD_MS = 6000
LEASE_S = 4
LIVENESS = f"[liveness]\ngateway_s = {LEASE_S}\ndevice_grace_s = 1\n"


def _held(name: str) -> Device:
    return Device(name, "test-held", "sensors", f"sensors/{name}")


def _publish(stack: Stack, device: str, at_ms: int, *, fire: bool) -> None:
    Source(stack.south_port, [(f"sensors/{device}".encode(), counter_frame(1, at_ms, fire=fire))]).run(deadline_s=10)


def _fires(stack: Stack, device: str) -> list[Json]:
    return [alarm for alarm in stack.items("/alarms") if alarm["device"] == device and alarm["kind"] == "fire"]


def _burning_in_cloud(stack: Stack, device: str) -> bool:
    """Whether the cloud has the reading that started the timer: the gateway then has it on disk."""
    view = stack.try_get(f"/devices/{stack.gateway}/{device}")
    return bool(view and view["latest"].get("fire", {}).get("value") is True)


def test_D11_a_for_timer_survives_kill_9_and_fires_on_time(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack([_held("held-1")]).start()
    began = now_ms()
    _publish(stack, "held-1", began, fire=True)
    wait_for(lambda: _burning_in_cloud(stack, "held-1"), 5, "the reading kept")
    stack.edge.kill()
    stack.edge.start()
    assert not _fires(stack, "held-1"), "fired before its time"
    wait_for(lambda: _fires(stack, "held-1"), 15, "the alarm after the restart")
    late_ms = now_ms() - (began + HELD_MS)
    [alarm] = _fires(stack, "held-1")
    print(f"fired {late_ms} ms after the deadline")
    assert -500 <= late_ms <= 3000
    assert abs(ms_of(alarm["raised_at"]) - (began + HELD_MS)) <= 1500, "event time is the deadline's"


def test_D11_a_for_timer_that_came_due_while_the_gateway_was_dead_fires_on_restart(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack([_held("held-1"), _held("held-2")]).start()
    began = now_ms()
    _publish(stack, "held-1", began, fire=True)
    _publish(stack, "held-2", began, fire=True)
    wait_for(lambda: _burning_in_cloud(stack, "held-1") and _burning_in_cloud(stack, "held-2"), 5, "the readings kept")
    stack.edge.kill()
    _publish(stack, "held-2", began + HELD_MS - 1000, fire=False)  # waits in the broker: it ended in time
    wait_for(lambda: now_ms() > began + HELD_MS + 500, 10, "the deadline passed while the gateway was dead")
    restarted = now_ms()
    stack.edge.start()
    wait_for(lambda: _fires(stack, "held-1"), 15, "the overdue alarm")
    print(f"fired {now_ms() - restarted} ms after the restart")
    assert now_ms() - restarted <= 8000
    assert len(_fires(stack, "held-1")) == 1


def test_D11_D2_a_gateway_that_died_while_the_cloud_was_down_shows_offline_after_its_restart(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack([counter("mqtt-1")], cloud_lines=LIVENESS, edge_lines={"uplink": "canary_s = 1.0"}).start()
    stack.cloud.kill()
    stack.edge.kill()
    stack.north.kill()  # and with it the will: only the lease is left
    stack.start(stack.north, stack.cloud)
    started = now_ms()
    wait_for(lambda: not stack.online(), LEASE_S + 10, "the gateway offline after the cloud's restart")
    print(f"offline {now_ms() - started} ms after the cloud served again; lease {LEASE_S} s")
    outages = [alarm for alarm in stack.items("/alarms") if alarm["state"] == "open"]
    print([(alarm["kind"], alarm["device"]) for alarm in outages])
    stack.edge.start()
    wait_for(stack.online, 20, "the gateway online again")


def test_D2_a_killed_gateway_shows_offline_at_once_by_its_will(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack([counter("mqtt-1")]).start()
    stack.edge.kill()
    wait_for(lambda: not stack.online(), 10, "offline by the will, long before the lease")


def test_D2_a_silent_sensor_is_noticed_within_three_intervals_through_a_cloud_restart(
    make_stack: Callable[..., Stack],
) -> None:
    brief = Device("brief-1", "test-brief", "sensors", "sensors/brief-1")
    stack = make_stack([brief], cloud_lines=LIVENESS, edge_lines={"uplink": "canary_s = 1.0"}).start()
    _publish(stack, "brief-1", now_ms(), fire=False)
    heard = now_ms()
    wait_for(lambda: stack.try_get(f"/devices/{stack.gateway}/brief-1"), 10, "the device in the cloud")
    stack.cloud.kill()
    stack.cloud.start()
    stack.cloud.wait_ready()
    wait_for(
        lambda: (stack.try_get(f"/devices/{stack.gateway}/brief-1") or {}).get("state") in {"offline", "fault"},
        12,
        "the sensor shown silent",
    )
    print(f"shown silent {now_ms() - heard} ms after its last word; interval 1,000 ms")
