"""Unpacking a bundle: a `.tar.zst` or `.zip` of an application's tree, onto the disk and nowhere else.

Owns what a bundle may hold: regular files and folders below its root, within limits. Links, devices, absolute and
climbing paths, names that stand twice are refused, whoever signed it. Every file is synced before the bundle counts.
Raises UpdateRejected for the bundle, OSError for the disk.
"""

from __future__ import annotations

import os
import stat
import sys
import tarfile
import zipfile
from typing import IO, TYPE_CHECKING, Final, NamedTuple

from edge.slots import ENTRY
from firmware_specs.durable import sync_folder
from firmware_specs.errors import UpdateRejected

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError, ZstdFile
else:
    from backports.zstd import ZstdError, ZstdFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MAX_BYTES: Final = 1024 * 1024 * 1024
"""Of all files together."""
MAX_FILES: Final = 50_000
MAX_DEPTH: Final = 24
MAX_NAME: Final = 240
_CHUNK: Final = 256 * 1024
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_ZIP: Final = b"PK\x03\x04"


class _Member(NamedTuple):
    """A file of a bundle; `data` is None for a folder."""

    name: str
    executable: bool
    data: IO[bytes] | None


def unpack(bundle: Path, folder: Path) -> None:
    """Put a bundle's tree into an empty folder, on the disk."""
    with bundle.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        try:
            if magic == _ZIP:
                _put(_of_zip(file), folder)
            elif magic == _ZSTD:
                _put(_of_tar(file), folder)
            else:
                raise UpdateRejected("the bundle is neither tar.zst nor zip")
        except (zipfile.BadZipFile, tarfile.TarError, ZstdError, EOFError, NotImplementedError, RuntimeError) as e:
            raise UpdateRejected(f"the bundle is damaged: {e}") from e
    entry = folder / ENTRY
    if not entry.is_file() or not os.access(entry, os.X_OK):
        raise UpdateRejected(f"the bundle has no program {ENTRY}")
    for path, _, _ in os.walk(folder, topdown=False):
        sync_folder(folder.__class__(path))


def _of_zip(file: IO[bytes]) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            mode = entry.external_attr >> 16
            kind = stat.S_IFMT(mode)
            if entry.is_dir():
                yield _Member(entry.filename.rstrip("/"), True, None)
            elif kind not in {0, stat.S_IFREG} or entry.flag_bits & 1:
                raise UpdateRejected(f"{entry.filename[:80]!r}: not a plain file")
            else:
                with archive.open(entry) as data:
                    yield _Member(entry.filename, bool(mode & 0o100), data)


def _of_tar(file: IO[bytes]) -> Iterator[_Member]:
    with ZstdFile(file) as plain, tarfile.open(fileobj=plain, mode="r|") as archive:
        for entry in archive:
            if entry.isdir():
                yield _Member(entry.name.rstrip("/"), True, None)
            elif entry.type in {tarfile.REGTYPE, tarfile.AREGTYPE} and not entry.issparse():
                yield _Member(entry.name, bool(entry.mode & 0o100), archive.extractfile(entry))
            else:
                raise UpdateRejected(f"{entry.name[:80]!r}: not a plain file")


def _put(members: Iterable[_Member], folder: Path) -> None:
    left, files = MAX_BYTES, 0
    for member in members:
        files += 1
        if files > MAX_FILES:
            raise UpdateRejected(f"the bundle has more than {MAX_FILES} files")
        parts = _parts(member.name)
        if not parts:
            continue
        place = folder.joinpath(*parts)
        try:
            if member.data is None:
                place.mkdir(parents=True, exist_ok=True, mode=0o755)
                continue
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            left -= _copy(member.data, place, 0o755 if member.executable else 0o644, left)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as e:
            raise UpdateRejected(f"{member.name[:80]!r} stands twice in the bundle") from e


def _parts(name: str) -> list[str]:
    """The parts of a path below the root. Raises UpdateRejected for any other."""
    parts = [part for part in name.split("/") if part != "."]
    wrong = (
        name.startswith("/") or "\\" in name or "\x00" in name or len(parts) > MAX_DEPTH
        or any(part in {"", ".."} or len(part.encode("utf-8", "replace")) > MAX_NAME for part in parts)
    )  # fmt: skip
    if wrong:
        raise UpdateRejected(f"{name[:80]!r}: not a path below the bundle's root")
    return parts


def _copy(data: IO[bytes], place: Path, mode: int, left: int) -> int:
    out = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    done = 0
    try:
        os.fchmod(out, mode)
        while chunk := data.read(_CHUNK):
            done += len(chunk)
            if done > left:
                raise UpdateRejected(f"the bundle unpacks to more than {MAX_BYTES} bytes")
            view = memoryview(chunk)
            while view:
                view = view[os.write(out, view) :]
        os.fsync(out)
    finally:
        os.close(out)
    return done
