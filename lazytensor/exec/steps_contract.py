"""The steps of contractions: a block of sums of products, and blocks of panels of them."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np

from lazytensor.exec.buffers import Scratch
from lazytensor.exec.kernels.contract import Form, contract_into, workspace
from lazytensor.exec.physical import Step
from lazytensor.plan.source import window

__all__ = ["KERNELS", "MEMORY"]


def _contract(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    """One block, the summed dims whole."""
    into = scratch.take(step.shape, step.dtype) if out is None else out
    contract_into(inputs[0], inputs[1], step.args[0], into)
    return into


def _panels(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    """One block for every combination of stretches of the summed dims."""
    form, cuts, box = step.args
    into = scratch.take(step.shape, step.dtype) if out is None else out
    for index in product(*[range(lo, hi) for lo, hi in box]):
        spans = []
        for cut, i, (lo, _) in zip(cuts, index, box, strict=True):
            start = cut.interval(lo)[0]
            a, b = cut.interval(i)
            spans.append(slice(a - start, b - start))
        place = [i - lo for i, (lo, _) in zip(index, box, strict=True)]
        contract_into(
            _part(inputs[0], form.summed1, spans),
            _part(inputs[1], form.summed2, spans),
            form,
            into[(*place, ...)],
        )
    return into


def _part(x: np.ndarray, dims: tuple[int, ...], spans: list[slice]) -> np.ndarray:
    parts = dict(zip(dims, spans, strict=True))
    return window(x, [parts.get(d, slice(None)) for d in range(x.ndim)])


def _memory(step: Step, shapes: list[tuple[int, ...]]) -> int:
    """Bytes that a step holds beside inputs of these shapes and its result."""
    args: tuple[Any, ...] = step.args
    assert isinstance(args[0], Form)
    return workspace(shapes[0], shapes[1], args[0], math.prod(step.shape), step.dtype)


KERNELS = {"contract": _contract, "panels": _panels}
MEMORY = {"contract": _memory, "panels": _memory}
"""Bytes that a kernel holds beside its inputs and its result, as in ``exec.footprint``."""
