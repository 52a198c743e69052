"""What a gateway is to run, from templates and its own text. Pure.

Owns the merge and the form of its result, which depends on nothing but the content. The later of these wins, key by
key: the templates of the organisation nodes from the root down to the gateway's, the templates of the device types
that the gateway has, the gateway's own text. Connectors are the same by name, devices by id. Each of them may leave out
what earlier ones give (`without`); what it says of the same part itself then stands alone.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cloud.devices.configs.faults import NAMED_BY, OWN, ConfigFault, Fault, entry_name, line_of, parsed, placed
from cloud.devices.configs.rules import TemplateKind
from firmware_specs.errors import ConfigError, nearest
from firmware_specs.gateway_document import UplinkChange, check_devices, check_part, hash_of, standalone
from firmware_specs.gateway_file import MetricsConfig, OutboxConfig
from firmware_specs.readings import NAME_PATTERN
from firmware_specs.tomltext import render

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from firmware_specs.errors import ProfileError
    from firmware_specs.schema import Profile
    from firmware_specs.tomlfile import Model

DEVICE: Final = "device"
"""The table of a device type's template that holds what its devices say when they do not say it themselves."""
TABLES: Final[Mapping[str, type[Model]]] = {"uplink": UplinkChange, "outbox": OutboxConfig, "metrics": MetricsConfig}
WITHOUT: Final = "without"
"""The key of a text that names what it leaves out."""
NAME: Final = re.compile(NAME_PATTERN)
_FIRST: Final = ("id", "name", "kind", "profile", "connector", "address", "location")
_DEVICE_DEFAULTS: Final = frozenset({"connector", "location", "drill"})


class Layer(NamedTuple):
    """A template: what it is for, and its text."""

    kind: TemplateKind
    key: str
    text: str

    @property
    def label(self) -> str:
        """What it is called as a source: `node /3/17/`, `type acme-smoke`."""
        return f"{self.kind} {self.key}"


class Rendered(NamedTuple):
    """A configuration as a gateway is to run it.

    sources: by part (`outbox.budget_mb`, `devices.lobby`), in the order in which they were joined, where it comes from.
    left_out: the same of what is not in it; the last source leaves it out.
    """

    text: str
    hash: str
    sources: dict[str, tuple[str, ...]]
    left_out: Mapping[str, tuple[str, ...]] = MappingProxyType({})


class _Joined:
    """A configuration that is being put together."""

    def __init__(self) -> None:
        self.plain: dict[str, Any] = {}
        self.lists: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in NAMED_BY}
        self.sources: dict[str, tuple[str, ...]] = {}
        self.left_out: dict[str, tuple[str, ...]] = {}

    def lay(self, table: Mapping[str, Any], label: str, defaults: Mapping[str, dict[str, Any]] | None = None) -> None:
        """Lay a table over what is there. defaults: by profile, what new devices begin with."""
        for part in table.get(WITHOUT, ()):
            self._leave_out(part, label)
        for name, value in table.items():
            if name == WITHOUT:
                continue
            if name in NAMED_BY:
                self._entries(name, value, label, defaults or {})
            elif name in TABLES:
                self.plain[name] = {**self.plain.get(name, {}), **value}
                self._note(label, *(f"{name}.{key}" for key in value))
            else:
                self.plain[name] = value
                self._note(label, name)

    def _leave_out(self, part: str, label: str) -> None:
        name, _, rest = part.partition(".")
        if name in NAMED_BY:
            self.lists[name].pop(rest, None)
        elif rest:
            self.plain.get(name, {}).pop(rest, None)
        else:
            self.plain.pop(name, None)
        gone = [each for each in self.sources if each == part or (name in TABLES and each.startswith(f"{part}."))]
        came = [source for each in gone for source in self.sources.pop(each)]
        self.left_out[part] = (*dict.fromkeys(came), label)

    def _note(self, label: str, *parts: str) -> None:
        for part in parts:
            self.sources[part] = (label,)

    def _entries(
        self, name: str, entries: Sequence[dict[str, Any]], label: str, defaults: Mapping[str, dict[str, Any]]
    ) -> None:
        there = self.lists[name]
        for entry in entries:
            known = entry_name(name, entry)
            if known not in there and name == "devices":
                there[known] = dict(defaults.get(str(entry.get("profile")), {}))
            there[known] = {**there.get(known, {}), **entry}
            part = f"{name}.{known}"
            self.sources[part] = (*(s for s in self.sources.get(part, ()) if s != label), label)

    def give(self, profile: str, values: Mapping[str, Any], label: str) -> None:
        """Give the devices of a type, as far as they are there, what its template says of them."""
        for known, entry in self.lists["devices"].items():
            if entry.get("profile") == profile:
                entry.update(values)
                self.sources[f"devices.{known}"] = (*self.sources[f"devices.{known}"], label)

    def table(self) -> dict[str, Any]:
        """The whole, in an order that depends on nothing but the content."""
        plain = {name: self.plain[name] for name in sorted(self.plain)}
        whole = {name: ordered(value) if isinstance(value, dict) else value for name, value in plain.items()}
        for name, there in self.lists.items():
            if there:
                whole[name] = [ordered(there[known]) for known in sorted(there)]
        return whole


def ordered(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry with its keys in their place: what it is first, the rest by name."""
    return {key: entry[key] for key in sorted(entry, key=lambda key: (_FIRST.index(key) if key in _FIRST else 99, key))}


def read_layer(layer: Layer) -> dict[str, Any]:
    """The tables of a template, each key checked as far as it is there. Raises ConfigFault."""
    table = parsed(layer.text, layer.label)
    try:
        if DEVICE in table:
            _check_defaults(layer.kind, table[DEVICE])
        _check({name: value for name, value in table.items() if name != DEVICE})
    except ConfigError as e:
        raise ConfigFault(Fault(e.key, e.reason, layer.label, line_of(layer.text, e.key))) from e
    return table


def _check_defaults(kind: TemplateKind, given: object) -> None:
    """Raises ConfigError when what a template says of devices is not what it may."""
    if kind is not TemplateKind.TYPE:
        raise ConfigError("", DEVICE, "stands in the template of a device type only")
    if not isinstance(given, dict) or not given.keys() <= _DEVICE_DEFAULTS:
        raise ConfigError("", DEVICE, f"is a table with {', '.join(sorted(_DEVICE_DEFAULTS))} and nothing else")
    check_part({"devices": [given]}, "")


def _check(table: Mapping[str, Any]) -> None:
    """Check what a text says as far as it is there. Raises ConfigError."""
    check_part({name: value for name, value in table.items() if name != WITHOUT}, "")
    _check_repeats(table)
    left_out = table.get(WITHOUT, [])
    if not isinstance(left_out, list):
        raise ConfigError("", WITHOUT, "is a list of parts")
    for part in left_out:
        _check_part_name(part)


def _check_part_name(part: object) -> None:
    """Raises ConfigError when a part is none that could be left out."""
    name, dot, rest = str(part).partition(".")
    fields = TABLES[name].model_fields if name in TABLES else {}
    if part == "location" or (name in NAMED_BY and NAME.fullmatch(rest)) or (fields and (not dot or rest in fields)):
        return
    why = nearest(rest, fields) if fields else "; name one such as devices.<id>, connectors.<name>, outbox.budget_mb"
    raise ConfigError("", WITHOUT, f"{str(part)[:80]!r} is nothing that can be left out{why}")


def _check_repeats(table: Mapping[str, Any]) -> None:
    """Raises ConfigError when two entries of a list are the same one: joining would hide it."""
    for name in NAMED_BY:
        seen: set[str] = set()
        for index, entry in enumerate(table.get(name, [])):
            known = entry_name(name, entry)
            if known in seen:
                raise ConfigError("", f"{name}[{index}]", f"{known!r} stands twice")
            seen.add(known)


def effective(
    gateway: str, own: str, layers: Iterable[Layer], profiles: Mapping[str, Profile],
    refused: Sequence[ProfileError] = (),
) -> Rendered:  # fmt: skip
    """What a gateway is to run. layers: of its nodes from the root down, and of device types, in any order.

    Raises ConfigFault naming the key, the cause, and the line of the own text when it stands there.
    """
    joined = _Joined()
    table = parsed(own, OWN)
    try:
        _check(table)
    except ConfigError as e:
        raise ConfigFault(Fault(e.key, e.reason, OWN, line_of(own, e.key))) from e
    read = [(layer, read_layer(layer)) for layer in layers]
    for layer, laid in read:
        if layer.kind is TemplateKind.NODE:
            joined.lay(laid, layer.label)
    kept = [d for name, d in joined.lists["devices"].items() if f"devices.{name}" not in table.get(WITHOUT, ())]
    types = {str(d.get("profile")) for d in (*kept, *table.get("devices", ()))}
    defaults: dict[str, dict[str, Any]] = {}
    for layer, laid in sorted(read, key=lambda pair: pair[0].key):
        if layer.kind is TemplateKind.TYPE and layer.key in types:
            joined.lay({name: value for name, value in laid.items() if name != DEVICE}, layer.label)
            defaults[layer.key] = laid.get(DEVICE, {})
            joined.give(layer.key, defaults[layer.key], layer.label)
    joined.lay(table, OWN, defaults)
    whole = joined.table()
    try:
        config = standalone(gateway, whole, "")
        check_devices(config, profiles, refused, "")
    except ConfigError as e:
        raise ConfigFault(placed(e, whole, table, own, joined.sources)) from e
    there = {*joined.sources, *(part.partition(".")[0] for part in joined.sources)}
    left_out = {part: of for part, of in joined.left_out.items() if part not in there}
    text = (f"# left out: {', '.join(sorted(left_out))}\n" if left_out else "") + render(whole)
    return Rendered(text, hash_of(text), joined.sources, left_out)
