"""What notifications say: both languages, values as text only, fitted to what a service can show."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.alerts.notify import texts
from cloud.alerts.notify.targets import SERVICES, WEBHOOK, Markup
from cloud.alerts.notify.texts import Text, digest, fitted, render

if TYPE_CHECKING:
    from cloud.alerts.notify.targets import Service

ALL = texts.templates("zh")


def test_both_languages_have_the_same_templates_with_the_same_values() -> None:
    assert texts.templates("en") == ALL
    names = {
        language: {
            name: set(re.findall(r"\{[a-z_]+\}", str(texts._find(texts._TEXTS[language], name)))) for name in ALL
        }
        for language in texts.LANGUAGES
    }
    assert names["zh"] == names["en"]
    for language in texts.LANGUAGES:
        tomllib.loads((texts._FOLDER / f"{language}.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "template",
    ["alarm.raised", "alarm.escalated", "alarm.cleared", "incident.opened", "incident.breached", "incident.closed",
     "level.declared", "level.approved", "level.ended", "presence.unmanned", "hazard.escalated", "review.ready",
     "self.monitoring", "test"],
)  # fmt: skip
def test_every_template_reads_in_both_languages_and_by_other_spellings(template: str) -> None:
    assert template in ALL
    values = {"what": "W", "where": "X", "post": "P", "channel": "C", "level": "2", "period": "Q", "clock": "K"}
    for language in texts.LANGUAGES:
        made = render(language, template, values)
        assert "{" not in made.title + made.body
        for sign in "-_":
            assert render(language, template.replace(".", sign), values) == made


def test_lines_without_their_values_are_left_out() -> None:
    made = render(
        "zh", "alarm.raised", {"what_zh": "烟雾", "what_en": "Smoke", "where": "3 号楼", "severity": "critical"}
    )
    assert made == Text("紧急告警：烟雾 3 号楼", "地点：3 号楼")
    assert render("en", "alarm.raised", {"what_en": "Smoke", "severity": "major"}).title == "Major alarm: Smoke"


def test_a_template_that_nobody_wrote_still_tells_something() -> None:
    assert render("en", "no.such", {"what": "Pump", "detail": "it stopped"}) == Text("Pump", "it stopped")
    assert render("en", "no.such", {}) == Text("no.such", "")


def test_a_drill_says_so_first() -> None:
    assert render("zh", "alarm.raised", {"what": "烟雾"}, drill=True).title.startswith("【演练】")
    assert render("en", "alarm.raised", {"what": "Smoke"}, drill=True).title.startswith("[DRILL] ")


def test_values_are_text_and_never_templates() -> None:
    evil = "{where} {severity} {0.__class__} %s ${HOME} {{what}}"
    made = render("en", "alarm.raised", {"what": evil, "where": "here", "severity": "minor"})
    assert evil in made.title


@given(st.dictionaries(st.sampled_from(["what", "what_zh", "where", "detail", "url"]), st.text()), st.sampled_from(ALL))
def test_any_value_leaves_one_line_of_plain_bounded_text(values: dict[str, str], template: str) -> None:
    made = render("zh", template, values)
    assert made.title.isprintable()
    assert len(made.title) <= texts.TITLE
    assert all(line.isprintable() for line in made.body.split("\n"))
    assert len(made.body) <= texts.BODY


def test_control_and_direction_characters_are_taken_out() -> None:
    assert texts.plain("a\x00b\r\nc\u202ed\u200be\x1b[31m\ud800") == "a\ufffdb c d e [31m?"


@pytest.mark.parametrize("service", [*SERVICES.values(), WEBHOOK], ids=[*SERVICES, "webhook"])
def test_messages_fit_what_a_service_can_show(service: Service) -> None:
    made = fitted(service, Text("t" * 200, "b" * 4000))
    assert len(made.body) <= service.length
    assert bool(made.title) is service.titled


def test_what_a_service_would_read_as_markup_is_escaped() -> None:
    text = Text("[a](http://e)", '<at user_id="all"></at> **b** `c` @all')
    tags = fitted(SERVICES["feishu"], text)
    assert "<" not in tags.body
    assert "@" not in tags.body
    marked = fitted(SERVICES["mmosts"], text)
    assert "\\[a\\]\\(http\\://e\\)" in marked.body
    assert "@all" not in marked.body
    assert fitted(SERVICES["mailtos"], text).body == text.body
    assert SERVICES["mailtos"].markup is Markup.NONE


@given(st.lists(st.text("ab字", min_size=1, max_size=200), min_size=1, max_size=600), st.integers(200, 3000))
def test_a_digest_lists_what_fits_and_counts_the_rest(titles: list[str], most: int) -> None:
    made = digest("zh", titles, most)
    assert made.title == f"{len(titles)} 条消息汇总"
    assert len(made.title) + len(made.body) <= most
    shown = [line for line in made.body.split("\n") if line.startswith("· ")]
    left = re.search(r"另有 (\d+) 条", made.body)
    assert len(shown) + (int(left[1]) if left else 0) == len(titles)
