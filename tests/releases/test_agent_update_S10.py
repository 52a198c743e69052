"""S10: a real agent under its launcher updates itself from a real cloud, and comes back from versions that are broken.

The bundles are this agent under another version.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import sqlalchemy as sa

from cloud.config import load_config
from cloud.db import open_database
from cloud.devices.releases import books, service
from cloud.devices.releases.store import agents
from cloud.ingest import outgoing
from edge import VERSION
from edge.slots import Slots
from firmware_specs.release import Release, ReleaseKind
from firmware_specs.wire_fleet import UpdateOrder, encode
from firmware_specs.zstd import compress
from tests.releases.release_support import World, bundle
from tests.support import wait_for
from tests.system.harness import BIN, Part, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.system.harness import Stack

pytestmark = [pytest.mark.system, pytest.mark.peer]
ROOT: Final = Path(__file__).resolve().parents[2]
PROGRAM: Final = (
    f"#!{sys.executable}\nimport sys\nfrom pathlib import Path\n"
    'sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))\n'
    "from edge.__main__ import main\nmain()\n"
)
SUPERVISOR: Final = 'while :; do "$@"; sleep 0.1; done'


def agent(version: str, program: str = PROGRAM, **changed: tuple[str, str]) -> dict[str, tuple[str, int]]:
    """The files of this agent under another version. changed: by module, text and what stands there instead."""
    files = {"bin/patrol-edge": (program, 0o755)}
    for package in ("edge", "firmware_specs"):
        for path in sorted((ROOT / package).rglob("*")):
            if path.suffix in {".py", ".toml"} and "golden" not in path.parts:
                files[f"lib/{path.relative_to(ROOT)}"] = (path.read_text(), 0o644)
    for module, (text, other) in {"__init__": (f'"{VERSION}"', f'"{version}"'), **changed}.items():
        name = f"lib/edge/{module}.py"
        assert text in files[name][0]
        files[name] = (files[name][0].replace(text, other), 0o644)
    return files


def tar_zst(files: dict[str, tuple[str, int]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, (text, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), mode
            archive.addfile(entry, io.BytesIO(text.encode()))
    return compress(out.getvalue())


class Site:
    """A stack whose gateway runs under the launcher and a supervisor, with a repository that is published."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.install = Slots(stack.folder / "install")
        self.record = stack.state_dir / "updates" / "record.json"
        argv = (
            "sh", "-c", SUPERVISOR, "sh", BIN / "patrol-edge", "launch", "--install-dir", self.install.folder,
            "run", "--config", stack.edge_toml,
        )  # fmt: skip
        stack.edge = Part("edge", argv, stack.folder / "edge.log", stack.online)
        stack.parts = (stack.south, stack.north, stack.cloud, stack.edge)

    def publish(self, *, versions: dict[str, bytes]) -> None:
        """Sign what the cloud serves, and have the gateway trust it."""
        config = load_config(self.stack.cloud_toml)
        world = World(config.data_dir)
        self.record.parent.mkdir(parents=True)
        (self.record.parent / "root.json").write_bytes(world.begin())
        for version, data in versions.items():
            world.add(data, f"agent/agent-{version}.bundle", Release(ReleaseKind.AGENT, "agent", version))
        assert world.publish().installed
        db = open_database(config.database.url, config.data_dir, None)
        with db.begin() as tx:
            service.sync(tx, config, world.repository, now_ms())
        db.close()

    def order(self, campaign: int, version: str, *, rollback: bool = False) -> None:
        config = load_config(self.stack.cloud_toml)
        db = open_database(config.database.url, config.data_dir, None)
        with db.begin() as tx:
            metadata_url, targets_url = books.urls(tx)
            order = UpdateOrder(
                campaign, f"agent/agent-{version}.bundle", version, metadata_url, targets_url, trial_s=6,
                rollback=rollback,
            )  # fmt: skip
            outgoing.put(tx, self.stack.gateway, "desired/update", encode(order), now_ms())
        db.close()

    def ended(self, campaign: int) -> tuple[str, str]:
        """How an order ended, as the gateway keeps it: phase and reason."""
        found: dict[str, Any] = {}

        def over() -> bool:
            if self.record.exists():
                found.update(json.loads(self.record.read_bytes()))
            ended = found.get("phase") in {"committed", "refused", "failed", "rolled-back"}
            return ended and found["order"]["campaign"] == campaign

        wait_for(over, 60, f"order {campaign} to end; {found}\n{self.stack.edge.tail()}")
        return found["phase"], found["reason"]

    def runs(self, version: str) -> None:
        """Wait until the cloud has it from the gateway that it runs a version, and from the releases that it stays."""

        def told() -> bool:
            view = self.stack.try_get(f"/gateways/{self.stack.gateway}")
            return bool(view and view["online"] and view["agent_version"] == version)

        wait_for(told, 30, f"{version} to run; {self.stack.edge.tail()}")
        config = load_config(self.stack.cloud_toml)
        db = open_database(config.database.url, config.data_dir, None)

        def committed() -> bool:
            with db.read() as tx:
                return tx.execute(sa.select(agents.c.committed)).scalar() == version

        wait_for(committed, 20, f"{version} to be told")
        db.close()


@pytest.mark.timeout(600)
def test_S10_an_agent_updates_itself_and_comes_back_from_broken_versions(make_stack: Callable[..., Stack]) -> None:
    site = Site(make_stack())
    stack = site.stack
    stack.init_cloud()
    site.publish(versions={
        "9.1.0": tar_zst(agent("9.1.0")),
        "9.2.0": bundle(agent("9.2.0", f"#!{sys.executable}\nraise SystemExit('crashes at its start')\n")),
        "9.3.0": bundle(agent("9.3.0", update_health=("192 * 1024 * 1024", "1"))),
        "9.4.0": bundle(agent("9.4.0")),
    })  # fmt: skip
    stack.start()
    site.runs(VERSION)

    site.order(1, "9.1.0")
    assert site.ended(1) == ("committed", "")
    site.runs("9.1.0")
    assert (site.install.current, site.install.committed, site.install.previous) == ("9.1.0", "9.1.0", "base")

    site.order(2, "9.2.0")
    assert site.ended(2) == ("rolled-back", "3 starts, and it never proved healthy")
    site.runs("9.1.0")

    site.order(3, "9.3.0")
    phase, reason = site.ended(3)
    assert phase == "rolled-back"
    assert "not healthy within 6 s" in reason
    assert "MiB of memory" in reason
    site.runs("9.1.0")

    site.order(4, "9.4.0")
    assert site.ended(4) == ("committed", "")
    site.runs("9.4.0")
    site.order(5, "9.1.0")
    assert site.ended(5) == ("refused", "9.1.0 is older than 9.4.0, which runs")
    site.order(6, "9.1.0", rollback=True)
    assert site.ended(6) == ("committed", "")
    site.runs("9.1.0")
    assert site.install.previous == "9.4.0"
    assert sorted(path.name for path in site.install.versions.iterdir()) == ["9.1.0", "9.4.0"]
    assert stack.ledger()["lost"] == 0
