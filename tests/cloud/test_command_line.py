"""`patrol-cloud` as a user types it: what it prints, its exit codes, its one-line errors."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.cloud.cloud_support import wait_for

if TYPE_CHECKING:
    from tests import support

PROGRAM = Path(sys.executable).with_name("patrol-cloud")


def toml(folder: Path, more: str = "", *, database: str = "sqlite") -> Path:
    file = folder / "cloud.toml"
    file.write_text(f'data_dir = "data"\n{more}\n[database]\nurl = "{database}"\n')
    return file


def run(file: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    argv = [PROGRAM, *words, "--config", file]
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def refusal(file: Path, *words: str, code: int) -> str:
    """The one line that a refused command says."""
    done = run(file, *words, code=code)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("patrol-cloud: ")
    return lines[0].removeprefix("patrol-cloud: ")


def test_init_prints_the_first_password_once(tmp_path: Path) -> None:
    file = toml(tmp_path)
    first = run(file, "init").stdout.splitlines()
    assert first[0] == "user admin, password (shown once):"
    assert re.fullmatch(r"[\w-]{20}", first[-1])
    assert run(file, "init").stdout == "up to date\n"
    assert (tmp_path / "data" / "patrolgrid.db").exists(), "a relative data_dir is relative to the file"
    assert json.loads(run(file, "init", "--json").stdout) == {"name": None, "password": None}


def test_users_tokens_and_gateways(tmp_path: Path) -> None:
    file = toml(tmp_path)
    run(file, "gateway", "add", "gw-1")
    assert re.fullmatch(r"pg_[\w-]{43}", run(file, "token", "add", "bar").stdout.split()[-1])
    assert re.fullmatch(r"[\w-]{20}", run(file, "user", "add", "li", "--role", "dispatcher").stdout.split()[-1])
    run(file, "user", "passwd", "li")
    run(file, "user", "disable", "li")
    users = json.loads(run(file, "user", "list", "--json").stdout)
    assert users == [{"name": "li", "role": "dispatcher", "node": "/", "disabled": True}]
    run(file, "token", "revoke", "bar")
    tokens = json.loads(run(file, "token", "list", "--json").stdout)
    assert tokens == [{"name": "bar", "role": "dispatcher", "node": "/", "owner": None, "in_force": False}]
    assert [g["id"] for g in json.loads(run(file, "gateway", "list", "--json").stdout)] == ["gw-1"]
    assert "gw-1" in run(file, "gateway", "list").stdout
    run(file, "gateway", "remove", "gw-1")


def test_users_tokens_and_gateways_belong_to_a_node_of_an_imported_tree(tmp_path: Path) -> None:
    file, tree = toml(tmp_path), tmp_path / "tree.toml"
    tree.write_text('[[nodes]]\ncode = "Y"\nkind = "street"\nname_zh = "玉泉街道"\n')
    assert json.loads(run(file, "import", str(tree), "--json").stdout) == [{"section": "nodes", "rows": 1}]
    run(file, "user", "add", "li", "--role", "dispatcher", "--node", "Y")
    run(file, "token", "add", "bar", "--node", "/1/")
    run(file, "gateway", "add", "gw-1", "--node", "Y")
    assert json.loads(run(file, "user", "list", "--json").stdout)[0]["node"] == "/1/"
    assert json.loads(run(file, "token", "list", "--json").stdout)[0]["node"] == "/1/"
    assert refusal(file, "user", "add", "wu", "--role", "auditor", "--node", "Z", code=2) == "node Z: not known"
    tree.write_text('[[nodes]]\ncode = "Y"\nkind = "planet"\nname_zh = "x"\n')
    assert refusal(file, "import", str(tree), code=2).startswith("nodes[1] (Y): kind: input should be 'district'")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["user", "passwd", "nobody"], "user nobody: not known"),
        (["gateway", "remove", "gw-9"], "gateway gw-9: not known"),
        (["gateway", "add", "a/b"], "gateway 'a/b': 1 to 64 letters, digits and . _ : -, beginning with"),
        (["token", "revoke", "x"], "token x: not known"),
    ],
)
def test_what_does_not_exist_is_one_line(tmp_path: Path, words: list[str], said: str) -> None:
    assert refusal(toml(tmp_path), *words, code=2).startswith(said)


def test_misuse_is_exit_2(tmp_path: Path) -> None:
    file = toml(tmp_path)
    assert "'boss' is none of technician, property," in re.sub(
        r"[\s│]+", " ", run(file, "user", "add", "li", "--role", "boss", code=2).stderr
    )
    assert "'x' is none of all, api, ingest, worker" in re.sub(
        r"[\s│]+", " ", run(file, "serve", "--role", "x", code=2).stderr
    )
    run(file, "nonsense", code=2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data_dir = ", r"cloud\.toml: not TOML: "),
        ("[http]\nport = 1", r"cloud\.toml: http\.port: unknown key \(one of: bind, "),
        ("", r"cloud\.toml: data_dir: is missing"),
        ('data_dir = "x"\n[http]\nbind = "8000"', r"cloud\.toml: http\.bind: '8000' is not \"address:port\""),
        (
            'data_dir = "x"\n[http]\nbind = "0.0.0.0:1"',
            r"cloud\.toml: http: bind: .* set public = true if that is meant",
        ),
        ('data_dir = "x"\ntime_zone = "Mars"', r"cloud\.toml: time_zone: no such time zone: 'Mars'"),
        ('data_dir = "x"\n[broker]\nurl = "mqtt://example.org"', r"plain mqtt:// is accepted on loopback only"),
        ('data_dir = "x"\n[database]\nurl = "postgresql://a:b@c/d"', r"a password does not belong in the file"),
        ('data_dir = "x"\n[database]\nurl = "mysql://x"', r'neither "sqlite" nor postgresql://'),
        ('data_dir = "x"\n[telemetry]\nposition_days = 31', r"telemetry\.position_days: .*less than or equal to 30"),
    ],
)
def test_a_wrong_configuration_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text(text)
    assert re.search(said, refusal(file, "init", code=2))


def test_a_missing_configuration_is_one_line(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.toml", "init", code=2).endswith("none.toml: No such file or directory")


def test_a_database_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    said = refusal(toml(tmp_path, database="postgresql://x@127.0.0.1:1/y"), "init", code=1)
    assert said.startswith("postgresql://x@127.0.0.1:1/y: ")


def test_a_secret_file_that_is_missing_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text(
        'data_dir = "d"\n[database]\nurl = "postgresql://x@127.0.0.1:1/y"\npassword_file = "/none/secret"\n'
    )
    assert refusal(file, "init", code=2) == "/none/secret: No such file or directory"


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = toml(tmp_path, f'[http]\nbind = "127.0.0.1:{port}"')
        assert refusal(file, "serve", code=1) == f"127.0.0.1:{port}: port taken"


def test_serve_answers_works_beside_the_verbs_and_ends_by_a_signal(
    tmp_path: Path, start_process: support.StartProcess
) -> None:
    file = toml(tmp_path, '[http]\nbind = "127.0.0.1:0"')
    running = start_process(PROGRAM, "serve", "--role", "api", "--config", file)
    wait_for(lambda: "serving" in running.text(), 30, "the service")
    found = re.search(r"http://127\.0\.0\.1:\d+", running.text())
    assert found
    url = found[0]
    run(file, "gateway", "add", "gw-1")
    token = run(file, "token", "add", "t").stdout.split()[-1]
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as api:
        assert api.get("/readyz").json() == {"status": "ready"}
        assert api.get("/api/v1/gateways/gw-1").json()["id"] == "gw-1"
        assert token not in running.text(), "a log holds no secret"
        with api.stream("GET", "/api/v1/stream"):
            assert "a service is running on it; stop it first" in refusal(file, "restore", str(tmp_path), code=1)
            assert running.stop() == 0, "an open stream does not keep it"


def test_backup_and_restore(tmp_path: Path) -> None:
    file = toml(tmp_path)
    run(file, "gateway", "add", "gw-1")
    copy = tmp_path / "copy"
    key = tmp_path / "data" / "notify.key"
    key.write_bytes(b"what channels are sealed with")
    copied = [str(copy / "patrolgrid.db"), str(copy / "notify.key")]
    assert run(file, "backup", str(copy)).stdout.split() == copied
    assert (copy / "notify.key").stat().st_mode & 0o777 == 0o600
    key.unlink()
    run(file, "gateway", "remove", "gw-1")
    assert refusal(file, "backup", str(copy), code=1).endswith("exists and is not an empty directory")
    assert refusal(file, "restore", str(copy), code=1).endswith("patrolgrid.db exists; --force replaces it")
    run(file, "restore", str(copy), "--force")
    assert key.read_bytes() == b"what channels are sealed with"
    assert [g["id"] for g in json.loads(run(file, "gateway", "list", "--json").stdout)] == ["gw-1"]
    assert "no backup: manifest.json cannot be read" in refusal(file, "restore", str(tmp_path), code=1)
