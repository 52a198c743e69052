"""Campaigns on a database: waves, gates, pause, return; what survives, what is never done twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.campaigns.campaigns_support import begun, fleet, ordering, seen, standing, tell, turns

if TYPE_CHECKING:
    from cloud.db import Database


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
