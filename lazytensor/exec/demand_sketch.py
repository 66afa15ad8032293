"""What quantiles, histograms and masked statistics need for a box: all along the reduced axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lazytensor.exec.boxes import BoxPlan, whole_box
from lazytensor.exec.sketch_counts import BinnedCounts, StatisticOfCounts
from lazytensor.exec.sketch_nodes import (
    First,
    Next,
    QuantileOfKeys,
    QuantileOfRanks,
)
from lazytensor.exec.streamed import Computed
from lazytensor.plan.node import Node
from lazytensor.plan.nodes_sketch import Edges, Histogram, Masked, MaskedReduce, Quantile
from lazytensor.plan.source import Box

__all__ = ["DEMANDS"]


def _masked(node: Masked, box: Box) -> BoxPlan:
    return BoxPlan("masked", (), [(node.x, box), (node.mask, box)])


def _masked_reduce(node: MaskedReduce, box: Box) -> BoxPlan:
    kept = node.result_dims()
    base = whole_box(node.x)
    needed = tuple(box[kept[d]] if d in kept else interval for d, interval in enumerate(base))
    args = (node.op, node.axes_, node.keepdims, node.params)
    return BoxPlan("masked_reduce", args, [(node.x, needed)])


def _slab(x: Node, axes: tuple[int, ...], kept: Box) -> Box:
    """The kept positions of ``kept``, and all along the others."""
    rest = iter(kept)
    return tuple(interval if d in axes else next(rest) for d, interval in enumerate(whole_box(x)))


def _quantile(node: Quantile, box: Box) -> BoxPlan:
    own, kept = box[: node.q_ndim], box[node.q_ndim :]
    args = (node.axes_, node.quantiles, node.weak, own)
    return BoxPlan("quantile", args, [(node.x, _slab(node.x, node.axes_, kept))])


def _histogram(node: Histogram, box: Box) -> BoxPlan:
    slab = _slab(node.x, node.axes_, box[:-1])
    needs = [(node.x, slab), (node.edges, whole_box(node.edges))]
    return BoxPlan("histogram", (node.axes_, box[-1]), needs)


def _edges(node: Edges, box: Box) -> BoxPlan:
    args = (node.bins, node.of, node.weak, box[0])
    return BoxPlan(
        "edges", args, [(node.low, whole_box(node.low)), (node.high, whole_box(node.high))]
    )


def _computed(node: Computed, box: Box) -> BoxPlan:
    return BoxPlan("computed", (node, box), [(x, whole_box(x)) for x in node.inputs])


DEMANDS: dict[type[Node], Callable[[Any, Box], BoxPlan]] = {
    BinnedCounts: _computed,
    Edges: _edges,
    First: _computed,
    Histogram: _histogram,
    Masked: _masked,
    MaskedReduce: _masked_reduce,
    Next: _computed,
    Quantile: _quantile,
    QuantileOfKeys: _computed,
    QuantileOfRanks: _computed,
    StatisticOfCounts: _computed,
}
"""By kind, as in ``exec.demand``."""
