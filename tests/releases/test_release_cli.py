"""The ceremony at the command line: small steps, clear words, nothing in force before enough have signed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from cloud.admin import OPERATOR
from cloud.db import SQLITE_FILE, open_database
from cloud.devices.releases import service
from cloud.devices.releases.cli import PASSPHRASE, app
from cloud.org import audit

if TYPE_CHECKING:
    from pathlib import Path


class Desk:
    """A command line with a configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "cloud.toml").write_text(f'data_dir = "{folder}/data"\n')
        self.public: dict[str, Path] = {}

    def run(self, *words: str | Path, code: int = 0) -> str:
        argv = [str(word) for word in words]
        argv += [] if argv[0] == "key" else ["--config", str(self.folder / "cloud.toml")]
        done = CliRunner().invoke(app, argv)
        assert done.exit_code == code, f"{done.output}{done.exception}"
        return done.output or str(done.exception)

    def key(self, holder: str, role: str, *more: str) -> Path:
        self.run("key", role, "--to", self.folder / holder, *more)
        self.public[holder] = next((self.folder / holder).glob(f"{role}-*.pub"))
        return self.folder / holder

    def begin(self) -> None:
        self.key("ann", "root")
        self.key("bob", "root")
        self.key("cas", "targets")
        said = self.run(
            "init", "--root-key", self.public["ann"], "--root-key", self.public["bob"], "--targets-key",
            self.public["cas"],
        )  # fmt: skip
        assert "2 root keys, 2 of them have to sign" in said
        assert "when one of these root keys is lost" in said
        self.run("root-sign", "--keys", self.folder / "ann")
        self.run("root-sign", "--keys", self.folder / "bob")

    def add(self, name: str, *words: str, code: int = 0) -> str:
        file = self.folder / name
        file.write_bytes(name.encode())
        return self.run("add", file, *words, code=code)


@pytest.fixture
def desk(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Keys are encrypted with the passphrase of the environment."""
    monkeypatch.setenv(PASSPHRASE, "correct horse")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / SQLITE_FILE).write_bytes(sqlite_template.read_bytes())
    return Desk(tmp_path)


def test_the_ceremony_from_keys_to_a_publication(desk: Desk) -> None:
    assert "begin with" in desk.run("show")
    desk.begin()
    assert "nothing is published" in desk.run("verify", code=1)
    said = desk.add("agent-2.0.zip", "--kind", "agent", "--version", "2.0", "--notes", "faster")
    assert "added: agent/agent-2.0.zip" in said
    desk.add("fw.bin", "--kind", "firmware", "--model", "smoke-3", "--version", "1.1")
    assert "drafted    firmware/smoke-3/fw.bin" in desk.run("show")
    assert "targets 1 is in force with 1 signatures" in desk.run("publish", "--keys", desk.folder / "cas")
    assert "all of it holds" in desk.run("verify")
    shown = json.loads(desk.run("show", "--json"))
    assert shown["targets"] == ["agent/agent-2.0.zip", "firmware/smoke-3/fw.bin"]
    assert shown["draft"] is None
    assert "365.0 days left" in desk.run("show")
    desk.run("remove", "firmware/smoke-3/fw.bin")
    desk.run("publish", "--keys", desk.folder / "cas")
    desk.run("renew")
    db = open_database("sqlite", desk.folder / "data")
    with db.read() as tx:
        assert [target.path for target in service.targets(tx)] == ["agent/agent-2.0.zip"]
        rows = audit.rows_after(tx, OPERATOR, audit.Query(action="release"), 0, 50)
    db.close()
    assert [row["action"] for row in rows] == [
        "release.root-draft", "release.root-sign", "release.root-sign", "release.add", "release.add",
        "release.publish", "release.remove", "release.publish", "release.renew",
    ]  # fmt: skip


def test_keys_are_encrypted_private_and_never_shown(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    said = desk.run("key", "root", "--to", desk.folder / "vault")
    private = next((desk.folder / "vault").glob("*.pem"))
    assert b"ENCRYPTED" in private.read_bytes()
    assert private.stat().st_mode & 0o777 == 0o600
    assert (desk.folder / "vault").stat().st_mode & 0o777 == 0o700
    assert "PRIVATE" not in said
    desk.begin()
    monkeypatch.setenv(PASSPHRASE, "battery staple")
    assert "cannot be read" in desk.run("publish", "--keys", desk.folder / "cas", code=1)
    monkeypatch.setenv(PASSPHRASE, "short")
    assert "8 characters" in desk.run("key", "targets", "--to", desk.folder / "x", code=1)
    monkeypatch.setenv(PASSPHRASE, "correct horse")
    next((desk.folder / "cas").glob("*.pem")).chmod(0o644)
    assert "others may read" in desk.run("publish", "--keys", desk.folder / "cas", code=1)
    online = list((desk.folder / "data" / "updates" / "keys").glob("*.pem"))
    assert len(online) == 2
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in online)


def test_what_is_wrong_is_refused_with_the_reason(desk: Desk) -> None:
    desk.key("ann", "root")
    desk.key("cas", "targets")
    ann, cas = desk.public["ann"], desk.public["cas"]
    assert "threshold of 2" in desk.run("init", "--root-key", ann, "--targets-key", cas, code=1)
    assert "a key of targets, not of root" in desk.run(
        "init", "--root-key", cas, "--root-key", ann, "--targets-key", cas, code=1
    )
    assert "no root waits" in desk.run("root-sign", "--keys", desk.folder / "ann", code=1)
    assert "no root is in force" in desk.run("publish", "--keys", desk.folder / "cas", code=1)
    desk.begin()
    assert "in force already" in desk.run(
        "init", "--root-key", ann, "--root-key", desk.public["bob"], "--targets-key", cas, code=1
    )
    for words, reason in (
        (("--kind", "toy", "--version", "1"), "none of agent, firmware"),
        (("--kind", "agent", "--version", "new"), "not a version"),
        (("--kind", "firmware", "--version", "1"), "firmware for the model agent"),
        (("--kind", "agent", "--version", "1", "--path", "../x"), "not the path of a target"),
    ):
        assert reason in desk.add("a.zip", *words, code=2 if "toy" in words else 1)
    assert "none of the targets keys" in desk.run("publish", "--keys", desk.folder / "ann", code=1)
    assert "no such target" in desk.run("remove", "agent/none.zip", code=1)


def test_keys_are_changed_by_old_and_new_holders(desk: Desk) -> None:
    desk.begin()
    desk.add("agent-2.0.zip", "--kind", "agent", "--version", "2.0")
    desk.run("publish", "--keys", desk.folder / "cas")
    desk.key("dee", "root")
    desk.key("eve", "targets")
    gone = [json.loads(desk.public[holder].read_text())["keyid"][:12] for holder in ("ann", "cas")]
    desk.run(
        "root-change", "--add-root", desk.public["dee"], "--add-targets", desk.public["eve"], "--remove", gone[0],
        "--remove", gone[1], "--new-online-keys",
    )  # fmt: skip
    assert "missing" in desk.run("root-sign", "--keys", desk.folder / "dee")
    assert "missing" in desk.run("root-sign", "--keys", desk.folder / "bob"), "the old root wants two of its own"
    assert "first publish with the old and the new targets keys" in desk.run(
        "root-sign", "--keys", desk.folder / "ann", code=1
    )
    desk.run("publish", "--keys", desk.folder / "cas", "--keys", desk.folder / "eve")
    assert "root 2 is in force" in desk.run("root-sign", "--keys", desk.folder / "ann")
    assert "all of it holds" in desk.run("verify")
    assert "none of the targets keys" in desk.run("publish", "--keys", desk.folder / "cas", code=1)
    desk.run("publish", "--keys", desk.folder / "eve")
    assert "all of it holds" in desk.run("verify")


def test_a_targets_key_that_is_lost_is_replaced_by_the_holders_of_root(desk: Desk) -> None:
    desk.begin()
    desk.add("agent-2.0.zip", "--kind", "agent", "--version", "2.0")
    desk.run("publish", "--keys", desk.folder / "cas")
    lost = json.loads(desk.public["cas"].read_text())["keyid"][:12]
    for path in (desk.folder / "cas").iterdir():
        path.unlink()
    desk.key("eve", "targets")
    desk.run("root-change", "--add-targets", desk.public["eve"], "--remove", lost)
    assert f"of {lost} have to sign" in desk.run("show")
    desk.run("root-sign", "--keys", desk.folder / "ann")
    assert "when an old one is lost, with the new ones" in desk.run("root-sign", "--keys", desk.folder / "bob", code=1)
    assert "comes into force with it" in desk.run("publish", "--keys", desk.folder / "eve")
    assert "root 2 is in force" in desk.run("root-sign", "--keys", desk.folder / "bob")
    assert "all of it holds" in desk.run("verify")
    assert lost not in desk.run("show")
    assert "targets 3 is in force" in desk.run("publish", "--keys", desk.folder / "eve")


def test_wrong_turns_are_named(desk: Desk) -> None:
    assert "no key can be written there" in desk.run("key", "root", "--to", "/proc/none", code=1)
    desk.begin()
    assert "careful" not in desk.run("root-change")
    assert "takes the place of the draft before" in desk.run("root-change")
    assert "signed by nobody so far" in desk.run("show")
    assert "is the medium mounted?" in desk.run("root-sign", "--keys", desk.folder / "none", code=1)
    said = desk.add("fw.bin", "--kind", "firmware", "--model", "generic-smoke-cap", "--version", "1.1")
    assert "no profile that this cloud knows" in said
    assert 'did you mean "generic-smoke-coap"' in said
    assert "no platform such as" in desk.add("a.zip", "--kind", "agent", "--version", "1", "--platform", "arm", code=1)


def test_verify_names_what_a_gateway_would_refuse(desk: Desk) -> None:
    desk.begin()
    desk.add("agent-2.0.zip", "--kind", "agent", "--version", "2.0")
    desk.run("publish", "--keys", desk.folder / "cas")
    updates = desk.folder / "data" / "updates"
    file = next((updates / "targets" / "agent").iterdir())
    file.write_bytes(b"something else")
    assert "agent/agent-2.0.zip: its bytes" in desk.run("verify", code=1)
    stamp = updates / "metadata" / "timestamp.json"
    held = json.loads(stamp.read_text())
    held["signed"]["expires"] = "2001-01-01T00:00:00Z"
    stamp.write_text(json.dumps(held))
    said = desk.run("verify", code=1)
    assert "timestamp 1: not signed by enough keys" in said
    assert "expired 2001-01-01" in said
    (updates / "metadata" / "1.targets.json").unlink()
    assert "1.targets.json" in desk.run("verify", code=1)
