"""The import rules: who may know whom, read from the sources; and what is loaded when, asked of a fresh interpreter."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("firmware_specs", "edge", "cloud", "simulators", "tests")
MAY_IMPORT = {
    "firmware_specs": {"firmware_specs"},
    "edge": {"edge", "firmware_specs"},
    "cloud": {"cloud", "firmware_specs"},
    "simulators": {"simulators", "firmware_specs"},
}
FORBIDDEN_LIBRARIES = {
    "edge": {
        "fastapi",
        "starlette",
        "uvicorn",
        "sqlalchemy",
        "alembic",
        "jinja2",
        "influxdb_client",
        "psycopg",
        "argon2",
        "apprise",
        "h3",
        "httpx",
        "jwt",
        "shapely",
        "weasyprint",
        "xlsxwriter",
    },
    "cloud": {"aiocoap", "asyncua", "serial"},
    "firmware_specs": {"paho", "aiocoap", "asyncua", "serial", "apsw", "fastapi", "sqlalchemy", "structlog"},
}
IMPURE = {
    "fastapi",
    "starlette",
    "sqlalchemy",
    "time",
    "datetime.now",
    "apsw",
    "sqlite3",
    "asyncio",
    "socket",
    "random",
}
PURE = [
    *sorted(ROOT.glob("cloud/**/rules.py")),
    *(ROOT / "firmware_specs" / name for name in ("alarms.py", "codec.py", "senml.py", "wire.py", "wire_items.py")),
    *(ROOT / "firmware_specs" / name for name in ("gateway_document.py", "tomltext.py")),
    *(ROOT / "cloud" / "devices" / "configs" / name for name in ("edits.py", "faults.py", "merge.py")),
    ROOT / "edge" / "configure_rules.py",
    *sorted(ROOT.glob("edge/codecs/*.py")),
]


def modules(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / package).rglob("*.py") if "static" not in path.parts)


def imports(path: Path, *, at_run_time: bool = False) -> list[tuple[int, str]]:
    """(line, module) of every import in a file, also those inside functions.

    at_run_time: without those that only annotations need.
    """
    found: list[tuple[int, str]] = []
    todo: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop(0)
        if at_run_time and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found.append((node.lineno, node.module or ""))
        todo += ast.iter_child_nodes(node)
    return sorted(found)


def top(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_know_only_whom_they_may(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {module}"
        for path in modules(package)
        for line, module in imports(path)
        if top(module) in OURS and top(module) not in MAY_IMPORT[package]
    ]
    assert wrong == []


@pytest.mark.parametrize("package", FORBIDDEN_LIBRARIES)
def test_packages_use_no_library_of_the_other_side(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {module}"
        for path in modules(package)
        for line, module in imports(path)
        if top(module) in FORBIDDEN_LIBRARIES[package]
    ]
    assert wrong == []


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_pure_modules_have_no_clock_database_or_network(path: Path) -> None:
    known = imports(path, at_run_time=True)
    assert [f"{line}: {module}" for line, module in known if top(module) in IMPURE] == []
    calls = {"now", "utcnow", "today", "time", "monotonic"}
    clocks = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in calls
        and isinstance(node.func.value, ast.Name) and node.func.value.id in {"datetime", "date", "time"}
    ]  # fmt: skip
    assert clocks == []


def test_a_folders_store_is_used_by_that_folder_only() -> None:
    """A folder of the cloud may use another's rules and service, never its store."""
    wrong = []
    for path in modules("cloud"):
        folder = path.relative_to(ROOT / "cloud").parts[0]
        for line, module in imports(path):
            parts = module.split(".")
            if len(parts) > 2 and parts[0] == "cloud" and parts[-1] == "store" and parts[1] != folder:
                wrong.append((path, line, module))
    # The telemetry folder is itself a store, and the migrations gather every table.
    allowed = {"telemetry"}
    assert [
        f"{path.relative_to(ROOT)}:{line}: {module}"
        for path, line, module in wrong
        if module.split(".")[1] not in allowed and "migrations" not in path.parts and path.name != "schema.py"
    ] == []


def loaded(statement: str, names: tuple[str, ...]) -> str:
    """Which of the modules a fresh interpreter has after a statement."""
    program = f"{statement}\nimport sys\nprint(' '.join(n for n in {names!r} if n in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


PROTOCOLS = ("paho", "aiocoap", "asyncua", "serial")


@pytest.mark.parametrize("module", ["edge.__main__", "edge.gateway", "edge.codecs", "firmware_specs.codec"])
def test_protocol_libraries_load_only_when_a_connector_needs_them(module: str) -> None:
    """A gateway without OPC UA must not carry its 50 MB; see the resident-memory budget."""
    names = PROTOCOLS[1:] if module == "edge.gateway" else PROTOCOLS  # the uplink always speaks MQTT
    assert loaded(f"import {module}", names) == ""


@pytest.mark.parametrize("module", ["edge.gateway", "firmware_specs.load"])
def test_command_line_libraries_stay_at_the_command_line(module: str) -> None:
    assert loaded(f"import {module}", ("typer", "click")) == ""


def test_the_rules_can_fail(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text("def f():\n    from cloud.db import x\n    import edge.outbox\n")
    assert imports(path) == [(2, "cloud.db"), (3, "edge.outbox")]
    assert loaded("import serial", PROTOCOLS) == "serial"
