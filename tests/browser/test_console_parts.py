"""The console without a browser: words, vendored files, and that nothing inline slips into a template."""

from __future__ import annotations

import hashlib
import json
import re
import string
import tomllib
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from cloud.console import show, vendor
from cloud.console.i18n import DIRECTORY, LANGUAGES, WORDS, flatten, language
from cloud.console.pages import HERE, environment, local, static_url
from cloud.console.ui import KIND_ICONS, bar
from firmware_specs.load import load_profiles

TEXTS = {
    code: {
        key: text
        for file in sorted(DIRECTORY.glob(f"{code}*.toml"))
        for key, text in flatten(tomllib.loads(file.read_text()))
    }
    for code in LANGUAGES
}
SOURCES = [*HERE.glob("*.py"), *HERE.glob("templates/*.html"), *HERE.glob("static/js/*.js")]


def test_both_languages_have_the_same_words_with_the_same_places() -> None:
    assert TEXTS["zh"].keys() == TEXTS["en"].keys()

    def places(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert {k for k in TEXTS["zh"] if places(TEXTS["zh"][k]) != places(TEXTS["en"][k])} == set()
    assert not [key for texts in TEXTS.values() for key, text in texts.items() if not text.strip()]


def test_every_word_that_a_page_or_script_asks_for_is_there() -> None:
    asked = {
        key
        for file in SOURCES
        for key in re.findall(r"""\b(?:t|word|words)\(\s*["']([a-z_]+\.[a-z0-9_.-]+)["'] *[,)]""", file.read_text())
    }
    assert len(asked) > 150
    assert asked <= TEXTS["zh"].keys()


def test_every_kind_and_category_of_the_profiles_has_a_word() -> None:
    profiles, _ = load_profiles()
    kinds = {rule.kind for profile in profiles.values() for rule in profile.alarms}
    assert {kind for kind in kinds if f"kind.{kind}" not in TEXTS["zh"]} == set()
    assert {p.category for p in profiles.values() if f"category.{p.category}" not in TEXTS["zh"]} == set()


def test_every_rule_of_the_profiles_reads_as_a_sentence_in_both_languages() -> None:
    profiles, _ = load_profiles()
    told = [show.rule(w, p, rule) for w in WORDS.values() for p in profiles.values() for rule in p.alarms]
    assert len(told) > 40
    assert not [text for text in told if "{" in text or not text]


@pytest.mark.parametrize(
    ("query", "cookie", "wanted"), [(None, None, "zh"), (None, "en", "en"), ("zh", "en", "zh"), ("xx", "<b>", "zh")]
)
def test_the_language_is_asked_for_remembered_or_chinese(query: str | None, cookie: str | None, wanted: str) -> None:
    assert language(query, cookie) == wanted


def test_the_vendored_files_are_those_that_the_lock_pins() -> None:
    recorded = tomllib.loads((vendor.VENDOR / "SOURCES.toml").read_text())
    assert {name: entry["version"] for name, entry in recorded.items()} == {
        name: vendor.pinned()[package] for name, (package, _) in vendor.FILES.items()
    }
    for name, entry in recorded.items():
        assert hashlib.sha256((vendor.VENDOR / name).read_bytes()).hexdigest() == entry["sha256"], name
    modules = vendor.ROOT / "node_modules"
    if modules.is_dir():  # where npm installed what the lock pins, the very bytes are compared
        installed = vendor.installed(modules)
        assert {name: (vendor.VENDOR / name).read_bytes() for name in installed} == installed


def test_the_lock_names_no_registry() -> None:
    lock = (vendor.ROOT / "package-lock.json").read_text()
    assert "resolved" not in lock
    assert "://" not in lock
    for name, package in json.loads(lock)["packages"].items():
        assert not name or package["integrity"].startswith("sha512-"), name


def test_S5_templates_have_nothing_inline_and_switch_no_escaping_off() -> None:
    for file in HERE.glob("templates/*.html"):
        text = file.read_text()
        assert not re.search(r"\sstyle=|\son[a-z]+=|hx-on|javascript:|\|\s*safe\b|autoescape", text), file.name
        for attributes, body in re.findall(r"<script([^>]*)>(.*?)</script>", text, re.DOTALL):
            assert "src=" in attributes or "application/json" in attributes, file.name
            assert "src=" not in attributes or not body, file.name
    assert environment().autoescape is True


def test_every_icon_that_is_named_is_drawn() -> None:
    drawn = set(re.findall(r'<symbol id="([a-z-]+)"', (HERE / "static/icons.svg").read_text()))
    named = {n for file in HERE.glob("templates/*.html") for n in re.findall(r"icon\('([a-z-]+)'\)", file.read_text())}
    profiles, _ = load_profiles()
    assert named | set(KIND_ICONS.values()) | {p.category for p in profiles.values()} <= drawn


def test_an_asset_that_is_not_there_is_an_error_when_the_page_is_made() -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.css"):
        static_url("none.css")


@pytest.mark.parametrize("path", ["//elsewhere.example", "https://elsewhere.example", "/\\elsewhere", "", "/a\nb"])
def test_a_way_back_leads_only_to_our_own_pages(path: str) -> None:
    assert local(path) == "/"
    assert local("/alarms?state=open") == "/alarms?state=open"


@pytest.mark.parametrize(
    ("value", "decimals", "wanted"), [(-0.04, 1, "0.0"), (21.46, 1, "21.5"), (-3.0, 0, "-3"), (0.0, 2, "0.00")]
)
def test_numbers_have_their_decimals_and_no_minus_zero(value: float, decimals: int, wanted: str) -> None:
    assert show.number(value, decimals) == wanted


def test_a_time_is_shown_in_the_sites_zone_with_its_day_when_that_is_another() -> None:
    now = datetime(2026, 3, 1, 17, 0, tzinfo=UTC)
    zone = ZoneInfo("Asia/Shanghai")
    assert show.moment(datetime(2026, 3, 1, 16, 5, 6, tzinfo=UTC), zone, now) == "00:05:06"
    assert show.moment(datetime(2026, 3, 1, 15, 59, 59, tzinfo=UTC), zone, now) == "2026-03-01 23:59:59"


def test_a_value_is_out_of_date_after_three_intervals_a_steady_one_later_an_event_never() -> None:
    profiles, _ = load_profiles()
    smoke, checkin = profiles["generic-smoke-senml"], profiles["generic-checkin-terminal"]
    after_s = smoke.silent_after_ms / 1000
    assert show.stale_after_s(smoke, "alarm") == after_s
    battery = smoke.metrics["battery"]
    assert battery.deadband is not None
    assert show.stale_after_s(smoke, "battery") == after_s + battery.heartbeat_s
    assert show.stale_after_s(checkin, "checkin") is None
    assert show.stale_after_s(None, "anything") is None


def test_a_bar_fills_its_width_whatever_the_counts() -> None:
    pieces = bar([("normal", 1), ("alarm", 0), ("fault", 1), ("offline", 1)])
    assert [name for name, _, _ in pieces] == ["normal", "fault", "offline"]
    assert sum(width for _, _, width in pieces) == 1000
    assert bar([("normal", 0)]) == []
