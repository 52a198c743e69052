"""What is refused before a device hears of it (S10): model, version, signature, frozen metadata, no root."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from edge.firmware.images import Images, Source
from firmware_specs.wire_fleet import UpdatePhase
from simulators.peers.firmware import Box
from tests.firmware.firmware_support import Repository, image, job, trust
from tests.firmware.test_mqtt_firmware import site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import StartMosquitto


async def test_S10_wrong_model_older_version_bad_bytes_and_frozen_metadata_are_refused(
    tmp_path: Path, repository: Repository, mosquitto: StartMosquitto
) -> None:
    repository.add("fw/good.bin", image(2000, 1), "test-mqtt", "2.0.0")
    repository.add("fw/other.bin", image(2000, 2), "another-model", "2.0.0")
    repository.add("fw/old.bin", image(2000, 3), "test-mqtt", "0.9.0")
    repository.add("fw/rotten.bin", image(2000, 4), "test-mqtt", "2.0.0")
    next((repository.folder / "targets/fw").glob("*.rotten.bin")).write_bytes(image(2000, 5))
    boxes = {name: Box("1.0.0") for name in ("model", "old", "rotten", "absent", "version", "back", "frozen")}
    async with site(tmp_path, repository, mosquitto, boxes) as agent:
        await_running = agent.gateway.firmware._book.running
        for name in boxes:
            await_running[name] = "1.0.0"
        agent.gateway.firmware.take(
            repository.order(
                job("model", "fw/other.bin"), job("old", "fw/old.bin", "0.9.0"), job("rotten", "fw/rotten.bin"),
                job("absent", "fw/none.bin"), job("version", "fw/good.bin", "2.0.1"),
                job("back", "fw/old.bin", "0.9.0", back=True), job("unknown", "fw/good.bin"),
            )
        )  # fmt: skip
        reasons = {
            "model": "it is for the model another-model, not test-mqtt",
            "old": "version 0.9.0 is older than 1.0.0, which runs",
            "rotten": "fw/rotten.bin: its bytes are not those that are signed",
            "absent": "fw/none.bin: no such target is signed",
            "version": "it is version 2.0.0, 2.0.1 was ordered",
            "unknown": "no such device here, or there is no way for firmware into it",
        }
        for name, reason in reasons.items():
            state = await agent.outcome(name)
            assert (state.phase, state.reason) == (UpdatePhase.REFUSED, reason)
        assert (await agent.outcome("back")).phase is UpdatePhase.COMMITTED, "an operator may go back"
        repository.expires = datetime.now(UTC) - timedelta(days=1)
        repository.publish()
        agent.gateway.firmware._images._signed.clear()
        agent.gateway.firmware.take(repository.order(job("frozen", "fw/good.bin")))
        state = await agent.outcome("frozen")
        assert state.phase is UpdatePhase.REFUSED
        assert "frozen" in state.reason
    assert all(not box.chunks for name, box in boxes.items() if name != "back")


async def test_another_version_that_is_signed_under_the_same_path_is_asked_for(
    tmp_path: Path, repository: Repository
) -> None:
    trust(tmp_path, repository)
    images = Images(tmp_path / "state")
    source = Source(f"{repository.url}/metadata/", f"{repository.url}/targets/", None)
    for version in ("2.0.0", "2.1.0"):
        data = version.encode()
        repository.add("fw/x.bin", data, "test-mqtt", version)
        made = await images.get(source, job("a", "fw/x.bin", version), "test-mqtt", "", lambda *_: None)
        with made:
            assert made.read(0, 10) == data


async def test_S10_a_gateway_without_a_root_or_with_another_one_refuses(
    tmp_path: Path, repository: Repository, mosquitto: StartMosquitto
) -> None:
    repository.add("fw/good.bin", image(2000), "test-mqtt", "2.0.0")
    foreign = Repository(tmp_path / "foreign")
    foreign.add("fw/good.bin", image(2000), "test-mqtt", "2.0.0")
    boxes = {"a": Box("1.0.0"), "b": Box("1.0.0")}
    async with site(tmp_path, repository, mosquitto, boxes) as agent:
        agent.gateway.firmware.take(foreign.order(job("a", "fw/good.bin")))
        state = await agent.outcome("a")
        assert state.phase is UpdatePhase.REFUSED
        assert "not to be trusted" in state.reason
        (tmp_path / "state/updates/root.json").unlink()
        agent.gateway.firmware.take(repository.order(job("b", "fw/good.bin")))
        assert "no update root" in (await agent.outcome("b")).reason
    foreign.close()
    trust(tmp_path, repository)
