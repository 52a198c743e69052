"""The form of a new campaign: what a person fills in, as the campaign that is meant."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import Field

from cloud.console.forms import Sent, checked
from cloud.devices.campaigns.models import NewCampaign
from cloud.errors import Invalid


class CampaignForm(Sent):
    """Everything as text; what is empty is left to its default. step: `create`, else only a look at it."""

    step: str = Field("", max_length=16)
    kind: str = Field("agent", max_length=16)
    title: str = Field("", max_length=200)
    target: str = Field("", max_length=255)
    subject: str = Field("", max_length=300_000)
    node: str = Field("/", max_length=255)
    gateways: str = Field("", max_length=700_000)
    without: str = Field("", max_length=700_000)
    agent_version: str = Field("", max_length=200)
    profile: str = Field("", max_length=200)
    waves: str = Field("1%, 10%, 100%", max_length=500)
    approve_waves: str = Field("", max_length=4)
    days: list[str] = Field(default_factory=list, max_length=7)
    begins: str = Field("", max_length=5)
    ends: str = Field("", max_length=5)
    timeout_min: str = Field("60", max_length=8)
    offline_h: str = Field("168", max_length=8)
    soak_min: str = Field("60", max_length=8)
    health: str = Field("", max_length=4)
    pause_percent: str = Field("5", max_length=8)
    pause_least: str = Field("2", max_length=8)
    back_in_waves: str = Field("", max_length=4)

    def body(self) -> NewCampaign:
        """The campaign that is meant. Raises Invalid naming the part that is wrong."""
        policy: dict[str, Any] = {
            "waves": _parts(self.waves), "approve_waves": bool(self.approve_waves), "health": bool(self.health),
            "back_in_waves": bool(self.back_in_waves), "pause_percent": self.pause_percent.strip(),
            "pause_least": self.pause_least.strip(), "timeout_s": 60 * _number("timeout_min", self.timeout_min),
            "offline_s": 3600 * _number("offline_h", self.offline_h),
            "soak_s": 60 * _number("soak_min", self.soak_min), "windows": self._windows(),
        }  # fmt: skip
        choice = {
            "node": self.node, "gateways": _parts(self.gateways), "without": _parts(self.without),
            "agent_version": self.agent_version, "profile": self.profile,
        }  # fmt: skip
        given = {"kind": self.kind, "title": self.title, "subject": self._subject(), "choice": choice, "policy": policy}
        return checked(NewCampaign, **given)

    def _subject(self) -> dict[str, Any]:
        try:
            told = json.loads(self.subject) if self.subject.strip() else {}
        except (ValueError, RecursionError) as e:
            raise Invalid("subject: not JSON") from e
        if not isinstance(told, dict):
            raise Invalid("subject: not an object of JSON")
        return told | ({"target": self.target} if self.target else {})

    def _windows(self) -> list[dict[str, Any]]:
        if not (self.begins or self.ends or self.days):
            return []
        days = {"days": self.days} if self.days else {}
        return [{**days, "begins": self.begins or "00:00", "ends": self.ends or "00:00"}]


def _parts(text: str) -> list[str]:
    return [part for part in re.split(r"[\s,，、;；]+", text) if part]


def _number(name: str, text: str) -> int:
    if not text.strip().isascii() or not text.strip().isdigit():
        raise Invalid(f"{name}: not a whole number")
    return int(text)
