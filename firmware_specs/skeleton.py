"""A commented profile to start from, and its golden file.

Owns the texts. What is written passes `patrol-specs check` as it stands, so every later error is the author's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from firmware_specs.readings import checked_name

if TYPE_CHECKING:
    from pathlib import Path

_HEAD: Final = """\
# {vendor} {model}: say here what the device is, and what its address is in gateway.toml ({address}).

profile = "{name}"                 # the file's name without .toml
version = "1.0"                    # raise it when the layout or an alarm changes
title = {{ zh = "{model}", en = "{vendor} {model}" }}
category = "other"                 # smoke, temperature, door, checkin, armband, gnss, radio, panel, other
connector = "{connector}"
source = "name the document, or the capture, that the layout was taken from"
interval_s = 60                    # how often a healthy device reports; three times that is silence
"""

_METRICS: Final = """
[metrics.temperature]              # letters, digits and _
title = { zh = "温度", en = "Temperature" }
unit = "Cel"                       # SenML units: Cel, %RH, %EL, m, m/s, V, A, Pa, deg, …
minimum = -40                      # outside of the range a value is kept and marked bad
maximum = 125
deadband = 0.1                     # smaller changes are kept only every heartbeat_s (300)

[[alarms]]
name = "hot"                       # unique in the profile
kind = "temperature-high"          # what it means: fire, door-forced, battery-low, …
severity = "major"                 # critical, major, minor, warning
metric = "temperature"
when = { kind = "above", limit = 50, clear = 45 }    # also: below, equals, one_of, rate_of_rise, missing
for_s = 30                         # it must hold this long; 0 raises at once
title = { zh = "温度过高", en = "It is too hot" }

[[alarms]]
name = "silent"
kind = "device-silent"
severity = "warning"
metric = "temperature"
when = { kind = "missing" }        # three intervals, or after_s
title = { zh = "设备失联", en = "The device is silent" }
"""

_FIRMWARE: Final[dict[str, str]] = {
    "mqtt": """
# [firmware]                       # when the gateway may update it: docs/firmware.md says what the device has to speak
# channel = "mqtt-chunks"
# model = "{name}"                 # a release for another model is refused
# reboot_s = 120                   # back with the new version within so long
""",
    "coap": """
# [firmware]                       # when the gateway may update it: docs/firmware.md says what the device has to speak
# channel = "coap-block"
# model = "{name}"                 # a release for another model is refused
# chunk_bytes = 256                # 16 to 1024
""",
    "serial": """
# [firmware]                       # when the gateway may update it, by XMODEM-CRC
# channel = "xmodem"
# model = "{name}"                 # a release for another model is refused
# chunk_bytes = 128                # or 1024
# version_metric = "firmware"      # the text metric that tells the version
# enter = "update"                 # the line that makes the device receive
""",
}

_GOLDEN: Final = """\
# Frames with what they mean. Work them by hand from the document or take them from a capture; never paste what a
# decoder printed. `patrol-specs check` decodes them. See firmware_specs/golden.py for every key.
source = "name the document, or the capture, that the frames were taken from"
"""


class Skeleton(NamedTuple):
    """What differs by connector: what an address is, the layout, and the golden frames."""

    address: str
    codec: str
    frames: str


def _frames(form: str, good: str, short: str, corrupt: str, error: str) -> str:
    return f"""
[[frames]]
name = "an ordinary report"
{form} = '{good}'
expect = [{{ metric = "temperature", value = 21.5 }}]

[[frames]]
name = "short: the end is missing"
{form} = '{short}'
error = "byte"

[[frames]]
name = "corrupt"
{form} = '{corrupt}'
error = "{error}"
"""


SKELETONS: Final[dict[str, Skeleton]] = {
    "mqtt": Skeleton(
        "a topic",
        """
[codec]
kind = "json"                      # or "senml": then no fields are needed
# time = "ts"                      # where the device's own time is, if it has one
# time_unit = "ms"                 # or "s"

[codec.fields]
temperature = { path = "temp" }    # dots go down: "state.temp"; scale and offset turn raw numbers into the unit
""",
        _frames("text", '{"temp":21.5}', '{"temp":21.', '{"temp":"hot"}', "$.temp"),
    ),
    "coap": Skeleton(
        "a path",
        """
[codec]
kind = "senml"                     # JSON and CBOR are both understood; the last part of a name is the metric
encoding = "cbor"
# names = { t = "temperature" }    # where the device's names differ from the metrics
""",
        _frames(
            "hex",
            "81 a2 00 6b 74656d7065726174757265 02 f9 4d60",
            "81 a2 00 6b 74656d7065726174757265 02 f9 4d",
            "81 a2 00 6b 74656d7065726174757265 02 61 31",
            "wrong type",
        ),
    ),
    "serial": Skeleton(
        'a unit, or "*" for the only device of a line',
        """
[codec]
kind = "binary"                    # or "json" for lines of JSON
byte_order = "big"
length = 5                         # of the whole frame, check sum included
header = "aa55"
checksum = "xor8"                  # none, xor8, sum8, crc16-modbus, crc16-ccitt

[[codec.fields]]
metric = "temperature"
offset = 2                         # bytes from the start of the frame
type = "i16"
scale = 0.1
""",
        _frames("hex", "aa 55 00 d7 28", "aa 55 00", "aa 55 00 d7 29", "check sum"),
    ),
    "opcua": Skeleton(
        "the node id of the device's folder",
        """
[codec]
kind = "nodes"
sampling_ms = 500

[codec.nodes]
temperature = "Temperature"        # metric = browse name below the device's folder
""",
        _frames("text", '{"Temperature":21.5}', '{"Temperature":21.', '{"Temperature":true}', "a number is expected"),
    ),
}


def write_skeleton(folder: Path, vendor: str, model: str, connector: str) -> tuple[Path, Path]:
    """Write `<vendor>-<model>.toml` and its golden file; give both paths.

    Raises FileExistsError when either is there, NameRefused for a name that the wire cannot carry.
    """
    name = checked_name("profile", f"{vendor}-{model}".lower().replace(" ", "-"))
    skeleton = SKELETONS[connector]
    head = _HEAD.format(vendor=vendor, model=model, name=name, connector=connector, address=skeleton.address)
    firmware = _FIRMWARE.get(connector, "").format(name=name)
    profile, golden = folder / f"{name}.toml", folder / "golden" / f"{name}.toml"
    for path in (profile, golden):
        if path.exists():
            raise FileExistsError(f"{path}: exists and is not overwritten")
    golden.parent.mkdir(parents=True, exist_ok=True)
    for path, text in ((profile, head + skeleton.codec + _METRICS + firmware), (golden, _GOLDEN + skeleton.frames)):
        with path.open("x", encoding="utf-8") as f:
            f.write(text)
    return profile, golden
