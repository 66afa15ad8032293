"""Laws that move a view below operations on neighbourhoods: downsample and functions on blocks.

Blocks of a downsample lie at multiples of the factor, in coordinates. A slice of the result is a
slice of the input as long as it keeps those blocks whole, so unit steps move and everything else
(single blocks, steps, flips, index arrays along a dimension that is downsampled) waits above while
its hull goes ahead. Along dimensions with factor 1 everything moves.
"""

from __future__ import annotations

from typing import NamedTuple

from lazytensor.plan.align import alignment
from lazytensor.plan.compose import compose
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import View
from lazytensor.plan.nodes_block import Call, Downsample
from lazytensor.plan.output_map import IDENTITY, SINGLE, OutputIndexMap, single_map
from lazytensor.plan.rules.law import law
from lazytensor.plan.rules.moves import (
    box_of,
    box_transform,
    broadcasting_view,
    core,
    enlarges,
    hull,
    input_dims,
    narrowed,
    reference_counts,
    renumbered,
    same_elements,
    settled,
    view_of,
)
from lazytensor.plan.source import Box

__all__ = ["view_through_call", "view_through_downsample"]


class _Dim(NamedTuple):
    """A dimension of the result below: one of the view's, or (``own`` false) one kept as it was."""

    own: bool
    number: int


@law(View, Downsample, flag="slice_pushdown", gated=True)
def view_through_downsample(view: View, node: Downsample) -> Node | None:
    """downsample(x, f)[a:b] = downsample(x[a*f:b*f], f), coordinates kept"""
    if not view.size or _waits(view, node):
        return None
    transform, above = core(view.transform, units=True)
    if enlarges(transform, node.size):
        return narrowed(view, lambda box: view_through_downsample(box, node))
    layout = _layout(transform, node)
    if _only_permutes(transform, node, layout):
        return None
    below = _Below(transform, node, layout)
    moved = below.node()
    if moved is node:
        return None
    if [d for d in layout if d.own] != layout or _is_permuted(layout):
        moved = View(moved, below.remaining())
    else:
        moved = settled(moved, transform.domain)
    return moved if above is None else View(moved, above)


def _waits(view: View, node: Downsample) -> bool:
    """A quick look: True if a view does nothing but permute dims that are added up in C order.

    It has let a window go ahead, and waits for what is above.
    """
    if node.method != "mean" or node.dtype.kind in "biu":
        return False
    coarse, maps = [], view.transform.maps
    if len({m.input_dimension for m in maps}) != len(maps) or len(maps) != view.ndim:
        return False
    own, domain = view.domain, node.domain
    for d, (kind, offset, stride, dim, _, _) in enumerate(maps):
        if kind != SINGLE or offset or stride != 1:
            return False
        if own.inclusive_min[dim] != domain.inclusive_min[d]:
            return False
        if own.exclusive_max[dim] != domain.exclusive_max[d]:
            return False
        if node.factors[d] > 1:
            coarse.append(dim)
    return coarse != sorted(coarse)


def _layout(transform: IndexTransform, node: Downsample) -> list[_Dim]:
    """Dims of the result below: the view's own, where all of its maps can move."""
    counts = reference_counts(transform)
    coarse = {
        dim
        for m, f in zip(transform.maps, node.factors, strict=True)
        if f > 1
        for dim in input_dims(m)
    }
    natural: list[_Dim] = []
    stays = False
    for d, (m, f) in enumerate(zip(transform.maps, node.factors, strict=True)):
        dims = input_dims(m)
        if f > 1:
            moves = m.kind == SINGLE and m.stride == 1 and counts[m.input_dimension] == 1
        else:
            moves = coarse.isdisjoint(dims)
        if moves:
            natural += [own for dim in dims if (own := _Dim(True, dim)) not in natural]
        else:
            stays = True
            natural.append(_Dim(False, d))
    if stays:
        return natural
    # A float mean adds up in C order of the block: permuting its dims would round otherwise.
    order = [own.number for own in natural if own.number in coarse]
    if node.method == "mean" and node.dtype.kind not in "biu" and order != sorted(order):
        return natural
    return sorted(natural)


def _only_permutes(transform: IndexTransform, node: Downsample, layout: list[_Dim]) -> bool:
    """True if the dims below keep their order and are whole, so that nothing would move."""
    if len(layout) != node.ndim or hull(transform) != box_of(node.domain):
        return False
    return all(
        m.kind == SINGLE and m.stride == 1 and not m.offset and dim == (True, m.input_dimension)
        for m, dim in zip(transform.maps, layout, strict=True)
    )


def _is_permuted(layout: list[_Dim]) -> bool:
    return layout != sorted(layout)


class _Below:
    """A downsample of a view of its input, given the dims it shall have."""

    def __init__(self, transform: IndexTransform, node: Downsample, layout: list[_Dim]) -> None:
        self.transform = transform
        self.operation = node
        self.layout = layout
        self.places = [-1] * transform.domain.rank
        for new, dim in enumerate(layout):
            if dim.own:
                self.places[dim.number] = new

    def node(self) -> Node:
        """The downsample over the moved view."""
        node, rank = self.operation, len(self.layout)
        bounds, labels = self._dims()
        factors = [1] * rank
        kept = {dim.number: new for new, dim in enumerate(self.layout) if not dim.own}
        maps: list[OutputIndexMap] = []
        for d, (m, f) in enumerate(zip(self.transform.maps, node.factors, strict=True)):
            if d in kept:
                new = kept[d]
                maps.append(single_map(new, 0, 1))
            elif f == 1:
                maps.append(renumbered(m, self.places, rank))
                continue
            else:
                new = self.places[m.input_dimension]
                maps.append(single_map(new, m.offset * f, 1))
                bounds[new] = bounds[new][0] + m.offset, bounds[new][1] + m.offset
            factors[new] = f
            shift = maps[-1].offset
            a, b = bounds[new]
            lo, hi = box_of(node.x.domain)[d]
            bounds[new] = max(a * f, lo) - shift, min(b * f, hi) - shift
        domain = IndexDomain._make(
            tuple([a for a, _ in bounds]), tuple([b for _, b in bounds]), tuple(labels)
        )
        below = view_of(node.x, IndexTransform._make(domain, tuple(maps)))
        return Downsample(below, tuple(factors), node.method, node.approx)

    def _dims(self) -> tuple[list[tuple[int, int]], list[str]]:
        """Interval (in coordinates of the view, or of the result) and name of every dim below."""
        own, base = box_of(self.transform.domain), hull(self.transform)
        names, old = self.transform.domain.labels, self.operation.domain.labels
        bounds, labels = [], []
        for dim in self.layout:
            bounds.append(own[dim.number] if dim.own else base[dim.number])
            if dim.own:
                labels.append(names[dim.number])
            else:
                labels.append("" if old[dim.number] in names else old[dim.number])
        return bounds, labels

    def remaining(self) -> IndexTransform:
        """The view that stays above the downsample below."""
        maps = [
            IDENTITY[dim.number] if dim.own else self.transform.maps[dim.number]
            for dim in self.layout
        ]
        return IndexTransform._make(self.transform.domain, tuple(maps))


@law(View, Call, flag="slice_pushdown", gated=True)
def view_through_call(view: View, call: Call) -> Node | None:
    """map_blocks(f, x)[a:b] = map_blocks(f, x[a-halo:b+halo])[a:b], where the caller allows it"""
    if not call.slice_pushdown or not view.size:
        return None
    box = tuple(
        (max(a - halo, lo), min(b + halo, hi))
        for (a, b), halo, (lo, hi) in zip(
            hull(view.transform), call.halo, box_of(call.domain), strict=True
        )
    )
    if box == box_of(call.domain):
        return None
    moved = call.with_inputs(_sliced_inputs(call, box))
    if view.domain == moved.domain and same_elements(view.transform, moved.domain):
        return moved
    return View(moved, view.transform)


def _sliced_inputs(call: Call, box: Box) -> tuple[Node, ...]:
    """Every input where it meets the box; the first one decides the domain of the result."""
    window = box_transform(box, call.domain.labels)
    inputs: list[Node] = [View(call.inputs[0], window)]
    for x in call.inputs[1:]:
        if not x.shape:
            inputs.append(x)
            continue
        aligned = alignment(call.domain, x.domain)
        inputs.append(broadcasting_view(x, window if aligned is None else compose(aligned, window)))
    return tuple(inputs)
