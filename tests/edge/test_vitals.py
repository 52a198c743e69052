"""What a gateway tells of its machine: why it started, what it wrote, how long its certificate holds."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from edge.config import load_config
from edge.starts import Run, Starts, reason_of
from edge.vitals import VitalSigns
from edge.wear import Counter, Days, Wear, after, read_counter
from firmware_specs.wire_vitals import MAX_STARTS, StartReason

if TYPE_CHECKING:
    from pathlib import Path

DAY_MS = 86_400_000
DAY = 20_800
NOW = DAY * DAY_MS
ONE_RUN = """
import sys
from pathlib import Path
from edge.starts import Starts
with Starts(Path(sys.argv[1]), "boot", lambda: 1_800_000_000_000).running():
    print("up", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (None, StartReason.FIRST),
        (Run("b1", StartReason.STOP), StartReason.STOP),
        (Run("b0", StartReason.CRASH, "KeyError"), StartReason.CRASH),
        (Run("b1"), StartReason.KILL),
        (Run("b0"), StartReason.POWER),
    ],
)
def test_why_a_start_was_needed(run: Run | None, reason: StartReason) -> None:
    assert reason_of(run, "b1")[0] is reason


def reasons(folder: Path, boot: str = "boot") -> list[StartReason]:
    starts = Starts(folder, boot, lambda: NOW)
    with starts.running():
        return [start.reason for start in starts.latest]


def test_each_end_of_a_process_is_told_at_the_next_start(tmp_path: Path) -> None:
    for end in (signal.SIGKILL, signal.SIGABRT, None):
        argv = [sys.executable, "-c", ONE_RUN, str(tmp_path)]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin
            assert process.stdout
            assert b"up\n" in iter(process.stdout.readline, b"")
            if end:
                os.kill(process.pid, end)
            process.stdin.close()
            process.wait(20)
    first, kill, watchdog, stop = StartReason.FIRST, StartReason.KILL, StartReason.WATCHDOG, StartReason.STOP
    assert reasons(tmp_path) == [first, kill, watchdog, stop]


def test_errors_cancellation_and_damage(tmp_path: Path) -> None:
    starts = Starts(tmp_path, "boot", lambda: NOW)
    with pytest.raises(ExceptionGroup), starts.running():
        raise ExceptionGroup("both", [KeyError("secret"), ValueError("x")])
    again = Starts(tmp_path, "boot", lambda: NOW)
    with pytest.raises(asyncio.CancelledError), again.running():
        raise asyncio.CancelledError
    assert (again.latest[-1].reason, again.latest[-1].detail) == (StartReason.CRASH, "KeyError")
    assert reasons(tmp_path)[-1] is StartReason.STOP
    (tmp_path / "starts.json").write_bytes(b"{")
    assert reasons(tmp_path) == [StartReason.FIRST]
    for _ in range(MAX_STARTS + 3):
        found = reasons(tmp_path)
    assert len(found) == MAX_STARTS


def test_bytes_of_a_day_over_restarts_and_a_clock_that_lies() -> None:
    days = Days()
    for counter, at in (
        (Counter("disk", "b1", 500), NOW),  # what was written before is of nobody knows which day
        (Counter("disk", "b1", 800), NOW + 1),
        (Counter("disk", "b2", 50), NOW + 2),  # after a boot
        (Counter("disk", "b2", 90), 1_000),  # a clock that was never set
        (Counter("disk", "b2", 100), NOW - DAY_MS),  # one that went back
        (Counter("disk", "b2", 107), NOW + DAY_MS),
    ):
        days = after(days, counter, at)
    assert days.days == ((DAY, 360), (DAY + 1, 7))


def test_a_clock_that_was_far_ahead_leaves_no_day_behind_D8() -> None:
    """Or everything would be counted as of 2099, and the wear of today never be known again."""
    days, year_2099 = Days(), 47_500 * DAY_MS
    for count, at in ((0, NOW), (10, NOW + 1), (14, year_2099), (20, NOW + 2), (25, NOW + DAY_MS)):
        days = after(days, Counter("disk", "b1", count), at)
    assert days.days == ((DAY, 20), (DAY + 1, 5))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 10**12), st.integers(0, 4 * 10**12)), max_size=30))
def test_days_rise_and_no_count_is_negative(looks: list[tuple[str, int, int]]) -> None:
    days = Days()
    for run, count, at in looks:
        days = after(days, Counter("disk", run, count), at)
        numbers = [day for day, _ in days.days]
        assert numbers == sorted(set(numbers))
        assert all(written >= 0 for _, written in days.days)


def test_this_machine_counts_something(tmp_path: Path) -> None:
    counter = read_counter(tmp_path, "boot")
    assert counter
    assert counter.by in {"disk", "process"}
    assert Wear(tmp_path, "boot").look(NOW).last
    kept = Wear(tmp_path, "boot").look(NOW + 1)
    assert len(kept.days) == 1


def test_the_certificate_and_the_budget_are_told(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gw-1")])
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 7, begin, begin + timedelta(days=90))
    pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (tmp_path / "cert.pem").write_bytes(pem)
    (tmp_path / "gateway.toml").write_text(
        'gateway = "gw-1"\nstate_dir = "."\n[health]\nwritten_mb_day = 5\n[uplink]\nurl = "mqtts://h:8883"\n'
        'cert = "cert.pem"\nkey = "key.pem"\n'
    )
    config = load_config(tmp_path / "gateway.toml").config
    starts = Starts(tmp_path, "boot", lambda: NOW)
    signs = VitalSigns(tmp_path, "boot", starts, lambda: NOW)
    with starts.running():
        told = signs.now(config)
    assert told.certificate_until_ms == int((begin + timedelta(days=90)).timestamp() * 1000)
    assert told.written_budget == 5_000_000
    assert told.disk_free
    assert told.disk_size
    assert told.memory
    assert [start.reason for start in told.starts] == [StartReason.FIRST]
