"""Command line of the device profiles: check, show, new.

Owns arguments, what is printed and exit codes: 1 when a profile fails, 2 for misuse.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from firmware_specs.cli import run_app
from firmware_specs.errors import nearest
from firmware_specs.load import BUILTIN, load_profile, load_profiles

app = typer.Typer(
    help="Device profiles: one TOML file says everything about a device type.", no_args_is_help=True,
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
)  # fmt: skip


@app.command()
def check(
    files: Annotated[list[Path] | None, typer.Argument(help="Profiles or folders of them; the built-in ones.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check profiles and decode their golden files; one line a file, exit 1 when one fails."""
    from firmware_specs.checking import check_profile  # noqa: PLC0415 - each verb loads only what it needs

    results = [check_profile(path) for path in _profile_files(files or [BUILTIN])]
    if as_json:
        print(json.dumps([result._asdict() | {"file": str(result.file)} for result in results], ensure_ascii=False))
    else:
        for result in results:
            print(result.line)
    if any(result.errors for result in results):
        raise typer.Exit(1)


@app.command()
def show(profile: Annotated[str, typer.Argument(help="A profile's name, or the path of its file.")]) -> None:
    """Show a profile as tables."""
    from firmware_specs.showing import show_profile  # noqa: PLC0415

    if profile.endswith(".toml"):
        show_profile(load_profile(Path(profile)))
        return
    profiles, _errors = load_profiles()
    if profile not in profiles:
        raise typer.BadParameter(f"no profile {profile!r}{nearest(profile, profiles)}")
    show_profile(profiles[profile])


@app.command()
def new(
    vendor: Annotated[str, typer.Option(help="Who makes the device: acme.")],
    model: Annotated[str, typer.Option(help="The device type: t100.")],
    connector: Annotated[str, typer.Option(help="mqtt, coap, serial or opcua.")] = "mqtt",
    folder: Annotated[Path, typer.Option("--dir", help="Where the file is written.")] = Path(),
) -> None:
    """Write a commented profile to start from, and its golden file; refuses to overwrite."""
    from firmware_specs.skeleton import SKELETONS, write_skeleton  # noqa: PLC0415

    if connector not in SKELETONS:
        raise typer.BadParameter(f"connector {connector!r}{nearest(connector, SKELETONS)}")
    for path in write_skeleton(folder, vendor, model, connector):
        print(path)


def _profile_files(given: list[Path]) -> list[Path]:
    files: list[Path] = []
    for path in given:
        if path.is_dir():
            files += sorted(path.glob("*.toml"))
        elif path.exists():
            files.append(path)
        else:
            raise typer.BadParameter(f"{path}: no such file")
    if not files:
        raise typer.BadParameter(f"{given[0]}: no *.toml in this folder")
    return files


def main() -> None:
    """Entry of `patrol-specs`."""
    run_app(app, "patrol-specs", misuse=(FileExistsError,))


if __name__ == "__main__":
    main()
