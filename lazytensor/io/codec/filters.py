"""Codecs of values that keep their number: shuffle, delta, changes of type and scale.

To zarr v2 these are filters over a flat run of values; to v3 they are codecs of arrays, applied to
the values in the order in which they are stored. Here both are byte decoders of a known size, so
that a chain of them can end in the destination.

The arithmetic is written as numcodecs writes it: the same expression on the same dtypes gives the
same bits. It goes block by block, so that its intermediates stay in the cache.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any

import numpy as np

from lazytensor.errors import ChunkDecodeError
from lazytensor.io.codec.bytecodec import ByteCodec, not_above
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer

__all__ = [
    "AsTypeCodec",
    "CategoriesCodec",
    "DeltaCodec",
    "ElementwiseCodec",
    "FixedScaleOffsetCodec",
    "ShuffleCodec",
    "TransposeCodec",
    "ValueCodec",
]

_BLOCK = 1 << 14


@cache
def _shuffler(element_size: int) -> Any:
    from numcodecs.shuffle import Shuffle

    return Shuffle(element_size)


class ShuffleCodec(ByteCodec):
    """First bytes of all elements, then all second bytes, and so on."""

    name = "shuffle"

    def __init__(self, element_size: int) -> None:
        self.element_size = element_size
        self.is_view = element_size == 1

    def announced(self, data: Buffer, most: int) -> int:
        """The size does not change."""
        return not_above("shuffle", len(data), most)

    def encoded_size(self, size: int) -> int:
        """The size does not change."""
        return size

    def encoded_bound(self, size: int) -> int:
        """The size does not change."""
        return size

    def decode(
        self, data: Buffer, size: int, out: memoryview | None, scratch: Scratch, slot: int
    ) -> Buffer:
        """Bring the bytes of each element together again."""
        if len(data) != size or size % self.element_size:
            raise ChunkDecodeError(
                f"shuffle: expected {size} bytes of {self.element_size}-byte elements, "
                f"found {len(data)}"
            )
        if self.element_size == 1 and out is None:
            return data
        target = scratch.take(slot, size) if out is None else out
        if self.element_size == 1:
            target[:] = data
        elif size:
            _shuffler(self.element_size).decode(data, target)
        return target


class ValueCodec(ByteCodec):
    """Values of the dtype ``stored`` to as many of the dtype ``decoded``.

    ``ordered``: a value depends on those before it, so that they cannot be turned or cut first.
    """

    ordered = False

    def __init__(self, decoded: np.dtype, stored: np.dtype) -> None:
        self.decoded = decoded
        self.stored = stored

    @abstractmethod
    def convert(self, stored: np.ndarray, decoded: np.ndarray) -> None:
        """Fill ``decoded`` with the decoded values of ``stored`` (both 1-d)."""

    def announced(self, data: Buffer, most: int) -> int:
        """As many values as are stored."""
        count, rest = divmod(len(data), self.stored.itemsize)
        if rest:
            raise ChunkDecodeError(
                f"{self.name}: {len(data)} bytes are no whole number of {self.stored}"
            )
        return not_above(self.name, count * self.decoded.itemsize, most)

    def encoded_size(self, size: int) -> int:
        """As many values as are decoded."""
        count, rest = divmod(size, self.decoded.itemsize)
        if rest:
            raise ChunkDecodeError(
                f"{self.name}: {size} bytes are no whole number of {self.decoded}"
            )
        return count * self.stored.itemsize

    def encoded_bound(self, size: int) -> int:
        """As many values as are decoded, and one for the rest."""
        return (size // self.decoded.itemsize + 1) * self.stored.itemsize

    def decode(
        self, data: Buffer, size: int, out: memoryview | None, scratch: Scratch, slot: int
    ) -> Buffer:
        """Decode to exactly ``size`` bytes."""
        if len(data) != self.encoded_size(size):
            raise ChunkDecodeError(
                f"{self.name}: expected {size // self.decoded.itemsize} values of {self.stored}, "
                f"found {len(data)} bytes"
            )
        target = scratch.take(slot, size) if out is None else out
        source = np.frombuffer(data, self.stored)
        values = np.frombuffer(target, self.decoded)
        step = max(len(source), 1) if self.ordered else _BLOCK
        # inf - inf or an overflow is what the file holds, and no fault of ours to warn of.
        with np.errstate(all="ignore"):
            for at in range(0, len(source), step):
                self.convert(source[at : at + step], values[at : at + step])
        return target


class ElementwiseCodec(ValueCodec):
    """A codec that says what stands for the fill value behind it, so that a shard may follow."""

    @abstractmethod
    def encode_fill(self, fill: np.ndarray) -> np.ndarray:
        """The encoded fill value (0-d)."""


class DeltaCodec(ValueCodec):
    """Differences of neighbours, stored as ``stored`` and summed up in ``decoded``."""

    name = "delta"
    ordered = True

    def convert(self, stored: np.ndarray, decoded: np.ndarray) -> None:
        """Running sum, wrapping around in the decoded type."""
        np.cumsum(stored, dtype=self.decoded, out=decoded)


class AsTypeCodec(ElementwiseCodec):
    """NumPy's cast: ``astype``, and ``quantize``, which on decoding is no more than that."""

    def __init__(self, name: str, decoded: np.dtype, stored: np.dtype) -> None:
        super().__init__(decoded, stored)
        self.name = name

    def convert(self, stored: np.ndarray, decoded: np.ndarray) -> None:
        """Cast."""
        np.copyto(decoded, stored, casting="unsafe")

    def encode_fill(self, fill: np.ndarray) -> np.ndarray:
        """Cast the other way."""
        with np.errstate(all="ignore"):
            return fill.astype(self.stored)


class FixedScaleOffsetCodec(ValueCodec):
    """Values that were shifted and multiplied before they were rounded to ``stored``.

    ``scale`` and ``offset`` are Python numbers, whose kind decides in which dtype is computed.
    """

    name = "fixedscaleoffset"

    def __init__(self, decoded: np.dtype, stored: np.dtype, *, scale: float, offset: float) -> None:
        super().__init__(decoded, stored)
        self.scale = scale
        self.offset = offset

    def convert(self, stored: np.ndarray, decoded: np.ndarray) -> None:
        """Undo both."""
        np.copyto(decoded, (stored / self.scale) + self.offset, casting="unsafe")


class CategoriesCodec(ValueCodec):
    """Numbers of labels, counted from 1; any other number stands for the empty label."""

    name = "categorize"

    def __init__(self, labels: Sequence[str], decoded: np.dtype, stored: np.dtype) -> None:
        super().__init__(decoded, stored)
        self.labels = np.array(["", *labels], decoded)

    def convert(self, stored: np.ndarray, decoded: np.ndarray) -> None:
        """Look the labels up."""
        known = (stored > 0) & (stored < len(self.labels))
        decoded[...] = self.labels[np.where(known, stored, 0).astype(np.intp)]


class TransposeCodec(ByteCodec):
    """Whole elements in another order of the axes.

    ``shape``: of the decoded array; its axis ``axes[i]`` was stored as axis ``i``.

    Only for arrays that pass through an ordered codec afterwards: any other transpose is a view of
    the decoded chunk and costs no pass of its own.
    """

    name = "transpose"

    def __init__(self, shape: Sequence[int], axes: Sequence[int], itemsize: int) -> None:
        self.shape = tuple(shape)
        self.axes = tuple(axes)
        self._element = np.dtype(f"V{itemsize}")

    def announced(self, data: Buffer, most: int) -> int:
        """The size does not change."""
        return not_above("transpose", len(data), most)

    def encoded_size(self, size: int) -> int:
        """The size does not change."""
        return size

    def encoded_bound(self, size: int) -> int:
        """The size does not change."""
        return size

    def decode(
        self, data: Buffer, size: int, out: memoryview | None, scratch: Scratch, slot: int
    ) -> Buffer:
        """Bring the axes back in order."""
        expected = prod(self.shape) * self._element.itemsize
        if not len(data) == size == expected:
            raise ChunkDecodeError(f"transpose: expected {expected} bytes, found {len(data)}")
        target = scratch.take(slot, size) if out is None else out
        values = np.frombuffer(target, self._element).reshape(self.shape)
        stored = tuple(self.shape[a] for a in self.axes)
        values.transpose(self.axes)[...] = np.frombuffer(data, self._element).reshape(stored)
        return target
