"""Laws of ``reshape``: what of a view of the result is a view of the input.

A reshape keeps the order of the elements, so it falls apart into *groups*: runs of dims of the
input and of the result that hold the same number of elements and follow each other in both, such as
``(6, 4 | 5) -> (24 | 5)``. Dims of extent 1 belong to no group: they are only a way of writing. A
group of one dim on either side is no reshape at all, and what a view does to it, it may as well do
below. In any other group the elements from the first to the last that is asked for are a box below
if they are whole rows of both shapes, and so as many rows as it takes go ahead.

They are laws of their own because nothing else knows the order of elements across dims.
"""

from __future__ import annotations

from math import prod

from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Reshape, View
from lazytensor.plan.output_map import (
    ARRAY,
    CONSTANT,
    SINGLE,
    OutputIndexMap,
    constant_map,
    single_map,
)
from lazytensor.plan.reshaping import Group, Shape, groups
from lazytensor.plan.rules.law import law
from lazytensor.plan.rules.moves import (
    box_of,
    hull,
    input_dims,
    reference_counts,
    renumbered,
    settled,
    view_of,
)

__all__ = [
    "drop_identity_reshape",
    "merge_reshapes",
    "view_of_units_instead_of_reshape",
    "view_through_reshape",
]


@law(Reshape, flag="simplify_expression")
def merge_reshapes(reshape: Reshape) -> Node | None:
    """reshape(reshape(x, a), b) = reshape(x, b)"""
    below = reshape.x
    return Reshape(below.x, reshape.to_shape) if type(below) is Reshape else None


@law(Reshape, flag="simplify_expression")
def drop_identity_reshape(reshape: Reshape) -> Node | None:
    """reshape(x, shape(x)) = x, where x counts from 0 and names nothing"""
    return reshape.x if reshape.domain == reshape.x.domain else None


@law(Reshape, flag="simplify_expression")
def view_of_units_instead_of_reshape(reshape: Reshape) -> Node | None:
    """reshape(x, (1, n)) = x[newaxis, :], where only dims of extent 1 come and go

    A view can move on, and keeps the grid and the axes of what it looks at. It counts from 0 and
    names nothing, as the reshape does.
    """
    x = reshape.x
    if not _differ_in_units(x.shape, reshape.to_shape):
        return None
    places = [d for d, n in enumerate(reshape.to_shape) if n != 1]
    maps = []
    for n, lo in zip(x.shape, x.domain.inclusive_min, strict=True):
        maps.append(constant_map(lo) if n == 1 else single_map(places.pop(0), lo, 1))
    return View(x, IndexTransform._make(reshape.domain, tuple(maps)))


def _differ_in_units(a: Shape, b: Shape) -> bool:
    return [n for n in a if n != 1] == [n for n in b if n != 1]


def _rows(shape: Shape, first: int, last: int) -> tuple[tuple[int, int], ...]:
    """The smallest box of ``shape`` that is contiguous and holds elements ``first`` to ``last``.

    >>> _rows((6, 4), 5, 6), _rows((6, 4), 5, 9)
    (((1, 2), (1, 3)), ((1, 3), (0, 4)))
    """
    out = []
    step = prod(shape)
    split = False
    for n in shape:
        step //= n
        a, b = (0, n - 1) if split else (first // step % n, last // step % n)
        split = split or a != b
        out.append((a, b + 1))
    return tuple(out)


def _ends(shape: Shape, box: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """Numbers of the first and the last element of a box, in C order."""
    first = last = 0
    for n, (a, b) in zip(shape, box, strict=True):
        first, last = first * n + a, last * n + b - 1
    return first, last


def _common_rows(
    below: Shape, above: Shape, box: tuple[tuple[int, int], ...]
) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """The smallest contiguous boxes of the same elements in both shapes, around ``box`` above.

    >>> _common_rows((24,), (6, 4), ((1, 2), (2, 3))), _common_rows((6, 4), (24,), ((5, 6),))
    ((((6, 7),), ((1, 2), (2, 3))), (((1, 2), (1, 2)), ((5, 6),)))
    >>> _common_rows((6, 4), (24,), ((5, 9),))
    (((1, 3), (0, 4)), ((4, 12),))
    """
    first, last = _ends(above, box)
    while True:
        upper = _rows(above, first, last)
        lower = _rows(below, *_ends(above, upper))
        if _ends(below, lower) == _ends(above, upper):
            return lower, upper
        first, last = _ends(below, lower)


@law(View, Reshape, flag="slice_pushdown", gated=True)
def view_through_reshape(view: View, reshape: Reshape) -> Node | None:
    """reshape(x, s)[i] = reshape(x[j], t)[k], where j asks for the rows of x that i meets"""
    if not view.size:
        return None
    below = _Below(view, reshape)
    if not below.moves:
        return None
    moved = Reshape(view_of(reshape.x, below.transform()), tuple(below.shape))
    above = IndexTransform._make(view.domain, tuple(below.above))
    same = box_of(view.domain) == box_of(moved.domain) and _in_order(below.above)
    return settled(moved, view.domain) if same else View(moved, above)


def _in_order(maps: list[OutputIndexMap]) -> bool:
    return all(
        m.kind == SINGLE and (m.input_dimension, m.offset, m.stride) == (d, 0, 1)
        for d, m in enumerate(maps)
    )


class _Below:
    """A reshape of a view of the input, and the view that stays above it, worked out by group.

    ``shape`` is what the view below is reshaped to, ``above`` has one map per dim of that.
    """

    def __init__(self, view: View, reshape: Reshape) -> None:
        self.view = view.transform
        self.x = reshape.x
        self.full = reshape.to_shape
        self.hull = hull(self.view)
        self.counts = reference_counts(self.view)
        self.moves = False
        self.lo: list[int] = []
        self.hi: list[int] = []
        self.labels: list[str] = []
        # Dims of extent 1 that no group holds are asked for by name.
        self.maps = [constant_map(lo) for lo in self.x.domain.inclusive_min]
        self.arrays: list[tuple[int, OutputIndexMap]] = []
        self.shape: list[int] = []
        self.above: list[OutputIndexMap] = []
        for group in groups(self.x.shape, self.full):
            if len(group.below) == len(group.above) == 1:
                self._alone(group.below[0], group.above[0])
            else:
                self._together(group)

    def transform(self) -> IndexTransform:
        """The view below."""
        domain = IndexDomain._make(tuple(self.lo), tuple(self.hi), tuple(self.labels))
        for d, m in self.arrays:
            places = [-1] * self.view.domain.rank
            places[input_dims(m)[0]] = self.maps[d].input_dimension
            self.maps[d] = renumbered(m, places, domain.rank)
        return IndexTransform._make(domain, tuple(self.maps))

    def _dim(self, d: int, lo: int, hi: int) -> int:
        """A new dim of the view below, named as dim ``d`` of the input."""
        self.lo.append(lo)
        self.hi.append(hi)
        self.labels.append(self.x.domain.labels[d])
        return len(self.lo) - 1

    def _alone(self, d: int, e: int) -> None:
        """A group of one dim on either side: its map moves if nothing else hangs on it."""
        m, base = self.view.maps[e], self.x.domain.inclusive_min[d]
        dims = input_dims(m)
        extent = 1
        for dim in dims:
            extent *= self.view.domain.shape[dim]
        if m.kind == CONSTANT:
            self.maps[d] = constant_map(m.offset + base)
            self.moves = True
            return
        if len(dims) != 1 or self.counts[dims[0]] != 1 or extent > self.full[e]:
            self._slice(d, e)
            return
        lo, hi = box_of(self.view.domain)[dims[0]]
        if m.kind == ARRAY:
            # What the coordinates are called does not matter below: a reshape counts from 0.
            self.arrays.append((d, m._replace(offset=m.offset + base)))
            self.maps[d] = single_map(self._dim(d, 0, hi - lo), 0, 1)
            self.moves = True
        else:
            shift = (m.offset + base) // m.stride
            offset = m.offset + base - shift * m.stride
            self.maps[d] = single_map(self._dim(d, lo + shift, hi + shift), offset, m.stride)
            self.moves = self.moves or m.stride != 1 or hi - lo != self.full[e]
        self.shape.append(hi - lo)
        self.above.append(single_map(dims[0], -lo, 1))

    def _slice(self, d: int, e: int) -> None:
        """The map stays above, what it meets goes ahead."""
        a, b = self.hull[e]
        base = self.x.domain.inclusive_min[d]
        self.maps[d] = single_map(self._dim(d, base + a, base + b), 0, 1)
        self.moves = self.moves or b - a != self.full[e]
        m = self.view.maps[e]
        self.shape.append(b - a)
        self.above.append(m._replace(offset=m.offset - a))

    def _together(self, group: Group) -> None:
        """Whole rows go ahead; dims of which one position is left vanish on both sides."""
        below = tuple([self.x.shape[d] for d in group.below])
        above = tuple([self.full[e] for e in group.above])
        lower, upper = _common_rows(below, above, tuple([self.hull[e] for e in group.above]))
        for d, (a, b) in zip(group.below, lower, strict=True):
            base = self.x.domain.inclusive_min[d]
            if b - a == 1:
                self.maps[d] = constant_map(base + a)
            else:
                self.maps[d] = single_map(self._dim(d, base + a, base + b), 0, 1)
        for e, (a, b) in zip(group.above, upper, strict=True):
            if b - a > 1:
                m = self.view.maps[e]
                self.shape.append(b - a)
                self.above.append(m._replace(offset=m.offset - a))
        self.moves = self.moves or lower != tuple((0, n) for n in below)
