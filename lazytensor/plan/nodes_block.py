"""The node kinds that look at neighbourhoods or whole blocks: downsample and user functions."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from lazytensor.errors import ShapeError
from lazytensor.plan.align import describe_shape, merge_domains
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import dominant_grid
from lazytensor.plan.source import Box
from lazytensor.plan.spec import Axis

__all__ = ["BOUNDARIES", "Call", "Downsample", "Inspect"]

BOUNDARIES = ("reflect", "nearest", "constant", None)


class Downsample(Node):
    """One value for each block of coordinates ``[b*f, (b+1)*f)``, edge blocks partial.

    ``method`` is a region method (mean, median, mode, min, max); ``stride`` is a view. Rules:
    TensorStore's ``downsample`` driver. ``approx`` (false where it is left out) allows a law to
    read a stored level of a pyramid in its place that was made otherwise.
    """

    __slots__ = ("approx", "factors", "method", "x")
    fields = ("x", "factors", "method", "approx")
    x: Node
    factors: tuple[int, ...]
    method: str
    approx: bool

    @classmethod
    def intern_key(
        cls, x: Node, factors: tuple[int, ...], method: str, approx: bool = False
    ) -> tuple[Hashable, ...]:
        return (cls, x, factors, method, approx)

    @classmethod
    def _construct(cls, fields: tuple[Any, ...]) -> Downsample:
        return super()._construct(fields if len(fields) == len(cls.fields) else (*fields, False))

    def _prepare(self) -> None:
        if len(self.factors) != self.x.ndim:
            raise ShapeError(
                f"{len(self.factors)} downsample factors for {describe_shape(self.x.domain)}"
            )
        base, factors = self.x.domain, self.factors
        lo = tuple([a // f for a, f in zip(base.inclusive_min, factors, strict=True)])
        hi = tuple([-(-b // f) for b, f in zip(base.exclusive_max, factors, strict=True)])
        if 0 in base.shape:
            hi = tuple([b if n else a for a, b, n in zip(lo, hi, base.shape, strict=True)])
        domain = IndexDomain._make(lo, hi, base.labels)
        self._set((self.x,), domain, self.x.dtype)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return Downsample(inputs[0], self.factors, self.method, self.approx)

    def base_box(self, box: Box) -> Box:
        """The coordinates of ``x`` that the blocks of ``box`` cover, within its domain."""
        return tuple(
            (max(a * f, lo), max(a * f, lo, min(b * f, hi)))
            for (a, b), f, lo, hi in zip(
                box,
                self.factors,
                self.x.domain.inclusive_min,
                self.x.domain.exclusive_max,
                strict=True,
            )
        )

    def _derive_axes(self) -> tuple[Axis, ...]:
        out = []
        for d, (axis, f) in enumerate(zip(self.x.axes, self.factors, strict=True)):
            if f == 1:
                out.append(axis)
                continue
            moved = replace(axis, labels=None)
            if axis.scale is not None:
                first = self.domain.inclusive_min[d] * f - self.x.domain.inclusive_min[d]
                moved = replace(
                    moved,
                    offset=axis.offset + (first + (f - 1) / 2) * axis.scale,
                    scale=axis.scale * f,
                )
            out.append(moved)
        return tuple(out)

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        return tuple(
            None
            if cells is None
            else cells.affine(
                self.domain.inclusive_min[d] * f - self.x.domain.inclusive_min[d], f, self.shape[d]
            )
            for d, (cells, f) in enumerate(zip(self.x.grid, self.factors, strict=True))
        )


class Call(Node):
    """A user's function on every cell of the first input's grid (``map_blocks``).

    ``halo`` positions around a cell are handed over too, made up by ``boundary`` outside the
    domain (None: the block is shorter there); the function returns the core.
    """

    __slots__ = ("boundary", "function", "halo", "slice_pushdown", "to", "validate", "wants_domain")
    fields = (
        "function",
        "inputs",
        "to",
        "halo",
        "boundary",
        "slice_pushdown",
        "validate",
        "wants_domain",
    )
    function: Callable[..., Any]
    to: np.dtype
    halo: tuple[int, ...]
    boundary: str | None
    slice_pushdown: bool
    validate: bool
    wants_domain: bool

    @classmethod
    def intern_key(cls, function: Callable[..., Any], *fields: Any) -> tuple[Any, ...]:
        # Functions with value semantics (such as partials of arrays) may be unhashable.
        return (cls, id(function), *fields)

    def _prepare(self) -> None:
        if len(self.halo) != self.inputs[0].ndim:
            raise ShapeError(f"{len(self.halo)} halo widths for {self.inputs[0].ndim} dims")
        domain = merge_domains([x.domain for x in self.inputs if x.ndim] or [self.inputs[0].domain])
        if domain.shape != self.inputs[0].shape:
            raise ShapeError(
                f"map_blocks: the first tensor {describe_shape(self.inputs[0].domain)} must have "
                f"the shape of the result, {describe_shape(domain)}"
            )
        self._set(self.inputs, self.inputs[0].domain, self.to)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return Call(
            self.function, inputs, self.to, self.halo, self.boundary,
            self.slice_pushdown, self.validate, self.wants_domain,
        )  # fmt: skip

    def spans(self, box: Box) -> tuple[list[tuple[int, int]], ...]:
        """Per dim the intervals of the cells (in coordinates, whole) that meet ``box``.

        The cells are their product.
        """
        out = []
        for d, (lo, hi) in enumerate(box):
            origin = self.domain.inclusive_min[d]
            cells = self.grid[d]
            if cells is None:
                out.append([self.domain_interval(d)] if hi > lo else [])
                continue
            edges = _whole_edges(cells, lo - origin, hi - origin)
            out.append([(a + origin, b + origin) for a, b in pairwise(edges)])
        return tuple(out)

    def cover(self, box: Box) -> Box:
        """Smallest union of cells, as one box, that holds ``box``."""
        out = []
        for d, (lo, hi) in enumerate(box):
            origin, cells = self.domain.inclusive_min[d], self.grid[d]
            if cells is None or hi <= lo:
                out.append(self.domain_interval(d) if hi > lo else (lo, lo))
                continue
            edges = _whole_edges(cells, lo - origin, hi - origin)
            out.append((edges[0] + origin, edges[-1] + origin))
        return tuple(out)

    def domain_interval(self, d: int) -> tuple[int, int]:
        """The whole interval of one dim."""
        return self.domain.inclusive_min[d], self.domain.exclusive_max[d]

    def _derive_axes(self) -> tuple[Axis, ...]:
        return self.inputs[0].axes

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        first = self.inputs[0]
        return tuple(dominant_grid((first,), d - self.ndim, n) for d, n in enumerate(self.shape))


def _whole_edges(cells: DimGrid, lo: int, hi: int) -> list[int]:
    """Edges of the cells that meet ``[lo, hi)``, all of them whole."""
    if hi <= lo:
        return []
    start = lo
    while start > 0 and cells.stored_cell(start - 1) == cells.stored_cell(lo):
        start -= _back(cells, start)
    inner = cells.edges_between(start, hi)
    end = min(cells._next_edge(hi - 1), cells.extent)
    return [*inner[:-1], end]


def _back(cells: DimGrid, start: int) -> int:
    """How far one may step back from ``start`` without leaving its cell: at least 1."""
    step = 1
    while start - 2 * step >= 0 and cells.stored_cell(start - 2 * step) == cells.stored_cell(start):
        step *= 2
    return step


class Inspect(Node):
    """Calls ``function(domain, values)`` for every block that is computed; values pass through."""

    __slots__ = ("function", "x")
    fields = ("x", "function")
    x: Node
    function: Callable[..., Any]

    @classmethod
    def intern_key(cls, x: Node, function: Callable[..., Any]) -> tuple[Any, ...]:
        return (cls, x, id(function))

    def _prepare(self) -> None:
        self._set((self.x,), self.x.domain, self.x.dtype)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return Inspect(inputs[0], self.function)

    def _derive_axes(self) -> tuple[Axis, ...]:
        return self.x.axes

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        return self.x.grid
