"""Overlays and joins of arrays in memory: one copy instead of a program of thousands of steps.

A mosaic of ten thousand tiles is, to the machine, a list of rectangles: where each begins, where
its first element is, and how far it is from one element to the next. Views of an array (slices,
flips, transposes, repetitions) are that as well, so nothing needs to be planned for them. The list
is made once for a node and remembered as long as the node lives. To compute a box, the rectangles
that meet it are copied, the lowest first, and whatever is hidden behind one that covers the box is
left out; compiled code does it block by block, and NumPy layer by layer with the same result.

Only addresses are kept of arrays, which are kept alive beside them: what an array holds when a plan
runs is what is copied.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.lib.array_utils import byte_bounds

from lazytensor.exec.kernels.choice import compiled
from lazytensor.exec.kernels.gather import apply_transform
from lazytensor.native import Kernel
from lazytensor.native.addresses import address_of, address_of_words
from lazytensor.native.kernels import paste_block as block
from lazytensor.native.streaming import STREAMED_NBYTES
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.interval import IntervalIndex
from lazytensor.plan.interval_cover import is_covered
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Constant, Scan, View
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.output_map import CONSTANT
from lazytensor.plan.rules.simplify import compose_views
from lazytensor.plan.source import Box

__all__ = ["Composite", "composite_of", "computed_nodes", "inputs_to_compute"]

_LOOKED_THROUGH = 1 << 15
"""So many rectangles are compared with a box one by one, which takes 1 ns each: by the compiled
code itself, or all at once by NumPy."""

_LAYER_SECONDS = 2e-6
"""What NumPy takes for a layer beyond the copying."""

_WINDOW = 1 << 20
"""A part of it of so many bytes may well be a result of its own."""


class Composite:
    """Layers in memory over each other, of one dtype, each at its place.

    ``layers``: lowest first, nodes or arrays; of a stack without its ``new`` dim. ``rows``: bounds,
    addresses and strides of layers with it (``paste_block``).
    ``whole``: the box they are seen in. ``fill``: bytes of the scalar where none is; None if nobody
    may ask for such a place (what is there is then zero).
    """

    __slots__ = (
        "_address", "_covered", "_filled", "_hi", "_index", "_layers", "_lo", "_nbytes", "_new",
        "_rows", "dtype", "fill", "whole",
    )  # fmt: skip

    def __init__(
        self,
        whole: Box,
        dtype: np.dtype,
        fill: bytes | None,
        layers: Sequence[Node | np.ndarray],
        rows: np.ndarray,
        new: int | None = None,
    ) -> None:
        rank = len(whole)
        self.whole = whole
        self.dtype = dtype
        self.fill = fill
        self._layers = layers
        self._new = new
        self._rows = rows
        self._address = address_of(rows)
        # A row a dim: comparing all layers along one dim is what windows do.
        bounds = np.ascontiguousarray(rows[:, : 2 * rank].T)
        self._lo, self._hi = bounds[:rank].T, bounds[rank:].T
        self._nbytes = math.prod([max(0, b - a) for a, b in whole]) * dtype.itemsize
        self._index: IntervalIndex | None = None
        self._covered: bool | None = None
        # What ``_filling`` found, once it did.
        self._filled: tuple[np.ndarray, int] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Addresses mean nothing in another process.
        values = [self._values(k) for k in range(len(self))]
        return _restored, (self.whole, self.dtype, self.fill, values, self._lo.tolist())

    def __len__(self) -> int:
        return len(self._rows)

    def covers(self, box: Box) -> bool:
        """Whether every position of a box has a layer."""
        if self._covered is None:
            self._covered = is_covered(self.whole, self._lo, self._hi)
        if self._covered or box == self.whole:
            return self._covered
        some = self._meeting(box)
        return is_covered(box, self._lo[some], self._hi[some])

    def has_gaps(self) -> bool:
        """Whether there is a fill value, and a position that has it."""
        return self.fill is not None and not self.covers(self.whole)

    def fill_in(self, box: Box) -> bytes | None:
        """The fill value if all of a box has it, because no layer meets it."""
        return None if self.fill is None or len(self._meeting(box)) else self.fill

    def paste(self, box: Box, target: np.ndarray) -> None:
        """Compute a box into an array of its shape, of any strides."""
        if not target.size:
            return
        about = len(self) * target.nbytes / max(1, self._nbytes)
        run = compiled("paste", None, _LAYER_SECONDS * about)
        if run is None:
            self._paste_plainly(box, target)
        else:
            self._paste_compiled(run, box, target)

    def _values(self, number: int) -> np.ndarray:
        """A layer as a strided view of its array."""
        layer = self._layers[number]
        if isinstance(layer, np.ndarray):
            return layer
        look = _look(layer)
        assert look is not None
        array, transform, origin = look
        values = array if transform is None else apply_transform(transform, array, origin)
        return values if self._new is None else np.expand_dims(values, self._new)

    def may_share_memory(self, array: np.ndarray) -> bool:
        """Whether a layer may lie in the memory of an array."""
        first, end = byte_bounds(array)
        rank = len(self.whole)
        reach = (self._hi - self._lo - 1) * self._rows[:, 2 * rank + 1 :]
        start = self._rows[:, 2 * rank]
        lo = start + np.minimum(reach, 0).sum(axis=1)
        hi = start + np.maximum(reach, 0).sum(axis=1) + self.dtype.itemsize
        return bool(((lo < end) & (hi > first)).any())

    def _meeting(self, box: Box) -> np.ndarray:
        """Numbers of the layers that meet a box, ascending."""
        if len(self) > _LOOKED_THROUGH:
            if self._index is None:
                self._index = IntervalIndex(self._lo, self._hi)
            return self._index.query(box)
        meets = np.ones(len(self), np.bool_)
        for d, (a, b) in enumerate(box):
            meets &= self._lo[:, d] < b
            meets &= self._hi[:, d] > a
        return meets.nonzero()[0]

    def _filling(self) -> tuple[np.ndarray, int] | None:
        """The value (1-d) of places without a layer, and its address; None if it is known that
        there are none."""
        if self._covered:
            return None
        if self._filled is None:
            if self._covered is None and (self.fill is None or self._may_be_tiles()):
                self._covered = is_covered(self.whole, self._lo, self._hi)
                if self._covered:
                    return None
            data = bytes(self.dtype.itemsize) if self.fill is None else self.fill
            value = np.frombuffer(data, self.dtype)
            self._filled = value, address_of(value)
        return self._filled

    def _may_be_tiles(self) -> bool:
        """Whether the layers have as many elements as the result: finding out more may take ms."""
        sizes = (self._hi - self._lo).astype(np.float64).prod(axis=1)
        return bool(sizes.sum() * self.dtype.itemsize == self._nbytes)

    def _paste_plainly(self, box: Box, target: np.ndarray) -> None:
        found = self._meeting(box)
        bounds = np.array(box, np.int64).reshape(len(box), 2)
        lo = np.maximum(self._lo[found], bounds[:, 0])
        hi = np.minimum(self._hi[found], bounds[:, 1])
        hides = np.flatnonzero(((lo == bounds[:, 0]) & (hi == bounds[:, 1])).all(axis=1))
        first = int(hides[-1]) if len(hides) else 0
        filling = None if len(hides) else self._filling()
        if filling is not None:
            target[...] = filling[0][0]
        # One table for all slices: where from, to and behind in the target, and in the layer.
        inside = lo - self._lo[found]
        table = np.stack([lo - bounds[:, 0], hi - bounds[:, 0], inside, inside + hi - lo], axis=-1)
        for k, places in zip(found[first:].tolist(), table[first:].tolist(), strict=True):
            place = tuple([slice(a, b) for a, b, _, _ in places])
            part = tuple([slice(a, b) for _, _, a, b in places])
            target[place] = self._values(k)[part]

    def _paste_compiled(self, run: Kernel, box: Box, target: np.ndarray) -> None:
        numbers = self._meeting(box) if len(self) > _LOOKED_THROUGH else None
        count = len(self) if numbers is None else len(numbers)
        filling = self._filling()
        rank = len(box)
        # One piece of memory: the words in their order, the tables they name, and working memory.
        tables = block.BLOCK_WORDS + 3 * rank
        memory = np.empty(tables + block.PASTE_WORDS + 2 * count, np.int64)
        base = address_of_words(memory)
        at, work = base + 8 * block.BLOCK_WORDS, base + 8 * tables
        memory[:tables] = (
            self._address, count, rank, 0 if numbers is None else address_of(numbers),
            self.dtype.itemsize, at, address_of(target), at + 16 * rank,
            0 if filling is None else filling[1], work + 8 * block.PASTE_WORDS, work,
            target.nbytes >= _WINDOW and self._nbytes >= STREAMED_NBYTES,
            *[n for pair in box for n in pair], *target.strides,
        )  # fmt: skip
        run(base)


def _restored(
    whole: Box, dtype: np.dtype, fill: bytes | None, values: list[np.ndarray], lo: list[list[int]]
) -> Composite:
    # NumPy pickles some strided arrays in the byte order of the machine.
    values = [np.asarray(x, dtype) for x in values]
    rows = []
    for x, first in zip(values, lo, strict=True):
        behind = [a + n for a, n in zip(first, x.shape, strict=True)]
        rows.append((*first, *behind, address_of(x), *x.strides))
    return Composite(whole, dtype, fill, values, _table(rows, len(whole)))


_composites: weakref.WeakKeyDictionary[Node, Composite | None] = weakref.WeakKeyDictionary()


def composite_of(node: Node) -> Composite | None:
    """What an overlay or a join is if all its layers are arrays in memory, else None.

    Remembered as long as the node lives.
    """
    if type(node) is not Overlay and type(node) is not Join:
        return None
    try:
        return _composites[node]
    except KeyError:
        found = _composites[node] = _composite(node)
        return found


def inputs_to_compute(node: Node) -> tuple[Node, ...]:
    """The inputs of a node that a program has to compute: a composite has none."""
    if type(node) is not Overlay and type(node) is not Join:
        return node.inputs
    return node.inputs if composite_of(node) is None else ()


def computed_nodes(roots: Sequence[Node]) -> Iterator[Node]:
    """Every node of some plans that programs compute, once, inputs before consumers."""
    if len(roots) == 1:
        return walk(roots[0], below=inputs_to_compute)
    return _computed_nodes(roots)


def _computed_nodes(roots: Sequence[Node]) -> Iterator[Node]:
    seen: set[Node] = set()
    for root in roots:
        for node in walk(root, lambda node: node not in seen, inputs_to_compute):
            seen.add(node)
            yield node


def _composite(node: Overlay | Join) -> Composite | None:
    if node.dtype.hasobject or node.dtype.kind == "T" or not node.dtype.itemsize:
        return None
    joined = type(node) is Join
    new = node.axis if type(node) is Join and node.new else None
    layers: list[Node | np.ndarray] = []
    rows: list[tuple[int, ...]] = []
    for number, x in enumerate(node.inputs):
        found = _first_and_strides(x)
        if found is None:
            return None
        if 0 in x.shape:
            continue
        lo, hi = x.domain.inclusive_min, x.domain.exclusive_max
        if joined:
            lo, hi = _place_in_join(cast(Join, node), number)
            if new is not None:
                found.insert(new + 1, 0)
        rows.append((*lo, *hi, *found))
        layers.append(x)
    domain = node.domain
    whole = tuple(zip(domain.inclusive_min, domain.exclusive_max, strict=True))
    fill = node.fill if type(node) is Overlay else None
    return Composite(whole, node.dtype, fill, layers, _table(rows, node.ndim), new)


_Look = tuple[np.ndarray, IndexTransform | None, tuple[int, ...]]


def _look(x: Node) -> _Look | None:
    """An array, how it is looked at (None: as it is), and the coordinates of its first element.

    None for what is neither a leaf in memory nor a view of one without index arrays.
    """
    transform = None
    if type(x) is View:
        while type(x.x) is View:
            x = cast(View, compose_views(x, x.x))
        transform, x = x.transform, x.x
        if transform.has_arrays:
            return None
    if type(x) is Scan:
        array = x.source.array
        return None if array is None else (array, transform, x.domain.inclusive_min)
    return (x.value, transform, ()) if type(x) is Constant else None


def _first_and_strides(x: Node) -> list[int] | None:
    """Address of the first element of a layer, and bytes from one to the next along each dim.

    None if it is no look at memory; or none within the array, for whoever takes it to say so.
    """
    look = _look(x)
    if look is None:
        return None
    array, transform, origin = look
    address, shape = address_of(array), x.shape
    if transform is None:
        return [address, *array.strides] if array.shape == shape else None
    if 0 in shape:
        return [address, *[0] * len(shape)]
    out = [0] * (1 + len(shape))
    lo = transform.domain.inclusive_min
    dims = zip(transform.maps, origin, array.strides, array.shape, strict=True)
    for (kind, offset, stride, dim, _, _), start, step, n in dims:
        first = last = offset - start
        if kind != CONSTANT:
            first += stride * lo[dim]
            last = first + stride * (shape[dim] - 1)
            out[1 + dim] += stride * step
        if not (0 <= first < n and 0 <= last < n):
            return None
        address += first * step
    out[0] = address
    return out


def _place_in_join(node: Join, number: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Bounds of a layer in the coordinates of the join."""
    axis, domain = node.axis, node.domain
    lo, hi = list(domain.inclusive_min), list(domain.exclusive_max)
    lo[axis], hi[axis] = node.starts[number], node.starts[number + 1]
    return tuple(lo), tuple(hi)


def _table(rows: list[tuple[int, ...]], rank: int) -> np.ndarray:
    return np.array(rows, np.int64).reshape(len(rows), 3 * rank + 1)
