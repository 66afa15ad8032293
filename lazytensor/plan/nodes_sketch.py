"""The node kinds that summarise a tensor: quantiles, histograms, statistics under a mask.

Like a reduction, each looks at all elements along some axes and keeps the others; unlike one, its
result may have dims of its own: one entry for each quantile in front, one for each bin at the end.
They say what is wanted; in how many passes over the input it is found is the engine's business.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazytensor.errors import DTypeError, ShapeError
from lazytensor.plan.align import describe_shape, without_dims
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Reduce
from lazytensor.plan.ops import Reduction
from lazytensor.plan.ops_sketch import MASKED, edges_between, element_dtype, pair_dtype
from lazytensor.plan.promote import is_extended, is_extended_float
from lazytensor.plan.spec import Axis

__all__ = ["Edges", "Histogram", "Masked", "MaskedReduce", "Quantile"]

_INT64 = np.dtype(np.int64)
_BOOL = np.dtype(np.bool_)
_FLOAT32 = np.dtype(np.float32)


class Masked(Node):
    """Records of an element of ``x`` and whether it counts; the mask lies on the domain of x."""

    __slots__ = ("mask", "x")
    fields = ("x", "mask")
    x: Node
    mask: Node

    def _prepare(self) -> None:
        if self.mask.dtype != _BOOL:
            raise DTypeError(f"a mask is boolean, not {self.mask.dtype}; compare it with something")
        same = self.mask.domain.inclusive_min == self.x.domain.inclusive_min
        if self.mask.shape != self.x.shape or not same:
            raise ShapeError(
                f"a mask over {self.mask.domain!r} for a tensor over {self.x.domain!r}"
            )
        _check_number(self.x.dtype, "statistics")
        self._set((self.x, self.mask), self.x.domain, pair_dtype(self.x.dtype))

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return Masked(*inputs)

    @property
    def models(self) -> tuple[Node, ...]:
        """The values; the mask only says which of them count."""
        return (self.x,)

    def _derive_axes(self) -> tuple[Axis, ...]:
        return self.x.axes

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        return self.x.grid


def _check_number(dtype: np.dtype, what: str) -> None:
    if dtype.kind not in "biufc" and not is_extended(dtype):
        raise DTypeError(f"{what} are not defined for {dtype}: they take numbers")


class MaskedReduce(Reduce):
    """A reduction of the elements of a ``Masked`` that count; rows are those of ``MASKED``."""

    __slots__ = ()

    @property
    def row(self) -> Reduction:
        """The row of ``ops_sketch.MASKED``."""
        return MASKED[self.op]


class Quantile(Node):
    """Quantiles over some axes (ascending, not negative), as ``numpy.quantile`` defines them.

    ``q`` holds the quantiles' bytes, of dtype ``q_dtype`` and shape ``q_shape``, whose dims come
    first in the result. ``weak``: it was a Python number, which leaves floats their dtype. With
    ``approx`` each is an element whose rank is off by at most 1/4096 of their number.
    """

    __slots__ = ("approx", "axes_", "q", "q_dtype", "q_shape", "weak", "x")
    fields = ("x", "axes_", "q", "q_dtype", "q_shape", "weak", "approx")
    x: Node
    axes_: tuple[int, ...]
    q: bytes
    q_dtype: np.dtype
    q_shape: tuple[int, ...]
    weak: bool
    approx: bool

    def _prepare(self) -> None:
        values = element_dtype(self.x.dtype)
        if values.kind not in "biuf" and not is_extended(values):
            raise DTypeError(f"quantiles are not defined for {values}: they take real numbers")
        q = self.quantiles
        if not ((q >= 0) & (q <= 1)).all():
            raise ValueError(
                f"quantiles lie between 0 and 1, not {q.tolist()}; percentiles are 100 times that"
            )
        empty = any(self.x.shape[d] == 0 for d in self.axes_)
        dtype = _quantile_dtype(values, self.q_dtype, weak=self.weak)
        if dtype.kind in "biu" and empty:
            raise ShapeError(f"no quantile of {describe_shape(self.x.domain)}: no value to choose")
        kept = without_dims(self.x.domain, self.axes_)
        n = len(self.q_shape)
        domain = IndexDomain._make(
            (*((0,) * n), *kept.inclusive_min),
            (*self.q_shape, *kept.exclusive_max),
            (*(("",) * n), *kept.labels),
        )
        self._set((self.x,), domain, dtype)

    @property
    def quantiles(self) -> np.ndarray:
        """What is asked for, read-only."""
        return np.frombuffer(self.q, self.q_dtype).reshape(self.q_shape)

    @property
    def q_ndim(self) -> int:
        """Number of dims in front of those that are kept."""
        return len(self.q_shape)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return self.over(inputs[0], self.axes_)

    def over(self, x: Node, axes: tuple[int, ...]) -> Node:
        """The same quantiles of another tensor, over these of its axes."""
        return Quantile(x, axes, self.q, self.q_dtype, self.q_shape, self.weak, self.approx)

    def _derive_axes(self) -> tuple[Axis, ...]:
        return (*((Axis(),) * self.q_ndim), *_kept(self.x.axes, self.axes_))

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        own = tuple(DimGrid.whole(n) for n in self.q_shape)
        return (*own, *_kept(self.x.grid, self.axes_))


def _quantile_dtype(dtype: np.dtype, q: np.dtype, *, weak: bool) -> np.dtype:
    """NumPy's rule: whole quantiles choose an element, others lie between two."""
    dtype = dtype.newbyteorder("=")
    if q.kind in "iu":
        return dtype
    real = _FLOAT32 if is_extended(dtype) else dtype
    if weak and is_extended_float(dtype):
        return dtype
    if weak and real.kind == "f":
        return real
    return np.result_type(real, q) if real.kind != "b" else q


def _kept(values: tuple[Any, ...], axes: tuple[int, ...]) -> tuple[Any, ...]:
    return tuple(value for d, value in enumerate(values) if d not in axes)


class Histogram(Node):
    """How many elements fall into each bin, over some axes; the bins are the last dim (int64).

    ``edges``: one more than there are bins, ascending. A bin holds ``lo <= x < hi``, the last one
    also its upper edge; what lies outside, and NaN, falls into none.
    """

    __slots__ = ("axes_", "edges", "x")
    fields = ("x", "edges", "axes_")
    x: Node
    edges: Node
    axes_: tuple[int, ...]

    def _prepare(self) -> None:
        values = element_dtype(self.x.dtype)
        if values.kind not in "biuf" and not is_extended(values):
            raise DTypeError(f"histograms are not defined for {values}: they take real numbers")
        if self.edges.ndim != 1 or self.edges.shape[0] < 2:
            raise ShapeError(
                f"edges of bins are one dim of at least 2, not {describe_shape(self.edges.domain)}"
            )
        kept = without_dims(self.x.domain, self.axes_)
        domain = IndexDomain._make(
            (*kept.inclusive_min, 0),
            (*kept.exclusive_max, self.edges.shape[0] - 1),
            (*kept.labels, ""),
        )
        self._set((self.x, self.edges), domain, _INT64)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return Histogram(inputs[0], inputs[1], self.axes_)

    def over(self, x: Node, axes: tuple[int, ...]) -> Node:
        """The same bins of another tensor, over these of its axes."""
        return Histogram(x, self.edges, axes)

    @property
    def models(self) -> tuple[Node, ...]:
        """What is counted; the edges only say in which bin."""
        return (self.x,)

    def _derive_axes(self) -> tuple[Axis, ...]:
        return (*_kept(self.x.axes, self.axes_), Axis())

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        return (*_kept(self.x.grid, self.axes_), DimGrid.whole(self.shape[-1]))


class Edges(Node):
    """Edges of ``bins`` bins of one width, as NumPy's histogram has them.

    They reach from the least of ``low`` to the largest of ``high``, scalars or one limit for each
    position that a reduction kept. ``of``: dtype of what is counted; ``weak``: the limits were
    Python numbers. A limit that is not finite is a ``ValueError`` when the values are known.
    """

    __slots__ = ("bins", "high", "low", "of", "weak")
    fields = ("low", "high", "bins", "of", "weak")
    low: Node
    high: Node
    bins: int
    of: np.dtype
    weak: bool

    def _prepare(self) -> None:
        if not (self.low.size and self.high.size):
            raise ShapeError("a histogram has limits, not an empty tensor of them")
        if self.bins < 1:
            raise ValueError(f"a histogram has at least one bin, not {self.bins}")
        zero, one = np.zeros((), self.low.dtype), np.ones((), self.high.dtype)
        dtype = edges_between(zero, one, 1, self.of, weak=self.weak).dtype
        self._set((self.low, self.high), IndexDomain._make((0,), (self.bins + 1,)), dtype)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return Edges(inputs[0], inputs[1], self.bins, self.of, self.weak)

    def _derive_axes(self) -> tuple[Axis, ...]:
        return (Axis(),)

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        return (DimGrid.whole(self.bins + 1),)
