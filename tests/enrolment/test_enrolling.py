"""Claims against both databases: single use, races, repeats, re-claims, throttling, scope. S2."""

from __future__ import annotations

import base64
import threading
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from cloud.alerts import service as alerts
from cloud.devices import service as devices
from cloud.devices.enrolment import bootstrap, certificates, enrol, est, hooks, service
from cloud.devices.enrolment.authority import common_name, serial_of, when
from cloud.devices.enrolment.store import claims as table
from cloud.devices.releases.store import repository as repositories
from cloud.errors import Conflict, Forbidden, Invalid, NotFound, TooManyTries
from cloud.org import tree
from cloud.org.rules import SYSTEM, Principal, Role
from firmware_specs.errors import StoreError
from tests.cloud.cloud_support import NOW
from tests.enrolment.enrolment_support import audited, body_of, claim, request, street, use

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509
    from sqlalchemy import Connection

    from cloud.config import Config
    from cloud.db import Database
    from cloud.devices.enrolment.authority import Authority

DAY = 86_400_000


def fill(db: Database) -> tuple[str, str]:
    """Two streets."""
    with db.begin() as tx:
        return street(tx, "s1"), street(tx, "s2")


def technician(node: str) -> Principal:
    return Principal("user", 7, "wang", Role.TECHNICIAN, node)


def test_a_code_is_kept_nowhere_S2(db: Database, authority: Authority) -> None:
    made = claim(db)
    assert made.fingerprint == authority.fingerprint
    with db.read() as tx:
        row = tx.execute(table.select()).one()
    kept = " ".join(map(str, row))
    assert made.code not in kept
    assert made.code.replace("-", "") not in kept
    assert all(made.code not in detail for _, detail in audited(db, "claim.issue"))


def test_two_uses_at_the_same_moment_have_one_winner_S2(db: Database, authority: Authority) -> None:
    code = claim(db, gateway="gw-1").code
    begin, done = threading.Barrier(4), []

    def race(number: int) -> None:
        csr, _ = request()
        begin.wait(10)
        try:
            done.append((number, serial_of(use(db, authority, code, csr))))
        except Forbidden as e:
            done.append((number, str(e)))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    said = [what for _, what in done]
    assert len(said) == 4
    assert said.count("the claim was used already; ask for a new one") == 3
    with db.read() as tx:
        assert len(service.certificates(tx, "gw-1", NOW)) == 1
        assert service.get_claim(tx, SYSTEM, 1, NOW).reused == 3
    assert len(audited(db, "claim.use")) == 1


def test_an_enrolment_is_whole_or_not_at_all_D3(
    db: Database, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = claim(db, gateway="gw-1").code
    csr, _ = request()

    def power_cut(_tx: Connection, gateway: str, _node: str, _now: int) -> None:
        raise KeyboardInterrupt(gateway)

    monkeypatch.setattr(hooks, "ENROLLED", [power_cut])
    with pytest.raises(KeyboardInterrupt):
        use(db, authority, code, csr)
    with db.read() as tx:
        assert devices.known_gateways(tx) == set()
        assert service.certificates(tx, "gw-1", NOW) == []
        assert service.get_claim(tx, SYSTEM, 1, NOW).state is service.ClaimState.OPEN
    told: list[tuple[str, str, int]] = []
    monkeypatch.setattr(hooks, "ENROLLED", [lambda _tx, *what: told.append(what)])
    use(db, authority, code, csr)
    use(db, authority, code, csr)
    assert told == [("gw-1", "/", NOW + 1000)]  # a repeat tells nobody again


def test_the_same_key_gets_its_certificate_again_within_the_claims_life(db: Database, authority: Authority) -> None:
    code = claim(db, minutes=60).code
    csr, key = request()
    first = use(db, authority, code, csr)
    assert use(db, authority, code, request(key)[0], at=NOW + 3_599_000) == first
    with pytest.raises(Forbidden, match="expired"):
        use(db, authority, code, csr, at=NOW + 3_600_000)
    with db.read() as tx:
        assert alerts.active_kinds(tx, [""]) == {}


def test_a_name_is_made_when_the_claim_names_none(db: Database, authority: Authority) -> None:
    node, _ = fill(db)
    made = use(db, authority, claim(db, node, location="Stair 3").code, request(name="gw-of-somebody")[0])
    name = common_name(made)
    assert name.startswith("gw-")
    assert len(name) == 11
    with db.read() as tx:
        found = devices.get_gateway(tx, SYSTEM, name)
    assert (found.node, found.location) == (node, "Stair 3")


def test_a_reclaim_replaces_the_certificate_and_keeps_the_history(db: Database, authority: Authority) -> None:
    old = use(db, authority, claim(db, gateway="gw-1").code, request()[0])
    with pytest.raises(Forbidden):
        _shown(db, old, NOW + 400 * DAY)
    new = use(db, authority, claim(db, gateway="gw-1", at=NOW + DAY).code, request()[0], at=NOW + DAY)
    with db.read() as tx:
        listed = service.certificates(tx, "gw-1", NOW + DAY)
        assert [(each.serial, each.in_force, each.reason) for each in listed] == [
            (serial_of(new), True, None), (serial_of(old), False, "superseded"),
        ]  # fmt: skip
        assert service.revoked(tx, NOW + DAY) == {old.serial_number: NOW + DAY}
        assert service.refused(tx, NOW + DAY) == {serial_of(old): "gw-1"}
    with pytest.raises(Forbidden, match="revoked; a new claim is needed"):
        _shown(db, old, NOW + DAY)
    assert _shown(db, new, NOW + DAY) == "gw-1"


def _shown(db: Database, cert: x509.Certificate, at: int) -> str:
    with db.read() as tx:
        return certificates.holder(tx, cert.public_bytes(Encoding.DER), at).gateway


def test_a_removed_gateways_certificate_counts_as_revoked_S3(db: Database, authority: Authority) -> None:
    cert = use(db, authority, claim(db, gateway="gw-1").code, request()[0])
    with db.begin() as tx:
        devices.remove_gateway(tx, SYSTEM, "gw-1", NOW)
        assert service.revoked(tx, NOW) == {cert.serial_number: NOW + 1000}
    with pytest.raises(Forbidden, match="not known any more"):
        _shown(db, cert, NOW + 2000)


def test_a_foreign_claim_is_refused_and_not_used_up_S2(db: Database, authority: Authority) -> None:
    one, two = fill(db)
    csr, _ = request()
    use(db, authority, claim(db, one, "gw-a").code, csr)
    code = claim(db, one, "gw-b").code
    with pytest.raises(Forbidden, match="not for this gateway"):
        use(db, authority, code, csr)  # the key is that of gw-a
    with pytest.raises(Forbidden, match="not for this gateway"):
        use(db, authority, code, request()[0], holder="gw-a")
    again = claim(db, one, "gw-a").code
    with db.begin() as tx:
        devices.place(tx, SYSTEM, "gw-a", None, two, NOW)
    with pytest.raises(Forbidden, match="not for this gateway"):
        use(db, authority, again, request()[0])  # it was moved away since
    assert [detail.split()[0] for _, detail in audited(db, "claim.refused")] == ["foreign"] * 3
    assert common_name(use(db, authority, code, request()[0])) == "gw-b"


def test_a_claim_of_an_archived_unit_is_refused(db: Database, authority: Authority) -> None:
    one, _ = fill(db)
    code = claim(db, one).code
    with db.begin() as tx:
        tree.archive_node(tx, SYSTEM, one, NOW)
    with pytest.raises(Forbidden, match="withdrawn"):
        use(db, authority, code, request()[0])


def test_a_new_claim_for_a_gateway_takes_the_place_of_an_open_one(db: Database, authority: Authority) -> None:
    first, second = claim(db, gateway="gw-1"), claim(db, gateway="gw-1")
    with pytest.raises(Forbidden, match="withdrawn"):
        use(db, authority, first.code, request()[0])
    use(db, authority, second.code, request()[0])
    with pytest.raises(Conflict, match="used already; revoke the gateway gw-1"), db.begin() as tx:
        service.revoke_claim(tx, SYSTEM, second.id, NOW)


def test_who_may_issue_claims_where_S4(db: Database, authority: Authority) -> None:
    one, two = fill(db)
    use(db, authority, claim(db, two, "gw-2").code, request()[0])
    mine = claim(db, one)
    new = service.NewClaim(node=one)

    def issue(who: Principal, **more: str) -> None:
        with db.begin() as tx:
            service.issue_claim(tx, who, new.model_copy(update=more), NOW)

    issue(technician(one))
    with pytest.raises(NotFound, match="not known"):
        issue(technician(one), node=two)
    with pytest.raises(Invalid, match=f"belongs to {two}"):
        issue(SYSTEM, gateway="gw-2")
    with pytest.raises(Forbidden, match="may not provision"):
        issue(Principal("user", 8, "li", Role.DISPATCHER, one))
    with db.begin() as tx:
        assert {each.node for each in service.list_claims(tx, technician(one), NOW).items} == {one}
        for call in (service.get_claim, service.revoke_claim):
            with pytest.raises(NotFound):
                call(tx, technician(two), mine.id, NOW)
        with pytest.raises(NotFound):
            service.revoke_gateway(tx, Principal("user", 9, "zhao", Role.ADMINISTRATOR, one), "gw-2", NOW)
        with pytest.raises(Forbidden):
            service.revoke_gateway(tx, technician(two), "gw-2", NOW)


def test_a_name_that_is_taken_elsewhere_is_told_nobody_and_refused_when_used_S4(
    db: Database, authority: Authority
) -> None:  # fmt: skip
    one, two = fill(db)
    cert = use(db, authority, claim(db, two, "gw-2").code, request()[0])
    others = claim(db, two, "gw-2").code
    with db.begin() as tx:
        given = service.NewClaim(node=one, gateway="gw-2")
        code = service.issue_claim(tx, technician(one), given, NOW).code
    with pytest.raises(Forbidden, match="not for this gateway"):
        use(db, authority, code, request()[0])
    assert _shown(db, cert, NOW + 2000) == "gw-2"
    assert common_name(use(db, authority, others, request()[0])) == "gw-2"


def test_without_authority_or_listener_there_is_no_claim(db: Database) -> None:
    with pytest.raises(Conflict, match="authority init"):
        claim(db)


def test_revoking_a_gateway_withdraws_its_claims_too_S3(db: Database, authority: Authority) -> None:
    cert = use(db, authority, claim(db, gateway="gw-1").code, request()[0])
    code = claim(db, gateway="gw-1").code
    for count in (1, 0):  # a repeat changes nothing
        with db.begin() as tx:
            assert service.revoke_gateway(tx, SYSTEM, "gw-1", NOW + 5000).certificates == count
    with db.read() as tx:
        assert service.revoked(tx, NOW + 5000) == {cert.serial_number: NOW + 5000}
        assert service.revoked(tx, NOW + 400 * DAY) == {}  # it ran out long ago
        assert service.certificates_in_time(tx, "gw-1", NOW + 5000) == [True]
    with pytest.raises(Forbidden, match="withdrawn"):
        use(db, authority, code, request()[0])


def test_a_gateway_that_is_revoked_while_it_renews_gets_nothing_S3(db: Database, authority: Authority) -> None:
    cert = use(db, authority, claim(db, gateway="gw-1").code, request()[0])
    who = certificates.Holder("gw-1", "/", serial_of(cert))  # as the listener has just found
    with db.begin() as tx:
        service.revoke_gateway(tx, SYSTEM, "gw-1", NOW + 2000)
    with pytest.raises(Forbidden, match="that of gw-1 is revoked"), db.begin() as tx:
        certificates.renew(tx, authority, who, request()[0], days=90, now_ms=NOW + 3000)


def test_a_gateway_that_is_revoked_while_it_enrols_has_nothing_in_force_S3(
    db: Database, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(db, authority, claim(db, gateway="gw-1").code, request()[0])
    code = claim(db, gateway="gw-1").code

    def revoke() -> None:
        with db.begin() as tx:
            service.revoke_gateway(tx, SYSTEM, "gw-1", NOW + 5000)

    other = threading.Thread(target=revoke)

    def meanwhile(*_enrolled: object) -> None:
        other.start()
        other.join(0.3)  # it waits for us: on SQLite to begin at all, on PostgreSQL for the claim

    monkeypatch.setattr(hooks, "ENROLLED", [meanwhile])
    use(db, authority, code, request()[0])
    other.join(30)
    with db.read() as tx:
        assert [each.in_force for each in service.certificates(tx, "gw-1", NOW + 6000)] == [False, False]


def test_tries_of_a_clock_that_was_ahead_keep_nobody_out_S2(db: Database) -> None:
    few = enrol.Limits(tries=1, window_ms=1000)
    enrol.count_try(db, "10.0.0.1", few, NOW + 400 * DAY)
    enrol.count_try(db, "10.0.0.1", few, NOW)
    with pytest.raises(TooManyTries):
        enrol.count_try(db, "10.0.0.1", few, NOW + 1)


def test_failed_tries_are_counted_by_address_and_everywhere_S2(db: Database) -> None:
    few = enrol.Limits(tries=3, all_tries=5, window_ms=1000)
    for _ in range(3):
        enrol.count_try(db, "2001:db8::1", few, NOW)
    with pytest.raises(TooManyTries):
        enrol.count_try(db, "2001:db8::ffff", few, NOW + 999)  # the same /64
    mine = [enrol.count_try(db, "::ffff:10.0.0.1", few, NOW), enrol.count_try(db, "10.0.0.1", few, NOW)]
    with pytest.raises(TooManyTries) as caught:
        enrol.count_try(db, "10.0.0.2", few, NOW)
    assert caught.value.retry_after_s == 1
    enrol.forgive(db, mine[0])
    enrol.count_try(db, "10.0.0.2", few, NOW)
    enrol.count_try(db, "2001:db8::1", few, NOW + 1000)


def test_a_certificate_that_a_restored_database_has_lost_is_remembered(db: Database, authority: Authority) -> None:
    first = use(db, authority, claim(db, gateway="gw-1").code, request()[0])
    lost = authority.issue_gateway(request()[0], "gw-1", at=when(NOW + DAY))
    older = authority.issue_gateway(request()[0], "gw-1", at=when(NOW - DAY))
    unknown = authority.issue_gateway(request()[0], "gw-9", at=when(NOW + DAY))
    server, _ = authority.issue_server("gw-1", ["localhost"], at=when(NOW + DAY))

    def shown(cert: x509.Certificate) -> str:
        der = cert.public_bytes(Encoding.DER)
        with db.begin() as tx:
            certificates.remember(tx, authority, der, NOW + 2 * DAY)
            return certificates.holder(tx, der, NOW + 2 * DAY).gateway

    for none in (older, unknown, server):
        with pytest.raises(Forbidden, match="not one that a gateway was given here"):
            shown(none)
    assert [shown(lost), shown(lost), shown(first)] == ["gw-1"] * 3
    assert audited(db, "certificate.remember") == [("gateway/gw-1", serial_of(lost))]
    with db.begin() as tx:
        assert service.revoke_gateway(tx, SYSTEM, "gw-1", NOW + 2 * DAY).certificates == 2
    with pytest.raises(Forbidden, match="not one that a gateway was given here"):
        shown(authority.issue_gateway(request()[0], "gw-1", at=when(NOW + 2 * DAY)))


def test_a_store_that_cannot_serve_is_no_failed_try(
    db: Database, authority: Authority, configured: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreError("token patrol", "DeviceRemoved")

    answer = est.Est(db, authority, configured(enrolment={"tries": 1})).answer
    basic = "Basic " + base64.b64encode(f"claim:{claim(db).code}".encode()).decode()
    asked = est.Request("POST", f"{est.EST}/simpleenroll", "10.0.0.9", basic, body_of(request()[0]))
    monkeypatch.setattr(hooks, "ENROLLED", [away])
    with pytest.raises(StoreError, match="DeviceRemoved"):
        answer(asked, NOW)
    monkeypatch.setattr(hooks, "ENROLLED", [])
    assert answer(asked, NOW).status == 200


def test_renewals_are_bounded_and_repeat_for_the_same_key(db: Database, authority: Authority) -> None:
    cert = use(db, authority, claim(db, gateway="gw-1").code, request()[0])
    who = certificates.Holder("gw-1", "/", serial_of(cert))

    def renew(csr: x509.CertificateSigningRequest, at: int = NOW + 2000) -> x509.Certificate:
        with db.begin() as tx:
            return certificates.renew(tx, authority, who, csr, days=90, now_ms=at)

    csr, _ = request()
    assert renew(csr) == renew(csr)
    for _ in range(certificates.MOST_A_DAY - 2):
        renew(request()[0])
    with pytest.raises(TooManyTries, match="24 certificates within a day"):
        renew(request()[0])
    assert renew(request()[0], NOW + 2 * DAY)


def test_the_bootstrap_names_the_root_of_updates(
    db: Database, authority: Authority, configured: Callable[..., Config]
) -> None:
    config = configured(http={"public_url": "https://patrol.example"}, broker={"url": "mqtts://broker.example:8883"})
    who = certificates.Holder("gw-1", "/", "1")
    with db.begin() as tx:
        told = bootstrap.document(tx, config, authority, who, NOW)
    assert (told["update_root"], told["metadata_url"], told["targets_url"]) == ("", "", "")
    assert told["broker_url"] == "mqtts://broker.example:8883"
    with db.begin() as tx:
        row = {"id": 1, "metadata_url": "m", "targets_url": "t", "root": "{}", "versions": "{}", "expiries": "{}"}
        tx.execute(repositories.insert().values(**row, read_at=NOW))
        told = bootstrap.document(tx, config, authority, who, NOW)
    assert (told["update_root"], told["metadata_url"], told["targets_url"]) == ("{}", "m", "t")
