"""What other folders may do with broker."""

from __future__ import annotations
