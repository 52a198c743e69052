"""OwnTracks location messages (owntracks.org, JSON over MQTT), as the app writes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from firmware_specs.layouts import NamedCodec
from firmware_specs.readings import Position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_specs.readings import Sample
    from firmware_specs.schema import Profile


def location(profile: Profile, samples: Sequence[Sample], at_ms: int) -> bytes:
    """One `location` message. Speed is written in km/h and battery as whole percent, as the format has it."""
    message: dict[str, Any] = {"_type": "location", "tst": at_ms // 1000, "conn": "m", "t": "p"}
    sos_field = profile.codec.sos_field if isinstance(profile.codec, NamedCodec) else None
    for sample in samples:
        value = sample.value
        if isinstance(value, Position):
            message |= {"lat": round(value.lat, 7), "lon": round(value.lon, 7)}
            if value.accuracy_m is not None:
                message["acc"] = round(value.accuracy_m)
        elif sample.metric == "speed":
            message["vel"] = round(float(value) * 3.6)
        elif sample.metric == "battery":
            message["batt"] = round(float(value))
        elif sample.metric == "sos" and sos_field and value:
            message[sos_field] = True
            message["t"] = "u"
    return json.dumps(message).encode()
