"""The tables of releases."""

from __future__ import annotations
