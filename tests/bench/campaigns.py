"""A campaign at its limit of 100,000 gateways: what people ask of it, what a turn takes, a storm of outcomes.

The gateways are rows, all online; orders are given as those of the agent are, one retained message a gateway. Outcomes
come as ingest takes them, a transaction each, and the worker's ticks run between them.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cloud import loaded as _loaded  # noqa: F401 - enters handlers and kinds
from cloud import schema, timers
from cloud.db import open_database
from cloud.devices.campaigns import hooks, service
from cloud.devices.campaigns.models import MemberQuery, NewCampaign, PolicyBody
from cloud.devices.campaigns.rules import Standing
from cloud.devices.store import gateways
from cloud.ingest import outgoing
from cloud.org.rules import ROOT, Principal, Role
from tests.cloud.cloud_support import Cluster, initdb_path

from .results import Result, Table, percentile

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

    from cloud.db import Database

MEMBERS, TURNS, STORM = 100_000, 100, 5_000
NOW = 1_800_000_000_000
KIND = "bench"
ADA, BO = (Principal("user", n, name, Role.ADMINISTRATOR) for n, name in ((1, "ada"), (2, "bo")))
GATEWAY = {
    "node": ROOT, "location": "", "added_at": NOW, "online": True, "touched_at": NOW, "boot": "b",
    "agent_version": "1.0", "config_hash": "", "config_version": 0, "clock": "synced", "degraded": "", "lanes": "{}",
    "connectors": "{}", "counters": "{}",
}  # fmt: skip


def _start(tx: sa.Connection, campaign: int, _subject: hooks.Subject, gateway: str, _device: str, now: int) -> None:
    outgoing.put(tx, gateway, "desired/update", b"%d" % campaign, now)


def _stop(tx: sa.Connection, _campaign: int, _subject: hooks.Subject, gateway: str, _device: str, now: int) -> None:
    outgoing.clear(tx, gateway, "desired/update", now)


class Run:
    """One campaign from its draft to its return. spent: seconds of each transaction, by what it did."""

    def __init__(self, db: Database, members: int) -> None:
        self._db = db
        self._members = members
        self._now = NOW
        self.spent: dict[str, list[float]] = {}

    @contextmanager
    def timed(self, what: str, *, write: bool = True) -> Iterator[sa.Connection]:
        """A transaction whose time counts, its commit included."""
        begun = time.perf_counter()
        with self._db.begin() if write else self._db.read() as tx:
            yield tx
        self.spent.setdefault(what, []).append(time.perf_counter() - begun)

    def ticks(self, what: str, most: int = 10) -> None:
        """The worker's, at most so many, until nothing is due soon."""
        for _ in range(most):
            with self._db.read() as tx:
                due = timers.next_due(tx)
            if due is None or due > self._now + 1000:
                return
            self._now = max(self._now, due)
            with self.timed(what) as tx:
                timers.tick(tx, self._now)

    def play(self) -> None:
        """All of it."""
        with self._db.begin() as tx:
            for first in range(0, self._members, 5000):
                last = min(first + 5000, self._members)
                tx.execute(gateways.insert(), [{"id": f"gw-{n:06d}", **GATEWAY} for n in range(first, last)])
        policy = PolicyBody(waves=("1%", "100%"), soak_s=0, health=False, timeout_s=30 * 86_400)
        new = NewCampaign(kind=KIND, title="bench", subject={}, policy=policy)
        with self.timed("preview", write=False) as tx:
            service.preview(tx, ADA, new, NOW)
        with self.timed("choose", write=False) as tx:
            chosen = service.choose(tx, ADA, new, NOW)
        with self.timed("create") as tx:
            made = service.create(tx, ADA, new, NOW, chosen).id
        with self.timed("approve") as tx:
            service.approve(tx, BO, made, NOW)
        with self.timed("start") as tx:
            service.start(tx, ADA, made, NOW)
        self.ticks("a turn of the first wave", 30)
        self.tell(made, 10**9, ticks=0)
        self.ticks("a turn that starts 50 of the last wave", TURNS)
        self.looks(made)
        self.tell(made, STORM, ticks=4)
        for act in ("pause", "resume", "roll back"):
            with self.timed(act) as tx:
                getattr(service, act.replace(" ", "_"))(tx, ADA, made, self._now)
        self.ticks("a turn on the way back", TURNS // 2)

    def looks(self, campaign: int) -> None:
        """What pages ask while it runs."""
        cursor: str | None = None
        for _ in range(10):
            with self.timed("the list of campaigns", write=False) as tx:
                service.list_campaigns(tx, ADA)
            with self.timed("the campaign", write=False) as tx:
                service.get_campaign(tx, ADA, campaign)
            with self.timed("a page of members", write=False) as tx:
                page = service.list_members(tx, ADA, campaign, MemberQuery(cursor=cursor))
            cursor = page.next_cursor
            with self.timed("members under way", write=False) as tx:
                service.list_members(tx, ADA, campaign, MemberQuery(state=(Standing.STARTED,)))
            with self.timed("members by a part of the name", write=False) as tx:
                service.list_members(tx, ADA, campaign, MemberQuery(search="99"))

    def tell(self, campaign: int, most: int, ticks: int) -> None:
        """Who is under way succeeds, at most so many; a second holds 500 of them and some ticks."""
        cursor, told = None, 0
        while told < most:
            with self._db.read() as tx:
                query = MemberQuery(state=(Standing.STARTED,), limit=500, cursor=cursor)
                page = service.list_members(tx, ADA, campaign, query)
            for each in page.items:
                with self.timed("an outcome") as tx:
                    service.outcome(tx, campaign, each.gateway, "", True, "", self._now)
            told += len(page.items)
            self.ticks("a tick in the storm", ticks)
            cursor = page.next_cursor
            if cursor is None:
                return


def _table(name: str, run: Run, members: int) -> Table:
    rows: list[list[str | float | int]] = [
        [what, len(times), sum(times), *(1000 * percentile(times, share) for share in (0.5, 0.99)), 1000 * max(times)]
        for what, times in run.spent.items()
    ]
    columns = ("", "times", "together s", "p50 ms", "p99 ms", "worst ms")
    return Table(
        f"A campaign of {members:,} gateways, {name}", columns, rows,
        "Each row is one transaction. In the storm 500 gateways tell an outcome a second.",
    )  # fmt: skip


def run(*, quick: bool) -> Result:
    """The limit (a twentieth of it when quick), on SQLite and, where it is installed, on PostgreSQL."""
    members = MEMBERS // 20 if quick else MEMBERS
    hooks.KINDS[KIND] = hooks.Kind(start=_start, stop=_stop, back=_start)
    tables = []
    with tempfile.TemporaryDirectory() as directory:
        db = open_database("sqlite", Path(directory))
        try:
            schema.migrate(db)
            played = Run(db, members)
            played.play()
            tables.append(_table("SQLite", played, members))
        finally:
            db.close()
        initdb = initdb_path()
        if initdb:
            cluster = Cluster(initdb)
            db = open_database(cluster.fresh(), Path(directory))
            try:
                played = Run(db, members)
                played.play()
                tables.append(_table("PostgreSQL", played, members))
            finally:
                db.close()
                cluster.stop()
    return Result(tables)
