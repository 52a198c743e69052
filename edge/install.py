"""`patrol-edge install`: the technician's way at the gateway itself, for where no phone has a line.

Owns the order of its steps and what is asked. Each step is the verb that does the same: enrolment, the checks, what is
heard, and a walk test that ticks off what the running agent hears. It configures nothing and holds no alarm: what a
test button raises here is told to the cloud as any alarm, unless a walk test runs there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from edge.binding import make_plan
from edge.check import findings
from edge.control import ask
from firmware_specs.errors import PatrolError
from firmware_specs.fieldwork import Proof, counts, proof_of, shows
from firmware_specs.readings import Lane
from firmware_specs.wire_fleet import Discovered

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.binding import Plan

    Ask = Callable[[str], str]
    Tell = Callable[[str], None]

_PRESS = {
    Proof.ALARM: "press its test button", Proof.CHANGE: "move it: open the door, check in",
    Proof.READING: "wait for a new value",
}  # fmt: skip
_DEFAULT_STATE = Path("/var/lib/patrolgrid")


class Ticked(NamedTuple):
    """What proved a device: the kind of an alarm, or a metric."""

    device: str
    what: str


class WalkTest:
    """Devices that are ticked off by lines of the agent's socket. Pure but for its own memory."""

    def __init__(self, plan: Plan) -> None:
        self.waiting = {device.id: proof_of(plan.profiles.get(device.id)) for device in plan.config.devices}
        self._events = {
            f"{device}/{name}"
            for device, profile in plan.profiles.items()
            for name, spec in profile.metrics.items()
            if spec.lane is Lane.ALARMS
        }
        self.done: list[Ticked] = []
        self._before: dict[str, object] = {}

    def take(self, line: dict[str, Any]) -> Ticked | None:
        """A line; what it ticks off, if anything."""
        name = str(line.get("n", ""))
        alarm = line.get("alarm_")
        if isinstance(alarm, dict):
            kind = str(alarm.get("kind", ""))
            good = alarm.get("phase") == "raised" and counts(kind)
            return self._tick(name, kind) if good else None
        device, _, metric = name.partition("/")
        proof = self.waiting.get(device)
        value = next((line[key] for key in ("v", "vs", "vb") if key in line), None)
        if proof is None or line.get("q", "good") == "bad":
            return None
        before = None
        if name not in self._events:
            # The first word of a state is how it was when the walk began; it has to become another one.
            first = name not in self._before
            before = self._before.setdefault(name, value)
            if proof is Proof.CHANGE and first:
                return None
        return self._tick(device, metric) if shows(proof, metric, value, before) else None

    def _tick(self, device: str, what: str) -> Ticked | None:
        if self.waiting.pop(device, None) is None:
            return None
        self.done.append(Ticked(device, what))
        return self.done[-1]


class Guide:
    """The steps, with what asks and what tells. ask: gives an answer, empty at the end of the input."""

    def __init__(self, config: Path, ask_for: Ask, tell: Tell) -> None:
        self._config = config
        self._ask = ask_for
        self._tell = tell

    async def run(self) -> int:
        """All steps; 1 when something is missing at the end."""
        if not self._config.exists() and not await self._enrol():
            return 1
        if not await self._check():
            self._tell("Something does not hold: put it right, and begin again.")
            return 1
        plan = make_plan(self._config)
        if not await self._strangers(plan):
            return 1
        return await self._walk(plan)

    async def _question(self, text: str) -> str:
        """An answer. Asked in a thread that nobody waits for: a question that became idle must not hold up the end."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str] = loop.create_future()

        def settle(text: str) -> None:
            if not answer.done():
                answer.set_result(text)

        def wait() -> None:
            said = self._ask(text)
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, said)

        threading.Thread(target=wait, name="question", daemon=True).start()
        return (await answer).strip()

    async def _enrol(self) -> bool:
        from edge.enrol import Wanted, enrol, read_claim  # noqa: PLC0415 - only when it is not enrolled

        self._tell(f"1. Enrol: {self._config} is not there yet.")
        address = await self._question("Address of the enrolment, or the text of the claim's QR picture: ")
        if not address:
            return False
        code = root = ""
        if "://" in address and address.startswith("https:"):
            code = await self._question("Claim code: ")
            root = await self._question("Fingerprint of the authority (SHA-256): ")
        state = await self._question(f"Folder for keys and the outbox [{_DEFAULT_STATE}]: ")
        try:
            claim = read_claim(address, code, root, None)
            wanted = Wanted(claim, self._config, Path(state) if state else _DEFAULT_STATE, None)
            done = await asyncio.to_thread(enrol, wanted, lambda step: self._tell(f"   {step}"))
        except PatrolError as e:
            self._tell(f"   refused: {e}")
            return False
        self._tell(f"   {done.gateway}: enrolled. Start it now: patrol-edge run --config {self._config}")
        await self._question("Press Enter when it runs. ")
        return True

    async def _check(self) -> bool:
        self._tell("2. Checks")
        failed = 0
        async for finding in findings(self._config):
            failed += finding.state == "fail"
            self._tell(f"   {finding.state.upper():<4}  {finding.what:<22}  {finding.detail}")
        return not failed

    async def _strangers(self, plan: Plan) -> bool:
        self._tell("3. Heard, and no device yet")
        try:
            async for line in ask(plan.config.state_dir, "discovered"):
                found = msgspec.convert(line, Discovered)
                for each in found.devices:
                    read = ", ".join(each.profiles) or "no profile reads it"
                    self._tell(f"   {each.connector}  {each.address}  {read}  ({each.frames} frames)")
                if not found.devices:
                    self._tell("   nothing unknown")
        except OSError:
            self._tell(f"   no agent is running; start it: patrol-edge run --config {self._config}")
            return False
        self._tell("   Adopt them on the phone's page of this gateway; it takes them over by itself.")
        return True

    async def _walk(self, plan: Plan) -> int:
        walk = WalkTest(plan)
        self._tell(f"4. Walk test: {len(walk.waiting)} devices")
        if not walk.waiting:
            return 0
        self._tell("   What a test button raises is told to the cloud as a real alarm, unless a walk test or a")
        self._tell("   maintenance runs there. Nothing is held here.")
        if await self._question("Begin? Type yes: ") != "yes":
            return 1
        for device, proof in walk.waiting.items():
            self._tell(f"   [ ] {device}: {_PRESS[proof]}")
        listening = asyncio.ensure_future(self._listen(plan, walk))
        over = asyncio.ensure_future(self._question("   Press Enter to end it early. "))
        await asyncio.wait({listening, over}, return_when=asyncio.FIRST_COMPLETED)
        for task in (listening, over):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
        return self._sum_up(walk)

    async def _listen(self, plan: Plan, walk: WalkTest) -> None:
        with contextlib.suppress(OSError):
            async for line in ask(plan.config.state_dir, "listen"):
                ticked = walk.take(line)
                if ticked:
                    self._tell(f"   [x] {ticked.device}: {ticked.what}; {len(walk.waiting)} left")
                if not walk.waiting:
                    return

    def _sum_up(self, walk: WalkTest) -> int:
        if not walk.waiting:
            self._tell(f"All {len(walk.done)} devices work. Make the acceptance sheet on the phone's page.")
            return 0
        self._tell(f"Missing: {', '.join(sorted(walk.waiting))}")
        return 1


class _Terminal:
    """Questions and answers on the terminal.

    Reads its descriptor itself: a thread that waits in `sys.stdin` has its lock, and the interpreter cannot end.
    """

    def __init__(self) -> None:
        self._rest = b""

    def ask(self, text: str) -> str:
        print(text, end="", flush=True)
        while b"\n" not in self._rest:
            data = os.read(0, 4096)
            if not data:
                break
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode(errors="replace")


def run(config: Path) -> int:
    """Guide whoever sits at the terminal."""
    return asyncio.run(Guide(config, _Terminal().ask, lambda line: print(line, flush=True)).run())
