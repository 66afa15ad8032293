"""The order in which floats are added up, so that whoever does it finds the same bits.

Sums of floats depend on the order of the additions. Here is one that NumPy does fast, and that
compiled code, which is given one stored cell of a block after the other, does as well: positions
along the last dims are *lanes*; the dims before them that are reduced are *leads*, along which each
lane of each cell is summed by itself, row after row. What is left are *slots*, one for each lane of
each cell, a small part of the block; a state is made of them once, by the same code for everybody.

Rows of a lead are summed one after another in groups, and so are the groups' sums: about
``2 sqrt(n)`` additions in a row, of ``n``. Leads further in come first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np

from lazytensor.plan.ops_state import State, everywhere, pairwise_total

__all__ = ["Lanes", "group_of", "lanes_of", "spread_of_slots", "spreads", "sum_of_slots", "sums"]

_FEWEST_ROWS = 16
"""Rows that go into a slot at least, so that slots are few."""

_FEWEST_LANES = 64
"""Lanes from which on rows are long enough for NumPy."""

_MOST_DIMS = 16
_PIECE = 1 << 17
"""Elements that are looked at together where each of them takes further memory."""

_SHORTEST = 256
"""Lanes that are not cut any further for that."""

_FLOAT64 = np.dtype(np.float64)


class Lanes(NamedTuple):
    """How blocks of one shape are summed.

    ``shape``; ``first``: dims from there on are lanes; ``leads``: dims before that are summed;
    ``edges``: per dim, where cells along it begin and end, from 0 to the extent; of dims that are
    no leads empty.
    """

    shape: tuple[int, ...]
    first: int
    leads: tuple[int, ...]
    edges: tuple[tuple[int, ...], ...]

    @property
    def slots(self) -> tuple[int, ...]:
        """Shape of the slots: the block's with the number of cells along each lead."""
        return tuple([len(e) - 1 if e else n for n, e in zip(self.shape, self.edges, strict=True)])

    @property
    def rows(self) -> np.ndarray:
        """How many values go into each slot: int64, of a shape that broadcasts to ``slots``."""
        count = np.ones((1,) * len(self.shape), np.int64)
        for d in self.leads:
            along = [1] * len(self.shape)
            along[d] = -1
            count = count * np.diff(self.edges[d]).reshape(along)
        return count


def lanes_of(
    shape: tuple[int, ...], reduced: Sequence[bool], edges: Sequence[Sequence[int]]
) -> Lanes | None:
    """How a block is summed over the dims that are ``reduced``; None where that is no use.

    ``edges``: of cells, per dim, from 0 to the extent. No use are slots that too few values go to.

    >>> lanes = lanes_of((256, 64, 64), (True, False, True), [(0, 100, 256), (0, 64), (0, 32, 64)])
    >>> lanes.first, lanes.leads, lanes.slots
    (2, (0,), (2, 64, 64))
    >>> lanes_of((256, 64), (False, True), [(0, 256), (0, 64)]) is None
    True
    """
    rank = len(shape)
    if not 1 < rank <= _MOST_DIMS or 0 in shape:
        return None

    def rows(first: int) -> int:
        return math.prod([shape[d] // (len(edges[d]) - 1) for d in range(first) if reduced[d]])

    first, width = rank - 1, shape[-1]
    while width < _FEWEST_LANES and first > 1 and rows(first - 1) >= _FEWEST_ROWS:
        first -= 1
        width *= shape[first]
    if width < 2 or rows(first) < _FEWEST_ROWS:
        return None
    leads = tuple([d for d in range(first) if reduced[d]])
    return Lanes(
        shape, first, leads, tuple([tuple(e) if d in leads else () for d, e in enumerate(edges)])
    )


def group_of(n: int) -> int:
    """How many of ``n`` rows are summed one after another, before such sums are.

    >>> group_of(100), group_of(100_000)
    (128, 512)
    """
    group = 128
    while group * group < n:
        group *= 2
    return group


def sums(block: np.ndarray, lanes: Lanes) -> np.ndarray:
    """The sum of each slot, as doubles.

    >>> lanes = lanes_of((64, 2), (True, False), [(0, 32, 64), (0, 2)])
    >>> sums(np.ones((64, 2), np.float32), lanes)
    array([[32., 32.],
           [32., 32.]])
    """
    out = block
    for d in reversed(lanes.leads):
        parts = [_added(out[_along(d, a, b)], d) for a, b in pairwise(lanes.edges[d])]
        out = parts[0] if len(parts) == 1 else np.concatenate(parts, d)
    return out


def spreads(block: np.ndarray, lanes: Lanes, total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each slot, and sum of the squared deviations from it, less what is left of the
    mean's own rounding error.

    ``total``: the ``sums``.

    >>> lanes = lanes_of((32, 2), (True, False), [(0, 32), (0, 2)])
    >>> block = np.arange(64.0).reshape(32, 2)
    >>> [part.tolist() for part in spreads(block, lanes, sums(block, lanes))]
    [[[31.0, 32.0]], [[10912.0, 10912.0]]]
    """
    means = total / lanes.rows
    squares = np.empty(means.shape)
    cells = [list(enumerate(pairwise(lanes.edges[d]))) for d in lanes.leads]
    room = np.empty(min(block.size, _PIECE))
    for cell in product(*cells):
        slot: list[slice] = [slice(None)] * block.ndim
        place = list(slot)
        for d, (i, ends) in zip(lanes.leads, cell, strict=True):
            slot[d], place[d] = slice(i, i + 1), slice(*ends)
        n = math.prod([hi - lo for _, (lo, hi) in cell])
        rest, of_squares = _deviations(block[tuple(place)], means[tuple(slot)], lanes.leads, room)
        # As in compiled code: NaN stays.
        mended = of_squares - rest * rest / n
        squares[tuple(slot)] = np.where(mended < 0, 0.0, mended)
    return means, squares


def _along(axis: int, lo: int, hi: int) -> tuple[slice, ...]:
    return (*[slice(None)] * axis, slice(lo, hi))


def _added(values: np.ndarray, axis: int) -> np.ndarray:
    """Rows along an axis added to each other: by groups."""
    group = group_of(values.shape[axis])
    if values.shape[axis] <= group:
        return _in_turn(values, axis)
    return _in_turn(_by_groups(values, axis, group), axis)


def _added_all(values: np.ndarray, leads: Sequence[int]) -> np.ndarray:
    for d in reversed(leads):
        values = _added(values, d)
    return values


def _by_groups(values: np.ndarray, axis: int, group: int) -> np.ndarray:
    """Sums of groups of rows, of which the last may be shorter."""
    n = values.shape[axis]
    whole = n - n % group
    shape = (*values.shape[:axis], whole // group, group, *values.shape[axis + 1 :])
    # Splitting one axis in two never copies.
    parts = [_in_turn(values[_along(axis, 0, whole)].reshape(shape), axis + 1).squeeze(axis + 1)]
    if whole < n:
        parts.append(_in_turn(values[_along(axis, whole, n)], axis))
    return np.concatenate(parts, axis)


def _in_turn(values: np.ndarray, axis: int) -> np.ndarray:
    """One row after another.

    That is what NumPy does along any axis but the last there is, if values lie in C order; it takes
    those of other arrays as they lie.
    """
    values = values if _is_in_order(values) else np.array(values, order="C")
    total: np.ndarray
    if math.prod(values.shape[axis + 1 :]) > 1:
        total = np.add.reduce(values, axis=axis, dtype=_FLOAT64, keepdims=True)
        return total
    total = np.add.accumulate(values, axis=axis, dtype=_FLOAT64)
    return total[(*[slice(None)] * axis, slice(-1, None))] + 0.0  # as if begun with 0.0


def _is_in_order(values: np.ndarray) -> bool:
    """Whether the last position changes fastest in memory, upwards."""
    inner = 1
    for n, step in zip(reversed(values.shape), reversed(values.strides), strict=True):
        if n > 1:
            if step < inner:
                return False
            inner = step * n
    return True


def _deviations(
    values: np.ndarray, means: np.ndarray, leads: Sequence[int], room: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sums over the leads of the deviations of a cell from its means, and of their squares.

    In parts, that stay in the caches; where they are cut changes no sum. ``room``: doubles to work
    in, for all parts the same, since new memory takes longer than what is done there.
    """
    leads = [d for d in leads if values.shape[d] > 1]
    if values.size > _PIECE:
        axis, size = _cut(values.shape, leads)
        if size < values.shape[axis]:
            return _deviations_in_parts(values, means, leads, axis, size, room)
    if not leads:
        far = np.subtract(values, means, dtype=_FLOAT64, order="C")
        return far, far * far
    far = _far(values, means, room)
    rest = _added_all(far, leads)
    return rest, _added_all(np.multiply(far, far, out=far), leads)


def _far(values: np.ndarray, means: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Deviations, in C order: in ``room`` if they fit."""
    room = room if values.size <= room.size else np.empty(values.size)
    out = room[: values.size].reshape(values.shape)
    if values.dtype != _FLOAT64:
        # By itself, casting is faster than as a part of subtracting.
        np.copyto(out, values)
        values = out
    np.subtract(values, means, out=out)
    return out


def _cut(shape: tuple[int, ...], leads: Sequence[int]) -> tuple[int, int]:
    """The axis to cut, and the extent of a part: dims before the last lead first, then lanes, where
    rows are long, and that lead, by groups, where they are not."""
    size = math.prod(shape)
    last = leads[-1] if leads else len(shape)
    group = group_of(shape[last]) if leads else 0
    # Whole rows by groups, if those are few: rows stay as long as they are.
    by_groups = leads and group * math.prod(shape[last + 1 :]) <= _PIECE
    for d, n in enumerate(shape):
        if by_groups and d > last:
            break
        least = 1 if d < last else -(-_SHORTEST // math.prod(shape[d + 1 :]))
        if d != last and n > least:
            return d, max(least, n * _PIECE // size)
    return last, max(1, shape[last] * _PIECE // size // group) * group


def _deviations_in_parts(
    values: np.ndarray,
    means: np.ndarray,
    leads: Sequence[int],
    axis: int,
    size: int,
    room: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    n = values.shape[axis]
    group = group_of(n) if leads and axis == leads[-1] else 0
    inner = [d for d in leads if d != axis]
    found = []
    for lo in range(0, n, size):
        part = _along(axis, lo, min(lo + size, n))
        mean = means if axis in leads else means[part]
        if group:
            far = _far(values[part], mean, room)
            rest = _by_groups(far, axis, group)
            np.multiply(far, far, out=far)
            found.append((rest, _by_groups(far, axis, group)))
        else:
            found.append(_deviations(values[part], mean, inner, room))
    rest, squares = [np.concatenate(parts, axis) for parts in zip(*found, strict=True)]
    if axis not in leads:
        return rest, squares
    add = _in_turn if group else _added
    return add(rest, axis), add(squares, axis)


def sum_of_slots(sums: np.ndarray, axes: tuple[int, ...]) -> State:
    """The state of a sum from the sums of parts (``ops_lanes``), doubles.

    >>> [part.tolist() for part in sum_of_slots(np.array([[1.0, 2.0]]), (0, 1))]
    [[[3.0]], [[0.0]]]
    """
    with np.errstate(all="ignore"):
        total = pairwise_total(sums, axes, _FLOAT64)
    return total, np.zeros_like(total)


def spread_of_slots(
    rows: np.ndarray, means: np.ndarray, squares: np.ndarray, axes: tuple[int, ...]
) -> State:
    """The state of a variance from means and squared deviations of parts (``ops_lanes``).

    ``rows``: how many values went into each, int64, broadcast to them.

    >>> rows, means, squares = np.array([[2]]), np.array([[1.0, 4.0]]), np.array([[2.0, 8.0]])
    >>> [part.tolist() for part in spread_of_slots(rows, means, squares, (1,))]
    [[[4]], [[2.5]], [[19.0]]]
    """
    with np.errstate(all="ignore"):
        counts = np.broadcast_to(rows, means.shape)
        parts = [n if d in axes else 1 for d, n in enumerate(means.shape)]
        each = int(rows.sum()) * math.prod(parts) // rows.size
        mean = np.asarray(pairwise_total(means * counts, axes, _FLOAT64) / each)
        far = means - mean
        rest = np.square(pairwise_total(far * counts, axes, _FLOAT64)) / each
        apart = pairwise_total(far * far * counts, axes, _FLOAT64)
        spread = np.maximum(pairwise_total(squares, axes, _FLOAT64) + apart - rest, 0)
    return everywhere(each, mean.shape), mean, spread
