"""The step of a region (``exec.fusion``): an expression of elements, on arrays in memory.

What is read from a source need not come here at all (``exec.through``).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lazytensor.exec.buffers import Scratch
from lazytensor.exec.kernels.choice import is_compiled
from lazytensor.exec.kernels.codegen import source_of
from lazytensor.exec.kernels.expression import Expression, evaluate, evaluation_nbytes
from lazytensor.exec.kernels.maps import map_consumer
from lazytensor.exec.physical import Step
from lazytensor.exec.through import passes_of, saved_seconds, with_scalars
from lazytensor.native.streaming import is_streamed

__all__ = ["KERNELS", "MEMORY", "how"]

_FEWEST = 1 << 14
"""Elements up to which NumPy is done sooner than a compiled kernel is set up. One operation alone
takes as long either way."""


def _fused(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    into = scratch.take(step.shape, step.dtype) if out is None else out
    _, expression, constants = step.args
    if not into.size:
        return into
    consumer = None
    if into.size >= _FEWEST and passes_of(expression) > 1:
        scalar, values, others = with_scalars(expression, constants, inputs[1:])
        consumer = map_consumer(
            scalar,
            values,
            others,
            into,
            streamed=is_streamed(into),
            saves=saved_seconds(expression, into.size),
        )
    if consumer is None:
        evaluate(expression, constants, inputs, into, scratch)
    else:
        consumer.take(np.broadcast_to(inputs[0], into.shape), (0,) * into.ndim)
    return into


def how(expression: Expression) -> str:
    """What would compute an expression now: ``"compiled"`` code, or ``"numpy"``."""
    text = source_of(expression)
    return "compiled" if text is not None and is_compiled("fused", text) else "numpy"


def _memory(step: Step, _shapes: list[tuple[int, ...]]) -> int:
    return evaluation_nbytes(step.args[1], math.prod(step.shape))


KERNELS: dict[str, Callable[..., np.ndarray]] = {"fused": _fused}
MEMORY: dict[str, Callable[[Step, list[tuple[int, ...]]], int]] = {"fused": _memory}
