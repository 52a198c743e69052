"""What other folders may do with incidents: open, take, act, read."""

from __future__ import annotations
