"""The people at desks of a simulated community: they act through the HTTP API, as everybody does.

Owns how an act of the script becomes requests. What somebody else has done meanwhile is left alone: a person who plays
with the demo is never fought. Nothing here ends the simulation; what cannot be done is logged.
"""

from __future__ import annotations

import asyncio
import http.client
import json
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode, urlsplit

import structlog

from firmware_specs.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from simulators.script import Act

_TRIES: Final = 20
_RETRY_S: Final = 1.0
_LEVEL_H: Final = 2
_DRILL_MIN: Final = 10
log = structlog.get_logger()
Json = dict[str, Any]


class Refused(Exception):  # noqa: N818 - what the API said
    """The API answered with a problem."""

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        super().__init__(f"{status}: {detail}")


class Desk(NamedTuple):
    """Where the API is, and the tokens by role."""

    url: str
    tokens: dict[str, str]


def load_desk(path: Path) -> Desk:
    """Read `{"url", "tokens": {role: token}}`. Raises ConfigError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Desk(found["url"].rstrip("/"), dict(found["tokens"]))
    except OSError as e:
        raise ConfigError(path, "", e.strerror or str(e)) from e
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ConfigError(path, "", 'not {"url": …, "tokens": {…}}') from e


class People:
    """See the module."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._doing: dict[str, Callable[[Act], Awaitable[None]]] = {
            "take": self._take, "dispatch": self._dispatch, "tick": self._tick, "secure": self._secure,
            "close": self._close, "declare": self._declare, "approve": self._approve, "drill": self._drill,
            "end-drill": self._end_drill, "review": self._review,
        }  # fmt: skip

    async def act(self, act: Act) -> None:
        """Do it; when what it is about is not there yet, or the cloud is away, try again for some seconds."""
        for _ in range(_TRIES):
            try:
                await self._doing[act.do](act)
            except (OSError, http.client.HTTPException, LookupError) as e:
                reason = str(e)
            except Refused as e:
                log.info("act refused", do=act.do, who=act.who, reason=str(e))
                return
            else:
                log.info("act", do=act.do, who=act.who)
                return
            await asyncio.sleep(_RETRY_S)
        log.info("act given up", do=act.do, who=act.who, reason=reason)

    async def get(self, role: str, path: str) -> Json:
        """What a role sees under `/api/v1`. Raises Refused, OSError, and KeyError for a role without a desk."""
        return await asyncio.to_thread(self._request, role, "GET", path, None)

    async def _ask(self, act: Act, method: str, path: str, body: Json | None = None) -> Json:
        """One request under `/api/v1`. Raises Refused, OSError."""
        return await asyncio.to_thread(self._request, act.who, method, path, body)

    def _request(self, who: str, method: str, path: str, body: Json | None) -> Json:
        parts = urlsplit(self._desk.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
        headers = {"Authorization": f"Bearer {self._desk.tokens[who]}", "Content-Type": "application/json"}
        try:
            connection.request(method, f"/api/v1{path}", None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        found: Json = json.loads(text) if text else {}
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise Refused(answer.status, str(found.get("detail", "")))
        return found

    # incidents

    async def _incident(self, act: Act) -> Json:
        """The newest open incident of the act's device, or of a drill at its unit. Raises LookupError."""
        if act.device is None:
            node = await self._path(act)
            page = await self._ask(act, "GET", "/incidents?state=open&state=on_scene&drill=true&limit=50")
            for each in page["items"]:
                if each["node"] == node:
                    return await self._ask(act, "GET", f"/incidents/{each['id']}")
            raise LookupError(f"no open incident of a drill at {act.unit}")
        page = await self._ask(act, "GET", "/incidents?state=open&state=on_scene&drill=false&limit=50")
        for each in page["items"]:
            found = await self._ask(act, "GET", f"/incidents/{each['id']}")
            if any(alarm["device"] == act.device for alarm in found["alarms"]):
                return found
        raise LookupError(f"no open incident of {act.device}")

    async def _take(self, act: Act) -> None:
        found = await self._incident(act)
        if found["owner"] is None:
            await self._ask(act, "POST", f"/incidents/{found['id']}/take", {})

    async def _dispatch(self, act: Act) -> None:
        found = await self._incident(act)
        sent = {each["member"] for each in found["responders"]}
        near = (await self._ask(act, "GET", f"/incidents/{found['id']}/nearest"))["items"]
        members = [c["member"] for c in near if c["call_sign"] in act.members and c["member"] not in sent]
        if members:
            await self._ask(act, "POST", f"/incidents/{found['id']}/dispatch", {"members": members})

    async def _tick(self, act: Act) -> None:
        found = await self._incident(act)
        line = next((n for n, each in enumerate(found["checklist"]) if each["done_at"] is None), None)
        if line is not None:
            await self._ask(act, "POST", f"/incidents/{found['id']}/checklist/{line}", {"done": True})

    async def _secure(self, act: Act) -> None:
        found = await self._incident(act)
        await self._ask(act, "POST", f"/incidents/{found['id']}/clocks/area/stop", {"reason": act.zh})

    async def _close(self, act: Act) -> None:
        found = await self._incident(act)
        said = {"cause": act.zh, "follow_up": act.then or "—"}
        await self._ask(act, "POST", f"/incidents/{found['id']}/close", said)

    # levels, drills, reviews

    async def _path(self, act: Act) -> str:
        page = await self._ask(act, "GET", "/nodes?limit=1000")
        return str(next(node["path"] for node in page["items"] if node["code"] == act.unit))

    async def _declare(self, act: Act) -> None:
        until = datetime.now(UTC) + timedelta(hours=_LEVEL_H)
        body = {"node": await self._path(act), "level": act.level, "reason": act.zh, "ends_at": until.isoformat()}
        await self._ask(act, "POST", "/levels/declarations", body)

    async def _approve(self, act: Act) -> None:
        node = await self._path(act)
        query = urlencode({"node": node, "state": "pending"})
        for each in (await self._ask(act, "GET", f"/levels/declarations?{query}"))["items"]:
            await self._ask(act, "POST", f"/levels/declarations/{each['id']}/approve", {"note": act.zh})

    async def _drill(self, act: Act) -> None:
        until = datetime.now(UTC) + timedelta(minutes=_DRILL_MIN)
        body = {"node": await self._path(act), "name": act.zh, "kind": "incident", "category": "fire"}
        await self._ask(act, "POST", "/drills", body | {"ends_at": until.isoformat()})

    async def _end_drill(self, act: Act) -> None:
        query = urlencode({"node": await self._path(act), "state": "running"})
        for each in (await self._ask(act, "GET", f"/drills?{query}"))["items"]:
            await self._ask(act, "POST", f"/drills/{each['id']}/end")

    async def _review(self, act: Act) -> None:
        today = datetime.now(UTC) + timedelta(hours=8)
        first, last = today.date().replace(day=1), today.date().replace(day=monthrange(today.year, today.month)[1])
        days = {"first_day": first.isoformat(), "last_day": last.isoformat()}
        await self._ask(act, "POST", "/reviews", {"node": await self._path(act), **days})
