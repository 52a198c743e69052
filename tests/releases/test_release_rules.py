"""Versions, the signed fields, and when metadata is to be renewed."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from cloud.devices.releases import rules
from firmware_specs.errors import UpdateRejected
from firmware_specs.release import (
    Release,
    ReleaseKind,
    check_fits,
    is_older,
    platform_of,
    release_of,
    target_name,
    version_key,
)

ORDERED = (
    "0.9", "1.0.dev1", "1.0.0-alpha", "1.0.0-alpha.1", "1.0a2.dev3", "1.0a2", "1.0.0-beta.2", "1.0b11", "1.0.0-rc.1",
    "1.0rc2", "1.0", "1.0.post1", "1.0.1", "1.1", "1.10", "v2.0.0",
)  # fmt: skip
SEMVER = ("1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0")
"""As semver.org lists them, less those identifiers that PEP 440 has no word for."""


@pytest.mark.parametrize("versions", [ORDERED, SEMVER])
def test_versions_sort_as_both_standards_say(versions: tuple[str, ...]) -> None:
    for low, high in itertools.combinations(versions, 2):
        assert is_older(low, high), (low, high)
        assert not is_older(high, low), (low, high)


def test_what_is_written_in_two_ways_is_one_version() -> None:
    for one, other in (("1.0", "1.0.0"), ("v1.2", "1.2"), ("1.0rc1", "1.0.0-rc.1"), ("1.0+build.5", "1.0")):
        assert version_key(one) == version_key(other)


@pytest.mark.parametrize("text", ["", "one", "1..2", "1.0-nightly", "1.0 ", "1" * 40, "1.0\n", "../1.0", "1.0/2"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a version"):
        version_key(text)


_versions = st.builds(
    lambda parts, stage, post, dev: ".".join(map(str, parts)) + stage + post + dev,
    st.lists(st.integers(0, 30), min_size=1, max_size=4),
    st.one_of(st.just(""), st.builds("{}{}".format, st.sampled_from(["a", "b", "rc"]), st.integers(0, 5))),
    st.one_of(st.just(""), st.builds(".post{}".format, st.integers(0, 3))),
    st.one_of(st.just(""), st.builds(".dev{}".format, st.integers(0, 3))),
)


@given(_versions, _versions)
def test_versions_compare_as_packaging_does(one: str, other: str) -> None:
    assert is_older(one, other) == (Version(one) < Version(other))


@given(st.text(max_size=40))
def test_any_text_is_a_version_or_refused(text: str) -> None:
    try:
        version_key(text)
    except ValueError:
        return


def test_the_signed_fields_have_to_be_whole() -> None:
    whole = {"kind": "agent", "model": "agent", "version": "1.0", "requires": "0.9", "platform": "linux-x86_64"}
    assert release_of("a", whole).requires == "0.9"
    for wrong in (
        {"kind": "toy"}, {"model": "smoke"}, {"version": "x"}, {"requires": "x"}, {"model": "a b"}, {"version": 5},
        {"kind": "firmware"}, {"notes": "n" * 3000},
    ):  # fmt: skip
        with pytest.raises(UpdateRejected):
            release_of("a", {**whole, **wrong})
    with pytest.raises(UpdateRejected):
        release_of("a", None)


@pytest.mark.parametrize(
    ("release", "reason"),
    [
        (Release(ReleaseKind.FIRMWARE, "smoke", "2.0"), "firmware, not agent"),
        (Release(ReleaseKind.AGENT, "other", "2.0"), "model other, not agent"),
        (Release(ReleaseKind.AGENT, "agent", "2.1"), "2.1, 2.0 was ordered"),
        (Release(ReleaseKind.AGENT, "agent", "2.0", "1.5"), "needs agent 1.5, this one is 1.4"),
    ],
)
def test_S10_what_does_not_fit_is_refused_with_the_reason(release: Release, reason: str) -> None:
    with pytest.raises(UpdateRejected, match=reason):
        check_fits(release, kind=ReleaseKind.AGENT, model="agent", version="2.0", agent="1.4")
    check_fits(
        Release(ReleaseKind.AGENT, "agent", "2.0", "1.4"), kind=ReleaseKind.AGENT, model="agent", version="2.0.0",
        agent="1.4",
    )  # fmt: skip


@pytest.mark.parametrize("path", ["", "/a", "a//b", "../a", "a/..", ".a", "a\\b", "a b", "a/b/c/d/e", "ä"])
def test_a_target_has_a_plain_path(path: str) -> None:
    with pytest.raises(UpdateRejected):
        target_name(path)
    assert target_name("firmware/smoke-3/v1.bin") == "firmware/smoke-3/v1.bin"


def test_metadata_is_renewed_at_half_and_alarmed_before_its_end() -> None:
    day = rules.DAY_MS
    assert not rules.renewal_due(day, day, day // 2 - 1)
    assert rules.renewal_due(day, day, day // 2)
    assert not rules.renewal_failed(day, day, 3 * day // 4 - 1)
    assert rules.renewal_failed(day, day, 3 * day // 4)
    assert not rules.ending(90 * day, 90 * day, 75 * day - 1)
    assert rules.ending(90 * day, 90 * day, 75 * day)
    assert rules.days_left(day, 2 * day) == -1
    assert platform_of("Linux", "x86_64") == "linux-x86_64"
