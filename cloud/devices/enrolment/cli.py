"""The verbs `patrol-cloud authority` and `patrol-cloud claim`.

Owns their arguments and what they print. What a secret is, is printed alone on the last line of stdout.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cloud.config import load_config

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloud.config import Config

_options: dict[str, Any] = {
    "no_args_is_help": True, "add_completion": False, "rich_markup_mode": None, "pretty_exceptions_enable": False,
}  # fmt: skip
authority = typer.Typer(help="The certificate authority of the gateways.", **_options)
claims = typer.Typer(help="Claim codes, by which gateways enrol.", **_options)

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="cloud.toml")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine output.")]
Hosts = Annotated[list[str], typer.Option("--host", help="A DNS name or an address; may be repeated.")]
MoreHosts = Annotated[list[str] | None, typer.Option("--host", help="More hosts that servers may be; may be repeated.")]
Default: Final = Path("cloud.toml")


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _warn(line: str) -> None:
    sys.stderr.write(f"patrol-cloud: {line}\n")


def hosts_of(config: Config) -> list[str]:
    """Whatever a configuration calls a server of ours."""
    from urllib.parse import urlsplit  # noqa: PLC0415

    from cloud.devices.enrolment.serving import hosts_of as listener_hosts  # noqa: PLC0415

    urls = (config.http.public_url, config.broker.url, config.enrolment.broker_url)
    found = [urlsplit(url).hostname for url in urls if url]
    broker = config.mosquitto.hosts if config.mosquitto else ()
    return [*(host for host in found if host), *broker, *(listener_hosts(config.est) if config.est else [])]


@authority.command("init")
def init(
    config: ConfigFile = Default,
    root_dir: Annotated[Path | None, typer.Option(help="Where the root goes: what is taken offline.")] = None,
    site: Annotated[str, typer.Option(help="What the authority is called: O=PatrolGrid SITE.")] = "",
    host: MoreHosts = None,
) -> None:
    """Make the root and the intermediate. With a root that is there, only the intermediate."""
    from urllib.parse import urlsplit  # noqa: PLC0415

    from cloud.devices.enrolment import authority as issuing  # noqa: PLC0415 - loads the cryptography
    from cloud.devices.enrolment import hsm, keys, making  # noqa: PLC0415

    loaded = load_config(config)
    folder = loaded.data_dir / issuing.FOLDER
    where = root_dir or folder / "root"
    name = site or (urlsplit(loaded.http.public_url or "").hostname or "local")[: making.SITE_MOST]
    files = making.paths_of(folder)
    making.refuse_existing(files.intermediate)
    keys.private_folder(folder)
    root = making.make_root(where, name, issuing.now())
    in_token = loaded.authority.key != issuing.FILE_KEY
    key = hsm.find_or_make(loaded.authority.key, loaded.authority.pin()) if in_token else None
    made = making.make_intermediate(where, folder, [*hosts_of(loaded), *(host or ())], issuing.now(), key)
    _say(
        f"root: {where / making.ROOT}, key {where / making.ROOT_KEY}, until {root.not_valid_after_utc:%Y-%m-%d}",
        f"intermediate: {files.intermediate}, key {loaded.authority.key if in_token else files.intermediate_key}, "
        f"until {made.not_valid_after_utc:%Y-%m-%d}",
        f"Take {where} off this machine now: nothing here needs the root's key until the intermediate is renewed.",
        "fingerprint of the root (SHA-256):",
        issuing.of(loaded).fingerprint,
    )
    _warn_of_root_keys(folder)


@authority.command("renew")
def renew(
    config: ConfigFile = Default,
    root_dir: Annotated[Path | None, typer.Option(help="Where the root is, brought here for this.")] = None,
    host: MoreHosts = None,
) -> None:
    """Prolong the intermediate by the root's key, or let it issue for more hosts. Gateways go on as they are."""
    from cloud.devices.enrolment import authority as issuing  # noqa: PLC0415
    from cloud.devices.enrolment import making  # noqa: PLC0415

    loaded = load_config(config)
    folder = loaded.data_dir / issuing.FOLDER
    issuing.of(loaded)  # what cannot be used is not renewed
    where = root_dir or folder / "root"
    made = making.renew_intermediate(where, folder, [*hosts_of(loaded), *(host or ())], issuing.now())
    _say(
        f"intermediate: {making.paths_of(folder).intermediate}, until {made.not_valid_after_utc:%Y-%m-%d}",
        "hosts: " + ", ".join(making.hosts_of(made)),
        "A service that runs takes it within a minute. A broker that is kept by hand needs the new chain: "
        "GET /.well-known/est/cacerts.",
    )
    _warn_of_root_keys(folder)


def _warn_of_root_keys(folder: Path) -> None:
    from cloud.devices.enrolment import making  # noqa: PLC0415

    for key in making.root_keys(folder):
        _warn(f"the root's key lies beside the data, in {key.parent}; move that directory to offline media")


@authority.command("show")
def show(config: ConfigFile = Default, as_json: AsJson = False) -> None:
    """Show the authority: until when it holds, what it may issue, its fingerprint, and what is near its end."""
    from cloud.devices.enrolment import authority as issuing  # noqa: PLC0415
    from cloud.devices.enrolment import making, watch  # noqa: PLC0415
    from cloud.devices.enrolment.rules import DAY_MS  # noqa: PLC0415

    settings = load_config(config)
    loaded = issuing.of(settings)
    now_ms = issuing.millis(issuing.now())
    found = list(watch.ours(settings))
    told: dict[str, object] = {
        "organisation": loaded.organisation,
        **{f"{each.called}_until": f"{issuing.when(each.until_ms):%Y-%m-%d}" for each in found},
        "hosts": ", ".join(making.hosts_of(loaded.intermediate)),
        "ending": ", ".join(each.called for each in found if each.ending(now_ms)),
        "fingerprint": loaded.fingerprint,
    }
    _say(json.dumps(told, ensure_ascii=False)) if as_json else _say(*(f"{key}: {told[key]}" for key in told))
    for each in found:
        if each.ending(now_ms):
            _warn(f"{each.called}: {max(0, (each.until_ms - now_ms) // DAY_MS)} days left")
    _warn_of_root_keys(settings.data_dir / issuing.FOLDER)


@authority.command("server-cert")
def server_cert(
    name: str,
    host: Hosts,
    config: ConfigFile = Default,
    out: Annotated[Path | None, typer.Option(help="The folder; data_dir/authority/servers when left out.")] = None,
) -> None:
    """Issue a certificate and a key for a server, such as the broker."""
    from cloud.devices.enrolment import authority as issuing  # noqa: PLC0415
    from cloud.devices.enrolment import serving  # noqa: PLC0415
    from firmware_specs.readings import checked_name  # noqa: PLC0415

    loaded = load_config(config)
    folder = out or loaded.data_dir / issuing.FOLDER / serving.FOLDER
    files = serving.write(issuing.of(loaded), folder, checked_name("server", name), host, issuing.now())
    _say(str(files.chain), str(files.key))


@claims.command("add")
def claim_add(  # noqa: PLR0917 - one parameter each of the command
    node: Annotated[str, typer.Option(help="Where: a node's code, or its path such as /3/17/.")],
    gateway: Annotated[str | None, typer.Option(help="Which gateway; a new name when left out.")] = None,
    location: Annotated[str, typer.Option(help="Where it hangs, for people.")] = "",
    hours: Annotated[float, typer.Option(help="How long it may be used.", min=0.1, max=720)] = 72,
    svg: Annotated[Path | None, typer.Option(help="Write the QR picture here.")] = None,
    config: ConfigFile = Default,
    as_json: AsJson = False,
) -> None:
    """Make a claim code and print it, once."""
    from cloud import admin  # noqa: PLC0415
    from cloud.devices.enrolment import listener, service  # noqa: PLC0415
    from cloud.org import tree  # noqa: PLC0415
    from cloud.state import now_ms  # noqa: PLC0415

    loaded = load_config(config)
    minutes = max(5, round(hours * 60))
    with admin.database(loaded) as db, db.begin() as tx:
        if loaded.est and not loaded.est.bind.endswith(":0"):
            service.announce(tx, listener.url_of(loaded.est, int(loaded.est.bind.rpartition(":")[2])))
        where = tree.find_named(tx, admin.OPERATOR, node).path
        given = service.NewClaim(node=where, gateway=gateway, location=location, minutes=minutes)
        made = service.issue_claim(tx, admin.OPERATOR, given, now_ms())
    if svg:
        svg.write_text(made.qr, encoding="utf-8")
    if as_json:
        _say(made.model_dump_json(exclude={"qr"}))
        return
    _say(f"claim {made.id} until {made.expires_at:%Y-%m-%d %H:%M} UTC, at {made.url}", made.text, made.code)


@claims.command("list")
def claim_list(config: ConfigFile = Default, as_json: AsJson = False) -> None:
    """Show the claims, the newest first, without their codes."""
    from cloud import admin  # noqa: PLC0415
    from cloud.devices.enrolment import service  # noqa: PLC0415
    from cloud.paging import MAX_LIMIT  # noqa: PLC0415
    from cloud.state import now_ms  # noqa: PLC0415

    found: list[service.ClaimView] = []
    cursor = None
    with admin.database(load_config(config)) as db, db.read() as tx:
        while True:
            page = service.list_claims(tx, admin.OPERATOR, now_ms(), limit=MAX_LIMIT, cursor=cursor)
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
    if as_json:
        _say(json.dumps([each.model_dump(mode="json") for each in found], ensure_ascii=False))
        return
    _say(*_lines(found))


def _lines(found: Iterable[Any]) -> Iterable[str]:
    for each in found:
        gateway = each.enrolled or each.gateway or "-"
        yield f"{each.id:>5}  {each.state:<8} {each.node:<16} {gateway:<24} until {each.expires_at:%Y-%m-%d %H:%M} UTC"


@claims.command("revoke")
def claim_revoke(claim: int, config: ConfigFile = Default) -> None:
    """Withdraw a claim that was not used yet."""
    from cloud import admin  # noqa: PLC0415
    from cloud.devices.enrolment import service  # noqa: PLC0415
    from cloud.state import now_ms  # noqa: PLC0415

    with admin.database(load_config(config)) as db, db.begin() as tx:
        service.revoke_claim(tx, admin.OPERATOR, claim, now_ms())
