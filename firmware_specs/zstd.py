"""zstd with bounds: the standard library's `compression.zstd`, or its backport before Python 3.14."""

from __future__ import annotations

import sys
from typing import Final

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC: Final = b"\x28\xb5\x2f\xfd"
"""What every frame begins with."""
_WINDOW_LOG: Final = 23
"""A frame that needs a larger window than 8 MiB to be read is refused."""


def compress(data: bytes, level: int = 1) -> bytes:
    """One frame, with a check sum of its content: damage must not pass for readings."""
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: level,
        zstd.CompressionParameter.checksum_flag: 1,
    }
    return zstd.compress(data, options=options)


def decompress(frame: bytes, limit_bytes: int) -> bytes:
    """The content of one whole frame. Raises ValueError when it is none, or more than `limit_bytes`."""
    reader = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})
    try:
        data = reader.decompress(frame, max_length=limit_bytes + 1)
    except zstd.ZstdError as e:
        raise ValueError(f"not zstd: {e}") from e
    if len(data) > limit_bytes:
        raise ValueError(f"more than {limit_bytes} bytes after decompression")
    if not reader.eof or reader.unused_data:
        raise ValueError("not zstd: not one whole frame")
    return data
