"""How far an installation is: each stage from the claim to the acceptance sheet, read from those who own it.

Owns no row. What a stage waits for is said in the words of its owner: a finding of the check, the reason of a
configuration that was refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from cloud.devices import service as devices
from cloud.devices.configs import service as configs
from cloud.devices.field import discovered, sheets, walks
from cloud.devices.field.adoption import may_provision
from cloud.devices.field.models import FindingView, InstallView, StageView
from cloud.devices.field.rules import Step, StepState, worst_of
from cloud.devices.remote import service as remote
from cloud.devices.remote.rules import OVER, Phase

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.devices.field.models import SheetView, WalkView
    from cloud.devices.models import DeviceView, GatewayView
    from cloud.devices.remote.models import CommandView
    from cloud.org.rules import Principal

CHECK: Final = "check"
LOOKED: Final = 20
"""Commands among which the last check is looked for."""
_SETTLED: Final = {"in-force": StepState.DONE, "local": StepState.DONE, "unset": StepState.OPEN}
_FAILED: Final = frozenset({"refused", "reverted", "no-answer"})


def check(tx: Connection, actor: Principal, gateway: str, now_ms: int) -> CommandView | None:
    """Have a gateway check itself; None when it is doing so already. Raises Forbidden, NotFound, TooManyTries."""
    may_provision(actor)
    last = _last_check(tx, actor, gateway)
    if last is not None and last.phase not in OVER:
        return None
    return remote.send(tx, actor, gateway, CHECK, {}, now_ms, 60)


def _last_check(tx: Connection, who: Principal, gateway: str) -> CommandView | None:
    listed = remote.list_commands(tx, who, gateway, limit=LOOKED).items
    last = next((each for each in listed if each.kind == CHECK), None)
    return remote.get(tx, who, last.id) if last else None


def findings(command: CommandView | None) -> list[FindingView]:
    """The lines of a check, as far as they came."""
    found = []
    for part in command.parts if command else ():
        try:
            found.append(msgspec.json.decode(part, type=_Finding).view())
        except msgspec.DecodeError:
            continue
    return found


class _Finding(msgspec.Struct, frozen=True):
    what: str
    state: str
    detail: str

    def view(self) -> FindingView:
        return FindingView(what=self.what, state=self.state, detail=self.detail)


def of(tx: Connection, who: Principal, gateway: str, now_ms: int) -> InstallView:
    """How far the installation of a gateway is. Raises Forbidden, NotFound."""
    may_provision(who)
    home = devices.get_gateway(tx, who, gateway)
    own = devices.served(tx, who, gateway, now_ms)
    command = _last_check(tx, who, gateway)
    found = findings(command)
    walk = next(iter(walks.list_walks(tx, who, gateway, limit=1).items), None)
    sheet = next(iter(sheets.list_sheets(tx, who, gateway, limit=1).items), None)
    return InstallView(
        gateway=gateway, node=home.node, findings=found, check=command.id if command else None,
        discovered=len(discovered.listed(tx, who, gateway)), devices=len(own),
        heard=sum(each.last_seen_at is not None for each in own),
        stages=[
            StageView(step=Step.CLAIMED, state=StepState.DONE),
            _enrolled(tx, home, now_ms),
            StageView(
                step=Step.ONLINE, state=StepState.DONE if home.online else StepState.OPEN,
                at=home.changed_at if home.online else None, detail=home.agent_version,
            ),
            _checked(command, found),
            _configured(tx, gateway, now_ms),
            _heard(own),
            _walked(walk),
            _accepted(sheet),
        ],
    )  # fmt: skip


def _enrolled(tx: Connection, home: GatewayView, now_ms: int) -> StageView:
    certificates = sheets.in_force(tx, home.id, now_ms)
    if certificates:
        newest = certificates[0]
        return StageView(step=Step.ENROLLED, state=StepState.DONE, at=newest.issued_at, detail=newest.serial)
    return StageView(step=Step.ENROLLED, state=StepState.WARN if home.online else StepState.OPEN)


def _checked(command: CommandView | None, found: list[FindingView]) -> StageView:
    if command is None:
        return StageView(step=Step.CHECKED, state=StepState.OPEN)
    if command.phase not in OVER:
        return StageView(step=Step.CHECKED, state=StepState.UNDERWAY, detail=found[-1].what if found else "")
    if command.phase is not Phase.DONE:
        return StageView(step=Step.CHECKED, state=StepState.FAILED, at=command.ended_at, detail=command.reason)
    state = worst_of({each.state for each in found})
    wrong = next((each.detail for each in found if each.state != "ok"), "")
    return StageView(step=Step.CHECKED, state=state, at=command.ended_at, detail=wrong)


def _configured(tx: Connection, gateway: str, now_ms: int) -> StageView:
    standing = configs.state(tx, gateway, now_ms)
    phase = standing.phase.value
    behind = standing.running_version < standing.wanted_version
    if phase in _FAILED:
        state = StepState.FAILED
    elif behind:
        state = StepState.UNDERWAY
    else:
        state = _SETTLED.get(phase, StepState.UNDERWAY)
    version = f"v{standing.running_version}" if standing.running_version else ""
    return StageView(step=Step.CONFIGURED, state=state, at=standing.told_at, detail=standing.reason or version)


def _heard(own: list[DeviceView]) -> StageView:
    heard = sum(each.last_seen_at is not None for each in own)
    state = StepState.OPEN if not own else StepState.DONE if heard == len(own) else StepState.UNDERWAY
    return StageView(step=Step.HEARD, state=state, detail=f"{heard}/{len(own)}")


def _walked(walk: WalkView | None) -> StageView:
    if walk is None:
        return StageView(step=Step.WALKED, state=StepState.OPEN)
    state = StepState.UNDERWAY if walk.active else StepState.DONE if walk.passed == walk.total else StepState.WARN
    return StageView(step=Step.WALKED, state=state, at=walk.ended_at, detail=f"{walk.passed}/{walk.total}")


def _accepted(sheet: SheetView | None) -> StageView:
    if sheet is None:
        return StageView(step=Step.ACCEPTED, state=StepState.OPEN)
    state = {"signed": StepState.DONE, "signing": StepState.UNDERWAY}.get(sheet.state, StepState.WARN)
    return StageView(step=Step.ACCEPTED, state=state, at=sheet.signed_at or sheet.made_at, detail=sheet.reason)
