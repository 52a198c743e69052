"""What other folders may do with fleet health."""

from __future__ import annotations
