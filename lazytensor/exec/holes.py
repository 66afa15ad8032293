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
from lazytensor.exec.demand import whole_box
from lazytensor.exec.lower import Compiled, lower
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Constant, Elementwise, Reduce, Reshape, Scan, View
from lazytensor.plan.nodes_block import Call, Downsample
from lazytensor.plan.nodes_join import Join, Overlay

__all__ = ["check_holes", "hole_plan"]

_BOOL = np.dtype(np.bool_)
_FALSE = Constant.of(False, _BOOL)


def check_holes(root: Node, evaluate: Callable[[Node], np.ndarray]) -> None:
    """Raise ``HoleError`` if computing ``root`` would read a position without a layer."""
    open_overlays = [
        n for n in walk(root) if isinstance(n, Overlay) and n.fill is None and _has_holes(n)
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
    return bool(overlay.index.visible(whole_box(overlay)).holes)


def _might_read_hole(root: Node) -> list[bool]:
    program = lower(Compiled(root), whole_box(root))
    return [step.args[0] is None and step.args[2] for step in program.steps if step.op == "overlay"]


def hole_plan(root: Node) -> Node:
    """Plan of a boolean tensor on the root's domain: which elements need a hole."""
    marks: dict[Node, Node] = {}
    for node in walk(root):
        marks[node] = _mark(node, [marks[x] for x in node.inputs])
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
        case Elementwise():
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
        case Call():
            return _call_mark(node, marks)
        case _:
            return marks[0]


def _call_mark(node: Call, marks: list[Node]) -> Node:
    """A user's function sees whole cells: one hole anywhere in its input counts."""
    out = marks[0]
    for mark in marks[1:]:
        out = Elementwise("logical_or", (out, mark))
    anywhere = Reduce("any", out, tuple(range(out.ndim)), False, ())
    return View(anywhere, IndexTransform._make(node.domain, ())) if node.ndim else anywhere
