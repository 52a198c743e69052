"""What other folders may do with releases."""

from __future__ import annotations
