"""The tables of fleet health."""

from __future__ import annotations
