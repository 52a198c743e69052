"""Decode and encode device frames by profile: one function compiled per profile.

Owns the choice of layout and the SenML and OPC UA ones; `codec_json` and `codec_binary` own theirs. Decoders are
lenient where devices differ (further keys, absent values) and strict where bytes lie (type, length, check sum).
Pure; the protocols that data cannot describe are modules of `edge/codecs/`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from firmware_specs import senml
from firmware_specs.codec_binary import binary_decoder, encode_binary
from firmware_specs.codec_json import encode_json_object, json_decoder, plain_number, refused
from firmware_specs.errors import FrameError, PackError, ProfileError
from firmware_specs.layouts import BinaryCodec, JsonCodec, NamedCodec, NodesCodec, SenmlCodec
from firmware_specs.readings import Position, Sample
from firmware_specs.values import MAX_FRAME_BYTES
from firmware_specs.values import sample as to_sample
from firmware_specs.wire import geo, parse_geo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_specs.readings import Value
    from firmware_specs.schema import Profile

Decoder = Callable[[bytes, int], list[Sample]]
"""A whole frame and the gateway's time in ms, to samples in frame order. Raises FrameError."""
NodeDecoder = Callable[[Mapping[str, object], int | None], list[Sample]]
"""Values by browse name and their source time, to samples. Raises FrameError."""

_PARTS: Final = re.compile(r"[/:]")
_JSON_STARTS: Final = frozenset(b"[ \t\r\n")


def decoder(profile: Profile) -> Decoder:
    """Compile the profile's layout; the result holds no state and may be kept as long as the profile.

    Raises ProfileError when the layout contradicts itself, or is a protocol that only the edge knows.
    """
    codec = profile.codec
    match codec:
        case JsonCodec():
            return json_decoder(profile, codec)
        case SenmlCodec():
            return _senml_decoder(profile, codec)
        case BinaryCodec():
            return binary_decoder(profile, codec)
        case NodesCodec():
            return _nodes_decoder(profile)
    raise _needs_edge(profile, codec)


def decode(profile: Profile, frame: bytes, now_ms: int) -> list[Sample]:
    """Turn one frame into samples; `decoder` is the way to do it often."""
    return decoder(profile)(frame, now_ms)


def encode(profile: Profile, samples: Sequence[Sample], at_ms: int | None, base_name: str = "") -> bytes:
    """The frame that a device of this type would send: the inverse of `decode`.

    at_ms: the device's time of the samples, where the layout carries one; None when it knows none.
    base_name: what a SenML pack names the device, such as `smk-1/`.
    Raises FrameError for a value that the layout cannot carry, ProfileError as `decoder` does.
    """
    codec = profile.codec
    match codec:
        case JsonCodec():
            return encode_json_object(codec, samples, at_ms)
        case SenmlCodec():
            pack = _senml_pack(profile, codec, samples, at_ms, base_name)
            return senml.encode_cbor(pack) if codec.encoding == "cbor" else senml.encode_json(pack)
        case BinaryCodec():
            return encode_binary(codec, samples)
        case NodesCodec():
            values = {s.metric: s.value for s in samples}
            return msgspec.json.encode({node: values[m] for m, node in codec.nodes.items() if m in values})
    raise _needs_edge(profile, codec)


def _needs_edge(profile: Profile, codec: NamedCodec) -> ProfileError:
    return ProfileError(profile.profile, "codec.name", f"{codec.name!r} is a protocol of edge/codecs, not a layout")


def _senml_decoder(profile: Profile, codec: SenmlCodec) -> Decoder:
    source = profile.profile
    specs = profile.metrics
    names = {**{metric: metric for metric in specs}, **codec.names}

    @lru_cache(maxsize=1024)
    def metric_of(name: str) -> str | None:
        return names.get(_PARTS.split(name)[-1]) or names.get(name)

    def decode_senml(frame: bytes, now_ms: int) -> list[Sample]:
        is_json = not frame or frame[0] in _JSON_STARTS
        pack = senml.decode_json(frame, now_ms) if is_json else senml.decode_cbor(frame, now_ms)
        samples = []
        for record in pack:
            metric = metric_of(record.name)
            if metric is None or record.value is None:
                continue
            spec = specs[metric]
            value: object = record.value
            if spec.type == "position" and isinstance(value, str):
                value = _place(source, value)
            samples.append(to_sample(source, metric, spec, value, record.at_ms, unit=record.unit))
        return samples

    return decode_senml


def _place(source: str, text: str) -> Position:
    try:
        return parse_geo(text)
    except PackError as e:
        raise FrameError(source, 0, e.reason) from e


def _senml_pack(
    profile: Profile, codec: SenmlCodec, samples: Sequence[Sample], at_ms: int | None, base_name: str
) -> list[senml.Record]:
    spoken = {metric: name for name, metric in codec.names.items()}
    pack = []
    for sample in samples:
        spec = profile.metrics[sample.metric]
        value = sample.value
        if spec.type == "number" and isinstance(value, str):  # "nan", "inf": CBOR can say it, JSON cannot
            if codec.encoding == "json":
                continue
            value = float(value)
        record = senml.Record(n=spoken.get(sample.metric, sample.metric))
        _put_value(record, value, sample.unit or spec.unit.value)
        if sample.observed_at is not None and at_ms is not None and sample.observed_at != at_ms:
            record.t = (sample.observed_at - at_ms) / 1000
        pack.append(record)
    if pack:
        pack[0].bn = base_name or None
        if at_ms is not None and at_ms >= senml.RELATIVE_BELOW_S * 1000:
            pack[0].bt = plain_number(at_ms / 1000)
    return pack


def _put_value(record: senml.Record, value: Value, unit: str) -> None:
    if isinstance(value, bool):
        record.vb = value
    elif isinstance(value, Position):
        record.vs = geo(value)
    elif isinstance(value, str):
        record.vs = value
    else:
        record.v = value
        record.u = unit or None


def node_samples(profile: Profile) -> NodeDecoder:
    """For a profile of OPC UA nodes: values by browse name to samples; names that the profile lacks are skipped.

    Raises ProfileError when the profile's layout is another.
    """
    codec = profile.codec
    if not isinstance(codec, NodesCodec):
        raise ProfileError(profile.profile, "codec.kind", f"{codec.kind!r} has no nodes")
    metrics = {node: (metric, profile.metrics[metric]) for metric, node in codec.nodes.items()}

    def decode_nodes(values: Mapping[str, object], at_ms: int | None) -> list[Sample]:
        return [
            to_sample(profile.profile, *metrics[node], value, at_ms)
            for node, value in values.items()
            if node in metrics and value is not None
        ]

    return decode_nodes


def _nodes_decoder(profile: Profile) -> Decoder:
    """Nodes as a JSON object by browse name: how golden files and simulators write them down."""
    samples_of = node_samples(profile)
    read = msgspec.json.Decoder(dict[str, Any]).decode

    def decode_object(frame: bytes, now_ms: int) -> list[Sample]:  # noqa: ARG001 - every decoder takes it
        if len(frame) > MAX_FRAME_BYTES:
            raise FrameError(profile.profile, MAX_FRAME_BYTES, f"{len(frame)} bytes, more than {MAX_FRAME_BYTES}")
        try:
            values = read(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            raise refused(profile.profile, e, frame) from e
        return samples_of(values, None)

    return decode_object


__all__ = ["Decoder", "NodeDecoder", "decode", "decoder", "encode", "node_samples"]
