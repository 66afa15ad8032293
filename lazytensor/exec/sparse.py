"""Reading the image of a transform that skips cells of a stored source.

A strided view with steps larger than a chunk, or a gather, touches few of the chunks between its
first and last element; reading the hull would read them all. Here the elements wanted are grouped
by the chunk they lie in, every chunk touched is read once (only the hull of what is wanted of it)
and its elements are put in their places.

Input dimensions that feed the same source dimension, or source dimensions fed by the same input
dimension, belong together (a joint gather, a diagonal); dimensions that do not are independent, and
the groups of the whole are the product of the groups of the parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from lazytensor.plan.index import IndexTransform, OutputIndexMethod
from lazytensor.plan.source import Box, Source

__all__ = ["read_sparse", "sparse_boxes", "touched_cells"]


class _Part(NamedTuple):
    """Input dims that belong together and, per source dim they feed, all coordinates wanted."""

    dims: tuple[int, ...]
    coords: dict[int, np.ndarray]


class _Group(NamedTuple):
    """Elements of a part that lie in one cell: their flat numbers and their coordinates."""

    where: np.ndarray
    coords: dict[int, np.ndarray]
    cell: dict[int, int]


def read_sparse(source: Source, transform: IndexTransform, out: np.ndarray) -> None:
    """Fill ``out`` (the shape of the transform's domain) with the source's values at its image."""
    parts, fixed = _parts(transform)
    shape = transform.domain.shape
    lengths = tuple(math.prod(shape[d] for d in part.dims) for part in parts)
    values = np.empty(lengths, source.spec.dtype)
    for groups in product(*(list(_grouped(part, source)) for part in parts)):
        _read_group(source, fixed, groups, values)
    driven = [d for part in parts for d in part.dims]
    broadcast = [d for d in range(len(shape)) if d not in driven]
    target = out.transpose([*broadcast, *driven])
    target[...] = values.reshape([shape[d] for d in driven])


def sparse_boxes(source: Source, transform: IndexTransform) -> Iterator[Box]:
    """The boxes that ``read_sparse`` reads, in order."""
    parts, fixed = _parts(transform)
    for groups in product(*(list(_grouped(part, source)) for part in parts)):
        yield _group_box(source.spec.ndim, fixed, groups)


def touched_cells(source: Source, transform: IndexTransform) -> Iterator[dict[int, np.ndarray]]:
    """Cells of the source's grid that the image touches, as products: source dim -> cells."""
    parts, fixed = _parts(transform)
    grid, lo = source.spec.grid, source.spec.domain.inclusive_min
    base: dict[int, np.ndarray] = {}
    for d, c in fixed.items():
        cells = grid[d]
        at = 0 if cells is None else int(cells.cells_of(np.array([c - lo[d]]))[0])
        base[d] = np.array([at])
    choices = []
    for part in parts:
        if len(part.coords) == 1:
            ((d, coords),) = part.coords.items()
            choices.append([{d: np.unique(_cells(source, d, coords))}])
        else:
            groups = _grouped(part, source)
            choices.append([{d: np.array([c]) for d, c in g.cell.items()} for g in groups])
    for combination in product(*choices):
        merged = dict(base)
        for cells_by_dim in combination:
            merged.update(cells_by_dim)
        yield merged


def _parts(transform: IndexTransform) -> tuple[list[_Part], dict[int, int]]:
    """Independent parts of a transform, and the source dims held at one coordinate."""
    fed: dict[int, frozenset[int]] = {}
    fixed: dict[int, int] = {}
    for d, m in enumerate(transform.output):
        if m.method == OutputIndexMethod.constant:
            fixed[d] = m.offset
        elif m.method == OutputIndexMethod.single_input_dimension:
            fed[d] = frozenset([m.input_dimension])
        else:
            varying = [i for i, n in enumerate(m.index_array.shape) if n > 1]
            if varying:
                fed[d] = frozenset(varying)
            else:
                fixed[d] = m.offset + m.stride * int(m.index_array.reshape(-1)[0])
    components: list[tuple[set[int], list[int]]] = []
    for d, inputs in fed.items():
        joined: tuple[set[int], list[int]] = (set(inputs), [d])
        rest = []
        for component in components:
            if component[0] & inputs:
                joined = (joined[0] | component[0], component[1] + joined[1])
            else:
                rest.append(component)
        components = [*rest, joined]
    return [_part(transform, tuple(sorted(i)), ds) for i, ds in components], fixed


def _part(transform: IndexTransform, dims: tuple[int, ...], source_dims: list[int]) -> _Part:
    shape = tuple(transform.domain.shape[i] for i in dims)
    coords = {}
    for d in source_dims:
        m = transform.output[d]
        if m.method == OutputIndexMethod.single_input_dimension:
            i = m.input_dimension
            along = transform.domain.inclusive_min[i] + np.arange(transform.domain.shape[i])
            along = along.reshape([-1 if j == i else 1 for j in dims])
        else:
            squeezed = tuple(j for j in range(m.index_array.ndim) if j not in dims)
            along = m.index_array.squeeze(squeezed)
        values = m.offset + m.stride * along
        coords[d] = np.broadcast_to(values, shape).reshape(-1)
    return _Part(dims, coords)


def _cells(source: Source, d: int, coords: np.ndarray) -> np.ndarray:
    cells = source.spec.grid[d]
    if cells is None:
        return np.zeros(coords.shape, np.int64)
    return cells.cells_of(coords - source.spec.domain.inclusive_min[d])


def _grouped(part: _Part, source: Source) -> Iterator[_Group]:
    """The elements of a part by the cell they lie in, each group in ascending element order."""
    dims = list(part.coords)
    codes = np.stack([_cells(source, d, part.coords[d]) for d in dims])
    order = np.lexsort(codes[::-1])
    ordered = codes[:, order]
    starts = np.flatnonzero(np.any(ordered[:, 1:] != ordered[:, :-1], axis=0)) + 1
    for where in np.split(order, starts):
        where = np.sort(where)
        yield _Group(
            where,
            {d: part.coords[d][where] for d in dims},
            {d: int(codes[k, where[0]]) for k, d in enumerate(dims)},
        )


def _read_group(
    source: Source, fixed: dict[int, int], groups: tuple[_Group, ...], values: np.ndarray
) -> None:
    rank = source.spec.ndim
    box = _group_box(rank, fixed, groups)
    index: list[np.ndarray] = [np.zeros((), np.intp)] * rank
    for axis, group in enumerate(groups):
        along = [-1 if k == axis else 1 for k in range(len(groups))]
        for d, coords in group.coords.items():
            index[d] = (coords - box[d][0]).reshape(along)
    block = np.empty([b - a for a, b in box], source.spec.dtype)
    source.read_into(box, block)
    values[np.ix_(*(group.where for group in groups))] = block[tuple(index)]


def _group_box(rank: int, fixed: dict[int, int], groups: tuple[_Group, ...]) -> Box:
    """The hull of what is wanted of one cell."""
    box = [(0, 0)] * rank
    for d, c in fixed.items():
        box[d] = c, c + 1
    for group in groups:
        for d, coords in group.coords.items():
            box[d] = int(coords.min()), int(coords.max()) + 1
    return tuple(box)
