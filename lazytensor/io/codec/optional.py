"""pcodec, which is read if its package is installed (the extra ``codecs``)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from lazytensor.errors import ChunkDecodeError, FormatError
from lazytensor.io.codec.bytecodec import ByteCodec, mismatch
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer

__all__ = ["PCODEC_TYPES", "PcodecCodec"]

PCODEC_TYPES = frozenset(
    np.dtype(code) for code in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")
)
"""What pcodec compresses, in the byte order of the machine."""

# Its chunks hold at most this power of two of values, and none of them is empty of bytes.
_LOG2_MOST = 24


@cache
def _standalone() -> Any:
    try:
        from pcodec import standalone
    except ImportError as error:
        raise FormatError(
            "pcodec: the package that decodes it is not installed; "
            "`pip install lazytensor-engine[codecs]` brings it"
        ) from error
    return standalone


class PcodecCodec(ByteCodec):
    """Numbers of ``dtype`` compressed by pcodec, all in one standalone file."""

    name = "pcodec"

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype

    def announced(self, data: Buffer, most: int) -> int:
        """The format announces nothing that could be trusted: ``most``."""
        return most

    def decode(
        self, data: Buffer, size: int, out: memoryview | None, scratch: Scratch, slot: int
    ) -> Buffer:
        """Decode to exactly ``size`` bytes."""
        count, rest = divmod(size, self.dtype.itemsize)
        if rest or count > len(data) << _LOG2_MOST:
            raise mismatch("pcodec", size, f"{len(data)} stored bytes of {self.dtype}")
        # One more than expected, because a file of more values than fit is cut without a word.
        values = np.empty(count + 1, self.dtype)
        found = _decompress(bytes(data), values)
        if found != count:
            raise mismatch("pcodec", size, f"{found * self.dtype.itemsize} or more")
        decoded = values[:count].view(np.uint8).data
        if out is None:
            return decoded
        out[:] = decoded
        return out

    def decode_bounded(self, data: Buffer, most: int, scratch: Scratch, slot: int) -> Buffer:
        """Decode to as many bytes as there are, at most ``most``."""
        count = min(most // self.dtype.itemsize, len(data) << _LOG2_MOST)
        values = np.empty(count + 1, self.dtype)
        found = _decompress(bytes(data), values)
        if found > count:
            raise mismatch("pcodec", most, "more")
        return values[:found].view(np.uint8).data


def _decompress(data: bytes, values: np.ndarray) -> int:
    """How many values the data holds, or as many as there is room for."""
    try:
        progress = _standalone().simple_decompress_into(data, values)
    except (RuntimeError, TypeError) as error:
        raise ChunkDecodeError(f"pcodec: {error}") from error
    except BaseException as error:
        # A panic of the Rust library is no ``Exception``, and its class is nowhere to be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise ChunkDecodeError(f"pcodec: the decoder gave up: {error}") from error
    if not progress.finished and progress.n_processed < len(values):
        raise ChunkDecodeError(f"pcodec: the data ends after {progress.n_processed} values")
    return int(progress.n_processed)
