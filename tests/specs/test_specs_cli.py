"""patrol-specs as a user types it: the installed command, its output and exit codes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from firmware_specs.load import BUILTIN, load_profile
from firmware_specs.showing import show_profile

COMMAND = Path(sys.executable).parent / "patrol-specs"


def specs(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


def test_check_prints_a_line_a_file() -> None:
    done = specs("check")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert len(lines) == len(list(BUILTIN.glob("*.toml")))
    assert all(line.startswith("ok   ") for line in lines)


def test_check_fails_for_a_bad_profile_and_a_golden_that_does_not_hold(tmp_path: Path) -> None:
    name = "generic-temperature-json.toml"
    (tmp_path / "golden").mkdir()
    (tmp_path / name).write_text((BUILTIN / name).read_text())
    golden = (BUILTIN / "golden" / name).read_text().replace("value = 21.5,", "value = 21.6,")
    (tmp_path / "golden" / name).write_text(golden)
    (tmp_path / "bad.toml").write_text("profil = 1")
    (tmp_path / "generic-door-opcua.toml").write_text((BUILTIN / "generic-door-opcua.toml").read_text())
    done = specs("check", tmp_path)
    assert done.returncode == 1
    bad, door, temperature = done.stdout.splitlines()
    assert bad == f'FAIL {tmp_path}/bad.toml: profil: unknown key (did you mean "profile"?)'
    assert door == f"ok   {tmp_path}/generic-door-opcua.toml: no golden file golden/generic-door-opcua.toml"
    assert temperature.endswith("all four fields: temperature: value 21.5, not 21.6")
    as_json = json.loads(specs("check", "--json", tmp_path / "bad.toml").stdout)
    assert as_json == [{"file": f"{tmp_path}/bad.toml", "errors": [bad.removeprefix("FAIL ")], "frames": 0, "note": ""}]


def test_check_reads_a_bad_golden_file_as_a_failure(tmp_path: Path) -> None:
    name = "generic-door-opcua.toml"
    (tmp_path / "golden").mkdir()
    (tmp_path / name).write_text((BUILTIN / name).read_text())
    for text, words in (
        ('source = "worked by hand"\nframes = []', "frames: tuple should have at least 1 item"),
        ('source = "worked by hand"\n[[frames]]\nname = "f"\nexpect = []', "frame 'f': either text or hex"),
        ('source = "worked by hand"\n[[frames]]\nname = "f"\ntext = ""', "frame 'f': either expect or error"),
        ('source = "worked by hand"\n[[frames]]\nname = "f"\nhex = "0x"\nexpect = []', "frame 'f': hex: "),
    ):
        (tmp_path / "golden" / name).write_text(text)
        done = specs("check", tmp_path / name)
        assert done.returncode == 1
        assert words in done.stdout
        assert len(done.stdout.splitlines()) == 1


def test_show_prints_metrics_and_alarms() -> None:
    done = specs("show", "generic-smoke-senml")
    assert done.returncode == 0, done.stderr
    assert "generic-smoke-senml" in done.stdout
    assert "Metrics" in done.stdout
    assert "Alarms" in done.stdout


@pytest.mark.parametrize("name", sorted(path.stem for path in BUILTIN.glob("*.toml")))
def test_every_profile_can_be_shown(name: str) -> None:
    out = io.StringIO()
    profile = load_profile(BUILTIN / f"{name}.toml")
    show_profile(profile, Console(file=out, width=200, markup=False))
    assert all(metric in out.getvalue() for metric in profile.metrics)
    assert all(rule.title.en in out.getvalue() for rule in profile.alarms)


def test_show_takes_a_file_and_prints_no_markup(tmp_path: Path) -> None:
    path = tmp_path / "generic-door-opcua.toml"
    text = (BUILTIN / "generic-door-opcua.toml").read_text()
    path.write_text(text.replace('en = "Door controller"', 'en = "[red]Door[/red]"'))
    assert "[red]Door[/red]" in specs("show", path).stdout


@pytest.mark.parametrize("connector", ["mqtt", "coap", "serial", "opcua"])
def test_new_writes_what_passes_check_and_never_overwrites(tmp_path: Path, connector: str) -> None:
    arguments = ("new", "--vendor", "Acme", "--model", "T 100", "--connector", connector, "--dir", tmp_path)
    done = specs(*arguments)
    assert done.stdout.splitlines() == [f"{tmp_path}/acme-t-100.toml", f"{tmp_path}/golden/acme-t-100.toml"]
    assert specs("check", tmp_path).stdout == f"ok   {tmp_path}/acme-t-100.toml: 3 golden frames\n"
    before = (tmp_path / "acme-t-100.toml").read_text()
    again = specs(*arguments)
    assert again.returncode == 2
    assert again.stderr == f"patrol-specs: {tmp_path}/acme-t-100.toml: exists and is not overwritten\n"
    assert (tmp_path / "acme-t-100.toml").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "generic-smoke-senm"), "no profile 'generic-smoke-senm' (did you mean \"generic-smoke-senml\"?)"),
        (("show", "nowhere.toml"), "patrol-specs: nowhere.toml: No such file or directory"),
        (("check", "nowhere.toml"), "nowhere.toml: no such file"),
        (("new", "--vendor", "a/b", "--model", "c"), "profile 'a/b-c': 1 to 64 letters"),
        (("new", "--vendor", "a", "--model", "c", "--connector", "lora"), "connector 'lora' (did you mean \"coap\"?)"),
        (("new", "--vendor", "a"), "--model"),
        (("chek",), "chek"),
    ],
)
def test_misuse_is_exit_2_and_names_the_cause(arguments: tuple[str, ...], words: str) -> None:
    done = specs(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stdout == ""
