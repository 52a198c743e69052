"""The EST listener driven by `openssl req` and `curl`, as a technician without our software would."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from cloud.alerts import service as alerts
from cloud.devices import service as devices
from cloud.devices.enrolment import service as enrolment
from cloud.org.rules import SYSTEM
from cloud.state import now_ms
from tests.enrolment.enrolment_support import (
    Listening,
    audited,
    body_of,
    certs_of,
    claim,
    curl,
    listening,
    request,
    run,
    street,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cloud.config import Config
    from cloud.db import Database

EST = "/.well-known/est"
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""What is the database's own, `test_enrolling` looks at on both."""
BASE64 = ("-H", "Content-Type: application/pkcs10", "-H", "Content-Transfer-Encoding: base64")


@pytest.fixture
def est(db: Database, configured: Callable[..., Config], tmp_path: Path) -> Iterator[Listening]:
    config = configured(est={"bind": "127.0.0.1:0"}, enrolment={"broker_url": "mqtts://127.0.0.1:8883", "tries": 8})
    with listening(db, config, tmp_path) as found:
        yield found


def fresh(db: Database, est: Listening, node: str = "/", gateway: str | None = None, location: str = "") -> str:
    made = claim(db, node, gateway, now_ms(), location=location)
    with db.begin() as tx:
        enrolment.announce(tx, est.url)
    return made.code


def openssl_request(folder: Path, name: str = "gw") -> bytes:
    """A key in a file and a request in base64, as the documented recipe makes them."""
    key, csr = folder / f"{name}-key.pem", folder / f"{name}.csr"
    made = run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
               "-keyout", key, "-subj", "/CN=anything", "-outform", "DER", "-out", csr)  # fmt: skip
    assert made.returncode == 0, made.stderr
    return run("openssl", "base64", "-in", csr).stdout


def simple_enroll(est: Listening, code: str, body: bytes, *more: str | Path) -> tuple[int, bytes]:
    return curl(est.trust, "--user", f"claim:{code}", *BASE64, "--data-binary", "@-", *more,
                f"{est.url}{EST}/simpleenroll", stdin=body)  # fmt: skip


def store(folder: Path, body: bytes, name: str = "gw") -> Path:
    """The certificate of an answer, taken out by openssl."""
    out = folder / f"{name}.pem"
    der = run("openssl", "base64", "-d", stdin=body).stdout
    made = run("openssl", "pkcs7", "-inform", "DER", "-print_certs", "-out", out, stdin=der)
    assert made.returncode == 0, made.stderr
    return out


def test_enrolment_by_openssl_req_and_curl_succeeds_S2(db: Database, est: Listening, tmp_path: Path) -> None:
    with db.begin() as tx:
        node = street(tx)
    code = fresh(db, est, node=node, gateway="gw-17", location="Stair 3")
    status, body = curl(est.trust, f"{est.url}{EST}/cacerts")
    assert status == 200
    assert {each.subject for each in certs_of(body)} == {est.authority.root.subject, est.authority.intermediate.subject}

    status, body = simple_enroll(est, code, openssl_request(tmp_path))
    assert status == 200, body
    cert = store(tmp_path, body)
    said = run("openssl", "x509", "-in", cert, "-noout", "-subject", "-nameopt", "RFC2253").stdout.decode()
    assert said.strip() == "subject=CN=gw-17,OU=gateways,O=PatrolGrid test"
    chain = tmp_path / "authority" / "intermediate.pem"
    verified = run("openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", est.trust,
                   "-untrusted", chain, cert)  # fmt: skip
    assert verified.returncode == 0, verified.stderr + verified.stdout

    with db.read() as tx:
        found = devices.get_gateway(tx, SYSTEM, "gw-17")
        assert (found.id, found.location) == ("gw-17", "Stair 3")
    mine = ("--cert", cert, "--key", tmp_path / "gw-key.pem")
    status, body = curl(est.trust, *mine, f"{est.url}/.well-known/patrolgrid/bootstrap")
    assert status == 200, body
    told = json.loads(body)
    assert set(told) == {
        "gateway", "node", "broker_url", "broker_ca", "update_root", "metadata_url", "targets_url", "config",
        "config_version", "time_ms",
    }  # fmt: skip
    assert (told["gateway"], told["node"], told["broker_url"]) == ("gw-17", node, "mqtts://127.0.0.1:8883")
    assert est.authority.root in x509.load_pem_x509_certificates(told["broker_ca"].encode())


@on_sqlite
def test_a_used_claim_is_refused_with_alarm_and_audit_S2(db: Database, est: Listening, tmp_path: Path) -> None:
    code = fresh(db, est)
    assert simple_enroll(est, code, openssl_request(tmp_path))[0] == 200
    status, body = simple_enroll(est, code, openssl_request(tmp_path, "other"))
    assert (status, body) == (403, b"the claim was used already; ask for a new one\n")
    assert [detail.split()[0] for _, detail in audited(db, "claim.refused")] == ["used"]
    with db.read() as tx:
        assert alerts.active_kinds(tx, [""]) == {("", "claim:1"): ["claim-reused"]}
        assert enrolment.get_claim(tx, SYSTEM, 1, now_ms()).reused == 1


@on_sqlite
def test_guessed_expired_withdrawn_and_foreign_claims_are_refused_S2(
    db: Database, est: Listening, tmp_path: Path
) -> None:  # fmt: skip
    body = openssl_request(tmp_path)
    assert simple_enroll(est, "0000-0000-0000-0000", body) == (401, b"the claim is not known here\n")
    assert simple_enroll(est, "not a code", body) == (401, b"the claim is not known here\n")
    old = claim(db, at=now_ms() - 600_000, minutes=5).code
    assert simple_enroll(est, old, body) == (403, b"the claim has expired; ask for a new one\n")
    gone = claim(db, at=now_ms())
    with db.begin() as tx:
        enrolment.revoke_claim(tx, SYSTEM, gone.id, now_ms())
    assert simple_enroll(est, gone.code, body) == (403, b"the claim was withdrawn; ask for a new one\n")
    assert simple_enroll(est, fresh(db, est, gateway="gw-a"), body)[0] == 200
    foreign = fresh(db, est, gateway="gw-b")
    assert simple_enroll(est, foreign, body) == (403, b"the claim is not for this gateway\n")
    said = [detail.split()[0] for _, detail in audited(db, "claim.refused")]
    assert said == ["unknown", "unknown", "expired", "revoked", "foreign"]
    with db.read() as tx:
        assert devices.known_gateways(tx) == {"gw-a"}
    assert simple_enroll(est, foreign, openssl_request(tmp_path, "b"))[0] == 200  # a refusal uses nothing up


@on_sqlite
def test_what_cannot_be_read_is_refused_in_one_line(db: Database, est: Listening, tmp_path: Path) -> None:
    code = fresh(db, est)
    where = f"{est.url}{EST}/simpleenroll"
    assert curl(est.trust, "--data-binary", "@-", where, stdin=b"x")[0] == 401
    assert simple_enroll(est, code, b"%%%") == (400, b"request: not base64\n")
    assert simple_enroll(est, code, b"AAAA")[0] == 400
    assert simple_enroll(est, code, b"A" * 40_000)[0] == 413
    assert simple_enroll(est, code, b"", "-H", "Transfer-Encoding: chunked")[0] == 411
    assert curl(est.trust, where)[0] == 405
    assert curl(est.trust, f"{est.url}/")[0] == 404
    weak = run("openssl", "req", "-new", "-newkey", "rsa:1024", "-nodes", "-keyout", tmp_path / "w", "-subj", "/CN=w")
    status, said = simple_enroll(est, code, weak.stdout)
    assert (status, said) == (400, b"request: an RSA key of 1024 bits; 2048 to 4096 are accepted\n")
    assert simple_enroll(est, code, openssl_request(tmp_path))[0] == 200


@on_sqlite
def test_too_many_tries_from_one_address_are_put_off_S2(db: Database, est: Listening, tmp_path: Path) -> None:
    body = openssl_request(tmp_path)
    for _ in range(8):
        assert simple_enroll(est, "0000-0000-0000-0000", body)[0] == 401
    status, said = simple_enroll(est, fresh(db, est), body)
    assert status == 429
    assert said.startswith(b"too many failed enrolments; again in ")
    assert len(audited(db, "claim.refused")) == 8


@on_sqlite
def test_renewal_needs_the_gateways_certificate_and_keeps_its_name(
    db: Database, est: Listening, tmp_path: Path
) -> None:
    status, body = simple_enroll(est, fresh(db, est, gateway="gw.1"), openssl_request(tmp_path))
    assert status == 200
    mine = ("--cert", store(tmp_path, body), "--key", tmp_path / "gw-key.pem")
    where = f"{est.url}{EST}/simplereenroll"
    wanted = openssl_request(tmp_path, "next")
    assert curl(est.trust, *BASE64, "--data-binary", "@-", where, stdin=wanted) == (
        401, b"a client certificate is needed\n",
    )  # fmt: skip
    status, body = curl(est.trust, *mine, *BASE64, "--data-binary", "@-", where, stdin=wanted)
    assert status == 200, body
    before, after = x509.load_pem_x509_certificate((tmp_path / "gw.pem").read_bytes()), certs_of(body)[0]
    assert after.subject == before.subject
    assert after.public_key() != before.public_key()
    again = curl(est.trust, *mine, *BASE64, "--data-binary", "@-", where, stdin=wanted)
    assert certs_of(again[1]) == [after]  # the answer was lost: the same once more

    with db.begin() as tx:
        assert enrolment.revoke_gateway(tx, SYSTEM, "gw.1", now_ms()).certificates == 2
    for path in (f"{EST}/simplereenroll", "/.well-known/patrolgrid/bootstrap"):
        sent = ("--data-binary", "@-") if "est" in path else ()
        status, said = curl(est.trust, *mine, *sent, f"{est.url}{path}", stdin=wanted)
        assert (status, said) == (403, b"certificate: that of gw.1 is revoked; a new claim is needed\n")


@on_sqlite
def test_a_certificate_of_another_authority_ends_the_handshake(est: Listening, tmp_path: Path) -> None:
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-keyout", tmp_path / "k", "-out", tmp_path / "c", "-subj", "/CN=gw-1")  # fmt: skip
    status, _ = curl(est.trust, "--cert", tmp_path / "c", "--key", tmp_path / "k",
                     f"{est.url}/.well-known/patrolgrid/bootstrap")  # fmt: skip
    assert status == 0


@on_sqlite
def test_a_server_certificate_cannot_pass_for_a_gateways(est: Listening, tmp_path: Path) -> None:
    files = tmp_path / "authority" / "servers"
    status, _ = curl(est.trust, "--cert", files / "est.pem", "--key", files / "est-key.pem",
                     f"{est.url}/.well-known/patrolgrid/bootstrap")  # fmt: skip
    assert status == 0


@on_sqlite
def test_a_lost_answer_is_given_again_to_the_same_key_only(db: Database, est: Listening) -> None:
    csr, key = request()
    code = fresh(db, est)
    first = simple_enroll(est, code, body_of(csr))
    assert first[0] == 200
    again = simple_enroll(est, code.lower().replace("-", " "), body_of(request(key, "other words")[0]))
    assert (again[0], certs_of(again[1])) == (200, certs_of(first[1]))
    assert [target for target, _ in audited(db, "claim.use")] == ["claim/1"]


@on_sqlite
def test_the_listeners_certificate_is_checked_by_the_root_alone(est: Listening) -> None:
    port = est.url.rpartition(":")[2]
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", str(est.trust), "-verify_return_error",
         "-verify_ip", "127.0.0.1"], input=b"", capture_output=True, timeout=20, check=False,
    )  # fmt: skip
    assert b"Verify return code: 0 (ok)" in done.stdout
