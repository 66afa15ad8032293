"""The zarr v2 filters that keep the layout of the values: byte shuffle and delta."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from lazytensor.errors import ChunkDecodeError
from lazytensor.io.codec.bytecodec import ByteCodec
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer

__all__ = ["DeltaCodec", "ShuffleCodec"]


@cache
def _shuffler(element_size: int) -> Any:
    from numcodecs.shuffle import Shuffle

    return Shuffle(element_size)


class ShuffleCodec(ByteCodec):
    """First bytes of all elements, then all second bytes, and so on."""

    name = "shuffle"

    def __init__(self, element_size: int) -> None:
        self._element_size = element_size

    def announced(self, data: Buffer, most: int) -> int:
        """The size does not change."""
        return len(data)

    def encoded_bound(self, size: int) -> int:
        """The size does not change."""
        return size

    def decode(
        self, data: Buffer, size: int, out: memoryview | None, scratch: Scratch, slot: int
    ) -> Buffer:
        """Bring the bytes of each element together again."""
        if len(data) != size or size % self._element_size:
            raise ChunkDecodeError(
                f"shuffle: expected {size} bytes of {self._element_size}-byte elements, "
                f"found {len(data)}"
            )
        if self._element_size == 1 and out is None:
            return data
        target = scratch.take(slot, size) if out is None else out
        if self._element_size == 1:
            target[:] = data
        elif size:
            _shuffler(self._element_size).decode(data, target)
        return target


class DeltaCodec(ByteCodec):
    """Differences of neighbours, stored as ``stored`` and summed up in ``decoded``."""

    name = "delta"

    def __init__(self, decoded: np.dtype, stored: np.dtype) -> None:
        self._decoded = decoded
        self._stored = stored

    def _count(self, data: Buffer) -> int:
        count, rest = divmod(len(data), self._stored.itemsize)
        if rest:
            raise ChunkDecodeError(
                f"delta: {len(data)} bytes are no whole number of {self._stored}"
            )
        return count

    def announced(self, data: Buffer, most: int) -> int:
        """As many values as are stored."""
        return self._count(data) * self._decoded.itemsize

    def encoded_bound(self, size: int) -> int:
        """As many values as are stored."""
        return size // self._decoded.itemsize * self._stored.itemsize

    def decode(
        self, data: Buffer, size: int, out: memoryview | None, scratch: Scratch, slot: int
    ) -> Buffer:
        """Running sum, wrapping around in the decoded type."""
        count = self._count(data)
        if count * self._decoded.itemsize != size:
            raise ChunkDecodeError(
                f"delta: expected {size // self._decoded.itemsize} values, found {count}"
            )
        target = scratch.take(slot, size) if out is None else out
        values = np.frombuffer(target, self._decoded)
        with np.errstate(all="ignore"):  # inf - inf in stored differences is a value, not a fault
            np.cumsum(np.frombuffer(data, self._stored), dtype=self._decoded, out=values)
        return target
