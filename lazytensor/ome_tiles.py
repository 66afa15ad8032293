"""Which tiles an image is cut into, in which order, and what makes them.

Tiles are numbered in the order of a grid, along T, Z, Y and X as far as they are cut, and an order
is a list of such numbers: so a shuffled one is what shuffling a list of the tiles themselves would
give. What is yielded is one tile, several stacked, or several of T joined. Neighbours in the order
are read together, some MiB at a time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.callsite import name_operands
from lazytensor.collecting import collecting_forbidden
from lazytensor.errors import DimensionError, LazyTensorError
from lazytensor.handoff import check_host_device, check_target, hand_over
from lazytensor.ome_selection import whole_number
from lazytensor.tensor import LazyTensor

if TYPE_CHECKING:
    from lazytensor.exec.pool import CancelToken
    from lazytensor.exec.read_ahead import Portion
    from lazytensor.exec.tile_reading import TileReader

__all__ = ["Grid", "tiles"]

_CUT = {2: "YX", 3: "ZYX"}
_PORTION = 4 << 20
"""Bytes that are read together."""
_MOST = 256
"""Items that are read together: the first one waits for all of them."""


def tiles(
    x: LazyTensor,
    letters: str,
    tile_size: Sequence[int] | None,
    *,
    batch_size: int | None,
    shuffle: bool,
    seed: Any,
    prefetch: int,
    to: str,
    device: Any,
) -> Iterator[Any]:
    """See ``ome.iter_tiles``; ``letters`` says what each dim of ``x`` is."""
    batch = None if batch_size is None else _positive(batch_size, "batch_size")
    ahead = whole_number(prefetch, "prefetch")
    if ahead < 0:
        raise ValueError(f"prefetch is {prefetch}: it takes 0 or more portions to read ahead")
    _check_target(x.dtype, to, device)
    if collecting_forbidden.get():
        raise RuntimeError("iter_tiles inside raise_if_collects(): a plan was to be built, not run")
    items = _items(x.shape, letters, tile_size, batch, bool(shuffle), seed)
    from lazytensor.exec.read_ahead import ReadAhead
    from lazytensor.exec.tile_reading import TileReader

    portions = _Portions(items, TileReader(x._node), x, to, device)
    return ReadAhead(
        portions.make, portions.count, items=len(items), prefetch=ahead, blame=partial(_blame, x)
    )


def _blame(x: LazyTensor, error: BaseException) -> None:
    if isinstance(error, LazyTensorError):
        name_operands(error, x)


def _check_target(dtype: np.dtype, to: str, device: Any) -> None:
    """Raise what handing over would raise, before anything is read."""
    check_target(to)
    if to in ("numpy", "dlpack"):
        check_host_device(device)
    else:
        hand_over(np.zeros(1, dtype), to, device)


def _positive(value: Any, what: str) -> int:
    number = whole_number(value, what)
    if number <= 0:
        raise ValueError(f"{what} is {number}: it must be at least 1")
    return number


class Grid:
    """The tiles of an image of a shape: ``cut`` says the size of tiles along some dims, the first
    of which the tiles are numbered slowest along.

    >>> grid = Grid((5, 4), {1: 3, 0: 2})
    >>> grid.count, grid.boxes(np.array([1, 5]))
    (6, (array([[2, 0], [4, 3]]), array([[2, 3], [1, 1]])))
    """

    def __init__(self, shape: Sequence[int], cut: Mapping[int, int]) -> None:
        self.shape = np.array(shape, np.int64)
        self._dims = list(cut)
        self._counts = [-(-shape[d] // size) for d, size in cut.items()]
        # Tiles at the edge are what is left.
        self.tile = np.array([min(n, cut.get(d, n)) for d, n in enumerate(shape)], np.int64)
        self._step = np.maximum(self.tile, 1)

    @property
    def count(self) -> int:
        """How many there are."""
        return prod(self._counts)

    def boxes(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First positions and extents of tiles: two arrays ``(tiles, dims)``."""
        starts = np.zeros((len(numbers), len(self.shape)), np.int64)
        if self._dims:
            starts[:, self._dims] = np.stack(np.unravel_index(numbers, self._counts), axis=1)
            starts *= self._step
        return starts, np.minimum(self.tile, self.shape - starts)


class _Items:
    """What is yielded: tiles of a grid in an order, from each of ``bounds`` to the next together.

    ``axis``: they are joined along it (``stacked``: it is a new one). None: each comes by itself.
    """

    def __init__(
        self,
        grid: Grid,
        order: Sequence[int],
        bounds: Sequence[int] | None = None,
        axis: int | None = None,
        *,
        stacked: bool = False,
    ) -> None:
        self.grid = grid
        self._order = order
        self._bounds = bounds
        self._axis = axis
        self._stacked = stacked

    def __len__(self) -> int:
        return len(self._order) if self._bounds is None else len(self._bounds) - 1

    def largest(self) -> int:
        """Elements of the largest, about."""
        tiles = 1
        if self._bounds is not None:
            tiles = max([b - a for a, b in pairwise(self._bounds)], default=1)
        return tiles * int(self.grid.tile.prod())

    def plan(self, first: int, end: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """The tiles of items ``[first, end)``: positions, extents, and how many of each item."""
        bounds = range(first, end + 1) if self._bounds is None else self._bounds[first : end + 1]
        starts, extents = self.grid.boxes(np.array(self._order[bounds[0] : bounds[-1]], np.int64))
        return starts, extents, [b - a for a, b in pairwise(bounds)]

    def shape(self, extents: np.ndarray) -> tuple[int, ...]:
        """Of an item, from those of its tiles."""
        shape = extents[0].tolist()
        if self._stacked:
            return (len(extents), *shape)
        if self._axis is not None:
            shape[self._axis] = int(extents[:, self._axis].sum())
        return tuple(shape)

    def places(self, item: np.ndarray, extents: np.ndarray) -> list[np.ndarray]:
        """Where in an item its tiles are."""
        if self._stacked:
            return list(item)
        if self._axis is None:
            return [item]
        ends = np.cumsum(extents[:, self._axis]).tolist()
        before = (slice(None),) * self._axis
        return [item[(*before, slice(a, b))] for a, b in pairwise([0, *ends])]


def _items(
    shape: tuple[int, ...],
    letters: str,
    tile_size: Sequence[int] | None,
    batch: int | None,
    shuffle: bool,
    seed: Any,
) -> _Items:
    if tile_size is None:
        return _batches(shape, letters, batch, shuffle, seed)
    try:
        given = list(tile_size)
    except TypeError:
        raise TypeError(f"tile_size is (h, w), (d, h, w) or None, not {tile_size!r}") from None
    if len(given) not in _CUT:
        raise DimensionError(f"tile_size is (h, w) or (d, h, w), not {len(given)} values: {given}")
    sizes = [_positive(n, "a tile_size") for n in given]
    cut = dict(zip(_CUT[len(sizes)], sizes, strict=True))
    cut = {"T": 1, **cut} if len(sizes) == len(_CUT[3]) else cut
    grid = Grid(shape, {letters.index(k): n for k, n in cut.items() if k in letters})
    order = _order(grid.count, shuffle, seed)
    if batch is None:
        return _Items(grid, order)
    return _Items(grid, order, _runs(grid, order, batch), stacked=True)


def _batches(
    shape: tuple[int, ...], letters: str, batch: int | None, shuffle: bool, seed: int | None
) -> _Items:
    """Batches over T; shuffled, each is made of slices of one T."""
    if "T" not in letters:
        return _Items(Grid(shape, {}), _order(1, shuffle, seed))
    axis = letters.index("T")
    every = shape[axis]
    size = max(1, every) if batch is None else batch
    if not shuffle:
        grid = Grid(shape, {axis: size})
        return _Items(grid, range(grid.count))
    bounds = [*range(0, every, size), every] if every else [0]
    return _Items(Grid(shape, {axis: 1}), _order(every, shuffle, seed), bounds, axis)


def _order(count: int, shuffle: bool, seed: Any) -> Sequence[int]:
    if not shuffle:
        return range(count)
    order = list(range(count))
    random.Random(int(seed) if isinstance(seed, np.integer) else seed).shuffle(order)
    return order


def _runs(grid: Grid, order: Sequence[int], most: int) -> list[int]:
    """Where runs of tiles of one shape begin, ``most`` at most in each, and the end."""
    _, extents = grid.boxes(np.array(order, np.int64))
    changes = np.flatnonzero((extents[1:] != extents[:-1]).any(axis=1)) + 1
    ends = [0, *changes.tolist(), len(order)] if len(order) else [0]
    return [*[k for a, b in pairwise(ends) for k in range(a, b, most)], len(order)]


class _Portions:
    """Makes items, those of a portion together."""

    def __init__(
        self, items: _Items, reader: TileReader, x: LazyTensor, to: str, device: Any
    ) -> None:
        self._items = items
        self._reader = reader
        self._origin = np.array(x.origin, np.int64)
        self._dtype = x.dtype
        self._to = to
        self._device = device
        nbytes = max(1, items.largest() * x.dtype.itemsize)
        self._each = max(1, min(_MOST, _PORTION // nbytes))
        self.count = -(-len(items) // self._each)

    def make(self, number: int, cancel: CancelToken) -> Portion:
        """The items of a portion.

        If one cannot be read, those before it are still given, and the error in its place.
        """
        from lazytensor.exec.read_ahead import Portion

        first = number * self._each
        end = min(len(self._items), first + self._each)
        try:
            return Portion(self._read(first, end, cancel))
        except Exception:
            if end - first == 1 or cancel.cancelled:
                raise
        found: list[Any] = []
        for at in range(first, end):
            try:
                found += self._read(at, at + 1, cancel)
            except Exception as error:  # noqa: BLE001
                # Kept, not swallowed: it is raised when the items before it have been given.
                return Portion(found, error)
        return Portion(found)

    def _read(self, first: int, end: int, cancel: CancelToken) -> list[Any]:
        from lazytensor.exec.outputs import output

        starts, extents, counts = self._items.plan(first, end)
        found: list[np.ndarray] = []
        places: list[np.ndarray] = []
        for count in counts:
            mine = extents[len(places) : len(places) + count]
            found.append(output(self._items.shape(mine), self._dtype))
            places += self._items.places(found[-1], mine)
        self._reader.read(starts + self._origin, extents, places, cancel)
        if self._to == "numpy":
            return found
        return [hand_over(item, self._to, self._device) for item in found]
