"""The node kinds that assemble one tensor from several: join and overlay.

A join (``stack``, ``concat``) pairs positions, needs every layer and has no holes; an overlay looks
at coordinates, later layers win, and it may have holes. ``stack`` and ``concat`` with
``align="domain"`` are overlays of translated layers.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace

import numpy as np

from lazytensor.errors import DTypeError, ShapeError
from lazytensor.plan.align import describe_shape, hull_domain, labels_once, merge_domains
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.index_interval import check_extent
from lazytensor.plan.interval import FewIntervals, IntervalIndex
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import dominant_grid
from lazytensor.plan.spec import Axis

__all__ = ["Join", "Overlay"]

# More cells of layers that do not fit together are not written out, one by one, for a grid.
_MOST_EDGES = 1 << 20

# So many layers are compared one by one.
_FEW_LAYERS = 8


class Join(Node):
    """Layers side by side along ``axis``: existing (``concat``) or new (``stack``).

    All layers have the dtype of the result. ``label`` names the new dim of a stack.
    """

    __slots__ = ("axis", "label", "new", "starts")
    fields = ("inputs", "axis", "new", "label")
    axis: int
    new: bool
    label: str
    starts: tuple[int, ...]

    def _prepare(self) -> None:
        layers = self.inputs
        if any(x.dtype != layers[0].dtype for x in layers):
            raise DTypeError("layers of a join must have one dtype")
        others = merge_domains([self._without_axis(x.domain) for x in layers])
        self._check_extents(others)
        extents = [1] * len(layers) if self.new else [x.shape[self.axis] for x in layers]
        starts = [0]
        for n in extents:
            starts.append(starts[-1] + n)
        check_extent(starts[-1])
        object.__setattr__(self, "starts", tuple(starts))
        domain = IndexDomain._make(
            _insert(others.inclusive_min, self.axis, 0),
            _insert(others.exclusive_max, self.axis, starts[-1]),
            labels_once(_insert(others.labels, self.axis, self._axis_name())),
        )
        self._set(layers, domain, layers[0].dtype)

    def _without_axis(self, domain: IndexDomain) -> IndexDomain:
        if self.new:
            return domain
        a = self.axis
        return IndexDomain._make(
            domain.inclusive_min[:a] + domain.inclusive_min[a + 1 :],
            domain.exclusive_max[:a] + domain.exclusive_max[a + 1 :],
            domain.labels[:a] + domain.labels[a + 1 :],
        )

    def _check_extents(self, others: IndexDomain) -> None:
        for i, x in enumerate(self.inputs):
            if self._without_axis(x.domain).shape != others.shape:
                verb = "stack" if self.new else f"concat along axis {self.axis}"
                raise ShapeError(
                    f"cannot {verb}: layer {i} has shape {describe_shape(x.domain)}, "
                    f"layer 0 has {describe_shape(self.inputs[0].domain)}"
                )

    def _axis_name(self) -> str:
        if self.new:
            return self.label
        names = {x.domain.labels[self.axis] for x in self.inputs} - {""}
        return names.pop() if len(names) == 1 else ""

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return Join(inputs, self.axis, self.new, self.label)

    def layer_at(self, position: int) -> int:
        """Number of the layer that holds a position of the joined dim."""
        return bisect_right(self.starts, position) - 1

    def _derive_axes(self) -> tuple[Axis, ...]:
        first = list(self.inputs[0].axes)
        if self.new:
            first.insert(self.axis, Axis(self.label))
        else:
            first[self.axis] = self._joined_axis()
        return tuple(
            replace(axis, name=name) for axis, name in zip(first, self.domain.labels, strict=True)
        )

    def _joined_axis(self) -> Axis:
        axes = [x.axes[self.axis] for x in self.inputs]
        if any(axis.labels is None for axis in axes):
            return replace(axes[0], labels=None)
        return replace(axes[0], labels=sum((axis.labels or () for axis in axes), ()))

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        out: list[DimGrid | None] = []
        for d in range(self.ndim):
            if d == self.axis:
                out.append(self._joined_grid())
                continue
            inner = d - (1 if self.new and d > self.axis else 0)
            rank = self.inputs[0].ndim
            out.append(dominant_grid(self.inputs[:1], inner - rank, self.shape[d]))
        return tuple(out)

    def _joined_grid(self) -> DimGrid | None:
        if self.new:
            return DimGrid.regular(self.shape[self.axis], 1)
        cuts = [x.grid[self.axis] for x in self.inputs if x.shape[self.axis]]
        known = [cells for cells in cuts if cells is not None]
        if not known or len(known) < len(cuts) or len({cells.nominal for cells in known}) > 1:
            return None
        size = known[0].nominal
        whole = all(cells.extent % size == 0 for cells in known[:-1])
        if whole and all(cells.is_plain for cells in known):
            return DimGrid.regular(self.shape[self.axis], size)
        if sum(cells.count for cells in known) > _MOST_EDGES:
            return None
        edges = [0]
        for cells in known:
            start = edges[-1]
            edges.extend(start + edge for edge in cells.edges_between(0, cells.extent)[1:])
        return DimGrid.from_edges(edges)


class Overlay(Node):
    """Layers placed by their coordinates; where several cover a position, the last one wins.

    ``window`` is the domain of the result. A position without a layer reads the scalar whose bytes
    are ``fill``; with ``fill=None`` reading it is a ``HoleError``.
    """

    __slots__ = ("_index", "fill", "window")
    fields = ("inputs", "window", "fill")
    window: IndexDomain
    fill: bytes | None
    _index: IntervalIndex | FewIntervals | None

    @classmethod
    def of(
        cls, layers: tuple[Node, ...], window: IndexDomain | None, fill: bytes | None
    ) -> Overlay:
        """Overlay on the hull of the layers, or on ``window``."""
        hull = hull_domain([x.domain for x in layers])
        if window is None:
            return cls(layers, hull, fill)
        if window.rank != hull.rank:
            raise ShapeError(f"domain {window!r} has {window.rank} dims, the layers {hull.rank}")
        labels = tuple(b or a for a, b in zip(hull.labels, window.labels, strict=True))
        domain = IndexDomain._make(window.inclusive_min, window.exclusive_max, labels)
        return cls(layers, domain, fill)

    def _prepare(self) -> None:
        first = self.inputs[0]
        for i, layer in enumerate(self.inputs):
            if layer.dtype != first.dtype:
                raise DTypeError(
                    f"layer {i} has dtype {layer.dtype}, layer 0 has {first.dtype}; "
                    f"cast one of them"
                )
            if layer.ndim != self.window.rank:
                raise ShapeError(f"layer {i} has {layer.ndim} dims, not {self.window.rank}")
        object.__setattr__(self, "_index", None)
        self._set(self.inputs, self.window, first.dtype)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return Overlay(inputs, self.window, self.fill)

    @property
    def models(self) -> tuple[Node, ...]:
        """The bottom layer: a mosaic of thousands prints as quickly as one tile."""
        return self.inputs[:1]

    @property
    def index(self) -> IntervalIndex | FewIntervals:
        """Which layers meet a window, and which of them are on top there."""
        if self._index is None and len(self.inputs) <= _FEW_LAYERS:
            domains = [x.domain for x in self.inputs]
            few = FewIntervals(
                [tuple(zip(x.inclusive_min, x.exclusive_max, strict=True)) for x in domains]
            )
            object.__setattr__(self, "_index", few)
        if self._index is None:
            lo = np.array([x.domain.inclusive_min for x in self.inputs], np.int64)
            hi = np.array([x.domain.exclusive_max for x in self.inputs], np.int64)
            rank = self.window.rank
            shape = (len(self.inputs), rank)
            index = IntervalIndex(lo.reshape(shape), hi.reshape(shape))
            object.__setattr__(self, "_index", index)
        assert self._index is not None
        return self._index

    def _derive_axes(self) -> tuple[Axis, ...]:
        first = self.inputs[0]
        return tuple(
            replace(
                axis.sliced(self.window.inclusive_min[d] - first.domain.inclusive_min[d], 1, n),
                name=self.window.labels[d],
            )
            for d, (axis, n) in enumerate(zip(first.axes, self.shape, strict=True))
        )

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        # The bottom layer's cells continued over the window: mosaics share one grid of tiles.
        first = self.inputs[0]
        return tuple(
            self._continued(cells, first.domain.inclusive_min[d] - self.window.inclusive_min[d], n)
            for d, (cells, n) in enumerate(zip(first.grid, self.shape, strict=True))
        )

    def _continued(self, cells: DimGrid | None, shift: int, extent: int) -> DimGrid | None:
        if cells is None:
            return None
        if cells.free and shift == 0 and cells.extent == extent:
            return cells
        size = cells.nominal
        lead = cells.start // cells.step % size if cells.edges is None else 0
        return DimGrid(extent, size, None, (lead - shift) % size, 1, free=cells.free)


def _insert(values: tuple, at: int, value: object) -> tuple:  # type: ignore[type-arg]
    return (*values[:at], value, *values[at:])
