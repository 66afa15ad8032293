"""Plans that are one read: windows of a stored array, which are collected by the thousand.

A small window is read in less time than it takes to plan a run, and what planning would find is
known: a view of a source shares nothing and is one stage; it is one block if it moves little, or
lies in one stored cell; and where the source fills the block itself, there is one step. The program
is the one that ``lower`` would make, so running it means the same; only the way to it is shorter.
"""

from __future__ import annotations

from lazytensor.exec.demand import BoxPlan, demand, whole_box
from lazytensor.exec.lower import one_step
from lazytensor.exec.physical import Program
from lazytensor.exec.workgrid import stays_whole
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Scan, scan_below
from lazytensor.plan.source import Box

__all__ = ["window_program"]


def window_program(node: Node, limit: int) -> Program | None:
    """The program of a plan that is one read and one block; None for all other plans.

    ``limit``: bytes that the block may hold.
    """
    scan = scan_below(node)
    if scan is None or scan.source.array is not None:
        return None
    nbytes = node.nbytes
    if not 0 < nbytes <= limit:
        return None
    box = whole_box(node)
    plan = demand(node, box)
    if plan.needs:
        return None
    program = one_step(node, plan, box)
    fits = stays_whole(program.moved, limit) or _in_one_cell(scan, plan)
    return program if fits else None


def _in_one_cell(scan: Scan, plan: BoxPlan) -> bool:
    """Whether a read stays within one stored cell, which is never cut."""
    if plan.op == "gather":
        return False
    box: Box = plan.args[1]
    return all(
        b - a == 1
        or (cells is not None and not cells.free and cells.cells_between(a - lo, b - lo) == 1)
        for (a, b), lo, cells in zip(box, scan.domain.inclusive_min, scan.grid, strict=True)
    )
