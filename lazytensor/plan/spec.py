"""What is known of a tensor before any value is read.

``TensorSpec`` bundles shape, dtype, domain, axes and read grid. Every plan node has one; sources
state theirs. Two things are kept apart on purpose: the *domain* holds integer coordinates and
names (it takes part in overlay, alignment and coordinate indexing), the *axes* hold what the
positions mean in the world (units, scale, channel names; only ``sel`` and people look at them).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from lazytensor.errors import DimensionError, ShapeError
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.edges import Edges
from lazytensor.plan.grid import DimGrid

__all__ = ["Axis", "Schema", "TensorSpec", "make_spec"]

MAX_NDIM = 64
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Axis:
    """What the positions along one dimension mean.

    ``offset`` is the world position of position 0 and ``scale`` the world distance between
    neighbours, both in ``unit`` (a UDUNITS name such as ``"micrometer"``); ``labels`` names the
    positions, as channels are named. ``kind`` is ``"space"``, ``"time"``, ``"channel"`` or None.

    >>> Axis("y", "space", "micrometer", 0.5).world(4)
    2.0
    """

    name: str = ""
    kind: str | None = None
    unit: str | None = None
    scale: float | None = None
    offset: float = 0.0
    labels: tuple[str, ...] | None = None

    def world(self, position: float) -> float:
        """World position of a position: ``offset + scale * position`` (scale 1 if unknown)."""
        return self.offset + (1.0 if self.scale is None else self.scale) * position

    def sliced(self, start: int, step: int, extent: int) -> Axis:
        """The axis seen at positions ``start + step * p`` for ``p`` in ``[0, extent)``.

        An axis without a scale has no world positions: nothing but its labels moves.
        """
        if start == 0 and step == 1 and self.labels is None:
            return self
        moved = self
        if self.scale is not None and (start or step != 1):
            moved = replace(self, offset=self.offset + start * self.scale, scale=self.scale * step)
        return moved if self.labels is None else moved._relabelled(start, step, extent)

    def _relabelled(self, start: int, step: int, extent: int) -> Axis:
        assert self.labels is not None
        known = len(self.labels)
        picked = tuple(
            self.labels[p] if 0 <= (p := start + step * k) < known else "" for k in range(extent)
        )
        return replace(self, labels=picked)

    def gathered(self, positions: np.ndarray) -> Axis:
        """The axis at an index array of positions; scale stays only for a progression."""
        steps = np.diff(positions)
        if steps.size and steps[0] and (steps == steps[0]).all():
            return self.sliced(int(positions[0]), int(steps[0]), positions.size)
        labels = self.labels
        if labels is not None:
            labels = tuple(labels[int(p)] if 0 <= p < len(labels) else "" for p in positions)
        return replace(self, scale=None, offset=0.0, labels=labels)


@dataclass(frozen=True, slots=True)
class Schema:
    """Everything a plan states about a tensor (``x.schema``)."""

    shape: tuple[int, ...]
    dtype: np.dtype
    dims: tuple[str, ...]
    domain: IndexDomain
    axes: tuple[Axis, ...]
    chunks: tuple[int | None, ...]


class TensorSpec:
    """Shape, dtype, domain, axes and read grid of a tensor; immutable."""

    __slots__ = ("axes", "domain", "dtype", "grid")

    def __init__(
        self,
        domain: IndexDomain,
        dtype: np.dtype,
        axes: tuple[Axis, ...],
        grid: tuple[DimGrid | None, ...],
    ) -> None:
        self.domain = domain
        self.dtype = dtype
        self.axes = axes
        self.grid = grid

    def __repr__(self) -> str:
        return f"TensorSpec({self.domain!r}, {self.dtype})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent per dimension."""
        return self.domain.shape

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self.domain.rank

    @property
    def dims(self) -> tuple[str, ...]:
        """Dimension names, ``""`` where unnamed."""
        return self.domain.labels

    @property
    def size(self) -> int:
        """Number of elements."""
        total = 1
        for extent in self.domain.shape:
            total *= extent
        return total

    @property
    def nbytes(self) -> int:
        """Size in memory, in bytes."""
        return self.size * self.dtype.itemsize

    @property
    def chunks(self) -> tuple[int | None, ...]:
        """Nominal extent of a read cell per dimension, None where there is no grid."""
        return tuple(None if cells is None else cells.nominal for cells in self.grid)


def make_spec(
    shape: Sequence[int],
    dtype: np.dtype,
    *,
    dims: Sequence[str | None] | None = None,
    origin: Sequence[int] | None = None,
    axes: Sequence[Axis] | None = None,
    chunks: Sequence[int | Sequence[int] | Edges] | None = None,
    together: Sequence[int] | None = None,
) -> TensorSpec:
    """The spec of a source.

    ``shape``: extents. ``dims``: names, ``None`` or ``""`` where unnamed; names that occur twice
    lose their meaning and become ``""``, with a warning. ``origin``: coordinate of the first
    element, 0 by default. ``axes``: world meaning; their names are replaced by ``dims``.
    ``chunks``: per dim a cell size, the sizes of all cells, or their edges (the last of which may
    lie behind the extent); by default one cell that may be cut anywhere. ``together``: per dim how
    many cells of one size lie in one stored object; 1 by default.

    Raises ``ShapeError`` for negative extents or more than 64 dims, ``DimensionError`` when a
    sequence has the wrong length.

    >>> make_spec((4, 6), np.dtype("u1"), dims=("y", "x"), chunks=(2, 6)).chunks
    (2, 6)
    """
    extents = tuple(int(n) for n in shape)
    if len(extents) > MAX_NDIM:
        raise ShapeError(f"{len(extents)} dimensions; at most {MAX_NDIM} are supported")
    if any(n < 0 for n in extents):
        raise ShapeError(f"negative extent in shape {extents}")
    rank = len(extents)
    lo = _per_dim("origin", origin, rank, [0] * rank)
    names = _unique_names(_per_dim("dims", dims, rank, [""] * rank))
    given = _per_dim("axes", axes, rank, [Axis()] * rank)
    grid = (
        [DimGrid.whole(n) for n in extents]
        if chunks is None
        else [
            _dim_grid(n, c, k)
            for n, c, k in zip(
                extents,
                _per_dim("chunks", chunks, rank, []),
                _per_dim("together", together, rank, [1] * rank),
                strict=True,
            )
        ]
    )
    start = tuple(int(c) for c in lo)
    domain = IndexDomain._make(
        start, tuple(a + n for a, n in zip(start, extents, strict=True)), names
    )
    return TensorSpec(
        domain,
        dtype,
        tuple(replace(axis, name=name) for axis, name in zip(given, names, strict=True)),
        tuple(grid),
    )


def _per_dim(what: str, values: Iterable[_T] | None, rank: int, default: list[_T]) -> list[_T]:
    if values is None:
        return default
    out = list(values)
    if len(out) != rank:
        raise DimensionError(f"{what} has {len(out)} entries for {rank} dimensions")
    return out


def _unique_names(dims: Sequence[str | None]) -> tuple[str, ...]:
    names = [name or "" for name in dims]
    twice = {name for name in names if name and names.count(name) > 1}
    if twice:
        warnings.warn(
            f"dimension names {sorted(twice)} occur more than once and are dropped", stacklevel=3
        )
    return tuple("" if name in twice else name for name in names)


def _dim_grid(extent: int, chunk: int | Sequence[int] | Edges, together: int) -> DimGrid:
    if isinstance(chunk, Edges):
        return DimGrid.from_edges(chunk, extent)
    if isinstance(chunk, (int, np.integer)):
        if chunk < 0 or (chunk == 0 and extent):
            raise ShapeError(f"chunk size {chunk} is not positive")
        return DimGrid.regular(extent, int(chunk), together)
    edges = [0]
    for size in chunk:
        edges.append(edges[-1] + int(size))
    if edges[-1] != extent:
        raise ShapeError(f"chunk sizes {tuple(chunk)} add up to {edges[-1]}, not to {extent}")
    return DimGrid.from_edges(edges)
