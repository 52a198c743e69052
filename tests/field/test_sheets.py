"""Acceptance sheets: what they say, who signs them, and that anybody can verify them with openssl (S1)."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from cloud.devices.enrolment.authority import key_hash, serial_of
from cloud.devices.enrolment.store import certificates
from cloud.devices.field import paper, rules, service
from cloud.devices.field.models import NewSheet, NewWalk, Replacement
from cloud.devices.field.paper import Part
from cloud.errors import Conflict, NotFound
from edge.binding import make_plan
from edge.remote import CommandFailed, Tell
from edge.sign import kind
from firmware_specs.wire_fleet import Command
from tests.cloud.cloud_support import NOW
from tests.field.field_support import ONE_DATABASE, SigningGateway, configure, press, site, technician, tick

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

    from cloud.db import Database
    from cloud.devices.field.models import SheetView

TECH = technician()
ZONE = "Asia/Shanghai"
HOSTILE = "<script>alert(1)</script>"


def make(db: Database, now: int = NOW + 120_000, note: str = "") -> SheetView:
    with db.begin() as tx:
        return service.make_sheet(tx, TECH, NewSheet(gateway="gw-1", note=note), now, ZONE)


def get(db: Database, sheet: int) -> SheetView:
    with db.read() as tx:
        return service.get_sheet(tx, TECH, sheet)


def walked(db: Database, *pressed: str) -> None:
    with db.begin() as tx:
        walk = service.start_walk(tx, TECH, NewWalk(gateway="gw-1"), NOW)
    for n, device in enumerate(pressed):
        press(db, device, NOW + 5000 * (n + 1))
    with db.begin() as tx:
        service.end_walk(tx, TECH, walk.id, NOW + 100_000)


def signed_sheet(db: Database) -> tuple[SheetView, SigningGateway]:
    sheet = make(db, note=HOSTILE)
    gateway = SigningGateway()
    (command,) = gateway.waiting(db, "sign")
    gateway.answer(db, command, gateway.signed(command), now=NOW + 121_000)
    tick(db, NOW + 122_000)
    return get(db, sheet.id), gateway


def test_a_sheet_says_what_passed_and_what_is_missing(db: Database) -> None:
    site(db, "smk-1", "smk-2")
    walked(db, "smk-1")
    sheet = make(db)
    assert not sheet.complete
    with db.read() as tx:
        data = json.loads(service.archived(tx, TECH, sheet.id).data)
    assert data["missing"] == ["smk-2"]
    assert {each["id"]: each["mark"] for each in data["devices"]} == {"smk-1": "passed", "smk-2": "waiting"}
    assert data["made_at"].endswith("+08:00")
    assert data["site"]["zh"] == "楼"


def test_what_was_replaced_since_the_walk_is_untested(db: Database) -> None:
    site(db, "smk-1", "smk-2")
    walked(db, "smk-1", "smk-2")
    configure(db)
    with db.begin() as tx:
        service.replace(tx, TECH, "gw-1", "smk-1", Replacement(address="sensors/other"), NOW + 110_000)
    sheet = make(db)
    with db.read() as tx:
        data = json.loads(service.archived(tx, TECH, sheet.id).data)
    assert (data["complete"], data["missing"]) == (False, ["smk-1"])


def test_no_device_is_left_out_of_a_sheet_however_many_there_are(db: Database) -> None:
    site(db, *(f"smk-{n}" for n in range(1001)))
    sheet = make(db)
    with db.read() as tx:
        assert len(json.loads(service.archived(tx, TECH, sheet.id).data)["missing"]) == 1001


def test_no_sheet_while_the_walk_is_under_way(db: Database) -> None:
    site(db, "smk-1")
    with db.begin() as tx:
        service.start_walk(tx, TECH, NewWalk(gateway="gw-1"), NOW)
    with pytest.raises(Conflict):
        make(db)


def test_a_signature_is_verified_stored_and_never_changes(db: Database) -> None:
    site(db, "smk-1")
    walked(db, "smk-1")
    sheet, _ = signed_sheet(db)
    assert (sheet.state, sheet.complete, len(sheet.fingerprint)) == ("signed", True, 64)
    with pytest.raises(Conflict), db.begin() as tx:
        service.sign_sheet(tx, TECH, sheet.id, NOW)
    with db.read() as tx:
        archived = service.archived(tx, TECH, sheet.id)
        assert hashlib.sha256(archived.data).hexdigest() == sheet.digest
        with pytest.raises(NotFound):
            service.archived(tx, technician("/999/"), sheet.id)


@pytest.mark.parametrize("forgery", ["another sheet", "another gateway", "nonsense"])
def test_what_is_no_signature_of_this_sheet_leaves_it_unsigned(db: Database, forgery: str) -> None:
    site(db, "smk-1")
    sheet = make(db)
    gateway = SigningGateway("gw-2" if forgery == "another gateway" else "gw-1")
    (command,) = SigningGateway().waiting(db, "sign")
    answer = "{}"
    if forgery == "another sheet":
        other = Command(command.id, "sign", NOW, NOW, {"sheet": "999", "sha256": "0" * 64})
        answer = gateway.signed(other)
    elif forgery == "another gateway":
        answer = gateway.signed(command)
    SigningGateway().answer(db, command, answer, now=NOW + 121_000)
    tick(db, NOW + 122_000)
    after = get(db, sheet.id)
    assert after.state == "unsigned"
    assert after.reason


def test_a_time_that_no_clock_tells_leaves_it_unsigned_D8(db: Database) -> None:
    site(db, "smk-1")
    sheet = make(db)
    gateway = SigningGateway()
    (command,) = gateway.waiting(db, "sign")
    gateway.answer(db, command, gateway.signed(command, at_ms=2**63), now=NOW + 121_000)
    tick(db, NOW + 122_000)
    assert get(db, sheet.id).state == "unsigned"


@pytest.mark.parametrize(
    ("shown", "state", "reason"),
    [
        ("given", "signed", ""),
        ("revoked", "unsigned", "revoked"),
        ("expired", "unsigned", "expired"),
        ("forged", "unsigned", "not one that a gateway was given"),
    ],
)
def test_an_enrolled_gateway_signs_only_by_a_certificate_in_force_S1(
    db: Database, shown: str, state: str, reason: str
) -> None:
    site(db, "smk-1")
    sheet = make(db)
    gateway = SigningGateway()
    # The forgery has the name and the serial number of what was given, and another key.
    given_one = SigningGateway() if shown == "forged" else gateway
    given(db, given_one.certificate, revoked=shown == "revoked", expired=shown == "expired")
    (command,) = gateway.waiting(db, "sign")
    gateway.answer(db, command, gateway.signed(command), now=NOW + 121_000)
    tick(db, NOW + 122_000)
    after = get(db, sheet.id)
    assert after.state == state
    assert reason in after.reason


def given(db: Database, certificate: x509.Certificate, *, revoked: bool, expired: bool) -> None:
    """Enrolment gave a certificate to gw-1."""
    row = {
        "serial": serial_of(certificate), "gateway": "gw-1", "claim": None, "key": key_hash(certificate.public_key()),
        "issued_at": 1, "not_before": 1, "not_after": NOW if expired else 2 * NOW,
        "pem": certificate.public_bytes(Encoding.PEM).decode(), "revoked_at": NOW if revoked else None,
        "revoked_by": "", "reason": "",
    }  # fmt: skip
    with db.begin() as tx:
        tx.execute(certificates.insert().values(row))


def test_a_gateway_without_a_key_leaves_it_unsigned_and_may_be_asked_again(db: Database) -> None:
    site(db, "smk-1")
    sheet = make(db)
    gateway = SigningGateway()
    (command,) = gateway.waiting(db, "sign")
    gateway.answer(db, command, reason="this gateway has no key: it is not enrolled", now=NOW + 121_000)
    tick(db, NOW + 122_000)
    after = get(db, sheet.id)
    assert (after.state, after.reason) == ("unsigned", "this gateway has no key: it is not enrolled")
    with db.read() as tx:
        assert "未签名" in paper.paper(service.archived(tx, TECH, sheet.id))
    with db.begin() as tx:
        assert service.sign_sheet(tx, TECH, sheet.id, NOW + 200_000).state == "signing"
    (again,) = [each for each in gateway.waiting(db, "sign") if each.id != command.id]
    gateway.answer(db, again, gateway.signed(again), now=NOW + 201_000)
    tick(db, NOW + 202_000)
    assert get(db, sheet.id).state == "signed"


def test_a_gateway_that_never_answers_leaves_it_unsigned_D11(db: Database) -> None:
    site(db, "smk-1")
    sheet = make(db)
    tick(db, NOW + 3_600_000)
    after = get(db, sheet.id)
    assert after.state == "unsigned"
    assert after.reason


@ONE_DATABASE
def test_anybody_verifies_it_with_openssl(db: Database, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    assert openssl, "openssl is not installed"
    site(db, "smk-1")
    walked(db, "smk-1")
    sheet, _ = signed_sheet(db)
    with db.read() as tx:
        archived = service.archived(tx, TECH, sheet.id)
    for part in (Part.JSON, Part.TXT, Part.SIG, Part.PEM):
        (tmp_path / f"s.{part}").write_bytes(bytes(paper.file(archived, part).body))
    assert hashlib.sha256((tmp_path / "s.json").read_bytes()).hexdigest() in (tmp_path / "s.txt").read_text()
    key = subprocess.run(
        [openssl, "x509", "-pubkey", "-noout", "-in", "s.pem"], cwd=tmp_path, capture_output=True, check=True
    )
    (tmp_path / "key.pem").write_bytes(key.stdout)
    verify = [openssl, "dgst", "-sha256", "-verify", "key.pem", "-signature", "s.sig", "s.txt"]
    assert b"Verified OK" in subprocess.run(verify, cwd=tmp_path, capture_output=True, check=True).stdout
    (tmp_path / "s.txt").write_bytes((tmp_path / "s.txt").read_bytes().replace(b"sheet", b"shee7"))
    assert subprocess.run(verify, cwd=tmp_path, capture_output=True, check=False).returncode != 0


@ONE_DATABASE
def test_on_paper_everything_from_outside_is_text(db: Database) -> None:
    site(db, "smk-1")
    walked(db, "smk-1")
    sheet, _ = signed_sheet(db)
    with db.read() as tx:
        archived = service.archived(tx, TECH, sheet.id)
    html = paper.paper(archived)
    assert HOSTILE not in html
    assert "&lt;script&gt;" in html
    assert "全部通过 All passed" in html
    assert archived.signature in html
    assert bytes(paper.file(archived, Part.PDF).body).startswith(b"%PDF")


def gateway_file(folder: Path, *, key: bool) -> Path:
    path = folder / "gateway.toml"
    tls = f'\nca = "{folder}/c.pem"\ncert = "{folder}/c.pem"\nkey = "{folder}/k.pem"' if key else ""
    url = "mqtts://127.0.0.1" if key else "mqtt://127.0.0.1"
    path.write_text(f'gateway = "gw-1"\nstate_dir = "{folder}"\n[uplink]\nurl = "{url}"{tls}\n')
    return path


def run_sign(path: Path, **arguments: str) -> str:
    import asyncio

    class Agent:
        plan = make_plan(path)

    told: list[str] = []
    command = Command("c1", "sign", NOW, NOW, arguments)
    asyncio.run(kind(Agent())(command, Tell(lambda _, text: told.append(text))))  # type: ignore[arg-type]
    return told[0]


def test_the_gateway_signs_a_statement_of_its_own_and_nothing_else(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    from cloud.devices.field import signing

    gateway = SigningGateway()
    pem = gateway.certificate.public_bytes(serialization.Encoding.PEM)
    (tmp_path / "c.pem").write_bytes(pem)
    secret = gateway.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "k.pem").write_bytes(secret)
    path = gateway_file(tmp_path, key=True)
    answer = signing.read(run_sign(path, sheet="7", sha256="ab" * 32))
    assert answer is not None
    said = rules.statement("gw-1", "7", "ab" * 32, answer.at_ms)
    assert signing.fault(answer, said, "gw-1") == ""
    for wrong in ({"sheet": "7\nx", "sha256": "ab" * 32}, {"sheet": "7", "sha256": "short"}, {}):
        with pytest.raises(CommandFailed):
            run_sign(path, **wrong)


def test_a_gateway_that_is_not_enrolled_says_so(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="not enrolled"):
        run_sign(gateway_file(tmp_path, key=False), sheet="7", sha256="ab" * 32)
