"""The alarms of certificates of our own that end, and what the command line says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cloud.__main__ import app
from cloud.alerts import service as alerts
from cloud.devices.broker import conf
from cloud.devices.enrolment import making, serving, watch
from cloud.devices.enrolment.authority import FOLDER, when
from cloud.devices.enrolment.rules import AUTHORITY_WARN_MS
from cloud.state import now_ms
from tests.cloud.cloud_support import NOW
from tests.enrolment.enrolment_support import make_authority

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloud.config import Config
    from cloud.db import Database
    from cloud.devices.enrolment.authority import Authority

DAY = 86_400_000
END = NOW + making.INTERMEDIATE_DAYS * DAY
AUTHORITY, SERVER = watch.AUTHORITY_ENDING, watch.SERVER_ENDING


@pytest.fixture
def standing(db: Database, configured: Callable[..., Config], tmp_path: Path) -> Callable[[int], dict[str, list[str]]]:
    """A function that looks at a time, and gives the alarms that stand after it, by their device."""
    config = configured(mosquitto={"dir": tmp_path / "broker", "cloud_bind": "0.0.0.0:8884"})

    def look(at: int) -> dict[str, list[str]]:
        with db.begin() as tx:
            watch.look(tx, config, at)
            watch.look(tx, config, at)  # a second worker changes nothing
            return {device: kinds for (_, device), kinds in alerts.active_kinds(tx, [""]).items()}

    return look


def test_an_intermediate_near_its_end_is_an_alarm_until_it_is_renewed(
    standing: Callable[[int], dict[str, list[str]]], authority: Authority, tmp_path: Path
) -> None:
    assert authority.before == ()
    warned = END - AUTHORITY_WARN_MS
    assert standing(warned - 1000) == {}
    assert standing(warned) == {"intermediate": [AUTHORITY]}
    making.renew_intermediate(tmp_path / "root", tmp_path / FOLDER, (), when(warned))
    assert standing(warned + DAY) == {}
    assert standing(NOW + making.ROOT_DAYS * DAY) == {"intermediate": [AUTHORITY], "root": [AUTHORITY]}


def test_a_servers_certificate_near_its_end_is_an_alarm_until_it_is_replaced_or_gone(
    standing: Callable[[int], dict[str, list[str]]], authority: Authority, tmp_path: Path
) -> None:
    folder, broker = tmp_path / FOLDER / serving.FOLDER, tmp_path / "broker"
    broker.mkdir()
    made = serving.write(authority, folder, "est", ["localhost"], when(NOW))
    kept = serving.write(authority, folder, "old-broker", ["localhost"], when(NOW))
    (broker / conf.SERVER).write_bytes(made.chain.read_bytes())
    (broker / conf.CLOUD_CERT).write_bytes(b"no certificate: whoever needs it says so")
    warned = NOW + 305 * DAY
    assert standing(warned - 1000) == {}
    assert standing(warned) == {name: [SERVER] for name in ("est", "old-broker", "mosquitto")}
    serving.write(authority, folder, "est", ["localhost"], when(warned))
    kept.chain.unlink()
    assert standing(warned) == {"mosquitto": [SERVER]}


def test_the_command_line_says_what_ends_and_that_the_roots_key_is_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text('data_dir = "data"\n')

    def said(*argv: str) -> tuple[list[str], str]:
        app([*argv, "--config", str(file)], standalone_mode=False)
        told = capsys.readouterr()
        return told.out.splitlines(), told.err

    warning = f"the root's key lies beside the data, in {tmp_path / 'data/authority/root'}; move that directory"
    assert warning in said("authority", "init")[1]
    lines, warned = said("authority", "show")
    assert [line.partition(":")[0] for line in lines] == [
        "organisation", "root_until", "intermediate_until", "hosts", "ending", "fingerprint",
    ]  # fmt: skip
    assert warning in warned
    (tmp_path / "data/authority/root").rename(tmp_path / "usb")
    before = now_ms() - 320 * DAY - DAY // 2
    other = make_authority(tmp_path / "other", at=before)
    serving.write(other, tmp_path / "data/authority/servers", "old", ["localhost"], when(before))
    lines, warned = said("authority", "show")
    assert "ending: server_old" in lines
    assert warned == "patrol-cloud: server_old: 44 days left\n"
