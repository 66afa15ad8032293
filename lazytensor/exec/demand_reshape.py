"""What a box of a reshaped tensor needs: whole rows of each group of dims it lies in.

C order makes a box a strided pattern in the elements of a group; from its first to its last one
they are read as the smallest rows that hold them (see ``plan.reshaping`` for groups). Groups are
independent of each other, so a part of one does not ask for the whole of the next.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from lazytensor.exec.boxes import BoxPlan
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Reshape
from lazytensor.plan.reshaping import groups
from lazytensor.plan.source import Box

__all__ = ["DEMANDS", "below_reshapes", "reshape_demand", "reshaped_target"]


def reshape_demand(node: Reshape, box: Box) -> BoxPlan:
    """The step's arguments: shape of the box, steps in elements of what is read, the first one."""
    x = node.x
    shape = tuple([hi - lo for lo, hi in box])
    if 0 in shape:
        empty = tuple([(lo, lo) for lo in x.domain.inclusive_min])
        return BoxPlan("reshape", (shape, (0,) * len(shape), 0), [(x, empty)])
    needed = [(lo, lo + 1) for lo in x.domain.inclusive_min]
    steps = [0] * len(shape)
    start = 0
    stride = 1
    for group in reversed(groups(x.shape, node.shape)):
        below = [x.shape[d] for d in group.below]
        own = _c_steps([node.shape[e] for e in group.above])
        bounds = [box[e] for e in group.above]
        first = sum([lo * step for (lo, _), step in zip(bounds, own, strict=True)])
        last = sum([(hi - 1) * step for (_, hi), step in zip(bounds, own, strict=True)])
        rows, begin = _rows(below, first, last)
        for d, (a, b) in zip(group.below, rows, strict=True):
            origin = x.domain.inclusive_min[d]
            needed[d] = (origin + a, origin + b)
        for e, step in zip(group.above, own, strict=True):
            steps[e] = step * stride
        start += (first - begin) * stride
        stride *= prod([b - a for a, b in rows])
    return BoxPlan("reshape", (shape, tuple(steps), start), [(x, tuple(needed))])


def _rows(shape: list[int], first: int, last: int) -> tuple[list[tuple[int, int]], int]:
    """Smallest C-contiguous box that holds the elements ``first..last``, and its first element."""
    out = []
    start = 0
    split = False
    for n, step in zip(shape, _c_steps(shape), strict=True):
        if split:
            out.append((0, n))
            continue
        a, b = first // step % n, last // step % n
        start += a * step
        split = a != b
        out.append((a, b + 1))
    return out, start


def _c_steps(shape: list[int]) -> list[int]:
    """Elements from one position to the next along each dim.

    >>> _c_steps([2, 3, 4])
    [12, 4, 1]
    """
    return [prod(shape[d + 1 :]) for d in range(len(shape))]


def below_reshapes(root: Node) -> Node:
    """What is computed for a result: C order makes a reshape another way of looking at memory."""
    while type(root) is Reshape:
        root = root.x
    return root


def reshaped_target(root: Node, out: np.ndarray) -> tuple[Node, np.ndarray]:
    """What to compute instead of ``root`` so that its values are in ``out``, and where to."""
    below = below_reshapes(root)
    if below is root:
        return root, out
    try:
        return below, np.reshape(out, below.shape, copy=False)
    except ValueError:  # a part of a larger array, whose dims cannot be put together
        return root, out


DEMANDS: dict[type[Node], Callable[[Any, Box], BoxPlan]] = {
    Reshape: reshape_demand,
}
"""By kind, as in ``exec.demand``."""
