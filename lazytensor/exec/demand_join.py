"""What a box of an overlay or a join takes: a copy if all of it is in memory, else its layers.

Their part of ``exec.demand``. ``layer_needs`` is what layers are asked for in any case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lazytensor.exec.boxes import BoxPlan
from lazytensor.exec.compositing import composite_of
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import View
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.output_map import ARRAY, CONSTANT
from lazytensor.plan.source import Box

__all__ = ["DEMANDS", "join_demand", "layer_needs", "overlay_demand", "pasted_demand"]

_FORWARD, _BACKWARD = slice(None), slice(None, None, -1)


def join_demand(node: Join, box: Box) -> BoxPlan:
    """A join pairs positions."""
    composite = composite_of(node)
    if composite is not None:
        return BoxPlan("paste", (composite, box, None), [])
    return _join(node, box)


def overlay_demand(node: Overlay, box: Box) -> BoxPlan:
    """An overlay shows its upper layers."""
    composite = composite_of(node)
    if composite is not None:
        return BoxPlan("paste", (composite, box, None), [])
    return _overlay(node, box)


def layer_needs(node: Join | Overlay, box: Box) -> list[tuple[Node, Box]]:
    """The boxes of layers that a box shows."""
    return (_join(node, box) if isinstance(node, Join) else _overlay(node, box)).needs


def pasted_demand(node: Node, box: Box) -> BoxPlan | None:
    """The step that pastes a window of layers in memory straight into its place, else None.

    It is told ``(order, index)``: the result with its dims in that order and then indexed so is
    what the layers are pasted into.
    """
    if type(node) is not View:
        return None
    composite = composite_of(node.x)
    if composite is None:
        return None
    needed: list[tuple[int, int]] = []
    order: list[int] = []
    index: list[Any] = []
    for kind, offset, stride, dim, _, _ in node.transform.maps:
        if kind == CONSTANT:
            needed.append((offset, offset + 1))
            index.append(None)
            continue
        if kind == ARRAY or stride not in (1, -1) or dim in order:
            return None
        lo, hi = box[dim]
        order.append(dim)
        if stride > 0:
            needed.append((offset + lo, offset + hi))
            index.append(_FORWARD)
        else:
            needed.append((offset - hi + 1, offset - lo + 1))
            index.append(_BACKWARD)
    rest = [d for d in range(len(box)) if d not in order] if len(order) < len(box) else []
    if any(box[d][1] - box[d][0] != 1 for d in rest):
        return None
    order += rest
    index += [0] * len(rest)
    return BoxPlan("paste", (composite, tuple(needed), (tuple(order), tuple(index))), [])


def _join(node: Join, box: Box) -> BoxPlan:
    axis = node.axis
    lo, hi = box[axis]
    pieces: list[Box] = []
    needs: list[tuple[Node, Box]] = []
    i = node.layer_at(lo)
    while lo < hi:
        while node.starts[i + 1] <= lo:
            i += 1
        end = min(hi, node.starts[i + 1])
        layer = node.inputs[i]
        place = (*box[:axis], (lo, end), *box[axis + 1 :])
        pieces.append(_relative(place, box))
        needs.append((layer, _layer_box(node, layer, place, node.starts[i])))
        lo = end
    return BoxPlan("join", (axis, node.new, tuple(pieces)), needs)


def _layer_box(node: Join, layer: Node, place: Box, start: int) -> Box:
    """``place`` of the join in the coordinates of one layer."""
    out = []
    origins = layer.domain.inclusive_min
    d = 0
    for dim, (a, b) in enumerate(place):
        if dim == node.axis:
            if not node.new:
                out.append((a - start + origins[d], b - start + origins[d]))
                d += 1
            continue
        shift = origins[d] - node.domain.inclusive_min[dim]
        out.append((a + shift, b + shift))
        d += 1
    return tuple(out)


def _overlay(node: Overlay, box: Box) -> BoxPlan:
    pieces: list[Box] = []
    needs: list[tuple[Node, Box]] = []
    visible, holes = node.index.visible(box)
    for layer, parts in visible:
        for part in parts:
            pieces.append(_relative(part, box))
            needs.append((node.inputs[layer], part))
    args = (node.fill, tuple(pieces), bool(holes))
    return BoxPlan("overlay", args, needs)


def _relative(inner: Box, outer: Box) -> Box:
    return tuple([(a - lo, b - lo) for (a, b), (lo, _) in zip(inner, outer, strict=True)])


DEMANDS: dict[type[Node], Callable[[Any, Box], BoxPlan]] = {
    Join: join_demand,
    Overlay: overlay_demand,
}
"""By kind, as in ``exec.demand``."""
