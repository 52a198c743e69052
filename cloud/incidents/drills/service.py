"""What other folders may do with drills: begin, end, score."""

from __future__ import annotations
