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
PLANTED = (SECRET, "hunter2", "zhangwei", "13812345678")
OVER = {"done", "failed", "refused", "expired"}


class Helper:
    """Somebody who helps the stack's gateway from afar."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.base = f"/gateways/{stack.gateway}/commands"
        self.topic = f"patrolgrid/v1/{stack.gateway}"

    def ask(self, kind: str, **arguments: str) -> str:
        asked: str = self.stack.request("POST", self.base, {"kind": kind, "arguments": arguments})["id"]
        return asked

    def view(self, command: str) -> dict[str, Any]:
        view: dict[str, Any] = self.stack.get(f"/commands/{command}")
        return view

    def ended(self, command: str) -> dict[str, Any]:
        wait_for(lambda: self.view(command)["phase"] in OVER, 30, f"the end of {command}")
        return self.view(command)

    def says(self, command: str, text: str) -> None:
        wait_for(lambda: text in "".join(self.view(command)["parts"]), 15, f"{text!r} in the log")

    def publish(self, rest: str, payload: dict[str, Any], gateway: str = "") -> None:
        topic = f"patrolgrid/v1/{gateway}" if gateway else self.topic
        mqtt_publish.single(f"{topic}/{rest}", json.dumps(payload), 1, port=self.stack.north_port)

    def audited(self) -> set[str]:
        return {row["action"] for row in self.stack.items("/audit") if row["action"].startswith("remote.")}

    def file(self, command: str) -> bytes:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.stack.http_port}/api/v1/commands/{command}/file",
            headers={"Authorization": f"Bearer {self.stack._token}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            data: bytes = answer.read()
        return data


def check_and_log(helper: Helper) -> str:
    """The kinds that look and restart; the id of the log's command."""
    checked = helper.ended(helper.ask("check"))
    findings = {each["what"]: each for each in map(json.loads, checked["parts"])}
    assert checked["phase"] == "done"
    assert [findings[what]["state"] for what in ("agent", "connector sensors")] == ["ok", "ok"]
    tail = helper.ask("log-tail", lines="50", follow_s="600")
    helper.says(tail, "gateway running")
    restarted = helper.ended(helper.ask("restart-connector", name="sensors"))
    assert (restarted["phase"], restarted["parts"]) == ("done", ["begun anew\n", "up\n"])
    helper.says(tail, "restart-connector")
    assert helper.ended(helper.ask("stop", id=tail))["phase"] == "done"
    assert (helper.ended(tail)["phase"], helper.ended(tail)["reason"]) == ("done", "stopped")
    assert helper.ended(helper.ask("restart-connector", name="nobody"))["phase"] == "failed"
    return tail


def bundles(helper: Helper) -> str:
    """The bundle from afar and its local twin; the id of the command."""
    stack, made = helper.stack, helper.ask("diagnostics")
    assert helper.ended(made)["phase"] == "done", helper.ended(made)
    out = stack.folder / "local.zip"
    subprocess.run(
        [str(BIN / "patrol-edge"), "diagnostics", "--config", str(stack.edge_toml), "--out", str(out)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    for data in (helper.file(made), out.read_bytes()):
        archive = zipfile.ZipFile(io.BytesIO(data))
        assert {"about.json", "config.json", "status.json", "check.json", "log.txt"} <= set(archive.namelist())
        text = "".join(archive.read(name).decode() for name in archive.namelist())
        assert "gateway running" in text
        for planted in (*PLANTED, str(stack.folder)):
            assert planted not in text
    return made


def test_help_from_afar_S9_P7(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack([counter("zhangwei-13812345678")])
    stack.edge.env = {"UPLINK_PASSWORD": SECRET}
    stack.start()
    stack._token = stack.cloud_verb("token", "add", "helper", "--role", "administrator").split()[-1]
    helper = Helper(stack)
    tail = check_and_log(helper)
    made = bundles(helper)

    times = {"issued_ms": now_ms(), "expires_ms": now_ms() + 60_000}
    helper.publish("command/other-1", {"id": "other-1", "kind": "check", "gateway": "gw-2", **times})
    wait_for(lambda: "it is another gateway's" in stack.edge.tail(), 10, "the foreign command refused")
    stack.cloud_verb("gateway", "add", "gw-2")
    helper.publish(f"result/{tail}", {"id": tail, "phase": "done"}, "gw-2")
    wait_for(lambda: "remote.foreign" in helper.audited(), 10, "the foreign answer on record")
    assert {"remote.check", "remote.log-tail", "remote.diagnostics", "remote.download"} <= helper.audited()

    stack.edge.kill()
    stack.start(stack.edge)
    mine = f"/gateways/{stack.gateway}"
    wait_for(lambda: len(stack.get(f"{mine}/health")["starts"]) == 2, 20, "the second start")
    health = stack.get(f"{mine}/health")
    assert [each["reason"] for each in health["starts"]] == ["kill", "first"]
    measures = {each["measure"]: each for each in health["measures"]}
    assert (measures["restarts"]["state"], measures["restarts"]["reason"]) == ("watch", "kill")
    assert measures["disk"]["value"] > 0
    ledger = stack.get(f"{mine}/ledger")
    assert (ledger["reconciled"], ledger["lost"]) == (True, 0)
    before = helper.view(made)
    helper.publish(f"command/{made}", {"id": made, "kind": "diagnostics", **times})
    wait_for(lambda: "command repeated" in stack.edge.tail(), 10, "the repeated command known")
    assert "command begun" not in stack.edge.tail().rpartition("gateway running")[2]
    assert helper.view(made) == before
