"""Command line of the cloud.

Owns arguments, exit codes and the one line that an error is. A secret is printed alone on the last line of stdout.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cloud.config import Config, load_config
from cloud.devices.broker.commands import app as broker
from cloud.devices.enrolment import cli as enrolment
from cloud.devices.releases import cli as releases
from cloud.errors import RequestRefused
from cloud.org.rules import Role
from firmware_specs.cli import run_app

_options: dict[str, Any] = {
    "no_args_is_help": True, "add_completion": False, "rich_markup_mode": None, "pretty_exceptions_enable": False,
}  # fmt: skip
app = typer.Typer(help="The PatrolGrid cloud service.", **_options)
users = typer.Typer(help="People who sign in.", **_options)
tokens = typer.Typer(help="Tokens for machines.", **_options)
gateways = typer.Typer(help="Gateways whose packs are accepted.", **_options)
app.add_typer(users, name="user")
app.add_typer(tokens, name="token")
app.add_typer(gateways, name="gateway")
app.add_typer(broker, name="broker")
app.add_typer(enrolment.authority, name="authority")
app.add_typer(enrolment.claims, name="claim")
app.add_typer(releases.app, name="release")

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="cloud.toml")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine output.")]
NodeName = Annotated[str | None, typer.Option("--node", help="Where: a node's code, or its path such as /3/17/.")]
Default = Path("cloud.toml")


def _load(file: Path) -> Config:
    return load_config(file)


def _rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(*(rows[0] if rows else ("none",)), box=None)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(table)


def _secret(as_json: bool, what: str, secret: str, owner: str) -> None:
    print(json.dumps({"name": owner, what: secret}) if as_json else secret)


@app.command()
def serve(
    config: ConfigFile = Default,
    role: Annotated[str, typer.Option(help="all, api, ingest or worker.")] = "all",
) -> None:
    """Run the service until it is told to stop."""
    from cloud.app import Role as ServerRole  # noqa: PLC0415 - loads the web framework
    from cloud.serve import run  # noqa: PLC0415

    if role not in set(ServerRole):
        raise typer.BadParameter(f"{role!r} is none of {', '.join(ServerRole)}", param_hint="--role")
    run(_load(config), ServerRole(role))


@app.command()
def init(config: ConfigFile = Default, as_json: AsJson = False) -> None:
    """Make or update the database; print the first user's password when there is no user yet."""
    from cloud import admin  # noqa: PLC0415

    password = admin.init(_load(config))
    if password is None:
        print(json.dumps({"name": None, "password": None}) if as_json else "up to date")
        return
    if not as_json:
        print(f"user {admin.FIRST_USER}, password (shown once):")
    _secret(as_json, "password", password, admin.FIRST_USER)


def _role(text: str) -> Role:
    if text not in set(Role):
        raise typer.BadParameter(f"{text!r} is none of {', '.join(Role)}", param_hint="--role")
    return Role(text)


@users.command("add")
def user_add(
    name: str,
    role: Annotated[str, typer.Option(help=", ".join(Role))],
    node: NodeName = None,
    config: ConfigFile = Default,
    as_json: AsJson = False,
) -> None:
    """Make a user and print the password, once."""
    from cloud import admin  # noqa: PLC0415

    _secret(as_json, "password", admin.add_user(_load(config), name, _role(role), node), name)


@users.command("list")
def user_list(config: ConfigFile = Default, as_json: AsJson = False) -> None:
    """Show the users."""
    from cloud import admin  # noqa: PLC0415

    found = admin.list_users(_load(config))
    _rows([{"name": u.name, "role": u.role.value, "node": u.node, "disabled": u.disabled} for u in found], as_json)


@users.command("passwd")
def user_passwd(name: str, config: ConfigFile = Default, as_json: AsJson = False) -> None:
    """Print a new password, once, and end the user's sessions."""
    from cloud import admin  # noqa: PLC0415

    _secret(as_json, "password", admin.reset_password(_load(config), name), name)


@users.command("disable")
def user_disable(name: str, config: ConfigFile = Default) -> None:
    """Keep a user from signing in, and end its sessions."""
    from cloud import admin  # noqa: PLC0415

    admin.disable_user(_load(config), name)


@tokens.command("add")
def token_add(  # noqa: PLR0917 - one parameter each of the command
    name: str,
    role: Annotated[str, typer.Option(help=", ".join(Role))] = Role.DISPATCHER.value,
    days: Annotated[float | None, typer.Option(help="Until it expires; without it, never.", min=0.001)] = None,
    node: NodeName = None,
    config: ConfigFile = Default,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it, once."""
    from cloud import admin  # noqa: PLC0415

    _secret(as_json, "token", admin.add_token(_load(config), name, _role(role), days, node), name)


@tokens.command("list")
def token_list(config: ConfigFile = Default, as_json: AsJson = False) -> None:
    """Show the tokens, without their secrets."""
    from cloud import admin  # noqa: PLC0415

    found = admin.list_tokens(_load(config))
    columns = ("name", "role", "node", "owner", "in_force")
    _rows([{name: t.model_dump(mode="json")[name] for name in columns} for t in found], as_json)


@tokens.command("revoke")
def token_revoke(name: str, config: ConfigFile = Default) -> None:
    """Refuse a token from now on."""
    from cloud import admin  # noqa: PLC0415

    admin.revoke_token(_load(config), name)


@gateways.command("add")
def gateway_add(
    name: str,
    location: Annotated[str, typer.Option(help="Where it is, for people.")] = "",
    node: NodeName = None,
    config: ConfigFile = Default,
) -> None:
    """Accept the packs of a gateway."""
    from cloud import admin  # noqa: PLC0415

    admin.add_gateway(_load(config), name, location, node)
    print(f"gateway {name} is known")


@gateways.command("list")
def gateway_list(config: ConfigFile = Default, as_json: AsJson = False) -> None:
    """Show the gateways."""
    from cloud import admin  # noqa: PLC0415

    columns = {"id", "node", "online", "last_seen_at", "agent_version", "devices"}
    found = admin.list_gateways(_load(config))
    _rows([g.model_dump(mode="json", include=columns) for g in found], as_json)


@gateways.command("remove")
def gateway_remove(name: str, config: ConfigFile = Default) -> None:
    """Refuse the packs of a gateway and forget its devices; telemetry and alarms stay."""
    from cloud import admin  # noqa: PLC0415

    admin.remove_gateway(_load(config), name)


@app.command("import")
def import_file(
    source: Annotated[Path, typer.Argument(help="TOML or JSON: the tree, posts, members, shifts, plans.")],
    config: ConfigFile = Default,
    as_json: AsJson = False,
) -> None:
    """Bring an organisation in from a file; what is there already is brought up to date."""
    from cloud import admin  # noqa: PLC0415

    done = admin.import_file(_load(config), source)
    _rows([{"section": section, "rows": count} for section, count in done.items()], as_json)


@app.command()
def backup(target: Annotated[Path, typer.Argument(help="A new directory.")], config: ConfigFile = Default) -> None:
    """Copy the databases and the keys that go with them, while the service runs."""
    from cloud import backup as copies  # noqa: PLC0415

    settings = _load(config)
    for note in copies.left_out(settings):
        print(f"left out: {note}", file=sys.stderr)

    def progress(name: str, percent: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{name}: {percent} %", end="\n" if percent >= 100 else "", file=sys.stderr, flush=True)

    for path in copies.backup(settings, target, progress):
        print(path)


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="A directory that `backup` made.")],
    force: Annotated[bool, typer.Option("--force", help="Replace what exists.")] = False,
    config: ConfigFile = Default,
) -> None:
    """Put a backup in place; the service must not be running."""
    from cloud import backup as copies  # noqa: PLC0415
    from cloud.serve import data_lock  # noqa: PLC0415

    settings = _load(config)
    with data_lock(settings.data_dir, alone=True):
        for path in copies.restore(settings, source, force=force):
            print(path)


def main() -> None:
    """Entry of `patrol-cloud`."""
    run_app(app, "patrol-cloud", misuse=(RequestRefused,))


if __name__ == "__main__":
    main()
