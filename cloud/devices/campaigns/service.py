"""What other folders may do with campaigns."""

from __future__ import annotations
