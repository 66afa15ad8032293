"""Reading a box of a local array in compiled code: files opened, read, decoded and put in place
without the GIL, by any number of threads.

Made once for a box (``begin``), worked on by each thread (``work``), and ended by one of them
(``end``), which also reads the plain way what the compiled code left alone: that succeeds, or
raises the error that names file and reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import accumulate, product
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
from lazytensor.io.handed import Place, part_of, put
from lazytensor.io.scratch import thread_scratch
from lazytensor.io.store import Store, StoredObject
from lazytensor.io.zarr.layout import Layout, Piece, PlainLayout, Where, cell_of
from lazytensor.io.zarr.shard import ShardLayout, group_ranges
from lazytensor.io.zarr.shard_index import ABSENT
from lazytensor.native import file_functions
from lazytensor.plan.counters import count

__all__ = [
    "MOST_SHARDS", "FilesReading", "Plain", "ShardPart", "ShardsReading", "paired_parts",
    "reads_compiled", "shard_parts", "single_cells", "together",
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


def together(layout: Layout, shards: Sequence[Sequence[Piece]]) -> PlainLayout | None:
    """The layout of the inner chunks of shards that are worth reading together, or None."""
    if not isinstance(layout, ShardLayout) or not isinstance(layout.inner, PlainLayout):
        return None
    if layout.outer.codecs or prod(map(len, shards)) > MOST_SHARDS:
        return None
    # One or two inner chunks are read before this is set up.
    return layout.inner if _inner_count(layout, shards) > 2 else None


def _inner_count(layout: ShardLayout, shards: Sequence[Sequence[Piece]]) -> int:
    """How many inner chunks lie in a box, those that steps leave out included."""
    found = 1
    for axis, size in zip(layout.axes, layout.inner.shape, strict=True):
        found *= sum([(w.stop - 1) // size - w.start // size + 1 for _, w, _ in shards[axis]])
    return found


def reads_compiled(store: Store, layout: Layout, cells: Sequence[Sequence[Piece]]) -> bool:
    """Whether a box is read here, found out without reading anything."""
    if store.folder is None or file_functions() is None:
        return False
    if isinstance(layout, PlainLayout):
        return layout.is_compiled(cells)
    inner = together(layout, cells)
    if inner is None:
        return False
    assert isinstance(layout, ShardLayout)
    return inner.is_compiled(layout.inner_cells(cells))


class FilesReading:
    """Chunks that are a file each. ``numbers``: which of the box; all of them by default."""

    def __init__(
        self,
        cells: Cells,
        boxes: Sequence[Sequence[Piece]],
        folder: str,
        keys: list[str],
        plain: Plain,
        numbers: np.ndarray | None = None,
    ) -> None:
        self._cells = cells
        self._boxes = boxes
        self._keys = keys
        self._plain = plain
        row = _row(cells, boxes) if numbers is None else 1
        self._units = units_in_files([folder + key for key in keys], cells.recipe, row, numbers)

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
                where, spot = cell_of(self._boxes, int(units.numbers[at]))
                self._plain.read(self._keys[at], where, spot)

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
    """A shard of a box: its key, its part and place; which of its chunks along each of its axes,
    and the numbers of those in C order.

    ``paired``: single chunks, with one number of ``cells`` along each axis; no box has them all.
    """

    key: str
    where: Where
    spot: Where
    cells: tuple[slice | np.ndarray, ...]
    numbers: np.ndarray
    paired: bool = False


def single_cells(layout: Layout) -> PlainLayout | None:
    """The layout of chunks that can be read one by one in compiled code, in shards or not."""
    if isinstance(layout, PlainLayout):
        return layout
    if not isinstance(layout, ShardLayout) or layout.outer.codecs:
        return None
    in_order = layout.axes == tuple(range(len(layout.axes)))
    return layout.inner if in_order and isinstance(layout.inner, PlainLayout) else None


def paired_parts(
    layout: ShardLayout,
    index: np.ndarray,
    numbers: np.ndarray,
    key_of: Callable[[Sequence[int]], str],
) -> list[ShardPart] | None:
    """The shards of single chunks (``index``: (chunks, dims)); None if these are too many."""
    shards, inside = np.divmod(index, np.array(layout.index.counts))
    which, part = np.unique(shards, axis=0, return_inverse=True)
    if len(which) > MOST_SHARDS:
        return None
    part = part.reshape(-1)
    order = np.argsort(part, kind="stable")
    ends = np.cumsum(np.bincount(part, minlength=len(which)))[:-1]
    return [
        ShardPart(key_of(shard), (), (), tuple(inside[some].T), numbers[some], True)
        for shard, some in zip(which.tolist(), np.split(order, ends), strict=True)
    ]


def shard_parts(
    layout: ShardLayout,
    shards: Sequence[Sequence[Piece]],
    boxes: Sequence[Sequence[Piece]],
    keys: Iterable[str],
) -> list[ShardPart]:
    """The shards of a box (``shards`` along the array's axes, ``boxes`` along the stored ones)."""
    along: dict[int, list[_Run]] = {}
    stride = 1
    for axis, counts, dim in zip(
        reversed(layout.axes), reversed(layout.index.counts), reversed(boxes), strict=True
    ):
        along[axis] = _runs(dim, counts, stride)
        stride *= len(dim)
    found = []
    for key, number in zip(keys, product(*[range(len(dim)) for dim in shards]), strict=True):
        runs = [along[axis][number[axis]] for axis in layout.axes]
        if len(runs) == 0 or prod(map(len, shards)) == 1:
            numbers = np.arange(stride)
        else:
            numbers = _sums([run.numbers for run in runs])
        where = tuple([dim[i][1] for dim, i in zip(shards, number, strict=True)])
        spot = tuple([dim[i][2] for dim, i in zip(shards, number, strict=True)])
        found.append(ShardPart(key, where, spot, tuple([run.cells for run in runs]), numbers))
    return found


def _sums(parts: Sequence[range]) -> np.ndarray:
    """All sums of one number of each, in C order."""
    found = np.arange(parts[0].start, parts[0].stop, parts[0].step)
    for part in parts[1:]:
        found = (found[:, None] + np.arange(part.start, part.stop, part.step)).reshape(-1)
    return found


class _Run(NamedTuple):
    """Consecutive chunks along one dim that lie in the same shard: which of that, and what they add
    to the number of a chunk of the box."""

    cells: slice | np.ndarray
    numbers: range


def _runs(dim: Sequence[Piece], count: int, stride: int) -> list[_Run]:
    found, start = [], 0
    for i in range(1, len(dim) + 1):
        if i < len(dim) and dim[i][0] // count == dim[start][0] // count:
            continue
        cells = [piece[0] % count for piece in dim[start:i]]
        consecutive = cells[-1] - cells[0] == len(cells) - 1
        found.append(
            _Run(
                slice(cells[0], cells[-1] + 1) if consecutive else np.array(cells),
                range(start * stride, i * stride, stride),
            )
        )
        start = i
    return found


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of int64 or of tables behind each other; one of them is that already."""
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays) if arrays else np.zeros(0, np.int64)


class ShardsReading:
    """Chunks that are parts of shards, all shards of a box together.

    ``boxes``: inner chunks along each axis of the stored shards; ``turned``: where they go, with
    its axes in that order.
    """

    def __init__(
        self,
        cells: Cells,
        boxes: Sequence[Sequence[Piece]],
        turned: Place,
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
        self._paired = False
        self._shards: list[StoredObject] = []
        self._missing: list[str] = []
        self._unsound: list[ShardPart] = []
        self._units: Units | None = None
        self._ranges: Ranges | None = None
        # Chunks that are stored, and bytes that are read for them.
        self._done = self._fetched = 0

    def begin(self, parts: Sequence[ShardPart]) -> bool:
        """Open the shards and find the chunks; False if that cannot be read here."""
        self._paired = any(part.paired for part in parts)
        found: list[ShardPart] = []
        tables: list[np.ndarray] = []
        absent: list[np.ndarray] = []
        for part in parts:
            table = self._table(part)
            if table is None:
                absent.append(part.numbers)
            else:
                found.append(part)
                tables.append(table)
        numbers = _joined([part.numbers for part in found])
        table = _joined(tables) if tables else np.zeros((0, 2), np.uint64)
        starts, sizes = table.T
        stored = (starts != ABSENT) | (sizes != ABSENT)
        # Offsets count from a place of each shard's own, far from all others, so that chunks of two
        # shards are never taken for neighbours.
        shard = np.arange(len(found)).repeat([len(part.numbers) for part in found])
        ends = np.array([whole.size for whole in self._shards], np.uint64)
        good = self._layout.sound(starts, sizes, ends[shard] if len(ends) > 1 else ends)
        if ends.max(initial=0) >> _SPACE:
            good &= ends[shard] >> _SPACE == 0
        good |= ~stored
        if not good.all():
            odd = np.unique(shard[~good])
            if any(found[i].paired for i in odd):
                return False
            self._unsound = [found[i] for i in odd]
            good = ~np.isin(shard, odd)
            numbers, starts, sizes = numbers[good], starts[good], sizes[good]
            stored, shard = stored[good], shard[good]
        if not stored.all():
            absent.append(numbers[~stored])
            numbers, starts, sizes = numbers[stored], starts[stored], sizes[stored]
            shard = shard[stored]
        places = starts.astype(np.int64) + (shard << _SPACE)
        self._units = self._arrange(numbers, places, sizes.astype(np.int64), _joined(absent))
        return self._units is not None

    def _table(self, part: ShardPart) -> np.ndarray | None:
        """Offsets and sizes of the chunks of a shard; None if there is no such shard."""
        whole = self._store.open(part.key)
        if whole is None:
            self._missing.append(part.key)
            return None
        self._shards.append(whole)
        self._keys.append(part.key)
        name = (self._store.identity, part.key)
        try:
            index = self._layout.index.read(whole, name, thread_scratch())
        except FormatError as error:
            raise self._plain.name(part.key, error) from error
        if part.paired or all(isinstance(cells, slice) for cells in part.cells):
            return index[part.cells].reshape(-1, 2)
        dims = [np.arange(n)[cells] for n, cells in zip(index.shape, part.cells, strict=False)]
        chosen: np.ndarray = index[np.ix_(*dims)].reshape(-1, 2)
        return chosen

    def _arrange(
        self, numbers: np.ndarray, starts: np.ndarray, sizes: np.ndarray, absent: np.ndarray
    ) -> Units | None:
        """Chunks in the order in which they are read, those that are not stored behind them.

        Within a range they are in the order of their places: neighbours are put there together.
        """
        ends, store = starts + sizes, self._store
        gaps = starts[1:] - ends[:-1]
        in_order = gaps.min(initial=0) >= 0
        if not in_order:
            order = starts.argsort(kind="stable")
            starts, sizes, ends, numbers = starts[order], sizes[order], ends[order], numbers[order]
        recipe = self._cells.recipe
        limit = 0 if recipe.stands_alone else store.merge_limit
        # Single chunks are read one by one, as reading them one after the other would.
        groups = list(group_ranges(starts, ends, -1 if self._paired else store.gap, limit))
        lengths = [members.stop - members.start for members, _, _ in groups]
        spans = np.array([(lo, hi) for _, lo, hi in groups], np.int64).reshape(-1, 2).T
        spans = spans.repeat(lengths, axis=1)
        if not in_order:  # else they are in the order of their places in each shard
            order = np.lexsort((numbers, np.arange(len(groups)).repeat(lengths)))
            starts, sizes, numbers = starts[order], sizes[order], numbers[order]
        descriptors = np.array([whole.descriptor for whole in self._shards], np.int64)
        shard = starts >> _SPACE
        base = shard << _SPACE
        spans -= base
        bounds = np.array([0, *accumulate(lengths)])
        self._done = len(numbers)
        if not recipe.stands_alone:
            self._fetched = sum([hi - lo for _, lo, hi in groups])
        los, his = spans
        ranges = Ranges(descriptors[shard], starts - base, sizes, los, his, bounds)
        if len(absent):
            more = np.zeros(len(absent), np.int64)
            end = np.array([len(numbers) + len(absent)])
            tails = Ranges(more - 1, more, more - 1, more, more, end)
            ranges = Ranges(*[np.concatenate(both) for both in zip(ranges, tails, strict=True)])
            numbers = np.concatenate((numbers, absent))
        self._ranges = ranges
        return units_in_ranges(numbers, ranges, alone=recipe.stands_alone * recipe.nbytes)

    def work(self) -> None:
        """Read and decode ranges."""
        assert self._units is not None
        self._cells.decode(self._units, thread_scratch())

    def end(self) -> None:
        """Count, and read again what was left alone."""
        units = self._units
        assert units is not None
        odd = units.odd()
        done = self._done - len(odd)
        count("bytes_read", self._fetched or int(units.read.sum()))
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
            decode = partial(self._layout.inner.read_buffer, data, where, scratch=thread_scratch())
            put(part_of(self._turned, spot), decode)
        except FormatError as error:
            raise self._plain.name(self._keys[shard], error) from error

    def close(self) -> None:
        """Close the shards."""
        for whole in self._shards:
            whole.close()
        self._shards = []
