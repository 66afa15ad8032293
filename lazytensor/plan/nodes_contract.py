"""The node kind that multiplies two tensors and adds up along shared dimensions.

``matmul``, ``tensordot`` and ``vecdot`` are one operation: the dimensions of each input are paired
with one of the other and kept (*batch*), paired and added up (*summed*), or stand alone (*free*).
What the three functions differ in (which dims, broadcasting, their order) is settled when they
build, so that laws and engines know one kind. It is in a module of its own because its inputs meet
neither position by position, as elementwise operands do, nor one beside the other, as layers do.
"""

from __future__ import annotations

from dataclasses import replace

from lazytensor.errors import DTypeError, ShapeError
from lazytensor.plan.align import describe_shape, merge_domains, picked_dims
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.node import Node
from lazytensor.plan.promote import is_extended
from lazytensor.plan.spec import Axis

__all__ = ["Contract"]


class Contract(Node):
    """Sums of products of two tensors of one dtype: batch dims, free dims of ``x1``, of ``x2``.

    ``batch1[i]`` of ``x1`` goes with ``batch2[i]`` of ``x2`` and stays; ``summed1[i]`` goes with
    ``summed2[i]`` and is added up. Positions pair up; extents of a pair are equal. Free dims keep
    their coordinates and names, batch dims follow the elementwise rule; a name that would stand on
    two dims of the result is dropped from both. Sums of no elements are zero (False).
    """

    __slots__ = ("batch1", "batch2", "summed1", "summed2", "x1", "x2")
    fields = ("x1", "x2", "batch1", "batch2", "summed1", "summed2")
    x1: Node
    x2: Node
    batch1: tuple[int, ...]
    batch2: tuple[int, ...]
    summed1: tuple[int, ...]
    summed2: tuple[int, ...]

    def _prepare(self) -> None:
        _check_dims(self.x1, self.batch1 + self.summed1)
        _check_dims(self.x2, self.batch2 + self.summed2)
        self._check_extents()
        if self.x1.dtype != self.x2.dtype:
            raise DTypeError(f"operands of {self.x1.dtype} and {self.x2.dtype}: cast one of them")
        if self.x1.dtype.kind not in "biufc" and not is_extended(self.x1.dtype):
            raise DTypeError(f"values of {self.x1.dtype} cannot be multiplied and added up")
        self._set((self.x1, self.x2), self._domain(), self.x1.dtype)

    def _check_extents(self) -> None:
        pairs1, pairs2 = self.batch1 + self.summed1, self.batch2 + self.summed2
        if len(self.batch1) != len(self.batch2) or len(pairs1) != len(pairs2):
            raise ShapeError(f"dims {pairs1} and {pairs2} do not pair up")
        for d, e in zip(pairs1, pairs2, strict=True):
            if self.x1.shape[d] != self.x2.shape[e]:
                raise ShapeError(
                    f"{_dim(self.x1, d)} of {describe_shape(self.x1.domain)} and {_dim(self.x2, e)}"
                    f" of {describe_shape(self.x2.domain)} do not match: "
                    f"{self.x1.shape[d]} != {self.x2.shape[e]}"
                )

    @property
    def free1(self) -> tuple[int, ...]:
        """Dims of ``x1`` that stand alone, ascending."""
        taken = self.batch1 + self.summed1
        return tuple([d for d in range(self.x1.ndim) if d not in taken])

    @property
    def free2(self) -> tuple[int, ...]:
        """Dims of ``x2`` that stand alone, ascending."""
        taken = self.batch2 + self.summed2
        return tuple([d for d in range(self.x2.ndim) if d not in taken])

    def _domain(self) -> IndexDomain:
        parts = [(self.x1.domain, self.free1), (self.x2.domain, self.free2)]
        if self.batch1:
            one = picked_dims(self.x1.domain, self.batch1)
            other = picked_dims(self.x2.domain, self.batch2)
            batch = merge_domains([one, other])
            parts.insert(0, (batch, tuple(range(batch.rank))))
        lo = [domain.inclusive_min[d] for domain, dims in parts for d in dims]
        hi = [domain.exclusive_max[d] for domain, dims in parts for d in dims]
        labels = [domain.labels[d] for domain, dims in parts for d in dims]
        if len(set(labels)) < len(labels):
            labels = ["" if labels.count(name) > 1 else name for name in labels]
        return IndexDomain._make(tuple(lo), tuple(hi), tuple(labels))

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return Contract(*inputs, self.batch1, self.batch2, self.summed1, self.summed2)

    def _derive_axes(self) -> tuple[Axis, ...]:
        axes = [self.x1.axes[d] for d in self.batch1 + self.free1]
        axes += [self.x2.axes[d] for d in self.free2]
        return tuple(
            axis if axis.name == name else replace(axis, name=name)
            for axis, name in zip(axes, self.domain.labels, strict=True)
        )

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        grid = [
            _common_grid(self.x1, d, self.x2, e)
            for d, e in zip(self.batch1, self.batch2, strict=True)
        ]
        grid += [self.x1.grid[d] for d in self.free1]
        grid += [self.x2.grid[d] for d in self.free2]
        return tuple(grid)


def _check_dims(x: Node, dims: tuple[int, ...]) -> None:
    if len(set(dims)) != len(dims) or not all(0 <= d < x.ndim for d in dims):
        raise ShapeError(f"dims {dims} of {describe_shape(x.domain)} are not different dims of it")


def _dim(x: Node, d: int) -> str:
    name = x.domain.labels[d]
    return f"dim {name!r}" if name else f"axis {d}"


def _common_grid(x1: Node, d: int, x2: Node, e: int) -> DimGrid | None:
    """Cells of a batch dim: of the input with most bytes, as ``dominant_grid`` has it."""
    first, second = x1.grid[d], x2.grid[e]
    if x2.nbytes > x1.nbytes:
        first, second = second, first
    stored = [cells for cells in (first, second) if cells is not None and not cells.free]
    return stored[0] if stored else first
