"""What other folders may do with hazard reports."""

from __future__ import annotations
