"""What other folders may do with remote help."""

from __future__ import annotations
