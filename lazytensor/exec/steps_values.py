"""The steps of programs that work on values, element by element or by where they stand.

Kernels for the table in ``exec.steps``. They are a module of their own because most programs of
most processes only read.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lazytensor.exec.buffers import Scratch
from lazytensor.exec.fold_once import folded
from lazytensor.exec.joined import fill_windows
from lazytensor.exec.kernels.cast import cast_into
from lazytensor.exec.kernels.downsample import downsample_into
from lazytensor.exec.kernels.gather import apply_transform
from lazytensor.exec.kernels.gather_array import gather_array
from lazytensor.exec.physical import Step
from lazytensor.exec.sparse import read_sparse
from lazytensor.plan.ops import OPERATIONS, SUMMARIES
from lazytensor.plan.source import Box

__all__ = ["KERNELS"]


def _room(step: Step, out: np.ndarray | None, scratch: Scratch) -> np.ndarray:
    return scratch.take(step.shape, step.dtype) if out is None else out


def _read_windows(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    into = _room(step, out, scratch)
    fill_windows(step, into)
    return into


def _gather(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    source, transform = step.args
    into = _room(step, out, scratch)
    if into.size:
        read_sparse(source, transform, into)
    return into


def _view(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    transform, origin = step.args
    if transform.has_arrays:
        into = _room(step, out, scratch)
        if gather_array(transform, inputs[0], origin, into):
            return into
        return apply_transform(transform, inputs[0], origin, out=into)
    return apply_transform(transform, inputs[0], origin)


def _elementwise(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    into = _room(step, out, scratch)
    return OPERATIONS[step.args[0]].evaluate(*inputs, out=into)


def _cast(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    into = _room(step, out, scratch)
    cast_into(inputs[0], into)
    return into


def _field(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    view: np.ndarray = inputs[0][step.args[0]]
    return view


def _reduce(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    op, axes, keepdims, params = step.args
    found = folded(inputs[0], op, axes, keepdims=keepdims, params=dict(params))
    if found is not None:
        return found
    return SUMMARIES[op].whole(inputs[0], axes, keepdims=keepdims, params=dict(params))


def _join(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    axis, new, pieces = step.args
    if out is None and len(pieces) == 1:
        return np.expand_dims(inputs[0], axis) if new else inputs[0]
    into = _room(step, out, scratch)
    for place, values in zip(pieces, inputs, strict=True):
        into[_slices(place)] = np.expand_dims(values, axis) if new else values
    return into


def _overlay(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    fill, pieces, holes = step.args
    if out is None and not holes and len(pieces) == 1:
        return inputs[0]
    into = _room(step, out, scratch)
    if holes:
        # Without a fill value the engine has made sure that no hole is really asked for.
        into[...] = np.zeros((), step.dtype) if fill is None else np.frombuffer(fill, step.dtype)[0]
    for place, values in zip(pieces, inputs, strict=True):
        into[_slices(place)] = values
    return into


def _paste(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    composite, box, place = step.args
    into = _room(step, out, scratch)
    if place is None:
        composite.paste(box, into)
    else:
        order, index = place
        composite.paste(box, into.transpose(order)[(*index, ...)])
    return into


def _downsample(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    factors, method, lo, out_lo = step.args
    into = _room(step, out, scratch)
    if into.size:
        downsample_into(inputs[0], lo, factors, method, into, out_lo)
    return into


def _reshape(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    shape, steps, start = step.args
    flat = np.ascontiguousarray(inputs[0]).reshape(-1)
    if 0 in shape:
        return flat[:0].reshape(shape)
    if flat.dtype.kind == "T":  # which as_strided does not know
        offsets = np.ix_(*[np.arange(n) * step for n, step in zip(shape, steps, strict=True)])
        return flat[np.ravel(sum(offsets, start=start))].reshape(shape)
    strides = tuple(step * flat.itemsize for step in steps)
    return np.lib.stride_tricks.as_strided(flat[start:], shape, strides, writeable=False)


def _pass(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    return inputs[0]


def _slices(box: Box) -> tuple[slice, ...]:
    return tuple([slice(a, b) for a, b in box])


KERNELS: dict[str, Callable[[Step, list[np.ndarray], np.ndarray | None, Scratch], np.ndarray]] = {
    "cast": _cast,
    "downsample": _downsample,
    "elementwise": _elementwise,
    "field": _field,
    "gather": _gather,
    "join": _join,
    "overlay": _overlay,
    "pass": _pass,
    "paste": _paste,
    "read_windows": _read_windows,
    "reduce": _reduce,
    "reshape": _reshape,
    "view": _view,
}
"""By name of the step."""
