"""Plans that are one read: windows of a stored array, which are collected by the thousand.

A small window is read in less time than it takes to plan a run, and what planning would find is
known: a view of a source shares nothing and is one stage; it is one block if it moves little, or
lies in one stored cell; and where the source fills the block itself, there is one step. The program
is the one that ``lower`` would make, so running it means the same; only the way to it is shorter.

A window of some size is not cut into tasks either, if its source lets several threads read it
together: they share the stored units of one read out among themselves without the GIL, where tasks
would take turns at it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lazytensor.exec.demand import BoxPlan, demand, whole_box
from lazytensor.exec.joined import Result, begin_windows, joined_program, program_of_all
from lazytensor.exec.one_step import one_step
from lazytensor.exec.physical import Program, Step
from lazytensor.exec.workgrid import stays_whole
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Scan, scan_below
from lazytensor.plan.source import Box, Reading

__all__ = ["Window", "is_shared", "shared_read", "window_of", "windows_of"]

_TOGETHER = 64 << 20
"""Bytes that threads read together as one task; more is cut, so that progress is seen."""

_SHARED = frozenset({"read", "read_placed", "read_strided"})

_ALONE = 1 << 20
"""Bytes that one thread has read, or decoded, before others would have started."""


class Window(NamedTuple):
    """A plan that is one read. ``whole``: it is one block however it is run. ``worth_sharing``:
    several threads would be faster, if the source allows it."""

    program: Program
    whole: bool
    worth_sharing: bool


def window_of(node: Node, limit: int) -> Window | None:
    """The window that a plan is, if it is one read; None for all other plans.

    ``limit``: bytes that a block may hold.
    """
    scan = scan_below(node)
    if scan is None:
        return _joined_window(joined_program(node), limit) or _pasted_window(node, limit)
    if scan.source.array is not None:
        return None
    nbytes = node.nbytes
    if not 0 < nbytes <= limit:
        return None
    box = whole_box(node)
    plan = demand(node, box)
    if plan.needs:
        return None
    program = one_step(node, plan, box)
    if program.nbytes > limit:
        # More than its result, which is for the long way to refuse, or to cut.
        return None
    if _in_one_cell(scan, plan):
        return Window(program, True, False)
    whole = stays_whole(program.moved, limit)
    decoded = _decoded(scan, node.size) if plan.op == "gather" else _decoded_in(scan, plan)
    moved = max(program.moved, decoded)
    worth_sharing = moved > _ALONE and program.moved <= min(_TOGETHER, limit)
    return Window(program, whole, worth_sharing) if whole or worth_sharing else None


def _decoded(scan: Scan, points: int) -> int:
    """Bytes that are decoded for so many points anywhere in a source, at most."""
    cell = [
        n if cells is None else min(n, cells.chunk)
        for n, cells in zip(scan.shape, scan.grid, strict=True)
    ]
    return min(scan.nbytes, points * math.prod(cell) * scan.dtype.itemsize)


def _decoded_in(scan: Scan, plan: BoxPlan) -> int:
    """Bytes of the cells that a box touches, of sources that decode them for however little."""
    if not getattr(scan.source, "decodes_whole_cells", False):
        return 0
    found = scan.dtype.itemsize
    for (a, b), lo, cells in zip(plan.args[1], scan.domain.inclusive_min, scan.grid, strict=True):
        if cells is None or cells.free:
            found *= b - a
        else:
            found *= cells.chunk * cells.cells_between(a - lo, b - lo)
    return found


def windows_of(nodes: Sequence[Node], limit: int) -> Window | None:
    """The one read that several plans are, if they are windows of one source; their arrays together
    are its result. It may be refused when it is begun."""
    found = _joined_window(program_of_all(nodes), limit)
    return None if found is None else Window(found.program, False, True)


def _joined_window(program: Program | None, limit: int) -> Window | None:
    """Windows of one source, read together."""
    if program is None or program.nbytes > limit:
        return None
    whole = stays_whole(program.moved, limit)
    worth_sharing = _ALONE < program.moved <= min(_TOGETHER, limit)
    return Window(program, whole, worth_sharing) if whole or worth_sharing else None


def _pasted_window(node: Node, limit: int) -> Window | None:
    """Layers in memory, pasted over each other in one step."""
    if not node.nbytes > 0 or not stays_whole(node.nbytes, limit):
        return None
    from lazytensor.exec.pasted import pasted_program

    program = pasted_program(node)
    return None if program is None else Window(program, True, False)


def shared_read(program: Program, out: Result) -> Reading | None:
    """The reading of a program of one step, for several threads, or None if there is none."""
    step = program.steps[0]
    if step.op == "read_windows":
        return begin_windows(step, out)
    assert isinstance(out, np.ndarray)
    if step.op == "gather":
        from lazytensor.exec.sparse import begin_gather

        source, transform = step.args
        return begin_gather(source, transform, out)
    if step.op not in _SHARED or not hasattr(step.args[0], "shared_read"):
        return None
    source, box, steps, place = _asked(step)
    if place:
        order, index = place
        out = out.transpose(order)[(*index, ...)]
    reading: Reading | None = source.shared_read(box, steps, out)
    return reading


def is_shared(program: Program) -> bool:
    """Whether there is such a reading; nothing is begun."""
    step = program.steps[0]
    if step.op == "read_windows":
        return True
    if step.op == "gather":
        from lazytensor.exec.sparse import gathers_together

        return gathers_together(*step.args)
    if step.op not in _SHARED or not hasattr(step.args[0], "shared_read"):
        return False
    source, box, steps, _ = _asked(step)
    shares: bool = source.shares(box, steps)
    return shares


def _asked(step: Step) -> tuple[Any, Box, tuple[int, ...], tuple[Any, ...]]:
    """Source, box and steps of a read, and where in the result it goes unless that is all."""
    source, box, *place = step.args
    steps = place.pop() if step.op == "read_strided" else (1,) * len(box)
    return source, box, steps, tuple(place)


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
