"""The outbox on disk: against a model, merged, thinned and set aside."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge.outbox_file import Chunk, CorruptError, OutboxFile
from edge.outbox_keep import Keeper
from edge.outbox_open import FILE, open_outbox, write_note
from edge.outbox_thin import merge, plain_body, thin
from firmware_specs.errors import StoreError
from firmware_specs.readings import GapReason, Lane, Reading
from firmware_specs.wire import decode_pack, encode_item

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

T0 = 1_790_000_000_000


def reading(number: int, devices: int = 4, every_ms: int = 1000) -> Reading:
    at = T0 + number // devices * every_ms
    return Reading(f"dev-{number % devices}", "temperature", float(number), "Cel", at, at, at)


def chunk_of(readings: Sequence[Reading], first: int, boot: str = "boot") -> Chunk:
    body = b",".join(encode_item(r) for r in readings)
    return Chunk(first, len(readings), len(readings), boot, readings[0].received_at, body)


def filled(file: OutboxFile, count: int, each: int = 50, first: int = 1) -> None:
    for start in range(first, first + count, each):
        readings = [reading(n) for n in range(start, min(start + each, first + count))]
        file.commit([(Lane.TELEMETRY, chunk_of(readings, start))], {}, b"", {})


def values_in(chunks: Sequence[Chunk]) -> Iterator[tuple[int, float]]:
    for chunk in chunks:
        properties = [
            ("epoch", "e"),
            ("first", str(chunk.first)),
            ("count", str(chunk.span)),
            ("base", "1"),
            ("boot", "b"),
        ]
        for sequence, item in decode_pack("telemetry", properties, b"[" + plain_body(chunk) + b"]").items:
            assert isinstance(item, Reading)
            assert isinstance(item.value, float)
            yield sequence, item.value


class OutboxMachine(RuleBasedStateMachine):
    """Appends, acknowledgements, merges and reopenings in any order, against lists."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.file = OutboxFile(Path(self.folder.name) / FILE)
        self.epoch = self.file.epoch
        self.waiting: dict[Lane, list[int]] = {lane: [] for lane in Lane}
        self.next = dict.fromkeys(Lane, 1)
        self.state: dict[str, bytes] = {}

    @rule(lane=st.sampled_from(Lane), count=st.integers(1, 30), key=st.sampled_from("abc"), value=st.binary(max_size=5))
    def append(self, lane: Lane, count: int, key: str, value: bytes) -> None:
        first = self.next[lane]
        chunk = chunk_of([reading(first + i) for i in range(count)], first)
        self.file.commit([(lane, chunk)], {key: value or None}, b"", {})
        self.waiting[lane] += range(first, first + count)
        self.next[lane] += count
        if value:
            self.state[key] = value
        else:
            self.state.pop(key, None)

    @rule(lane=st.sampled_from(Lane), part=st.floats(0, 1))
    def acknowledge(self, lane: Lane, part: float) -> None:
        """Chunks that are covered whole go; the rest of a chunk waits with it."""
        chunks = self.file.load(lane, 1, 10**6)
        if chunks:
            through = chunks[0].first + int(part * (self.next[lane] - chunks[0].first)) - 1
            self.file.commit((), {}, b"", {lane: through})
            gone = [c for c in chunks if c.first + c.span - 1 <= through]
            left = gone[-1].first + gone[-1].span if gone else 0
            self.waiting[lane] = [n for n in self.waiting[lane] if n >= left]

    @rule()
    def merge(self) -> None:
        chunks = self.file.load(Lane.TELEMETRY, 1, 200)
        if chunks:
            self.file.replace(Lane.TELEMETRY, chunks, merge(chunks))

    @rule()
    def reopen(self) -> None:
        self.file.close()
        self.file = OutboxFile(Path(self.folder.name) / FILE)

    @invariant()
    def holds_what_it_should(self) -> None:
        assert self.file.epoch == self.epoch
        assert self.file.state() == self.state
        for lane in Lane:
            found = list(values_in(self.file.load(lane, 1, 10**6)))
            assert found == [(n, float(n)) for n in self.waiting[lane]]
            totals = self.file.totals[lane]
            assert (totals.waiting, totals.next) == (len(found), self.next[lane])

    def teardown(self) -> None:
        self.file.close()
        self.folder.cleanup()


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_load_begins_with_the_chunk_that_covers_a_number(tmp_path: Path) -> None:
    file = OutboxFile(tmp_path / FILE)
    filled(file, 100, each=10)
    assert [c.first for c in file.load(Lane.TELEMETRY, 25, 20)] == [21, 31]
    file.close()


def test_D6_thinning_keeps_one_a_minute_and_covers_all_numbers() -> None:
    chunks = [
        chunk_of([reading(n, devices=2, every_ms=10_000) for n in range(s, s + 60)], s + 1) for s in range(0, 240, 60)
    ]
    thinned, from_ms, to_ms = thin(chunks, 60_000, {})
    (one,) = thinned
    assert (one.first, one.span) == (1, 240)
    kept = list(values_in(thinned))
    minutes = {(int(value) % 2, (T0 + int(value) // 2 * 10_000) // 60_000) for _, value in kept}
    assert len(kept) == len(minutes) == one.items
    assert all(sequence == int(value) + 1 for sequence, value in kept)
    assert T0 <= from_ms < to_ms


def test_D6_thinning_up_to_the_end_of_a_lane_keeps_how_things_stand_now() -> None:
    chunks = [
        chunk_of([reading(n, devices=2, every_ms=10_000) for n in range(s, s + 60)], s + 1) for s in range(0, 240, 60)
    ]
    thinned, _, _ = thin(chunks, 3_600_000, {}, newest=True)
    assert [value for _, value in values_in(thinned)][-2:] == [238, 239]
    without, _, _ = thin(chunks, 3_600_000, {})
    assert 239 not in [value for _, value in values_in(without)]


def test_D6_a_file_without_room_is_thinned_to_its_end_and_keeps_the_newest_reading(tmp_path: Path) -> None:
    file = OutboxFile(tmp_path / FILE)
    filled(file, 30_000, each=1000)
    keeper = Keeper(file.used_bytes() // 4)
    assert sum(gap.count for gap in keeper.steps(file, 1)) > 20_000
    chunks = file.load(Lane.TELEMETRY, 1, 30_000)
    assert [value for _, value in values_in(chunks)][-1] == 30_000
    file.close()


def test_D6_budget_thins_the_oldest_telemetry_never_alarms(tmp_path: Path) -> None:
    file = OutboxFile(tmp_path / FILE)
    alarm = chunk_of([reading(1)], 1)
    file.commit([(Lane.ALARMS, alarm)], {}, b"", {})
    filled(file, 60_000, each=2000)
    before = file.used_bytes()
    keeper = Keeper(round(before / 0.9))
    dropped = 0
    for _ in range(100):
        kept = keeper.step(file, 1)
        dropped += kept.gap.count if kept.gap else 0
        assert kept.gap is None or kept.gap.reason is GapReason.THINNED
        if not kept.more:
            break
    totals = file.totals[Lane.TELEMETRY]
    assert file.used_bytes() < 0.75 * before / 0.9
    assert dropped == totals.thinned > 10_000
    assert totals.waiting == 60_000 - dropped
    assert file.load(Lane.ALARMS, 1, 10) == [alarm]
    sequences = [sequence for sequence, _ in values_in(file.load(Lane.TELEMETRY, 1, 10**6))]
    assert sequences[-10_000:] == list(range(50_001, 60_001)), "the newest are left alone"
    file.close()


def test_D5_a_long_outage_fits_the_budget(tmp_path: Path) -> None:
    """130,000 readings, a tenth of three days' worth, in small commits: merged they take far less than 40 MB."""
    file = OutboxFile(tmp_path / FILE)
    filled(file, 130_000, each=100)
    keeper = Keeper(400_000_000)
    while keeper.step(file, 1).more:
        pass
    assert file.totals[Lane.TELEMETRY].waiting == 130_000
    assert file.used_bytes() < 40_000_000 / 2
    assert sum(1 for _ in values_in(file.load(Lane.TELEMETRY, 1, 10**6, 10**9))) == 130_000
    file.close()


def test_D10_a_corrupt_file_is_set_aside_and_counted(tmp_path: Path) -> None:
    file = OutboxFile(tmp_path / FILE)
    filled(file, 5000, each=100)
    epoch = file.epoch
    write_note(tmp_path, file)
    file.close()
    path = tmp_path / FILE
    content = bytearray(path.read_bytes())
    content[4096:40_960] = b"\xa5" * 36_864
    path.write_bytes(content)
    file, gaps = open_outbox(tmp_path)
    assert file.epoch != epoch
    assert [(g.lane, g.epoch, g.count, g.reason) for g in gaps] == [
        (Lane.TELEMETRY, epoch, 5000, GapReason.QUARANTINED)
    ]
    assert len(list(tmp_path.glob("outbox-*.corrupt"))) == 1
    file.close()


@pytest.mark.parametrize("content", [b"not a database", b"SQLite format 3\0" + b"\xff" * 5000, b"\0" * 8192])
def test_D10_rubbish_in_place_of_the_file_does_not_stop_the_gateway(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    file, gaps = open_outbox(tmp_path)
    assert gaps
    filled(file, 10)
    file.close()


def test_errors_say_what_the_disk_did(tmp_path: Path) -> None:
    file = OutboxFile(tmp_path / FILE)
    with pytest.raises(StoreError, match="outbox: in use by another process"):
        OutboxFile(tmp_path / FILE)
    file.close()
    with pytest.raises(StoreError, match="outbox: cannot open the file"):
        OutboxFile(tmp_path / "no" / "such" / FILE)
    (tmp_path / "other").write_bytes(b"x" * 4096)
    with pytest.raises(CorruptError, match="outbox: file is corrupt"):
        OutboxFile(tmp_path / "other")


def test_a_full_budget_is_a_full_disk(tmp_path: Path) -> None:
    file = OutboxFile(tmp_path / FILE, max_bytes=2_000_000)
    with pytest.raises(StoreError, match="outbox: disk full"):
        filled(file, 100_000)
    waiting = file.totals[Lane.TELEMETRY].waiting
    assert sum(c.items for c in file.load(Lane.TELEMETRY, 1, 10**6)) == waiting > 0
    file.close()
