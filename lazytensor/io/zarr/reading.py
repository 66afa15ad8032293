"""Reading a box of a local array in compiled code: files opened, read, decoded and put in place
without the GIL, by any number of threads.

Made once for a box (``begin``), worked on by each thread (``work``), and ended by one of them
(``end``), which also reads the plain way what the compiled code left alone: that succeeds, or
raises the error that names file and reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.codec.compiled import (
    NOT_THERE,
    Cells,
    Ranges,
    Units,
    units_in_files,
    units_in_ranges,
)
from lazytensor.io.scratch import thread_scratch
from lazytensor.io.store import Store, StoredObject
from lazytensor.io.zarr.layout import Layout, Piece, PlainLayout, Where, cell_of
from lazytensor.io.zarr.shard import ShardLayout, group_ranges
from lazytensor.io.zarr.shard_index import ABSENT
from lazytensor.native import file_functions
from lazytensor.plan.counters import count
from lazytensor.plan.source import window

__all__ = [
    "MOST_SHARDS", "FilesReading", "Plain", "ShardPart", "ShardsReading", "reads_compiled",
    "shard_parts", "together",
]  # fmt: skip

_SHORT_ROW = 128
MOST_SHARDS = 64
"""Files that are open at once; systems allow some hundreds."""

_SPACE = 46  # bits of an offset in a shard


class Plain(NamedTuple):
    """How a source reads what compiled code does not.

    ``read``: an object by key, into the place of a part of it. ``miss``: count an object that does
    not exist, or refuse it. ``name``: an error with the name of the object in front.
    """

    read: Callable[[str, Where, Where], None]
    miss: Callable[[str], None]
    name: Callable[[str, FormatError], FormatError]


def together(
    layout: Layout, shards: Sequence[Sequence[Piece]], elements: int
) -> PlainLayout | None:
    """The layout of the inner chunks of shards that are worth reading together, or None."""
    if not isinstance(layout, ShardLayout) or not isinstance(layout.inner, PlainLayout):
        return None
    # One or two inner chunks are read before this is set up.
    few = elements <= 2 * prod(layout.inner.shape)
    if few or layout.outer.codecs or prod(map(len, shards)) > MOST_SHARDS:
        return None
    return layout.inner


def reads_compiled(
    store: Store, layout: Layout, cells: Sequence[Sequence[Piece]], elements: int
) -> bool:
    """Whether a box of so many elements is read here, found out without reading anything."""
    if store.folder is None or file_functions() is None:
        return False
    if isinstance(layout, PlainLayout):
        return layout.is_compiled(cells)
    inner = together(layout, cells, elements)
    if inner is None:
        return False
    assert isinstance(layout, ShardLayout)
    return inner.is_compiled(layout.inner_cells(cells))


class FilesReading:
    """Chunks that are a file each."""

    def __init__(
        self,
        cells: Cells,
        boxes: Sequence[Sequence[Piece]],
        folder: str,
        keys: list[str],
        plain: Plain,
    ) -> None:
        self._cells = cells
        self._boxes = boxes
        self._keys = keys
        self._plain = plain
        self._units = units_in_files(
            [folder + key for key in keys], cells.recipe, _row(cells, boxes)
        )

    def work(self) -> None:
        """Read and decode files."""
        self._cells.decode(self._units, thread_scratch())

    def end(self) -> None:
        """Count, and read again what was left alone."""
        units = self._units
        odd = units.odd()
        done = units.read if not odd else units.read[units.status == 0]
        count("bytes_read", int(done.sum()))
        count("units_read", len(done))
        count("bytes_decoded", len(done) * self._cells.recipe.nbytes)
        for at in odd:
            if units.status[at] == NOT_THERE:
                self._plain.miss(self._keys[at])
            else:
                self._plain.read(self._keys[at], *cell_of(self._boxes, at))

    def close(self) -> None:
        """Nothing is held."""
        return


def _row(cells: Cells, boxes: Sequence[Sequence[Piece]]) -> int:
    """How many units one thread takes: a row of those with short rows, which belong together."""
    if not boxes or max(spot.stop - spot.start for _, _, spot in boxes[-1]) >= (
        _SHORT_ROW // cells.recipe.item
    ):
        return 1
    return len(boxes[-1])


class ShardPart(NamedTuple):
    """A shard of a box: its key, its part and place, and the numbers of its chunks in C order."""

    key: str
    where: Where
    spot: Where
    numbers: np.ndarray


def shard_parts(
    layout: ShardLayout,
    shards: Sequence[Sequence[Piece]],
    boxes: Sequence[Sequence[Piece]],
    keys: Iterable[str],
) -> list[ShardPart]:
    """The shards of a box (``shards`` along the array's axes, ``boxes`` along the stored ones)."""
    strides = np.cumprod([1, *[len(dim) for dim in reversed(boxes)]])[-2::-1]
    along: dict[int, list[np.ndarray]] = {}
    for axis, counts, dim, stride in zip(
        layout.axes, layout.index.counts, boxes, strides, strict=True
    ):
        shard_of = np.array([piece[0] for piece in dim]) // counts
        borders = np.flatnonzero(np.diff(shard_of)) + 1
        along[axis] = np.split(np.arange(len(dim)) * stride, borders)
    found = []
    for key, number in zip(keys, product(*[range(len(dim)) for dim in shards]), strict=True):
        numbers: np.ndarray = np.zeros((), np.int64)
        for axis in layout.axes:
            numbers = np.add.outer(numbers, along[axis][number[axis]])
        where = tuple(dim[i][1] for dim, i in zip(shards, number, strict=True))
        spot = tuple(dim[i][2] for dim, i in zip(shards, number, strict=True))
        found.append(ShardPart(key, where, spot, numbers.reshape(-1)))
    return found


class ShardsReading:
    """Chunks that are parts of shards, all shards of a box together.

    ``boxes``: inner chunks along each axis of the stored shards; ``turned``: where they go, with
    its axes in that order.
    """

    def __init__(
        self,
        cells: Cells,
        boxes: Sequence[Sequence[Piece]],
        turned: np.ndarray,
        layout: ShardLayout,
        store: Store,
        plain: Plain,
    ) -> None:
        self._cells = cells
        self._boxes = boxes
        self._turned = turned
        self._layout = layout
        self._store = store
        self._plain = plain
        self._keys: list[str] = []
        self._shards: list[StoredObject] = []
        self._missing: list[str] = []
        self._unsound: list[ShardPart] = []
        self._units: Units | None = None
        self._ranges: Ranges | None = None

    def begin(self, parts: Sequence[ShardPart]) -> bool:
        """Open the shards and find the chunks; False if that cannot be read here."""
        stored, numbers, absent = [], [], []
        for part in parts:
            table, units = self._table(part)
            there = (table != ABSENT).any(axis=1)
            if not there.all():
                absent.append(units[~there])
                table, units = table[there], units[there]
            stored.append(table.astype(np.int64))
            numbers.append(units)
        placed = np.concatenate(numbers) if numbers else np.zeros(0, np.int64)
        table = np.concatenate(stored) if stored else np.zeros((0, 2), np.int64)
        nowhere = np.concatenate(absent) if absent else np.zeros(0, np.int64)
        self._units = self._arrange(placed, table, nowhere)
        return self._units is not None

    def _table(self, part: ShardPart) -> tuple[np.ndarray, np.ndarray]:
        """Offsets and sizes of the chunks of a shard, and their numbers.

        Offsets count from a place of each shard's own, far from all others, so that chunks of two
        shards are never taken for neighbours.
        """
        whole = self._store.open(part.key)
        if whole is None:
            self._missing.append(part.key)
            return np.full((len(part.numbers), 2), ABSENT, np.uint64), part.numbers
        base = len(self._shards) << _SPACE
        self._shards.append(whole)
        self._keys.append(part.key)
        name = (self._store.identity, part.key)
        try:
            index = self._layout.index.read(whole, name, thread_scratch())
        except FormatError as error:
            raise self._plain.name(part.key, error) from error
        table = self._layout.entries_of(index, part.where)
        offsets, sizes = table.T
        there = (table != ABSENT).any(axis=1)
        inside = self._layout.sound(offsets, sizes, whole.size)
        if whole.size >> _SPACE or not (inside | ~there).all():
            self._unsound.append(part)
            return np.zeros((0, 2), np.uint64), part.numbers[:0]
        moved = table.copy()
        moved[there, 0] += np.uint64(base)
        return moved, part.numbers

    def _arrange(self, numbers: np.ndarray, table: np.ndarray, absent: np.ndarray) -> Units | None:
        """Chunks in the order in which they are read, those that are not stored behind them.

        Within a range they are in the order of their places: neighbours are put there together.
        """
        starts, sizes = table.T
        order = np.argsort(starts, kind="stable")
        starts, sizes, numbers = starts[order], sizes[order], numbers[order]
        store = self._store
        groups = list(group_ranges(starts, starts + sizes, store.gap, store.merge_limit))
        lengths = [members.stop - members.start for members, _, _ in groups]
        group = np.repeat(np.arange(len(groups)), lengths)
        order = np.lexsort((numbers, group))
        starts, sizes, numbers = starts[order], sizes[order], numbers[order]
        los = np.repeat(np.array([lo for _, lo, _ in groups], np.int64), lengths)
        his = np.repeat(np.array([hi for _, _, hi in groups], np.int64), lengths)
        descriptors = np.array([whole.descriptor for whole in self._shards], np.int64)
        files = descriptors[starts >> _SPACE] if len(starts) else starts
        within = (1 << _SPACE) - 1
        more = np.zeros(len(absent), np.int64)
        total = len(numbers) + len(absent)
        bounds = np.cumsum([0, *lengths])
        ranges = Ranges(
            np.concatenate((files, more - 1)),
            np.concatenate((starts & within, more)),
            np.concatenate((sizes, more - 1)),
            np.concatenate((los & within, more)),
            np.concatenate((los & within, more)) + np.concatenate((his - los, more)),
            np.append(bounds, total) if len(absent) else bounds,
        )
        self._ranges = ranges
        return units_in_ranges(np.concatenate((numbers, absent)), ranges)

    def work(self) -> None:
        """Read and decode ranges."""
        assert self._units is not None
        self._cells.decode(self._units, thread_scratch())

    def end(self) -> None:
        """Count, and read again what was left alone."""
        units, ranges = self._units, self._ranges
        assert units is not None
        assert ranges is not None
        first = ranges.bounds[:-1]
        first = first[first < len(units.numbers)]
        count("bytes_read", int((ranges.his - ranges.los)[first].sum()))
        odd = units.odd()
        done = int((ranges.sizes >= 0).sum()) - len(odd)
        count("units_read", done)
        count("bytes_decoded", done * self._cells.recipe.nbytes)
        for at in odd:
            self._read_alone(at)
        for key in self._missing:
            self._plain.miss(key)
        for part in self._unsound:
            self._plain.read(part.key, part.where, part.spot)

    def _read_alone(self, at: int) -> None:
        units, ranges = self._units, self._ranges
        assert units is not None
        assert ranges is not None
        descriptors = [whole.descriptor for whole in self._shards]
        shard = descriptors.index(int(ranges.files[at]))
        where, spot = cell_of(self._boxes, int(units.numbers[at]))
        try:
            data = self._shards[shard].read(int(ranges.offsets[at]), int(ranges.sizes[at]))
            place = window(self._turned, spot)
            self._layout.inner.read_buffer(data, where, place, thread_scratch())
        except FormatError as error:
            raise self._plain.name(self._keys[shard], error) from error

    def close(self) -> None:
        """Close the shards."""
        for whole in self._shards:
            whole.close()
        self._shards = []
