"""Campaigns on a database: waves, gates, pause, return; what survives, what is never done twice."""

from __future__ import annotations

import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from cloud import stream, timers
from cloud.devices import places
from cloud.devices import service as devices
from cloud.devices.campaigns import rules, service
from cloud.devices.campaigns.models import Choice, NewCampaign, PolicyBody
from cloud.errors import Conflict, Forbidden
from cloud.org import service as org
from cloud.org.rules import SYSTEM, Principal, Role
from firmware_specs.wire import Status
from tests.campaigns.campaigns_support import (
    AUTHOR,
    OTHER,
    begun,
    come,
    fleet,
    ordering,
    seen,
    standing,
    tell,
    turns,
)
from tests.cloud.cloud_support import NOW

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from cloud.db import Database
    from cloud.devices.campaigns.hooks import Member, Subject


def test_waves_follow_each_other_and_everybody_is_started_once(db: Database) -> None:
    everybody = fleet(db, 20)
    with ordering() as orders:
        campaign = begun(db, {"waves": ("1", "25%", "100%")})
        for size in (1, 5, 14):
            before = len(orders.started)
            turns(db)
            wave = orders.started[before:]
            assert len(wave) == size
            turns(db)
            assert tell(db, campaign, wave) == size
            assert tell(db, campaign, wave) == 0
        turns(db)
        assert sorted(orders.started) == everybody
        shown = seen(db, campaign)
        assert (shown.state, shown.tally.committed, shown.wave) == ("ended", 20, 3)
        assert set(standing(db, campaign).values()) == {"committed"}


def test_it_pauses_at_the_share_resumes_with_it_forgiven_and_pauses_again(db: Database) -> None:
    fleet(db, 20)
    with ordering() as orders:
        campaign = begun(db, {"waves": ("10", "100%"), "pause_percent": 20, "pause_least": 2})
        turns(db)
        assert tell(db, campaign, orders.started[:1], ok=False) == 1
        turns(db)
        assert seen(db, campaign).state == "running"
        tell(db, campaign, orders.started[1:2], ok=False)
        turns(db)
        shown = seen(db, campaign)
        assert (shown.state, shown.reason, shown.detail) == ("paused", "failed-share", "2/10")
        assert [(each.reason, each.count) for each in shown.reasons] == [("broken", 2)]
        tell(db, campaign, orders.started[2:])
        turns(db)
        assert len(orders.started) == 10, "nobody is started while it is paused"
        act(db, "resume", campaign)
        turns(db)
        assert len(orders.started) == 20
        tell(db, campaign, orders.started[10:14], ok=False)
        turns(db)
        assert seen(db, campaign).detail == "4/18"


def test_a_wave_of_which_nobody_committed_pauses_however_small(db: Database) -> None:
    fleet(db, 5)
    with ordering() as orders:
        campaign = begun(db, {"waves": ("1", "100%"), "pause_least": 3, "pause_percent": 100})
        turns(db)
        tell(db, campaign, orders.started, ok=False)
        turns(db)
        shown = seen(db, campaign)
        assert (shown.state, shown.reason, len(orders.started)) == ("paused", "wave-lost", 1)


def test_silence_is_failure_and_the_order_is_taken_back_but_a_late_commit_counts(db: Database) -> None:
    fleet(db, 4)
    with ordering() as orders:
        campaign = begun(db, {"waves": ("100%",), "pause_percent": 100})
        turns(db)
        tell(db, campaign, orders.started[:3])
        turns(db, NOW + 59_000)
        silent = orders.started[3]
        assert standing(db, campaign)[silent] == "started"
        turns(db, NOW + 61_000)
        assert seen(db, campaign).state == "ended"
        assert (standing(db, campaign)[silent], orders.stopped) == ("failed", [silent])
        assert seen(db, campaign).reasons[0].reason == "timeout"
        assert tell(db, campaign, [silent], now=NOW + 90_000) == 1
        assert standing(db, campaign)[silent] == "committed"
        assert tell(db, campaign, [silent], ok=False, now=NOW + 91_000) == 0


def test_who_is_offline_starts_when_it_comes_holds_nobody_up_and_misses_it_at_its_deadline(db: Database) -> None:
    fleet(db, 6, offline=2)
    with ordering() as orders:
        campaign = begun(db, {"waves": ("100%",)})
        turns(db)
        assert len(orders.started) == 4
        tell(db, campaign, orders.started)
        turns(db)
        assert seen(db, campaign).state == "running"
        with db.begin() as tx:
            come(tx, "gw-004", NOW + 100_000)
        turns(db, NOW + 100_000)
        assert orders.started[4:] == ["gw-004"]
        tell(db, campaign, ["gw-004"], now=NOW + 110_000)
        turns(db, NOW + 599_000)
        assert seen(db, campaign).state == "running"
        turns(db, NOW + 601_000)
        shown = seen(db, campaign)
        assert (shown.state, shown.tally.committed, shown.tally.missed, shown.tally.failed) == ("ended", 5, 1, 0)


def test_offline_members_of_an_early_wave_do_not_keep_the_next_one(db: Database) -> None:
    fleet(db, 10, offline=3)
    with ordering() as orders:
        campaign = begun(db, {"waves": ("6", "100%")})
        turns(db)
        first = len(orders.started)
        assert 0 < first < 7
        tell(db, campaign, orders.started)
        turns(db)
        assert len(orders.started) == 7


def test_a_rollback_brings_back_who_committed_and_waits_for_who_is_under_way(db: Database) -> None:
    fleet(db, 6)
    with ordering() as orders:
        campaign = begun(db, {"waves": ("4", "100%")})
        turns(db)
        good, under_way = orders.started[:3], orders.started[3]
        tell(db, campaign, good)
        act(db, "roll_back", campaign)
        turns(db)
        assert (sorted(orders.backed), orders.stopped) == (sorted(good), [under_way])
        assert standing(db, campaign, state=("cancelled",)).keys() == set(standing(db, campaign)) - set(orders.started)
        tell(db, campaign, good, back=True)
        tell(db, campaign, good)
        turns(db)
        assert seen(db, campaign).state == "rolling-back"
        tell(db, campaign, [under_way])
        turns(db)
        assert orders.backed[3:] == [under_way]
        tell(db, campaign, [under_way], ok=False, back=True)
        turns(db)
        shown = seen(db, campaign)
        assert (shown.state, shown.tally.back, shown.tally.stuck) == ("rolled-back", 3, 1)
        act(db, "retry", campaign)
        turns(db)
        assert orders.backed[4:] == [under_way]


def test_a_rollback_in_waves_takes_the_latest_first(db: Database) -> None:
    fleet(db, 6)
    with ordering() as orders:
        campaign = begun(db, {"waves": ("2", "100%"), "back_in_waves": True})
        for _ in range(2):
            turns(db)
            tell(db, campaign, orders.started)
        turns(db)
        act(db, "roll_back", campaign)
        turns(db)
        assert sorted(orders.backed) == sorted(orders.started[2:])
        tell(db, campaign, orders.backed, back=True)
        turns(db)
        assert sorted(orders.backed[4:]) == sorted(orders.started[:2])


def test_who_commits_after_everybody_went_back_goes_back_too(db: Database) -> None:
    fleet(db, 2)
    with ordering() as orders:
        campaign = begun(db, {"waves": ("100%",), "pause_percent": 100})
        turns(db)
        one, other = orders.started
        tell(db, campaign, [one])
        tell(db, campaign, [other], ok=False)
        turns(db)
        act(db, "roll_back", campaign)
        turns(db)
        tell(db, campaign, [one], back=True)
        turns(db)
        assert seen(db, campaign).state == "rolled-back"
        tell(db, campaign, [other])
        turns(db)
        assert (seen(db, campaign).state, orders.backed) == ("rolling-back", [one, other])


def test_an_abort_cancels_who_waits_and_ends_when_nobody_is_under_way(db: Database) -> None:
    fleet(db, 4)
    with ordering() as orders:
        campaign = begun(db, {"waves": ("2", "100%")})
        turns(db)
        act(db, "abort", campaign)
        turns(db)
        shown = seen(db, campaign)
        assert (shown.state, shown.ended_at, shown.tally.cancelled) == ("aborted", None, 2)
        assert orders.stopped == orders.started
        tell(db, campaign, orders.started)
        turns(db)
        shown = seen(db, campaign)
        assert shown.ended_at is not None
        assert (shown.tally.committed, len(orders.started)) == (2, 2)


def test_who_failed_is_tried_again_after_all_others_and_an_old_failure_is_not_taken_for_the_new(db: Database) -> None:
    fleet(db, 4)
    with ordering() as orders:
        campaign = begun(db, {"waves": ("100%",), "pause_percent": 100})
        turns(db)
        bad = orders.started[0]
        tell(db, campaign, orders.started[1:])
        tell(db, campaign, [bad], ok=False)
        turns(db)
        assert seen(db, campaign).state == "ended"
        act(db, "retry", campaign, NOW + 1000)
        turns(db, NOW + 1000)
        assert (orders.started[4:], seen(db, campaign).wave) == ([bad], 2)
        assert tell(db, campaign, [bad], ok=False, now=NOW + 2000, told_ms=NOW + 500) == 0
        assert tell(db, campaign, [bad], now=NOW + 2000, told_ms=NOW + 500) == 1
        turns(db, NOW + 2000)
        assert (seen(db, campaign).state, seen(db, campaign).tally.committed) == ("ended", 4)


def test_an_order_that_cannot_be_given_is_a_failure_with_its_reason(db: Database) -> None:
    fleet(db, 3)
    with ordering() as orders:
        orders.refused = {"gw-001"}
        campaign = begun(db, {"waves": ("100%",)})
        turns(db)
        assert (standing(db, campaign)["gw-001"], len(orders.started)) == ("failed", 2)
        assert seen(db, campaign).reasons[0].reason == "gateway gw-001: takes no orders"


def test_the_gate_asks_for_health_after_the_soak(db: Database) -> None:
    fleet(db, 5)
    with ordering() as orders:
        campaign = begun(db, {"waves": ("2", "100%"), "soak_s": 30, "health": True, "pause_percent": 50})
        turns(db)
        tell(db, campaign, orders.started)
        turns(db)
        turns(db, NOW + 29_000)
        assert len(orders.started) == 2
        with db.begin() as tx:
            for gateway in orders.started:
                will = Status(online=False, agent_version="", boot="", config_hash="", at_ms=NOW)
                devices.apply_status(tx, gateway, will, NOW)
        turns(db, NOW + 31_000)
        assert (seen(db, campaign).state, len(orders.started)) == ("running", 2), "a line may be down for a moment"
        turns(db, NOW + 91_000)
        shown = seen(db, campaign)
        assert (shown.state, shown.detail, shown.tally.unhealthy) == ("paused", "2/2", 2)
        act(db, "resume", campaign)
        turns(db, NOW + 92_000)
        assert len(orders.started) == 5


def test_each_wave_waits_for_an_approval_by_somebody_else(db: Database) -> None:
    fleet(db, 4)
    with ordering() as orders:
        campaign = begun(db, {"waves": ("1", "100%"), "approve_waves": True})
        turns(db)
        with pytest.raises(Conflict, match="no wave waits"), db.begin() as tx:
            service.approve(tx, OTHER, campaign, NOW)
        tell(db, campaign, orders.started)
        turns(db)
        assert (len(orders.started), seen(db, campaign).awaits_wave) == (1, 2)
        token = Principal("token", 9, "bot", Role.ADMINISTRATOR, owner=AUTHOR.name)
        for same in (AUTHOR, token):
            with pytest.raises(Forbidden, match="who wrote it"), db.begin() as tx:
                service.approve(tx, same, campaign, NOW)
        act(db, "approve", campaign)
        turns(db)
        assert (len(orders.started), seen(db, campaign).awaits_wave) == (4, None)


def test_four_eyes_are_two_accounts_and_a_token_is_not_one_of_its_own(db: Database) -> None:
    fleet(db, 2)
    ada, bo = (Principal("user", n, name, Role.ADMINISTRATOR) for n, name in ((1, "ada"), (2, "bo")))

    def token(owner: Principal, name: str) -> Principal:
        with db.begin() as tx:
            found = org.token_principal(tx, org.add_token(tx, owner, name, Role.ADMINISTRATOR, now_ms=NOW), NOW)
        assert found
        return found

    of_ada, of_bo = token(ada, "of-ada"), token(bo, "of-bo")
    of_it = token(of_ada, "of-it")
    one, other = token(SYSTEM, "one"), token(SYSTEM, "other")
    new = NewCampaign(kind="test", subject={}, policy=PolicyBody())
    refused = [(ada, ada), (ada, of_ada), (ada, of_it), (of_ada, ada), (of_ada, of_it), (of_it, ada), (one, one),
               (one, token(one, "of-one"))]  # fmt: skip
    allowed = [(ada, bo), (ada, of_bo), (of_ada, bo), (of_it, of_bo), (one, other), (one, ada)]
    with ordering():
        for author, approver in (*refused, *allowed):
            with db.begin() as tx:
                made = service.create(tx, author, new, NOW).id
            if (author, approver) in allowed:
                with db.begin() as tx:
                    assert service.approve(tx, approver, made, NOW).approved_by == approver.label
            else:
                with pytest.raises(Forbidden, match="nor does a token of theirs"), db.begin() as tx:
                    service.approve(tx, approver, made, NOW)
        with db.begin() as tx:
            made = service.create(tx, of_ada, new, NOW).id
            org.revoke_token(tx, SYSTEM, "of-ada", NOW)
        again = token(bo, "of-ada")
        for approver in (ada, again, bo):
            with pytest.raises(Forbidden), db.begin() as tx:
                service.approve(tx, approver, made, NOW)


def test_pages_hear_of_every_outcome_also_when_nothing_follows_from_it(db: Database) -> None:
    fleet(db, 5)
    with ordering() as orders:
        campaign = begun(db, {"waves": ("100%",)})
        turns(db)
        told = heard(db)
        assert (told[-1]["started"], told[-1]["committed"]) == (5, 0)
        tell(db, campaign, orders.started[:2])
        turns(db)
        after = heard(db)
        assert len(after) == len(told) + 1
        assert (after[-1]["started"], after[-1]["committed"]) == (3, 2)


def heard(db: Database) -> list[dict[str, int]]:
    """The tallies that the stream told."""
    return [json.loads(data)["tally"] for _, kind, _, data in stream.after(db, 0, 1000) if kind == "campaign"]


def test_who_waits_is_cancelled_part_by_part(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "CHUNK", 2)
    fleet(db, 7, offline=5)
    with ordering() as orders:
        campaign = begun(db, {"waves": ("100%",), "offline_s": 60})
        turns(db)
        assert len(orders.started) == 2
        act(db, "abort", campaign)
        tell(db, campaign, orders.started)
        turns(db)
        shown = seen(db, campaign)
        assert (shown.state, shown.tally.cancelled, shown.tally.pending) == ("aborted", 5, 0)
        assert shown.ended_at is not None
        second = begun(db, {"waves": ("100%",), "offline_s": 60})
        turns(db)
        tell(db, second, orders.started[2:])
        turns(db, NOW + 61_000)
        shown = seen(db, second)
        assert (shown.state, shown.tally.missed) == ("ended", 5)
        assert [each.detail for each in shown.history if each.what == "miss"] == ["1", "2", "2"]


def test_a_preview_leaves_out_what_the_campaign_would(db: Database) -> None:
    """Its subject is made fit first, as that of a campaign is."""
    fleet(db, 3)

    def fit(_tx: Connection, _who: Principal, subject: Subject, _now: int) -> Subject:
        return {**subject, "checked": True}

    def done(_tx: Connection, subject: Subject, members: Collection[Member]) -> Collection[Member]:
        return [member for member in members if subject.get("checked") and member[0] == "gw-001"]

    new = NewCampaign(kind="test", subject={}, policy=PolicyBody())
    with ordering(check=fit, already=done), db.begin() as tx:
        shown = service.preview(tx, OTHER, new, NOW)
        assert (shown.members, shown.out) == (2, {"already": 1})
        assert service.create(tx, OTHER, new, NOW, service.choose(tx, OTHER, new, NOW)).tally.total == 2


def test_nobody_is_started_outside_the_window_nor_missed_before_it(db: Database) -> None:
    """NOW is a Friday, 16:00 in Shanghai."""
    fleet(db, 4, offline=1)
    opens = NOW + 7 * 3_600_000
    with ordering() as orders:
        windows = [{"days": [5], "begins": "23:00", "ends": "02:00"}]
        campaign = begun(db, {"waves": ("100%",), "windows": windows, "offline_s": 60})
        for now in (NOW, NOW + 61_000, opens - 60_000):
            turns(db, now)
        assert (orders.started, seen(db, campaign).tally.pending) == ([], 4)
        assert seen(db, campaign).zone == "Asia/Shanghai"
        turns(db, opens)
        assert (len(orders.started), seen(db, campaign).tally.pending) == (3, 1)
        tell(db, campaign, orders.started, now=opens)
        turns(db, opens + 61_000)
        assert (seen(db, campaign).state, seen(db, campaign).tally.missed) == ("ended", 1)


def test_a_gateway_has_one_running_campaign_of_a_kind(db: Database) -> None:
    fleet(db, 3)
    with ordering() as orders, ordering("other"):
        first = begun(db, {"waves": ("100%",)})
        draft = NewCampaign(kind="test", subject={}, policy=PolicyBody(), choice=Choice(gateways=frozenset({"gw-001"})))
        with db.read() as tx:
            shown = service.preview(tx, OTHER, draft, NOW)
        assert (shown.members, shown.out) == (0, {"busy": 1, "not-named": 2})
        assert {each.campaign for each in shown.examples if each.why == "busy"} == {first}
        with db.begin() as tx:
            free = service.create(tx, AUTHOR, draft.model_copy(update={"kind": "other"}), NOW)
        turns(db)
        tell(db, first, orders.started)
        turns(db)
        with db.begin() as tx:
            second, third = (service.create(tx, AUTHOR, draft, NOW).id for _ in range(2))
            for each in (free.id, second, third):
                service.approve(tx, OTHER, each, NOW)
            service.start(tx, OTHER, free.id, NOW)
            service.start(tx, OTHER, second, NOW)
        with pytest.raises(Conflict, match=f"campaign {second} has 1 of its gateways"), db.begin() as tx:
            service.start(tx, OTHER, third, NOW)
        turns(db)
        tell(db, second, ["gw-001"])
        turns(db)
        with pytest.raises(Conflict, match=f"campaign {second} has changed 1 of its members"), db.begin() as tx:
            service.roll_back(tx, OTHER, first, NOW)


def test_at_most_50_start_a_turn_and_a_turn_that_dies_has_done_nothing(db: Database) -> None:
    fleet(db, 125)
    turns(db)  # what else is due of so many new gateways
    with ordering() as orders:
        campaign = begun(db, {"waves": ("100%",)})
        sizes: list[int] = []
        for now in range(NOW + 100, NOW + 400, 100):
            with contextlib.suppress(ZeroDivisionError), db.begin() as tx:
                timers.tick(tx, now)
                raise ZeroDivisionError
            assert standing(db, campaign, state=("started",)).keys() == set(orders.started[: sum(sizes)])
            del orders.started[sum(sizes) :]
            with db.begin() as tx:
                timers.tick(tx, now)
            sizes.append(len(orders.started) - sum(sizes))
        assert sizes == [50, 50, 25]
        assert len(set(orders.started)) == 125


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_turn_waits_for_nobody_who_hears_of_a_gateway(db: Database) -> None:
    """Who hears holds the gateway's row and may wait for a timer that the turn holds. SQLite has one writer anyway."""
    fleet(db, 3)
    turns(db)  # what else is due of new gateways, and holds their rows
    with ordering() as orders:
        campaign = begun(db, {"waves": ("100%",)})
        with db.begin() as hearing:
            places.hold(hearing, "gw-001")
            for now in range(NOW, NOW + 5):
                with db.begin() as tx:
                    timers.tick(tx, now)
            assert sorted(orders.started) == ["gw-000", "gw-002"]
        turns(db, NOW + 1000)
        assert (len(orders.started), standing(db, campaign)["gw-001"]) == (3, "started")


def test_turns_and_outcomes_of_several_workers_at_once_start_nobody_twice(db: Database) -> None:
    fleet(db, 60)
    with ordering() as orders:
        campaign = begun(db, {"waves": ("5", "20", "100%"), "pause_percent": 100})
        stop = time.monotonic() + 20

        def work(_number: int) -> None:
            while seen(db, campaign).state == "running" and time.monotonic() < stop:
                with db.begin() as tx:
                    timers.tick(tx, NOW + 1000)
                tell(db, campaign, list(standing(db, campaign, state=("started",)))[:7], now=NOW)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        shown = seen(db, campaign)
        assert (shown.state, shown.tally.committed) == ("ended", 60)
        assert len(orders.started) == 60


def act(db: Database, name: str, campaign: int, now: int = NOW) -> None:
    with db.begin() as tx:
        getattr(service, name)(tx, OTHER, campaign, now)
