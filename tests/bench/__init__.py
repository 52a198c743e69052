"""The benchmarks behind `./patrol bench`; each module prints a table and writes JSON under `bench-results/`."""

from __future__ import annotations

import sys
from pathlib import Path

# `tests/` holds the helpers that benchmarks share with the tests (`support`, `system.harness`).
sys.path.insert(0, str(Path(__file__).parents[1]))
