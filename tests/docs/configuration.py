"""The configuration reference, made from the models; run as a program it writes docs/configuration.md."""

from __future__ import annotations

from pathlib import Path

from cloud.config import Config
from edge.config import GatewayConfig
from firmware_specs.docgen import markdown
from firmware_specs.schema import Profile

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
_HEAD = """# Configuration

Made from the models that check the files, by `python tests/docs/configuration.py`; do not edit by hand. A wrong key is
an error that names the file, the key and the nearest valid one. Secrets stand in files of their own or in the
environment, never in these.

- [The gateway: gateway.toml](#the-gateway-gatewaytoml)
- [The cloud: cloud.toml](#the-cloud-cloudtoml)
- [A device type: profiles/\\<name\\>.toml](#a-device-type-profilesnametoml)
"""


def page() -> str:
    """The whole page; the headings of each file stand one level down."""
    parts = [
        markdown(GatewayConfig, "The gateway: gateway.toml"),
        markdown(Config, "The cloud: cloud.toml"),
        markdown(Profile, "A device type: profiles/\\<name\\>.toml"),
    ]
    lowered = ["\n".join(f"#{line}" if line.startswith("#") else line for line in part.splitlines()) for part in parts]
    return "\n".join([_HEAD, "\n\n".join(lowered), ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
