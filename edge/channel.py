"""What passes between this gateway and the cloud beside readings: orders and commands down, states and answers up.

Owns the dispatch of what comes, by the first parts of its topic, and the memory of what is told: a state is kept and
told again at each connection, since a broker may forget; an answer waits for the next connection, the oldest of too
many are dropped and counted. Knows nothing of what any of it means.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import structlog

from firmware_specs.errors import PackError

if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[[str, bytes], None]
    Publish = Callable[[str, bytes, bool], None]

ANSWERS: Final = 256
"""That wait for a connection."""
_log: structlog.stdlib.BoundLogger = structlog.get_logger("channel")


class Channel:
    """See the module."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._states: dict[str, bytes] = {}
        self._answers: deque[tuple[str, bytes]] = deque(maxlen=ANSWERS)
        self._publish: Publish | None = None
        self.refused = 0
        """Messages that were not what their topic says, since the start."""
        self.dropped = 0
        """Answers that nobody will get, since the start."""

    def on(self, name: str, handler: Handler) -> None:
        """Have what comes below a name (`desired/config`, `command`) taken; the handler gets what follows the name.

        A handler that raises PackError refuses the message.
        """
        self._handlers[name] = handler

    def take(self, rest: str, payload: bytes) -> None:
        """Dispatch a message; an empty one only clears what was retained."""
        if not payload:
            return
        name, _, following = rest.partition("/")
        handler = self._handlers.get(rest) or self._handlers.get(name)
        if handler is None:
            _log.warning("message that nothing here takes", topic=rest[:200])
            self.refused += 1
            return
        try:
            handler("" if rest in self._handlers else following, payload)
        except PackError as e:
            self.refused += 1
            _log.warning("message refused", topic=rest[:200], reason=e.reason)

    def state(self, rest: str, payload: bytes) -> None:
        """Tell how something stands, now and at each connection from now on."""
        self._states[rest] = payload
        if self._publish:
            self._publish(rest, payload, True)

    def answer(self, rest: str, payload: bytes) -> None:
        """Tell something once."""
        if self._publish:
            self._publish(rest, payload, False)
            return
        self.dropped += len(self._answers) == ANSWERS
        self._answers.append((rest, payload))

    def attach(self, publish: Publish) -> None:
        """There is a connection: tell every state, and what waits."""
        self._publish = publish
        for rest, payload in self._states.items():
            publish(rest, payload, True)
        while self._answers:
            publish(*self._answers.popleft(), False)

    def detach(self) -> None:
        """The connection is lost."""
        self._publish = None
