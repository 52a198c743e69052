"""The whole product on this machine: two brokers, the cloud, one gateway and a simulated community.

Owns the order in which they start, what "ready" means (the HTTP side answers, the gateway is online, the first
values are there) and that all of them end together. The parts are child processes, started by the commands that a
user would type; this module imports none of them.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from firmware_specs.errors import LinkError
from simulators import broker, demo_state, provision, site
from simulators.children import ChildEnded, Children
from simulators.script import load_community

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from simulators.broker import BrokerPlan
    from simulators.provision import Credentials

GATEWAY: Final = "gw-0001"
READY_WITHIN_S: Final = 120.0
_POLL_S: Final = 0.2
_SIMULATED: Final = """\
In about a minute a kitchen fire breaks out in Cuihua building 3 (翠华社区3号楼5层厨房起火): two patrol members go there
and stop its clocks. Then a guard post is left unmanned, the street declares level 3, a door is forced, a radio and an
armband call for help, a fire drill is held, the uplink fails for half a minute, and a review of the month is made.
Start a walk test under Install (安装) and watch it: the simulated test buttons are pressed one after the other."""
_BY_HAND: Final = """\
No simulated devices. Edit the gateway's file above to add yours: it is read again when saved. Ready for a first try:
smk-1 (topic sensors/smk-1), tmp-1, chk-1, arm-1 (topic owntracks/team/arm-1) and smk-2 (CoAP path s/smk-2)."""


class Options(NamedTuple):
    """What the user asked for. speed: of the community's day. broker: auto, mosquitto or iotcore."""

    state: Path
    port: int
    fresh: bool
    simulators: bool
    as_json: bool
    speed: float
    seed: int
    broker: str


class Stopped(Exception):  # noqa: N818 - not an error
    """The user wants the demo to end."""


def run(options: Options) -> int:
    """Run the demo until it is stopped (exit code 0) or a part ends by itself (1).

    Raises PatrolError when it cannot start: a port is taken, the state is in use, a command fails.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    with demo_state.locked(options.state), contextlib.ExitStack() as stack:
        if options.fresh:
            demo_state.remove(options.state)
        ports = demo_state.choose_ports(options.port)
        logs = options.state / "logs"
        logs.mkdir(exist_ok=True)
        children = stack.enter_context(Children(logs))
        try:
            demo = _Demo(options, ports, children, stop)
            demo.start()
            demo.announce()
            demo.watch()
        except Stopped:
            _say("stopping")
        except ChildEnded as e:
            _say(str(e))
            return 1
    return 0


class _Demo:
    def __init__(self, options: Options, ports: demo_state.Ports, children: Children, stop: threading.Event) -> None:
        self._options = options
        self._ports = ports
        self._children = children
        self._stop = stop
        self._state = options.state
        self._community_log = options.state / "logs" / "community.log"
        self._south: BrokerPlan
        self._uplink: BrokerPlan
        self._credentials: Credentials
        self._desks: Path
        self._identity: Path

    def start(self) -> None:
        """Start every part and wait until they work together."""
        program = broker.choose(self._options.broker)
        self._south = self._broker(broker.plan(self._state, "south", self._ports.mqtt, program), "south")
        config = self._start_uplink(program)
        _say(f"brokers: {self._south.program} on ports {self._ports.mqtt} (devices) and {self._uplink.port} (uplink)")
        self._begin("cloud", "patrol-cloud", "serve", "--config", config)
        # A pack that is published before the cloud has subscribed is sent again only when its ack is overdue.
        self._wait(f"port {self._ports.http}", lambda: _accepts(self._ports.http))
        self._wait(f"port {self._ports.est}", lambda: _accepts(self._ports.est))
        self._identity = provision.enrol(self._state, config, GATEWAY, self._check)
        if self._options.simulators:
            self._desks = provision.organise(self._state, config, load_community(), GATEWAY, self._check)
            provision.address_desks(self._desks, f"http://127.0.0.1:{self._ports.http}")
        gateway = self._write_gateway_toml()
        if self._options.simulators:
            self._begin("community", "patrol-sim", *self._community_arguments())
        self._begin("gateway", "patrol-edge", "run", "--config", gateway)
        _say("waiting for the first values" if self._options.simulators else "waiting for the gateway")
        self._wait("the HTTP side", lambda: self._get("/readyz") is not None)
        self._wait("the gateway", lambda: bool((self._get(f"/api/v1/gateways/{GATEWAY}") or {}).get("online")))
        if self._options.simulators:
            self._wait("the first values", self._has_values)

    def announce(self) -> None:
        """Say where everything is: one line for programs, a few for people."""
        known = {
            "url": f"http://127.0.0.1:{self._ports.http}", "user": self._credentials.user,
            "password": self._credentials.password, "token": self._credentials.token, "mqtt": self._south.url,
            "coap": f"coap://127.0.0.1:{self._ports.coap}", "uplink": self._gateways_url,
        }  # fmt: skip
        text = json.dumps(known) if self._options.as_json else self._for_people(known)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def watch(self) -> None:
        """Return never: raises Stopped, or ChildEnded."""
        with _follow(self._community_log) as events:
            while True:
                self._check()
                for event in events():
                    if not self._options.as_json:
                        _say(event)
                if self._stop.wait(_POLL_S):
                    raise Stopped

    def _for_people(self, known: dict[str, str]) -> str:
        lines = [
            "", "PatrolGrid is running.", "",
            f"  Console    {known['url']}",
            f"  Sign in    {known['user']}  /  {known['password']}",
            f"  API token  {known['token']}",
            f"  Devices    {known['mqtt']}   {known['coap']}" + _version_hint(self._south),
            f"  Gateway    {_shown(self._state / 'gateway.toml')}",
            f"  Logs       {_shown(self._state / 'logs')}", "",
        ]  # fmt: skip
        return "\n".join([*lines, _SIMULATED if self._options.simulators else _BY_HAND, "Ctrl-C ends all of it.", ""])

    def _start_uplink(self, program: str | None) -> Path:
        """Start the gateways' broker, as the cloud wants it; the cloud's configuration.

        mosquitto knows each gateway by its certificate. The package knows nobody, so it is plain, on loopback.
        """
        port = self._ports.uplink
        if program is None:
            self._uplink = self._broker(broker.plan(self._state, "uplink", port, None), "uplink")
            plain = provision.Uplink(self._uplink.url5, self._uplink.url5, None)
            config = provision.write_cloud_toml(self._state, self._ports, plain)
            self._credentials = provision.ensure(self._state, config, self._check)
            return config
        folder = self._state / "uplink"
        plan = broker.plan_uplink(folder / "mosquitto.conf", port, self._ports.cloud, program)
        uplink = provision.Uplink(plan.url5, plan.url, folder)
        config = provision.write_cloud_toml(self._state, self._ports, uplink)
        self._credentials = provision.ensure(self._state, config, self._check)
        provision.write_broker(folder, config, self._check)
        self._uplink = self._broker(plan, "uplink")
        return config

    def _broker(self, plan: BrokerPlan, name: str) -> BrokerPlan:
        self._children.start(f"broker-{name}", plan.argv, stage=2, env={})
        ports = {int(url.rpartition(":")[2]) for url in (plan.url, plan.url5)}
        self._wait(f"the broker on port {plan.port}", lambda: all(_accepts(p) for p in ports))
        return plan

    def _begin(self, name: str, program: str, *arguments: str | Path) -> None:
        argv = (provision.command(program), *arguments)
        self._children.start(name, argv, stage=1, env={"PYTHONUNBUFFERED": "1"})

    def _write_gateway_toml(self) -> Path:
        path = self._state / "gateway.toml"
        ports = self._ports
        scheme, _, direct = self._gateways_url.partition("://")
        uplink = f"{scheme}://127.0.0.1:{ports.proxy}" if self._options.simulators else f"{scheme}://{direct}"
        ends = site.Endpoints(
            GATEWAY, self._state / "edge", uplink, self._south.url5, f"127.0.0.1:{ports.coap}",
            f"opc.tcp://127.0.0.1:{ports.opcua}", self._state / "tty", self._identity,
        )  # fmt: skip
        if self._options.simulators:
            site.write_simulated(path, load_community(), ends)
        else:
            site.write_by_hand(path, ends, demo_state.moved(self._state / "ends.json", ends))
        return path

    @property
    def _gateways_url(self) -> str:
        """How gateways reach their broker."""
        return self._uplink.url if self._uplink.url.startswith("mqtts:") else self._uplink.url5

    def _community_arguments(self) -> list[str | Path]:
        ports = self._ports
        return [
            "community", "--mqtt", self._south.url5, "--coap", f"127.0.0.1:{ports.coap}",
            "--opcua", f"opc.tcp://127.0.0.1:{ports.opcua}", "--state", self._state,
            "--speed", str(self._options.speed), "--seed", str(self._options.seed), "--people", self._desks,
            "--uplink-proxy", f"127.0.0.1:{ports.proxy}={self._gateways_url.rpartition('/')[2]}",
        ]  # fmt: skip

    def _has_values(self) -> bool:
        page = self._get("/api/v1/devices?limit=200") or {}
        return any(item.get("latest") and item.get("id") != GATEWAY for item in page.get("items", []))

    def _check(self) -> None:
        self._children.check()
        if self._stop.is_set():
            raise Stopped

    def _wait(self, what: str, test: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while not test():
            self._check()
            if time.monotonic() > deadline:
                raise LinkError(what, f"not ready within {READY_WITHIN_S:.0f} s; see {self._state / 'logs'}")
            self._stop.wait(_POLL_S)
        self._check()

    def _get(self, path: str) -> dict[str, Any] | None:
        """A JSON answer, None while there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self._ports.http, timeout=5)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self._credentials.token}"})
            response = connection.getresponse()
            body = response.read()
            answer = json.loads(body) if response.status == http.HTTPStatus.OK else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()
        return answer if isinstance(answer, dict) or answer is None else {}


def _say(text: str) -> None:
    sys.stderr.write(f"patrol demo: {text}\n")
    sys.stderr.flush()


def _shown(path: Path) -> str:
    """A path as the user would type it here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _version_hint(south: BrokerPlan) -> str:
    return "" if south.url == south.url5 else f"   (MQTT 5: {south.url5})"


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def _follow(log: Path) -> Iterator[Callable[[], list[str]]]:
    """What has happened in the community since the last call, a line for people each."""
    file: IO[str] | None = log.open(encoding="utf-8", errors="replace") if log.exists() else None

    def fresh() -> list[str]:
        lines = file.readlines() if file else []
        return [text for line in lines if (text := _event_line(line))]

    try:
        yield fresh
    finally:
        if file:
            file.close()


def _event_line(line: str) -> str:
    try:
        entry = json.loads(line)
    except ValueError:
        return ""
    if not isinstance(entry, dict) or "day_time" not in entry:
        return ""
    return f"{entry['day_time']} {entry.get('zh', '')} · {entry.get('en', '')}"
