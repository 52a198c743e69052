"""The HTTP of broker: a broker that asks before it lets anybody in, instead of reading files."""

from __future__ import annotations

import hmac

from fastapi import APIRouter, Depends, Request

from cloud.devices.broker import rules, service
from cloud.devices.broker.models import Answered, ConnectAsked, Decision, TopicAsked
from cloud.errors import NotSignedIn
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads it
from cloud.problems import documented
from cloud.state import now_ms


def _broker(request: Request, state: State) -> None:
    """Raises NotSignedIn when it is not the broker who asks, or none is expected to."""
    wanted = service.shared_token(state.config)
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode("utf-8", "replace"), (wanted or "").encode())
    if wanted is None or scheme.lower() != "bearer" or not same:
        raise NotSignedIn("the broker's token is needed")


router = APIRouter(tags=["broker"], responses=documented(401, 422, 503), dependencies=[Depends(_broker)])


def _answer(allowed: bool, *, everything: bool = False) -> Answered:
    return Answered(result=Decision.ALLOW if allowed else Decision.DENY, is_superuser=allowed and everything)


@router.post("/broker/auth")
def connect(asked: ConnectAsked, state: State) -> Answered:
    """Whether a client may connect, by the common name of its certificate. For a broker, by its own token."""
    with state.db.read() as tx:
        cloud = state.config.broker_http.cloud
        allowed, everything = service.may_connect(tx, asked.cn, asked.clientid, cloud, now_ms())
    return _answer(allowed, everything=everything)


@router.post("/broker/acl")
def topic(asked: TopicAsked, state: State) -> Answered:
    """Whether a client may publish to a topic or subscribe to a filter. For a broker, by its own token."""
    if asked.cn in state.config.broker_http.cloud:
        with state.db.read() as tx:
            _, everything = service.may_connect(tx, asked.cn, asked.cn, state.config.broker_http.cloud, now_ms())
        return _answer(everything)
    return _answer(rules.may(asked.cn, asked.action, asked.topic))
