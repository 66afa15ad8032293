"""Reading the image of a transform that skips cells of a stored source.

A strided view with steps larger than a chunk, or a gather, touches few of the chunks between its
first and last element; reading the hull would read them all. Here the elements wanted are grouped
by the chunk they lie in, every chunk touched is read once (only the hull of what is wanted of it)
and its elements are put in their places.

Input dimensions that feed the same source dimension, or source dimensions fed by the same input
dimension, belong together (a joint gather, a diagonal); dimensions that do not are independent, and
the groups of the whole are the product of the groups of the parts.

Where a source hands over single cells (``plan.source.CellsSource``), compiled code picks what is
wanted out of each while it is in the cache, in several threads. The loop over groups in NumPy is
for all other sources, and gives the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import pairwise, product
from typing import Any, NamedTuple, cast

import numpy as np

from lazytensor.exec.kernels.choice import compiled, is_compiled
from lazytensor.exec.kernels.gather_cells import (
    Entries,
    GatherConsumer,
    entries_of,
    group_points,
)
from lazytensor.exec.kernels.gather_parts import Part, Space, innermost_last, parts_of, places_of
from lazytensor.native.kernels.gather_block import PLACE_BITS
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.source import Box, CellsSource, Reading, Source

__all__ = [
    "begin_gather", "gathers_together", "is_one_reading", "read_sparse", "sparse_boxes",
    "touched_cells",
]  # fmt: skip

_MOST_CELLS = 1 << 20
"""Cells of one reading: a table of all of them is made before it begins."""

_SAVED_PER_POINT, _SAVED_PER_CELL = 1e-7, 5e-5
"""About what compiled code saves, in seconds."""


class _Group(NamedTuple):
    """Elements of a part that lie in one cell: their flat numbers and their coordinates."""

    where: np.ndarray
    coords: dict[int, np.ndarray]
    cell: dict[int, int]


def read_sparse(source: Source, transform: IndexTransform, out: np.ndarray) -> None:
    """Fill ``out`` (the shape of the transform's domain) with the source's values at its image."""
    parts, fixed = parts_of(_space(source), transform)
    driven = {d for part in parts for d in part.dims}
    whole = out
    out = out[tuple([slice(None) if d in driven else slice(0, 1) for d in range(out.ndim)])]
    reading = _begin(source, parts, fixed, out)
    if reading is None:
        _read_groups(source, parts, fixed, out)
    else:
        with closing(reading):
            reading.work()
            reading.end()
    if out.shape != whole.shape:
        whole[...] = out


def begin_gather(source: Source, transform: IndexTransform, out: np.ndarray) -> Reading | None:
    """A ``read_sparse`` in compiled code, which several threads may work on; None without that."""
    parts, fixed = parts_of(_space(source), transform)
    driven = {d for part in parts for d in part.dims}
    if any(n != 1 for d, n in enumerate(out.shape) if d not in driven):
        return None
    return _begin(source, parts, fixed, out)


def gathers_together(source: Source, transform: IndexTransform) -> bool:
    """Whether ``begin_gather`` would begin one now."""
    return transform.has_arrays and is_one_reading(source, transform, 1)


def is_one_reading(source: Source, transform: IndexTransform, boxes: int) -> bool:
    """Whether ``read_sparse`` of so many boxes would be one compiled reading, done now."""
    if not hasattr(source, "read_cells") or boxes > _MOST_CELLS:
        return False
    cells = cast("CellsSource", source)
    points = math.prod(transform.domain.shape)
    there = is_compiled("gather", None) and is_compiled("gather_sort", None)
    return there and cells.cell_strides(_cells_at_most(source, points)) is not None


def _begin(
    source: Source, parts: list[Part], fixed: dict[int, int], out: np.ndarray
) -> Reading | None:
    """The compiled reading; nothing is read yet."""
    if not parts or not hasattr(source, "read_cells"):
        return None
    saves = out.size * _SAVED_PER_POINT + _SAVED_PER_CELL
    run = compiled("gather", None, saves)
    sort = compiled("gather_sort", None, saves)
    compiled("chunks", None, 0.0)  # who reads never waits for what decodes
    if run is None or sort is None:
        return None
    giver = cast("CellsSource", source)
    strides = giver.cell_strides(_cells_at_most(source, out.size))
    if strides is None:
        return None
    entries = [_at_one(source, d, coordinate) for d, coordinate in fixed.items()]
    for part in innermost_last(parts, out):
        numbers = tuple(part.along)
        steps = [strides[d] for d in numbers]
        dims = list(part.along.values())
        entries.append(entries_of(numbers, dims, steps, places_of(part, out), sort))
    if giver.whole_cells:
        spec = source.spec
        sizes = [
            n if cells is None else cells.chunk
            for n, cells in zip(spec.shape, spec.grid, strict=True)
        ]
        entries = [some.of_whole_cells(sizes, strides) for some in entries]
    entries[-1] = entries[-1].in_runs(out.itemsize)
    counts = {d: len(some.cells) for some in entries for d in some.dims}
    extents = [counts[d] for d in range(len(strides))]
    cells = math.prod([len(some.cells) for some in entries])
    if cells > _MOST_CELLS or math.prod(extents) >= 1 << 62:
        return None
    weights = [math.prod(extents[d + 1 :]) for d in range(len(extents))]
    chosen = np.zeros(1, np.int64)
    for some in sorted(entries, key=lambda some: some.dims):
        step = sum([weights[d] for d in some.dims])
        chosen = (chosen[:, None] + step * np.arange(len(some.cells))).reshape(-1)
    consumer = GatherConsumer(run, entries, out, strides)
    return giver.read_cells(_tables(entries), chosen, consumer)


def _space(source: Source) -> Space:
    spec = source.spec
    return Space(spec.shape, spec.domain.inclusive_min, spec.grid)


def _cells_at_most(source: Source, points: int) -> int:
    """How many cells are wanted, at most."""
    counts = [1 if cells is None else cells.count for cells in source.spec.grid]
    return min(points, math.prod(counts))


def _at_one(source: Source, d: int, coordinate: int) -> Entries:
    """The only entry of a dim that is held at one coordinate."""
    at, cells = coordinate - source.spec.domain.inclusive_min[d], source.spec.grid[d]
    number = 0 if cells is None else int(cells.cells_of(np.array([at]))[0])
    none = np.zeros(1, np.int64)
    return Entries(
        (d,), np.array([0, 1]), none, none, None, np.array([[number]]), np.array([[[at, at]]])
    )


def _tables(entries: list[Entries]) -> list[np.ndarray]:
    """What is wanted along each dim of the source, as ``CellsSource`` takes it."""
    found: dict[int, np.ndarray] = {}
    for some in entries:
        for i, d in enumerate(some.dims):
            ends = some.hulls[:, i] + (0, 1)
            place = np.arange(len(ends)) << PLACE_BITS
            found[d] = np.column_stack((some.cells[:, i], ends, place))
    return [found[d] for d in sorted(found)]


def _read_groups(source: Source, parts: list[Part], fixed: dict[int, int], out: np.ndarray) -> None:
    """The same, cell by cell in NumPy."""
    from lazytensor.exec.ahead import each_at_hand  # of use for few plans, and much to import

    shape = out.shape
    driven = [d for part in parts for d in part.dims]
    broadcast = [d for d in range(len(shape)) if d not in driven]
    first: tuple[Any, ...] = (*[0] * len(broadcast), ...)
    target = out.transpose([*broadcast, *driven])[first]
    lengths = tuple(math.prod(shape[d] for d in part.dims) for part in parts)
    # What several dims look up together has one number here, and is put into their order later.
    listed = len(driven) > len(parts)
    values = np.empty(lengths, source.spec.dtype) if listed else target
    grouped = [list(_grouped(part, source)) for part in parts]
    boxes = partial(_group_box, source.spec.ndim, fixed)
    with closing(each_at_hand(source, lambda: product(*grouped), boxes)) as groups_at_hand:
        for groups in groups_at_hand:
            _read_group(source, fixed, groups, values)
    if listed:
        target[...] = values.reshape([shape[d] for d in driven])


def sparse_boxes(source: Source, transform: IndexTransform) -> Iterator[Box]:
    """The boxes that ``read_sparse`` reads, in order."""
    parts, fixed = parts_of(_space(source), transform)
    for groups in product(*(list(_grouped(part, source)) for part in parts)):
        yield _group_box(source.spec.ndim, fixed, groups)


def touched_cells(source: Source, transform: IndexTransform) -> Iterator[dict[int, np.ndarray]]:
    """Cells of the source's grid that the image touches, as products: source dim -> cells."""
    parts, fixed = parts_of(_space(source), transform)
    grid, lo = source.spec.grid, source.spec.domain.inclusive_min
    base: dict[int, np.ndarray] = {}
    for d, c in fixed.items():
        cells = grid[d]
        at = 0 if cells is None else int(cells.cells_of(np.array([c - lo[d]]))[0])
        base[d] = np.array([at])
    choices = []
    for part in parts:
        if len(part.along) == 1:
            ((d, along),) = part.along.items()
            choices.append([{d: np.unique(along.cell_numbers())}])
        else:
            groups = _grouped(part, source)
            choices.append([{d: np.array([c]) for d, c in g.cell.items()} for g in groups])
    for combination in product(*choices):
        merged = dict(base)
        for cells_by_dim in combination:
            merged.update(cells_by_dim)
        yield merged


def _grouped(part: Part, source: Source) -> Iterator[_Group]:
    """The elements of a part by the cell they lie in, each group in ascending element order."""
    order, first, cells = group_points(list(part.along.values()))
    lows = source.spec.domain.inclusive_min
    coords = {d: along.positions()[order] + lows[d] for d, along in part.along.items()}
    ends = first.tolist()
    for number, (start, end) in enumerate(pairwise(ends)):
        yield _Group(
            order[start:end],
            {d: some[start:end] for d, some in coords.items()},
            dict(zip(part.along, cells[number].tolist(), strict=True)),
        )


def _read_group(
    source: Source, fixed: dict[int, int], groups: tuple[_Group, ...], values: np.ndarray
) -> None:
    rank = source.spec.ndim
    box = _group_box(rank, fixed, groups)
    block = np.empty([b - a for a, b in box], source.spec.dtype)
    source.read_into(box, block)
    if all(len(group.coords) == 1 for group in groups):
        _take_each(block, box, groups, values)
        return
    index: list[np.ndarray] = [np.zeros((), np.intp)] * rank
    for axis, group in enumerate(groups):
        along = [-1 if k == axis else 1 for k in range(len(groups))]
        for d, coords in group.coords.items():
            index[d] = (coords - box[d][0]).reshape(along)
    values[np.ix_(*(group.where for group in groups))] = block[tuple(index)]


def _take_each(block: np.ndarray, box: Box, groups: tuple[_Group, ...], values: np.ndarray) -> None:
    """Put dims that are each looked up on their own into place, stretches of them as slices."""
    dims = [d for group in groups for d in group.coords]
    rest = [d for d in range(block.ndim) if d not in dims]
    corner: tuple[Any, ...] = (..., *[0] * len(rest))
    found = block.transpose([*dims, *rest])[corner]
    spot: list[slice | np.ndarray] = []
    for axis, (d, group) in enumerate(zip(dims, groups, strict=True)):
        taken = _stretch(group.coords[d] - box[d][0])
        spot.append(_stretch(group.where))
        found = found[(*[slice(None)] * axis, taken)]
    arrays = [part for part in spot if not isinstance(part, slice)]
    if len(arrays) < 2:
        values[tuple(spot)] = found
    else:
        values[np.ix_(*(group.where for group in groups))] = found


def _stretch(numbers: np.ndarray) -> slice | np.ndarray:
    """A slice where numbers ascend one by one."""
    first, last = int(numbers[0]), int(numbers[-1])
    if last - first + 1 == len(numbers) and (numbers[1:] - numbers[:-1] == 1).all():
        return slice(first, last + 1)
    return numbers


def _group_box(rank: int, fixed: dict[int, int], groups: tuple[_Group, ...]) -> Box:
    """The hull of what is wanted of one cell."""
    box = [(0, 0)] * rank
    for d, c in fixed.items():
        box[d] = c, c + 1
    for group in groups:
        for d, coords in group.coords.items():
            box[d] = int(coords.min()), int(coords.max()) + 1
    return tuple(box)
