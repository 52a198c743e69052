"""Copy the console's libraries from node_modules to static/vendor, where they are committed.

Owns which files are served and the record of where they came from (`SOURCES.toml`). The copies are committed so that
the console works on a machine without node; a test compares them with what package-lock.json pins.
Run it after changing a version: `npm install --omit-lockfile-registry-resolved && npm run vendor`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
VENDOR: Final = Path(__file__).resolve().parent / "static" / "vendor"
FILES: Final = {
    "htmx.min.js": ("htmx.org", "dist/htmx.min.js"),
    "htmx.LICENSE": ("htmx.org", "LICENSE"),
    "leaflet.js": ("leaflet", "dist/leaflet.js"),
    "leaflet.css": ("leaflet", "dist/leaflet.css"),
    "leaflet.LICENSE": ("leaflet", "LICENSE"),
    "uplot.min.js": ("uplot", "dist/uPlot.iife.min.js"),
    "uplot.min.css": ("uplot", "dist/uPlot.min.css"),
    "uplot.LICENSE": ("uplot", "LICENSE"),
}
"""Served name to package and path in it."""


def pinned() -> dict[str, str]:
    """Package to version, as package-lock.json pins it."""
    lock = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))
    return {package: lock["packages"][f"node_modules/{package}"]["version"] for package, _ in FILES.values()}


def sources(files: dict[str, bytes]) -> str:
    """SOURCES.toml: for every served file its package, version, path and SHA-256."""
    versions = pinned()
    lines = ["# Written by cloud/console/vendor.py from node_modules; the versions are those of package-lock.json."]
    for name, data in files.items():
        package, path = FILES[name]
        lines += [
            f'\n["{name}"]',
            f'package = "{package}"',
            f'version = "{versions[package]}"',
            f'path = "{path}"',
            f'sha256 = "{hashlib.sha256(data).hexdigest()}"',
        ]
    return "\n".join(lines) + "\n"


def installed(modules: Path) -> dict[str, bytes]:
    """The files as npm installed them. Raises OSError when a package is not there."""
    return {name: (modules / package / path).read_bytes() for name, (package, path) in FILES.items()}


def main() -> int:
    """Copy, and say what was copied."""
    try:
        files = installed(ROOT / "node_modules")
    except OSError as e:
        print(f"{e.filename}: {e.strerror}; run npm ci first", file=sys.stderr)  # noqa: T201 - a command
        return 1
    VENDOR.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (VENDOR / name).write_bytes(data)
    (VENDOR / "SOURCES.toml").write_text(sources(files), encoding="utf-8")
    print(f"{len(files)} files in {VENDOR.relative_to(ROOT)}")  # noqa: T201 - a command
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
