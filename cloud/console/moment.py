"""The picture on an alarm's page: what the metric that decided did around the moment, and the limit that it crossed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from cloud import catalogue
from cloud.console import show
from firmware_specs.schema import Above, Below

if TYPE_CHECKING:
    from datetime import datetime

    from cloud.alerts.models import AlarmDetail
    from cloud.console.ui import Ui
    from firmware_specs.schema import AlarmRule, MetricSpec, Profile

AROUND: Final = timedelta(minutes=15)
DRAWN: Final = {"number", "bool"}


class Chart(NamedTuple):
    """What the page's script needs. limits: label and value of each line across."""

    metric: str
    title: str
    spec: MetricSpec
    gap_ms: int | None
    begins: datetime
    ends: datetime
    limits: list[tuple[str, float]]


def _rule(profile: Profile, alarm: AlarmDetail) -> AlarmRule | None:
    """The rule that judged, when the profile is still the version that did."""
    name = alarm.rule.partition("/")[2]
    known = [rule for rule in profile.alarms if rule.name == name and profile.version == alarm.rule_version]
    return known[0] if known else None


def chart(ui: Ui, alarm: AlarmDetail) -> Chart | None:
    """The picture of an alarm, None when there is nothing that can be drawn: no device, or words and places only."""
    profile = catalogue.profile(alarm.rule.partition("/")[0])
    if alarm.device is None or profile is None:
        return None
    rule = _rule(profile, alarm)
    decided = [rule.metric] if rule else [reading.metric for reading in alarm.evidence]
    drawn = [metric for metric in decided if metric in profile.metrics and profile.metrics[metric].type in DRAWN]
    if not drawn:
        return None
    spec = profile.metrics[drawn[0]]
    return Chart(
        drawn[0], ui.t.pick(spec.title), spec, show.gap_ms(profile, drawn[0]), alarm.raised_at - AROUND,
        alarm.raised_at + AROUND, _limits(ui, drawn[0], spec, rule),
    )  # fmt: skip


def _limits(ui: Ui, metric: str, spec: MetricSpec, rule: AlarmRule | None) -> list[tuple[str, float]]:
    """The lines of a rule: where it raises, and where it clears when that is elsewhere."""
    if rule is None or not isinstance(rule.when, Above | Below):
        return []
    lines = [("alarm.chart_limit", rule.when.limit)]
    if rule.when.clear is not None and rule.when.clear != rule.when.limit:
        lines.append(("alarm.chart_clear", rule.when.clear))
    return [(ui.t(key, limit=show.value(ui.t, metric, limit, spec)), limit) for key, limit in lines]
