"""`patrol-edge enrol` against the cloud's own EST listener: what it leaves on the disk, and whom it believes."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cloud.devices import service as devices
from cloud.devices.configs import service as configs
from cloud.devices.releases.store import repository as repositories
from cloud.org.rules import SYSTEM
from cloud.state import now_ms
from edge import est
from edge.config import load_config
from edge.enrol import Wanted, enrol, read_claim
from edge.identity import Identity
from edge.update_root import ROOT_FILE
from firmware_specs.claims import Claim, CodeRefused
from firmware_specs.errors import EnrolmentRefused, LinkError
from tests.cloud.cloud_support import know
from tests.enrol.enrol_support import enrolled, pair_in_force, wanted

if TYPE_CHECKING:
    from tests.broker.broker_support import Site

PROGRAM = Path(sys.executable).with_name("patrol-edge")
HOUR_MS = 3_600_000


def known(cloud: Site) -> set[str]:
    with cloud.db.read() as tx:
        return devices.known_gateways(tx)


def test_S2_a_claim_makes_a_gateway_that_can_run(cloud: Site) -> None:
    with cloud.db.begin() as tx:
        row = {"id": 1, "metadata_url": "m", "targets_url": "t", "root": '{"signed": 1}', "versions": "{}"}
        tx.execute(repositories.insert().values(**row, expiries="{}", read_at=1))
    what = wanted(cloud, cloud.claim("gw-7").text)
    done = enrol(what)
    assert (done.gateway, done.anew) == ("gw-7", True)
    assert "gw-7" in known(cloud)
    pair = pair_in_force(what)
    assert {file.stat().st_mode & 0o777 for file in pair.folder.iterdir()} == {0o600}
    assert pair.folder.stat().st_mode & 0o777 == 0o700
    assert (what.state_dir / ROOT_FILE).read_text() == '{"signed": 1}'
    text = what.config.read_text()
    assert 'gateway = "gw-7"' in text
    assert "managed = true" in text
    assert f"mqtts://localhost:{cloud.port}" in text
    assert cloud.claim().code not in text
    said = [file for file in what.state_dir.rglob("*") if file.is_file()]
    assert not any(b"PRIVATE KEY" in file.read_bytes() for file in said if file.name != "key.pem")


def test_the_first_configuration_is_in_force_at_the_first_start(cloud: Site) -> None:
    text = (
        '[[connectors]]\nkind = "mqtt"\nurl = "mqtt://127.0.0.1:1883"\n'
        '[[devices]]\nid = "smk-1"\nprofile = "generic-smoke-senml"\nconnector = "mqtt"\naddress = "sensors/smk-1"\n'
    )
    know(cloud.db, "gw-1")
    with cloud.db.begin() as tx:
        configs.propose(tx, SYSTEM, "gw-1", text, now_ms())
    what = wanted(cloud, cloud.claim("gw-1").text)
    enrol(what)
    assert [device.id for device in load_config(what.config).config.devices] == ["smk-1"]


def test_S2_the_code_is_kept_nowhere(cloud: Site) -> None:
    claim = cloud.claim()
    what = wanted(cloud, claim.text)
    enrol(what)
    for file in (what.config, *what.state_dir.rglob("*")):
        if file.is_file():
            assert claim.code.encode() not in file.read_bytes()


def test_the_same_command_again_changes_nothing(cloud: Site) -> None:
    what = wanted(cloud, cloud.claim().text)
    first = enrol(what)
    before = {file: file.read_bytes() for file in what.state_dir.rglob("*") if file.is_file()}
    again = enrol(what)
    assert (again.gateway, again.anew) == (first.gateway, False)
    assert {file: file.read_bytes() for file in what.state_dir.rglob("*") if file.is_file()} == before


def test_an_answer_that_was_lost_is_asked_for_again_with_the_same_request(cloud: Site) -> None:
    what = wanted(cloud, cloud.claim().text)
    first = enrol(what)
    pair = pair_in_force(what)
    request = (pair.folder / "request.der").read_bytes()
    pair.cert.unlink()
    what.config.unlink()
    assert enrol(what).gateway == first.gateway
    assert (pair_in_force(what).folder / "request.der").read_bytes() == request
    assert len(known(cloud)) == 1


@pytest.mark.parametrize("way", ["picture", "code-and-root", "code-and-file"])
def test_a_claim_is_scanned_or_typed(cloud: Site, way: str) -> None:
    claim = cloud.claim()
    file = cloud.folder / "root" / "root.pem"
    box = cloud.folder / "box"
    box.mkdir()
    given = {
        "picture": (read_claim(claim.text, "", "", None), None),
        "code-and-root": (read_claim(cloud.url, claim.code.lower().replace("-", " "), claim.fingerprint, None), None),
        "code-and-file": (read_claim(cloud.url, claim.code, "", file), file),
    }[way]
    enrol(Wanted(given[0], box / "gateway.toml", box / "state", given[1]))
    assert len(known(cloud)) == 1


def test_without_a_word_whom_to_believe_nothing_is_sent(cloud: Site) -> None:
    with pytest.raises(EnrolmentRefused, match="which cloud to believe"):
        read_claim(cloud.url, cloud.claim().code, "", None)
    with pytest.raises(EnrolmentRefused, match="64 hexadecimal digits"):
        read_claim(cloud.url, cloud.claim().code, "abc", None)
    with pytest.raises(CodeRefused, match="mistyped"):
        read_claim(cloud.url, "0000-0000-0000-0001", "00" * 32, None)


def test_S2_another_root_is_not_believed_and_the_code_not_sent(cloud: Site) -> None:
    claim = cloud.claim()
    what = wanted(cloud, claim.text)
    with pytest.raises(EnrolmentRefused, match="its root is another one"):
        enrol(what._replace(claim=Claim(claim.url, claim.code, "ab" * 32)))
    assert known(cloud) == set()
    assert not what.config.exists()
    assert enrol(what).anew


def test_S2_a_server_that_only_shows_our_root_is_not_believed(cloud: Site) -> None:
    """Somebody between the two passes on our certificates, which are no secret, and waits for the code."""
    claim = cloud.claim()
    heard: list[bytes] = []
    with _between(cloud, heard) as url, pytest.raises(LinkError, match="certificate"):
        enrol(wanted(cloud, claim.text)._replace(claim=Claim(url, claim.code, claim.fingerprint)))
    assert len(heard) == 1
    assert b"cacerts" in heard[0]
    assert not any(b"Authorization" in each for each in heard)


class _between:  # noqa: N801 - a context
    """A server with a certificate of its own that answers `cacerts` as the cloud does."""

    def __init__(self, cloud: Site, heard: list[bytes]) -> None:
        from tests.system.pki import Authority

        strangers = cloud.folder / "strangers"
        strangers.mkdir()
        cert, key = Authority(strangers).issue("localhost")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(cert, key)
        self._sock = socket.create_server(("127.0.0.1", 0))
        self._sock.settimeout(10)
        self._cloud, self._heard = cloud, heard
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> str:
        self._thread.start()
        return f"https://127.0.0.1:{self._sock.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._sock.close()
        self._thread.join(10)

    def _serve(self) -> None:
        client = est.EstClient(self._cloud.url)
        blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        body = client._ask("GET", "/.well-known/est/cacerts", client._by(blind))
        for _ in range(2):
            try:
                with self._context.wrap_socket(self._sock.accept()[0], server_side=True) as connection:
                    self._heard.append(connection.recv(65536))
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                    connection.sendall(head + body)
            except OSError:
                continue


def test_S2_an_intermediate_that_the_root_did_not_sign_is_dropped(cloud: Site) -> None:
    from tests.system.pki import Authority

    folder = cloud.folder / "strangers"
    folder.mkdir()
    stranger = x509.load_pem_x509_certificate(Authority(folder).cert.read_bytes())
    client = est.EstClient(cloud.url)
    ours = [cloud.authority.root, cloud.authority.intermediate]
    kept = client._trust([*ours, stranger], cloud.authority.fingerprint)
    assert x509.load_pem_x509_certificates(kept.encode()) == ours


@pytest.mark.parametrize("how", ["used", "expired", "guessed"])
def test_S2_a_claim_that_is_no_good_is_one_line(cloud: Site, how: str) -> None:
    at = now_ms() - 100 * HOUR_MS if how == "expired" else None
    claim = cloud.claim(at=at)
    text = claim.text
    if how == "used":
        enrol(wanted(cloud, text, "other"))
    if how == "guessed":
        text = text.replace(claim.code, "0000-0000-0000-0000")
    what = wanted(cloud, text)
    argv = [str(PROGRAM), "enrol", text, "--config", str(what.config), "--state", str(what.state_dir)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    said = {"used": "used already", "expired": "has expired", "guessed": "not known"}[how]
    last = done.stderr.splitlines()[-1]
    assert last.startswith("patrol-edge: enrolment refused: ")
    assert said in last
    assert "Traceback" not in done.stderr
    assert not what.config.exists()


def test_the_command_says_what_to_do_next(cloud: Site) -> None:
    claim = cloud.claim("gw-1")
    what = wanted(cloud, claim.text)
    argv = [str(PROGRAM), "enrol", cloud.url, "--claim", claim.code, "--root", claim.fingerprint]
    argv += ["--config", str(what.config), "--state", str(what.state_dir)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "gw-1: enrolled, certificate valid until" in done.stdout
    assert f"patrol-edge run --config {what.config}" in done.stdout
    assert claim.code not in done.stdout + done.stderr


def test_a_configuration_that_is_not_ours_is_left_alone_and_the_claim_too(cloud: Site) -> None:
    what = wanted(cloud, cloud.claim().text)
    mine = 'gateway = "gw-9"\nstate_dir = "state"\n[uplink]\nurl = "mqtt://127.0.0.1:1883"\n'
    what.config.write_text(mine)
    with pytest.raises(EnrolmentRefused, match="is there already"):
        enrol(what)
    assert what.config.read_text() == mine
    assert known(cloud) == set()


def test_a_new_claim_after_long_absence_gives_a_new_pair_and_keeps_the_rest(cloud: Site) -> None:
    first = enrolled(cloud, "gw-1")
    what = wanted(cloud, cloud.claim("gw-1").text)
    old, text = pair_in_force(what), what.config.read_text()
    what.config.write_text(f"{text}# edited by hand\n")
    assert enrol(what).gateway == first.gateway == "gw-1"
    new = pair_in_force(what)
    assert new.number == old.number + 1
    assert not old.folder.exists()
    assert what.config.read_text().endswith("# edited by hand\n")


def test_a_claim_of_another_gateway_does_not_change_this_one(cloud: Site) -> None:
    enrolled(cloud, "gw-1")
    what = wanted(cloud, cloud.claim("gw-2").text)
    old = pair_in_force(what).number
    with pytest.raises(EnrolmentRefused, match="the claim is of gw-2"):
        enrol(what)
    assert pair_in_force(what).number == old


def test_a_clock_that_was_never_set_is_said_first(cloud: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    with pytest.raises(EnrolmentRefused, match="the clock says"):
        enrol(wanted(cloud, cloud.claim().text))


def test_two_at_once_do_not_meet(cloud: Site) -> None:
    from firmware_specs.errors import ConfigError

    what = wanted(cloud, cloud.claim().text)
    with Identity(what.state_dir.absolute()).locked(), pytest.raises(ConfigError, match="under way"):
        enrol(what)


@pytest.mark.parametrize(
    "url", ["http://x", "https://", "https://u:p@x", "https://x/path", "https://x:99999", "ftp://x"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(EnrolmentRefused):
        est.EstClient(url)


def test_nobody_there_is_a_link_error(cloud: Site) -> None:
    from tests.support import free_port

    claim = cloud.claim()
    gone = Claim(f"https://127.0.0.1:{free_port()}", claim.code, claim.fingerprint)
    with pytest.raises(LinkError, match="refused"):
        enrol(wanted(cloud, claim.text)._replace(claim=gone))


def test_the_key_is_on_p256_and_never_leaves(cloud: Site) -> None:
    what = wanted(cloud, cloud.claim().text)
    enrol(what)
    key = serialization.load_pem_private_key(pair_in_force(what).key.read_bytes(), None)
    assert key.key_size == 256  # type: ignore[union-attr]
