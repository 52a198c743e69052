"""What every template is given as `ui`: the words, the viewer, the clock, and how things read.

One per request. Holds nothing that outlives it and knows no SQL and no HTTP beyond the request it was made from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

from cloud.alerts.models import OpenCounts
from cloud.console import nav, show
from cloud.errors import Forbidden, NotSignedIn
from cloud.org.rules import Permission

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from cloud.alerts.models import AlarmView
    from cloud.console.i18n import Words
    from cloud.devices.models import GatewayView
    from cloud.org.rules import Principal
    from firmware_specs.schema import Profile

SCRIPT_WORDS: Final = (
    "age.", "span.", "live.", "severity.", "device_state.", "quality.", "reason.", "kind.", "clause.", "device.chart_",
    "alarm.time", "alarm.chart_",
)  # fmt: skip
"""The words that scripts need."""

OWN_WORDS: Final = {
    "post": "presence.post", "route": "presence.kind_route", "area": "presence.kind_area", "claim": "claims.claim",
}  # fmt: skip
"""The words for what the cloud judges itself, by the first part of what its alarms call it."""
KIND_ICONS: Final = {
    "fire": "fire", "smoke": "fire", "heat": "temperature", "overheating": "temperature", "frost": "temperature",
    "temperature-high": "temperature", "temperature-low": "temperature", "door-forced": "door", "door-open": "door",
    "sos": "sos", "emergency": "radio", "duress": "sos", "device-silent": "silent", "gateway-offline": "silent",
    "uplink-down": "silent", "battery-low": "battery",
}  # fmt: skip


class OwnThing(NamedTuple):
    """What an alarm is about that is no device. word: the key of its kind's word. path: the page that shows it."""

    word: str
    path: str


@dataclass
class Ui:
    """The view of one request."""

    t: Words
    zone_info: ZoneInfo
    now: datetime
    path: str
    query: dict[str, str]
    theme: str = ""
    principal: Principal | None = None
    csrf: str = ""
    section: str = ""
    counts: OpenCounts = field(default_factory=lambda: OpenCounts(open=0, acknowledged=0, by_severity={}))

    # ---- the page

    @property
    def here(self) -> str:
        """This page's own address, filters included."""
        return self.path + (f"?{urlencode(self.query)}" if self.query else "")

    def link(self, **changes: str | None) -> str:
        """This page with other query parameters; None removes one."""
        query = {key: value for key, value in {**self.query, **changes}.items() if value}
        return self.path + (f"?{urlencode(query)}" if query else "")

    @property
    def switch(self) -> str:
        """This page in the other language."""
        return self.link(lang=self.t.other)

    @property
    def zone(self) -> str:
        """The name of the site's time zone."""
        return self.zone_info.key

    @property
    def who(self) -> Principal:
        """Who is signed in. Raises NotSignedIn when nobody is."""
        if self.principal is None:
            raise NotSignedIn("a session is needed")
        return self.principal

    @property
    def user(self) -> str:
        """Who is signed in."""
        return self.principal.name if self.principal else ""

    @property
    def role(self) -> str:
        """The role of who is signed in."""
        return self.principal.role.value if self.principal else ""

    @property
    def waiting(self) -> int:
        """Alarms that nobody has acknowledged."""
        return self.counts.open

    @property
    def menu(self) -> list[nav.Group]:
        """The pages that the viewer is led to."""
        return nav.menu(self.principal) if self.principal else []

    def tabs(self, group: str, thing: str = "") -> list[nav.Tab]:
        """The pages beside this one."""
        return nav.tabs(self.who, group, self.path, thing)

    def may(self, permission: str) -> bool:
        """Whether the viewer's role permits something."""
        return self.principal is not None and self.principal.may(Permission(permission))

    def need(self, *permissions: Permission) -> None:
        """Raises Forbidden when the viewer's role permits none of these."""
        if not any(map(self.may, permissions)):
            raise Forbidden(f"role {self.role} may not {' or '.join(permissions)}")

    def page_data(self) -> dict[str, Any]:
        """What scripts need to know; a block of JSON in the page."""
        return {
            "lang": self.t.code, "zone": self.zone, "now": self.ms(self.now), "words": self.t.group(*SCRIPT_WORDS),
        }  # fmt: skip

    # ---- times

    @staticmethod
    def ms(time: datetime) -> int:
        """Milliseconds UTC, for scripts."""
        return round(time.timestamp() * 1000)

    def seconds_since(self, time: datetime) -> float:
        """Seconds from a time to now."""
        return (self.now - time).total_seconds()

    def ago(self, time: datetime) -> str:
        """How long ago, in words."""
        return show.ago(self.t, self.seconds_since(time))

    def span(self, seconds: float) -> str:
        """How long, in words."""
        return show.span(self.t, seconds)

    def between(self, begin: datetime, end: datetime) -> str:
        """How long from one time to another, in words."""
        return show.span(self.t, (end - begin).total_seconds())

    def moment(self, time: datetime | None) -> str:
        """A time in the site's zone, short."""
        return show.moment(time, self.zone_info, self.now)

    def full(self, time: datetime) -> str:
        """A time in the site's zone, with its day."""
        return f"{time.astimezone(self.zone_info):%Y-%m-%d %H:%M:%S}"

    # ---- things

    def called(self, zh: str, en: str) -> str:
        """A name in the viewer's language; the other one when there is none."""
        return (zh or en) if self.t.code == "zh" else (en or zh)

    def person(self, label: str) -> str:
        """Who did something, as people are called."""
        return self.t.person(label)

    def place(self, text: str) -> str:
        """A place as it was written, in the viewer's language when it was written in both."""
        return show.place(self.t.code, text)

    @staticmethod
    def own_thing(alarm: AlarmView) -> OwnThing | None:
        """What an alarm of the cloud's own is about when that is no device; None when it is one."""
        kind, _, number = (alarm.device or "").partition(":")
        if alarm.gateway or kind not in OWN_WORDS:
            return None
        paths = {"post": f"/presence/{number}", "claim": "/claims"}
        return OwnThing(OWN_WORDS[kind], paths.get(kind, "/presence"))

    def alarm_title(self, alarm: AlarmView) -> str:
        """What an alarm is called in the viewer's language."""
        title = alarm.title_zh if self.t.code == "zh" else alarm.title_en
        return title if title and title != alarm.kind else self.t.name("kind", alarm.kind)

    def shelved(self, alarm: AlarmView) -> bool:
        """Whether an alarm is put aside now."""
        return alarm.shelved_until is not None and alarm.shelved_until > self.now

    @staticmethod
    def gap_ms(profile: Profile | None, metric: str) -> int | None:
        """The distance of two readings between which no line is drawn."""
        return show.gap_ms(profile, metric)

    @staticmethod
    def kind_icon(kind: str) -> str:
        """The picture of a kind of alarm."""
        return KIND_ICONS.get(kind, "alert")

    def lane(self, name: str) -> str:
        """The word for a lane of an outbox."""
        return self.t.name("gateway", f"lane_{name}") if name in {"alarms", "telemetry"} else name

    def waiting_text(self, gateway: GatewayView) -> str:
        """What waits in a gateway's outbox, both lanes."""
        if not gateway.outbox:
            return show.DASH
        known = [name for name in ("alarms", "telemetry") if name in gateway.outbox]
        return " · ".join(
            self.t(f"gateways.waiting_{name}", n=self.count(gateway.outbox[name].waiting)) for name in known
        )

    @staticmethod
    def count(number: int) -> str:
        """A count with its thousands apart."""
        return f"{number:,}"

    @staticmethod
    def brief(number: int) -> str:
        """A count in at most four characters or so, for a square on a phone."""
        for size, unit in ((1_000_000, "M"), (1_000, "k")):
            if number >= size:
                return f"{number // size}{unit}" if number >= 10 * size else f"{number / size:.3g}{unit}"
        return str(number)

    def counter(self, name: str, number: int) -> str:
        """A gateway's counter: a count, or a time when its name says so."""
        return f"{number:,} ms" if name.endswith("_ms") else self.count(number)

    @staticmethod
    def size(number: int) -> str:
        """Bytes as people read them."""
        return show.size(number)


def bar(parts: Iterable[tuple[str, int]]) -> list[tuple[str, int, int]]:
    """Counts as pieces of a bar 1000 wide: name, where it begins, how wide."""
    counted = [(name, count) for name, count in parts if count > 0]
    total = sum(count for _, count in counted)
    pieces: list[tuple[str, int, int]] = []
    done = 0
    for name, count in counted:
        start = round(1000 * done / total)
        done += count
        pieces.append((name, start, round(1000 * done / total) - start))
    return pieces
