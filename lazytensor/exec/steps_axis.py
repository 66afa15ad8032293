"""The steps of programs that work along one axis or look values up.

Kernels for the table in ``exec.steps``: each takes the step, its input arrays, ``out`` or None, and
the thread's scratch memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazytensor.exec.buffers import Scratch
from lazytensor.exec.kernels import axis
from lazytensor.exec.physical import Step
from lazytensor.plan.ops_scan import LANES_AT_ONCE
from lazytensor.plan.promote import is_extended

__all__ = ["KERNELS", "MEMORY"]

_Kernel = Callable[[Step, list[np.ndarray], np.ndarray | None, Scratch], np.ndarray]


def _filling(fill: Callable[..., None]) -> _Kernel:
    """The kernel that has ``fill(*inputs, *args, out)`` write its result."""

    def kernel(
        step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
    ) -> np.ndarray:
        into = scratch.take(step.shape, step.dtype) if out is None else out
        if into.size:
            fill(*inputs, *step.args, into)
        return into

    return kernel


def _cumulate(x: np.ndarray, *rest: Any) -> None:
    """The first block of an axis comes without carries."""
    if isinstance(rest[0], np.ndarray):
        axis.cumulate_into(x, *rest)
    else:
        axis.cumulate_into(x, None, *rest)


KERNELS: dict[str, _Kernel] = {
    "block_totals": _filling(axis.block_totals_into),
    "cumulate": _filling(_cumulate),
    "lookup": _filling(axis.lookup_into),
    "search": _filling(axis.search_into),
    "sort": _filling(axis.sort_into),
    "take_along": _filling(axis.take_along_into),
}
"""By name of the step."""


_Shapes = Sequence[tuple[int, ...]]


def _at_once(itemsize: Callable[[int], int]) -> Callable[[Step, _Shapes], int]:
    """Temporaries of a kernel that works on a limited number of elements at a time.

    ``itemsize`` tells their bytes for each of those from the bytes of an element of the result.
    """

    def nbytes(step: Step, shapes: _Shapes) -> int:
        size = max([math.prod(shape) for shape in (step.shape, *shapes)])
        return min(size, LANES_AT_ONCE) * itemsize(step.dtype.itemsize)

    return nbytes


def _sort_memory(step: Step, shapes: _Shapes) -> int:
    """What is sorted, and half as much again to merge it; or the order, and what is compared."""
    axis, _, indices, _ = step.args
    item = step.dtype.itemsize
    by_order = indices or is_extended(step.dtype)
    return _lanes_of(shapes[0], axis) * (16 + 2 * item * (not indices) if by_order else 2 * item)


def _take_memory(step: Step, shapes: _Shapes) -> int:
    """Indices as NumPy takes them, and the values before they are put in their place."""
    lanes = _lanes_of(step.shape, step.args[0])
    size = min(lanes, LANES_AT_ONCE) if len(step.shape) == 1 else lanes
    return size * (16 + 2 * step.dtype.itemsize)


def _lanes_of(shape: tuple[int, ...], axis: int) -> int:
    return min(math.prod(shape), max(LANES_AT_ONCE, shape[axis]))


MEMORY: dict[str, Callable[[Step, _Shapes], int]] = {
    # Accumulators, twice: NumPy is not always sure that it may work in place.
    "block_totals": _at_once(lambda size: 32),
    "cumulate": _at_once(lambda size: 32),
    "lookup": _at_once(lambda size: 8 + size),
    "search": _at_once(lambda size: 16 + 2 * size),
    "sort": _sort_memory,
    "take_along": _take_memory,
}
"""Bytes that a kernel holds beside its inputs and its result, from the step and their shapes."""
