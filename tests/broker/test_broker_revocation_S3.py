"""S3: a revocation ends a live session within a minute; a stale list raises an alarm and locks nobody out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from cloud.alerts import service as alerts
from cloud.alerts.models import AlarmFilter
from cloud.devices.broker import conf, rules
from cloud.devices.broker.keeping import DEVICE, STALE, Keeper
from cloud.devices.enrolment import authority as issuing
from cloud.devices.enrolment import making
from cloud.org.rules import SYSTEM
from cloud.state import now_ms
from tests.broker.broker_support import LONG_AGO, is_refused

if TYPE_CHECKING:
    from tests.broker.broker_support import Site

pytestmark = [pytest.mark.peer, pytest.mark.timeout(120)]


def alarms(site: Site) -> list[tuple[str, str]]:
    """The open alarms of the broker: kind and state."""
    with site.db.read() as tx:
        found = alerts.list_alarms(tx, SYSTEM, AlarmFilter()).items
    return [(each.kind, each.state.value) for each in found if each.device == DEVICE and each.state.value != "cleared"]


def test_S3_a_revoked_gateways_live_session_ends_and_it_does_not_come_back(site: Site) -> None:
    site.enrol("gw-1", "gw-2")
    site.start()
    revoked, other = site.session("gw-1"), site.session("gw-2")
    began = time.monotonic()
    site.revoke("gw-1")
    site.keep()
    assert revoked.lost.wait(60)
    assert time.monotonic() - began < 60
    assert is_refused(site, "gw-1")
    assert not other.lost.is_set()
    site.keep(now_ms() + rules.CUT_AGAIN_MS)
    assert not other.lost.is_set()
    assert not is_refused(site, "gw-2")


def test_S3_a_revocation_while_no_worker_ran_is_not_forgotten(site: Site) -> None:
    site.enrol("gw-1")
    site.start()
    live = site.session("gw-1")
    site.revoke("gw-1")
    site.keeper = Keeper(site.config)  # as after a restart
    site.keep()
    assert live.lost.wait(10)


def test_S3_a_broker_that_reads_its_files_late_has_the_session_ended_again(site: Site) -> None:
    """It came back between the new list and the broker's reading of it."""
    site.enrol("gw-1")
    site.start()
    site.session("gw-1")  # by now it has done what it was told at its start
    site.keeper = Keeper(site.configure(reload="none"))
    now = now_ms()
    site.revoke("gw-1")
    site.keep(now)
    back = site.session("gw-1")
    Keeper(site.config).keep(site.db, now + 1)  # reads it now
    assert not back.lost.is_set(), "too early to be sure that the broker has read"
    site.keep(now + rules.CUT_AGAIN_MS)
    assert back.lost.wait(10)
    assert is_refused(site, "gw-1")


def test_S3_a_new_certificate_after_a_revocation_is_let_in(site: Site) -> None:
    site.enrol("gw-1")
    site.start()
    site.revoke("gw-1")
    site.keep()
    assert is_refused(site, "gw-1")
    site.certify("gw-1")
    again = site.session("gw-1")
    later = now_ms() + 10 * rules.CUT_AGAIN_MS
    site.keep(later)
    site.keep(later + rules.CUT_AGAIN_MS)
    assert not is_refused(site, "gw-1")
    assert again is not None


def test_S3_a_removed_gateway_is_refused_too(site: Site) -> None:
    from cloud.devices import service as devices

    site.enrol("gw-1")
    site.start()
    live = site.session("gw-1")
    with site.db.begin() as tx:
        devices.remove_gateway(tx, SYSTEM, "gw-1", now_ms())
    site.keep()
    assert live.lost.wait(10)
    assert is_refused(site, "gw-1")


def test_S3_after_the_authority_was_renewed_old_and_new_certificates_are_let_in_and_revoked(site: Site) -> None:
    site.enrol("gw-1", "gw-2")
    site.start()
    live = site.session("gw-1")
    making.renew_intermediate(site.folder / "root", site.data / issuing.FOLDER, (), issuing.now())
    site.keep()
    site.authority = issuing.of(site.config)
    site.enrol("gw-3", "gw-4")
    assert not live.lost.is_set()
    assert [is_refused(site, name) for name in ("gw-1", "gw-2", "gw-3", "gw-4")] == [False] * 4
    for name in ("gw-2", "gw-4"):
        site.revoke(name)
    site.keep()
    assert [is_refused(site, name) for name in ("gw-1", "gw-2", "gw-3", "gw-4")] == [False, True, False, True]
    assert alarms(site) == []


def test_S3_a_host_that_the_broker_may_not_bear_does_not_hold_up_a_revocation(site: Site) -> None:
    site.enrol("gw-1")
    site.start()
    live = site.session("gw-1")
    site.use(site.configure(mosquitto={"hosts": ["localhost", "elsewhere.example"]}))
    site.revoke("gw-1")
    site.keep()
    assert "host 'elsewhere.example': may issue for localhost, " in site.keeper.fault
    assert live.lost.wait(10)
    assert is_refused(site, "gw-1")


def test_S3_a_stale_list_is_an_alarm_and_locks_nobody_out(site: Site) -> None:
    """The list is two years old when the broker reads it, and the authority's key is away, so that it stays so."""
    site.enrol("gw-1")
    site.start()
    assert alarms(site) == []
    old = site.authority.crl({}, now_ms() - round(LONG_AGO.total_seconds() * 1000))
    (site.kept / conf.LIST).write_bytes(old)
    away = site.data / issuing.FOLDER
    away.rename(site.folder / "away")
    Keeper(site.config).keep(site.db, now_ms())
    assert alarms(site) == [(STALE, "open")]
    assert site.broker
    site.broker.stop()
    site.start_broker()
    assert not is_refused(site, "gw-1")
    (site.folder / "away").rename(away)
    site.keeper = Keeper(site.config)
    site.keep()
    assert alarms(site) == []
    made = x509.load_pem_x509_crl((site.kept / conf.LIST).read_bytes())
    assert made.last_update_utc.timestamp() * 1000 > now_ms() - 60_000


def test_S3_a_list_stays_good_for_years(site: Site) -> None:
    """OpenSSL refuses everybody once a list is past its end; ours ends with the intermediate."""
    site.keep()
    made = x509.load_pem_x509_crl((site.kept / conf.LIST).read_bytes())
    assert made.next_update_utc == site.authority.intermediate.not_valid_after_utc


def test_S3_a_broker_that_is_away_is_an_alarm_after_a_minute(site: Site) -> None:
    site.enrol("gw-1")
    site.start()
    assert site.broker
    site.broker.stop()
    site.pid_file.unlink(missing_ok=True)
    now = now_ms()
    site.revoke("gw-1")
    site.keep(now)
    assert alarms(site) == []
    site.keep(now + rules.BEHIND_MS + 1)
    assert alarms(site) == [(STALE, "open")]


def test_S3_at_a_broker_that_asks_over_http_a_live_session_ends_too(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the folder is nobody's; the cloud only ends the session, and answers no from then on."""
    site.enrol("gw-1", "gw-2")
    site.start()
    live, other = site.session("gw-1"), site.session("gw-2")
    monkeypatch.setenv("PATROL_BROKER_HTTP_TOKEN", "a-token")
    site.use(site.config.model_copy(update={"mosquitto": None}))
    site.revoke("gw-1")
    site.keep()
    assert live.lost.wait(10)
    assert not other.lost.is_set()
    assert alarms(site) == []


def test_S3_a_number_that_another_program_has_is_not_signalled(site: Site) -> None:
    import os

    site.keep()
    site.pid_file.write_text(f"{os.getpid()}\n")
    site.keeper = Keeper(site.config)
    site.keep()
    assert "not mosquitto" in site.keeper.fault
