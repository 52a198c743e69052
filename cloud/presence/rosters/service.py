"""What other folders may do with rosters: who is on shift, what they carry, whose position may be kept.

Owns nothing; joins `duty` (questions), `members` and `shifts` (what people do), `privacy` (positions, looks) and
`desired` (what gateways hold to), and has the importer in place.
"""

from __future__ import annotations

from cloud.presence.rosters import importer as _importer  # noqa: F401 - enters its sections
from cloud.presence.rosters.desired import mark, refresh, reported, sent, waiting
from cloud.presence.rosters.duty import (
    Duty,
    accounts_on_duty,
    carried,
    holder,
    holders,
    member_by_pseudonym,
    member_names,
    on_duty,
    strength,
    strengths,
    worn,
)
from cloud.presence.rosters.members import (
    add_equipment,
    add_member,
    archive_equipment,
    archive_member,
    change_member,
    get_member,
    list_equipment,
    list_members,
    member_of,
    put_pseudonym,
    reveal,
)
from cloud.presence.rosters.posts import choices as place_choices
from cloud.presence.rosters.posts import names as place_names
from cloud.presence.rosters.privacy import Gate, admit, gate, lift, list_lifts, list_looks, look, look_at_device
from cloud.presence.rosters.rules import Strength
from cloud.presence.rosters.shifts import (
    Plan,
    begin,
    end,
    get_shift,
    hand_over,
    list_shifts,
    plan,
    remove,
)

__all__ = [
    "Duty", "Gate", "Plan", "Strength", "accounts_on_duty", "add_equipment", "add_member", "admit",
    "archive_equipment", "archive_member",
    "begin", "carried", "change_member", "end", "gate", "get_member", "get_shift", "hand_over", "holder", "holders",
    "lift", "list_equipment", "list_lifts", "list_looks", "list_members", "list_shifts", "look", "look_at_device",
    "mark", "member_by_pseudonym", "member_names", "member_of", "on_duty", "place_choices", "place_names", "plan",
    "put_pseudonym", "refresh",
    "remove", "reported", "reveal", "sent", "strength", "strengths", "waiting", "worn",
]  # fmt: skip
