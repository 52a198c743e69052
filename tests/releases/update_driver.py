"""Steps of an agent's update, each in a process of its own that can be killed at any of its system calls.

Run as a program it reads one JSON list of words a line, and for each forks a process that stops itself before it does
the step: whoever wants to trace it attaches first. So what a run costs is the step, not the start of Python.

    fetch STATE ROOT METADATA_URL TARGETS_URL TARGET        a target to the disk
    install STATE INSTALL BUNDLE SHA VERSION                what the old agent does with it, up to the switch
    publish DATA VAULT                                      what the ceremony's last step does at the cloud
    launch INSTALL PROGRAM OUT                              the launcher; PROGRAM is the package's agent
    commit STATE INSTALL SLOT VERSION                       what the new agent does once it is healthy
    leave STATE INSTALL SLOT VERSION                        what it does when it is not
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

from cloud.devices.releases.repository import Repository
from edge.launch import launch
from edge.slots import BASE, Slots
from edge.tufclient import fetch
from edge.update_record import Version
from edge.update_steps import Steps
from firmware_specs.wire_fleet import UpdateOrder, UpdatePhase
from tests.releases.release_support import LIFETIMES


def step(verb: str, *rest: str) -> None:
    if verb == "fetch":
        folder, root, metadata_url, targets_url, target = rest
        fetch(Path(folder), Path(root).read_bytes(), metadata_url, targets_url, target, Path(folder) / "downloads")
        return
    if verb == "launch":
        out = os.open(rest[2], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        launch(Path(rest[0]), ["run"], base=[rest[1]])
    if verb == "publish":
        Repository(Path(rest[0]), LIFETIMES).publish([Path(rest[1])], None, datetime.now(UTC))
        return
    state, install = Path(rest[0]), Path(rest[1])
    if verb == "install":
        bundle, sha256, version = rest[2:]
        order = UpdateOrder(1, "agent/a.zip", version, "http://127.0.0.1/m/", "http://127.0.0.1/t/", trial_s=5)
        slots = Slots(install)
        steps = Steps(state, slots, Version(slots.current, "1.0.0" if slots.current == BASE else slots.current))
        steps.begin(order, 1)
        if steps.record.phase is not UpdatePhase.TRIAL:
            steps.install(order, Path(bundle), sha256, 2)
        steps.switch(order, (), 3)
        return
    slot, version = rest[2:]
    steps = Steps(state, Slots(install), Version(slot, version))
    if verb == "commit":
        steps.commit(4)
        steps.tidy()
    else:
        steps.give_up("not healthy", 4)


def serve() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            code = 1
            try:
                os.kill(os.getpid(), signal.SIGSTOP)
                step(*json.loads(line))
                code = 0
            except BaseException:  # noqa: BLE001 - the entry of a process
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        os.waitpid(pid, os.WUNTRACED)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


serve()
