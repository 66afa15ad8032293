"""The kernels of summaries: of whole slabs, for what is not found by passes (``exec.sketch``)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lazytensor.exec.buffers import Scratch
from lazytensor.exec.kernels.bins import bin_counts, check_edges
from lazytensor.exec.kernels.order import interpolate, keyed_dtype, neighbours
from lazytensor.exec.physical import Step
from lazytensor.plan.ops_sketch import KEEP, MASKED, VALUE, edges_between, nothing_selected
from lazytensor.plan.source import window

__all__ = ["KERNELS"]


def _masked(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    into = scratch.take(step.shape, step.dtype) if out is None else out
    into[VALUE], into[KEEP] = inputs
    return into


def _masked_reduce(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    op, axes, keepdims, params = step.args
    return MASKED[op].whole(inputs[0], axes, keepdims=keepdims, params=dict(params))


def _rows(block: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The block with its kept dims, and all the others as one last dim."""
    last = tuple(range(block.ndim - len(axes), block.ndim))
    moved = np.moveaxis(block, axes, last)
    return (
        moved.reshape((*moved.shape[: block.ndim - len(axes)], -1))
        if block.size
        else (np.empty((*moved.shape[: block.ndim - len(axes)], 0), block.dtype))
    )


def _quantile(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    axes, q, weak, own = step.args
    asked = q[tuple([slice(a, b) for a, b in own])]
    rows = _rows(inputs[0], axes)
    flat = np.empty((asked.size, *rows.shape[:-1]), step.dtype)
    if rows.dtype.names is None:
        flat[...] = _quantiles(rows, asked.reshape(-1), step.dtype, weak)
    else:
        for where in np.ndindex(rows.shape[:-1]):
            values = rows[where][VALUE][rows[where][KEEP]]
            flat[(slice(None), *where)] = _quantiles(values, asked.reshape(-1), step.dtype, weak)
    return flat.reshape(step.shape)


def _quantiles(rows: np.ndarray, q: np.ndarray, dtype: np.dtype, weak: bool) -> np.ndarray:
    """Quantiles along the last axis, in front."""
    count = rows.shape[-1]
    if not count:
        if dtype.kind in "biu":
            raise nothing_selected("quantile", dtype)
        return np.full((len(q), *rows.shape[:-1]), np.nan).astype(dtype)
    ordered = np.sort(rows.astype(keyed_dtype(rows.dtype), copy=False), axis=-1)
    below, above, gamma = neighbours(count, q)
    places = (np.moveaxis(ordered[..., below], -1, 0), np.moveaxis(ordered[..., above], -1, 0))
    gamma = gamma.reshape((-1, *[1] * (rows.ndim - 1)))
    found = interpolate(*places, gamma, dtype, weak=weak)
    if ordered.dtype.kind == "f":
        found[:, np.isnan(ordered[..., -1])] = np.nan
    return found


def _histogram(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    axes, (lo, hi) = step.args
    rows, edges = _rows(inputs[0], axes), inputs[1]
    check_edges(edges)
    into = scratch.take(step.shape, step.dtype) if out is None else out
    for where in np.ndindex(rows.shape[:-1]):
        row = rows[where]
        if row.dtype.names is not None:
            row = row[VALUE][row[KEEP]]
        into[where] = bin_counts(row, edges)[lo:hi]
    return into


def _edges(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    bins, of, weak, (lo, hi) = step.args
    return edges_between(inputs[0], inputs[1], bins, of, weak=weak)[lo:hi]


def _computed(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    node, box = step.args
    values: np.ndarray = node.compute(*inputs)
    origin = node.domain.inclusive_min
    return window(values, [slice(a - o, b - o) for (a, b), o in zip(box, origin, strict=True)])


KERNELS: dict[str, Callable[[Step, list[np.ndarray], np.ndarray | None, Scratch], np.ndarray]] = {
    "computed": _computed,
    "edges": _edges,
    "histogram": _histogram,
    "masked": _masked,
    "masked_reduce": _masked_reduce,
    "quantile": _quantile,
}
"""By name of the step, as in ``exec.steps``."""
