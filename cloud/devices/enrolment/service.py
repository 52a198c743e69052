"""What other folders may do with enrolment."""

from __future__ import annotations
