"""Claim codes as people type them, and what is told of a claim. S2: 64 bits at least."""

from __future__ import annotations

import itertools
from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cloud.devices.enrolment.rules import (
    ClaimState,
    Standing,
    Verdict,
    gateway_host,
    host_kind,
    judge,
    permitted,
    state_of,
)
from firmware_specs.claims import ALPHABET, RANDOM_BITS, Claim, CodeRefused, code_of, normalised, parse, text_of

numbers = st.integers(0, 2**RANDOM_BITS - 1)
ROOT = "ab" * 32


def test_a_code_has_64_bits_at_least_and_a_check_S2() -> None:
    assert RANDOM_BITS >= 64
    # Worked by hand: the only digit that is not nothing is the last, 1; its weight is 2, so the check is 2.
    assert code_of(1) == "0000-0000-0000-0012"
    # 1 in the last place but one weighs 4, in the sixth from the end of GF(32) 2^6 = 01010 by x^5 + x^2 + 1.
    assert code_of(1 << 5) == "0000-0000-0000-0104"
    assert code_of(1 << 25) == "0000-0000-0100-000A"


@given(numbers)
def test_a_code_survives_how_people_write_it(number: int) -> None:
    code = code_of(number)
    assert normalised(code) == code
    typed = code.lower().replace("-", " ").replace("1", "l").replace("0", "o")
    assert normalised(f"  {typed}\n") == code


@given(numbers, st.integers(0, 15), st.sampled_from(ALPHABET))
def test_every_single_wrong_character_is_noticed(number: int, place: int, char: str) -> None:
    plain = code_of(number).replace("-", "")
    assume(plain[place] != char)
    with pytest.raises(CodeRefused, match="mistyped"):
        normalised(plain[:place] + char + plain[place + 1 :])


@given(numbers, st.sampled_from(list(itertools.combinations(range(16), 2))))
def test_every_swap_of_two_characters_is_noticed(number: int, places: tuple[int, int]) -> None:
    plain = list(code_of(number).replace("-", ""))
    a, b = places
    assume(plain[a] != plain[b])
    plain[a], plain[b] = plain[b], plain[a]
    with pytest.raises(CodeRefused, match="mistyped"):
        normalised("".join(plain))


@pytest.mark.parametrize(
    ("typed", "wrong"),
    [("", "0 characters instead of 16"), ("0000-0000-0000-00", "14 characters"), ("U000-0000-0000-0000", "'U'")],
)
def test_what_is_no_code_is_named(typed: str, wrong: str) -> None:
    with pytest.raises(CodeRefused, match=wrong):
        normalised(typed)


@given(numbers)
def test_the_picture_says_address_code_and_fingerprint(number: int) -> None:
    claim = Claim("https://enrol.example:8443/x", code_of(number), ROOT)
    assert parse(text_of(claim)) == claim


@given(st.text() | st.text().map(lambda text: f"patrolgrid:claim?{text}"))
def test_any_text_is_a_claim_or_refused(text: str) -> None:
    with suppress(CodeRefused):
        assert parse(text).url.startswith("https://")


def test_a_picture_without_encryption_or_fingerprint_is_refused() -> None:
    for claim in (Claim("http://enrol.example", code_of(7), ROOT), Claim("https://enrol.example", code_of(7), "")):
        with pytest.raises(CodeRefused, match="QR picture"):
            parse(text_of(claim))


OPEN = Standing(expires_at=100)


@pytest.mark.parametrize(
    ("claim", "key", "now", "verdict"),
    [
        (None, "k", 1, Verdict.UNKNOWN),
        (OPEN, "k", 99, Verdict.NEW),
        (OPEN, "k", 100, Verdict.EXPIRED),
        (OPEN._replace(revoked_at=5), "k", 99, Verdict.REVOKED),
        (OPEN._replace(used_at=5, used_key="k"), "k", 99, Verdict.AGAIN),
        (OPEN._replace(used_at=5, used_key="k"), "k", 100, Verdict.EXPIRED),
        (OPEN._replace(used_at=5, used_key="k"), "other", 99, Verdict.USED),
        (OPEN._replace(used_at=5, used_key="k"), "other", 100, Verdict.USED),
        (OPEN._replace(used_at=5, used_key="k", revoked_at=7), "k", 99, Verdict.USED),
    ],
)
def test_what_becomes_of_a_claim_S2(claim: Standing | None, key: str, now: int, verdict: Verdict) -> None:
    assert judge(claim, key, now) is verdict


def test_the_states_of_a_claim() -> None:
    assert state_of(OPEN, 99) is ClaimState.OPEN
    assert state_of(OPEN, 100) is ClaimState.EXPIRED
    assert state_of(OPEN._replace(revoked_at=1), 99) is ClaimState.REVOKED
    assert state_of(OPEN._replace(used_at=1), 200) is ClaimState.USED


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", fullmatch=True))
def test_every_gateways_host_is_a_dns_name_below_the_domain(gateway: str) -> None:
    host = gateway_host(gateway)
    assert host_kind(host) == host
    assert permitted(host, ["gateways.patrolgrid.internal"])


def test_which_hosts_constraints_permit() -> None:
    assert permitted("a.b.example", ["b.example"])
    assert not permitted("ab.example", ["b.example"])
    assert host_kind("[::1]") == host_kind("::1")
    assert host_kind("*.example") is None
    assert host_kind("a..b") is None
