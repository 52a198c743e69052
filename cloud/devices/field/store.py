"""The tables of field work."""

from __future__ import annotations
