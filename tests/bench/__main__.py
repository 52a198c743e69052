"""`python -m tests.bench [--quick] [--only NAME]`: run the benchmarks; tables, and JSON in bench-results/."""

from __future__ import annotations

import argparse
import importlib
import sys
import time

from . import report, results

BENCHES = {
    "edge": "the agent's parts: codec, outbox, connector",
    "peers": "the agent beside a paho copy loop and a mosquitto bridge",
    "cloud": "ingest and history of the cloud",
    "alarm_latency": "sensor frame to event at an HTTP stream client",
    "outage": "uplink down, then kill -9, with the real cloud",
    "presence": "presence of 2,000 responders at 1,000 posts, and scoped lists meanwhile",
    "campaigns": "a campaign of 100,000 gateways: acts, turns, a storm of outcomes",
    "install": "size, memory and idle cost of the installed agent",
}


def main() -> int:
    """Run what was asked for; 0 when all of it ran."""
    parser = argparse.ArgumentParser(prog="./patrol bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short runs: figures are rough")
    parser.add_argument("--only", action="append", choices=sorted(BENCHES), help="one benchmark; may be repeated")
    parser.add_argument("--report", action="store_true", help="only render docs/benchmarks.md from bench-results/")
    asked = parser.parse_args()
    if asked.report:
        sys.stdout.write(f"{report.render_file()}\n")
        return 0
    for name in asked.only or BENCHES:
        sys.stderr.write(f"bench {name}: {BENCHES[name]}\n")
        started = time.monotonic()
        module = importlib.import_module(f".{name}", __package__)
        result: results.Result = module.run(quick=asked.quick)
        results.show(result)
        file = results.save(name, result, quick=asked.quick)
        sys.stderr.write(f"bench {name}: {time.monotonic() - started:.0f} s, {file.relative_to(results.ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
