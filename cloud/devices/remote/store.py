"""The tables of remote help."""

from __future__ import annotations
