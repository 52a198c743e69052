"""Firmware over CoAP: aiocoap servers as devices, observed and posting ones, with our resource and a plain one."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest
from aiocoap import resource
from aiocoap.message import Message
from aiocoap.numbers.codes import Code

from firmware_specs.wire_fleet import UpdatePhase
from simulators.peers.firmware import Box, CoapFirmware, Manners, coap_device
from tests.firmware.firmware_support import Agent, Repository, image, job, running, trust, write_config
from tests.support import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiocoap.protocol import Context

pytestmark = [pytest.mark.peer]
SIZE = 5000


class Value(resource.ObservableResource):
    """A sensor that can be observed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    async def render_get(self, _request: Message) -> Message:
        return Message(payload=b'{"n":1,"fire":false}')


class Plain(resource.Resource):
    """A device of somebody else: a block-wise PUT, assembled by aiocoap, and nothing else."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.got = b""

    async def render_put(self, request: Message) -> Message:
        self.got = request.payload
        return Message(code=Code.CHANGED)


async def post(context: Context, port: int) -> Message:
    """A report of the device `p`."""
    report = Message(code=Code.POST, uri=f"coap://[::1]:{port}/s/p", payload=b'{"n":1,"fire":false}')
    answer: Message = await context.request(report).response
    return answer


@contextlib.asynccontextmanager
async def site(tmp_path: Path, repository: Repository, *devices: Any) -> AsyncIterator[Agent]:  # noqa: ANN401
    """An agent that observes a CoAP device `d0`, `d1`, … for each firmware resource; `p` posts and has the first."""
    ports = [free_port(socket.SOCK_DGRAM) for _ in devices]
    own = free_port(socket.SOCK_DGRAM)
    connector = f'[[connectors]]\nname = "c"\nkind = "coap"\nbind = "[::1]:{own}"\n'
    names = {f"d{n}": ("test-fw-coap", "c", f"coap://[::1]:{port}/s/x") for n, port in enumerate(ports)}
    path = write_config(tmp_path, connector, {**names, "p": ("test-fw-coap", "c", "s/p")})
    trust(tmp_path, repository)
    contexts = [
        await coap_device(port, {("s", "x"): Value(), ("s", "x", "fw"): device, ("s", "p", "fw"): device})
        for port, device in zip(ports, devices, strict=True)
    ]
    try:
        async with running(path) as agent:
            agent.heard_of = lambda: post(contexts[0], own)
            yield agent
    finally:
        for context in contexts:
            await context.shutdown()


async def test_observed_devices_get_it_whole_resumed_and_in_smaller_blocks(
    tmp_path: Path, repository: Repository
) -> None:
    data = image(SIZE)
    repository.add("fw/c-2.bin", data, "test-coap", "2.0.0")
    boxes = [Box("1.0.0"), Box("1.0.0", manners=Manners(die_at=2048)), Box("1.0.0")]
    smaller = CoapFirmware(boxes[2], smallest=2)
    async with site(tmp_path, repository, CoapFirmware(boxes[0]), CoapFirmware(boxes[1]), smaller) as agent:
        agent.gateway.firmware.take(repository.order(*(job(f"d{n}", "fw/c-2.bin") for n in range(3))))
        for n in range(3):
            state = await agent.outcome(f"d{n}")
            assert (state.phase, state.reason, state.running) == (UpdatePhase.COMMITTED, "", "2.0.0")
    assert boxes[0].chunks == 20
    assert boxes[1].chunks == 21, "one block was lost with the device, none was sent twice"
    assert boxes[2].chunks == 1 + 75, "64 bytes each after the first"


async def test_a_device_that_posts_is_reached_where_it_posts_from(tmp_path: Path, repository: Repository) -> None:
    repository.add("fw/c-2.bin", image(SIZE), "test-coap", "2.0.0")
    box = Box("1.0.0")
    async with site(tmp_path, repository, CoapFirmware(box)) as agent:
        agent.gateway.firmware.take(repository.order(job("p", "fw/c-2.bin")))
        await wait_until(lambda: agent.states()["p"].reason.endswith("nobody knows where it is"), 10, "the waiting")
        assert (await agent.heard_of()).code.is_successful()
        assert (await agent.outcome("p")).phase is UpdatePhase.COMMITTED
    assert box.version == "2.0.0"


async def test_a_plain_device_gets_it_from_the_start_and_refusals_are_told(
    tmp_path: Path, repository: Repository
) -> None:
    data = image(SIZE)
    repository.add("fw/c-2.bin", data, "test-coap", "2.0.0")
    plain = Plain()
    refusing = CoapFirmware(Box("1.0.0", manners=Manners(refuse="not in the night")))
    async with site(tmp_path, repository, plain, refusing) as agent:
        agent.gateway.firmware.take(repository.order(*(job(f"d{n}", "fw/c-2.bin") for n in range(2))))
        state = await agent.outcome("d1")
        assert (state.phase, state.reason) == (
            UpdatePhase.REFUSED, "the device refuses it: 4.03 not in the night"
        )  # fmt: skip
        state = await agent.outcome("d0")
        assert plain.got == data
        assert state.phase is UpdatePhase.FAILED, "it never said which version it runs"
        assert "silent since its restart" in state.reason
