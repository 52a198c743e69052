"""Enrols in children that are stopped before their first step, so that strace can take hold of them.

A line of JSON in: what to enrol, and where. A line out: the child's process number, once it is stopped; a second one:
how it ended. All modules are loaded beforehand, so that a child does nothing but enrol.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from edge.enrol import Wanted, enrol, read_claim


def main() -> None:
    for line in sys.stdin:
        given = json.loads(line)
        what = Wanted(read_claim(given["claim"], "", "", None), Path(given["config"]), Path(given["state"]))
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
            enrol(what)
            os._exit(0)
        os.waitpid(child, os.WUNTRACED)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
