"""The tables of enrolment."""

from __future__ import annotations
