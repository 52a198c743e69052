"""The rules of notifications, and the forms of targets (S6)."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.alerts.notify import apprises, rules, targets
from cloud.alerts.notify.rules import Plan, Waiting, plan, retry_after_s, why_refused
from cloud.alerts.notify.targets import Kind, parse
from cloud.errors import Invalid
from cloud.org.rules import Role
from firmware_specs.readings import Severity

if TYPE_CHECKING:
    import ipaddress

REFUSED = {
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd12:3456::1"],
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "link-local": ["169.254.0.1", "fe80::1", "fe80::1%eth0"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "192.0.0.8", "2001:10::1", "4000::1"],
    "this network": ["0.0.0.1", "0.1.2.3"],
    "unspecified": ["::"],
    "carrier-grade NAT": ["100.64.0.1", "100.127.255.255"],
    "IPv4-mapped": ["::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:a00:1"],
    "IPv4-translated": ["::ffff:0:7f00:1"],
    "IPv4-compatible": ["::7f00:1"],
    "6to4": ["2002:7f00:1::", "2002:808:808::1", "192.88.99.1"],
    "NAT64": ["64:ff9b::7f00:1", "64:ff9b:1::a00:1"],
    "Teredo": ["2001:0:7f00:1::"],
    "metadata": ["169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "169.254.170.2"],
    "benchmarking": ["198.18.0.1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "site-local": ["fec0::1"],
    "not an address": ["", "localhost", "1.2.3", "0x7f.1"],
}


@pytest.mark.parametrize("why", REFUSED)
def test_every_class_of_address_that_is_not_public_is_refused_by_name_S6(why: str) -> None:
    assert {address: why_refused(address) for address in REFUSED[why]} == dict.fromkeys(REFUSED[why], why)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "223.5.5.5", "100.63.255.255", "100.128.0.1", "2400:3200::1"]
)
def test_public_addresses_pass_S6(address: str) -> None:
    assert why_refused(address) == ""


@given(st.ip_addresses())
def test_what_python_knows_not_to_be_global_is_refused_S6(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if not address.is_global or address.is_multicast:
        assert why_refused(str(address))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/h", "not encrypted"),
        ("https://example.com:22/h", "port 22"),
        ("https://127.0.0.1/h", "loopback"),
        ("https://[::1]/h", "loopback"),
        ("https://[::ffff:169.254.169.254]/h", "IPv4-mapped"),
        ("https://169.254.169.254/latest/meta-data", "metadata"),
        ("https://user:pw@example.com/h", "neither a user"),
        ("https://example.com@127.0.0.1/h", "neither a user"),
        ("https://example.com/h#x", "fragment"),
        ("ftp://example.com/h", "https://host/path"),
        ("https:///h", "names no host"),
        ("https://example.com\\@127.0.0.1/", "without spaces"),
        ("https://exam ple.com/", "without spaces"),
        ("https://example.com/\r\nX-Evil: 1", "without spaces"),
        ("https://example.com:99999/", "not an address"),
        ("https://" + "a" * 70 + ".com/", "not a host name"),
    ],
)
def test_webhook_addresses_that_are_refused_at_once_S6(url: str, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        apprises.check(parse(Kind.WEBHOOK, url), frozenset())


def test_a_host_that_the_configuration_names_is_let_in_with_its_port_only_S6() -> None:
    allowed = frozenset({"127.0.0.1:8099", "[::1]:8099"})
    assert apprises.check(parse(Kind.WEBHOOK, "http://127.0.0.1:8099/h"), allowed)
    assert apprises.check(parse(Kind.WEBHOOK, "http://[::1]:8099/h"), allowed)
    with pytest.raises(Invalid, match="allow_hosts"):
        apprises.check(parse(Kind.WEBHOOK, "http://127.0.0.1:8100/h"), allowed)
    assert not apprises.check(parse(Kind.WEBHOOK, "https://Example.COM./h?a=1"), allowed)
    assert parse(Kind.WEBHOOK, "https://Example.COM./h?a=1").host == "example.com"


@pytest.mark.parametrize(
    "url",
    [
        "json://127.0.0.1/x", "jsons://example.com", "xml://10.0.0.1", "form://example.com", "forms://example.com/",
        "syslog://localhost", "rsyslog://localhost", "apprise://example.com/token", "mqtt://10.0.0.1/topic",
        "amqp://h/q", "dbus://", "windows://", "macosx://", "gnome://", "irc://h/c", "https://example.com/x",
        "http://10.0.0.1/", "file:///etc/passwd", "exec://ls", "xmpp://u:p@h", "nothing", "workflows://x",
    ],
)  # fmt: skip
def test_services_that_could_aim_anywhere_are_not_let_in_S6(url: str) -> None:
    with pytest.raises(Invalid, match="not let in"):
        parse(Kind.APPRISE, url)


@pytest.mark.parametrize(
    "url",
    [
        "dingtalk://token?verify=no", "feishu://token?redirect=yes", "mailtos://u:p@h.com?pgppub=http://10.0.0.1",
        "mailtos://u:p@h.com?+X-A=b", "mailtos://u:p@h.com?wkd=yes", "dingtalk://token?format=markdown",
        "wecombot://k?overflow=split", "mailtos://u:p@h.com?verify=no",
    ],
)  # fmt: skip
def test_parameters_that_change_how_it_is_sent_are_not_let_in_S6(url: str) -> None:
    with pytest.raises(Invalid, match="parameter"):
        parse(Kind.APPRISE, url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mailto://u:p@mail.example.com?to=a@b.com", "not encrypted"),
        ("mailtos://u:p@x.com?smtp=127.0.0.1&to=a@b.com", "loopback"),
        ("mailtos://u:p@x.com?smtp=10.1.1.1&to=a@b.com", "private"),
        ("mailtos://u:p@x.com:22?to=a@b.com", "port 22"),
        ("mailtos://u:p@x.com?mode=insecure&to=a@b.com", "not encrypted"),
        ("gotify://push.example.com/TOKENTOKENTOKE", "not encrypted"),
        ("gotifys://192.168.1.1/TOKENTOKENTOKE", "private"),
        ("smseagles://token@169.254.169.254/13800000000", "metadata"),
        ("mmosts://[::1]/token", "loopback"),
    ],
)  # fmt: skip
def test_services_that_name_a_server_pass_the_same_guard_S6(url: str, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        apprises.check(parse(Kind.APPRISE, url), frozenset())


@pytest.mark.parametrize(
    "url",
    [
        "wecombot://abc-def-123", "wechat://corp:secret@1000002/user", "dingtalk://abc123", "dingtalk://sec@abc123",
        "feishu://abc-123", "lark://abc-123", "mailtos://u:p@qq.com?to=a@b.com",
        "mailtos://u:p@x.com?smtp=smtp.x.com&to=a@b.com", f"twilio://AC{'a' * 32}:{'b' * 32}@15551234567/15551234568",
        "vonage://abcd1234:abcdef0123456789@15551234567/15551234568", "clicksend://user:key@15551234567",
        "gotifys://push.example.com/Aaaaaaaaaaaaaaa", "mmosts://chat.example.com/abcdefghijklmnopqrstuvwxyz",
    ],
)  # fmt: skip
def test_services_that_are_let_in(url: str) -> None:
    target = parse(Kind.APPRISE, url)
    assert not apprises.check(target, frozenset())
    shown = target.mask
    assert "secret" not in shown
    assert "abc" not in shown


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of plugins that are not let in
def test_every_service_of_the_table_exists_in_the_library() -> None:
    import apprise

    known = {
        scheme for each in apprise.Apprise().details()["schemas"]
        for scheme in (*(each["protocols"] or ()), *(each["secure_protocols"] or ()))
    }  # fmt: skip
    assert targets.SERVICES.keys() <= known


@given(st.text(max_size=60))
def test_any_text_is_a_target_or_refused(text: str) -> None:
    for kind in Kind:
        said = ""
        try:
            parse(kind, text)
        except Invalid as e:
            said = str(e)
        assert len(text) < 12 or text not in said


def test_retries_back_off_and_end() -> None:
    assert [retry_after_s(n, urgent=False) for n in range(1, 16)] == [
        10, 20, 40, 80, 160, 320, 640, 1280, *[1800] * 6, None,
    ]  # fmt: skip
    waits = [retry_after_s(n, urgent=True) for n in range(1, 55)]
    assert 23 * 3600 < sum(wait or 0 for wait in waits) <= 24 * 3600
    assert retry_after_s(55, urgent=True) is None


def test_who_hears() -> None:
    assert rules.hears(["dispatcher"], (Role.DISPATCHER, Role.SUPERVISOR))
    assert not rules.hears(["auditor", "user:li"], (Role.DISPATCHER,))
    assert rules.hears(["user:li"], (Role.DISPATCHER,), ("li",))
    assert rules.hears(["auditor"], ())
    assert rules.fits(Severity.MAJOR, Severity.MAJOR, urgent=False)
    assert not rules.fits(Severity.MINOR, Severity.MAJOR, urgent=False)
    assert rules.fits(Severity.WARNING, Severity.CRITICAL, urgent=True)


def test_signature_is_hmac_of_time_and_body() -> None:
    wanted = hmac.new(b"key", b'1700000000.{"a":1}', hashlib.sha256).hexdigest()
    assert rules.signature("key", 1700000000, b'{"a":1}') == f"t=1700000000,v1={wanted}"


def test_plans() -> None:
    calm = [Waiting(1, False), Waiting(2, False)]
    assert plan(calm, 20, 2) == Plan((1, 2))
    assert plan(calm, 20, 1) == Plan((1,))
    assert plan(calm, 1, 2) == Plan((), digest=(1, 2))
    assert plan(calm, 0, 2) == Plan((), defer=(1, 2))
    assert plan([Waiting(9, True), *calm], 0, 2) == Plan((9,), defer=(1, 2))
    assert plan([Waiting(9, True), Waiting(8, True), *calm], 20, 2) == Plan((9, 8))
    assert plan([Waiting(1, False, bundle=True)], 20, 2) == Plan((1,))
    assert plan([Waiting(1, False, bundle=True), Waiting(2, False, bundle=True), Waiting(3, False)], 20, 2) == Plan(
        (3,), digest=(1, 2)
    )
    assert plan([Waiting(1, False, whole=True), Waiting(2, False, whole=True)], 1, 2) == Plan((1,))


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=30),
    st.integers(-5, 25),
    st.integers(0, 4),
)
def test_no_plan_exceeds_the_limits_or_holds_an_urgent_one_back(
    flags: list[tuple[bool, bool, bool]], room: int, free: int
) -> None:
    due = [Waiting(n, urgent, bundle, whole) for n, (urgent, bundle, whole) in enumerate(flags)]
    made = plan(due, room, free)
    urgent = {each.id for each in due if each.urgent}
    one_by_one = len(made.send) + bool(made.digest)
    assert one_by_one <= free
    assert urgent.isdisjoint(made.digest)
    assert urgent.isdisjoint(made.defer)
    assert sum(each in urgent for each in made.send) == min(free, len(urgent))
    assert sum(each not in urgent for each in made.send) + bool(made.digest) <= max(room, 0)
    together = [*made.send, *made.digest, *made.defer]
    assert len(set(together)) == len(together)
