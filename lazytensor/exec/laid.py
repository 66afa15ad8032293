"""How a block lies when it is summed in lanes: with which dims, in which order, in which cells.

Values of a line of steps (``exec.through``) lie as in their source, whose cells may be handed over
one by one; those of a block in memory as memory has them, and are all one cell. Which of both holds
depends on the plan, never on what was compiled by now: sums have the same bits either way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from lazytensor.exec.fold_states import InLanes
from lazytensor.exec.kernels.lanes import Slots
from lazytensor.exec.physical import Step
from lazytensor.exec.through import turned
from lazytensor.plan.ops_lanes import Lanes, lanes_of
from lazytensor.plan.ops_state import State

__all__ = ["Laid", "laid_by_read", "laid_in_memory"]


class Laid(NamedTuple):
    """A block of a ``shape`` of which ``axes`` are reduced, seen as it is summed.

    ``turn``: makes of an array like the block a view of it with the dims of ``lanes``.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    turn: Callable[[np.ndarray], np.ndarray]
    lanes: Lanes
    reduced: tuple[int, ...]

    def state(self, wanted: InLanes, slots: Slots) -> State:
        """The state of the block, with the dims of the block."""
        return tuple([self._back(part) for part in wanted.state(slots, self.reduced)])

    def _back(self, part: np.ndarray) -> np.ndarray:
        kept = tuple([1 if d in self.axes else n for d, n in enumerate(self.shape)])
        if part.size and not any(part.strides):
            return np.broadcast_to(part.flat[0], kept)
        out = np.empty(kept, part.dtype)
        seen = self.turn(_spread_over(out, self.shape, self.axes))
        first = [slice(0, 1) if d in self.reduced else slice(None) for d in range(seen.ndim)]
        seen[tuple(first)] = part
        return out


def laid_by_read(read: Step, shape: tuple[int, ...], axes: tuple[int, ...]) -> Laid | None:
    """The block of this shape that a step reads; None where lanes are no use."""

    def turn(array: np.ndarray) -> np.ndarray:
        return turned(read, array)

    return _laid(shape, axes, turn, _edges_of(read))


def laid_in_memory(block: np.ndarray, axes: tuple[int, ...]) -> Laid | None:
    """A block in memory; None where lanes are no use, or values are not in order there."""
    strides, shape = block.strides, block.shape
    order = sorted(range(block.ndim), key=lambda d: -abs(strides[d]))
    flips = tuple([slice(None, None, -1 if strides[d] < 0 else 1) for d in order])
    inner = 1
    for d in reversed(order):
        if shape[d] > 1:
            if abs(strides[d]) < inner:
                return None
            inner = abs(strides[d]) * shape[d]

    def turn(array: np.ndarray) -> np.ndarray:
        return array.transpose(order)[flips]

    return _laid(shape, axes, turn, [(0, n) for n in turn(block).shape])


def _laid(
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    turn: Callable[[np.ndarray], np.ndarray],
    edges: Sequence[Sequence[int]],
) -> Laid | None:
    # Dims that a view adds count as reduced, too: they have one position.
    marks = turn(_marks(shape, axes))
    reduced = tuple([s == 0 for s in marks.strides])
    lanes = lanes_of(marks.shape, reduced, edges)
    if lanes is None:
        return None
    dims = tuple([d for d, is_reduced in enumerate(reduced) if is_reduced])
    return Laid(shape, axes, turn, lanes, dims)


def _marks(shape: tuple[int, ...], axes: tuple[int, ...]) -> np.ndarray:
    """An array of a shape whose strides tell what is reduced: 0."""
    strides = [0 if d in axes else 1 for d in range(len(shape))]
    return np.lib.stride_tricks.as_strided(np.zeros(1, np.int8), shape, strides)


def _spread_over(out: np.ndarray, shape: tuple[int, ...], axes: tuple[int, ...]) -> np.ndarray:
    """An array with 1 along some axes, as one of a shape: all positions along them are the same."""
    strides = [
        0 if d in axes or n == 1 else s
        for d, (n, s) in enumerate(zip(out.shape, out.strides, strict=True))
    ]
    return np.lib.stride_tricks.as_strided(out, shape, strides)


def _edges_of(read: Step) -> list[tuple[int, ...]]:
    """Where the stored cells begin and end in what a step reads, along each dim of its source."""
    source, box = read.args[:2]
    steps = read.args[4] if read.op == "read_strided" else (1,) * len(box)
    found = []
    spec = source.spec
    origin = spec.domain.inclusive_min
    for grid, o, (a, b), step in zip(spec.grid, origin, box, steps, strict=True):
        lo, hi = a - o, b - o
        n = -(-(hi - lo) // step)
        edges = [] if grid is None else grid.edges_between(lo, hi)
        inside = [-(-(edge - lo) // step) for edge in edges if lo < edge < hi]
        found.append(tuple(sorted({0, n, *[i for i in inside if 0 < i < n]})))
    return found
