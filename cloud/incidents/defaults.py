"""The built-in response plans of the five categories: what holds where no node has its own.

A table; it is data, not rules. Targets are 5, 10 and 30 minutes. The person who acts is a call sign or a user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from cloud.incidents.rules import Category, ClockName
from cloud.org.rules import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

TARGETS: Final[Mapping[ClockName, int]] = {ClockName.ON_SCENE: 300, ClockName.REINFORCEMENT: 600, ClockName.AREA: 1800}


class Step(NamedTuple):
    """One line of a checklist."""

    zh: str
    en: str


class Plan(NamedTuple):
    """How a category is responded to.

    id: 0 for the built-in. node: whose plan it is. calls: roles that are told when an incident opens. arrivals: how
    many make the reinforcement. receive_s: within which somebody should take it, else one level up is told.
    escalate_s: how long until the next level up is told while nothing changes. kinds: further kinds of alarms that
    open this category. area_by: `hand`, or `alarms` when the area is safe once every alarm has cleared and somebody is
    on scene.
    """

    id: int
    node: str
    category: Category
    name_zh: str
    name_en: str
    checklist: tuple[Step, ...]
    calls: tuple[Role, ...]
    targets: Mapping[ClockName, int]
    scene_m: float
    arrivals: int = 2
    receive_s: int = 60
    escalate_s: int = 300
    kinds: tuple[str, ...] = ()
    area_by: str = "hand"


def _plan(
    category: Category, name: tuple[str, str], scene_m: float, *steps: tuple[str, str], area_by: str = "hand"
) -> Plan:
    calls = (Role.DISPATCHER, Role.SUPERVISOR) if category is not Category.FACILITY else (Role.DISPATCHER,)
    return Plan(
        0, "/", category, *name, tuple(Step(*step) for step in steps), (*calls, Role.PROPERTY), TARGETS, scene_m,
        area_by=area_by,
    )  # fmt: skip


BUILT_IN: Final[Mapping[Category, Plan]] = {
    plan.category: plan
    for plan in (
        _plan(
            Category.FIRE, ("火情处置", "Fire response"), 100.0,
            ("拨打 119 并报告位置", "Call 119 and give the place"),
            ("派最近的力量到场确认", "Send the nearest responders to confirm"),
            ("切断燃气和电源", "Shut off gas and power"),
            ("组织人员疏散，清点人数", "Evacuate, and count people at the assembly point"),
            ("打开消防通道，引导消防车", "Open the fire lane and guide the engines in"),
            ("现场移交消防，记录移交人", "Hand the scene to the fire service, note who took it"),
        ),
        _plan(
            Category.VIOLENCE, ("治安警情处置", "Violence response"), 80.0,
            ("拨打 110 并报告位置", "Call 110 and give the place"),
            ("派两人以上到场，不单独靠近", "Send two or more; nobody approaches alone"),
            ("隔开围观人员", "Keep bystanders away"),
            ("救助受伤人员，必要时拨打 120", "Help the injured; call 120 when needed"),
            ("保护现场，移交警方", "Secure the scene and hand it to the police"),
        ),
        _plan(
            Category.CROWD, ("人员聚集处置", "Crowd response"), 150.0,
            ("到场查看规模和原因", "Go and see how many and why"),
            ("打开备用出入口，设置单向通行", "Open further exits, make ways one-directional"),
            ("控制入口人流", "Limit who comes in"),
            ("报告街道协调中心", "Report to the street coordination centre"),
            ("人员散去后复查", "Check again when people have left"),
        ),
        _plan(
            Category.MEDICAL, ("医疗急救处置", "Medical response"), 50.0,
            ("拨打 120 并报告位置", "Call 120 and give the place"),
            ("带 AED 和急救箱到场", "Bring the AED and the first-aid kit"),
            ("按急救规程救助直到医生到达", "Give first aid until the ambulance is there"),
            ("控制电梯，引导救护车", "Hold the lift and guide the ambulance"),
        ),
        _plan(
            Category.FACILITY, ("设施故障处置", "Facility response"), 50.0,
            ("到场确认故障", "Go and confirm the fault"),
            ("隔离危险区域", "Close off what is dangerous"),
            ("通知维修单位", "Call the maintenance company"),
            ("恢复后试运行并确认", "Test and confirm after the repair"),
            area_by="alarms",
        ),
    )
}  # fmt: skip
