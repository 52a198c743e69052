"""How incidents read on a page: clocks as figures, rows of the timeline as sentences, and what forms offer.

`static/js/clocks.js` counts the same figures; a test holds the two together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from cloud.incidents.rules import Category, How

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloud.console.ui import Ui
    from cloud.incidents.models import ClockView, IncidentView, TimelineRow

SOON: Final = 0.25
"""A clock is about to be over when less than this share of its target is left."""
ICONS: Final = {
    Category.FIRE: "fire", Category.VIOLENCE: "sos", Category.CROWD: "armband", Category.MEDICAL: "alert",
    Category.FACILITY: "panel",
}  # fmt: skip


class Face(NamedTuple):
    """What a clock shows: mood (calm, soon, over, met, missed, rest), its figure, the word beside it."""

    mood: str
    figure: str
    word: str


def figure(seconds: float) -> str:
    """4:07, 1:02:03."""
    whole = int(abs(seconds))
    hours, minutes, left = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def mood(left_s: float, target_s: int) -> str:
    """How a running clock looks."""
    if left_s <= 0:
        return "over"
    return "soon" if left_s < target_s * SOON else "calm"


def face(ui: Ui, clock: ClockView) -> Face:
    """What a clock shows now."""
    if clock.remaining_s is not None:
        now = mood(clock.remaining_s, clock.target_s)
        return Face(now, figure(clock.remaining_s), ui.t("incidents.over" if now == "over" else "incidents.left"))
    if clock.stopped_at is None:
        return Face("missed" if clock.breached_at else "rest", "—", ui.t("incidents.never_stopped"))
    took = (clock.stopped_at - clock.started_at).total_seconds()
    met = took <= clock.target_s
    how = ui.t(f"incidents.how.{clock.how}") if clock.how is not How.EVIDENCE else clock.stopped_by or ""
    return Face("met" if met else "missed", figure(took), how)


def title(ui: Ui, incident: IncidentView) -> str:
    """What an incident is called in the viewer's language."""
    given = incident.title_zh if ui.t.code == "zh" else incident.title_en
    return ui.t.name("kind", given) if given else ui.t(f"incidents.category.{incident.category}")


def sentence(ui: Ui, row: TimelineRow, nodes: Mapping[str, str]) -> str:
    """What a row of the timeline says beyond its action."""
    detail = row.detail
    told: list[str] = []
    if "clock" in detail:
        told.append(ui.t.name("incidents.clock", str(detail["clock"])))
    if row.action in {"ticked", "unticked"}:
        told.append(str(detail.get(ui.t.code) or detail.get("zh") or ""))
    if "kind" in detail:
        told.append(ui.t.name("kind", str(detail["kind"])))
    if "alarm" in detail:
        told.append(ui.t("incidents.alarm", id=detail["alarm"]))
    told += [str(detail[name]) for name in ("call_sign", "device", "former") if detail.get(name)]
    if detail.get("to"):
        to = str(detail["to"])
        told.append(f"→ {nodes.get(to, to)}")
    return " · ".join(told)


def remark(row: TimelineRow) -> str:
    """What somebody wrote with it."""
    return "\n".join(str(row.detail[name]) for name in ("text", "reason", "cause", "follow_up") if row.detail.get(name))


def categories(ui: Ui) -> list[tuple[str, str]]:
    """The categories, to choose from."""
    return [(category.value, ui.t(f"incidents.category.{category}")) for category in Category]
