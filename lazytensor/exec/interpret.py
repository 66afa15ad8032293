"""The meaning of every node kind on whole NumPy arrays.

This is the reference: no blocks, no tasks, no threads. Every other engine is compared with it. It
is also the quickest way to run a small plan whose data is in memory, where planning tasks would
cost more than the work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazytensor.exec import meanings_axis
from lazytensor.exec.cancelling import cancelled
from lazytensor.exec.demand import demand, whole_box
from lazytensor.exec.kernels.cast import cast_into
from lazytensor.exec.kernels.choice import kernels_of_run
from lazytensor.exec.kernels.contract import Form, contract_into
from lazytensor.exec.kernels.downsample import downsample_into
from lazytensor.exec.kernels.gather import apply_transform
from lazytensor.exec.kernels.quantize import groups_of, spread_into
from lazytensor.exec.meanings_sketch import MEANINGS as SKETCH_MEANINGS
from lazytensor.exec.pool import CancelToken
from lazytensor.exec.recording import RECORDER, Recorder
from lazytensor.exec.steps_call import call_cells
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import (
    Cache,
    Cast,
    Constant,
    Elementwise,
    Field,
    Rechunk,
    Reduce,
    Reshape,
    Scan,
    View,
)
from lazytensor.plan.nodes_axis import BlockTotals, Cumulate, Gather, Lookup, Search, Sort
from lazytensor.plan.nodes_block import Call, Downsample, Inspect
from lazytensor.plan.nodes_contract import Contract
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.nodes_quantize import Spread
from lazytensor.plan.ops import OPERATIONS, SUMMARIES

__all__ = ["InterpretEngine", "interpret"]


class InterpretEngine:
    """Computes whole arrays with NumPy, one node after the other: the oracle.

    >>> lt.arange(3).collect(engine=lt.InterpretEngine())
    array([0, 1, 2])
    """

    name = "interpret"

    def __repr__(self) -> str:
        return "InterpretEngine()"

    def run(
        self,
        roots: Sequence[Node],
        outs: Sequence[np.ndarray],
        *,
        progress: object = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Compute plans into their outputs."""
        values: dict[Node, np.ndarray] = {}
        for root, out in zip(roots, outs, strict=True):
            np.copyto(out, interpret(root, values, cancel), casting="no")


def interpret(
    root: Node,
    values: dict[Node, np.ndarray] | None = None,
    cancel: CancelToken | None = None,
) -> np.ndarray:
    """Values of a plan over its whole domain; may be a view of the plan's data.

    ``values`` holds what is known already and is added to.
    """
    known = {} if values is None else values
    recorder = RECORDER.get()
    if recorder is not None:
        with recorder.whole():
            _compute(root, known, cancel, recorder)
    else:
        _compute(root, known, cancel)
    return known[root]


def _compute(
    root: Node,
    known: dict[Node, np.ndarray],
    cancel: CancelToken | None,
    recorder: Recorder | None = None,
) -> None:
    for node in walk(root, lambda n: n not in known):
        if cancel is not None and cancel.cancelled:
            raise cancelled()
        inputs = [known[x] for x in node.inputs]
        if recorder is None:
            known[node] = MEANINGS[type(node)](node, inputs)
        else:
            with recorder.node(node):
                known[node] = MEANINGS[type(node)](node, inputs)


def _constant(node: Constant, inputs: list[np.ndarray]) -> np.ndarray:
    return node.value


def _scan(node: Scan, inputs: list[np.ndarray]) -> np.ndarray:
    array = node.source.array
    if array is not None:
        return array
    out = np.empty(node.shape, node.dtype)
    if out.size:
        node.source.read_into(whole_box(node), out)
    return out


def _view(node: View, inputs: list[np.ndarray]) -> np.ndarray:
    return apply_transform(node.transform, inputs[0], node.x.domain.inclusive_min)


def _elementwise(node: Elementwise, inputs: list[np.ndarray]) -> np.ndarray:
    return OPERATIONS[node.op].evaluate(*inputs)


def _cast(node: Cast, inputs: list[np.ndarray]) -> np.ndarray:
    out = np.empty(node.shape, node.dtype)
    cast_into(inputs[0], out)
    return out


def _field(node: Field, inputs: list[np.ndarray]) -> np.ndarray:
    view: np.ndarray = inputs[0][node.name]
    return view


def _reduce(node: Reduce, inputs: list[np.ndarray]) -> np.ndarray:
    row = SUMMARIES[node.op]
    return row.whole(inputs[0], node.axes_, keepdims=node.keepdims, params=dict(node.params))


def _join(node: Join, inputs: list[np.ndarray]) -> np.ndarray:
    # With out, as NumPy would forget the byte order and the padding of the dtype.
    out = np.empty(node.shape, node.dtype)
    combine = np.stack if node.new else np.concatenate
    combine(inputs, axis=node.axis, out=out)
    return out


def _overlay(node: Overlay, inputs: list[np.ndarray]) -> np.ndarray:
    # Holes without a fill value stay zero: the engine has made sure that nobody asks for them.
    out = np.zeros(node.shape, node.dtype)
    if node.fill is not None:
        out[...] = np.frombuffer(node.fill, node.dtype)[0]
    for layer, values in zip(node.inputs, inputs, strict=True):
        target, origin = [], []
        bounds = zip(whole_box(node), whole_box(layer), strict=True)
        for (lo, hi), (a, b) in bounds:
            start, stop = max(lo, a), max(lo, a, min(hi, b))
            target.append(slice(start - lo, stop - lo))
            origin.append(slice(start - a, stop - a))
        out[tuple(target)] = values[tuple(origin)]
    return out


def _downsample(node: Downsample, inputs: list[np.ndarray]) -> np.ndarray:
    out = np.empty(node.shape, node.dtype)
    if out.size:
        lo, out_lo = node.x.domain.inclusive_min, node.domain.inclusive_min
        with kernels_of_run("numpy"):  # what compiled code is compared with
            downsample_into(inputs[0], lo, node.factors, node.method, out, out_lo)
    return out


def _reshape(node: Reshape, inputs: list[np.ndarray]) -> np.ndarray:
    return inputs[0].reshape(node.to_shape)


def _pass(node: Rechunk | Cache, inputs: list[np.ndarray]) -> np.ndarray:
    return inputs[0]


def _call(node: Call, inputs: list[np.ndarray]) -> np.ndarray:
    out = np.empty(node.shape, node.dtype)
    if out.size:
        call_cells(demand(node, whole_box(node)).args, inputs, out)
    return out


def _contract(node: Contract, inputs: list[np.ndarray]) -> np.ndarray:
    out = np.empty(node.shape, node.dtype)
    form = Form(node.batch1, node.batch2, node.summed1, node.summed2)
    contract_into(inputs[0], inputs[1], form, out)
    return out


def _inspect(node: Inspect, inputs: list[np.ndarray]) -> np.ndarray:
    shown = inputs[0].view()
    shown.flags.writeable = False
    domain = node.domain
    node.function(
        IndexDomain._make(domain.inclusive_min, domain.exclusive_max, domain.labels), shown
    )
    return inputs[0]


def _spread(node: Spread, inputs: list[np.ndarray]) -> np.ndarray:
    out = np.empty(node.shape, node.dtype)
    if out.size:
        box = whole_box(node)
        needed = tuple(
            [
                slice(a - lo, b - lo)
                for (a, b), lo in zip(node.needed(box), node.x.domain.inclusive_min, strict=True)
            ]
        )
        spread_into(inputs[0][needed], groups_of(node, box), out)
    return out


MEANINGS: dict[type[Node], Callable[[Any, list[np.ndarray]], np.ndarray]] = {
    Constant: _constant,
    Scan: _scan,
    View: _view,
    Elementwise: _elementwise,
    Cast: _cast,
    Field: _field,
    Reduce: _reduce,
    Join: _join,
    Overlay: _overlay,
    Downsample: _downsample,
    Reshape: _reshape,
    Rechunk: _pass,
    Cache: _pass,
    Call: _call,
    **SKETCH_MEANINGS,
    Contract: _contract,
    Inspect: _inspect,
    BlockTotals: meanings_axis.block_totals,
    Cumulate: meanings_axis.cumulate,
    Gather: meanings_axis.gather,
    Lookup: meanings_axis.lookup,
    Search: meanings_axis.search,
    Sort: meanings_axis.sort,
    Spread: _spread,
}

ENGINES = {"interpret": InterpretEngine()}
"""By name, as in ``exec.engine``."""
