"""Many windows of one stored array, stacked: read together instead of one after the other.

Windows that overlap, or lie near each other, share stored chunks, and each is decoded once. And a
batch of small windows is one call of the source: planning and reading each by itself would take
longer than copying it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np

from lazytensor.exec.demand import BoxPlan, demand, whole_box
from lazytensor.exec.footprint import nbytes_of_one
from lazytensor.exec.physical import Program, Step
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Scan, View
from lazytensor.plan.nodes_join import Join
from lazytensor.plan.output_map import CONSTANT
from lazytensor.plan.source import Box, Read, Reading

__all__ = [
    "Layout", "Result", "begin_windows", "fill_windows", "joined_program", "program_of_all",
    "reads_of_windows", "window_layout",
]  # fmt: skip

Result = np.ndarray | Sequence[np.ndarray]
"""Where windows go: one array of all, or an array for each."""

_READS = frozenset({"read", "read_placed", "read_strided"})


def joined_program(node: Node) -> Program | None:
    """The program of a stack of windows of a source that reads many at once; None for all else."""
    if type(node) is not Join or not node.new:
        return None
    return _program(node.inputs, node, node.axis)


def program_of_all(nodes: Sequence[Node]) -> Program | None:
    """The program of several such windows, each with a result of its own; its box is the first's.

    What runs it has their arrays for a result.
    """
    return _program(nodes, nodes[0], None)


def _program(layers: Sequence[Node], node: Node, axis: int | None) -> Program | None:
    first, nbytes = layers[0], sum([layer.nbytes for layer in layers])
    if type(first) is not View or type(first.x) is not Scan or not nbytes:
        return None
    source: Any = first.x.source
    elements = nbytes // node.dtype.itemsize
    if not hasattr(source, "read_windows") or not source.reads_windows(elements):
        return None
    corners = _corners(layers, first)
    layout = None if corners is None else window_layout(first, whole_box(first))
    if layout is None:
        return None
    args = (source, corners, layout, axis)
    step = Step("read_windows", 0, (), args, node.shape, node.dtype, ())
    return Program(whole_box(node), (step,), frozenset(), nbytes_of_one(step, nbytes), nbytes)


def _corners(layers: Sequence[Node], first: View) -> np.ndarray | None:
    """Where each window begins in the source; None if they differ in more than that."""
    scan, shape = first.x, first.shape
    alike = [(m.kind, m.stride, m.input_dimension) for m in first.transform.maps]
    if first.transform.has_arrays:
        return None
    corners = []
    for layer in layers:
        if type(layer) is not View or layer.x is not scan or layer.shape != shape:
            return None
        maps = layer.transform.maps
        if [(m.kind, m.stride, m.input_dimension) for m in maps] != alike:
            return None
        corners.append(_first_corner(layer))
    return np.array(corners, np.int64).reshape(len(layers), scan.ndim)


def _first_corner(view: View) -> list[int]:
    """The lowest coordinates in the source that a view (without arrays) looks at."""
    lo, hi = view.domain.inclusive_min, view.domain.exclusive_max
    found = []
    for kind, offset, stride, dim, _, _ in view.transform.maps:
        if kind == CONSTANT:
            found.append(offset)
        else:
            found.append(offset + stride * (lo[dim] if stride > 0 else hi[dim] - 1))
    return found


class Layout(NamedTuple):
    """How a source is read for a window, and where that goes.

    ``counts`` elements along each dim of the source, ``steps`` apart, fill the window with its dims
    in that ``order``, then indexed by ``part``.
    """

    counts: tuple[int, ...]
    steps: tuple[int, ...]
    order: tuple[int, ...]
    part: tuple[Any, ...]

    def places(self, windows: Result) -> Result:
        """What is filled of windows; of one array of all, a view of it."""
        if isinstance(windows, np.ndarray):
            order = [0, *[d + 1 for d in self.order]]
            view: np.ndarray = windows.transpose(order)[(slice(None), *self.part, ...)]
            return view
        return [one.transpose(self.order)[(*self.part, ...)] for one in windows]


def window_layout(node: Node, box: Box) -> Layout | None:
    """How the box of a view of a source (or of one) is read; None if not as one box."""
    plan: BoxPlan = demand(node, box)
    if plan.op not in _READS:
        return None
    _, needed, *place = plan.args
    rank = len(needed)
    steps = place.pop() if plan.op == "read_strided" else (1,) * rank
    order, index = place or (tuple(range(rank)), (slice(None),) * rank)
    counts = tuple([-(-(hi - lo) // by) for (lo, hi), by in zip(needed, steps, strict=True)])
    return Layout(counts, tuple(steps), tuple(order), tuple(index))


def reads_of_windows(step: Step) -> list[Read]:
    """The boxes that a step reads, and in which steps."""
    _, corners, (counts, steps, *_), _ = step.args
    reaches = [(extent - 1) * by + 1 for extent, by in zip(counts, steps, strict=True)]
    return [
        (tuple([(lo, lo + reach) for lo, reach in zip(corner, reaches, strict=True)]), steps)
        for corner in corners.tolist()
    ]


def _places(step: Step, out: Result) -> Result:
    """What is filled of the result, window by window."""
    _, _, layout, axis = step.args
    places: Result = layout.places(out if axis is None else _in_front(out, axis))
    return places


def _in_front(out: Result, axis: int) -> np.ndarray:
    assert isinstance(out, np.ndarray)
    return np.moveaxis(out, axis, 0)


def begin_windows(step: Step, out: Result) -> Reading | None:
    """The reading of a step by several threads, or None where windows are read one by one."""
    source, corners, layout, _ = step.args
    places = _places(step, out)
    if not isinstance(out, np.ndarray) and len({place.strides for place in places}) > 1:
        return None
    reading: Reading | None = source.read_windows(corners, layout.counts, layout.steps, places)
    return reading


def fill_windows(step: Step, out: Result) -> None:
    """Carry out a step."""
    reading = begin_windows(step, out)
    if reading is not None:
        with closing(reading):
            reading.work()
            reading.end()
        return
    source = step.args[0]
    for (box, steps), place in zip(reads_of_windows(step), _places(step, out), strict=True):
        source.read_strided(box, steps, place)
