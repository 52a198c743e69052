"""The broker's folder: written once, touched only when something changed, and safe to write again at any moment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from pydantic import ValidationError

from cloud.devices.broker import conf, writing
from cloud.devices.broker.settings import MosquittoConfig
from cloud.devices.enrolment import service as enrolment
from cloud.state import now_ms
from firmware_specs.errors import LinkError
from tests.broker.broker_support import Site, is_refused
from tests.support import wait_for

if TYPE_CHECKING:
    from cloud.config import Config

PROGRAM = Path(sys.executable).with_name("patrol-cloud")
DAY_MS = 86_400_000


def write(site: Site, now: int | None = None, config: Config | None = None) -> writing.Written:
    with site.db.read() as tx:
        revoked = enrolment.revoked(tx, now_ms())
    chosen = config or site.config
    assert chosen.mosquitto
    written = writing.write(chosen.mosquitto, site.authority, revoked, chosen.broker, now or now_ms())
    certified = writing.certify(chosen.mosquitto, site.authority, now or now_ms())
    return written._replace(reload=written.reload or certified)


def test_the_folder_is_written_once(site: Site) -> None:
    assert write(site) == writing.Written(reload=True, restart=True)
    before = {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in site.kept.iterdir()}
    assert write(site) == writing.Written(reload=False, restart=False)
    assert {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in site.kept.iterdir()} == before
    assert {file.stat().st_mode & 0o777 for file in site.kept.iterdir()} == {0o640}


def test_the_broker_may_read_its_files_whatever_the_services_mask(site: Site) -> None:
    before = os.umask(0o077)
    try:
        write(site)
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in site.kept.iterdir()} == {0o640}


def test_a_revocation_changes_the_list_and_nothing_else(site: Site) -> None:
    site.enrol("gw-1")
    write(site)
    before = {file.name: file.read_bytes() for file in site.kept.iterdir()}
    site.revoke("gw-1")
    assert write(site) == writing.Written(reload=True, restart=False)
    after = {file.name: file.read_bytes() for file in site.kept.iterdir()}
    assert {name for name in after if after[name] != before.get(name)} == {conf.LIST}


@pytest.mark.parametrize("name", [conf.LIST, conf.SERVER, conf.CA, conf.ACCESS])
def test_what_was_spoilt_is_made_again(site: Site, name: str) -> None:
    write(site)
    (site.kept / name).write_bytes(b"half of it")
    assert write(site).reload
    assert b"half" not in (site.kept / name).read_bytes()


def test_certificate_and_list_are_made_anew_in_time(site: Site) -> None:
    write(site)
    now = now_ms()
    assert not write(site, now + 3_600_000).reload
    assert write(site, now + 7 * 3_600_000).reload
    server = site.kept / conf.SERVER
    first = x509.load_pem_x509_certificate(server.read_bytes())
    write(site, now + 200 * DAY_MS)
    assert x509.load_pem_x509_certificate(server.read_bytes()) == first
    write(site, now + 250 * DAY_MS)
    assert x509.load_pem_x509_certificate(server.read_bytes()) != first


def test_a_clock_that_was_ahead_leaves_no_list_of_the_future(site: Site) -> None:
    write(site, now_ms() + 1000 * DAY_MS)
    assert write(site).reload
    made = writing.list_made_ms(site.kept)
    assert made is not None
    assert made <= now_ms()


@pytest.mark.peer
def test_the_cloud_signs_in_when_it_has_a_password(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATROL_BROKER_PASSWORD", "s3cret")
    url = f"mqtt://127.0.0.1:{site.cloud_port}"
    site.use(site.configure(broker={"url": url, "user": "cloud"}))
    site.enrol("gw-1")
    site.start()
    live = site.session("gw-1")
    assert is_refused(site, "", port=site.cloud_port)
    assert is_refused(site, "", port=site.cloud_port, password="wrong")
    site.session("", port=site.cloud_port, password="s3cret")
    site.revoke("gw-1")
    site.keep()
    assert live.lost.wait(10)


@pytest.mark.peer
def test_S1_beyond_loopback_the_cloud_has_one_pinned_certificate(site: Site) -> None:
    """A certificate of the gateways' authority is worth nothing there: client ids may be chosen on that listener."""
    pem = site.kept / conf.CLOUD
    broker = {"url": f"mqtts://localhost:{site.cloud_port}", "ca": site.kept / conf.CA, "cert": pem, "key": pem}
    site.use(site.configure(broker=broker, mosquitto={"cloud_bind": f"0.0.0.0:{site.cloud_port}"}))
    site.enrol("gw-1", "gw-2")
    site.start()
    assert pem.stat().st_mode & 0o777 == 0o600
    live = site.session("gw-1")
    assert is_refused(site, "gw-2", client_id="gw-1", port=site.cloud_port)
    assert not live.lost.is_set()
    cloud = site.session("cloud", client_id="cloud-ingest-1", port=site.cloud_port, pem=pem)
    cloud.subscribe("patrolgrid/#")
    live.client.publish("patrolgrid/v1/gw-1/status", b"on", 1).wait_for_publish(10)
    wait_for(lambda: cloud.heard, 10, "the gateway's status")
    site.revoke("gw-1")
    site.keep()
    assert live.lost.wait(10)


def test_patrol_cloud_broker_write_makes_it_once(site: Site) -> None:
    file = site.folder / "cloud.toml"
    file.write_text(f'data_dir = "{site.data}"\n')
    argv = [str(PROGRAM), "broker", "write", str(site.folder / "made"), "--config", str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"mosquitto -c {site.folder / 'made' / conf.CONF}"
    assert {each.name for each in (site.folder / "made").iterdir()} == {
        conf.CONF, conf.ACCESS, conf.CLOUD_ACCESS, conf.CA, conf.SERVER, conf.LIST,
    }  # fmt: skip


def test_the_broker_is_told_by_a_program(site: Site) -> None:
    told = site.folder / "told"
    site.use(site.configure(reload=f"command:touch {told}"))
    site.keep()
    assert told.exists()
    told.unlink()
    site.keep()
    assert not told.exists(), "nothing changed"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("sh -c 'echo out of order >&2; exit 3'", "sh: exit status 3: out of order"),
        ("/nonexistent/program", "/nonexistent/program: no such file or directory"),
    ],
)
def test_a_program_that_fails_is_one_line(site: Site, command: str, said: str) -> None:
    from cloud.devices.broker import sessions

    settings = site.configure(reload=f"command:{command}").mosquitto
    assert settings
    with pytest.raises(LinkError) as e:
        sessions.reload(settings)
    assert str(e.value) == said


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"reload": "restart"}, 'is not "signal:PIDFILE"'),
        ({"bind": "127.0.0.1:1883"}, "the same as bind"),
        ({"bind": "nowhere:x"}, "nowhere:x"),
        ({"user": "root\nuser x"}, "match pattern"),
        ({"hosts": ["a b"]}, "match pattern"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, table: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MosquittoConfig.model_validate({"dir": tmp_path, **table})


def test_a_folder_with_a_line_break_writes_no_line_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="line"):
        MosquittoConfig.model_validate({"dir": f"{tmp_path}/a\nallow_anonymous true"})
