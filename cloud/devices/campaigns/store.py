"""The tables of campaigns."""

from __future__ import annotations
