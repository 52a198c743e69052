"""The update repository over HTTP, read-only: `/updates/metadata/…` and `/updates/targets/…`.

Owns which files may be asked for. Everything there is signed and meant for whoever asks, so nobody signs in; a path is
matched before it touches the disk, drafts and keys lie elsewhere. Targets come with ranges, one at a time, and only so
many at once: who comes then is told when to come again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response

from cloud.devices.releases.service import FOLDER
from cloud.errors import NotFound
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.problems import problem

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

router = APIRouter(include_in_schema=False)
METADATA: Final = re.compile(r"timestamp\.json|[1-9][0-9]{0,8}\.(?:root|targets|snapshot)\.json")
TARGET: Final = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._+-]{0,99}/){0,3}[0-9a-f]{64}\.[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
FOR_GOOD: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
RETRY_AFTER_S: Final = 30


class _Sent(FileResponse):
    """A file with at most one range, counted while it is sent."""

    def __init__(self, path: Path, counter: _Counter, headers: dict[str, str]) -> None:
        super().__init__(path, headers=headers, media_type="application/octet-stream")
        self._counter = counter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; several ranges in one request are answered with the whole."""
        one = [(name, value) for name, value in scope["headers"] if name != b"range" or b"," not in value]
        self._counter.now += 1
        try:
            await super().__call__({**scope, "headers": one}, receive, send)
        finally:
            self._counter.now -= 1


class _Counter:
    """How many targets are being sent by this process."""

    now = 0


_sending: Final = _Counter()


@router.get("/updates/metadata/{name}")
@router.head("/updates/metadata/{name}")
def metadata(state: State, name: str) -> Response:
    """A metadata file. All but the timestamp never change."""
    if not METADATA.fullmatch(name):
        raise NotFound(f"metadata {name[:80]!r}: not found")
    path = _file(state.config.data_dir / FOLDER / "metadata" / name)
    # Read at once: the timestamp may be replaced while it is sent.
    headers = {} if name == "timestamp.json" else FOR_GOOD
    return Response(path.read_bytes(), media_type="application/json", headers=headers)


@router.get("/updates/targets/{path:path}")
@router.head("/updates/targets/{path:path}")
def target(request: Request, state: State, path: str) -> Response:
    """A target, by its path with its hash before its name."""
    if not TARGET.fullmatch(path):
        raise NotFound(f"target {path[:120]!r}: not found")
    file = _file(state.config.data_dir / FOLDER / "targets" / path)
    if _sending.now >= state.config.updates.downloads and request.method == "GET":
        busy = problem(503, "Not available", "too many downloads at once; come again")
        busy.headers["Retry-After"] = str(RETRY_AFTER_S)
        return busy
    return _Sent(file, _sending, FOR_GOOD)


def _file(path: Path) -> Path:
    if path.is_symlink() or not path.is_file():
        raise NotFound(f"{path.name[:120]}: not found")
    return path
