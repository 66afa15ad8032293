"""Plans that are one paste: an overlay or a join of arrays in memory, or a window of one.

There is nothing for laws to find in them: what is hidden or outside the window is not looked at,
and a view is the place that is pasted into. So they are run as they were written, and a window of
ten thousand tiles costs what it touches, however often the window moves.
"""

from __future__ import annotations

from lazytensor.exec.boxes import BoxPlan, whole_box
from lazytensor.exec.compositing import Composite, composite_of
from lazytensor.exec.demand import demand
from lazytensor.exec.demand_join import pasted_demand
from lazytensor.exec.one_step import one_step
from lazytensor.exec.physical import Program
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import View
from lazytensor.plan.nodes_join import Join, Overlay

__all__ = ["is_pasted", "pasted_program"]


def is_pasted(node: Node) -> bool:
    """Whether a plan is one paste that asks for no hole."""
    return _pasted(node) is not None


def pasted_program(node: Node) -> Program | None:
    """The program of a plan that is one paste; None for others, and where a hole is asked for."""
    plan = _pasted(node)
    return None if plan is None else one_step(node, plan, whole_box(node))


_KINDS = (View, Overlay, Join)


def _pasted(node: Node) -> BoxPlan | None:
    if type(node) not in _KINDS:
        return None
    box = whole_box(node)
    plan = pasted_demand(node, box) if composite_of(node) is None else demand(node, box)
    if plan is None or not node.size:
        return None
    composite: Composite = plan.args[0]
    needed = plan.args[1]
    return plan if composite.fill is not None or composite.covers(needed) else None
