"""The demo's cloud and gateway made ready by the commands a user would type.

Owns `cloud.toml` and `credentials.json` (0600) of a state folder: the first user, a token, the authority, and the claim
by which the gateway enrols. A second start finds them and is quick.
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from firmware_specs.errors import PatrolError
from simulators import organisation
from simulators.site import quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulators.demo_state import Ports
    from simulators.script import Community

PID_FILE: Final = "mosquitto.pid"
_ENROL_AGAIN_S: Final = 30 * 86400.0
"""The gateway renews its certificate by itself, where the cloud is while it lasts; a demo moves between starts."""
_COMMAND_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.1
FIRST_USER: Final = "admin"
DESKS: Final = ("dispatcher", "supervisor", "technician")
"""Whose tokens the simulated people have."""


class Credentials(NamedTuple):
    """How to sign in, for a person and for a program."""

    user: str
    password: str
    token: str


def command(program: str) -> str:
    """One of our console scripts, from the environment that this process runs in."""
    beside = Path(sys.executable).parent / program
    return str(beside) if beside.exists() else program


class Uplink(NamedTuple):
    """How gateways reach the cloud. cloud_url: how the cloud reaches their broker. gateway_url: how they do.

    folder: where the cloud keeps the broker's configuration, None for a broker that knows nobody.
    """

    cloud_url: str
    gateway_url: str
    folder: Path | None


def write_cloud_toml(state: Path, ports: Ports, uplink: Uplink) -> Path:
    """The cloud's configuration; written anew at each start, since ports change."""
    path = state / "cloud.toml"
    kept = ""
    if uplink.folder:
        user = f"user = {quoted(getpass.getuser())}\n" if os.geteuid() == 0 else ""
        kept = (
            f"[mosquitto]\ndir = {quoted(str(uplink.folder))}\n"
            f"reload = {quoted(f'signal:{uplink.folder / PID_FILE}')}\n{user}"
            f'bind = "127.0.0.1:{ports.uplink}"\ncloud_bind = "127.0.0.1:{ports.cloud}"\n\n'
        )
    path.write_text(
        f"# Written by ./patrol demo at each start.\ndata_dir = {quoted(str(state / 'cloud'))}\n\n"
        f'[http]\nbind = "127.0.0.1:{ports.http}"\n\n[broker]\nurl = {quoted(uplink.cloud_url)}\n\n'
        f'[est]\nbind = "127.0.0.1:{ports.est}"\n\n[enrolment]\nbroker_url = {quoted(uplink.gateway_url)}\n\n{kept}'
        '[telemetry]\nurl = "sqlite"\n\n[database]\nurl = "sqlite"\n',
        encoding="utf-8",
    )
    return path


def ensure(state: Path, config: Path, check: Callable[[], None]) -> Credentials:
    """The credentials of this state; made on the first start, with the authority that gateways enrol with.

    check: called all the time, raises to give up. Raises PatrolError when a command fails.
    """
    path = state / "credentials.json"
    try:
        credentials = Credentials(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        # A first start that was cut short left a cloud that nobody has the password of.
        for name in ("cloud", "authority-root", "edge"):
            shutil.rmtree(state / name, ignore_errors=True)
        for name in ("organisation.json", "people.json", "enrolled.toml"):
            (state / name).unlink(missing_ok=True)
        password = _last_word(_run(check, "init", "--config", config))
        token = _last_word(_run(check, "token", "add", "demo", "--role", "administrator", "--config", config))
        credentials = Credentials(FIRST_USER, password, token)
        _write_private(path, json.dumps(credentials._asdict()))
    if not (state / "cloud" / "authority" / "intermediate.pem").exists():
        shutil.rmtree(state / "authority-root", ignore_errors=True)
        hosts = ("--host", "localhost", "--host", "127.0.0.1")
        where = ("--root-dir", state / "authority-root", "--site", "demo")
        _run(check, "authority", "init", *where, *hosts, "--config", config)
    return credentials


def write_broker(folder: Path, config: Path, check: Callable[[], None]) -> Path:
    """Have the cloud write its broker's configuration; the file to start it with. Raises PatrolError."""
    _run(check, "broker", "write", folder, "--config", config)
    return folder / "mosquitto.conf"


def enrol(state: Path, config: Path, gateway: str, check: Callable[[], None]) -> Path:
    """Enrol the gateway by a claim unless it has been lately; the folder of its certificate. The cloud must serve.

    Raises PatrolError when it is refused.
    """
    done = state / "enrolled.toml"
    identity = state / "edge" / "identity" / "current"
    if not (done.exists() and identity.exists() and time.time() - done.stat().st_mtime < _ENROL_AGAIN_S):
        known = json.loads(_run(check, "gateway", "list", "--json", "--config", config))
        node = next((each["node"] for each in known if each["id"] == gateway), "/")
        asked = ("--node", node, "--gateway", gateway, "--json", "--config", config)
        claim = json.loads(_run(check, "claim", "add", *asked))
        done.unlink(missing_ok=True)
        _execute(
            check, "patrol-edge", "enrol", claim["url"], "--claim", claim["code"], "--root", claim["fingerprint"],
            "--config", done, "--state", state / "edge",
        )  # fmt: skip
        done.touch()
    return identity


def organise(state: Path, config: Path, community: Community, gateway: str, check: Callable[[], None]) -> Path:
    """Bring the community's organisation in and give its desks their tokens, the first time.

    Shifts begin with it; when they are over, it is brought in again with new ones.

    Returns the desks' file, without its address: `address_desks` adds it. Raises PatrolError.
    """
    file = state / "organisation.json"
    if not file.exists() or time.time() - file.stat().st_mtime > organisation.SHIFT_H * 3600:
        part = state / "organisation.new.json"
        organisation.write(part, community, gateway, datetime.now(UTC))
        _run(check, "import", part, "--config", config)
        part.replace(file)
    desks = state / "people.json"
    tokens = json.loads(desks.read_text(encoding="utf-8"))["tokens"] if desks.exists() else {}
    for role in DESKS:
        if role not in tokens:
            tokens[role] = _last_word(
                _run(check, "token", "add", f"desk-{role}", "--role", role, "--config", config)
            )  # fmt: skip
            _write_private(desks, json.dumps({"url": "", "tokens": tokens}))
    return desks


def address_desks(desks: Path, url: str) -> None:
    """Tell the desks where the cloud is at this start."""
    known = json.loads(desks.read_text(encoding="utf-8"))
    _write_private(desks, json.dumps(known | {"url": url}))


def _run(check: Callable[[], None], *arguments: str | Path) -> str:
    """The output of one `patrol-cloud` command."""
    return _execute(check, "patrol-cloud", *arguments)


def _execute(check: Callable[[], None], program: str, *arguments: str | Path) -> str:
    """The output of one of our commands. In a session of its own: Ctrl-C is ours to handle."""
    argv = [command(program), *(str(a) for a in arguments)]
    what = " ".join([program, *argv[1:3]])
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
    except OSError as e:
        raise PatrolError(f"{argv[0]}: {e.strerror or e}") from e
    deadline = time.monotonic() + _COMMAND_TIMEOUT_S
    try:
        while process.poll() is None and time.monotonic() < deadline:
            check()
            time.sleep(_POLL_S)
    finally:
        process.kill()
        out, err = process.communicate()
    if process.returncode:
        lines = (err or out).strip().splitlines() or [f"no answer within {_COMMAND_TIMEOUT_S:.0f} s"]
        raise PatrolError(f"{what}: exit code {process.returncode}: {lines[-1]}")
    return out


def _last_word(stdout: str) -> str:
    """A secret stands alone on the last line of stdout."""
    words = stdout.split()
    if not words:
        raise PatrolError("patrol-cloud printed no secret")
    return words[-1]


def _write_private(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
