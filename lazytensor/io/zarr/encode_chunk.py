"""From the values of one chunk to stored bytes: the other direction of ``PlainLayout``.

Values that lie in memory as they are stored go to the first encoder as they are. Others are brought
in order first, in one strided copy that turns, swaps bytes and pads: chunks are stored in their
full shape, and what lies outside the array holds the fill value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod

import numpy as np

from lazytensor.errors import DTypeError, ShapeError
from lazytensor.io.codec.encode import EncodeChain, Room, Take, all_elements_are, encoding_memory
from lazytensor.io.codec.encode_packed import TextWriter
from lazytensor.io.codec.pipeline import ChunkDecoder
from lazytensor.io.scratch import STAGE_A, Scratch
from lazytensor.io.store import Buffer

__all__ = ["ChunkEncoder", "ObjectEncoder", "TextEncoder"]

_SLAB = 256 << 10


class ObjectEncoder(ABC):
    """The encoding of stored objects (chunks or shards) of one shape. Thread-safe.

    ``shape``: of an object, in the array's axes. ``dtype``: of the values, in the machine's byte
    order. ``fill``: value of what is not stored (0-d).
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, fill: np.ndarray) -> None:
        self.shape = shape
        self.dtype = dtype
        self.fill = fill
        self._element = b"" if dtype.kind == "T" else fill.tobytes()

    def encode(self, values: np.ndarray) -> list[Buffer]:
        """The stored bytes of an object, in parts that follow each other.

        ``values``: all of it, or of an object at the end of the array the front that lies inside.
        The parts are good until the same thread encodes again, and as long as the values do not
        change. ``DTypeError`` for values of another dtype, ``ShapeError`` for values that do not
        fit, ``SinkError`` for values that the encoding cannot hold.
        """
        self._check(values)
        room, scratch = encoding_memory()
        room.reset()
        self.put(values, room, scratch, keep_empty=True)
        return room.parts()

    def is_empty(self, values: np.ndarray) -> bool:
        """Whether all values are the fill value to the last bit, so that nothing need be stored.

        A NaN is itself only, and zero is not its negative.
        """
        self._check(values)
        if not values.size:
            return True
        if self.dtype.kind == "T":
            return bool((values == self.fill).all())
        return _all_are(values, self._element, encoding_memory()[1])

    @abstractmethod
    def memory(self) -> tuple[int, int]:
        """Bytes of an encoded object at most, and what is held beside it and its values."""

    @abstractmethod
    def put(self, values: np.ndarray, room: Room, scratch: Scratch, *, keep_empty: bool) -> bool:
        """Add the object to the one in ``room``; nothing, and False, if it is empty and need not be
        kept."""

    def _check(self, values: np.ndarray) -> None:
        if values.dtype != self.dtype:
            raise DTypeError(
                f"encoding {self.dtype} needs values of that dtype, and not of {values.dtype}: "
                "cast them first"
            )
        if values.ndim != len(self.shape) or any(
            n > most for n, most in zip(values.shape, self.shape, strict=True)
        ):
            raise ShapeError(f"values of shape {values.shape} do not fit a chunk of {self.shape}")


def _all_are(values: np.ndarray, element: bytes, scratch: Scratch) -> bool:
    """Whether each of them has the bytes of ``element``; some, if the first has."""
    values = np.atleast_1d(values)
    if values[(slice(0, 1),) * values.ndim].tobytes() != element:
        return False
    # In the order in which they lie in memory; the order does not matter.
    turned = values.transpose(np.argsort([-abs(s) for s in values.strides], kind="stable"))
    if turned.flags.c_contiguous:
        return all_elements_are(turned.reshape(-1).view(np.uint8).data, element)
    if values.nbytes <= _SLAB:
        place = scratch.take(STAGE_A, values.nbytes)
        np.frombuffer(place, values.dtype).reshape(turned.shape)[...] = turned
        return all_elements_are(place, element)
    step = max(1, _SLAB * len(turned) // values.nbytes)
    return all(
        _all_are(turned[at : at + step], element, scratch)
        if step > 1 or values.ndim == 1
        else _all_are(turned[at], element, scratch)
        for at in range(0, len(turned), step)
    )


class ChunkEncoder(ObjectEncoder):
    """One encoded chunk.

    ``decoder``: what reads it. ``start``: the dtype that the first encoder of ``chain`` expects.
    """

    def __init__(
        self, decoder: ChunkDecoder, start: np.dtype, chain: EncodeChain, fill: np.ndarray
    ) -> None:
        super().__init__(decoder.shape, decoder.dtype, fill)
        self.chain = chain
        self._axes = decoder.axes
        self._start = start
        self._start_shape = decoder.stored_shape
        self._as_it_is = start == decoder.dtype
        self._nbytes = decoder.nbytes
        # Values of less than a byte are stored as the bytes that they take in memory.
        self._as_bytes = decoder.mask is not None and start == np.uint8
        fill = fill.reshape(1)
        self._padding = (fill.view(np.uint8) if self._as_bytes else fill.astype(start))[0]
        self._empty = self._padding.tobytes()

    def put(self, values: np.ndarray, room: Room, scratch: Scratch, *, keep_empty: bool) -> bool:
        """Bring the values in order and encode them."""
        raw = self.chain.is_raw
        data = self._ordered(values, room.take if raw else _stage(scratch))
        if not keep_empty and all_elements_are(data, self._empty):
            return False
        self.chain.encode(data, room, scratch)
        return True

    def memory(self) -> tuple[int, int]:
        """Beside the object there may be the values in order, and what encoders hand on."""
        encoded, aside = self.chain.most(self._nbytes)
        return encoded, aside + self._nbytes

    def _ordered(self, values: np.ndarray, take: Take) -> Buffer:
        """The bytes of a whole chunk: of the values themselves, if they lie so."""
        turned = values.transpose(self._axes)
        whole = turned.shape == self._start_shape
        if whole and self._as_it_is and turned.flags.c_contiguous:
            return turned.reshape(-1).view(np.uint8).data
        place = take(self._nbytes)
        target = np.frombuffer(place, self._start).reshape(self._start_shape)
        if not whole:
            self._pad(target, turned.shape)
        front = target[tuple(slice(n) for n in turned.shape)]
        front[...] = turned.view(np.uint8) if self._as_bytes else turned
        return place

    def _pad(self, target: np.ndarray, inside: tuple[int, ...]) -> None:
        """Fill what lies outside, each place once."""
        for axis, extent in enumerate(inside):
            target[(*(slice(n) for n in inside[:axis]), slice(extent, None))] = self._padding


def _stage(scratch: Scratch) -> Take:
    return lambda nbytes: scratch.take(STAGE_A, nbytes)


class TextEncoder(ObjectEncoder):
    """One encoded chunk of strings, of which ``write`` makes bytes."""

    def __init__(
        self, decoder: ChunkDecoder, write: TextWriter, chain: EncodeChain, fill: np.ndarray
    ) -> None:
        super().__init__(decoder.shape, decoder.dtype, fill)
        self.chain = chain
        self._axes = decoder.axes
        self._write = write

    def memory(self) -> tuple[int, int]:
        """Of strings as long as their places in memory; nobody knows how long others are."""
        nbytes = prod(self.shape) * self.dtype.itemsize
        encoded, aside = self.chain.most(nbytes)
        return encoded, aside + 2 * nbytes

    def put(self, values: np.ndarray, room: Room, scratch: Scratch, *, keep_empty: bool) -> bool:
        """Pad and encode them."""
        if not keep_empty and (values == self.fill).all():
            return False
        if values.shape != self.shape:
            padded = np.full(self.shape, self.fill, self.dtype)
            padded[tuple(slice(n) for n in values.shape)] = values
            values = padded
        self.chain.encode(self._write(values.transpose(self._axes).reshape(-1)), room, scratch)
        return True
