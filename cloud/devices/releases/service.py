"""What other folders may do with releases: read what is published, and what a gateway needs to follow it.

Owns the copy of the repository in the database, which every process reads; the files are what counts, and whoever
changed or renewed them brings the copy up to date. Loading it enters the campaign kind `agent`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from cloud import stream
from cloud.db import insert
from cloud.devices.releases import agents, rules
from cloud.devices.releases.books import targets
from cloud.devices.releases.models import ReleasesView, RoleView, TargetView
from cloud.devices.releases.store import repository as repositories
from cloud.devices.releases.store import targets as table
from cloud.org.rules import ROOT
from cloud.paging import at
from firmware_specs.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.config import Config
    from cloud.devices.releases.repository import Repository
    from firmware_specs.release import Target

__all__ = ["Bootstrap", "bootstrap", "open_repository", "show", "sync", "targets"]

LOADED: Final = (agents,)
FOLDER: Final = "updates"


class Bootstrap(NamedTuple):
    """What a gateway is given at its enrolment; all empty while no root is in force."""

    root: str
    metadata_url: str
    targets_url: str


def lifetimes(config: Config) -> rules.Lifetimes:
    """How long metadata is good for, by configuration."""
    updates, day = config.updates, rules.DAY_MS
    return rules.Lifetimes(
        updates.root_days * day, updates.targets_days * day, round(updates.snapshot_days * day),
        round(updates.timestamp_hours * day / 24),
    )  # fmt: skip


def open_repository(config: Config) -> Repository:
    """The repository's files."""
    from cloud.devices.releases.repository import Repository  # noqa: PLC0415 - loads python-tuf

    return Repository(config.data_dir / FOLDER, lifetimes(config))


def base_url(config: Config) -> str:
    """Where gateways reach the repository."""
    site = config.updates.url or config.http.public_url or f"http://{config.http.bind}"
    return f"{site.rstrip('/')}/{FOLDER}"


def bootstrap(tx: Connection) -> Bootstrap:
    """The root of trust, and where the repository is."""
    row = tx.execute(sa.select(repositories)).first()
    return Bootstrap(row.root, row.metadata_url, row.targets_url) if row else Bootstrap("", "", "")


def sync(tx: Connection, config: Config, files: Repository, now_ms: int) -> None:
    """Bring the database's copy up to date with the files. Raises StoreError when they cannot be read."""
    if not files.exists:
        return
    base = base_url(config)
    before = tx.execute(sa.select(repositories).with_for_update()).mappings().first()
    try:
        held, versions, expiries = files.listed(), files.versions(), files.expiries()
    except OSError as e:
        raise StoreError(str(files.folder), (e.strerror or str(e)).lower()) from e
    row: dict[str, Any] = {
        "metadata_url": f"{base}/metadata/", "targets_url": f"{base}/targets/", "root": files.root_text(),
        "versions": json.dumps(versions),
        "expiries": json.dumps({role: round(when.timestamp() * 1000) for role, when in expiries.items()}),
    }  # fmt: skip
    if before is not None and all(before[key] == value for key, value in row.items()) and held == targets(tx):
        return
    put = insert(tx, repositories).values(id=1, read_at=now_ms, **row)
    tx.execute(put.on_conflict_do_update(index_elements=["id"], set_={"read_at": now_ms, **row}))
    since = _since(tx)
    tx.execute(table.delete())
    if held:
        tx.execute(table.insert(), [_row(target, since.get(target.path, now_ms)) for target in held])
    stream.append(tx, "release", show(tx, lifetimes(config), now_ms), at=now_ms, node=ROOT)


def _since(tx: Connection) -> dict[str, int]:
    """By path, when a target was first seen published."""
    return {row.path: row.published_at for row in tx.execute(sa.select(table.c.path, table.c.published_at))}


def _row(target: Target, published_at: int) -> dict[str, Any]:
    return {
        "path": target.path, "kind": target.kind.value, "model": target.model, "version": target.version,
        "size": target.size, "sha256": target.sha256, "release": msgspec.json.encode(target.release).decode(),
        "published_at": published_at,
    }  # fmt: skip


def show(tx: Connection, lives: rules.Lifetimes, now_ms: int) -> ReleasesView:
    """What is published, and how long it is good for."""
    row = tx.execute(sa.select(repositories)).first()
    if row is None:
        return ReleasesView(published=False, metadata_url="", targets_url="", roles=[], targets=[])
    versions, expiries = json.loads(row.versions), json.loads(row.expiries)
    since = _since(tx)
    return ReleasesView(
        published="timestamp" in expiries, metadata_url=row.metadata_url, targets_url=row.targets_url,
        roles=[_role(role, versions[role], expiries[role], lives, now_ms) for role in rules.ROLES if role in expiries],
        targets=[_target(target, since[target.path]) for target in targets(tx)],
    )  # fmt: skip


def _role(role: str, version: int, expires_ms: int, lives: rules.Lifetimes, now_ms: int) -> RoleView:
    judge = rules.ending if role in rules.OFFLINE else rules.renewal_failed
    return RoleView(
        role=role, version=version, expires_at=at(expires_ms), days_left=rules.days_left(expires_ms, now_ms),
        offline=role in rules.OFFLINE, ending=judge(expires_ms, lives.of(role), now_ms),
    )  # fmt: skip


def _target(target: Target, published_ms: int) -> TargetView:
    release = target.release
    return TargetView(
        path=target.path, kind=target.kind, model=target.model, version=target.version, size=target.size,
        sha256=target.sha256, requires=release.requires, platform=release.platform, notes=release.notes,
        published_at=at(published_ms),
    )  # fmt: skip
