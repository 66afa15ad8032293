"""The general index step: terms placed on dimensions become a domain and maps.

Every way of writing an index (a plain key, ``oindex``, ``vindex``, a dimension expression on some
dimensions) says which term speaks of which dimension of the *intermediate* space: the old
dimensions with the new axes put in. From there on there is one rule, which is this module:
dimensions keep their order, an integer or array term removes its dimension, and the dimensions of
index arrays are put in where their group is anchored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lazytensor.errors import OutOfBoundsError, ShapeError
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index_array import IndexArray
from lazytensor.plan.index_interval import MAX_RANK, Bounds, strided_slice
from lazytensor.plan.index_propagate import propagate
from lazytensor.plan.index_terms import Placed, joint_shape
from lazytensor.plan.output_map import (
    EVERYWHERE,
    IDENTITY,
    OutputIndexMap,
    array_map,
    constant_map,
    single_map,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FRONT", "Step", "index_domain", "slice_dim"]

FRONT = -1
"""The anchor of index arrays whose dimensions come before all others."""


class Step(NamedTuple):
    """One operation on a domain: what it becomes, and where its old dimensions come from.

    ``maps`` has one map per old dimension, over the new domain; ``selected`` names the new
    dimensions that a chained operation speaks of.
    """

    domain: IndexDomain
    maps: tuple[OutputIndexMap, ...]
    selected: tuple[int, ...] = ()


class _Group:
    """Index arrays that share their dimensions in the result."""

    __slots__ = ("anchor", "members", "shape", "start")

    def __init__(
        self, anchor: int, shape: tuple[int, ...], members: list[tuple[int, NDArray[Any]]]
    ) -> None:
        self.anchor = anchor
        self.shape = shape
        self.members = members
        self.start = 0

    def map_of(self, values: NDArray[Any], rank: int) -> OutputIndexMap:
        """The array map of one member in a result of ``rank`` dimensions."""
        before = self.start + len(self.shape) - values.ndim
        after = rank - self.start - len(self.shape)
        full = values.reshape((1,) * before + values.shape + (1,) * after)
        return array_map(IndexArray(full), 0, 1, EVERYWHERE)


class _Result:
    """The dimensions of the result as they are put out, one after the other."""

    __slots__ = ("hi", "labels", "lo", "lower", "upper")

    def __init__(self) -> None:
        self.lo: list[int] = []
        self.hi: list[int] = []
        self.labels: list[str] = []
        self.lower: list[bool] = []
        self.upper: list[bool] = []

    def add(self, bounds: Bounds, label: str = "") -> int:
        """Put out one dimension; returns its number."""
        lo, hi, lower, upper = bounds
        self.lo.append(lo)
        self.hi.append(hi)
        self.lower.append(lower)
        self.upper.append(upper)
        self.labels.append(label)
        return len(self.lo) - 1

    def domain(self) -> IndexDomain:
        """The finished domain; raises `ShapeError` if it has too many dimensions."""
        if len(self.lo) > MAX_RANK:
            raise ShapeError(f"the result would have {len(self.lo)} dimensions, over {MAX_RANK}")
        return IndexDomain._make(
            tuple(self.lo), tuple(self.hi), tuple(self.labels), tuple(self.lower), tuple(self.upper)
        )


def index_domain(
    domain: IndexDomain,
    placed: Sequence[Placed],
    mode: str,
    *,
    positional: bool = False,
) -> Step:
    """Apply placed terms to a domain; dimensions no term speaks of stay as they are.

    ``mode`` is ``"default"``, ``"oindex"`` or ``"vindex"`` and says how several index arrays go
    together: jointly (in place where the array terms are consecutive, else first), each for itself,
    jointly and first. A boolean array stands for the coordinates of its True elements, counted from
    coordinate 0, and a new axis has implicit bounds; with ``positional`` they are counted from the
    first element, and the bounds are explicit.

    Raises `OutOfBoundsError` where an integer or a slice leaves explicit bounds, `ShapeError` where
    index arrays do not broadcast. Values of index arrays are not checked here.
    """
    new_dims = {p.dims[0] for p in placed if p.term is None}
    total = domain.rank + len(new_dims)
    old_dims = iter(range(domain.rank))
    base = [None if dim in new_dims else next(old_dims) for dim in range(total)]
    origins = [domain.inclusive_min[old] if positional and old is not None else 0 for old in base]
    groups, group_of = _group_arrays(placed, mode, origins)
    simple = {p.dims[0]: p.term for p in placed if p.dims and not isinstance(p.term, np.ndarray)}
    looked_up = {dim for group in groups for dim, _ in group.members}

    result = _Result()
    maps: dict[int, OutputIndexMap] = {}
    out: dict[int, int] = {}
    for dim in range(FRONT, total + 1):
        for group in groups:
            if group.anchor == dim:
                group.start = len(result.lo)
                for extent in group.shape:
                    result.add((0, extent, False, False))
        if not 0 <= dim < total or dim in looked_up:
            continue
        old, term = base[dim], simple.get(dim, slice(None))
        if old is None:
            out[dim] = result.add((0, 1, not positional, not positional))
        elif isinstance(term, slice):
            bounds, maps[old] = slice_dim(domain, old, term, len(result.lo))
            out[dim] = result.add(bounds, domain.labels[old])
        else:
            assert isinstance(term, int)
            maps[old] = constant_map(term)
    rank = len(result.lo)
    for group in groups:
        for dim, values in group.members:
            old = base[dim]
            assert old is not None
            maps[old] = group.map_of(values, rank)
    ordered = tuple(maps[old] for old in range(domain.rank))
    selected = _selected_after(placed, out, group_of)
    return Step(propagate(domain, result.domain(), ordered), ordered, selected)


def slice_dim(
    domain: IndexDomain, old: int, term: slice, new: int
) -> tuple[Bounds, OutputIndexMap]:
    """Slice one dimension, which becomes dimension ``new``: its bounds, and the map to the old one.

    >>> slice_dim(IndexDomain(shape=[10]), 0, slice(None, None, -2), 0)[0]
    (-4, 1, False, False)
    """
    bounds = (
        domain.inclusive_min[old],
        domain.exclusive_max[old],
        domain.implicit_lower_bounds[old],
        domain.implicit_upper_bounds[old],
    )
    step = 1 if term.step is None else term.step
    try:
        sliced, offset = strided_slice(bounds, term.start, term.stop, step)
    except OutOfBoundsError as error:
        raise OutOfBoundsError(f"dimension {old} of {domain!r}: {error}") from None
    unchanged = step == 1 and new < MAX_RANK
    return sliced, IDENTITY[new] if unchanged else single_map(new, offset, step)


def _group_arrays(
    placed: Sequence[Placed], mode: str, origins: Sequence[int]
) -> tuple[list[_Group], dict[int, _Group]]:
    """The groups of index arrays, and the group of each array term by its place in the key."""
    at = [i for i, p in enumerate(placed) if isinstance(p.term, np.ndarray)]
    parts = {i: _coordinates(placed[i], origins) for i in at}
    if mode == "oindex":
        groups = {i: _Group(placed[i].at, shape, members) for i, (shape, members) in parts.items()}
        return list(groups.values()), groups
    if not at:
        return [], {}
    shape = joint_shape([shape for shape, _ in parts.values()])
    between = [placed[i].term for i in range(at[0], at[-1])]
    in_place = mode == "default" and all(isinstance(t, (int, np.ndarray)) for t in between)
    anchor = placed[at[0]].at if in_place else FRONT
    joint = _Group(anchor, shape, [member for _, part in parts.values() for member in part])
    return [joint], dict.fromkeys(at, joint)


def _coordinates(
    placed: Placed, origins: Sequence[int]
) -> tuple[tuple[int, ...], list[tuple[int, NDArray[Any]]]]:
    """Shape of an array term and its coordinates per dimension."""
    array = placed.term
    assert isinstance(array, np.ndarray)
    if array.dtype != bool:
        return array.shape, [(placed.dims[0], array)]
    if array.ndim == 0:
        return (int(array),), []
    found = np.nonzero(array)
    members = [(dim, at + origins[dim]) for dim, at in zip(placed.dims, found, strict=True)]
    return found[0].shape, members


def _selected_after(
    placed: Sequence[Placed], out: dict[int, int], group_of: dict[int, _Group]
) -> tuple[int, ...]:
    """The result dimensions that stand for the selected ones, in the order of the terms.

    Dimensions of index arrays stand where their group's first term does, or first if they are put
    out first.
    """
    selected: list[int] = []
    seen: list[_Group] = []
    for i in sorted(range(len(placed)), key=lambda i: i not in group_of or not _leads(group_of[i])):
        group = group_of.get(i)
        if group is None:
            selected.extend(out[dim] for dim in placed[i].dims if dim in out)
        elif not any(group is other for other in seen):
            seen.append(group)
            selected.extend(range(group.start, group.start + len(group.shape)))
    return tuple(selected)


def _leads(group: _Group) -> bool:
    return group.anchor == FRONT
