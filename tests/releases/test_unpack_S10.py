"""S10: what a bundle may hold, whoever signed it."""

from __future__ import annotations

import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from edge import unpack as module
from edge.unpack import unpack
from firmware_specs.errors import UpdateRejected
from firmware_specs.zstd import compress
from tests.releases.release_support import bundle

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = ("#!/bin/sh\n", 0o755)


def tar(*entries: tarfile.TarInfo, program: bool = True) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        if program:
            entry = tarfile.TarInfo("./bin/patrol-edge")
            entry.mode, entry.size = 0o4777, 3
            archive.addfile(entry, io.BytesIO(b"#!x"))
        for each in entries:
            archive.addfile(each, io.BytesIO(b"x" * each.size))
    return compress(out.getvalue())


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size, made.mode = kind, link, size, 0o644
    return made


def into(tmp_path: Path, data: bytes) -> Path:
    file, folder = tmp_path / "bundle", tmp_path / "new"
    file.write_bytes(data)
    folder.mkdir()
    unpack(file, folder)
    return folder


def test_a_tar_and_a_zip_are_unpacked_with_plain_modes(tmp_path: Path) -> None:
    folder = into(tmp_path, tar(entry("lib", tarfile.DIRTYPE), entry("lib/a.py", size=5), entry("./deep/er/b", size=1)))
    assert (folder / "lib" / "a.py").read_bytes() == b"xxxxx"
    assert (folder / "lib" / "a.py").stat().st_mode & 0o7777 == 0o644
    assert (folder / "bin" / "patrol-edge").stat().st_mode & 0o7777 == 0o755, "never setuid"
    (tmp_path / "zip").mkdir()
    folder = into(tmp_path / "zip", bundle({"bin/patrol-edge": PROGRAM, "lib/b.py": ("x", 0o600)}))
    assert (folder / "lib" / "b.py").read_text() == "x"


@pytest.mark.parametrize(
    "data",
    [
        tar(entry("/etc/passwd")),
        tar(entry("../up")),
        tar(entry("a/../../up")),
        tar(entry("a\\b")),
        tar(entry("link", tarfile.SYMTYPE, "/etc")),
        tar(entry("hard", tarfile.LNKTYPE, "bin/patrol-edge")),
        tar(entry("dev", tarfile.CHRTYPE)),
        tar(entry("pipe", tarfile.FIFOTYPE)),
        tar(entry("sparse", tarfile.GNUTYPE_SPARSE)),
        tar(entry("a"), entry("a")),
        tar(entry("a"), entry("a/b")),
        tar(entry("lib/a"), entry("lib")),
        tar(entry("/".join("d" * 30))),
        tar(entry("n" * 250)),
        tar(program=False),
        bundle({"bin/patrol-edge": PROGRAM, "../up": ("x", 0o644)}),
        bundle({"bin/patrol-edge": PROGRAM, "/abs": ("x", 0o644)}),
        bundle({"bin/patrol-edge": ("x", 0o644)}),
        bundle({"bin/patrol-edge/x": PROGRAM}),
        compress(b"not a tar" * 1000),
        tar(entry("a", size=1000))[:-20],
        bundle({"bin/patrol-edge": PROGRAM})[:-30],
        b"PK\x03\x04" + b"x" * 50,
        b"#!/bin/sh\n",
        b"",
    ],
)
def test_S10_hostile_and_damaged_bundles_are_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UpdateRejected):
        into(tmp_path, data)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "new"]


def test_S10_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UpdateRejected, match="plain file"):
        into(tmp_path, out.getvalue())


def test_S10_a_bomb_ends_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1_000_000)
    with pytest.raises(UpdateRejected, match="more than 1000000 bytes"):
        into(tmp_path, bundle({"bomb": ("x" * 5_000_000, 0o644)}))
    assert sum(path.stat().st_size for path in (tmp_path / "new").rglob("*")) <= 1_000_000
    monkeypatch.setattr(module, "MAX_FILES", 3)
    (tmp_path / "more").mkdir()
    with pytest.raises(UpdateRejected, match="more than 3 files"):
        into(tmp_path / "more", bundle({f"f{n}": ("x", 0o644) for n in range(5)}))
