"""Command line of the gateway agent.

Owns arguments, exit codes and the one line that an error is. Each verb loads only what it needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from firmware_specs.cli import run_app

app = typer.Typer(
    help="The PatrolGrid gateway agent.", no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False,
)  # fmt: skip
ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="gateway.toml")]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="the zip file to write")]
JsonOption = Annotated[bool, typer.Option("--json", help="machine output")]


@app.callback()
def _verbs() -> None:
    """The PatrolGrid gateway agent."""


@app.command()
def run(config: ConfigOption = Path("gateway.toml")) -> None:
    """Run the agent until it is told to stop."""
    from edge import log  # noqa: PLC0415
    from edge.configure import StartOver  # noqa: PLC0415
    from edge.gateway import Gateway  # noqa: PLC0415

    log.set_up()

    async def serve() -> None:
        task = asyncio.current_task()
        if task:
            for which in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(which, task.cancel)
        while True:
            with contextlib.suppress(StartOver):
                await Gateway(config).run()

    try:
        asyncio.run(serve())
    except asyncio.CancelledError:
        return


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def launch(
    arguments: Annotated[list[str], typer.Argument(help="What the agent is started with: run --config FILE")],
    install_dir: Annotated[Path, typer.Option(help="where versions of the agent are installed")],
) -> None:
    """Start the version of the agent that may run; go back from one that does not prove itself. For the service."""
    from edge.launch import launch as become  # noqa: PLC0415

    become(install_dir, arguments)


@app.command()
def check(config: ConfigOption = Path("gateway.toml"), *, json: JsonOption = False) -> None:
    """Every precondition in one table: configuration, clock, names, certificates, disk, ports, brokers, devices."""
    from edge.check import check as run_check  # noqa: PLC0415

    sys.exit(asyncio.run(run_check(config, as_json=json)))


@app.command()
def listen(config: ConfigOption = Path("gateway.toml"), *, json: JsonOption = False) -> None:
    """Live readings as a table, beside the device; attaches to the running agent, or hears the devices itself."""
    from edge.listen import listen as run_listen  # noqa: PLC0415

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run_listen(config, as_json=json))


@app.command()
def outbox(config: ConfigOption = Path("gateway.toml"), *, json: JsonOption = False) -> None:
    """What waits for the cloud, by lane: how much, how old, how many bytes, how many thinned."""
    from edge.waiting import show  # noqa: PLC0415

    show(config, as_json=json)


@app.command()
def diagnostics(out: OutOption, config: ConfigOption = Path("gateway.toml")) -> None:
    """A bundle for who looks for a fault: no secret, no name and no place is in it."""
    from edge.diagnostics import write  # noqa: PLC0415

    print(f"{out}: {write(config, out):,} bytes")


@app.command("config")
def config_verb(
    verb: Annotated[str, typer.Argument(metavar="show|revert")], config: ConfigOption = Path("gateway.toml"), *,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Which configuration runs, or go back to the one before, on the spot and without the cloud."""
    from edge import configure_verbs  # noqa: PLC0415

    sys.exit(configure_verbs.run(verb, config, as_json=json))


@app.command()
def enrol(  # noqa: PLR0917 - one parameter each of the command
    cloud_url: Annotated[str, typer.Argument(help="https://HOST:PORT of the enrolment, or the QR picture's text")],
    claim: Annotated[str, typer.Option(help="the claim code, or the QR picture's text")] = "",
    config: ConfigOption = Path("gateway.toml"),
    state: Annotated[Path, typer.Option(help="where keys, certificates and the outbox live")] = Path(
        "/var/lib/patrolgrid"
    ),
    root: Annotated[str, typer.Option(help="SHA-256 fingerprint of the authority's root certificate")] = "",
    ca: Annotated[Path | None, typer.Option(help="a file with that root, in place of its fingerprint")] = None,
    key: Annotated[
        Literal["auto", "tpm", "file"], typer.Option(help="where the key is kept; auto: in the TPM when there is one")
    ] = "auto",
) -> None:
    """Make a key, get a certificate for it by a claim, and write gateway.toml; again, it goes on where it stopped."""
    from edge.enrol import Wanted, read_claim  # noqa: PLC0415
    from edge.enrolling import run as run_enrol  # noqa: PLC0415
    from edge.keys import Keeping  # noqa: PLC0415

    run_enrol(Wanted(read_claim(cloud_url, claim, root, ca), config, state, ca, Keeping(key)))


@app.command()
def install(config: ConfigOption = Path("gateway.toml")) -> None:
    """The technician's way at the gateway: enrol, check, what is heard, walk test; step by step."""
    from edge.install import run as run_install  # noqa: PLC0415

    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(run_install(config))


def main() -> None:
    """Entry of `patrol-edge`."""
    run_app(app, "patrol-edge")


if __name__ == "__main__":
    main()
