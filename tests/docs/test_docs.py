"""The documentation says what the code does: the reference is current, links lead somewhere, commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs import configuration

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "DECISIONS.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_configuration_reference_is_current() -> None:
    written = configuration.PAGE.read_text(encoding="utf-8")
    assert written == configuration.page(), "run: python tests/docs/configuration.py"


def test_every_key_of_the_configuration_has_a_meaning() -> None:
    empty = [line for line in configuration.page().splitlines() if re.search(r"\|\s*\|$", line)]
    assert not empty


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    broken = [
        target
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    verbs = set(re.findall(r"(patrol-(?:edge|cloud|sim|specs)) ([a-z]+)\b", page.read_text(encoding="utf-8")))
    missing = [(program, verb) for program, verb in sorted(verbs) if verb not in known_verbs(program)]
    assert not missing


def known_verbs(program: str, known: dict[str, set[str]] = {}) -> set[str]:  # noqa: B006 - kept for the whole run
    """The verbs that a program's help names."""
    if program not in known:
        path = Path(sys.executable).with_name(program)
        done = subprocess.run([path, "--help"], capture_output=True, text=True, timeout=30, check=True)
        known[program] = set(re.findall(r"^[ │]+([a-z]+)\s", done.stdout, re.MULTILINE))
    return known[program]
