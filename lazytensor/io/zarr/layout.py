"""How the values of one stored object are laid out, and reading a part of them.

Two kinds: a plain object is one encoded chunk; a shard (``shard``) holds many, each of which may be
a shard again. Both answer the same question: put the part ``where`` of your values into ``place``.
A part may have steps.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Protocol

import numpy as np

from lazytensor.errors import ChunkDecodeError
from lazytensor.io.codec.compiled import Cells, Recipe, recipe_of
from lazytensor.io.codec.pipeline import ChunkDecoder
from lazytensor.io.handed import Handed, Place
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer, Store, StoredObject
from lazytensor.native import kernel
from lazytensor.plan.clock import DECODING
from lazytensor.plan.counters import count

__all__ = ["Layout", "Piece", "PlainLayout", "Where", "cell_of", "pieces", "stored_bytes"]

Where = tuple[slice, ...]
Piece = tuple[int, slice, slice]
# What compiled decoding gains, in seconds, and what it costs to set up.
_GAIN_PER_CHUNK = 6e-6
_GAIN_PER_BYTE = 5e-11
_COST_OF_COMPILED = 45e-6


def pieces(lo: int, hi: int, size: int, step: int = 1) -> list[Piece]:
    """Cut the positions ``lo, lo + step, ...`` below ``hi`` at multiples of ``size``.

    Returns ``(cell, part of the cell, places among the positions)`` in ascending order, for cells
    that hold any.

    >>> pieces(3, 9, 4)
    [(0, slice(3, 4, None), slice(0, 1, None)), (1, slice(0, 4, None), slice(1, 5, None)), \
(2, slice(0, 1, None), slice(5, 6, None))]
    >>> pieces(3, 9, 4, 3)
    [(0, slice(3, 4, 3), slice(0, 1, None)), (1, slice(2, 4, 3), slice(1, 2, None))]
    """
    if step != 1:
        return _stepped_pieces(lo, hi, size, step)
    found = []
    for cell in range(lo // size, -(-hi // size) if hi > lo else 0):
        start = cell * size
        a, b = max(lo, start), min(hi, start + size)
        found.append((cell, slice(a - start, b - start), slice(a - lo, b - lo)))
    return found


def _stepped_pieces(lo: int, hi: int, size: int, step: int) -> list[Piece]:
    found = []
    first = lo
    while first < hi:
        cell = first // size
        start = cell * size
        stop = min(hi, start + size)
        extent = -(-(stop - first) // step)
        place = (first - lo) // step
        found.append((cell, slice(first - start, stop - start, step), slice(place, place + extent)))
        first += extent * step
    return found


def cell_of(cells: Sequence[Sequence[Piece]], number: int) -> tuple[Where, Where]:
    """Part and place of the cell with a number in C order.

    >>> cell_of([pieces(0, 4, 2), pieces(1, 6, 3)], 2)
    ((slice(0, 2, None), slice(1, 3, None)), (slice(2, 4, None), slice(0, 2, None)))
    """
    where, spot = [], []
    for dim in reversed(cells):
        number, i = divmod(number, len(dim))
        where.append(dim[i][1])
        spot.append(dim[i][2])
    return tuple(reversed(where)), tuple(reversed(spot))


def stored_bytes(store: Store, key: str, most: int, scratch: Scratch) -> Buffer | None:
    """All bytes of an object; None if there is none.

    Of a file only if that has at most ``most`` bytes, which is more than an encoder makes: a sparse
    file of a terabyte costs nothing to make.
    """
    if store.folder is None:
        return store.get(key, scratch)
    whole = store.open(key)
    if whole is None:
        return None
    with whole:
        if whole.size > most:
            raise ChunkDecodeError(f"expected at most {most} stored bytes, found {whole.size}")
        return whole.read(0, whole.size, scratch)


class Layout(Protocol):
    """The values of one stored object, of ``shape``, readable in cells of ``grain``.

    ``most``: no sane writer makes more bytes than this of them.
    """

    shape: tuple[int, ...]
    grain: tuple[int, ...]
    is_sharded: bool
    most: int

    def read(
        self, store: Store, key: str, where: Where, place: np.ndarray, scratch: Scratch
    ) -> bool:
        """Fill ``place`` with the part ``where``; False if there is no such object."""
        ...

    def read_buffer(self, data: Buffer, where: Where, place: np.ndarray, scratch: Scratch) -> None:
        """Fill ``place`` from the bytes of the whole object."""
        ...

    def read_part(
        self,
        whole: StoredObject,
        key: Hashable,
        where: Where,
        place: np.ndarray,
        scratch: Scratch,
        store: Store | None,
    ) -> None:
        """Fill ``place`` through a handle."""
        ...


class PlainLayout:
    """One encoded chunk."""

    is_sharded = False

    def __init__(self, decoder: ChunkDecoder) -> None:
        self.decoder = decoder
        self.shape = decoder.shape
        self.grain = decoder.shape
        self.most = decoder.most_stored()
        self._recipe: Recipe | None = None
        self._asked = False

    def compiled(
        self,
        cells: Sequence[Sequence[Piece]],
        out: Place,
        fill: np.ndarray,
        count: int | None = None,
    ) -> Cells | None:
        """The chunks of a box for the compiled way of decoding them, or None.

        ``count``: how many of them are decoded, all by default.

        None where there is no compiled code for these chunks, or not yet, and where there is too
        little to do: what is compiled gains some microseconds a chunk, and the memory traffic of
        the copy to its place. Only that hands values over, so then nothing is too little.
        """
        saves = self._saves(cells, count)
        if isinstance(out, Handed):
            saves += _COST_OF_COMPILED
        if saves < 0:
            return None
        recipe = self._known_recipe()
        if recipe is None or (math.prod(map(len, cells)) == 1 and self._is_plain_best(out)):
            return None
        run = kernel("chunks", saves=saves)
        return None if run is None else Cells(run, recipe, cells, out, fill)

    def hands_over(self, cells: Sequence[Sequence[Piece]]) -> bool:
        """Whether there is compiled code by now that hands the chunks of a box over.

        A little of what is stored as it is in memory is read whole otherwise: so it is then here.
        """
        recipe, saves = self._known_recipe(), self._saves(cells)
        if recipe is None or (recipe.is_plain and saves < 0):
            return False
        return kernel("chunks", saves=saves + _COST_OF_COMPILED) is not None

    def is_compiled(self, cells: Sequence[Sequence[Piece]]) -> bool:
        """Whether there is compiled code for them now, found out without asking for any.

        One that is decoded straight into its place is read the same either way.
        """
        if self._saves(cells) < 0 or self._known_recipe() is None:
            return False
        return kernel("chunks", saves=0.0) is not None

    def read_of_file(self, where: Where) -> int | None:
        """Bytes that compiled code reads of a file for a part of the chunk; None: all there are."""
        recipe = self._known_recipe()
        return recipe.wanted_nbytes(where) if recipe is not None and recipe.is_plain else None

    @property
    def reads_parts(self) -> bool:
        """Whether compiled code reads of a file what is wanted, no more, and decodes nothing."""
        recipe = self._known_recipe()
        return recipe is not None and recipe.is_plain

    @property
    def stands_alone(self) -> bool:
        """Whether compiled code reads of such a chunk in a shard only what is wanted."""
        recipe = self._known_recipe()
        return recipe is not None and recipe.stands_alone

    def cell_strides(self, count: int) -> tuple[int, ...] | None:
        """Bytes between the elements of a decoded chunk, per axis, where compiled code hands over
        ``count`` of them now; else None."""
        recipe, saves = self._known_recipe(), self._saves((), count)
        if recipe is None or kernel("chunks", saves=saves + _COST_OF_COMPILED) is None:
            return None
        return recipe.strides

    @property
    def read_whole(self) -> bool:
        """Whether all of a single chunk is read for a part of it, though that could be left out."""
        recipe = self._known_recipe()
        return recipe is not None and recipe.is_plain and self._saves((), 1) < 0

    def _saves(self, cells: Sequence[Sequence[Piece]], count: int | None = None) -> float:
        """Seconds that compiled code saves."""
        count = math.prod(map(len, cells)) if count is None else count
        gain = count * (_GAIN_PER_CHUNK + self.decoder.nbytes * _GAIN_PER_BYTE)
        return gain - _COST_OF_COMPILED

    def _known_recipe(self) -> Recipe | None:
        if not self._asked:
            self._recipe, self._asked = recipe_of(self.decoder), True
        return self._recipe

    def _is_plain_best(self, out: Place) -> bool:
        """Whether one chunk is decoded straight into its place as well by a library.

        Not so for blosc, whose bits are put together faster here.
        """
        assert self._recipe is not None
        if isinstance(out, Handed) or self._recipe.is_blosc:
            return False
        return self.decoder.target(out) is not None

    def read(
        self, store: Store, key: str, where: Where, place: np.ndarray, scratch: Scratch
    ) -> bool:
        """Read and decode the object, without any copy if it is raw and fits the place."""
        decoder = self.decoder
        target = decoder.target(place) if decoder.raw else None
        if target is None:
            data = stored_bytes(store, key, self.most, scratch)
            if data is None:
                return False
            count("bytes_read", len(data))
            self.read_buffer(data, where, place, scratch)
            return True
        size = store.get_into(key, target)
        if size is not None and size != decoder.nbytes:
            raise ChunkDecodeError(f"expected {decoder.nbytes} bytes, found {size}")
        if size is None:
            return False
        count("bytes_read", size)
        count("bytes_decoded", size)
        count("units_read")
        return True

    def read_buffer(self, data: Buffer, where: Where, place: np.ndarray, scratch: Scratch) -> None:
        """Decode."""
        clock = DECODING.get()
        if clock is None:  # as a rule; small windows are read in microseconds
            self.decoder.decode_into(data, where, place, scratch)
        else:
            with clock:
                self.decoder.decode_into(data, where, place, scratch)
        count("bytes_decoded", self.decoder.nbytes)
        count("units_read")

    def read_part(
        self,
        whole: StoredObject,
        key: Hashable,
        where: Where,
        place: np.ndarray,
        scratch: Scratch,
        store: Store | None,
    ) -> None:
        """Read the whole object through its handle and decode it."""
        count("bytes_read", whole.size)
        self.read_buffer(whole.read(0, whole.size, scratch), where, place, scratch)
