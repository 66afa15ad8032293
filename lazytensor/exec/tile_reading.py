"""Boxes of a plan read by the hundred, of few shapes: tiles of an image, smaller at its edges.

Boxes of one shape are windows that one reader reads together (``exec.batches``), so there is a
reader for each shape. Boxes of what is in memory are copied. Index arrays and conversions above
either are taken off, and done for each box.

What has to be computed is computed for all boxes at once, where they lie side by side, as a collect
does: in blocks and by several threads. Else small boxes are lowered one by one, and large ones
collected. Decoded chunks are kept in any case.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from lazytensor.config import QueryOptFlags, option, parse_bytes
from lazytensor.exec.batches import WindowReader
from lazytensor.exec.buffers import aligned_empty
from lazytensor.exec.engine import collect_nodes
from lazytensor.exec.kernels.cast import cast_into
from lazytensor.exec.kernels.gather import apply_transform
from lazytensor.exec.memory import memory_limit
from lazytensor.exec.outer import Outer
from lazytensor.exec.outputs import output
from lazytensor.exec.pool import CancelToken
from lazytensor.exec.settled import settle
from lazytensor.plan.caching import CACHING, new_run
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cast, Scan, View
from lazytensor.plan.optimize import optimize
from lazytensor.plan.output_map import IDENTITY

__all__ = ["TileReader", "cache_nbytes"]

_KEPT = "256MiB"
_SHARE = 4
_LARGE = 2 << 20
"""Bytes from which on what is computed is no window."""
_FEWEST = 2
_AROUND = 2
"""How many times what is wanted may be computed to have it at once."""
_HULL = 64 << 20
"""Bytes of which that may be done."""
_PARTS = 256
"""Boxes of which one with index arrays may be made."""


def cache_nbytes() -> int:
    """Bytes of decoded chunks to keep while tiles are read: option ``cache_bytes``, or more."""
    asked: int = option("cache_bytes")
    return max(asked, min(parse_bytes(_KEPT), memory_limit() // _SHARE))


class TileReader:
    """Reads boxes of a plan into arrays; by one thread at a time.

    >>> from lazytensor.plan.memory import array_node
    >>> reader = TileReader(array_node(np.arange(10)))
    >>> outs = [np.zeros(2, int), np.zeros(3, int)]
    >>> reader.read(np.array([[0], [7]]), np.array([[2], [3]]), outs); outs
    [array([0, 1]), array([7, 8, 9])]
    """

    def __init__(self, node: Node) -> None:
        self._node = optimize(node, QueryOptFlags())
        self._use = new_run(cache_nbytes())
        self._readers: dict[tuple[Node, tuple[int, ...]], WindowReader] = {}
        self._take_apart()
        self._settled = self._inner is not None
        self._is_local = False

    def _take_apart(self) -> None:
        """What is read of ``inner`` is picked by ``outer``, and converted by ``casts``, in turn."""
        base = self._node
        casts = []
        while isinstance(base, Cast):
            casts.append(base.dtype)
            base = base.x
        self._casts = casts[::-1]
        self._outer = Outer.of(base)
        inner = base if self._outer is None else self._outer.node
        self._given = inner.dtype
        self._inner = inner if _is_quick(inner) else None
        self._array = None if self._inner is None else _in_memory(inner)

    def read(
        self,
        starts: np.ndarray,
        extents: np.ndarray,
        outs: Sequence[np.ndarray],
        cancel: CancelToken | None = None,
    ) -> None:
        """Fill ``outs[i]`` with the box of ``extents[i]`` elements from ``starts[i]`` on.

        ``starts``, ``extents``: ``(boxes, dims)`` int64, coordinates. ``outs``: of these extents,
        and of the dtype of the plan, with any strides. Raises what a collect raises.
        """
        if not self._settled:
            self._node, self._is_local = settle(self._node, cancel)
            self._take_apart()
            self._settled = True
        if self._inner is None and self._read_around(starts, extents, outs, cancel):
            return
        for shape, which in _alike(extents, outs):
            mine = [outs[i] for i in which]
            if self._suits(shape):
                self._read_quickly(starts[which], extents[which], mine, cancel)
            elif self._is_local and prod(shape) * self._node.dtype.itemsize < _LARGE:
                self._window(self._node, shape).read(starts[which], mine, cancel=cancel)
            else:
                for i in which:
                    self._collect(starts[i].tolist(), shape, outs[i], cancel)

    def _read_around(
        self,
        starts: np.ndarray,
        extents: np.ndarray,
        outs: Sequence[np.ndarray],
        cancel: CancelToken | None,
    ) -> bool:
        """Read the hull of all boxes, where they fill most of it; else False."""
        if len(outs) < _FEWEST:
            return False
        low = starts.min(axis=0)
        hull = ((starts + extents).max(axis=0) - low).tolist()
        size = prod(hull)
        wanted = int(extents.prod(axis=1).sum())
        if not 0 < size <= _AROUND * wanted or size * self._node.dtype.itemsize > _HULL:
            return False
        values = output(tuple(hull), self._node.dtype)
        self._collect(low.tolist(), tuple(hull), values, cancel)
        _copy(values, starts - low, extents, outs)
        return True

    def _suits(self, shape: tuple[int, ...]) -> bool:
        """Whether boxes of a shape are read quickly."""
        if self._inner is None:
            return False
        if self._outer is not None and self._outer.parts(shape) > _PARTS:
            return False
        plain = self._outer is None and not self._casts and self._array is None
        return plain or prod(shape) * self._node.dtype.itemsize < _LARGE

    def _read_quickly(
        self,
        starts: np.ndarray,
        extents: np.ndarray,
        outs: list[np.ndarray],
        cancel: CancelToken | None,
    ) -> None:
        """Boxes of one shape."""
        assert self._inner is not None
        values = outs
        if self._casts:
            values = [aligned_empty(out.shape, self._given) for out in outs]
        places = values
        if self._outer is not None:
            starts, extents, places = self._outer.boxes(starts, extents, values)
        if self._array is not None:
            _copy(self._array, starts - self._inner.domain.inclusive_min, extents, places)
        else:
            shape = tuple(extents[0].tolist())
            self._window(self._inner, shape).read(starts, places, cancel=cancel)
        for found, out in zip(values, outs, strict=True):
            self._convert(found, out)

    def _convert(self, values: np.ndarray, out: np.ndarray) -> None:
        for dtype in self._casts[:-1]:
            before, values = values, np.empty(values.shape, dtype)
            cast_into(before, values)
        if self._casts:
            cast_into(values, out)

    def _window(self, node: Node, shape: tuple[int, ...]) -> WindowReader:
        found = self._readers.get((node, shape))
        if found is None:
            found = WindowReader(node, shape, run=self._use)
            self._readers[node, shape] = found
        return found

    def _collect(
        self, start: list[int], shape: tuple[int, ...], out: np.ndarray, cancel: CancelToken | None
    ) -> None:
        node = self._node
        ends = tuple([lo + n for lo, n in zip(start, shape, strict=True)])
        domain = IndexDomain._make(tuple(start), ends, node.domain.labels)
        box = View(node, IndexTransform._make(domain, IDENTITY[: node.ndim]))
        token = CACHING.set(self._use)
        try:
            collect_nodes((box,), outs=(out,), cancel=cancel)
        finally:
            CACHING.reset(token)


def _alike(
    extents: np.ndarray, outs: Sequence[np.ndarray]
) -> list[tuple[tuple[int, ...], list[int]]]:
    """The boxes of each shape that go to places with the same strides; not those of nothing."""
    found: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for i, (shape, out) in enumerate(zip(map(tuple, extents.tolist()), outs, strict=True)):
        found.setdefault((shape, out.strides), []).append(i)
    return [(shape, which) for (shape, _), which in found.items() if 0 not in shape]


def _is_quick(node: Node) -> bool:
    """Whether it is a view of one source that reads many windows at once, or is in memory."""
    scan = node.x if isinstance(node, View) else node
    if not isinstance(scan, Scan) or (isinstance(node, View) and node.transform.has_arrays):
        return False
    return scan.source.array is not None or hasattr(scan.source, "read_windows")


def _in_memory(node: Node) -> np.ndarray | None:
    """All values of a view of an array, as a view of it; None for other sources."""
    scan = node.x if isinstance(node, View) else node
    assert isinstance(scan, Scan)
    array: np.ndarray | None = scan.source.array
    if array is None or scan is node:
        return array
    assert isinstance(node, View)
    return apply_transform(node.transform, array, scan.domain.inclusive_min)


def _copy(
    array: np.ndarray, starts: np.ndarray, extents: np.ndarray, outs: Sequence[np.ndarray]
) -> None:
    for low, high, out in zip(starts.tolist(), (starts + extents).tolist(), outs, strict=True):
        out[...] = array[tuple(map(slice, low, high))]
