"""Renewal at two thirds of life: a new pair on trial, the old one kept until the cloud has answered over the new."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cloud.app import Role
from cloud.devices import service as devices
from cloud.devices.enrolment import service as enrolment
from cloud.org.rules import SYSTEM
from cloud.state import now_ms
from edge.config import load_config
from edge.enrol import enrol
from edge.identity import Identity
from edge.renewal import Pace, keep_renewed
from tests.cloud.cloud_support import serving
from tests.enrol.enrol_support import backdate, pair_in_force, wanted
from tests.support import mosquitto_path, wait_for, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.enrol import Wanted
    from tests.broker.broker_support import Site
    from tests.support import StartProcess

PROGRAM = Path(sys.executable).with_name("patrol-edge")
PATIENT = Pace(look_s=0.05, trial_s=20, retry_s=0.1, poll_s=0.01)
HASTY = PATIENT._replace(trial_s=0.1, retry_s=100)
"""For trials that nobody answers."""


def begun(cloud: Site, days_ago: int, gateway: str = "gw-1") -> Wanted:
    """A gateway whose certificate was given some days ago, for 90."""
    what = wanted(cloud, cloud.claim(gateway).text)
    enrol(what)
    backdate(cloud, pair_in_force(what), days_ago, gateway)
    return what


class Line:
    """An uplink that the cloud answers, or not."""

    def __init__(self, *, answers: bool) -> None:
        self.acked_at = float("-inf")
        self.answers = answers
        self.anew: list[str] = []
        self.told: list[str] = []
        """Why each look failed, empty for one that did not."""

    def connect_anew(self, why: str) -> None:
        self.anew.append(why)
        if self.answers and why == "a new certificate":
            self.answer()

    def answer(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.02, lambda: setattr(self, "acked_at", loop.time()))


async def renewing(what: Wanted, line: Line, until: Callable[[], object], pace: Pace = PATIENT) -> None:
    """Renew until something holds."""
    task = asyncio.ensure_future(keep_renewed(load_config(what.config).config, lambda: line, pace, line.told.append))
    await wait_until(until, 20, "the renewal")
    task.cancel()
    await asyncio.wait({task})


def looked(times: int = 3) -> Callable[[], object]:
    """Holds after some looks: enough for what must not happen to have happened."""
    asked = iter(range(times * 5))
    return lambda: next(asked, None) is None


def given(cloud: Site, gateway: str = "gw-1") -> int:
    with cloud.db.read() as tx:
        return len(enrolment.certificates(tx, gateway))


def test_a_certificate_is_left_alone_until_two_thirds_of_its_life(cloud: Site) -> None:
    what, line = begun(cloud, 59), Line(answers=True)
    asyncio.run(renewing(what, line, looked()))
    assert pair_in_force(what).number == 1
    assert line.anew == []


def test_at_two_thirds_a_new_key_and_certificate_take_over(cloud: Site) -> None:
    what, line = begun(cloud, 61), Line(answers=True)
    old = pair_in_force(what)
    key = old.key.read_bytes()
    asyncio.run(renewing(what, line, lambda: not old.folder.exists()))
    new = pair_in_force(what)
    assert new.number == 2
    assert new.key.read_bytes() != key
    assert line.anew == ["a new certificate"]
    life = new.life()
    assert life
    assert not life.is_due(now_ms())


def test_a_new_certificate_that_is_not_accepted_is_left_again_and_tried_later(cloud: Site) -> None:
    what, line = begun(cloud, 61), Line(answers=False)
    before = given(cloud)
    asyncio.run(renewing(what, line, lambda: len(line.anew) == 2, HASTY))
    assert pair_in_force(what).number == 1
    assert line.anew == ["a new certificate", "back to the old certificate"]
    line.answers = True
    asyncio.run(renewing(what, line, lambda: not (what.state_dir / "identity" / "1").exists()))
    assert pair_in_force(what).number == 2
    assert given(cloud) == before + 1, "asked for once"


@pytest.mark.parametrize("answers", [True, False])
def test_an_agent_that_ended_within_the_trial_goes_on_with_it(cloud: Site, answers: bool) -> None:
    what, line = begun(cloud, 61), Line(answers=False)
    asyncio.run(renewing(what, line, lambda: len(line.anew) == 2, HASTY))
    identity = Identity(what.state_dir.absolute())
    identity.switch(identity.pairs()[-1])  # as it was within the trial

    async def again() -> None:
        if answers:
            line.answer()
            await renewing(what, line, lambda: len(identity.pairs()) == 1)
        else:
            await renewing(what, line, lambda: len(line.anew) == 3, HASTY)

    asyncio.run(again())
    assert [pair.number for pair in identity.pairs()] == ([2] if answers else [1, 2])
    assert pair_in_force(what).number == (2 if answers else 1)


def test_an_expired_certificate_says_how_to_go_on(cloud: Site) -> None:
    what, line = begun(cloud, 100), Line(answers=True)
    asyncio.run(renewing(what, line, looked()))
    assert "ask for a new claim and run patrol-edge enrol" in line.told[-1]
    assert line.anew == []
    argv = [str(PROGRAM), "check", "--config", str(what.config)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert "ask for a new claim and run patrol-edge enrol" in done.stdout
    assert done.returncode == 1
    again = what._replace(claim=wanted(cloud, cloud.claim("gw-1").text).claim)
    assert enrol(again).gateway == "gw-1"
    assert pair_in_force(what).number == 2


def test_a_revoked_gateway_is_not_renewed(cloud: Site) -> None:
    what, line = begun(cloud, 61), Line(answers=True)
    cloud.revoke("gw-1")
    asyncio.run(renewing(what, line, lambda: any("is revoked; a new claim is needed" in why for why in line.told)))
    assert pair_in_force(what).number == 1


def test_check_says_how_many_days_are_left(cloud: Site) -> None:
    what = begun(cloud, 30)
    argv = [str(PROGRAM), "check", "--config", str(what.config)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    line = next(each for each in done.stdout.splitlines() if "uplink cert" in each)
    assert "59 days left" in line or "60 days left" in line


@pytest.mark.system
def test_S3_an_agent_renews_at_a_real_broker_and_is_put_out_when_revoked(
    cloud: Site, start_process: StartProcess
) -> None:
    """From the claim over the renewal to the revocation, with the cloud and the broker as they run."""
    if mosquitto_path() is None:
        pytest.skip("mosquitto is not installed: this test needs a real broker")
    cloud.start()
    with serving(cloud.config, Role.ALL) as served:
        with served.db.read() as tx:
            from cloud.devices.enrolment.store import est_address

            cloud.url = str(tx.execute(est_address.select()).one().url)
        what = begun(cloud, 61)
        agent = start_process(PROGRAM, "run", "--config", what.config, name="agent")
        wait_for(lambda: "new certificate accepted" in agent.text(), 30, f"the renewal: {agent.text()[-500:]}")
        assert pair_in_force(what).number == 2
        with served.db.read() as tx:
            assert devices.get_gateway(tx, SYSTEM, "gw-1").online
        cloud.revoke("gw-1")
        wait_for(lambda: "uplink down" in agent.text().partition("accepted")[2], 60, "the end of its session")
