"""Which of many boxes meet a window, and which of them are seen there.

An overlay may have tens of thousands of layers, and a window of it touches a handful. The index
therefore is a packed tree of bounding boxes, built by one sort: layers are ordered by size class
and then along a space-filling curve, and every 16 neighbours share a parent. One large background
under many tiles costs nothing extra, because size classes keep it out of the parents of tiles.
It is its own module, free of nodes and domains, because it is pure geometry over integer arrays.

Most overlays have two or three layers. Those are compared one by one, in plain Python: an array of
two numbers costs more to make than the comparison.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lazytensor.errors import ShapeError
from lazytensor.plan.interval_cover import is_covered, is_tiled
from lazytensor.plan.interval_cut import subtract, without
from lazytensor.plan.source import Box

__all__ = ["FewIntervals", "IntervalIndex", "Visible"]

_FANOUT = 16
_TOP = 64
"""Levels are added until one has at most this many boxes; those are looked at one by one."""

_BATCH = 512
"""Layers whose covers are looked up together: bounds the pairs that are held at once."""


class Visible(NamedTuple):
    """What is seen in a window: pieces by layer (ascending), and boxes without any layer.

    All pieces and holes are disjoint, and together they are the window.
    """

    layers: list[tuple[int, list[Box]]]
    holes: list[Box]


class _Level(NamedTuple):
    lo: np.ndarray
    hi: np.ndarray


class IntervalIndex:
    """Immutable index over ``N`` boxes ``[lo, hi)`` of integer coordinates.

    Parameters
    ----------
    lo, hi
        Integer arrays of shape ``(N, ndim)``; they are copied. A box that is empty in any dim
        meets no window.

    Raises
    ------
    ShapeError
        The arrays are not 2-d or differ in shape.

    >>> lo = np.array([[0, 0], [0, 4], [2, 2]])
    >>> tiles = IntervalIndex(lo, lo + 4)
    >>> tiles.query(((0, 2), (0, 8))).tolist()
    [0, 1]
    >>> tiles.visible(((1, 3), (3, 4)))
    Visible(layers=[(0, [((1, 2), (3, 4))]), (2, [((2, 3), (3, 4))])], holes=[])
    """

    __slots__ = ("_layers", "_levels", "_ndim", "_places")

    def __init__(self, lo: np.ndarray, hi: np.ndarray) -> None:
        lo, hi = np.array(lo, np.int64), np.array(hi, np.int64)
        if lo.ndim != 2 or lo.shape != hi.shape:
            raise ShapeError(f"bounds must both be (layers, dims), found {lo.shape} and {hi.shape}")
        filled = np.flatnonzero((lo < hi).all(axis=1))
        lo, hi = lo[filled], hi[filled]
        order = _neighbour_order(lo, hi) if len(lo) > _TOP else np.arange(len(lo))
        self._ndim: int = lo.shape[1]
        self._layers = filled[order]
        self._places = np.empty(int(filled.max(initial=-1)) + 1, np.intp)
        self._places[self._layers] = np.arange(len(order))
        # One row a dim: filtering dim by dim reads rows, and stops early.
        self._levels = [
            _Level(np.ascontiguousarray(lo[order].T), np.ascontiguousarray(hi[order].T))
        ]
        while self._levels[-1].lo.shape[1] > _TOP:
            self._levels.append(_parents(self._levels[-1]))

    @property
    def ndim(self) -> int:
        """Number of dims of the boxes."""
        return self._ndim

    def query(self, box: Box) -> np.ndarray:
        """Numbers of the layers that meet ``box``, ascending; an empty box meets none."""
        self._check(box)
        lo = np.array([[a] for a, _ in box], np.int64).reshape(self._ndim, 1)
        hi = np.array([[b] for _, b in box], np.int64).reshape(self._ndim, 1)
        if not (lo < hi).all():
            return np.empty(0, np.intp)
        return np.sort(self._layers[self._hits(lo, hi)[1]])

    def visible(self, box: Box) -> Visible:
        """What is seen in ``box`` when of several layers at a position the last one wins.

        A layer that later ones hide within the box is not listed. The cost grows with the layers
        that meet the box and with the pairs of them that overlap, not with all layers.
        """
        found = self.query(box)
        if any(a >= b for a, b in box):
            return Visible([], [])
        lo, hi = self._clipped(found, box)
        # The last layer that covers the whole box hides all before it.
        bounds = np.array(box, np.int64).reshape(self._ndim, 2)
        whole = np.flatnonzero(((lo == bounds[:, 0]) & (hi == bounds[:, 1])).all(axis=1))
        if len(whole):
            found, lo, hi = found[whole[-1] :], lo[whole[-1] :], hi[whole[-1] :]
        if is_tiled(box, lo, hi):
            pieces = np.stack([lo, hi], axis=-1).tolist()
            return Visible(
                [
                    (k, [tuple(map(tuple, own))])
                    for k, own in zip(found.tolist(), pieces, strict=True)
                ],
                [],
            )
        missing = _volume(box)
        seen: list[tuple[int, list[Box]]] = []
        for number, pieces in _pieces_from_the_top(lo, hi):
            if pieces:
                seen.append((int(found[number]), pieces))
                missing -= sum(map(_volume, pieces))
            if not missing:
                break
        seen.reverse()
        return Visible(seen, subtract(box, lo, hi) if missing else [])

    def covers(self, box: Box) -> bool:
        """Whether no position of ``box`` is without a layer: quicker than asking what is seen."""
        found = self.query(box)
        return is_covered(box, *self._clipped(found, box))

    def _check(self, box: Box) -> None:
        if len(box) != self._ndim:
            raise ShapeError(f"box {box} has {len(box)} dims, the layers have {self._ndim}")

    def _clipped(self, layers: np.ndarray, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of ``layers`` (ascending), cut to ``box``."""
        leaves, chosen = self._levels[0], self._places[layers]
        bounds = np.array(box, np.int64).reshape(self._ndim, 2)
        return (
            np.maximum(leaves.lo[:, chosen].T, bounds[:, 0]),
            np.minimum(leaves.hi[:, chosen].T, bounds[:, 1]),
        )

    def _hits(self, lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs (query, leaf) that intersect, for queries ``(ndim, Q)``, level by level."""
        queries = np.arange(lo.shape[1]) if self._ndim else np.zeros(1, np.intp)
        top = len(self._layers) if not self._ndim else self._levels[-1].lo.shape[1]
        nodes = np.tile(np.arange(top), len(queries))
        queries = np.repeat(queries, top)
        for depth in range(len(self._levels) - 1, -1, -1):
            level = self._levels[depth]
            for d in range(self._ndim):
                meets = (level.lo[d, nodes] < hi[d, queries]) & (
                    level.hi[d, nodes] > lo[d, queries]
                )
                nodes, queries = nodes[meets], queries[meets]
            if depth:
                nodes = (nodes[:, np.newaxis] * _FANOUT + np.arange(_FANOUT)).reshape(-1)
                queries = np.repeat(queries, _FANOUT)
                real = nodes < self._levels[depth - 1].lo.shape[1]
                nodes, queries = nodes[real], queries[real]
        return queries, nodes

    def _later(self, first: int, last: int) -> Iterator[tuple[int, np.ndarray]]:
        """For layers ``last - 1`` down to ``first``, none empty: the later layers over each."""
        leaves = self._levels[0]
        own = self._places[first:last]
        queries, found = self._hits(leaves.lo[:, own], leaves.hi[:, own])
        layers = self._layers[found]
        later = layers > queries + first
        queries, layers = queries[later], layers[later]
        order = np.argsort(queries, kind="stable")
        layers = layers[order]
        ends = np.searchsorted(queries[order], np.arange(last - first + 1))
        for i in range(last - first - 1, -1, -1):
            yield first + i, layers[ends[i] : ends[i + 1]]


class FewIntervals:
    """As ``IntervalIndex``, over a handful of boxes, quicker.

    >>> few = FewIntervals([((0, 4), (0, 4)), ((0, 4), (4, 8)), ((2, 6), (2, 6))])
    >>> few.query(((0, 2), (0, 8))), few.visible(((1, 3), (3, 4)))
    ([0, 1], Visible(layers=[(0, [((1, 2), (3, 4))]), (2, [((2, 3), (3, 4))])], holes=[]))
    """

    __slots__ = ("_boxes",)

    def __init__(self, boxes: list[Box]) -> None:
        self._boxes = boxes

    def query(self, box: Box) -> list[int]:
        """Numbers of the layers that meet ``box``, ascending; an empty box meets none."""
        return [k for k, own in enumerate(self._boxes) if _overlap(own, box) is not None]

    def visible(self, box: Box) -> Visible:
        """What is seen in ``box`` when of several layers at a position the last one wins."""
        if any(a >= b for a, b in box):
            return Visible([], [])
        open_parts = [box]
        seen: list[tuple[int, list[Box]]] = []
        for number in range(len(self._boxes) - 1, -1, -1):
            own = self._boxes[number]
            pieces = [part for piece in open_parts if (part := _overlap(piece, own)) is not None]
            if pieces:
                seen.append((number, sorted(pieces)))
                open_parts = [part for piece in open_parts for part in without(piece, own)]
                if not open_parts:
                    break
        seen.reverse()
        return Visible(seen, sorted(open_parts))

    def covers(self, box: Box) -> bool:
        """Whether no position of ``box`` is without a layer."""
        return not self.visible(box).holes


def _overlap(a: Box, b: Box) -> Box | None:
    """The box common to two boxes, None if there is none."""
    out = []
    for (lo, hi), (first, end) in zip(a, b, strict=True):
        start, stop = max(lo, first), min(hi, end)
        if start >= stop:
            return None
        out.append((start, stop))
    return tuple(out)


def _pieces_from_the_top(lo: np.ndarray, hi: np.ndarray) -> Iterator[tuple[int, list[Box]]]:
    """Visible pieces of every box, last one first."""
    index = IntervalIndex(lo, hi)
    boxes = np.stack([lo, hi], axis=-1).tolist()
    for last in range(len(lo), 0, -_BATCH):
        for number, covers in index._later(max(0, last - _BATCH), last):
            own = tuple((a, b) for a, b in boxes[number])
            yield number, subtract(own, lo[covers], hi[covers]) if len(covers) else [own]


def _volume(box: Box) -> int:
    return math.prod(b - a for a, b in box)


def _neighbour_order(lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    """Order in which neighbours in space, of one size class, are neighbours in the list."""
    if not lo.size:
        return np.arange(len(lo))
    # Floats: the middle of two coordinates near the ends of int64 has no int64 arithmetic.
    extents = (hi.astype(np.float64) - lo).max(axis=1)
    size_class = np.frexp(extents)[1] // 2
    middles = (lo.astype(np.float64) + hi) / 2
    spans = np.ptp(middles, axis=0)
    dims = np.flatnonzero(spans)[:32]
    bits = min(16, 62 // max(1, len(dims)))
    scaled = (middles[:, dims] - middles[:, dims].min(axis=0)) / spans[dims]
    cells = (scaled * (2**bits - 1)).astype(np.uint64)
    return np.lexsort((_interleaved(cells, bits), size_class))


def _interleaved(cells: np.ndarray, bits: int) -> np.ndarray:
    """Morton codes: the bits of all dims in turn, highest first."""
    codes = np.zeros(len(cells), np.uint64)
    for bit in range(bits - 1, -1, -1):
        for d in range(cells.shape[1]):
            codes = (codes << np.uint64(1)) | ((cells[:, d] >> np.uint64(bit)) & np.uint64(1))
    return codes


def _parents(level: _Level) -> _Level:
    starts = np.arange(0, level.lo.shape[1], _FANOUT)
    return _Level(
        np.minimum.reduceat(level.lo, starts, axis=1), np.maximum.reduceat(level.hi, starts, axis=1)
    )
