"""Remote help through real processes and a real broker: check, log, restart, diagnostics, what is foreign (S9, P7)."""

from __future__ import annotations

import io
import json
import subprocess
import urllib.request
import zipfile
from typing import TYPE_CHECKING, Any

import paho.mqtt.publish as mqtt_publish
import pytest

from tests.support import wait_for
from tests.system.harness import BIN, counter, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.system.harness import Stack

pytestmark = [pytest.mark.system, pytest.mark.peer]
SECRET = "hunter2-swordfish"
OVER = {"done", "failed", "refused", "expired"}


def test_help_from_afar_S9_P7(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack([counter("zhangwei-13812345678")])
    stack.edge.env = {"UPLINK_PASSWORD": SECRET}
    stack.start()
    stack._token = stack.cloud_verb("token", "add", "helper", "--role", "administrator").split()[-1]
    base = f"/gateways/{stack.gateway}/commands"

    def ask(kind: str, **arguments: str) -> str:
        asked: str = stack.request("POST", base, {"kind": kind, "arguments": arguments})["id"]
        return asked

    def ended(command: str) -> dict[str, Any]:
        wait_for(lambda: stack.get(f"/commands/{command}")["phase"] in OVER, 30, f"the end of {command}")
        view: dict[str, Any] = stack.get(f"/commands/{command}")
        return view

    checked = ended(ask("check"))
    findings = {each["what"]: each for each in map(json.loads, checked["parts"])}
    assert (checked["phase"], findings["agent"]["state"], findings["connector sensors"]["state"]) == (
        "done",
        "ok",
        "ok",
    )

    tail = ask("log-tail", lines="50", follow_s="600")
    wait_for(lambda: "gateway running" in "".join(stack.get(f"/commands/{tail}")["parts"]), 15, "the log so far")
    restarted = ended(ask("restart-connector", name="sensors"))
    assert (restarted["phase"], restarted["parts"]) == ("done", ["begun anew\n", "up\n"])
    wait_for(lambda: "restart-connector" in "".join(stack.get(f"/commands/{tail}")["parts"]), 15, "the live log")
    assert ended(ask("stop", id=tail))["phase"] == "done"
    assert (ended(tail)["phase"], ended(tail)["reason"]) == ("done", "stopped")
    assert ended(ask("restart-connector", name="nobody"))["phase"] == "failed"

    made = ask("diagnostics")
    assert ended(made)["phase"] == "done", ended(made)
    request = urllib.request.Request(
        f"http://127.0.0.1:{stack.http_port}/api/v1/commands/{made}/file",
        headers={"Authorization": f"Bearer {stack._token}"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
        remote = answer.read()
    out = stack.folder / "local.zip"
    subprocess.run(
        [str(BIN / "patrol-edge"), "diagnostics", "--config", str(stack.edge_toml), "--out", str(out)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    for data in (remote, out.read_bytes()):
        archive = zipfile.ZipFile(io.BytesIO(data))
        assert {"about.json", "config.json", "status.json", "check.json", "log.txt"} <= set(archive.namelist())
        text = "".join(archive.read(name).decode() for name in archive.namelist())
        assert "gateway running" in text
        for planted in (SECRET, "hunter2", "zhangwei", "13812345678", str(stack.folder)):
            assert planted not in text

    topic = f"patrolgrid/v1/{stack.gateway}"
    foreign = {
        "id": "other-1",
        "kind": "check",
        "issued_ms": now_ms(),
        "expires_ms": now_ms() + 60_000,
        "gateway": "gw-2",
    }
    mqtt_publish.single(f"{topic}/command/other-1", json.dumps(foreign), 1, port=stack.north_port)
    wait_for(lambda: "it is another gateway's" in stack.edge.tail(), 10, "the foreign command refused")
    answer_of_another = {"id": tail, "phase": "done"}
    stack.cloud_verb("gateway", "add", "gw-2")
    mqtt_publish.single(f"patrolgrid/v1/gw-2/result/{tail}", json.dumps(answer_of_another), 1, port=stack.north_port)

    def audited() -> set[str]:
        return {row["action"] for row in stack.items("/audit") if row["action"].startswith("remote.")}

    wait_for(lambda: "remote.foreign" in audited(), 10, "the foreign answer on record")
    assert {"remote.check", "remote.log-tail", "remote.diagnostics", "remote.download", "remote.done"} <= audited()
    done = stack.get(f"/commands/{made}")["ended_at"]

    stack.edge.kill()
    stack.start(stack.edge)
    wait_for(lambda: len(stack.get(f"/gateways/{stack.gateway}/health")["starts"]) == 2, 20, "the second start")
    health = stack.get(f"/gateways/{stack.gateway}/health")
    assert [each["reason"] for each in health["starts"]] == ["kill", "first"]
    measures = {each["measure"]: each for each in health["measures"]}
    assert (measures["restarts"]["state"], measures["restarts"]["reason"]) == ("watch", "kill")
    assert measures["disk"]["value"] > 0
    ledger = stack.get(f"/gateways/{stack.gateway}/ledger")
    assert (ledger["reconciled"], ledger["lost"]) == (True, 0)
    repeated = {"id": made, "kind": "diagnostics", **times}
    mqtt_publish.single(f"{topic}/command/{made}", json.dumps(repeated), 1, port=stack.north_port)
    counters = f"/gateways/{stack.gateway}"
    wait_for(lambda: stack.get(counters)["counters"].get("commands_repeated") == 1, 40, "the repeated command known")
    assert stack.get(counters)["counters"]["commands"] == 0
    assert stack.get(f"/commands/{made}")["ended_at"] == done
