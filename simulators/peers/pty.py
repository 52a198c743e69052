"""A serial line that is none: a pty pair with a stable path, which needs no permission that a user lacks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios
import tty
from pathlib import Path


class Pty:
    """One end is ours; the other stands at `path` like a serial port. Bytes that nobody reads are dropped."""

    def __init__(self, path: Path) -> None:
        """path: where the symbolic link to the port is made; an old link there is replaced."""
        self.path = path
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        path.parent.mkdir(parents=True, exist_ok=True)
        link = path.with_name(f".{path.name}.{os.getpid()}")
        link.unlink(missing_ok=True)
        link.symlink_to(os.ttyname(self._theirs))
        link.replace(path)

    def write(self, data: bytes) -> int:
        """Write what fits; the rest is lost as on a line without a listener. Returns the bytes that went out."""
        try:
            return os.write(self._ours, data)
        except BlockingIOError:
            # Nobody reads: empty the line, so that a later reader gets fresh frames instead of the oldest.
            with contextlib.suppress(BlockingIOError):
                os.set_blocking(self._theirs, False)
                while os.read(self._theirs, 4096):
                    pass
            return 0

    def unread(self) -> int:
        """Bytes that were written and that nobody has read yet."""
        return int(struct.unpack("i", fcntl.ioctl(self._theirs, termios.FIONREAD, b"\0" * 4))[0])

    def read(self, size: int = 4096) -> bytes:
        """What was written to the port, empty when nothing was."""
        try:
            return os.read(self._ours, size)
        except BlockingIOError:
            return b""

    def fileno(self) -> int:
        """Our end, for a selector."""
        return self._ours

    def close(self) -> None:
        """Unplug it."""
        with contextlib.suppress(OSError):
            if self.path.is_symlink() and self.path.readlink() == Path(os.ttyname(self._theirs)):
                self.path.unlink()
        os.close(self._ours)
        os.close(self._theirs)
