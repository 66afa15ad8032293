"""Laws that move a view below a summary: quantiles, histograms, statistics under a mask.

Positions that are kept are independent of each other, so a view of them is a summary of a view.
Dims that the summary adds, one entry for each quantile or bin, stay above: all of them come from
the same counts.
"""

from __future__ import annotations

from lazytensor.plan.node import Node
from lazytensor.plan.nodes import View
from lazytensor.plan.nodes_sketch import Histogram, Masked, MaskedReduce, Quantile
from lazytensor.plan.rules.law import law
from lazytensor.plan.rules.moves import (
    box_of,
    box_transform,
    core,
    enlarges,
    hull,
    narrowed,
    same_elements,
    settled,
)
from lazytensor.plan.rules.pushdown import view_through_reduce
from lazytensor.plan.source import Box

__all__ = [
    "view_through_histogram",
    "view_through_masked",
    "view_through_masked_reduce",
    "view_through_quantile",
]


@law(View, Masked, flag="slice_pushdown", gated=True)
def view_through_masked(view: View, masked: Masked) -> Node | None:
    """masked(x, m)[i] = masked(x[i], m[i])"""
    transform, above = core(view.transform)
    if enlarges(transform, masked.size):
        return narrowed(view, lambda box: view_through_masked(box, masked))
    if above is not None and same_elements(transform, masked.domain):
        return None
    moved = Masked(View(masked.x, transform), View(masked.mask, transform))
    return moved if above is None else View(moved, above)


@law(View, MaskedReduce, flag="slice_pushdown", gated=True)
def view_through_masked_reduce(view: View, reduce: MaskedReduce) -> Node | None:
    """reduce(masked(x, m))[i] = reduce(masked(x, m)[i]), where i leaves the reduced axes whole"""
    return view_through_reduce(view, reduce)


@law(View, Quantile, flag="slice_pushdown", gated=True)
def view_through_quantile(view: View, quantile: Quantile) -> Node | None:
    """quantile(x, q)[:, i] = quantile(x[i], q), where i leaves the reduced axes whole"""
    front = quantile.q_ndim
    return _below(view, quantile, box_of(quantile.domain)[:front], ())


@law(View, Histogram, flag="slice_pushdown", gated=True)
def view_through_histogram(view: View, histogram: Histogram) -> Node | None:
    """histogram(x)[i, :] = histogram(x[i]), where i leaves the reduced axes whole"""
    return _below(view, histogram, (), box_of(histogram.domain)[-1:])


def _below(view: View, node: Quantile | Histogram, front: Box, back: Box) -> Node | None:
    """The hull of the kept dims goes below; dims of the summary's own are left whole."""
    if node.ndim == len(front) + len(back):
        return None
    asked = hull(view.transform)
    kept = asked[len(front) : node.ndim - len(back)]
    box = (*front, *kept, *back)
    if box == box_of(node.domain):
        return None
    moved = node.over(_slab_view(node, kept), node.axes_)
    window = box_transform(box, node.domain.labels)
    moved = settled(moved, window.domain)
    if view.domain == moved.domain and same_elements(view.transform, moved.domain):
        return moved
    return View(moved, view.transform)


def _slab_view(node: Quantile | Histogram, kept: Box) -> Node:
    """The input where the kept dims lie in a box."""
    rest = iter(kept)
    base = box_of(node.x.domain)
    box = tuple([base[d] if d in node.axes_ else next(rest) for d in range(node.x.ndim)])
    return View(node.x, box_transform(box, node.x.domain.labels))
