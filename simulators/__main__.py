"""`patrol-sim`: simulated devices, communities, load, recorded files, and the demo.

Owns the command line: options, one-line errors, exit codes (1 a failure, 2 misuse).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import structlog
import typer

from firmware_specs.cli import run_app

if TYPE_CHECKING:
    from collections.abc import Coroutine

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
    help="Simulated devices, communities, load and recorded files for PatrolGrid.",
)  # fmt: skip

StateOption = Annotated[Path, typer.Option("--state", help="Folder for simulated serial ports and state.")]
SpeedOption = Annotated[float, typer.Option(min=0.01, max=10_000, help="How much faster than real the day passes.")]
SeedOption = Annotated[int, typer.Option(help="The same seed gives the same day.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine output: JSON on stdout.")]
DurationOption = Annotated[float | None, typer.Option(min=0, help="End after so many real seconds.")]


@app.command()
def community(  # noqa: PLR0917 - a command's options
    mqtt: Annotated[str, typer.Option(help="The gateway's south broker.")] = "mqtt://127.0.0.1:1883",
    coap: Annotated[str, typer.Option(help="Where the gateway's CoAP server listens.")] = "127.0.0.1:5683",
    opcua: Annotated[str, typer.Option(help="Where our door controller listens.")] = "opc.tcp://127.0.0.1:4840",
    state: StateOption = Path(".patrol-sim"),
    speed: SpeedOption = 1.0,
    duration: DurationOption = None,
    once: Annotated[bool, typer.Option("--once", help="End when the day ends.")] = False,
    seed: SeedOption = 1,
    script: Annotated[Path | None, typer.Option(help="Another community than the built-in one.")] = None,
    uplink_proxy: Annotated[
        str | None,
        typer.Option(metavar="LISTEN=TARGET", help="Forward the gateway's uplink, and cut it when the script says."),
    ] = None,
    people: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help='Let people act at desks too: JSON with "url" and "tokens" by role.'),
    ] = None,
    write_config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the gateway.toml for this community and end.")
    ] = None,
    write_organisation: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the file for `patrol-cloud import` and end.")
    ] = None,
    gateway: Annotated[str, typer.Option(help="With --write-…: the gateway's id.")] = "gw-0001",
    uplink: Annotated[str, typer.Option(help="With --write-config: the uplink broker.")] = "mqtt://127.0.0.1:1884",
    drill: Annotated[
        bool, typer.Option("--drill", help="With --write-config: the gateway marks every alarm as drill.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Two neighbourhoods with devices of every kind, and a day on which things happen."""
    from simulators import runner  # noqa: PLC0415 - the protocol libraries load only when they are needed

    ends = runner.Endpoints(mqtt, coap, opcua, state)
    if write_config is not None:
        print(runner.write_config(script, write_config, ends, gateway, uplink, drill=drill))
    if write_organisation is not None:
        print(runner.write_organisation(script, write_organisation, gateway))
    if write_config is not None or write_organisation is not None:
        return
    _run(
        runner.run_community(
            script,
            ends,
            speed=speed,
            duration_s=duration,
            once=once,
            seed=seed,
            proxy=uplink_proxy,
            people=people,
            as_json=as_json,
        )
    )


@app.command()
def device(  # noqa: PLR0917 - a command's options
    profile: Annotated[str, typer.Argument(help="A profile's name, or the path of a profile's file.")],
    to: Annotated[str, typer.Option(help="mqtt://host:port/topic, coap://host:port/path, or serial:PATH for a pty.")],
    name: Annotated[str, typer.Option("--id", help="The device's id.")] = "sim-1",
    unit: Annotated[str, typer.Option(help="Of a radio: its unit id.")] = "",
    speed: SpeedOption = 1.0,
    duration: DurationOption = None,
    seed: SeedOption = 1,
    as_json: JsonOption = False,
) -> None:
    """One device of any profile."""
    from simulators import runner  # noqa: PLC0415

    _run(
        runner.run_device(
            profile, to, name=name, unit=unit, speed=speed, duration_s=duration, seed=seed, as_json=as_json
        )
    )


@app.command()
def load(  # noqa: PLR0917 - a command's options
    broker: Annotated[str, typer.Option(help="The uplink broker, mqtt://host:port.")],
    gateways: Annotated[int, typer.Option(min=1, max=10_000)] = 10,
    devices: Annotated[int, typer.Option(min=1, max=100_000, help="Of each gateway.")] = 50,
    rate: Annotated[float, typer.Option(min=0.01, help="Readings a second, all gateways together.")] = 500.0,
    seconds: Annotated[float, typer.Option(min=0.1)] = 30.0,
    prefix: Annotated[str, typer.Option(help="Gateways are PREFIX0001 and so on; the cloud must know them.")] = "load-",
    as_json: JsonOption = False,
) -> None:
    """Many gateways at the wire: throughput, time to the commit acknowledgement, what stays unacknowledged.

    Exit code 1 when anything is unacknowledged at the end.
    """
    from simulators import load as wire_load  # noqa: PLC0415
    from simulators.peers.mqtt import endpoint  # noqa: PLC0415
    from simulators.show import load_progress, load_table  # noqa: PLC0415

    plan = wire_load.Load(*endpoint(broker), gateways, devices, rate, seconds, prefix)
    with load_progress(seconds) as progress:
        result = asyncio.run(wire_load.run(plan, progress))
    print(json.dumps(result._asdict()) if as_json else load_table(result))
    if result.unacked:
        raise typer.Exit(1)


@app.command()
def fleet(  # noqa: PLR0917 - a command's options
    broker: Annotated[str, typer.Option(help="The uplink broker, mqtt://host:port.")],
    gateways: Annotated[int, typer.Option(min=1, max=10_000)] = 20,
    prefix: Annotated[
        str, typer.Option(help="Gateways are PREFIX0001 and so on; the cloud must know them.")
    ] = "fleet-",
    version: Annotated[str, typer.Option(help="The agent's version that they run at first.")] = "1.0.0",
    failing: Annotated[float, typer.Option(min=0, max=100, help="Percent that fail at what they are ordered.")] = 0.0,
    ways: Annotated[str, typer.Option(help="How they fail, in turns.")] = "refused,rolled-back,silent",
    delay: Annotated[float, typer.Option(min=0.01, help="Seconds of each phase, about.")] = 2.0,
    away: Annotated[float, typer.Option(min=0, help="Seconds until a silent one is back; 0: never.")] = 0.0,
    duration: DurationOption = None,
    seed: SeedOption = 1,
) -> None:
    """Many gateways that take configurations, updates and firmware, and fail at them as asked.

    Prints a line of JSON when all are connected, and one at the end.
    """
    from simulators import fleet as wire_fleet  # noqa: PLC0415
    from simulators.fleet_faults import ways_of  # noqa: PLC0415
    from simulators.peers.mqtt import endpoint  # noqa: PLC0415

    plan = wire_fleet.Fleet(
        *endpoint(broker), gateways, prefix, version, percent=failing, ways=ways_of(ways), delay_s=delay, away_s=away,
        seed=seed, duration_s=duration,
    )  # fmt: skip
    _run(wire_fleet.run(plan, lambda ready: print(json.dumps(ready), flush=True)))


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="A CSV file or an NMEA log.")],
    to: Annotated[str, typer.Option(help="mqtt://host:port/topic, coap://host:port/path, or serial:PATH.")],
    speed: SpeedOption = 1.0,
    fast: Annotated[bool, typer.Option("--fast", help="Without any pause.")] = False,
    as_json: JsonOption = False,
) -> None:
    """A recorded file as a device, by the file's own times."""
    from simulators import replay as recording  # noqa: PLC0415
    from simulators.show import counter  # noqa: PLC0415

    goal = recording.target(to)
    began = time.monotonic()
    with counter("records") as sent:
        count = asyncio.run(recording.run(file, goal, 0 if fast else speed, sent))
    summary = {"file": str(file), "records": count, "seconds": round(time.monotonic() - began, 2)}
    print(json.dumps(summary) if as_json else f"{count} records of {file} in {summary['seconds']} s")


@app.command()
def demo(  # noqa: PLR0917 - a command's options
    state: Annotated[Path, typer.Option("--state", help="Where brokers, cloud and gateway keep their files.")] = Path(
        ".demo"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="The console's port.")] = 8000,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew: forget what an earlier demo stored.")] = False,
    no_simulators: Annotated[
        bool, typer.Option("--no-simulators", help="Leave the south side to real devices.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line when ready, and nothing else on stdout.")
    ] = False,
    speed: SpeedOption = 60.0,
    seed: SeedOption = 1,
    broker: Annotated[
        Literal["auto", "mosquitto", "iotcore"], typer.Option(help="auto: mosquitto where it is installed.")
    ] = "auto",
) -> None:
    """Brokers, cloud, one gateway and a simulated community on this machine."""
    from simulators import demo as orchestrator  # noqa: PLC0415

    options = orchestrator.Options(state.absolute(), port, fresh, not no_simulators, as_json, speed, seed, broker)
    raise typer.Exit(orchestrator.run(options))


def _run(work: Coroutine[Any, Any, dict[str, Any] | None]) -> None:
    """Run until done, SIGINT or SIGTERM; print what it returns as JSON."""

    async def stoppable() -> dict[str, Any] | None:
        task = asyncio.ensure_future(work)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            return await task
        return None

    result = asyncio.run(stoppable())
    if result is not None:
        print(json.dumps(result))


def _configure_logs() -> None:
    human = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def main() -> None:
    """Entry of `patrol-sim`."""
    _configure_logs()
    run_app(app, "patrol-sim", misuse=(ValueError,))


if __name__ == "__main__":
    main()
