"""Wrong use gives one-line errors: a line that names the thing and the cause, an exit code, never a traceback."""

from __future__ import annotations

import hashlib
import socket
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.system.harness import BIN, Stack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.system, pytest.mark.timeout(60)]
EDGE = 'gateway = "gw-1"\nstate_dir = "state"\n[uplink]\nurl = "mqtt://127.0.0.1:{dead}"\n'
DEVICE = '[[devices]]\nid = "d-1"\nprofile = "{profile}"\nconnector = "{connector}"\naddress = "a/b"\n'
MQTT = '[[connectors]]\nkind = "mqtt"\nurl = "mqtt://127.0.0.1:{dead}"\n'
CLOUD = 'data_dir = "data"\n[http]\nbind = "127.0.0.1:{free}"\n[broker]\nurl = "mqtt://127.0.0.1:{dead}"\n'


class Wrong(NamedTuple):
    """A wrong file, the words that run it, and what the error must say."""

    words: tuple[str, ...]
    text: str
    says: tuple[str, ...]


EDGE_WRONG = {
    "bad TOML": Wrong(("run",), "gateway = [", ("config.toml", "not TOML")),
    "not UTF-8": Wrong(("run",), "\udcff", ("config.toml", "UTF-8")),
    "unknown key": Wrong(
        ("run",), EDGE + '[[connectors]]\nkind = "serial"\nport = "/dev/x"\nbuad = 1\n', ("buad", "baud")
    ),
    "unknown table": Wrong(("run",), EDGE + "[outbocks]\n", ("outbocks", "outbox")),
    "missing key": Wrong(("run",), 'gateway = "gw-1"\nstate_dir = "s"\n', ("uplink",)),
    "unknown kind": Wrong(("run",), EDGE + '[[connectors]]\nkind = "mqqt"\n', ("mqqt",)),
    "unknown profile": Wrong(
        ("check",), EDGE + MQTT + DEVICE.format(profile="generic-smoke-senm", connector="mqtt"),
        ("generic-smoke-senm", "generic-smoke-senml"),
    ),
    "unknown connector": Wrong(
        ("run",), EDGE + MQTT + DEVICE.format(profile="generic-smoke-senml", connector="mqt"), ("mqt", "mqtt")
    ),
    "plain uplink abroad": Wrong(("run",), EDGE.replace("127.0.0.1", "203.0.113.1"), ("203.0.113.1", "mqtts")),
    "password in a url": Wrong(("run",), EDGE.replace("127.0.0.1", "u:secret@127.0.0.1"), ("password",)),
    "bad gateway name": Wrong(("run",), EDGE.replace("gw-1", "gw/1"), ("gateway",)),
}  # fmt: skip
CLOUD_WRONG = {
    "bad TOML": Wrong(("serve",), "data_dir = ", ("config.toml", "not TOML")),
    "unknown key": Wrong(("serve",), CLOUD + "[http2]\n", ("http2", "http")),
    "unknown key of a table": Wrong(("serve",), CLOUD + 'usr = "x"\n', ("usr", "user")),
    "public by mistake": Wrong(("serve",), CLOUD.replace("127.0.0.1:{free}", "0.0.0.0:{free}"), ("public = true",)),
    "unknown store": Wrong(("serve",), CLOUD + '[telemetry]\nurl = "influx://x"\n', ("influx://x",)),
    "unknown database": Wrong(("serve",), CLOUD + '[database]\nurl = "mysql://x/y"\n', ("mysql",)),
    "unknown time zone": Wrong(("serve",), 'time_zone = "Asia/Shangai"\n' + CLOUD, ("Asia/Shangai",)),
    "unreachable database": Wrong(
        ("serve",), CLOUD + '[database]\nurl = "postgresql://u@127.0.0.1:{dead}/d"\n', ("127.0.0.1",)
    ),
    "bad gateway name": Wrong(("gateway", "add", "gw/1"), CLOUD, ("gw/1",)),
    "unknown role": Wrong(("user", "add", "li", "--role", "emperor"), CLOUD, ("emperor",)),
}  # fmt: skip


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def _run(program: str, *words: str | Path, limit: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    argv = [*limit, str(BIN / program), *(str(word) for word in words)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=50, check=False)


def _write(folder: Path, text: str) -> Path:
    file = folder / "config.toml"
    filled = text.replace("{dead}", str(_free_port())).replace("{free}", str(_free_port()))
    file.write_text(filled, encoding="utf-8", errors="surrogateescape")
    return file


def _one_line(done: subprocess.CompletedProcess[str], says: tuple[str, ...], codes: tuple[int, ...] = (2,)) -> str:
    lines = done.stderr.strip().splitlines()
    assert done.returncode in codes, f"exit {done.returncode}: {done.stderr}"
    assert len(lines) == 1, f"{len(lines)} lines: {done.stderr}"
    assert "Traceback" not in done.stderr
    for words in says:
        assert words in lines[0], f"{words!r} not in {lines[0]!r}"
    return lines[0]


@pytest.mark.parametrize("case", EDGE_WRONG)
def test_wrong_gateway_toml_is_one_line(tmp_path: Path, case: str) -> None:
    wrong = EDGE_WRONG[case]
    done = _run("patrol-edge", *wrong.words, "--config", _write(tmp_path, wrong.text))
    if wrong.words == ("check",):
        said = done.stdout + done.stderr
        assert done.returncode == 1, said
        assert all(words in said for words in wrong.says), said
        assert "Traceback" not in said
    else:
        _one_line(done, wrong.says)


@pytest.mark.parametrize("case", CLOUD_WRONG)
def test_wrong_cloud_toml_is_one_line(tmp_path: Path, case: str) -> None:
    wrong = CLOUD_WRONG[case]
    done = _run("patrol-cloud", *wrong.words, "--config", _write(tmp_path, wrong.text))
    _one_line(done, wrong.says, (1, 2))


@pytest.mark.parametrize(
    ("program", "words"), [("patrol-edge", ("run",)), ("patrol-edge", ("outbox",)), ("patrol-cloud", ("serve",))]
)
def test_a_missing_file_is_one_line(tmp_path: Path, program: str, words: tuple[str, ...]) -> None:
    _one_line(_run(program, *words, "--config", tmp_path / "absent.toml"), ("absent.toml", "No such file"))


@pytest.mark.parametrize("program", ["patrol-edge", "patrol-cloud", "patrol-sim", "patrol-specs"])
def test_an_unknown_verb_is_misuse(program: str) -> None:
    done = _run(program, "fly")
    assert done.returncode == 2
    assert "fly" in done.stderr
    assert "Traceback" not in done.stderr


def _failed_check(config: Path, *says: str, limit: tuple[str, ...] = ()) -> str:
    done = _run("patrol-edge", "check", "--config", config, limit=limit)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    for words in says:
        assert words.lower() in said.lower(), f"{words!r} not in {said}"
    return said


def test_an_unreachable_broker_is_a_line_of_check(tmp_path: Path) -> None:
    port = _free_port()
    _failed_check(_write(tmp_path, EDGE.replace("{dead}", str(port))), f"127.0.0.1:{port}", "refused")


def test_a_coap_port_taken_is_a_line_of_check(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        coap = f'[[connectors]]\nkind = "coap"\nbind = "127.0.0.1:{port}"\n'
        _failed_check(_write(tmp_path, EDGE + coap), str(port), "taken")


def test_a_full_disk_is_a_line_of_check(tmp_path: Path) -> None:
    _failed_check(_write(tmp_path, EDGE), "disk", "state", limit=("prlimit", "--fsize=1"))


def test_a_full_disk_at_start_is_one_line_of_the_cloud(tmp_path: Path) -> None:
    done = _run("patrol-cloud", "init", "--config", _write(tmp_path, CLOUD), limit=("prlimit", "--fsize=1"))
    _one_line(done, ("data",), (1, 2))


def test_a_state_dir_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    _one_line(_run("patrol-edge", "run", "--config", _write(tmp_path, EDGE)), ("state",), (1, 2))
    (tmp_path / "data").write_text("")
    _one_line(_run("patrol-cloud", "serve", "--config", _write(tmp_path, CLOUD)), ("data",), (1, 2))


def test_an_http_port_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = _write(tmp_path, CLOUD.replace("{free}", str(port)))
        assert _run("patrol-cloud", "init", "--config", config).returncode == 0
        _one_line(_run("patrol-cloud", "serve", "--config", config), (str(port), "taken"), (1, 2))


def test_a_wrong_password_is_a_line_of_check(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    passwords = stack.folder / "passwords"
    passwords.write_text(_mosquitto_password("sensor", "right"))
    passwords.chmod(0o600)
    config = stack.folder / "south.conf"
    config.write_text(
        f"user root\nlistener {stack.south_port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n"
    )
    stack.start(stack.south, stack.north)
    secret = stack.folder / "secret"
    secret.write_text("not-that-one\n")
    text = stack.edge_toml.read_text().replace(
        'kind = "mqtt"\n', f'kind = "mqtt"\nuser = "sensor"\npassword_file = "{secret}"\n'
    )
    stack.edge_toml.write_text(text)
    assert "not-that-one" not in _failed_check(stack.edge_toml, "sensors", "password")
    secret.write_text("right\n")
    done = _run("patrol-edge", "check", "--config", stack.edge_toml)
    assert done.returncode == 0, done.stdout + done.stderr


def _mosquitto_password(user: str, password: str) -> str:
    """A line of mosquitto's password file: PBKDF2-SHA512, 101 rounds."""
    import base64

    salt = b"patrolgrid12"
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101, 64)
    return f"{user}:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}\n"


def test_a_second_agent_on_the_same_state_is_one_line(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    stack.start(stack.south, stack.north, stack.edge)
    done = _run("patrol-edge", "run", "--config", stack.edge_toml)
    _one_line(done, (str(stack.state_dir),), (1, 2))
    assert stack.edge.running.alive
