"""The meaning of summaries on whole arrays, in NumPy's own functions: the oracle of ``sketch``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazytensor.exec.kernels.bins import check_edges
from lazytensor.exec.kernels.order import keyed_dtype
from lazytensor.plan.node import Node
from lazytensor.plan.nodes_sketch import Edges, Histogram, Masked, MaskedReduce, Quantile
from lazytensor.plan.ops_sketch import KEEP, VALUE, edges_between, nothing_selected

__all__ = ["MEANINGS"]


def _masked(node: Masked, inputs: list[np.ndarray]) -> np.ndarray:
    out = np.empty(node.shape, node.dtype)
    out[VALUE], out[KEEP] = inputs
    return out


def _masked_reduce(node: MaskedReduce, inputs: list[np.ndarray]) -> np.ndarray:
    return node.row.whole(inputs[0], node.axes_, keepdims=node.keepdims, params=dict(node.params))


def _kept(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple([n for d, n in enumerate(shape) if d not in axes])


def _elements(x: np.ndarray, axes: tuple[int, ...], where: tuple[int, ...]) -> np.ndarray:
    """The elements at one kept position that count."""
    rest = iter(where)
    part = x[tuple([slice(None) if d in axes else next(rest) for d in range(x.ndim)])].ravel()
    values = part[VALUE][part[KEEP]] if part.dtype.names is not None else part
    return values.astype(keyed_dtype(values.dtype))


def _quantile(node: Quantile, inputs: list[np.ndarray]) -> np.ndarray:
    x, q = inputs[0], node.quantiles
    out = np.empty(node.shape, node.dtype)
    own = (slice(None),) * node.q_ndim
    with np.errstate(all="ignore"):
        for where in np.ndindex(_kept(x.shape, node.axes_)):
            out[(*own, *where)] = _quantile_of(node, _elements(x, node.axes_, where), q)
    return out


def _quantile_of(node: Quantile, values: np.ndarray, q: np.ndarray) -> Any:
    if not values.size:
        if node.dtype.kind in "biu":
            raise nothing_selected("quantile", node.dtype)
        return np.nan
    if values.dtype.kind == "i" and node.dtype.kind == "f" and values.itemsize < 8:
        # Differences of signed integers overflow in NumPy where they exceed their dtype.
        values = values.astype(node.dtype)
    return np.quantile(values, q.item() if node.weak else q)


def _histogram(node: Histogram, inputs: list[np.ndarray]) -> np.ndarray:
    x, edges = inputs
    check_edges(edges)
    out = np.empty(node.shape, node.dtype)
    for where in np.ndindex(_kept(x.shape, node.axes_)):
        out[where] = np.histogram(_elements(x, node.axes_, where), edges)[0]
    return out


def _edges(node: Edges, inputs: list[np.ndarray]) -> np.ndarray:
    return edges_between(inputs[0], inputs[1], node.bins, node.of, weak=node.weak)


MEANINGS: dict[type[Node], Callable[[Any, list[np.ndarray]], np.ndarray]] = {
    Edges: _edges,
    Histogram: _histogram,
    Masked: _masked,
    MaskedReduce: _masked_reduce,
    Quantile: _quantile,
}
"""By kind, as in ``exec.interpret``."""
