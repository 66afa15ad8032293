"""Laws of ``downsample`` by itself: of another one, of one element, of layers side by side.

Blocks lie at multiples of the factor, in coordinates, so a downsample of a downsample has the
blocks of the product of the factors: every block of the product is made of whole blocks below, the
partial ones at the edges included. Least and greatest do not mind in how many steps they are found.
A mean rounds in each step and weighs partial blocks like whole ones; a median of medians is not the
median: these keep their steps.

A block that lies in one layer of a mosaic is that layer's business. Where all blocks do, each layer
may be downsampled by itself; that is as much work in more nodes, so it is done for what it makes
possible: a constant layer becomes a small constant, and one that is scanned from a pyramid may be
read from a coarser level. A block on a seam would be computed for both sides, and of a hole in it
nobody would hear: then all stays as it is.
"""

from __future__ import annotations

import numpy as np

from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Constant, View, scan_below
from lazytensor.plan.nodes_block import Downsample
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.rules.law import law
from lazytensor.plan.rules.moves import settled

__all__ = ["downsample_layers", "drop_downsample_by_one", "merge_downsamples"]

_EXTREMES = ("min", "max")


@law(Downsample, flag="simplify_expression")
def drop_downsample_by_one(node: Downsample) -> Node | None:
    """downsample(x, (1, 1)) = x, where factors are 1

    Blocks of one element are not reduced but copied, floats and NaN too.
    """
    for f in node.factors:
        if f != 1:
            return None
    return node.x if node.domain == node.x.domain else None


@law(Downsample, Downsample, flag="simplify_expression", gated=True)
def merge_downsamples(node: Downsample, below: Downsample) -> Node | None:
    """downsample(downsample(x, f), g) = downsample(x, f*g), for min and max

    A block without a number gives infinity, which is what the next step makes of nothing but NaN,
    too; of zeros of both signs either step takes the one that sorts first (min) or last (max).
    """
    if node.method not in _EXTREMES or below.method != node.method:
        return None
    factors = tuple([f * g for f, g in zip(below.factors, node.factors, strict=True)])
    return Downsample(below.x, factors, node.method, node.approx and below.approx)


@law(Downsample, flag="join_flattening")
def downsample_layers(node: Downsample) -> Node | None:
    """downsample(overlay(x, y), f) = overlay(downsample(x, f), downsample(y, f)); concat, stack too

    Where seams are at multiples of f, and a layer is a constant or comes from a pyramid.
    """
    below = node.x
    if not isinstance(below, Overlay | Join):
        return None
    if not any(map(_gains, below.inputs)) or not below.size:
        return None
    return _of_overlay(node, below) if isinstance(below, Overlay) else _of_join(node, below)


def _gains(layer: Node) -> bool:
    """True for what a law makes something of once it is downsampled by itself."""
    if type(layer) is View and type(layer.x) is Constant:
        return True
    scan = scan_below(layer)
    return scan is not None and bool(getattr(scan.source, "levels", None))


def _of_overlay(node: Downsample, overlay: Overlay) -> Node | None:
    if overlay.fill is not None and not _stays(overlay.fill, node):
        return None
    window = overlay.window
    for x in overlay.inputs:
        if not _on_blocks(x.domain, window, node.factors):
            return None
    layers = tuple([node.with_inputs((x,)) for x in overlay.inputs])
    return Overlay(layers, node.domain, overlay.fill)


def _on_blocks(layer: IndexDomain, window: IndexDomain, factors: tuple[int, ...]) -> bool:
    """True if a layer begins and ends with blocks, or with the window, and is nowhere outside."""
    for d, f in enumerate(factors):
        a, b = layer.inclusive_min[d], layer.exclusive_max[d]
        lo, hi = window.inclusive_min[d], window.exclusive_max[d]
        if a < lo or b > hi or (a % f and a != lo) or (b % f and b != hi):
            return False
    return True


def _stays(fill: bytes, node: Downsample) -> bool:
    """True if blocks of the fill value are the fill value: no NaN, no mean that might round."""
    if node.dtype.kind in "biu":
        return True
    if node.dtype.kind != "f" or node.method == "mean":
        return False
    return not np.isnan(np.frombuffer(fill, node.dtype)[0])


def _of_join(node: Downsample, join: Join) -> Node | None:
    f = node.factors[join.axis]
    if f != 1 and (join.new or any(start % f for start in join.starts[1:-1])):
        return None
    layers = []
    for k, x in enumerate(join.inputs):
        domain = _placed(join, k)
        factors = node.factors
        if join.new:
            factors = (*factors[: join.axis], *factors[join.axis + 1 :])
        if 0 in domain.shape:
            return None
        layers.append(Downsample(settled(x, domain), factors, node.method, node.approx))
    return settled(Join(tuple(layers), join.axis, join.new, join.label), node.domain)


def _placed(join: Join, k: int) -> IndexDomain:
    """Where layer ``k`` lies in the join: blocks are counted from there."""
    lo, hi = list(join.domain.inclusive_min), list(join.domain.exclusive_max)
    labels = list(join.domain.labels)
    if join.new:
        for bounds in (lo, hi):
            del bounds[join.axis]
        del labels[join.axis]
    else:
        lo[join.axis], hi[join.axis] = join.starts[k], join.starts[k + 1]
    return IndexDomain._make(tuple(lo), tuple(hi), tuple(labels))
