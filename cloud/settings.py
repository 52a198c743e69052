"""What values of cloud.toml may be: addresses, time zones, secrets by file or environment.

Owns the kinds of value that several tables of the file share, and knows none of the tables.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator

from firmware_specs.errors import ConfigError
from firmware_specs.gateway_file import is_loopback

if TYPE_CHECKING:
    from pathlib import Path


def _bind(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f'{text!r} is not "address:port"')
    return text


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as e:
        raise ValueError(f"no such time zone: {text!r}") from e
    return text


def web_address(text: str) -> str:
    """An address of the web: https, or http on loopback, without user and fragment."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.fragment or parts.query:
        raise ValueError(f"{text!r} is not https://host")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError(f"{text!r}: plain http:// is accepted on loopback only; use https://")
    return text


Bind = Annotated[str, AfterValidator(_bind)]
TimeZone = Annotated[str, AfterValidator(_zone)]
WebAddress = Annotated[str, AfterValidator(web_address)]


def secret(file: Path | None, variable: str) -> str | None:
    """A secret from its file, else from the environment. Raises ConfigError when the file cannot be read."""
    if file is None:
        return os.environ.get(variable) or None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(file, "", getattr(e, "strerror", None) or str(e)) from e
