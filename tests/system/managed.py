"""A stack whose gateway is configured by the cloud: writing its own file, its documents, and asking how it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support import free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.system.harness import Device, Json, Stack

TRIAL_S = 5


def manage(stack: Stack) -> Stack:
    """Let the gateway's own file be its identity and the way to the cloud, and nothing else."""
    stack.edge_toml.write_text(
        f'gateway = "{stack.gateway}"\nstate_dir = "{stack.state_dir}"\nprofiles_dir = "{stack.profiles}"\n'
        f'managed = true\n[uplink]\nurl = "mqtt://127.0.0.1:{stack.north_port}"\nack_timeout_s = 2.0\n'
        "backoff_max_s = 0.5\n"
    )
    return stack


def document(stack: Stack, *devices: Device, head: str = "", sensors: str = "", coap: bool = True) -> str:
    """A document with the stack's two connectors and devices."""
    bind = f'[[connectors]]\nkind = "coap"\nbind = "127.0.0.1:{stack.coap_port}"\nbackoff_max_s = 0.5\n'
    return (
        f'{head}[[connectors]]\nname = "sensors"\nkind = "mqtt"\nurl = "mqtt://127.0.0.1:{stack.south_port}"\n'
        f"backoff_max_s = 0.5\n{sensors}{bind if coap else ''}" + "".join(device.toml() for device in devices)
    )


def wrong_uplink() -> str:
    """An uplink where nobody answers."""
    return f'[uplink]\nurl = "mqtt://127.0.0.1:{free_port()}"\n'


def technician(stack: Stack) -> str:
    """A token that may configure."""
    return stack.cloud_verb("token", "add", "technician", "--role", "technician").split()[-1]


def put(stack: Stack, token: str, text: str, trial_s: int = TRIAL_S) -> int:
    """Order a document; the version that is wanted then."""
    body: Json = {"text": text, "trial_s": trial_s}
    return int(stack.request("PUT", f"/gateways/{stack.gateway}/config", body, token=token)["version"])


def standing(stack: Stack) -> Json:
    """How the gateway stands by the cloud's word."""
    found: list[Json] = stack.get("/configs")["items"]
    return next(each for each in found if each["gateway"] == stack.gateway)


def settled(stack: Stack, version: int, phases: Iterable[str] = ("in-force",), timeout_s: float = 30) -> Json:
    """Wait until the gateway has said what came of a version; how it stands then."""

    def there() -> bool:
        now = standing(stack)
        return now["wanted_version"] == version and now["phase"] in phases

    wait_for(there, timeout_s, f"version {version} to be {'/'.join(phases)}; the gateway's log:\n{stack.edge.tail()}")
    return standing(stack)


def served(stack: Stack) -> set[str]:
    """The devices that the gateway says it serves."""
    return {device["id"] for device in stack.items(f"/devices?gateway={stack.gateway}")} - {stack.gateway}
