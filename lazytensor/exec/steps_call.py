"""The steps of programs that call functions of the user (``map_blocks``, ``inspect``).

Kernels for the table in ``exec.steps``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from lazytensor.errors import DTypeError, ShapeError
from lazytensor.exec.buffers import Scratch
from lazytensor.exec.physical import Step
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.source import Box, window

__all__ = ["KERNELS", "call_cells"]


def _inspect(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    function, box, labels = step.args
    shown = inputs[0].view()
    shown.flags.writeable = False
    function(_domain(box, labels), shown)
    return inputs[0]


def _call(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    into = scratch.take(step.shape, step.dtype) if out is None else out
    call_cells(step.args, inputs, into)
    return into


def call_cells(args: tuple[Any, ...], inputs: Sequence[np.ndarray], out: np.ndarray) -> None:
    """Apply a user's block function to every cell of a box and keep what lies in the box.

    ``inputs`` hold the union of the cells with their halo as far as the domain reaches; the part
    of the halo that lies outside is made up here, by the boundary rule.
    """
    function, dtype, box, spans, halo, boundary, validate, labels, domain, bases = args
    if not all(spans):
        return
    cover = tuple((along[0][0], along[-1][1]) for along in spans)
    for cell in product(*spans):
        blocks = [
            _block(x, base, cell, cover, halo, boundary, domain)
            for x, base in zip(inputs, bases, strict=True)
        ]
        extra = {} if labels is None else {"domain": _domain(cell, labels)}
        result = np.asarray(function(*blocks, **extra))
        core = tuple(hi - lo for lo, hi in cell)
        if validate and result.shape != core:
            raise ShapeError(
                f"map_blocks: {_name(function)} returned shape {result.shape} for the cell "
                f"{cell} of shape {core}; trim the halo, or change the function"
            )
        if validate and result.dtype != dtype:
            raise DTypeError(
                f"map_blocks: {_name(function)} returned {result.dtype}, the plan says {dtype}; "
                f"pass dtype={result.dtype}"
            )
        inner = tuple((max(a, lo), min(b, hi)) for (a, b), (lo, hi) in zip(cell, box, strict=True))
        out[_slices(_relative(inner, box))] = result[_slices(_relative(inner, cell))]


def _block(
    x: np.ndarray,
    base: Box,
    cell: Box,
    cover: Box,
    halo: tuple[int, ...],
    boundary: str | None,
    domain: Box,
) -> np.ndarray:
    """One operand's block for a cell, with its halo made up outside the domain."""
    skip = len(cell) - x.ndim
    part: list[slice] = []
    widths: list[tuple[int, int]] = []
    for d in range(x.ndim):
        (a, b), (c0, _), (lo, hi) = cell[skip + d], cover[skip + d], domain[skip + d]
        h = halo[skip + d]
        if base[d][1] - base[d][0] == 1 and hi - lo != 1:
            part.append(slice(None))
            widths.append((0, 0))
            continue
        first = max(lo, c0 - h)
        start, stop = max(lo, a - h), min(hi, b + h)
        part.append(slice(start - first, stop - first))
        widths.append((start - (a - h), (b + h) - stop))
    block = window(x, part)
    if boundary is None or not any(w for pair in widths for w in pair):
        view = block.view()
        view.flags.writeable = False
        return view
    return np.pad(block, widths, mode=_PAD_MODES[boundary])


# map_blocks speaks of boundaries as image filters do; NumPy pads by other names.
_PAD_MODES: dict[str, Any] = {"reflect": "symmetric", "nearest": "edge", "constant": "constant"}


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))


def _domain(box: Box, labels: tuple[str, ...]) -> IndexDomain:
    return IndexDomain._make(tuple(lo for lo, _ in box), tuple(hi for _, hi in box), labels)


def _relative(inner: Box, outer: Box) -> Box:
    return tuple((a - lo, b - lo) for (a, b), (lo, _) in zip(inner, outer, strict=True))


def _slices(box: Box) -> tuple[slice, ...]:
    return tuple([slice(a, b) for a, b in box])


KERNELS: dict[str, Callable[[Step, list[np.ndarray], np.ndarray | None, Scratch], np.ndarray]] = {
    "call": _call,
    "inspect": _inspect,
}
"""By name of the step."""
