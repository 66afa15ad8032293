"""Finding out, before anything is read, whether a plan would read a hole of an overlay.

An overlay without a fill value may have holes; they are an error only where they are asked for. A
plan of the same shape answers that exactly: overlays become "False over a background of True",
other leaves False, and every operation passes the mark of a hole on to all it touches. It is only
evaluated when the cheap test (the hull of what is asked for) does not rule holes out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lazytensor.errors import HoleError
from lazytensor.exec.compositing import Composite, composite_of, computed_nodes
from lazytensor.exec.demand import whole_box
from lazytensor.exec.holes_axis import AXIS_MARKS
from lazytensor.exec.lower import Compiled, lower
from lazytensor.exec.physical import Step
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Constant, Elementwise, Reduce, Reshape, Scan, View
from lazytensor.plan.nodes_block import Call, Downsample
from lazytensor.plan.nodes_contract import Contract
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.nodes_sketch import Edges, Histogram, Masked, Quantile
from lazytensor.plan.output_map import single_map
from lazytensor.plan.rules.moves import settled

__all__ = ["check_holes", "hole_plan"]

_BOOL = np.dtype(np.bool_)
_FALSE = Constant.of(False, _BOOL)


def check_holes(root: Node, evaluate: Callable[[Node], np.ndarray]) -> None:
    """Raise ``HoleError`` if computing ``root`` would read a position without a layer."""
    open_overlays = [
        n
        for n in computed_nodes([root])
        if isinstance(n, Overlay) and n.fill is None and _has_holes(n)
    ]
    if not open_overlays or root.size == 0 or not any(_might_read_hole(root)):
        return
    marks = evaluate(hole_plan(root))
    if not marks.any():
        return
    at = np.unravel_index(int(marks.argmax()), marks.shape)
    where = tuple(int(p) + lo for p, lo in zip(at, root.domain.inclusive_min, strict=True))
    layers = sum(len(overlay.inputs) for overlay in open_overlays)
    raise HoleError(
        f"position {where} of {root!r} is covered by none of the {layers} layers of an overlay; "
        f"pass fill_value=..., or narrow the domain"
    )


def _has_holes(overlay: Overlay) -> bool:
    composite = composite_of(overlay)
    if composite is not None:
        return not composite.covers(composite.whole)
    return not overlay.index.covers(whole_box(overlay))


def _might_read_hole(root: Node) -> list[bool]:
    program = lower(Compiled(root), whole_box(root))
    return [_HOLES[step.op](step) for step in program.steps if step.op in _HOLES]


def _in_overlay(step: Step) -> bool:
    return step.args[0] is None and bool(step.args[2])


def _in_paste(step: Step) -> bool:
    composite: Composite = step.args[0]
    return composite.fill is None and not composite.covers(step.args[1])


_HOLES: dict[str, Callable[[Step], bool]] = {"overlay": _in_overlay, "paste": _in_paste}
"""Steps that may leave holes, and whether they do."""


def hole_plan(root: Node) -> Node:
    """Plan of a boolean tensor on the root's domain: which elements need a hole."""
    marks: dict[Node, Node] = {}
    for node in walk(root):
        # Operations on marks may lie elsewhere: not every operand has an opinion on coordinates.
        marks[node] = settled(_mark(node, [marks[x] for x in node.inputs]), node.domain)
    return marks[root]


def _never(domain: IndexDomain) -> Node:
    """False everywhere on a domain."""
    return View(_FALSE, IndexTransform._make(domain, ())) if domain.rank else _FALSE


def _mark(node: Node, marks: list[Node]) -> Node:
    match node:
        case Constant() | Scan():
            return _never(node.domain)
        case View():
            return View(marks[0], node.transform)
        case Elementwise() | Masked():
            out = marks[0]
            for mark in marks[1:]:
                out = Elementwise("logical_or", (out, mark))
            return out
        case Reduce():
            return Reduce("any", marks[0], node.axes_, node.keepdims, ())
        case Join():
            return Join(tuple(marks), node.axis, node.new, node.label)
        case Overlay():
            fill = None if node.fill is None else np.False_.tobytes()
            fill = np.True_.tobytes() if fill is None else fill
            return Overlay(tuple(marks), node.window, fill)
        case Downsample():
            return Downsample(marks[0], node.factors, "max")
        case Reshape():
            return Reshape(marks[0], node.to_shape)
        case Quantile() | Histogram() | Edges():
            return _summary_mark(node, marks)
        case Contract():
            return _contract_mark(node, marks)
        case Call():
            return _call_mark(node, marks)
        case _ if type(node) in AXIS_MARKS:
            return AXIS_MARKS[type(node)](node, marks)
        case _:
            return marks[0]


def _summary_mark(node: Quantile | Histogram | Edges, marks: list[Node]) -> Node:
    """A hole anywhere along the reduced axes, or among edges, is one in all that comes of it."""
    out: Node = _FALSE
    for mark in marks if isinstance(node, Edges) else marks[1:]:
        anywhere = Reduce("any", mark, tuple(range(mark.ndim)), False, ())
        out = Elementwise("logical_or", (out, anywhere))
    out = View(out, IndexTransform._make(node.domain, ())) if node.ndim else out
    if isinstance(node, Edges):
        return out
    line: Node = Reduce("any", marks[0], node.axes_, False, ())
    front = node.q_ndim if isinstance(node, Quantile) else 0
    maps = tuple([single_map(front + d, 0, 1) for d in range(line.ndim)])
    line = View(line, IndexTransform._make(node.domain, maps)) if node.ndim else line
    return Elementwise("logical_or", (out, line))


def _contract_mark(node: Contract, marks: list[Node]) -> Node:
    """A hole in a row or a column is one in all sums that it takes part in."""
    batch = len(node.batch1)
    sides = (
        (marks[0], node.batch1, node.free1, node.summed1, batch),
        (marks[1], node.batch2, node.free2, node.summed2, batch + len(node.free1)),
    )
    out = []
    for mark, pairs, free, summed, place in sides:
        line = Reduce("any", mark, tuple(sorted(summed)), False, ())
        dims = {d: i for i, d in enumerate(pairs)} | {d: place + i for i, d in enumerate(free)}
        starts = zip(sorted(dims), line.domain.inclusive_min, strict=True)
        maps = [single_map(dims[d], lo - node.domain.inclusive_min[dims[d]], 1) for d, lo in starts]
        out.append(View(line, IndexTransform._make(node.domain, tuple(maps))))
    return Elementwise("logical_or", tuple(out))


def _call_mark(node: Call, marks: list[Node]) -> Node:
    """A user's function sees whole cells: one hole anywhere in its input counts."""
    out = marks[0]
    for mark in marks[1:]:
        out = Elementwise("logical_or", (out, mark))
    anywhere = Reduce("any", out, tuple(range(out.ndim)), False, ())
    return View(anywhere, IndexTransform._make(node.domain, ())) if node.ndim else anywhere
