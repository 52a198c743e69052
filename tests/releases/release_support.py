"""What the tests of releases share: a real repository with its keys, served over HTTP, and what a server may do."""

from __future__ import annotations

import contextlib
import io
import re
import ssl
import threading
import zipfile
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

from cloud.devices.releases import keys
from cloud.devices.releases.repository import Repository
from cloud.devices.releases.rules import DAY_MS, Lifetimes
from firmware_specs.release import Release, ReleaseKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cloud.devices.releases.repository import Signed
    from firmware_specs.release import Target

LIFETIMES: Final = Lifetimes(365 * DAY_MS, 90 * DAY_MS, 7 * DAY_MS, DAY_MS)
AGENT: Final = Release(ReleaseKind.AGENT, "agent", "1.1.0")


def now() -> datetime:
    return datetime.now(UTC)


def long_ago() -> datetime:
    """Before everything that is signed then has expired."""
    return now() - timedelta(days=800)


class World:
    """A repository and the folders of those who sign: three keys of root, two needed; one of targets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = Repository(folder / "updates", LIFETIMES)
        self.vaults = [folder / f"vault-{n}" for n in range(3)]
        self.root_keys = [keys.make_key(vault, "root", None) for vault in self.vaults]
        self.targets_vault = folder / "vault-targets"
        self.targets_key = keys.make_key(self.targets_vault, "targets", None)

    def begin(self, at: datetime | None = None) -> bytes:
        """The first root, signed by two and in force; as it is given to gateways."""
        at = at or now()
        root = [keys.read_public(path, "root") for path in self.root_keys]
        targets = [keys.read_public(self.targets_key, "targets")]
        self.repository.draft_root(root, 2, targets, 1, at)
        assert not self.sign_root(0, at).installed
        assert self.sign_root(1, at).installed
        return self.repository.root_text().encode()

    def sign_root(self, vault: int, at: datetime | None = None) -> Signed:
        return self.repository.sign_root([self.vaults[vault]], None, at or now())

    def add(self, data: bytes, path: str = "agent/agent-1.1.0.zip", release: Release = AGENT) -> Target:
        source = self.folder / "source"
        source.write_bytes(data)
        return self.repository.add(source, path, release, now())

    def publish(self, at: datetime | None = None) -> Signed:
        return self.repository.publish([self.targets_vault], None, at or now())

    def whole(self, data: bytes = b"a bundle") -> bytes:
        """A repository with one target, in force; gives its root."""
        root = self.begin()
        self.add(data)
        assert self.publish().installed
        return root


class Served:
    """A folder over HTTP, with ranges. answer: may answer a path itself; asked: what was asked for, with its range."""

    def __init__(self, folder: Path, tls: tuple[Path, Path] | None = None) -> None:
        """tls: certificate and key of the server."""
        self.folder = folder
        self.asked: list[tuple[str, str]] = []
        self.answer: Callable[[str], Iterator[bytes] | bytes | None] = lambda _path: None
        self.cut: int | None = None
        """Files break off after so many bytes, whatever was announced."""
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served._serve(self)

            def log_message(self, *_args: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="updates")
        self._thread.start()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def metadata_url(self) -> str:
        return f"{self.url}/metadata/"

    @property
    def targets_url(self) -> str:
        return f"{self.url}/targets/"

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range", "")
        self.asked.append((handler.path, wanted))
        with contextlib.suppress(OSError):
            made = self.answer(handler.path)
            if made is None:
                self._file(handler, wanted)
                return
            handler.send_response(200)
            handler.end_headers()
            for part in (made,) if isinstance(made, bytes) else made:
                handler.wfile.write(part)

    def _file(self, handler: BaseHTTPRequestHandler, wanted: str) -> None:
        path = self.folder / handler.path.lstrip("/")
        if not path.is_file():
            handler.send_error(404)
            return
        data = path.read_bytes()
        found = re.fullmatch(r"bytes=(\d+)-", wanted)
        at = int(found[1]) if found else 0
        handler.send_response(206 if found else 200)
        if found:
            handler.send_header("Content-Range", f"bytes {at}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - at))
        handler.end_headers()
        handler.wfile.write(data[at:][: self.cut])

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def bundle(files: dict[str, tuple[str, int]]) -> bytes:
    """A zip of files: text and mode."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (text, mode) in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o100000 | mode) << 16
            archive.writestr(entry, text)
    return out.getvalue()
