"""A diagnostics bundle never contains a planted secret or name, wherever it was planted (P7)."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edge
from edge.binding import make_plan
from edge.check import Finding
from edge.diagnostics import MAX_BYTES, Facts, bundle
from edge.log import Ring
from edge.redact import plain, veil
from edge.redact_words import WORDS
from firmware_specs.wire import Status
from firmware_specs.wire_vitals import Start, StartReason, Vitals

PLANTED = {
    "password": "Tr0ub4dor&3",
    "words": "error timeout",  # a password that is made of harmless words
    "name": "王小明",
    "latin": "Wang Xiaoming",
    "phone": "13812345678",
    "spaced": "138 1234 5678",
    "pseudonym": "hmac-9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
    "token": "sk_live_51H8xq2eZvKYlo2C",
    "card": "11010519491231002X",
    "mail": "xiaoming@example.cn",
    "dotted": "139.8765.4321",
    "landline": "(010) 6552-9988",
    "card in groups": "110105 19491231 002X",
    "on earth": "34.2610, 108.9423",
    "room": "room 7203",
    "number": "pin 8273",
    "wide": "１３８６６６６７７７７",
    "letters": "Nguyễn Thị Ánh",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4bSJ9.c2ln",
    "hex": "DEADBEEFCAFEBABE",
    "dsn": "postgres://xm:pw77@db/x",
    "plate": "陕A·88Z99",
}

PIECES = """小明 xiaoming 1234 Tr0ub 9f86 51H8 example 8765 6552 9988 1949 2610 9423 7203 8273 ６６６ Thị eyJ BEEF
pw77 88Z"""


@pytest.fixture
def facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Facts:
    """A gateway with something planted in every place that a bundle is made from."""
    secret = tmp_path / f"{PLANTED['token']}.txt"
    secret.write_text(PLANTED["words"] + "\n")
    monkeypatch.setenv("UPLINK_TOKEN", PLANTED["password"])
    file = tmp_path / "gateway.toml"
    file.write_text(
        f"""gateway = "gw-xiaoming-7203"
state_dir = "{PLANTED["name"]}"
location = "{PLANTED["latin"]} {PLANTED["phone"]}"
[uplink]
url = "mqtts://{PLANTED["pseudonym"]}.example.cn:8883"
user = "{PLANTED["mail"]}"
password_file = "{secret}"
[[connectors]]
name = "xiaoming"
kind = "mqtt"
url = "mqtt://127.0.0.1:1883"
user = "{PLANTED["latin"]}"
password_file = "{secret}"
[[devices]]
id = "xiaoming-13812345678"
profile = "generic-temperature-json"
connector = "xiaoming"
address = "home/{PLANTED["name"]}/{PLANTED["spaced"]}"
location = "{PLANTED["name"]}"
"""
    )
    ring = Ring()
    for value in PLANTED.values():
        said = {"reason": f"refused for {value}", "endpoint": f"mqtt://{value}@h", value: value}
        head = {"timestamp": "2026-11-26T06:00:00Z", "level": "warning", "event": "link down"}
        ring(None, "warning", {**head, **said})
    text = " ".join(PLANTED.values())
    status = Status(
        True, "0.1.0", "b" * 32, "h", 1, degraded=f"outbox: {text}",
        connectors={"xiaoming": f"not authorised: {text}"}, counters={"frames": 3, text: 1},
        vitals=Vitals(disk_free=5, renewal=text, starts=(Start(1, StartReason.CRASH, "Tr0ub4dor&3"),)),
    )  # fmt: skip
    findings = [Finding("connector xiaoming", "fail", text), Finding(f"uplink {text}", "ok", f"{secret}: {text}")]
    return Facts(make_plan(file), status, {"alarms": ("e" * 32, 5)}, ring.last(50), findings)


def contents(data: bytes) -> dict[str, str]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    return {name: archive.read(name).decode() for name in archive.namelist()}


def test_nothing_planted_is_in_a_bundle_P7(facts: Facts) -> None:
    data = bundle(facts)
    assert len(data) <= MAX_BYTES
    for name, text in contents(data).items():
        for what, planted in PLANTED.items():
            assert planted not in text, (name, what)
        digits_by_chance = r'"\w*(?:sha256|hash|at_ms|at|uptime_s)": \S+'
        for piece in PIECES.split():
            assert piece not in re.sub(digits_by_chance, "", text), (name, piece)


def test_a_bundle_still_says_what_helps(facts: Facts) -> None:
    parts = contents(bundle(facts))
    assert '"port": 8883' in parts["config.json"]
    assert '"generic-temperature-json": 1' in parts["config.json"]
    assert "warning link down reason=refused for" in parts["log.txt"]
    assert '"connector-1"' in parts["status.json"]
    assert '"disk_free": 5' in parts["status.json"]


def test_what_the_agent_logs_is_readable_in_a_bundle() -> None:
    said: list[str] = []
    for file in Path(edge.__file__).parent.rglob("*.py"):
        said += re.findall(r'_log\.\w+\(\s*"([^"]*)"', file.read_text(encoding="utf-8"))
    assert len(said) > 20
    for event in ("link up", "link down", "uplink down", "outbox degraded", "configuration changed", "command refused"):
        assert plain(event) == event
    whole = [event for event in said if plain(event) == event]
    assert len(whole) >= 0.9 * len(said), set(said) - set(whole)


@given(
    st.sampled_from(["{} {} {}", "refused for {}.{}.{}", "({}) {}-{}", "{}/{}/{}", "{},{};{}", "link down {}:{} {}"]),
    st.tuples(*[st.from_regex(r"[0-9]{3,5}", fullmatch=True)] * 3),
)
def test_no_long_number_passes_in_pieces_P7(shape: str, pieces: tuple[str, str, str]) -> None:
    assert not re.search(r"\d", plain(shape.format(*pieces)))


def test_what_counts_and_versions_pass() -> None:
    for text in ("retry 3 of 10 after 250 ms", "version 0.1.0", "errno 111", "ipv4 127.0.0.1", "12 MB free"):
        assert plain(text) == text
    assert plain("sensors up 3", {"sensors": "connector-1"}) == "connector-1 up 3"
    assert plain("room 7203 and building 5, door 2") == "[…] […] and […] […], […] […]"


def test_a_line_is_cut_between_words_so_that_no_part_of_a_secret_stays_P7() -> None:
    ring = Ring()
    ring(None, "info", {"event": "x" * 590, "reason": "hunter2hunter2"})
    assert ring.last(1) == ["x" * 590]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=80))
def test_only_known_words_and_short_numbers_pass_P7(text: str) -> None:
    for word in re.findall(r"[^\W_]+", plain(text)):
        assert word.lower() in WORDS or re.fullmatch(r"\d{1,5}(?:ms|s|mb|kb|b)?", word, re.IGNORECASE | re.ASCII)


@pytest.mark.parametrize(
    "line",
    ["password=hunter2", 'token: "hunter2"', "Authorization: Bearer hunter2", "mqtts://u:hunter2@h", "claim hunter2 x",
     "holder=hunter2", "card_pseudonym = hunter2"],
)  # fmt: skip
def test_a_live_line_is_veiled_P7(line: str) -> None:
    assert "hunter2" not in veil(line, {"hunter2"} if line.startswith("claim") else ())
    assert (
        veil("took 12 ms, sequence 123456 of 2026-11-26T06:15:39Z")
        == "took 12 ms, sequence 123456 of 2026-11-26T06:15:39Z"
    )
