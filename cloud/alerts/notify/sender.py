"""The worker's part: takes what is due and sends it, each delivery in a thread of its own.

At most `PER_CHANNEL` of one channel are under way and at most `AT_ONCE` of all, so a slow channel delays itself only.
Nothing is sent inside a transaction. When the service ends, what is under way gets a moment to end; what has not by
then is sent again by whoever comes next.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections import Counter
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

import structlog

from cloud import metrics
from cloud.alerts.notify import apprises, guard, queue, rules, targets, texts, webhook
from cloud.alerts.notify.channels import hosts_of
from cloud.alerts.notify.deliveries import forget
from cloud.alerts.notify.queue import Outcome, Taken
from cloud.alerts.notify.seal import Seal
from cloud.alerts.notify.targets import Kind
from cloud.errors import Invalid
from cloud.paging import at
from cloud.state import now_ms
from cloud.threads import in_thread
from firmware_specs.errors import LinkError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloud.alerts.notify.guard import Resolver
    from cloud.config import Config
    from cloud.db import Database
    from cloud.state import AppState

PER_CHANNEL: Final = 2
AT_ONCE: Final = 64
LOOK_S: Final = 0.5
FIGURES_MS: Final = 5000
HOUSE_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
END_WITHIN_S: Final = 2.0
log: Final = structlog.get_logger("notify")


async def run(state: AppState) -> None:
    """Send what is due until cancelled."""
    await Sender(state.config, state.db).run()


class Sender:
    """Sends deliveries. clock, resolver and context are given by tests."""

    def __init__(
        self, config: Config, db: Database, *, clock: Callable[[], int] = now_ms, resolver: Resolver = guard.resolve,
        context: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        self._db = db
        self._data_dir = config.data_dir
        self._allowed = hosts_of(config.notify.allow_hosts)
        self._timeout_s = config.notify.timeout_s
        self._keep_ms = config.notify.keep_days * DAY_MS
        self._lease_ms = round(self._timeout_s * 4000) + 5000
        self._clock = clock
        self._resolver = resolver
        self._context = context or ssl.create_default_context()
        self._busy: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._done = asyncio.Event()
        self._counted_at = self._kept_at = 0

    async def run(self) -> None:
        """Until cancelled. A store that refuses is asked again; what is due stays due."""
        try:
            while True:
                self._done.clear()
                try:
                    await self.look()
                except StoreError as e:
                    log.warning("deliveries cannot be looked at", error=str(e))
                await self._pause()
        finally:
            await self._end()

    async def _pause(self) -> None:
        """For a while, or until a place is free again."""
        try:
            async with asyncio.timeout(LOOK_S):
                await self._done.wait()
        except TimeoutError:
            pass

    async def _end(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=END_WITHIN_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def look(self) -> int:
        """Take what is due and begin to send it; how many."""
        taken = await in_thread(self._take)
        for each in taken:
            self._busy[each.channel] += 1
            task = asyncio.create_task(self._send(each), name=f"delivery-{each.id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return len(taken)

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def _take(self) -> list[Taken]:
        now = self._clock()
        if not 0 <= now - self._counted_at < FIGURES_MS:
            self._counted_at = now
            with self._db.read() as tx:
                waiting, age_s = queue.figures(tx, now)
            metrics.NOTIFY_WAITING.set(waiting)
            metrics.NOTIFY_OLDEST.set(age_s)
        if not 0 <= now - self._kept_at < HOUSE_MS:
            self._kept_at = now
            with self._db.begin() as tx:
                forget(tx, now - self._keep_ms)
        places = AT_ONCE - self._busy.total()
        if places <= 0:
            return []
        with self._db.read() as tx:
            due = queue.next_at(tx)
        if due is None or due > now:
            return []
        free = {channel: PER_CHANNEL - count for channel, count in self._busy.items()}
        with self._db.begin() as tx:
            return queue.take(tx, now, self._lease_ms, free=free, most=PER_CHANNEL, places=places)

    async def _send(self, taken: Taken) -> None:
        try:
            outcome = await _apart(self.deliver, taken, f"deliver-{taken.id}")
            await in_thread(self._note, taken, outcome)
        except StoreError as e:  # it stays taken for a while, and is then sent again
            log.warning("a delivery's outcome cannot be noted", delivery=taken.id, error=str(e))
        finally:
            self._busy[taken.channel] -= 1
            if self._busy[taken.channel] <= 0:
                del self._busy[taken.channel]
            self._done.set()

    def _note(self, taken: Taken, outcome: Outcome) -> None:
        with self._db.begin() as tx:
            queue.note(tx, taken, outcome, self._clock())
        if not outcome.sent:
            log.warning("a delivery failed", delivery=taken.id, channel=taken.channel, attempt=taken.attempt)

    def deliver(self, taken: Taken) -> Outcome:
        """One try, in the calling thread. Whatever goes wrong is its outcome."""
        try:
            seal = Seal(self._data_dir)
            target = targets.parse(taken.kind, seal.open(taken.target))
            if taken.kind is Kind.WEBHOOK:
                return self._post(taken, target, seal.open(taken.secret or ""))
            receipt = apprises.send(
                target, texts.Text(taken.title, taken.body), allowed=self._allowed, resolver=self._resolver,
                timeout_s=self._timeout_s,
            )  # fmt: skip
        except (Invalid, LinkError, StoreError) as e:
            return Outcome(False, texts.plain(str(e)))
        return Outcome(True, receipt)

    def _post(self, taken: Taken, target: targets.Target, secret: str) -> Outcome:
        trusted = apprises.check(target, self._allowed)
        addresses = guard.addresses(target.host, target.port, self._resolver, trusted=trusted)
        body = _body(taken)
        headers = {
            "Content-Type": "application/json", "User-Agent": "PatrolGrid", "X-PatrolGrid-Delivery": taken.name,
            "X-PatrolGrid-Signature": rules.signature(secret, self._clock() // 1000, body), "Connection": "close",
        }  # fmt: skip
        answer = webhook.post(
            target, addresses, body, headers, timeout_s=self._timeout_s, context=self._context
        )  # fmt: skip
        said = texts.plain(apprises.struck(target, answer.text), 200)
        if 300 <= answer.status < 400:
            return Outcome(False, f"HTTP {answer.status}: a redirect, which is not followed")
        return Outcome(200 <= answer.status < 300, f"HTTP {answer.status}{f': {said}' if said else ''}")


def _body(taken: Taken) -> bytes:
    """What a webhook's receiver gets."""
    told: dict[str, Any] = {
        "delivery": taken.name, "attempt": taken.attempt, "subject": taken.subject, "subject_id": taken.subject_id,
        "node": taken.node, "language": taken.language, "title": taken.title, "body": taken.body,
        "urgent": taken.urgent, "drill": taken.drill, "created_at": at(taken.created_at).isoformat(),
    }  # fmt: skip
    return json.dumps(told, ensure_ascii=False).encode()


async def _apart(call: Callable[[Taken], Outcome], taken: Taken, name: str) -> Outcome:
    """Call in a thread that keeps nobody from ending: a sending that hangs is left behind, and sent again later."""
    result: Future[Outcome] = Future()

    def work() -> None:
        try:
            outcome = call(taken)
        except Exception as e:  # the thread's entry: what nobody foresaw is a failed try like any other
            log.exception("a delivery failed unforeseen", delivery=taken.id, channel=taken.channel)
            outcome = Outcome(False, f"unforeseen: {type(e).__name__}")
        result.set_result(outcome)

    threading.Thread(target=work, name=name, daemon=True).start()
    return await asyncio.wrap_future(result)
