"""How two shapes of the same elements correspond: what laws, grids and engines know of a reshape.

A reshape keeps the order of the elements, so it falls apart into *groups*: runs of dims of the
input and of the result that hold the same number of elements and follow each other in both, such as
``(6, 4 | 5) -> (24 | 5)``. Dims of extent 1 belong to no group: they are only a way of writing. The
cells of a group are the whole rows that hold whole cells of its first dim, in either shape.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from lazytensor.plan.grid import DimGrid

__all__ = ["Group", "Shape", "groups", "reshaped_grid"]

Shape = tuple[int, ...]

_SLAB = 32 << 20
"""Bytes of a row of cells: above that one would rather read cells twice than hold all of them."""


class Group(NamedTuple):
    """Dims of the input and of the result that hold the same elements in the same order."""

    below: Shape
    above: Shape


def groups(below: Shape, above: Shape) -> list[Group]:
    """The finest groups of two shapes of one (positive) size, without dims of extent 1.

    >>> groups((6, 4, 1, 5), (24, 5))
    [Group(below=(0, 1), above=(0,)), Group(below=(3,), above=(1,))]
    """
    i = [d for d, n in enumerate(below) if n != 1]
    j = [d for d, n in enumerate(above) if n != 1]
    out: list[Group] = []
    while i:
        a, b = 1, 1
        left: list[int] = []
        right: list[int] = []
        while a != b or not left:
            if a <= b:
                left.append(i.pop(0))
                a *= below[left[-1]]
            else:
                right.append(j.pop(0))
                b *= above[right[-1]]
        out.append(Group(tuple(left), tuple(right)))
    return out


def reshaped_grid(
    grid: tuple[DimGrid | None, ...], below: Shape, above: Shape, itemsize: int
) -> tuple[DimGrid | None, ...]:
    """Read cells of a reshaped tensor, from those of the input.

    A dim that stays keeps its cells. Dims that are put together, or taken apart, have cells where
    whole cells of the first of them end, as long as a row of these is no more than ``_SLAB`` bytes;
    otherwise they have none.

    >>> cells = (DimGrid.regular(256, 64), DimGrid.regular(512, 64), DimGrid.regular(3, 3))
    >>> [g and g.nominal for g in reshaped_grid(cells, (256, 512, 3), (256 * 512, 3), 1)]
    [32768, 3]
    """
    out: list[DimGrid | None] = [DimGrid.whole(1) if n == 1 else None for n in above]
    if 0 in below:
        return tuple(out)
    found = groups(below, above)
    nominal = [1 if cells is None else cells.nominal for cells in grid]
    for group in found:
        if len(group.below) == len(group.above) == 1:
            out[group.above[0]] = grid[group.below[0]]
            continue
        inner = prod([below[d] for d in group.below[1:]])
        others = prod([nominal[other.below[0]] * prod([below[d] for d in other.below[1:]])
                       for other in found if other is not group])  # fmt: skip
        rows = _rows(grid, group)
        if rows and rows * inner * others * itemsize <= _SLAB:
            for e, cells in zip(group.above, _cut(group, above, rows * inner), strict=True):
                out[e] = cells
    return tuple(out)


def _rows(grid: tuple[DimGrid | None, ...], group: Group) -> int:
    """Positions of the first dim in one cell; 0 where cells do not begin at position 0.

    Where nothing is stored in cells there is nothing to heed.
    """
    first = grid[group.below[0]]
    if all(cells is not None and cells.free for cells in [grid[d] for d in group.below]):
        return 0
    return first.chunk * first.together if first is not None and first.is_plain else 0


def _cut(group: Group, above: Shape, elements: int) -> list[DimGrid | None]:
    """Cells of the dims above such that one row of them is a multiple of ``elements``, or that."""
    out: list[DimGrid | None] = []
    for i, e in enumerate(group.above):
        inner = prod([above[f] for f in group.above[i + 1 :]])
        if elements >= inner:
            if elements % inner:
                return [None] * len(group.above)
            out.append(DimGrid.regular(above[e], elements // inner))
            out += [DimGrid.regular(above[f], above[f]) for f in group.above[i + 1 :]]
            return out
        out.append(DimGrid.regular(above[e], 1))
    return out
