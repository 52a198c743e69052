"""What other folders may do with response levels: which is in force and what it demands."""

from __future__ import annotations
