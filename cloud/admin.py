"""What the administrative verbs do: users, tokens, gateways; beside a running service and before the first start."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from cloud import importing, loaded, schema
from cloud.db import open_database
from cloud.devices import service as devices
from cloud.org import service as org
from cloud.org import tree, zones
from cloud.org.rules import ROOT, Principal, Role
from cloud.state import now_ms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from cloud.config import Config
    from cloud.db import Database
    from cloud.devices.models import GatewayView

assert loaded.LOADED  # noqa: S101 - loads what can be imported
OPERATOR: Final = Principal("system", 0, "patrol-cloud", Role.ADMINISTRATOR, ROOT)
"""Who acts at the command line: whoever may read the configuration may administer."""
FIRST_USER: Final = "admin"


@contextmanager
def database(config: Config) -> Iterator[Database]:
    """The database, migrated. Raises StoreError."""
    zones.use(config.time_zone)
    db = open_database(config.database.url, config.data_dir, config.database.password())
    try:
        schema.migrate(db)
        yield db
    finally:
        db.close()


def init(config: Config) -> str | None:
    """Bring the database up to date; the first user's password when there was no user yet."""
    with database(config) as db, db.begin() as tx:
        if org.list_users(tx):
            return None
        return org.add_user(tx, OPERATOR, FIRST_USER, Role.ADMINISTRATOR, now_ms())


def _path(tx: Connection, node: str | None) -> str | None:
    """The path of a node that was named by its code or path. Raises NotFound."""
    return None if node is None else tree.find_named(tx, OPERATOR, node).path


def add_user(config: Config, name: str, role: Role, node: str | None = None) -> str:
    """The new user's password. node: a code or a path, the root when absent."""
    with database(config) as db, db.begin() as tx:
        return org.add_user(tx, OPERATOR, name, role, now_ms(), node=_path(tx, node))


def reset_password(config: Config, name: str) -> str:
    """The user's new password."""
    with database(config) as db, db.begin() as tx:
        return org.reset_password(tx, OPERATOR, name, now_ms())


def disable_user(config: Config, name: str) -> None:
    """The user cannot sign in any more."""
    with database(config) as db, db.begin() as tx:
        org.disable_user(tx, OPERATOR, name, now_ms())


def import_file(config: Config, source: Path) -> dict[str, int]:
    """Bring the sections of a file in, all or none; how many of each. Raises ConfigError, RequestRefused."""
    sections = importing.read(source)
    with database(config) as db, db.begin() as tx:
        return importing.apply(tx, OPERATOR, sections, now_ms())


def list_users(config: Config) -> list[org.UserView]:
    """Every user."""
    with database(config) as db, db.read() as tx:
        return org.list_users(tx)


def add_token(config: Config, name: str, role: Role, days: float | None, node: str | None = None) -> str:
    """The new token. node: a code or a path, the root when absent."""
    now = now_ms()
    expires_at = None if days is None else now + round(days * 86_400_000)
    with database(config) as db, db.begin() as tx:
        return org.add_token(tx, OPERATOR, name, role, now_ms=now, expires_at=expires_at, node=_path(tx, node))


def revoke_token(config: Config, name: str) -> None:
    """The token is refused from now on."""
    with database(config) as db, db.begin() as tx:
        org.revoke_token(tx, OPERATOR, name, now_ms())


def list_tokens(config: Config) -> list[org.TokenView]:
    """Every token, without its secret."""
    with database(config) as db, db.read() as tx:
        return org.list_tokens(tx, now_ms())


def add_gateway(config: Config, name: str, location: str, node: str | None = None) -> None:
    """The gateway's packs are accepted from now on. node: a code or a path, the root when absent."""
    with database(config) as db, db.begin() as tx:
        devices.add_gateway(tx, OPERATOR, name, now_ms(), location)
        where = _path(tx, node)
        if where is not None:
            devices.place(tx, OPERATOR, name, None, where, now_ms())


def remove_gateway(config: Config, name: str) -> None:
    """The gateway's packs are refused from now on."""
    with database(config) as db, db.begin() as tx:
        devices.remove_gateway(tx, OPERATOR, name, now_ms())


def list_gateways(config: Config) -> list[GatewayView]:
    """Every gateway."""
    found: list[GatewayView] = []
    with database(config) as db, db.read() as tx:
        cursor: str | None = None
        while True:
            page = devices.list_gateways(tx, OPERATOR, limit=1000, cursor=cursor)
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                return found
