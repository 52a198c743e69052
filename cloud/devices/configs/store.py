"""The tables of configuration."""

from __future__ import annotations
