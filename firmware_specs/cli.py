"""How every command line of PatrolGrid ends: an error is one line on stderr, 2 is misuse and 1 is failure."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import typer

from firmware_specs.errors import ConfigError, PatrolError, ProfileError
from firmware_specs.readings import NameRefused

if TYPE_CHECKING:
    from collections.abc import Callable

_INTERRUPTED = 130


def run_app(
    app: typer.Typer | Callable[..., object], program: str, misuse: tuple[type[BaseException], ...] = ()
) -> NoReturn:
    """Run a typer application to its exit, turning whatever it raises on purpose into one line and a code.

    misuse: the program's own errors that mean misuse, beside ConfigError, ProfileError and NameRefused.
    """
    misused: tuple[type[BaseException], ...] = (ConfigError, ProfileError, NameRefused, *misuse)
    # The class is public only as the base of its public children.
    usage_error: type[BaseException] = typer.BadParameter.__mro__[1]
    try:
        code = app(prog_name=program, standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(_INTERRUPTED)
    except misused as e:
        _fail(program, str(e), 2)
    except (PatrolError, OSError) as e:
        _fail(program, str(e), 1)
    except usage_error as e:
        _fail(program, e.format_message() if hasattr(e, "format_message") else str(e), 2)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(program: str, message: str, code: int) -> NoReturn:
    # Help that is shown for want of a verb has lines of its own.
    print(message if "\n" in message.strip() else f"{program}: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(code)
