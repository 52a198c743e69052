"""Blocking work in a thread that a stop of the agent does not wait for.

Owns the way of its result back to the loop. Whatever it does may be left half done: that is how a power cut leaves it
too.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class NobodyWaitsError(Exception):
    """What is being done is not wanted any more."""


async def in_thread(call: Callable[[Callable[[], None]], _T], name: str) -> _T:
    """Call in a thread. It is given a check, which raises NobodyWaitsError once the result is not awaited any more."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[_T] = loop.create_future()
    stopped = threading.Event()

    def check() -> None:
        if stopped.is_set():
            raise NobodyWaitsError

    def settle(value: _T | None, error: BaseException | None) -> None:
        if result.done():
            return
        if error is None:
            result.set_result(value)  # type: ignore[arg-type] # there is a value when there is no error
        else:
            result.set_exception(error)

    def work() -> None:
        value: _T | None = None
        error: BaseException | None = None
        try:
            value = call(check)
        except BaseException as e:  # noqa: BLE001 - the entry of a thread: it is raised where the result is awaited
            error = e
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=work, name=name, daemon=True).start()
    try:
        return await result
    finally:
        stopped.set()
