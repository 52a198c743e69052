"""Edits of a configuration's text. Pure. And the difference of two texts."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from cloud.devices.configs.faults import EDIT, NAMED_BY, OWN, ConfigFault, Fault, entry_name, parsed
from cloud.devices.configs.merge import TABLES, WITHOUT, ordered
from firmware_specs.errors import ConfigError
from firmware_specs.gateway_document import parse
from firmware_specs.tomltext import render

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def diff(before: str, after: str, names: tuple[str, str] = ("before", "after")) -> str:
    """The unified diff of two texts, empty when they are the same."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), *names, lineterm="")
    return "\n".join(lines)


def with_devices(own: str, add: Sequence[Mapping[str, Any]], remove: Iterable[str]) -> str:
    """A text with devices added, and others, by id, taken out. One that is there already is replaced.

    What is only added is put at the end, so that the remarks of whoever wrote the rest stay.
    """
    table = parsed(own, OWN)
    there = list(table.get("devices", []))
    gone = set(remove) | {str(device["id"]) for device in add}
    kept = [device for device in there if device.get("id") not in gone]
    entries = [*kept, *(ordered(device) for device in add)]
    wanted = {name: value for name, value in table.items() if name != "devices"}
    if entries:
        wanted["devices"] = entries
    if len(kept) == len(there) and add:
        longer = f"{own.rstrip()}\n\n{render({'devices': [ordered(device) for device in add]})}".lstrip()
        try:
            if parse(longer, "") == wanted:
                return longer
        except ConfigError:
            pass  # the devices stand in brackets, which cannot be gone on with: written anew below
    return render(wanted)


def without(own: str, parts: Iterable[str]) -> str:
    """A text that leaves parts out, `devices.<id>` or `outbox.budget_mb`; what it says of them itself goes too."""
    table = parsed(own, OWN)
    wanted = set(parts)
    for name in NAMED_BY:
        entries = [each for each in table.get(name, []) if f"{name}.{entry_name(name, each)}" not in wanted]
        if name in table:
            table[name] = entries
    for name in TABLES:
        if name in table:
            kept = {key: value for key, value in table[name].items() if f"{name}.{key}" not in wanted}
            table[name] = {} if name in wanted else kept
    table = {name: each for name, each in table.items() if name not in wanted and each not in ({}, [])}
    return render({WITHOUT: sorted({*table.pop(WITHOUT, []), *wanted}), **table})


def with_key(own: str, key: str, value: object) -> str:
    """A text with one key set, or taken out by None; written anew, without remarks.

    key: `location`, `outbox.budget_mb`, `connectors.<name>.baud`, `devices.<id>.location`. Raises ConfigFault when it
    is none of these.
    """
    table = parsed(own, OWN)
    parts = key.split(".")
    holder: dict[str, Any] = table
    if parts[0] in NAMED_BY and len(parts) >= 3:
        known, last = ".".join(parts[1:-1]), parts[-1]
        entries = table.setdefault(parts[0], [])
        found = next((e for e in entries if entry_name(parts[0], e) == known), None)
        if found is None:
            found = {NAMED_BY[parts[0]]: known}
            entries.append(found)
        holder = found
    elif parts[0] in TABLES and len(parts) == 2:
        holder, last = table.setdefault(parts[0], {}), parts[1]
    elif len(parts) == 1 and parts[0] not in (*NAMED_BY, *TABLES):
        last = parts[0]
    else:
        raise ConfigFault(Fault(key, "is no key; name one such as outbox.budget_mb or devices.<id>.location", EDIT))
    if value is None:
        holder.pop(last, None)
    else:
        holder[last] = value
    return render({name: each for name, each in table.items() if each not in ({}, [])})
