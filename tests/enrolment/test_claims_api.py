"""Claims over the API, the console's pages and the command line, and the listener as a part of the service."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import sys
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from cloud.__main__ import app
from cloud.app import Role
from cloud.devices import service as devices
from cloud.devices.enrolment import listener, making, service
from cloud.devices.enrolment.authority import FOLDER, now
from cloud.devices.enrolment.store import est_address
from cloud.devices.settings import EstConfig
from cloud.errors import Conflict, Invalid
from cloud.org.rules import SYSTEM
from cloud.org.rules import Role as UserRole
from cloud.serve import run as serve_until
from cloud.state import now_ms
from firmware_specs.claims import parse
from firmware_specs.errors import ConfigError, LinkError
from tests.cloud.cloud_support import Served, wait_for
from tests.enrolment.enrolment_support import URL, certs_of, claim, curl, make_authority, request, run, street, use
from tests.support import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from httpx import Client

    from cloud.config import Config
    from cloud.devices.enrolment.authority import Authority

HOSTILE = "<script>alert(1)</script>"
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def ready(service_: Served) -> str:
    """A street, and an address to enrol at."""
    with service_.db.begin() as tx:
        service.announce(tx, URL)
        return street(tx)


def test_a_claim_is_issued_listed_and_withdrawn_over_the_api(service: Served, authority: Authority) -> None:
    node = ready(service)
    with service.client(UserRole.TECHNICIAN, node) as api:
        body = {"node": node, "gateway": "gw-1", "location": HOSTILE, "minutes": 60}
        made = api.post("/claims", json=body)
        assert made.status_code == 201, made.text
        told = made.json()
        assert parse(told["text"]) == (URL, told["code"], authority.fingerprint)
        assert told["qr"].startswith("<svg ")
        assert "style" not in told["qr"]
        listed = api.get("/claims", params={"state": "open"}).json()["items"]
        assert [(each["id"], each["state"], each["gateway"]) for each in listed] == [(told["id"], "open", "gw-1")]
        assert told["code"] not in json.dumps(listed)
        assert api.post("/claims", json={"node": "/", "minutes": 60}).status_code == 404
        assert api.post("/claims", json={**body, "minutes": 4}).status_code == 422
        assert api.delete(f"/claims/{told['id']}").status_code == 204
        assert api.get(f"/claims/{told['id']}").json()["state"] == "revoked"
        assert api.post("/gateways/gw-1/revoke").status_code == 403
    with service.client(UserRole.DISPATCHER) as api:
        assert api.get("/claims").status_code == 403
    with service.client(UserRole.AUDITOR) as api:
        assert len(api.get("/claims").json()["items"]) == 1
        assert api.post("/claims", json={"node": node}).status_code == 403


@on_sqlite
def test_certificates_are_listed_and_a_gateway_revoked_over_the_api_S3(service: Served, authority: Authority) -> None:
    use(service.db, authority, claim(service.db, gateway="gw-1", at=now_ms()).code, request()[0], now_ms())
    with service.client(UserRole.ADMINISTRATOR) as api:
        listed = api.get("/gateways/gw-1/certificates").json()["items"]
        assert [(each["in_force"], each["claim"]) for each in listed] == [(True, 1)]
        assert api.post("/gateways/gw-1/revoke").json() == {"gateway": "gw-1", "certificates": 1}
        assert api.get("/gateways/gw-1/certificates").json()["items"][0]["reason"] == "revoked"
        assert api.get("/gateways/gw-2/certificates").status_code == 404


@on_sqlite
def test_without_an_authority_the_api_says_what_to_do(service: Served) -> None:
    with service.client(UserRole.ADMINISTRATOR) as api:
        refused = api.post("/claims", json={"node": "/"})
    assert (refused.status_code, "authority init" in refused.json()["detail"]) == (409, True)


@contextlib.contextmanager
def signed_in(service_: Served, name: str, role: UserRole) -> Iterator[Client]:
    password = service_.user(name, role)
    with service_.anonymous() as client:
        assert client.post("/sign-in", data={"user": name, "password": password}).status_code == 303
        yield client


def csrf_of(page: str) -> str:
    return page.partition('name="csrf" value="')[2].partition('"')[0]


@on_sqlite
def test_the_page_shows_a_claim_once_with_its_picture(service: Served, authority: Authority) -> None:
    node = ready(service)
    with signed_in(service, "wang", UserRole.TECHNICIAN) as browser:
        page = browser.get("/claims?lang=en", follow_redirects=True).text
        assert "No claims" in page
        form = {"csrf": csrf_of(page), "node": node, "gateway": "", "location": HOSTILE, "hours": "24"}
        shown = browser.post("/claims", data=form)
        assert (shown.status_code, shown.headers["cache-control"]) == (200, "no-store")
        code = shown.text.partition('id="claim-code">')[2].partition("<")[0]
        assert "<svg " in shown.text
        assert HOSTILE not in shown.text
        assert authority.fingerprint in shown.text
        page = browser.get("/claims").text
        assert code not in page
        assert HOSTILE not in page
        assert ">open<" in page
        assert browser.post("/claims", data={**form, "csrf": "x"}).status_code == 403
        assert browser.post("/claims", data={**form, "gateway": "a b"}).status_code == 422
        assert browser.post("/claims/1/revoke", data={"csrf": form["csrf"], "back": "/claims"}).status_code == 303
        assert ">withdrawn<" in browser.get("/claims").text
        assert "已撤回" in browser.get("/claims?lang=zh", follow_redirects=True).text
    with signed_in(service, "li", UserRole.DISPATCHER) as browser:
        assert browser.get("/claims").status_code == 403


@on_sqlite
def test_the_page_of_a_gateways_certificates_revokes_it_S3(service: Served, authority: Authority) -> None:
    use(service.db, authority, claim(service.db, gateway="gw-1", at=now_ms()).code, request()[0], now_ms())
    with signed_in(service, "zhao", UserRole.ADMINISTRATOR) as browser:
        page = browser.get("/gateways/gw-1/certificates?lang=en", follow_redirects=True).text
        assert "in force" in page
        sent = browser.post("/gateways/gw-1/revoke", data={"csrf": csrf_of(page)})
        assert sent.headers["location"] == "/gateways/gw-1/certificates"
        page = browser.get("/gateways/gw-1/certificates").text
        assert ">revoked<" in page
        assert "Revoke this gateway" not in page
    with service.db.read() as tx:
        assert devices.known_gateways(tx) == {"gw-1"}


@on_sqlite
def test_the_service_listens_and_tells_claims_where(
    serve: Callable[..., AbstractContextManager[Served]], tmp_path: Path
) -> None:
    make_authority(tmp_path, at=now_ms())
    with serve(Role.API, est={"bind": "127.0.0.1:0"}) as served:

        def issued() -> str:
            with contextlib.suppress(Conflict), served.db.begin() as tx:
                return service.issue_claim(tx, SYSTEM, service.NewClaim(node="/"), now_ms()).url
            return ""

        wait_for(issued, 10, "the listener")
        status, _ = curl(tmp_path / "root" / "root.pem", f"{issued()}/.well-known/est/cacerts")
        assert status == 200


@on_sqlite
def test_the_listener_outlives_a_renewal_that_fails_and_takes_a_renewed_authority(
    serve: Callable[..., AbstractContextManager[Served]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "KEEP_EVERY_S", 0.01)
    make_authority(tmp_path, at=now_ms())
    trust = tmp_path / "root" / "root.pem"
    with serve(Role.API, est={"bind": "127.0.0.1:0"}) as served:

        def known() -> int:
            """How many certificates the listener tells of."""
            with served.db.read() as tx:
                url = tx.execute(est_address.select()).first()
            status, body = curl(trust, f"{url.url}/.well-known/est/cacerts") if url else (0, b"")
            return len(certs_of(body)) if status == 200 else 0

        wait_for(lambda: known() == 2, 10, "the listener")
        folder = tmp_path / FOLDER
        folder.chmod(0o755)  # refused from now on
        assert known() == 2
        making.renew_intermediate(tmp_path / "root", folder, (), now())
        folder.chmod(0o700)
        wait_for(lambda: known() == 3, 10, "the renewed authority")


@pytest.mark.parametrize(
    ("est", "url"),
    [
        ({"bind": "127.0.0.1:8443", "hosts": ["enrol.example"]}, "https://127.0.0.1:8443"),
        ({"bind": "0.0.0.0:8443", "hosts": ["enrol.example", "10.0.0.5"]}, "https://enrol.example:8443"),
        ({"bind": "[::]:8443", "hosts": ["fd00::1"]}, "https://[fd00::1]:8443"),
        ({"bind": "0.0.0.0:8443", "public_url": "https://e.example"}, "https://e.example"),
    ],
)
def test_gateways_are_told_an_address_that_they_can_reach(est: dict[str, object], url: str) -> None:
    assert listener.url_of(EstConfig.model_validate(est), 8443) == url


def test_a_listener_at_every_address_has_to_be_named() -> None:
    with pytest.raises(ValidationError, match=r"public_url: needed with bind = '0\.0\.0\.0:8443'"):
        EstConfig(bind="0.0.0.0:8443")


@on_sqlite
def test_what_is_in_the_listeners_way_is_one_line(configured: Callable[..., Config], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = configured(est={"bind": f"127.0.0.1:{port}"}, http={"bind": "127.0.0.1:0"})
        with pytest.raises(ConfigError, match=r"intermediate\.pem: no authority yet"):
            serve_until(config, Role.API)
        make_authority(tmp_path)
        with pytest.raises(LinkError, match=f"^127.0.0.1:{port}: port taken$"):
            listener.check(config)


def test_the_command_line_makes_an_authority_and_claims(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text(f'data_dir = "data"\n[est]\nbind = "127.0.0.1:{free_port()}"\n')

    def cloud(*argv: str) -> str:
        app([*argv, "--config", str(file)], standalone_mode=False)
        return capsys.readouterr().out

    with pytest.raises(Conflict, match="authority init"):
        cloud("claim", "add", "--node", "/")
    said = cloud("authority", "init", "--root-dir", str(tmp_path / "usb"), "--site", "demo", "--host", "broker.lan")
    fingerprint = said.strip().splitlines()[-1]
    assert f"Take {tmp_path / 'usb'} off this machine" in said
    with pytest.raises(ConfigError, match=r"authority/root/root\.pem"):
        cloud("authority", "renew")  # its root is elsewhere
    said = cloud("authority", "renew", "--root-dir", str(tmp_path / "usb"), "--host", "late.lan")
    assert {"broker.lan", "late.lan"} <= set(said.splitlines()[1].removeprefix("hosts: ").split(", "))
    shutil.rmtree(tmp_path / "usb")  # nothing here needs it
    shown = json.loads(cloud("authority", "show", "--json"))
    assert (shown["fingerprint"], shown["ending"]) == (fingerprint, "")
    cloud("authority", "server-cert", "late", "--host", "late.lan")
    cloud("authority", "server-cert", "broker", "--host", "broker.lan")
    with pytest.raises(Invalid, match="may issue for"):
        cloud("authority", "server-cert", "broker", "--host", "bank.example")
    assert (tmp_path / "data/authority/servers/broker.pem").is_file()
    picture = tmp_path / "claim.svg"
    lines = cloud("claim", "add", "--node", "/", "--gateway", "gw-1", "--svg", str(picture)).splitlines()
    assert (parse(lines[-2]).code, parse(lines[-2]).root) == (lines[-1], fingerprint)
    assert picture.read_text().startswith("<svg ")
    cloud("claim", "revoke", "1")
    assert "revoked" in cloud("claim", "list")
    with pytest.raises(ConfigError, match="there is an authority already"):
        cloud("authority", "init")


def test_an_error_of_the_authority_is_one_line_and_misuse(tmp_path: Path) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text('data_dir = "data"\n')
    done = run(sys.executable, "-m", "cloud", "authority", "show", "--config", file)
    assert done.returncode == 2
    assert done.stderr.decode().count("\n") == 1
