"""The node kinds that turn one or more tensors into one, position by position.

Each class is one kind: its fields, and how domain, dtype, axes and read grid of the result follow
from the inputs. What the values are is said by ``exec.interpret``; how they are computed in
blocks, by ``exec.lower``. Kinds that assemble several tensors or work on neighbourhoods are in
``plan.nodes_join`` and ``plan.nodes_block``.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import numpy as np

from lazytensor.errors import DTypeError, ShapeError
from lazytensor.plan.align import alignment, describe_shape, merge_domains
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.index import IndexTransform, OutputIndexMap, OutputIndexMethod
from lazytensor.plan.index_interval import check_extent
from lazytensor.plan.node import Node
from lazytensor.plan.ops import OPERATIONS, SUMMARIES, Reduction
from lazytensor.plan.promote import is_extended
from lazytensor.plan.reshaping import reshaped_grid
from lazytensor.plan.source import Source
from lazytensor.plan.spec import Axis

__all__ = [
    "Cache",
    "Cast",
    "Constant",
    "Elementwise",
    "Field",
    "Rechunk",
    "Reduce",
    "Reshape",
    "Scan",
    "View",
    "scan_below",
]

_SCALAR = IndexDomain._make((), ())


class Constant(Node):
    """A scalar: its dtype and its bytes (so that NaN payloads and -0.0 are themselves)."""

    __slots__ = ("data", "scalar_dtype")
    fields = ("scalar_dtype", "data")
    scalar_dtype: np.dtype
    data: bytes

    def _prepare(self) -> None:
        if len(self.data) != self.scalar_dtype.itemsize:
            raise ShapeError(f"{len(self.data)} bytes are not one {self.scalar_dtype}")
        self._set((), _SCALAR, self.scalar_dtype)

    @classmethod
    def of(cls, value: Any, dtype: np.dtype) -> Constant:
        """The constant node of a value converted to ``dtype``."""
        return cls(dtype, np.asarray(value, dtype=dtype).tobytes())

    @property
    def value(self) -> np.ndarray:
        """The scalar as a read-only 0-d array."""
        return np.frombuffer(self.data, self.scalar_dtype).reshape(())

    def _derive_axes(self) -> tuple[Axis, ...]:
        return ()

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        return ()


class Scan(Node):
    """A source, whole."""

    __slots__ = ("source",)
    fields = ("source",)
    source: Source

    @classmethod
    def intern_key(cls, source: Source) -> tuple[Hashable, ...]:
        return (cls, source.key)

    def _prepare(self) -> None:
        spec = self.source.spec
        self._set((), spec.domain, spec.dtype)

    def _derive_axes(self) -> tuple[Axis, ...]:
        return self.source.spec.axes

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        return self.source.spec.grid


class View(Node):
    """The values of ``x`` at the image of an index transform: any indexing whatsoever."""

    __slots__ = ("transform", "x")
    fields = ("x", "transform")
    x: Node
    transform: IndexTransform

    @classmethod
    def intern_key(cls, x: Node, transform: IndexTransform) -> tuple[Hashable, ...]:
        return (cls, x, transform.key)

    def _prepare(self) -> None:
        self._set((self.x,), self.transform.domain, self.x.dtype)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return View(inputs[0], self.transform)

    def _derive_axes(self) -> tuple[Axis, ...]:
        axes = [Axis(name) for name in self.domain.labels]
        for d, m in reversed(list(enumerate(self.transform.output))):
            base, lo = self.x.axes[d], self.x.domain.inclusive_min[d]
            for dim, start, step in _progression(m, self.domain, lo):
                axis = base.sliced(start, step, self.shape[dim])
                axes[dim] = replace(axis, name=self.domain.labels[dim])
            for dim, positions in _gather(m, lo):
                axis = base.gathered(positions)
                axes[dim] = replace(axis, name=self.domain.labels[dim])
        return tuple(axes)

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        grid: list[DimGrid | None] = [DimGrid.whole(n) for n in self.shape]
        for d, m in enumerate(self.transform.output):
            cells, lo = self.x.grid[d], self.x.domain.inclusive_min[d]
            for dim, start, step in _progression(m, self.domain, lo):
                grid[dim] = None if cells is None else cells.affine(start, step, self.shape[dim])
            if m.method == OutputIndexMethod.array:
                for dim, n in enumerate(m.index_array.shape):
                    if n > 1:
                        grid[dim] = None
        return tuple(grid)


def scan_below(node: Node) -> Scan | None:
    """The source that a node is, or is a view of; None for what is made of anything else.

    >>> x = lt.asarray([1, 2, 3])
    >>> scan_below(x[1:]._node) is x._node, scan_below((x + 1)._node)
    (True, None)
    """
    below = node.x if type(node) is View else node
    return below if type(below) is Scan else None


def _progression(
    m: OutputIndexMap, domain: IndexDomain, base_lo: int
) -> list[tuple[int, int, int]]:
    """``(input dim, base position of its first element, step)`` of an affine map, else empty."""
    if m.method != OutputIndexMethod.single_input_dimension:
        return []
    dim = m.input_dimension
    return [(dim, m.offset + m.stride * domain.inclusive_min[dim] - base_lo, m.stride)]


def _gather(m: OutputIndexMap, base_lo: int) -> list[tuple[int, np.ndarray]]:
    """``(input dim, base positions)`` of an index array that varies along one dim, else empty."""
    if m.method != OutputIndexMethod.array:
        return []
    varying = [dim for dim, n in enumerate(m.index_array.shape) if n > 1]
    if len(varying) != 1:
        return []
    return [(varying[0], m.offset + m.stride * m.index_array.ravel() - base_lo)]


class Elementwise(Node):
    """A row of the operation table applied to broadcast inputs."""

    __slots__ = ("op",)
    fields = ("op", "inputs")
    op: str

    def _prepare(self) -> None:
        row = OPERATIONS[self.op]
        dtype = row.result_dtype(tuple([x.dtype for x in self.inputs]))
        ranked = [x.domain for x in self.inputs if x.shape]
        self._set(self.inputs, merge_domains(ranked) if ranked else _SCALAR, dtype)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return Elementwise(self.op, inputs)

    def alignment(self, i: int) -> IndexTransform | None:
        """Transform from this domain to that of input ``i``; None when it is the identity."""
        return alignment(self.domain, self.inputs[i].domain)

    def _derive_axes(self) -> tuple[Axis, ...]:
        return tuple(
            replace(_dominant_axis(self.inputs, d - self.ndim, n), name=self.domain.labels[d])
            for d, n in enumerate(self.shape)
        )

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        return tuple(dominant_grid(self.inputs, d - self.ndim, n) for d, n in enumerate(self.shape))


def _dominant_axis(inputs: tuple[Node, ...], d: int, extent: int) -> Axis:
    """Axis of the first input that has the dim in full and an opinion on it."""
    having = [x for x in inputs if x.ndim >= -d and x.shape[d] == extent]
    firm = [x for x in having if not x.domain.implicit_lower_bounds[d]]
    return (firm or having)[0].axes[d]


def dominant_grid(inputs: tuple[Node, ...], d: int, extent: int) -> DimGrid | None:
    """Cells of the input with most bytes that has dim ``d`` (counted from the end) in full.

    Cells that cost something to cut come before free ones.
    """
    having = [x for x in inputs if x.ndim >= -d and x.shape[d] == extent]
    ranked = sorted(having, key=lambda x: x.nbytes, reverse=True)
    cuts = [x.grid[d] for x in ranked]
    stored = [cells for cells in cuts if cells is not None and not cells.free]
    return stored[0] if stored else cuts[0]


def _castable(dtype: np.dtype) -> bool:
    """Structured, raw and object dtypes have no meaning as another dtype."""
    return is_extended(dtype) or dtype.kind not in "OV"


class Cast(Node):
    """``numpy.ndarray.astype`` to another dtype."""

    __slots__ = ("to", "x")
    fields = ("x", "to")
    x: Node
    to: np.dtype

    def _prepare(self) -> None:
        if self.to != self.x.dtype and not (_castable(self.to) and _castable(self.x.dtype)):
            raise DTypeError(f"cannot cast {self.x.dtype} to {self.to}")
        self._set((self.x,), self.x.domain, self.to)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return Cast(inputs[0], self.to)

    def _derive_axes(self) -> tuple[Axis, ...]:
        return self.x.axes

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        return self.x.grid


class Field(Node):
    """One field of a structured dtype."""

    __slots__ = ("name", "x")
    fields = ("x", "name")
    x: Node
    name: str

    def _prepare(self) -> None:
        known = self.x.dtype.fields
        if known is None or self.name not in known:
            names = ", ".join(known) if known else "none: the dtype is not structured"
            raise DTypeError(f"no field {self.name!r} in {self.x.dtype}; fields: {names}")
        dtype = known[self.name][0]
        if dtype.shape:
            raise DTypeError(f"field {self.name!r} is a subarray {dtype}, which is not supported")
        self._set((self.x,), self.x.domain, dtype)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return Field(inputs[0], self.name)

    def _derive_axes(self) -> tuple[Axis, ...]:
        return self.x.axes

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        return self.x.grid


class Reduce(Node):
    """A reduction of the operation table over some axes (ascending, not negative).

    ``params`` are the row's further parameters as sorted ``(name, value)`` pairs; a dtype is among
    them when the caller asked for one.
    """

    __slots__ = ("axes_", "keepdims", "op", "params", "x")
    fields = ("op", "x", "axes_", "keepdims", "params")
    op: str
    x: Node
    axes_: tuple[int, ...]
    keepdims: bool
    params: tuple[tuple[str, Any], ...]

    @property
    def row(self) -> Reduction:
        """The row of the table that says what the reduction does."""
        return SUMMARIES[self.op]

    def _prepare(self) -> None:
        row = self.row
        dtype = row.result_dtype(self.x.dtype, dict(self.params))
        if row.needs_values and any(self.x.shape[d] == 0 for d in self.axes_):
            raise ShapeError(
                f"{self.op} of {describe_shape(self.x.domain)}: no value along axis "
                f"{next(d for d in self.axes_ if self.x.shape[d] == 0)}"
            )
        base = self.x.domain
        lo, hi, labels = [], [], []
        for d in range(base.rank):
            if d not in self.axes_:
                lo.append(base.inclusive_min[d])
                hi.append(base.exclusive_max[d])
                labels.append(base.labels[d])
            elif self.keepdims:
                lo.append(0)
                hi.append(1)
                labels.append(base.labels[d])
        self._set((self.x,), IndexDomain._make(tuple(lo), tuple(hi), tuple(labels)), dtype)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return self.over(inputs[0], self.axes_)

    def over(self, x: Node, axes: tuple[int, ...]) -> Node:
        """The same reduction of another tensor, over these of its axes."""
        return type(self)(self.op, x, axes, self.keepdims, self.params)

    def _derive_axes(self) -> tuple[Axis, ...]:
        out = []
        for d, axis in enumerate(self.x.axes):
            if d not in self.axes_:
                out.append(axis)
            elif self.keepdims:
                out.append(Axis(axis.name, axis.kind))
        return tuple(out)

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        out: list[DimGrid | None] = []
        for d, cells in enumerate(self.x.grid):
            if d not in self.axes_:
                out.append(cells)
            elif self.keepdims:
                out.append(DimGrid.whole(1))
        return tuple(out)

    def result_dims(self) -> dict[int, int]:
        """Kept input dim -> dim of the result."""
        if self.keepdims:
            return {d: d for d in range(self.x.ndim) if d not in self.axes_}
        kept = [d for d in range(self.x.ndim) if d not in self.axes_]
        return {d: i for i, d in enumerate(kept)}


class Reshape(Node):
    """The same elements in C order under another shape (Array API ``reshape``)."""

    __slots__ = ("to_shape", "x")
    fields = ("x", "to_shape")
    x: Node
    to_shape: tuple[int, ...]

    def _prepare(self) -> None:
        total = 1
        for n in self.to_shape:
            total *= check_extent(n)
        if total != self.x.size:
            raise ShapeError(
                f"cannot reshape {describe_shape(self.x.domain)} with {self.x.size} elements "
                f"into {self.to_shape} with {total}"
            )
        self._set(
            (self.x,), IndexDomain._make((0,) * len(self.to_shape), self.to_shape), self.x.dtype
        )

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return Reshape(inputs[0], self.to_shape)

    def _derive_axes(self) -> tuple[Axis, ...]:
        return (Axis(),) * len(self.to_shape)

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        x = self.x
        return reshaped_grid(x.grid, x.shape, self.to_shape, x.dtype.itemsize)


class Rechunk(Node):
    """The same values with another grid of cells; ``sizes`` per dim."""

    __slots__ = ("sizes", "x")
    fields = ("x", "sizes")
    x: Node
    sizes: tuple[int, ...]

    def _prepare(self) -> None:
        self._set((self.x,), self.x.domain, self.x.dtype)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return Rechunk(inputs[0], self.sizes)

    def _derive_axes(self) -> tuple[Axis, ...]:
        return self.x.axes

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        return tuple(DimGrid.regular(n, c) for n, c in zip(self.shape, self.sizes, strict=True))


class Cache(Node):
    """A hint: compute once during one collect, however many consumers there are."""

    __slots__ = ("x",)
    fields = ("x",)
    x: Node

    def _prepare(self) -> None:
        self._set((self.x,), self.x.domain, self.x.dtype)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return Cache(inputs[0])

    def _derive_axes(self) -> tuple[Axis, ...]:
        return self.x.axes

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        return self.x.grid
