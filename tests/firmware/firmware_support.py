"""Handles of the firmware tests: a signed repository over HTTP, and a gateway in this process with its south side."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import random
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from edge.gateway import Gateway
from edge.update_root import ROOT_FILE
from firmware_specs.wire_fleet import FirmwareJob, FirmwareOrder, UpdatePhase, UpdateState, encode
from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

PROFILES = Path(__file__).parent / "profiles"
ENDS = {UpdatePhase.COMMITTED, UpdatePhase.REFUSED, UpdatePhase.FAILED}


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        super().do_GET()


class Repository:
    """Targets and the metadata that signs them; one key has all roles."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("metadata", "targets"):
            (folder / part).mkdir(parents=True)
        self._signer = CryptoSigner.generate_ed25519()
        self.expires = datetime.now(UTC) + timedelta(days=30)
        self.version = 0
        self.targets: dict[str, TargetFile] = {}
        root = Root(expires=self.expires)
        for role in ("root", "targets", "snapshot", "timestamp"):
            root.add_key(self._signer.public_key, role)
        self.root = self._write(root, "1.root.json")
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
        self.asked: list[str] = []
        self._server.asked = self.asked  # type: ignore[attr-defined]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(self, path: str, data: bytes, model: str, version: str) -> None:
        """Sign a target and publish it."""
        target = TargetFile.from_data(path, data, ["sha256"])
        custom = {"kind": "firmware", "model": model, "version": version}
        target.unrecognized_fields["custom"] = custom
        self.targets[path] = target
        folder, _, name = path.rpartition("/")
        file = self.folder / "targets" / folder / f"{target.hashes['sha256']}.{name}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        self.publish()

    def publish(self) -> None:
        """Sign all metadata anew."""
        self.version += 1
        n = self.version
        self._write(Targets(version=n, expires=self.expires, targets=self.targets), f"{n}.targets.json")
        snapshot = Snapshot(version=n, expires=self.expires, meta={"targets.json": MetaFile(n)})
        self._write(snapshot, f"{n}.snapshot.json")
        self._write(Timestamp(version=n, expires=self.expires, snapshot_meta=MetaFile(n)), "timestamp.json")

    def _write(self, signed: Signed, name: str) -> bytes:
        metadata: Metadata[Any] = Metadata(signed)
        metadata.sign(self._signer)
        data: bytes = metadata.to_bytes()
        (self.folder / "metadata" / name).write_bytes(data)
        return data

    def order(self, *jobs: FirmwareJob) -> bytes:
        """An order of these jobs."""
        return encode(FirmwareOrder(jobs, f"{self.url}/metadata/", f"{self.url}/targets/"))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def image(size: int, seed: int = 1) -> bytes:
    """Bytes that no two offsets share."""
    return random.Random(seed).randbytes(size)


def job(device: str, target: str, version: str = "2.0.0", **more: Any) -> FirmwareJob:  # noqa: ANN401
    return FirmwareJob(more.pop("campaign", 1), device, target, version, ordered_ms=more.pop("ordered_ms", 1), **more)


def write_config(folder: Path, connectors: str, devices: dict[str, tuple[str, str, str]], north: int = 1) -> Path:
    """gateway.toml. devices: id to profile, connector and address."""
    path = folder / "gateway.toml"
    lines = [
        (
            f'gateway = "gw-1"\nstate_dir = "{folder}/state"\nprofiles_dir = "{PROFILES}"\n'
            f'[uplink]\nurl = "mqtt://127.0.0.1:{north}"\nbackoff_max_s = 1\n{connectors}'
        )
    ]
    lines += [
        f'[[devices]]\nid = "{name}"\nprofile = "{profile}"\nconnector = "{connector}"\naddress = "{address}"\n'
        for name, (profile, connector, address) in devices.items()
    ]
    path.write_text("".join(lines))
    return path


def trust(folder: Path, repository: Repository) -> None:
    """Give a gateway its update root."""
    file = folder / "state" / ROOT_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(repository.root)


class Agent:
    """A gateway in this process."""

    def __init__(self, path: Path) -> None:
        self.gateway = Gateway(path)
        self.port = 0
        """Of the broker in the south, where there is one."""
        self.heard_of: Callable[[], Awaitable[Any]] = asyncio.Event().wait
        """Has a device speak, where one can be made to."""

    @property
    def up(self) -> bool:
        return bool(self.gateway.connectors) and set(self.gateway.connectors.values()) == {"up"}

    def states(self) -> dict[str, UpdateState]:
        return self.gateway.firmware._book.state().devices

    async def outcome(self, device: str, timeout_s: float = 15) -> UpdateState:
        """How the device's job ended."""
        await wait_until(
            lambda: device in self.states() and self.states()[device].phase in ENDS, timeout_s, f"the end of {device}"
        )
        return self.states()[device]


@contextlib.asynccontextmanager
async def running(path: Path) -> AsyncIterator[Agent]:
    """The agent, with all its connectors up."""
    agent = Agent(path)
    task = asyncio.create_task(agent.gateway.run(), name="gateway")
    try:
        await wait_until(lambda: task.done() or agent.up, 10, "the connectors")
        if task.done():
            task.result()
        yield agent
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
