"""The tables of broker."""

from __future__ import annotations
