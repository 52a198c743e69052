"""What `patrol-edge enrol` prints: the steps on stderr, what it came to on stdout."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from edge.enrol import enrol

if TYPE_CHECKING:
    from edge.enrol import Wanted


def run(wanted: Wanted) -> None:
    """Enrol. Raises what `enrol` raises."""

    def tell(step: str) -> None:
        print(f"patrol-edge: {step}", file=sys.stderr, flush=True)

    done = enrol(wanted, tell)
    until = datetime.fromtimestamp(done.life.until_ms / 1000, UTC)
    was = "enrolled" if done.anew else "enrolled already"
    print(f"{done.gateway}: {was}, certificate valid until {until:%Y-%m-%d}")
    print(f"start it: patrol-edge run --config {wanted.config}")
