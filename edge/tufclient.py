"""Fetching what is signed: the update repository as a gateway sees it, for the agent and for devices' firmware.

Owns the trusted metadata below `state_dir/updates/metadata` and the way of a target to the disk. The rules of trust are
python-tuf's: root is followed from the one given at enrolment, a metadata file is never older than one seen before,
never expired, and all of one snapshot. A target goes to a `.part` file that a later call goes on with, is never longer
than what is signed, and gets its name only when its hash holds and it is on the disk. Knows nothing of what a target
is for: `accept` says whether it is wanted before a byte of it is fetched.

Raises UpdateRejected for what must not be tried again, LinkError for the network and StoreError for the disk: retry.
Blocks: call it from a thread; `progress` may raise to stop it.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

import urllib3
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
)
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from edge.config import is_loopback
from firmware_specs.durable import sync_folder
from firmware_specs.errors import LinkError, StoreError, UpdateRejected
from firmware_specs.release import MAX_TARGET_BYTES, Target, release_of, target_name

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from tuf.api.metadata import TargetFile

    Accept = Callable[[Target], None]
    Progress = Callable[[int, int], None]

SILENCE_S: Final = 20.0
"""Without a byte for so long, or without a connection, the link is given up."""
METADATA_S: Final = 120.0
"""For one metadata file, however it drips."""
SLOWEST_BYTES_S: Final = 500
"""A target that comes slower than this on the whole is given up, and gone on with at the next call."""
CHUNK: Final = 64 * 1024
_LIMITS: Final = UpdaterConfig(
    max_root_rotations=64, max_delegations=4, root_max_length=256_000, timestamp_max_length=16_384,
    snapshot_max_length=256_000, targets_max_length=4_000_000,
)  # fmt: skip
_OK: Final = 200
_PARTIAL: Final = 206
_RANGE_REFUSED: Final = 416
_one_at_a_time: Final = threading.Lock()
"""The metadata folder is one client's at a time."""
_downloading: Final[set[Path]] = set()
"""Files that are on their way; each is one client's at a time."""
_arrived: Final = threading.Condition()


def fetch(  # noqa: PLR0917 - where from, what and where to
    state_dir: Path,
    root: bytes,
    metadata_url: str,
    targets_url: str,
    target: str,
    dest_dir: Path,
    *,
    ca: Path | None = None,
    accept: Accept | None = None,
    progress: Progress | None = None,
) -> Path:
    """A verified copy of a target: `dest_dir/<its SHA-256>`; what is there already is not fetched again.

    root: the root metadata that was given at enrolment. ca: PEM of who signs the server beside the system's.
    accept: told what is signed about it, raises UpdateRejected to refuse it. progress: told bytes done and all.
    """
    pool = _pool(ca, metadata_url, targets_url)
    with pool:
        info = _look(pool, state_dir, root, metadata_url, target)
        found = _target(info)
        if accept:
            accept(found)
        url = f"{targets_url.rstrip('/')}/{_address(info)}"
        try:
            return _Download(pool, url, info, dest_dir, progress).run()
        except OSError as e:
            raise StoreError(str(dest_dir), (e.strerror or str(e)).lower()) from e


def look(state_dir: Path, root: bytes, metadata_url: str, target: str, *, ca: Path | None = None) -> Target:
    """What is signed about a target, without fetching it."""
    with _pool(ca, metadata_url) as pool:
        return _target(_look(pool, state_dir, root, metadata_url, target))


def _pool(ca: Path | None, *urls: str) -> urllib3.PoolManager:
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UpdateRejected(f"{url[:200]!r} is not https://host/…")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise UpdateRejected(f"{url[:200]!r}: plain http:// is accepted on loopback only")
    context = ssl.create_default_context()
    if ca:
        try:
            context.load_verify_locations(ca)
        except (OSError, ssl.SSLError) as e:
            raise StoreError(str(ca), str(e)) from e
    return urllib3.PoolManager(
        num_pools=2, maxsize=1, retries=False, ssl_context=context,
        timeout=urllib3.Timeout(connect=SILENCE_S, read=SILENCE_S),
    )  # fmt: skip


def _look(pool: urllib3.PoolManager, state_dir: Path, root: bytes, metadata_url: str, target: str) -> TargetFile:
    """The verified entry of a target. The metadata that led to it is kept."""
    target_name(target)
    folder = state_dir / "updates" / "metadata"
    with _one_at_a_time:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fetcher = _Fetcher(pool, METADATA_S)
            info = Updater(str(folder), metadata_url, fetcher=fetcher, config=_LIMITS, bootstrap=root).get_targetinfo(
                target
            )
            sync_folder(folder)
        except ExpiredMetadataError as e:
            raise UpdateRejected(f"the metadata is frozen or the clock is wrong: {e}") from e
        except (RepositoryError, DownloadLengthMismatchError, ValueError) as e:
            raise UpdateRejected(f"the metadata is not to be trusted: {_line(e)}") from e
        except DownloadError as e:
            raise LinkError(metadata_url, _line(e)) from e
        except OSError as e:
            raise StoreError(str(folder), (e.strerror or str(e)).lower()) from e
    if info is None:
        raise UpdateRejected(f"{target}: no such target is signed")
    return info


def _target(info: TargetFile) -> Target:
    if info.length > MAX_TARGET_BYTES:
        raise UpdateRejected(f"{info.path}: {info.length} bytes, more than {MAX_TARGET_BYTES}")
    sha256 = info.hashes.get("sha256", "")
    if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise UpdateRejected(f"{info.path}: no SHA-256 is signed for it")
    return Target(info.path, info.length, sha256, release_of(info.path, info.custom))


def _address(info: TargetFile) -> str:
    """Where a target lies below the targets' address: consistent snapshots put the hash before its name."""
    folder, slash, name = info.path.rpartition("/")
    return quote(f"{folder}{slash}{info.hashes['sha256']}.{name}")


def _line(error: BaseException) -> str:
    """An error in one line, with its cause unless that is said already."""
    cause = error.__cause__
    text = f"{error}: {cause}" if cause and not isinstance(error, DownloadError) else str(error)
    return " ".join(text.split())[:300] or type(error).__name__


def _file(url: str) -> str:
    return url.rpartition("/")[2][-80:]


class _Fetcher(FetcherInterface):
    """Metadata over HTTP(S), within a time."""

    def __init__(self, pool: urllib3.PoolManager, within_s: float) -> None:
        self._pool = pool
        self._within_s = within_s

    def _fetch(self, url: str) -> Generator[bytes]:
        return _stream(self._pool, url, 0, self._within_s)[1]


def _stream(pool: urllib3.PoolManager, url: str, offset: int, within_s: float) -> tuple[int, Generator[bytes]]:
    """From which byte the answer begins, and it. Raises DownloadError and nothing else."""
    headers = {"User-Agent": "patrol-edge", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    try:
        answer = pool.request("GET", url, headers=headers, preload_content=False, redirect=False, retries=False)
    except urllib3.exceptions.HTTPError as e:
        raise DownloadError(f"no connection ({_line(e)})") from e
    if answer.status not in {_OK, _PARTIAL}:
        answer.close()
        raise DownloadHTTPError(f"{_file(url)}: HTTP {answer.status}", answer.status)
    begins = offset if offset and answer.status == _PARTIAL else 0
    if begins and not answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
        answer.close()
        raise DownloadError(f"{_file(url)}: not the range that was asked for")
    return begins, _chunks(answer, url, time.monotonic() + within_s)


def _chunks(answer: urllib3.BaseHTTPResponse, url: str, until: float) -> Generator[bytes]:
    try:
        while chunk := answer.read1(CHUNK):
            yield chunk
            if time.monotonic() > until:
                raise DownloadError(f"{_file(url)}: too slow")
    except urllib3.exceptions.HTTPError as e:
        raise DownloadError(f"{_file(url)}: the answer broke off ({type(e).__name__})") from e
    finally:
        answer.close()


class _Download:
    """One target on its way to the disk."""

    def __init__(
        self,
        pool: urllib3.PoolManager,
        url: str,
        info: TargetFile,
        dest_dir: Path,
        progress: Progress | None,
    ) -> None:
        self._pool = pool
        self._url = url
        self._info = info
        self._size = info.length
        self._folder = dest_dir
        self._whole = dest_dir / info.hashes["sha256"]
        self._part = self._whole.with_suffix(".part")
        self._progress = progress or (lambda _done, _size: None)

    def run(self) -> Path:
        """The file, verified. Raises UpdateRejected, LinkError, OSError."""
        with _arrived:
            _arrived.wait_for(lambda: self._whole not in _downloading)
            _downloading.add(self._whole)
        try:
            return self._run()
        finally:
            with _arrived:
                _downloading.remove(self._whole)
                _arrived.notify_all()

    def _run(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._verified(self._whole):
            self._progress(self._size, self._size)
            return self._whole
        self._whole.unlink(missing_ok=True)
        begun = self._part.exists() and self._part.stat().st_size > 0
        self._get()
        if begun and not self._verified(self._part):
            self._part.unlink()  # what lay here since an earlier call may have rotted; the server is asked once more
            self._get()
        if not self._verified(self._part):
            self._part.unlink()
            raise UpdateRejected(f"{self._info.path}: its bytes are not those that are signed")
        self._part.replace(self._whole)
        sync_folder(self._folder)
        return self._whole

    def _verified(self, file: Path) -> bool:
        try:
            with file.open("rb") as data:
                self._info.verify_length_and_hashes(data)
        except (FileNotFoundError, LengthOrHashMismatchError):
            return False
        return True

    def _get(self) -> None:
        with self._part.open("ab") as out:
            offset = out.tell()
            if offset > self._size:
                out.truncate(offset := 0)
            if offset == self._size:
                return
            try:
                self._take(out.fileno(), offset)
            except DownloadError as e:
                raise LinkError(self._url, _line(e)) from e
            finally:
                os.fsync(out.fileno())

    def _take(self, out: int, offset: int) -> None:
        within_s = SILENCE_S + (self._size - offset) / SLOWEST_BYTES_S
        try:
            done, chunks = _stream(self._pool, self._url, offset, within_s)
        except DownloadHTTPError as e:
            if e.status_code != _RANGE_REFUSED:
                raise
            done, chunks = _stream(self._pool, self._url, 0, within_s)
        if done != offset:
            os.ftruncate(out, done)
        with contextlib.closing(chunks):
            for chunk in chunks:
                if done + len(chunk) > self._size:
                    os.ftruncate(out, 0)
                    raise UpdateRejected(f"{self._info.path}: more bytes come than the {self._size} that are signed")
                view = memoryview(chunk)
                while view:
                    view = view[os.write(out, view) :]
                done += len(chunk)
                self._progress(done, self._size)
        if done < self._size:
            raise DownloadError(f"the answer ended after {done} of {self._size} bytes")
