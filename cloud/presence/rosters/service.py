"""What other folders may do with rosters: who is on shift, what they carry, whose position may be kept."""

from __future__ import annotations
