"""The broker's rules: the file that mosquitto reads and the answers over HTTP say the same (S1); when a list is due."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from cloud.devices.broker import conf, rules
from cloud.devices.broker.rules import Action
from firmware_specs.wire import TOPIC_ROOT

LEVELS = st.sampled_from(
    ["up", "alarms", "status", "reported", "config", "result", "1", "discovered", "ack", "desired", "command", "", "x"]
)
NAMES = st.sampled_from(["gw-1", "gw-2", "gw-1.x", "up", "gw", "$SYS", "gw-1/up", "+", "#", "gw+1", ""])


def topics(levels: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    root = st.sampled_from([TOPIC_ROOT, TOPIC_ROOT, TOPIC_ROOT, "patrolgrid", "$SYS", ""])
    made = st.tuples(root, NAMES, st.lists(levels, max_size=3))
    return made.map(lambda parts: "/".join([parts[0], parts[1], *parts[2]]))


TOPICS = topics(LEVELS).filter(lambda topic: not set(topic) & set("+#"))
FILTERS = topics(st.one_of(LEVELS, st.sampled_from(["+", "#"])))


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic matches a filter, as MQTT 5 has it (4.7): written down a second time, by regular expression."""
    body = "/".join("[^/]*" if level == "+" else re.escape(level) for level in pattern.removesuffix("/#").split("/"))
    if pattern == "#":
        return not topic.startswith("$")
    return re.fullmatch(body + ("(/.*)?" if pattern.endswith("/#") else ""), topic) is not None


def mosquitto_says(name: str, access: str, topic: str) -> bool:
    """What a broker makes of the file for a user: its patterns, and none for a name with wildcards."""
    if set(name) & set("+#"):
        return False
    found = [line.split(" ", 2) for line in rules.access_file().splitlines()]
    return any(kind == access and matches(pattern.replace("%u", name), topic) for _, kind, pattern in found)


@given(NAMES.filter(rules.is_name), TOPICS)
def test_S1_both_ways_decide_the_same_about_publishing(name: str, topic: str) -> None:
    assert rules.may(name, Action.PUBLISH, topic) == mosquitto_says(name, "write", topic)


@given(NAMES.filter(rules.is_name), FILTERS, TOPICS)
def test_S1_whoever_may_subscribe_may_hear_all_of_it(name: str, wanted: str, topic: str) -> None:
    if rules.may(name, Action.SUBSCRIBE, wanted) and matches(wanted, topic):
        assert mosquitto_says(name, "read", topic)


@given(NAMES.filter(rules.is_name), TOPICS)
def test_S1_what_may_be_heard_may_be_subscribed_to(name: str, topic: str) -> None:
    assert rules.may(name, Action.SUBSCRIBE, topic) == mosquitto_says(name, "read", topic)


@given(NAMES, NAMES, FILTERS)
def test_S1_nobody_is_allowed_what_lies_below_another(name: str, other: str, wanted: str) -> None:
    if f"{TOPIC_ROOT}/{name}/" not in wanted:
        for action in Action:
            assert not rules.may(name, action, wanted)
    if not rules.is_name(other):
        assert not rules.may(other, Action.PUBLISH, f"{TOPIC_ROOT}/{other}/status")


def test_S1_wildcards_and_shares_are_no_way_around() -> None:
    for wanted in (
        "#",
        "+/#",
        f"{TOPIC_ROOT}/#",
        f"{TOPIC_ROOT}/+/ack",
        f"{TOPIC_ROOT}/gw-1/#",
        "$share/x/#",
        "$SYS/#",
    ):
        assert not rules.may("gw-1", Action.SUBSCRIBE, wanted)
        assert not rules.may("gw-1", Action.PUBLISH, wanted)
    assert rules.may("gw-1", Action.SUBSCRIBE, f"{TOPIC_ROOT}/gw-1/desired/+")
    assert not rules.may("gw-1", Action.SUBSCRIBE, f"{TOPIC_ROOT}/gw-1/desired/#")
    assert not rules.may("gw-1", Action.PUBLISH, f"{TOPIC_ROOT}/gw-1/status\x00")


@given(st.integers(0, 10**13), st.integers(0, 10**9), st.integers(-(10**10), 10**10))
def test_a_list_is_made_again_long_before_it_ends(made: int, life: int, passed: int) -> None:
    due = rules.list_is_due(made, made + life, {1}, {1}, made + passed)
    assert due == (not 0 <= passed < min(rules.RENEW_AFTER_MS, life))
    assert rules.list_is_due(made, made + life, {1}, {1, 2}, made)


def test_a_certificate_is_due_at_two_thirds_and_when_a_clock_jumped() -> None:
    assert [rules.certificate_is_due(0, 90, now) for now in (-1, 0, 59, 60, 200)] == [True, False, False, True, True]


def test_a_stale_list_is_one_that_is_too_old_or_missing_or_behind() -> None:
    hour = 3_600_000
    assert rules.is_stale(None, hour, None, 0)
    assert rules.is_stale(0, hour, None, hour + 1)
    assert not rules.is_stale(0, hour, None, hour)
    assert not rules.is_stale(0, hour, 0, rules.BEHIND_MS)
    assert rules.is_stale(0, hour, 0, rules.BEHIND_MS + 1)


def test_a_password_line_is_of_its_user_and_password() -> None:
    line = conf.password_line("cloud", "secret")
    assert conf.password_holds(line, "cloud", "secret")
    assert not conf.password_holds(line, "cloud", "other")
    assert not conf.password_holds(line, "clou", "secret")
    for broken in ("", "cloud", "cloud:$7$x$y$z", "cloud:$7$101$!$!", "cloud:$6$101$aa$aa"):
        assert not conf.password_holds(broken, "cloud", "secret")
