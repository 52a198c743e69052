"""`patrol-cloud broker`: the broker's folder made once, without a service that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloud.config import load_config

app = typer.Typer(
    help="The gateways' broker.", no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False,
)  # fmt: skip


@app.callback()
def _verbs() -> None:
    """The gateways' broker."""


@app.command()
def write(
    directory: Annotated[Path, typer.Argument(help="The folder; what is in it is brought up to date.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="cloud.toml")] = Path("cloud.toml"),
) -> None:
    """Write mosquitto's configuration, access rules, certificates and revocation list."""
    from cloud import admin  # noqa: PLC0415 - loads every folder
    from cloud.devices.broker import conf, writing  # noqa: PLC0415
    from cloud.devices.broker.settings import MosquittoConfig  # noqa: PLC0415
    from cloud.devices.enrolment import service as enrolment  # noqa: PLC0415
    from cloud.state import now_ms  # noqa: PLC0415

    loaded = load_config(config)
    given = loaded.mosquitto or MosquittoConfig(dir=directory)
    settings = given.model_copy(update={"dir": directory.absolute()})
    with admin.database(loaded) as db, db.read() as tx:
        revoked = enrolment.revoked(tx, now_ms())
    authority = enrolment.authority_of(loaded)
    writing.write(settings, authority, revoked, loaded.broker, now_ms())
    writing.certify(settings, authority, now_ms())
    print(f"mosquitto -c {settings.dir / conf.CONF}")  # noqa: T201 - what to do next
