"""The authority: what it issues, what openssl and Python make of it, and how its keys are kept."""

from __future__ import annotations

import base64
import ipaddress
import os
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from cloud.devices.enrolment import csr, hsm, keys, making, serving
from cloud.devices.enrolment.authority import FOLDER, Authority, common_name, when
from cloud.errors import Invalid
from firmware_specs.errors import ConfigError, StoreError
from tests.cloud.cloud_support import NOW
from tests.enrolment.enrolment_support import make_authority, request, run

if TYPE_CHECKING:
    from collections.abc import Callable

SOFTHSM = [path for path in Path("/usr/lib").glob("**/libsofthsm2.so") if path.is_file()]
AT = str(NOW // 1000)
DAY = 86_400_000


def verify(folder: Path, *certs: x509.Certificate, purpose: str = "sslclient", more: tuple[str, ...] = ()) -> str:
    """What `openssl verify` says; empty when all is well."""
    leaf = folder / "leaf.pem"
    leaf.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in certs))
    files = making.paths_of(folder / FOLDER)
    done = run("openssl", "verify", "-attime", AT, "-x509_strict", "-purpose", purpose, "-CAfile", files.root,
               "-untrusted", files.intermediate, *more, leaf)  # fmt: skip
    return (done.stderr + done.stdout).decode() if done.returncode else ""


@pytest.mark.parametrize("name", ["gw-1", "gw.1.example", "GW_1:a", "x" * 64])
def test_openssl_takes_a_gateways_certificate_whatever_its_name(
    authority: Authority, tmp_path: Path, name: str
) -> None:
    made = authority.issue_gateway(request()[0], name, at=when(NOW))
    assert common_name(made) == name
    assert verify(tmp_path, made) == ""
    assert "unsuitable" in verify(tmp_path, made, purpose="sslserver")


def test_openssl_takes_a_servers_certificate_for_its_hosts_only(tmp_path: Path) -> None:
    authority = make_authority(tmp_path, "broker.example", "10.1.2.3")
    made, _ = authority.issue_server("broker", ["mqtt.broker.example", "10.1.2.3", "::1"], at=when(NOW))
    for shown in (("-verify_hostname", "mqtt.broker.example"), ("-verify_ip", "10.1.2.3")):
        assert verify(tmp_path, made, purpose="sslserver", more=shown) == ""
    assert "mismatch" in verify(tmp_path, made, purpose="sslserver", more=("-verify_hostname", "other.example"))
    for host in ("evil.example", "10.1.2.4", "broker.example.evil.example", "*.broker.example"):
        with pytest.raises(Invalid, match=r"may issue for .*broker\.example"):
            authority.issue_server("broker", [host])


def forged(
    signer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey], subject: x509.Name, *names: x509.GeneralName,
    ca: bool = False,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:  # fmt: skip
    """What a thief of a signer's key would make."""
    issuer, signing = signer
    key = ec.generate_private_key(ec.SECP256R1())
    made = making.base(subject, issuer.subject, key.public_key(), when(NOW), when(NOW + 30 * DAY))
    made = made.add_extension(making.identifier(issuer), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    made = made.add_extension(making.usage(ca=ca), critical=True)
    if names:
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return made.sign(signing, hashes.SHA256()), key


def test_the_intermediates_constraints_hold_for_a_thief_of_its_key(authority: Authority, tmp_path: Path) -> None:
    thief = (authority.intermediate, authority.key)
    mine = making.subject("PatrolGrid test", making.SERVERS, name="s")
    other = making.subject("PatrolGrid elsewhere", making.GATEWAYS, name="gw-1")
    unit = making.subject("PatrolGrid test", "administrators", name="gw-1")
    for subject, names in (
        (other, ()), (unit, ()), (mine, (x509.DNSName("bank.example"),)),
        (mine, (x509.IPAddress(ipaddress.ip_address("8.8.8.8")),)),
    ):  # fmt: skip
        assert "permitted subtree violation" in verify(tmp_path, forged(thief, subject, *names)[0], purpose="any")
    assert verify(tmp_path, forged(thief, mine, x509.DNSName("localhost"))[0], purpose="any") == ""


def test_the_intermediate_makes_no_further_authority(authority: Authority, tmp_path: Path) -> None:
    names = making.subject("PatrolGrid test", making.SERVERS, name="s")
    below = forged((authority.intermediate, authority.key), names, x509.DNSName("localhost"), ca=True)
    leaf, _ = forged(below, names, x509.DNSName("localhost"))
    more = ("-untrusted", str(tmp_path / "leaf.pem"))
    assert "path length constraint exceeded" in verify(tmp_path, leaf, below[0], purpose="any", more=more)


def test_python_connects_by_the_chain_and_shows_its_own(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.load_verify_locations(cadata=authority.chain_pem())
    assert len(trusting.get_ca_certs()) == 2
    files = serving.write(authority, tmp_path / "servers", "broker", ["localhost"], when(NOW))
    assert len(x509.load_pem_x509_certificates(files.chain.read_bytes())) == 2
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.chain, files.key)
    assert files.key.stat().st_mode & 0o777 == 0o600


def test_a_servers_certificate_is_kept_until_a_third_of_its_life_is_left(authority: Authority, tmp_path: Path) -> None:
    folder, day = tmp_path / FOLDER / "servers", DAY
    first = serving.ensure(authority, folder, "est", ["localhost"], when(NOW)).chain.read_bytes()
    kept = serving.ensure(authority, folder, "est", ["localhost"], when(NOW + 240 * day))
    assert kept.chain.read_bytes() == first
    assert serving.ensure(authority, folder, "est", ["localhost"], when(NOW + 250 * day)).chain.read_bytes() != first
    second = kept.chain.read_bytes()
    serving.ensure(authority, folder, "est", ["localhost", "127.0.0.1"], when(NOW + 250 * day))
    assert kept.chain.read_bytes() != second


def test_openssl_refuses_what_the_list_names_and_nothing_else_S3(authority: Authority, tmp_path: Path) -> None:
    gone, good = (authority.issue_gateway(request()[0], name, at=when(NOW)) for name in ("gone", "good"))
    crl = tmp_path / "crl.pem"
    crl.write_bytes(authority.crl({gone.serial_number: NOW}, NOW))
    check = ("-crl_check", "-CRLfile", str(crl))
    assert "certificate revoked" in verify(tmp_path, gone, more=check)
    assert verify(tmp_path, good, more=check) == ""
    found = x509.load_pem_x509_crl(crl.read_bytes())
    assert found.last_update_utc == when(NOW)
    assert found.next_update_utc == authority.intermediate.not_valid_after_utc  # a list that ran out locks out nobody


def test_a_certificate_ends_with_the_intermediate_at_the_latest(authority: Authority) -> None:
    late = authority.intermediate.not_valid_after_utc.timestamp() * 1000 - 86_400_000
    made = authority.issue_gateway(request()[0], "gw-1", at=when(round(late)), days=90)
    assert made.not_valid_after_utc == authority.intermediate.not_valid_after_utc


@pytest.mark.parametrize(("name", "mode"), [("intermediate-key.pem", 0o640), (".", 0o755)])
def test_a_key_that_others_read_is_refused_naming_file_and_mode(
    authority: Authority, tmp_path: Path, name: str, mode: int
) -> None:  # fmt: skip
    path = tmp_path / FOLDER / name
    path.chmod(mode)
    with pytest.raises(ConfigError, match=rf"{path.resolve()}.*mode {mode:04o} lets others read"):
        Authority.load(tmp_path / FOLDER)


def test_an_authority_is_never_written_over_and_a_root_is_used_again(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is an authority already"):
        making.make_intermediate(tmp_path / "root", tmp_path / FOLDER, (), when(NOW))
    (tmp_path / FOLDER).rename(tmp_path / "before")
    again = make_authority(tmp_path, site="ignored")
    assert (again.root, again.organisation) == (authority.root, authority.organisation)
    assert again.intermediate != authority.intermediate


def renewed(tmp_path: Path, *hosts: str, at: int, key: str = "file") -> Authority:
    making.renew_intermediate(tmp_path / "root", tmp_path / FOLDER, hosts, when(at))
    return Authority.load(tmp_path / FOLDER, key, "1234")


def test_a_renewed_intermediate_keeps_what_was_issued_and_issues_for_more_hosts(tmp_path: Path) -> None:
    first = make_authority(tmp_path, "one.example")
    old = first.issue_gateway(request()[0], "gw-1", at=when(NOW))
    again = renewed(tmp_path, "two.example", "10.0.0.7", at=NOW + DAY)
    last = renewed(tmp_path, at=NOW + 2 * DAY)  # the same month: its name is another all the same
    assert last.issuers == (last.intermediate, again.intermediate, first.intermediate)
    assert len({each.subject for each in last.issuers}) == 3
    assert len(x509.load_pem_x509_certificates(last.chain_pem().encode())) == 4
    new, _ = last.issue_server("s", ["one.example", "two.example", "10.0.0.7"], at=when(NOW + 2 * DAY))
    (tmp_path / "chain.pem").write_text(last.chain_pem())
    crl = tmp_path / "crl.pem"
    for revoked, said in (({}, ""), ({old.serial_number: NOW, new.serial_number: NOW}, "certificate revoked")):
        crl.write_bytes(last.crl(revoked, NOW + 2 * DAY))
        for cert in (old, new):
            (tmp_path / "leaf.pem").write_bytes(cert.public_bytes(Encoding.PEM))
            done = run("openssl", "verify", "-attime", str((NOW + 2 * DAY) // 1000), "-x509_strict", "-crl_check",
                       "-CRLfile", crl, "-CAfile", tmp_path / "chain.pem", tmp_path / "leaf.pem")  # fmt: skip
            assert (said in done.stderr.decode(), done.returncode == 0) == (True, not said), done


def test_a_client_that_trusts_the_intermediate_of_before_is_served_after_its_end(tmp_path: Path) -> None:
    """What a gateway was given at its enrolment it keeps for ever: the root, and the intermediate of that time."""
    first = make_authority(tmp_path)
    (tmp_path / "given.pem").write_text(first.chain_pem())
    after = NOW + (making.INTERMEDIATE_DAYS + 1) * DAY
    authority = renewed(tmp_path, at=NOW + 3000 * DAY)
    made, _ = authority.issue_server("broker", ["localhost"], at=when(after))
    (tmp_path / "sent.pem").write_bytes(
        b"".join(each.public_bytes(Encoding.PEM) for each in (made, authority.intermediate))
    )
    done = run("openssl", "verify", "-attime", str(after // 1000), "-x509_strict", "-CAfile", tmp_path / "given.pem",
               "-untrusted", tmp_path / "sent.pem", tmp_path / "sent.pem")  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_only_its_own_root_renews_an_intermediate_and_it_ends_with_the_root(tmp_path: Path) -> None:
    make_authority(tmp_path)
    making.make_root(tmp_path / "other", "test", when(NOW))
    with pytest.raises(ConfigError, match=r"other/root\.pem: is not the root of .*intermediate\.pem"):
        making.renew_intermediate(tmp_path / "other", tmp_path / FOLDER, (), when(NOW))
    shutil.copy(tmp_path / "other" / making.ROOT_KEY, tmp_path / "root" / making.ROOT_KEY)
    with pytest.raises(ConfigError, match=r"root-key\.pem is another root's"):
        renewed(tmp_path, at=NOW)
    (tmp_path / "root" / making.ROOT_KEY).unlink()
    with pytest.raises(ConfigError, match=r"root-key\.pem"):
        renewed(tmp_path, at=NOW)
    assert making.make_root(tmp_path / "root", "test", when(NOW)) == Authority.load(tmp_path / FOLDER).root
    shutil.rmtree(tmp_path / FOLDER)
    root = making.make_root(tmp_path / "other", "test", when(NOW))
    late = when(NOW + 5000 * DAY)
    made = making.make_intermediate(tmp_path / "other", tmp_path / FOLDER, (), late)
    assert made.not_valid_after_utc == root.not_valid_after_utc


@pytest.mark.parametrize("site", ["", "s" * 41, "街" * 14, "a\nb"])
def test_a_site_that_does_not_fit_is_one_line(tmp_path: Path, site: str) -> None:
    with pytest.raises(ConfigError, match="is not a name of 1 to 40 bytes"):
        making.make_root(tmp_path / "root", site, when(NOW))


@pytest.mark.parametrize("site", ["s" * 40, "街" * 13])
def test_the_longest_site_fits(tmp_path: Path, site: str) -> None:
    assert make_authority(tmp_path, site=site).organisation == f"PatrolGrid {site}"


def test_a_key_of_another_authority_is_noticed(authority: Authority, tmp_path: Path) -> None:
    keys.write(tmp_path / FOLDER / "intermediate-key.pem", keys.pem_of(keys.new_key()))
    with pytest.raises(ConfigError, match="its key is another one"):
        Authority.load(tmp_path / FOLDER)
    (tmp_path / FOLDER / "intermediate.pem").unlink()
    with pytest.raises(ConfigError, match="authority init"):
        Authority.load(tmp_path / FOLDER)
    assert authority.organisation == "PatrolGrid test"


def encoded(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM)


def test_keys_of_other_kinds_and_forged_requests_are_refused_S2() -> None:
    assert csr.read(encoded(ec.generate_private_key(ec.SECP384R1()))).is_signature_valid
    assert csr.read(encoded(rsa.generate_private_key(65537, 2048))).is_signature_valid
    with pytest.raises(csr.CsrRefused, match="a key on secp521r1"):
        csr.read(encoded(ec.generate_private_key(ec.SECP521R1())))
    der = bytearray(x509.load_pem_x509_csr(encoded(ec.generate_private_key(ec.SECP256R1()))).public_bytes(Encoding.DER))
    der[-1] ^= 1
    with pytest.raises(csr.CsrRefused, match=r"is not by its key|can be read"):
        csr.read(base64.b64encode(der))


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """A function that names a key of a fresh software token."""
    if not SOFTHSM or shutil.which("softhsm2-util") is None:
        pytest.skip("softhsm2 is not installed: the authority's key in a token is not tested")
    pytest.importorskip("pkcs11", reason="python-pkcs11 (extra hsm) is not installed")
    (tmp_path / "tokens").mkdir()
    conf = tmp_path / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {tmp_path / 'tokens'}\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(conf))
    label = f"patrol-{os.getpid()}"
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", "1234", "--so-pin", "4321"],
        check=True, capture_output=True, timeout=20,
    )  # fmt: skip
    return lambda name: f"pkcs11:token={label};object={name}?module-path={SOFTHSM[0]}"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the library's, of the session's end
def test_the_intermediates_key_may_live_in_a_token(token: Callable[[str], str], tmp_path: Path) -> None:
    address = token("intermediate")
    with pytest.raises(ConfigError, match=r"token patrol-\d+ has no key intermediate; `patrol-cloud authority init`"):
        hsm.find(address, "1234")
    key = hsm.find_or_make(address, "1234")
    making.make_root(tmp_path / "root", "test", when(NOW))
    making.make_intermediate(tmp_path / "root", tmp_path / FOLDER, (), when(NOW), key)
    assert not (tmp_path / FOLDER / "intermediate-key.pem").exists()
    authority = Authority.load(tmp_path / FOLDER, address, "1234")
    made = authority.issue_gateway(request()[0], "gw-1", at=when(NOW))
    assert verify(tmp_path, made) == ""
    crl = x509.load_pem_x509_crl(authority.crl({made.serial_number: NOW}, NOW))
    assert crl.is_signature_valid(authority.intermediate.public_key())  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match="stays in its token"):
        keys.pem_of(key)
    key._session.close()  # as when the token went away and came back
    with pytest.raises(StoreError, match=r"^token patrol-\d+: intermediate: "):
        authority.issue_gateway(request()[0], "gw-1", at=when(NOW))
    again = renewed(tmp_path, at=NOW, key=address)
    assert verify(tmp_path, again.issue_gateway(request()[0], "gw-1", at=when(NOW))) == ""


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("pkcs11:token=a;object=b", "no module-path"), ("pkcs11:object=b?module-path=/x", "no token")],
)
def test_an_address_of_a_key_without_a_part_is_named(text: str, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        hsm.parse(text)
