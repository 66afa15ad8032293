"""What blocks of quantized tensors need: parameters of their own groups only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lazytensor.exec.boxes import BoxPlan, aligned_box
from lazytensor.exec.kernels.quantize import Groups, groups_of
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Elementwise
from lazytensor.plan.nodes_quantize import Spread
from lazytensor.plan.ops_quantize import takes_rows
from lazytensor.plan.source import Box

__all__ = ["DEMANDS", "rows_demand"]


def _spread(node: Spread, box: Box) -> BoxPlan:
    if any(hi <= lo for lo, hi in box):
        nothing = tuple([(lo, lo) for lo in node.x.domain.inclusive_min])
        return BoxPlan("spread", (Groups((), (), 0, 1),), [(node.x, nothing)])
    return BoxPlan("spread", (groups_of(node, box),), [(node.x, node.needed(box))])


def rows_demand(node: Elementwise, box: Box) -> BoxPlan | None:
    """What a box of a quantization, or its inverse, takes; None for one pair of parameters.

    Parameters of groups are looked up by the step, and so are asked for as they are.
    """
    if not takes_rows(node) or any(hi <= lo for lo, hi in box):
        return None
    x, scales, zero_points = node.inputs
    needs = [(x, _part(node, x, box))]
    if type(scales) is not Spread or type(zero_points) is not Spread:
        needs += [(one, _part(node, one, box)) for one in (scales, zero_points)]
        return BoxPlan("quantize_rows", (node.op, None), needs)
    boxes = [_part(node, one, box) for one in (scales, zero_points)]
    groups = groups_of(scales, boxes[0])
    if groups != groups_of(zero_points, boxes[1]) or scales.shape != node.shape:
        return None
    needs += [(scales.x, scales.needed(boxes[0])), (zero_points.x, zero_points.needed(boxes[1]))]
    return BoxPlan("quantize_rows", (node.op, groups), needs)


def _part(node: Node, x: Node, box: Box) -> Box:
    return box if x.domain is node.domain else aligned_box(node, x, box)


DEMANDS: dict[type[Node], Callable[[Any, Box], BoxPlan]] = {Spread: _spread}
"""By kind, as in ``exec.demand``."""
