"""The judge: takes evidence from its queue, decides what posts are, and writes it; one process at a time.

Owns the memory of the machines, the lease by which one worker of several judges, and the rows of `post_history`.
A turn is one transaction. A post is judged anew from the earliest time at which what is known of it changed, up to the
present, from all that is known, so its history does not depend on the order in which evidence came. Whatever fails, the
memory is dropped and made again from the rows.
"""

from __future__ import annotations

import heapq
import uuid
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DataError, IntegrityError, StatementError

from cloud import metrics, stream
from cloud.alerts import service as alerts
from cloud.db import many
from cloud.devices.rules import GATEWAY_KIND
from cloud.paging import at as time_of
from cloud.presence import hooks, patrols, plan, tracks, vigil, world
from cloud.presence.models import PresenceView
from cloud.presence.rosters import lookup
from cloud.presence.rules import (
    LOOKBACK_MS,
    MINUTE_MS,
    Moment,
    PostState,
    Reason,
    Standing,
    Term,
    expiries,
    standing,
    timeline,
    unfolded,
)
from cloud.presence.store import evidence, judges, post_history, posts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Row

    from cloud.db import Database
    from cloud.presence.rosters.service import Duty
    from cloud.presence.tracks import Track
    from cloud.presence.world import Post

BATCH: Final = 1000
POSTS_A_TURN: Final = 50
"""Posts judged in a turn beside those whose evidence it takes; the others wait for the next."""
REFRESH_MS: Final = 10_000
LEASE_MS: Final = 10_000
AHEAD_MS: Final = 3_600_000
_DONE: Final = "UPDATE evidence SET done = ? WHERE id = ?"
_REJECTED: Final = (DataError, IntegrityError, StatementError, ArithmeticError, LookupError, TypeError, ValueError)
"""What is said of evidence, or by a listener about it, that no later try would change."""
log: Final = structlog.get_logger("presence")
_PUT_MOMENT: Final = 'INSERT INTO post_history(post, "at", state, reason, present, required) VALUES (?, ?, ?, ?, ?, ?)'


class Judge:
    """Judges presence in one database. One thread at a time."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._name = uuid.uuid4().hex
        self._most = BATCH
        self._forget()

    def _forget(self) -> None:
        self._plan: int | None = None
        self._refreshed = 0
        self._watched = 0
        self._looked = 0
        self._until = 0
        self._posts: dict[int, Post] = {}
        self._duties: dict[int, Duty] = {}
        self._by_post: dict[int, list[Duty]] = {}
        self._tracks: dict[int, Track] = {}
        self._patrols = patrols.Patrols()
        self._dirty: dict[int, int] = {}
        self._due: list[tuple[int, int]] = []
        self._behind: int | None = None
        """While there is something to catch up with: from before when it is."""

    def turn(self, now_ms: int) -> int:
        """Take up to 1,000 pieces of evidence and what has come due. How many pieces were taken.

        Raises StoreError when the database cannot serve now; the next turn begins from its rows.
        """
        if not self._wanted(now_ms):
            return 0
        try:
            with self._db.begin() as tx:
                taken = self._turn(tx, now_ms)
        except _REJECTED:
            self._forget()
            metrics.PRESENCE_FAILURES.inc()
            log.exception("evidence cannot be judged", most=self._most)
            self._most = max(self._most // 8, 1) if self._most > 1 else 0
            return 0
        except BaseException:
            self._forget()
            raise
        if self.held and self._plan is not None:
            self._pass_over()
        self._most = min(self._most * 2, BATCH) or 1
        return taken

    @property
    def held(self) -> bool:
        """Whether no evidence is taken: one piece alone failed; the next turn tells whether the fault is its own."""
        return self._most == 0

    def _pass_over(self) -> None:
        """Without any evidence a turn went well, so it is the first piece that cannot be taken."""
        first = sa.select(sa.func.min(evidence.c.id)).where(evidence.c.done.is_(False)).scalar_subquery()
        with self._db.begin() as tx:
            tx.execute(evidence.update().where(evidence.c.id == first).values(done=True))

    def _wanted(self, now_ms: int) -> bool:
        """Whether there is anything to do, without a write."""
        due = bool(self._dirty) or bool(self._due and self._due[0][0] <= now_ms)
        if due or self._plan is None or not 0 <= now_ms - self._refreshed < REFRESH_MS:
            return True
        waiting = sa.select(evidence.c.id).where(evidence.c.done.is_(False)).limit(1)
        with self._db.read() as tx:
            plan_now = tx.execute(sa.select(judges.c.plan)).scalar()
            return plan_now != self._plan or tx.execute(waiting).first() is not None

    def _turn(self, tx: Connection, now_ms: int) -> int:
        if not self._claim(tx, now_ms):
            return 0
        if not 0 <= now_ms - self._refreshed < REFRESH_MS:
            self._read_duties(tx, now_ms)
        if not 0 <= now_ms - self._watched < REFRESH_MS:
            self._watched = now_ms
            patrols.watch(tx, self._patrols, now_ms)
            vigil.reconcile(tx, self._posts, now_ms)
        wanted = sa.select(evidence).where(evidence.c.done.is_(False)).order_by(evidence.c.id).limit(self._most)
        rows = tx.execute(wanted).all()
        heard: list[int] = []
        if rows:
            self._behind = min(rows[0].received_at, now_ms if self._behind is None else self._behind)
            heard = self._take(tx, rows, now_ms)
        while self._due and self._due[0][0] <= now_ms:
            due, post = heapq.heappop(self._due)
            if post in self._posts and self._posts[post].due == due:
                self._mark(post, due)
        self._judge(tx, heard, now_ms)
        if not 0 <= now_ms - self._looked < MINUTE_MS:
            self._looked = now_ms
            patrols.look_around(tx, self._patrols, self._duties.values(), now_ms)
        if not rows and not self._dirty:
            self._behind = None
        return len(rows)

    def _cutoff(self, now_ms: int) -> int:
        """What happened before it changes no history any more."""
        return min(now_ms, now_ms if self._behind is None else self._behind) - LOOKBACK_MS

    # ---- who judges, and by what plan

    def _claim(self, tx: Connection, now_ms: int) -> bool:
        """Whether this process judges; reads everything anew when it did not before, and the plan when it changed."""
        row = tx.execute(sa.select(judges).where(judges.c.id == 1).with_for_update()).first()
        if row is None:
            plan.changed(tx)
            row = tx.execute(sa.select(judges).where(judges.c.id == 1).with_for_update()).one()
        mine = row.owner == self._name
        if not mine and row.owner and now_ms < row.until <= now_ms + 2 * LEASE_MS:
            self._forget()
            return False
        if not mine or row.until - now_ms < LEASE_MS // 2 or row.until > now_ms + 2 * LEASE_MS:
            values = {"owner": self._name, "until": now_ms + LEASE_MS}
            tx.execute(judges.update().where(judges.c.id == 1).values(values))
        if not mine or self._plan is None:
            self._forget()
            awake = min(row.until - LEASE_MS, now_ms) if row.owner else now_ms
            self._behind = awake
            self._read_plan(tx, row.plan, now_ms)
            # What was decided before the last judge fell silent stands: only the time since is to be judged.
            self._dirty = {
                post.id: max(post.judged_from, awake) if post.history else post.judged_from
                for post in self._posts.values()
            }
        elif row.plan != self._plan:
            self._read_plan(tx, row.plan, now_ms)
        return True

    def _read_plan(self, tx: Connection, number: int, now_ms: int) -> None:
        before = self._posts
        self._posts = world.load_posts(tx, before, self._cutoff(now_ms))
        for post in self._posts.values():
            old = before.get(post.id)
            if old is None or old.judged_from != post.judged_from:
                self._tracks = {n: track for n, track in self._tracks.items() if track.duty.post != post.id}
                self._mark(post.id, post.judged_from)
        for changed in world.requirements(tx, self._posts, now_ms):
            self._mark(changed, self._posts[changed].required[-1][0])
        self._patrols = patrols.load(tx, now_ms)
        self._plan = number
        self._read_duties(tx, now_ms)

    def _read_duties(self, tx: Connection, now_ms: int) -> None:
        """Bring the roster up to date; posts whose duties changed are judged anew from then."""
        cutoff = self._cutoff(now_ms)
        found = {duty.shift: duty for duty in lookup.duties(tx, cutoff, now_ms + AHEAD_MS)}
        for shift in self._duties.keys() | found.keys():
            old, new = self._duties.get(shift), found.get(shift)
            if old == new or (new is None and old is not None and old.ends_at <= cutoff):
                continue
            for duty in (old, new):
                if duty is not None and duty.post in self._posts:
                    self._mark(duty.post, _changed_at(old, new))
            if old is not None and new is not None and shift in self._tracks:
                if (old.post, old.starts_at) == (new.post, new.starts_at):
                    self._tracks[shift].duty = new
                else:
                    del self._tracks[shift]
                    tracks.drop(tx, shift)
        self._tracks = {shift: track for shift, track in self._tracks.items() if shift in found}
        self._duties = found
        self._by_post = {}
        for duty in found.values():
            if duty.post is not None:
                self._by_post.setdefault(duty.post, []).append(duty)
        self._refreshed = now_ms

    # ---- evidence

    def _take(self, tx: Connection, rows: Sequence[Row[Any]], now_ms: int) -> list[int]:
        """Take evidence in; the posts that it is about."""
        if any(row.shift not in self._duties for row in rows):
            self._read_duties(tx, now_ms)
        by_shift: dict[int, list[Row[Any]]] = {}
        for row in rows:
            by_shift.setdefault(row.shift, []).append(row)
        followed: list[tuple[Track, Post, list[Row[Any]]]] = []
        for shift, mine in by_shift.items():
            duty = self._duties.get(shift)
            post = self._posts.get(duty.post) if duty is not None and duty.post is not None else None
            if duty is not None and post is not None:
                followed.append((self._track(tx, duty, post), post, sorted(mine, key=tracks.key_of)))
        many(tx, _DONE, [(True, row.id) for row in rows])
        for track, post, mine in followed:
            changed_from = tracks.advance(tx, track, post, mine, now_ms)
            if changed_from is not None:
                self._mark(post.id, changed_from)
        tracks.save(tx, (track for track, _, _ in followed), self._posts)
        patrols.pass_by(tx, self._patrols, rows)
        self._tell(tx, rows, now_ms)
        for row in rows:
            metrics.PRESENCE_SECONDS.observe(max(now_ms - row.received_at, 0) / 1000)
        return [post.id for _, post, _ in followed]

    def _track(self, tx: Connection, duty: Duty, post: Post) -> Track:
        track = self._tracks.get(duty.shift)
        if track is None:
            track = self._tracks[duty.shift] = tracks.load(tx, duty, post)
        return track

    def _tell(self, tx: Connection, rows: Iterable[Row[Any]], now_ms: int) -> None:
        told: list[hooks.Evidence] = []
        for row in rows:
            lat, lon, accuracy_m = row.lat, row.lon, row.accuracy_m
            if row.post is not None:
                post = self._posts.get(row.post)
                if post is None:
                    continue
                lat, lon, accuracy_m = post.ground.lat, post.ground.lon, post.ground.reach_m
            told.append(hooks.Evidence(row.member, row.kind, row.at, lat, lon, accuracy_m, row.post))
        hooks.tell(tx, told, now_ms)

    # ---- posts

    def _mark(self, post: int, from_ms: int) -> None:
        self._dirty[post] = min(from_ms, self._dirty.get(post, from_ms))

    def _judge(self, tx: Connection, heard: Sequence[int], now_ms: int) -> None:
        first = {post_id: None for post_id in heard if post_id in self._dirty}
        others = [post_id for post_id in self._dirty if post_id not in first]
        for post_id in (*first, *others[:POSTS_A_TURN]):
            from_ms = self._dirty.pop(post_id)
            if post_id in self._posts:
                self._judge_post(tx, self._posts[post_id], from_ms, now_ms)

    def _judge_post(self, tx: Connection, post: Post, from_ms: int, now_ms: int) -> None:
        from_ms = min(max(from_ms, post.judged_from, self._cutoff(now_ms)), now_ms)
        terms: list[Term] = []
        looks = []
        for duty in self._by_post.get(post.id, ()):
            looks += [at for at in (duty.starts_at, duty.ends_at) if at > now_ms]
            if duty.ends_at > from_ms and duty.starts_at <= now_ms:
                track = self._track(tx, duty, post)
                terms.append(Term(duty.starts_at, duty.ends_at, unfolded(track.machine, track.changes)))
                looks += [at for at in expiries(track.machine) if at > now_ms]
        found = timeline(terms, post.required, from_ms, now_ms)
        kept = [moment for moment in post.history if moment.at < from_ms]
        if kept and found[0][1:] == kept[-1][1:]:
            found = found[1:]
        if found != post.history[len(kept) :]:
            gone = (post_history.c.post == post.id, post_history.c.at >= from_ms)
            tx.execute(post_history.delete().where(*gone))
            many(
                tx, _PUT_MOMENT, [(post.id, m.at, m.state.value, m.reason.value, m.present, m.required) for m in found]
            )
            post.history = kept + found
        self._show(tx, post, now_ms)
        post.trim(self._cutoff(now_ms))
        post.due = min(looks, default=None)
        if post.due is not None:
            heapq.heappush(self._due, (post.due, post.id))

    def _show(self, tx: Connection, post: Post, now_ms: int) -> None:
        """Write what a post is now, tell the stream, and see to its alarm."""
        newest = post.history[-1]
        reason = self._present_reason(tx, post, newest, now_ms)
        shown = (newest.state, reason, post.since(), newest.present, newest.required)
        if shown == post.shown:
            return
        before, post.shown = post.shown, shown
        state, reason, since, present, required = shown
        values = {
            "state": state.value, "reason": reason.value, "since": since, "present": present, "required": required,
        }  # fmt: skip
        tx.execute(posts.update().where(posts.c.id == post.id).values(values))
        view = PresenceView(
            id=post.id, node=post.node, name_zh=post.names[0], name_en=post.names[1], state=state, reason=reason,
            since=time_of(since), present=present, required=required,
        )  # fmt: skip
        stream.append(tx, "presence", view, at=now_ms, node=post.node)
        vigil.changed(tx, post, before, now_ms)

    def _present_reason(self, tx: Connection, post: Post, newest: Moment, now_ms: int) -> Reason:
        """The reason, with a gateway's outage in it when that is why nothing is heard."""
        if newest.state is not PostState.UNKNOWN or newest.reason is not Reason.ARMBAND_SILENT:
            return newest.reason
        silent = {
            track.gateway
            for duty in self._by_post.get(post.id, ())
            if duty.starts_at <= now_ms < duty.ends_at and (track := self._tracks.get(duty.shift)) is not None
            and standing(track.machine, now_ms) == (Standing.UNKNOWN, Reason.ARMBAND_SILENT)
        }  # fmt: skip
        kinds = alerts.active_kinds(tx, silent) if silent else {}
        offline = any(GATEWAY_KIND in kinds.get((gateway, ""), ()) for gateway in silent)
        return Reason.GATEWAY_OFFLINE if offline else newest.reason


def _changed_at(old: Duty | None, new: Duty | None) -> int:
    """From when on a changed duty means something else."""
    if old is None or new is None or (old.post, old.member) != (new.post, new.member):
        return min(duty.starts_at for duty in (old, new) if duty is not None)
    times = {old.starts_at, new.starts_at} if old.starts_at != new.starts_at else set()
    return min(times | {old.ends_at, new.ends_at})
