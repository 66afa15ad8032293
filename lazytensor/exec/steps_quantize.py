"""The steps of programs that look up the parameters of groups."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lazytensor.exec.buffers import Scratch
from lazytensor.exec.kernels.quantize import apply_rows, spread_into
from lazytensor.exec.physical import Step

__all__ = ["KERNELS"]


def _spread(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    into = scratch.take(step.shape, step.dtype) if out is None else out
    if into.size:
        spread_into(inputs[0], step.args[0], into)
    return into


def _rows(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    into = scratch.take(step.shape, step.dtype) if out is None else out
    if into.size:
        op, groups = step.args
        x, scales, zero_points = inputs
        apply_rows(op, x, scales, zero_points, groups, into)
    return into


KERNELS: dict[str, Callable[[Step, list[np.ndarray], np.ndarray | None, Scratch], np.ndarray]] = {
    "quantize_rows": _rows,
    "spread": _spread,
}
"""By name of the step."""
