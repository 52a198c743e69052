"""What other folders may do with configuration."""

from __future__ import annotations
