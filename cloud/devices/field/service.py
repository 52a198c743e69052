"""What other folders may do with field work."""

from __future__ import annotations
