"""The gateway agent: hears devices, judges alarms, keeps every reading until the cloud has it."""

from typing import Final

VERSION: Final = "0.1.0"
"""The agent's version, as pyproject.toml has it."""
