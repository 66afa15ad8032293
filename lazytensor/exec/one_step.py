"""Programs of one step: a box that takes nothing but a read, a constant or a paste.

They are what ``exec.lower`` would make, without the way through a plan.
"""

from __future__ import annotations

import math

from lazytensor.exec.boxes import BoxPlan
from lazytensor.exec.footprint import nbytes_of_one
from lazytensor.exec.physical import Program, Step
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.node import Node
from lazytensor.plan.source import Box

__all__ = ["bytes_left_out", "one_step"]

_NONE: frozenset[int] = frozenset()


def one_step(node: Node, plan: BoxPlan, box: Box) -> Program:
    """The program of a box that takes nothing but its own step."""
    shape = tuple([hi - lo for lo, hi in box])
    step = Step(plan.op, 0, (), plan.args, shape, node.dtype, ())
    size = math.prod(shape) * node.dtype.itemsize
    return Program(box, (step,), _NONE, nbytes_of_one(step, size), size + bytes_left_out(step))


def bytes_left_out(step: Step) -> int:
    """Bytes that a source decodes for a step and leaves out."""
    if step.op != "read_strided":
        return 0
    source, box, _, _, steps = step.args
    decoded = math.prod(
        _decoded(b - a, by, cells)
        for (a, b), by, cells in zip(box, steps, source.spec.grid, strict=True)
    )
    return (decoded - math.prod(step.shape)) * step.dtype.itemsize


def _decoded(extent: int, step: int, cells: DimGrid | None) -> int:
    """Elements along a dim that are decoded for every ``step``-th of ``extent``, at most.

    >>> cells = DimGrid.regular(100, 4)
    >>> _decoded(99, 2, cells), _decoded(91, 10, cells), _decoded(91, 10, None)
    (99, 40, 91)
    """
    return extent if cells is None else min(extent, -(-extent // step) * cells.nominal)
