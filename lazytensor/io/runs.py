"""Boxes of an array in C order as runs of neighbouring bytes.

What has no chunks (a ``.npy`` file, the body of a packet) is read by ranges of bytes: a box is cut
into pieces, each of which is one range, and of whose bytes most are wanted. Runs that lie close
together are one piece, since reading what is between them costs less than another read, and no
piece is longer than some megabytes, so that what is read beside the values stays small. The same
pieces say beforehand what reading will take.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from lazytensor.errors import SourceError
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Store, StoredObject
from lazytensor.plan.counters import count
from lazytensor.plan.source import Box

__all__ = [
    "FAR_GAP", "GAP", "PIECE", "Piece", "bytes_of", "counts_of", "gap_of", "held_nbytes",
    "pieces_of", "read_pieces",
]  # fmt: skip

PIECE = 4 << 20
"""Bytes of one piece, at most, unless one element is larger."""
GAP = 64 << 10
"""Bytes worth reading to save another read, of a store that is near."""
FAR_GAP = 1 << 20
"""The same, where every read is a round trip."""
_TOGETHER = 64 << 20
"""Bytes that such a store fetches at once, at most."""


class Piece(NamedTuple):
    """One range of bytes and what is wanted of it.

    ``start``: its first byte, counted from the first element of the array; ``nbytes``: how long it
    is; ``strides``: bytes between the wanted elements in it, per dim that is left; ``place``: which
    part of the output they fill.
    """

    start: int
    nbytes: int
    strides: tuple[int, ...]
    place: tuple[int | slice, ...]


def gap_of(store: Store) -> int:
    """Bytes worth reading to save another read of this store."""
    return FAR_GAP if store.remote else GAP


def held_nbytes(nbytes: int, *, far: bool) -> int:
    """Bytes that are held beside the output while an array of ``nbytes`` is read by pieces.

    ``far``: whether every read is a round trip; then several pieces are fetched together.

    >>> held_nbytes(100, far=False), held_nbytes(1 << 30, far=False) == PIECE
    (100, True)
    """
    return min(nbytes, _TOGETHER if far else PIECE)


def counts_of(box: Box, steps: Sequence[int]) -> tuple[int, ...]:
    """How many elements of a box lie whole steps from its first corner, per dim.

    >>> counts_of(((0, 10), (3, 4)), (3, 1))
    (4, 1)
    """
    return tuple([-(-(hi - lo) // step) for (lo, hi), step in zip(box, steps, strict=True)])


def pieces_of(
    shape: Sequence[int],
    itemsize: int,
    box: Box,
    steps: Sequence[int] | None = None,
    *,
    gap: int = GAP,
    most: int = PIECE,
) -> Iterator[Piece]:
    """The pieces of every ``steps[d]``-th element of a box of an array in C order, ascending.

    The box is in positions from zero. ``gap``: runs so close together are one piece; ``most``:
    bytes of a piece. An empty box has none.

    >>> list(pieces_of((4, 6), 2, ((1, 3), (2, 4))))
    [Piece(start=16, nbytes=16, strides=(12, 2), place=(slice(0, 2, None),))]
    >>> list(pieces_of((4, 6), 2, ((1, 3), (2, 4)), gap=0))[1]
    Piece(start=28, nbytes=4, strides=(2,), place=(1, slice(0, 2, None)))
    """
    if not shape:
        yield Piece(0, itemsize, (), ())
        return
    steps = (1,) * len(shape) if steps is None else steps
    counts = counts_of(box, steps)
    if not all(n > 0 for n in counts):
        return
    strides = [itemsize] * len(shape)
    for d in reversed(range(len(shape) - 1)):
        strides[d] = strides[d + 1] * shape[d + 1]
    first = sum(s * lo for s, (lo, _) in zip(strides, box, strict=True))
    strides = [s * step for s, step in zip(strides, steps, strict=True)]
    split, rows = _split(counts, strides, itemsize, gap, most)
    last = itemsize + sum(
        (n - 1) * s for n, s in zip(counts[split + 1 :], strides[split + 1 :], strict=True)
    )
    inner = tuple(strides[split:])
    for at in product(*map(range, counts[:split])):
        base = first + sum(s * c for s, c in zip(strides, at, strict=False))
        for begin in range(0, counts[split], rows):
            n = min(rows, counts[split] - begin)
            yield Piece(
                base + begin * strides[split],
                (n - 1) * strides[split] + last,
                inner,
                (*at, slice(begin, begin + n)),
            )


def _split(
    counts: Sequence[int], strides: Sequence[int], itemsize: int, gap: int, most: int
) -> tuple[int, int]:
    """The dim along which pieces are cut, and how many positions of it one piece has.

    The outermost dim whose positions lie close enough together that reading what is between
    them costs less than another read, and of which a piece holds at least two.
    """
    for d, stride in enumerate(strides):
        within = sum((n - 1) * s for n, s in zip(counts[d + 1 :], strides[d + 1 :], strict=True))
        if stride - within - itemsize <= max(gap, within) and 2 * stride <= most:
            return d, most // stride
    return len(counts) - 1, max(1, most // strides[-1])


def bytes_of(target: np.ndarray) -> memoryview | None:
    """The memory of an array as bytes to be written, if its elements lie there one by one."""
    if not target.flags.c_contiguous:
        return None
    return target.reshape(-1).view(np.uint8).data


def read_pieces(
    whole: StoredObject,
    base: int,
    pieces: Sequence[Piece],
    dtype: np.dtype,
    out: np.ndarray,
    scratch: Scratch | None = None,
    *,
    far: bool = False,
) -> Iterator[tuple[int, memoryview]]:
    """Read pieces of an array whose first element lies at ``base`` into their places.

    Yields for each where its bytes lie in the object and the bytes themselves, valid until the next
    is asked for. ``dtype``: of the stored elements. What is wanted entirely is read straight into
    ``out`` where that has the same layout, unless the object is ``far``: then all pieces are asked
    for together.
    """
    straight = [None if far else _straight(piece, dtype, out) for piece in pieces]
    others = [
        (base + piece.start, base + piece.start + piece.nbytes)
        for piece, view in zip(pieces, straight, strict=True)
        if view is None
    ]
    buffers = whole.read_many(others, scratch)
    for piece, view in zip(pieces, straight, strict=True):
        start = base + piece.start
        if view is not None:
            whole.read_into(start, view)
            data = view
        else:
            data = memoryview(next(buffers))
            if len(data) != piece.nbytes:
                raise SourceError(f"asked for {piece.nbytes} bytes at {start}, got {len(data)}")
            target = out[(*piece.place, ...)]
            target[...] = np.ndarray(target.shape, dtype, data, 0, piece.strides)
        count("bytes_read", piece.nbytes)
        yield start, data


def _straight(piece: Piece, dtype: np.dtype, out: np.ndarray) -> memoryview | None:
    """The memory that a piece fills as it is stored, if there is such."""
    target = out[(*piece.place, ...)]
    if target.nbytes != piece.nbytes or target.dtype != dtype:
        return None
    return bytes_of(target)
