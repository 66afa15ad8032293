"""Laws that move a view below an operation on single positions or along axes.

Every one of them is exact for any index transform; what cannot move, an index array that repeats
positions or dimensions that only broadcast, stays above, and the hull of what is asked goes ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from lazytensor.plan.compose import compose, substitute
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cast, Elementwise, Field, Reduce, View
from lazytensor.plan.output_map import SINGLE, OutputIndexMap, single_map
from lazytensor.plan.rules.law import law
from lazytensor.plan.rules.moves import (
    broadcasting_view,
    changes_nothing,
    core,
    enlarges,
    input_dims,
    narrowed,
    renumbered,
    same_elements,
    settled,
)

__all__ = [
    "below_unary",
    "view_through_cast",
    "view_through_elementwise",
    "view_through_field",
    "view_through_reduce",
]


class Unary(Protocol):
    """A node whose result has the domain of its operand ``x``."""

    @property
    def x(self) -> Node:
        """The operand."""
        ...

    @property
    def size(self) -> int:
        """Number of elements."""
        ...

    @property
    def domain(self) -> IndexDomain:
        """That of the operand, too."""
        ...


@law(View, Elementwise, flag="slice_pushdown", gated=True)
def view_through_elementwise(view: View, f: Elementwise) -> Node | None:
    """f(x, y)[i] = f(x[i], y[i])"""
    transform = view.transform
    operands = []
    for i, x in enumerate(f.inputs):
        if not x.shape:
            operands.append(x)
            continue
        aligned = f.alignment(i)
        own = transform if aligned is None else _composed(aligned, transform)
        operands.append(broadcasting_view(x, own))
    moved = Elementwise(f.op, tuple(operands))
    if moved is f:
        return None
    if moved.size > f.size:
        return narrowed(view, lambda box: view_through_elementwise(box, f))
    return settled(moved, view.domain)


def _composed(outer: IndexTransform, inner: IndexTransform) -> IndexTransform:
    """``compose``, which need not look at bounds where they are settled."""
    domain = inner.domain
    if not domain.explicit:
        return compose(outer, inner)
    return IndexTransform._make(domain, substitute(outer.maps, outer.domain, inner.maps, domain))


@law(View, Cast, flag="slice_pushdown", gated=True)
def view_through_cast(view: View, cast: Cast) -> Node | None:
    """cast(x)[i] = cast(x[i])"""
    return below_unary(view, cast, lambda x: Cast(x, cast.to))


@law(View, Field, flag="slice_pushdown", gated=True)
def view_through_field(view: View, field: Field) -> Node | None:
    """x["f"][i] = x[i]["f"]"""
    return below_unary(view, field, lambda x: Field(x, field.name))


def below_unary(view: View, node: Unary, make: Callable[[Node], Node]) -> Node | None:
    """For operations whose result has the domain of their operand ``x``."""
    transform, above = core(view.transform)
    if enlarges(transform, node.size):
        return narrowed(view, lambda box: below_unary(box, node, make))
    if above is None:
        return make(View(node.x, transform))
    if same_elements(transform, node.domain):
        return None
    return View(make(View(node.x, transform)), above)


@law(View, Reduce, flag="slice_pushdown", gated=True)
def view_through_reduce(view: View, reduce: Reduce) -> Node | None:
    """reduce(x)[i] = reduce(x[i]), where i leaves the reduced axes whole"""
    transform, above = core(view.transform, units=not reduce.keepdims)
    if enlarges(transform, reduce.size) or not _leaves_units(transform, reduce):
        return narrowed(view, lambda box: view_through_reduce(box, reduce))
    moved = _reduce_of_view(transform, reduce)
    if moved is reduce:
        return None
    if above is None:
        return settled(moved, view.domain)
    return View(settled(moved, transform.domain), above)


def _leaves_units(transform: IndexTransform, reduce: Reduce) -> bool:
    """True if the axes kept with extent 1 stay as they are, in their order."""
    if not reduce.keepdims:
        return True
    places = []
    for axis in reduce.axes_:
        m = transform.maps[axis]
        if m.kind != SINGLE or m.offset or m.stride != 1:
            return False
        places.append(m.input_dimension)
    others = [input_dims(m) for d, m in enumerate(transform.maps) if d not in reduce.axes_]
    alone = not {d for dims in others for d in dims} & set(places)
    return alone and places == sorted(set(places))


def _reduce_of_view(transform: IndexTransform, reduce: Reduce) -> Node:
    domain, x = transform.domain, reduce.x
    kept = reduce.result_dims()
    layout = _layout(transform, reduce, kept)
    places = [-1] * domain.rank
    axes: dict[int, int] = {}
    lo, hi, labels = [], [], []
    for new, (own, d) in enumerate(layout):
        if own:
            places[d] = new
            base, label = domain, domain.labels[d]
        else:
            axes[d] = new
            base, label = x.domain, x.domain.labels[d]
            label = "" if label in domain.labels else label
        lo.append(base.inclusive_min[d])
        hi.append(base.exclusive_max[d])
        labels.append(label)
    if reduce.keepdims:
        for axis in reduce.axes_:
            new = axes[axis] = places[transform.maps[axis].input_dimension]
            lo[new], hi[new] = x.domain.inclusive_min[axis], x.domain.exclusive_max[axis]
    maps: list[OutputIndexMap] = []
    for d in range(x.ndim):
        if d in kept:
            maps.append(renumbered(transform.maps[kept[d]], places, len(layout)))
        else:
            maps.append(single_map(axes[d], 0, 1))
    below = IndexTransform._make(
        IndexDomain._make(tuple(lo), tuple(hi), tuple(labels)), tuple(maps)
    )
    return reduce.over(
        x if changes_nothing(below, x.domain) else View(x, below), tuple(sorted(axes.values()))
    )


def _layout(
    transform: IndexTransform, reduce: Reduce, kept: dict[int, int]
) -> list[tuple[bool, int]]:
    """Dims of the view below: ``(True, dim of the view above)`` or ``(False, reduced axis)``.

    Reduced axes stay between the dims they lie between, unless the view permutes those.
    """
    own = [(True, d) for d in range(transform.domain.rank)]
    if reduce.keepdims:
        return own
    natural: list[tuple[bool, int]] = []
    for d in range(reduce.x.ndim):
        if d not in kept:
            natural.append((False, d))
            continue
        for dim in input_dims(transform.maps[kept[d]]):
            if (True, dim) not in natural:
                natural.append((True, dim))
    if [entry for entry in natural if entry[0]] == own:
        return natural
    return [*own, *((False, axis) for axis in reduce.axes_)]
