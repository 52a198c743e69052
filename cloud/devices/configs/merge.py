"""What a gateway is to run, from templates and its own text. Pure.

Owns the merge and the form of its result, which depends on nothing but the content. The later of these wins, key by
key: the templates of the organisation nodes from the root down to the gateway's, the templates of the device types
that the gateway has, the gateway's own text. Connectors are the same by name, devices by id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cloud.devices.configs.faults import NAMED_BY, OWN, ConfigFault, Fault, entry_name, line_of, parsed, placed
from cloud.devices.configs.rules import TemplateKind
from firmware_specs.errors import ConfigError
from firmware_specs.gateway_document import check_devices, check_part, hash_of, standalone
from firmware_specs.tomltext import render

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from firmware_specs.errors import ProfileError
    from firmware_specs.schema import Profile

DEVICE: Final = "device"
"""The table of a device type's template that holds what its devices say when they do not say it themselves."""
TABLES: Final = ("uplink", "outbox", "metrics")
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
    """

    text: str
    hash: str
    sources: dict[str, tuple[str, ...]]


class _Joined:
    """A configuration that is being put together."""

    def __init__(self) -> None:
        self.plain: dict[str, Any] = {}
        self.lists: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in NAMED_BY}
        self.sources: dict[str, tuple[str, ...]] = {}

    def lay(self, table: Mapping[str, Any], label: str, defaults: Mapping[str, dict[str, Any]] | None = None) -> None:
        """Lay a table over what is there. defaults: by profile, what new devices begin with."""
        for name, value in table.items():
            if name in NAMED_BY:
                self._entries(name, value, label, defaults or {})
            elif name in TABLES:
                self.plain[name] = {**self.plain.get(name, {}), **value}
                self._note(label, *(f"{name}.{key}" for key in value))
            else:
                self.plain[name] = value
                self._note(label, name)

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
        check_part({name: value for name, value in table.items() if name != DEVICE}, "")
        _check_repeats(table)
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
        check_part(table, "")
        _check_repeats(table)
    except ConfigError as e:
        raise ConfigFault(Fault(e.key, e.reason, OWN, line_of(own, e.key))) from e
    read = [(layer, read_layer(layer)) for layer in layers]
    for layer, laid in read:
        if layer.kind is TemplateKind.NODE:
            joined.lay(laid, layer.label)
    types = {str(d.get("profile")) for d in (*joined.lists["devices"].values(), *table.get("devices", ()))}
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
    text = render(whole)
    return Rendered(text, hash_of(text), joined.sources)
