"""OPC UA: subscriptions to the variables below each device's folder.

Owns the link to one server. Its rules:
- Every attempt has a new client, and every step towards a working subscription an outer deadline: a used client that
  reconnects may hang (opcua-asyncio issue 1660).
- Subscriptions stall in silence, so two watchdogs run: keep-alives must come, and all values are read anew a few times
  within `watchdog_s`. What that reading gives counts as heard now, since a value that does not change is not published.
- A device whose folder is not there is refused in words and looked for again every `watchdog_s`; the others run.
- A bad status makes a bad reading, an uncertain one an uncertain reading; the source's time is the observed time.

Must not know what a value means.
Source: protocols.md section 6; OPC UA Part 4, 5.13 (monitored items) and 7.39 (status codes).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from edge.connectors.base import unnoted
from edge.connectors.opcua_browse import browse
from edge.connectors.opcua_link import ODDITIES, connect, disconnect, reason
from firmware_specs.codec import node_samples
from firmware_specs.errors import FrameError, LinkError, ProfileError
from firmware_specs.layouts import NodesCodec
from firmware_specs.readings import Quality

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge.config import OpcuaConfig
    from edge.connectors.base import DeviceBinding, Noted, Sink
    from firmware_specs.codec import NodeDecoder
    from firmware_specs.readings import Sample

QUEUE_PER_NODE: Final = 100
"""Changes that the server keeps between two publishings; its default is one."""
QUEUED_EVENTS: Final = 10_000
_GOOD, _UNCERTAIN = 0, 1
_QUALITY: Final = {_GOOD: Quality.GOOD, _UNCERTAIN: Quality.UNCERTAIN}
"""By the two highest bits of a status code; all others are bad."""


class Watched(NamedTuple):
    """A variable of a device that is subscribed to."""

    device: str
    name: str
    decode: NodeDecoder
    node: Any


class OpcuaConnector:
    """One OPC UA server with the devices whose folders it has."""

    def __init__(self, config: OpcuaConfig, devices: Sequence[DeviceBinding], noted: Noted = unnoted) -> None:
        self.name = config.name
        self._config = config
        self._devices = tuple(devices)
        self._noted = noted
        for device in devices:
            if not isinstance(device.profile.codec, NodesCodec):
                kind = device.profile.codec.kind
                raise ProfileError(device.profile.profile, "codec.kind", f"{kind!r} cannot be heard over opcua")
        self._read_every_s = min([config.watchdog_s / 3, *(d.profile.interval_s for d in devices)])

    async def run(self, sink: Sink, started: Callable[[], None]) -> None:
        """Follow the server until cancelled. Raises LinkError when it cannot be reached, refuses us or fell silent."""
        client = await connect(self._config)
        from asyncua.ua.uaerrors import UaError  # noqa: PLC0415 - loaded by now, and only when OPC UA is configured

        try:
            await _Session(self._config, client, sink, self._noted).run(self._devices, self._read_every_s, started)
        except (OSError, UaError, *ODDITIES) as e:
            raise LinkError(self._config.url, reason(e)) from e
        finally:
            await disconnect(client)


class _Session:
    """One connected client, from its subscription to its end."""

    def __init__(self, config: OpcuaConfig, client: Any, sink: Sink, noted: Noted) -> None:  # noqa: ANN401 - asyncua's client
        self._config = config
        self._noted = noted
        self._client = client
        self._sink = sink
        self._watched: dict[Any, Watched] = {}
        self._last: dict[Any, object] = {}
        self._missing: list[DeviceBinding] = []

    async def run(self, devices: Sequence[DeviceBinding], read_every_s: float, started: Callable[[], None]) -> None:
        async with asyncio.timeout(self._config.deadline_s):
            subscription = await self._subscribe()
        await self._look_for(subscription, devices)
        started()
        tasks = [
            asyncio.create_task(self._follow(subscription), name=f"{self._config.url} changes"),
            asyncio.create_task(self._keep_watch(subscription, read_every_s), name=f"{self._config.url} watchdog"),
        ]
        if self._config.discover:
            looking = browse(self._client, self._config, {device.address for device in devices}, self._noted)
            tasks.append(asyncio.create_task(looking, name=f"{self._config.url} browse"))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _subscribe(self) -> Any:  # noqa: ANN401
        from asyncua import ua  # noqa: PLC0415
        from asyncua.common.subscription import OverflowPolicy  # noqa: PLC0415

        wanted = ua.CreateSubscriptionParameters()
        wanted.RequestedPublishingInterval = self._config.publishing_ms
        wanted.RequestedMaxKeepAliveCount = max(
            1, round(self._config.watchdog_s * 1000 / 3 / self._config.publishing_ms)
        )
        wanted.RequestedLifetimeCount = 10 * wanted.RequestedMaxKeepAliveCount
        wanted.MaxNotificationsPerPublish = QUEUED_EVENTS
        wanted.PublishingEnabled = True
        return await self._client.create_subscription(
            wanted, queue_maxsize=QUEUED_EVENTS, overflow=OverflowPolicy.DISCONNECT
        )

    async def _look_for(self, subscription: Any, devices: Sequence[DeviceBinding]) -> None:  # noqa: ANN401
        """Subscribe to the nodes of each device; those that are not there are refused, and kept for later."""
        self._missing = []
        for device in devices:
            try:
                async with asyncio.timeout(self._config.deadline_s):
                    await self._add(subscription, device)
            except FrameError as e:
                self._sink.refuse(device.id, b"", e)
                self._missing.append(device)

    async def _add(self, subscription: Any, device: DeviceBinding) -> None:  # noqa: ANN401
        from asyncua.ua.uaerrors import UaError  # noqa: PLC0415
        from asyncua.ua.uatypes import StatusCode  # noqa: PLC0415

        codec = device.profile.codec
        assert isinstance(codec, NodesCodec)  # noqa: S101 - checked when the connector was made
        try:
            folder = self._client.get_node(device.address)
            children = await folder.get_children_descriptions()
        except (UaError, ValueError) as e:
            raise FrameError(device.address, 0, f"no such folder: {reason(e)}") from e
        wanted = set(codec.nodes.values())
        found = {child.BrowseName.Name: child.NodeId for child in children if child.BrowseName.Name in wanted}
        if not found:
            raise FrameError(device.address, 0, f"none of {', '.join(sorted(wanted))} is below it")
        decode = node_samples(device.profile)
        nodes = {name: self._client.get_node(node_id) for name, node_id in found.items()}
        for name, node in nodes.items():
            self._watched[node.nodeid] = Watched(device.id, name, decode, node)
        results = await subscription.subscribe_data_change(
            list(nodes.values()), queuesize=QUEUE_PER_NODE, sampling_interval=codec.sampling_ms
        )
        absent = dict.fromkeys(wanted - set(found), "not below it")
        for (name, node), result in zip(nodes.items(), results, strict=True):
            if isinstance(result, StatusCode):
                del self._watched[node.nodeid]
                absent[name] = result.name
        for name, why in absent.items():
            self._sink.refuse(device.id, b"", FrameError(device.address, 0, f"{name}: {why}"))

    async def _follow(self, subscription: Any) -> None:  # noqa: ANN401
        from asyncua.common.subscription import DataChangeEvent, StatusChangeEvent  # noqa: PLC0415

        async for event in subscription:
            if isinstance(event, StatusChangeEvent):
                raise LinkError(self._config.url, f"the link was lost ({event.notification.Status.name})")
            if isinstance(event, DataChangeEvent):
                watched = self._watched.get(event.node.nodeid)
                if watched is not None:
                    self._hand_on(watched, event.data.monitored_item.Value, changed=True)
                await self._sink.ready()

    async def _keep_watch(self, subscription: Any, read_every_s: float) -> None:  # noqa: ANN401
        """Read all values every so often, which proves the link and says that an unchanged device is there."""
        looked_at = time.monotonic()
        while True:
            await asyncio.sleep(read_every_s)
            async with asyncio.timeout(self._config.deadline_s):
                await self._read_all()
            published_at = subscription.last_publish_at
            if published_at is not None and time.monotonic() - published_at > self._config.watchdog_s:
                raise LinkError(self._config.url, f"no keep-alive for {self._config.watchdog_s:g} s")
            if self._missing and time.monotonic() - looked_at >= self._config.watchdog_s:
                looked_at = time.monotonic()
                await self._look_for(subscription, self._missing)

    async def _read_all(self) -> None:
        watched = list(self._watched.values())
        nodes = [w.node for w in watched] or [self._client.nodes.server_state]
        values = await self._client.read_attributes(nodes)
        for one, value in zip(watched, values, strict=False):
            self._hand_on(one, value, changed=False)

    def _hand_on(self, watched: Watched, value: Any, *, changed: bool) -> None:  # noqa: ANN401 - a DataValue
        severity = _GOOD if value.StatusCode is None else value.StatusCode.value >> 30
        quality = _QUALITY.get(severity, Quality.BAD)
        raw = None if value.Value is None else _plain(value.Value.Value)
        if raw is None and quality is not Quality.GOOD:  # servers keep the value back then: the last one, marked
            raw = self._last.get(watched.node.nodeid)
        at_ms = _time_ms(value.SourceTimestamp) if changed else None
        try:
            if raw is None:
                raise _no_value(watched.name, value)
            samples = watched.decode({watched.name: raw}, at_ms)
        except FrameError as e:
            self._sink.refuse(watched.device, repr(raw)[:200].encode(), e)
            return
        self._last[watched.node.nodeid] = raw
        self._sink.accept(watched.device, [_with(sample, quality) for sample in samples])


def _no_value(name: str, value: Any) -> FrameError:  # noqa: ANN401 - a DataValue
    return FrameError(name, 0, f"no value, status {'Good' if value.StatusCode is None else value.StatusCode.name}")


def _with(sample: Sample, quality: Quality) -> Sample:
    """The sample, no better than `quality`."""
    if quality is Quality.GOOD or sample.quality is Quality.BAD:
        return sample
    return msgspec.structs.replace(sample, quality=quality)


def _plain(value: object) -> object:
    """A value without the library's types; bytes of a text that are not UTF-8 come from it as lone surrogates."""
    text = value if isinstance(value, str) else getattr(value, "Text", None)
    if isinstance(text, str):
        return text.encode("utf-8", "replace").decode()
    return value.isoformat() if isinstance(value, date) else value


def _time_ms(at: datetime | None) -> int | None:
    """Milliseconds UTC; None for a source that keeps no time (OPC UA says 1601)."""
    if at is None:
        return None
    with contextlib.suppress(OverflowError, ValueError):
        ms = round(at.replace(tzinfo=at.tzinfo or UTC).timestamp() * 1000)
        return ms if ms > 0 else None
    return None
