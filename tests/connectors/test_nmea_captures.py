"""The positions of 39 captures of real receivers equal what gpsd decodes from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge.codecs.lines import Heard
from edge.codecs.nmea import NmeaLine
from firmware_specs.readings import Position
from tests.connectors.line_support import NMEA, captures, gpsd_fixes

if TYPE_CHECKING:
    from pathlib import Path


def stored_places(data: bytes, chunk: int) -> list[tuple[float, float]]:
    """What a store keyed by time keeps: of several positions with the same time the last."""
    line = NmeaLine({"*": NMEA})
    store: dict[int, tuple[float, float]] = {}
    for start in range(0, len(data), chunk):
        for item in line.feed(data[start : start + chunk], 0):
            for sample in item.samples if isinstance(item, Heard) else ():
                if isinstance(sample.value, Position):
                    store[sample.observed_at or 0] = (sample.value.lat, sample.value.lon)
    return list(store.values())


@pytest.mark.parametrize("log", captures(), ids=lambda log: log.stem)
def test_every_fix_of_gpsd_is_stored_within_a_millionth_of_a_degree(log: Path) -> None:
    places = stored_places(log.read_bytes(), chunk=97)
    fixes = gpsd_fixes(log)
    missing = [f for f in fixes if not any(abs(f[0] - p[0]) <= 1e-6 and abs(f[1] - p[1]) <= 1e-6 for p in places)]
    assert fixes
    assert not missing, f"{len(missing)} of {len(fixes)} fixes are not stored"


def test_there_are_39_captures() -> None:
    assert len(captures()) == 39
