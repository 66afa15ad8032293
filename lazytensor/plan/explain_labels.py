"""What each node kind is called in a plan that people read: one short phrase a node.

One table, one function a kind; every format of ``explain`` takes its words from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from lazytensor.plan.cost import format_count
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
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
from lazytensor.plan.nodes_sketch import Edges, Histogram, Masked, MaskedReduce, Quantile
from lazytensor.plan.output_map import ARRAY, CONSTANT, SINGLE

__all__ = ["LABELS", "describe", "describe_view", "format_shape", "function_name", "shown_inputs"]

_LONGEST = 72


def describe(node: Node) -> str:
    """The phrase for a node, without its inputs.

    >>> from lazytensor.plan.memory import array_node
    >>> import numpy as np
    >>> x = array_node(np.zeros(3, "u1"))
    >>> describe(Cast(x, np.dtype("f4"))), describe(x)
    ('cast float32', 'scan array')
    """
    label = LABELS[type(node)](node)
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"


def format_shape(node: Node) -> str:
    """``(y: 64, x: 64)``, or ``(64, 64)`` where dims are unnamed."""
    parts = (
        f"{name}: {n}" if name else str(n)
        for name, n in zip(node.domain.labels, node.shape, strict=True)
    )
    return f"({', '.join(parts)})"


def shown_inputs(node: Node) -> tuple[Node, ...]:
    """Inputs that take a line of their own: scalars stand in the phrase of their consumer."""
    if isinstance(node, Elementwise):
        shown = tuple(x for x in node.inputs if not isinstance(x, Constant))
        return shown or node.inputs
    return node.inputs


def function_name(function: Callable[..., Any]) -> str:
    """Qualified name of a user's function; of what is called, for partials and objects."""
    wrapped = getattr(function, "func", function)
    name = getattr(wrapped, "__qualname__", None)
    return str(name if name is not None else type(function).__name__)


def describe_view(transform: IndexTransform, base: Node) -> str:
    """What a view picks, in coordinates of what it is a view of: ``[t=0, y=0:64]``.

    Dimensions that stay whole are left out; then follow new or permuted dimensions.
    """
    picks = [
        pick for d in range(base.ndim) if (pick := _describe_map(transform, base, d)) is not None
    ]
    order = [m.input_dimension for m in transform.maps if m.kind == SINGLE]
    used = {d for m in transform.maps if m.kind == ARRAY and m.array is not None
            for d, n in enumerate(m.array.values.shape) if n > 1} | set(order)  # fmt: skip
    words = [f"[{', '.join(picks)}]"] if picks else []
    if order != sorted(order):
        pairs = zip(order, _affine_dims(transform), strict=True)
        names = [_dim_name(base, d) for _, d in sorted(pairs)]
        words.append(f"dims ({', '.join(names)})")
    if new := [d for d in range(transform.domain.rank) if d not in used]:
        extents = ", ".join(str(transform.domain.shape[d]) for d in new)
        words.append(f"new dims at {tuple(new)} of {extents}" if len(new) > 1 else
                     f"new dim at {new[0]} of {extents}")  # fmt: skip
    if not words:
        words.append(f"at {transform.domain.inclusive_min}" if transform.domain.rank else "[...]")
    return " ".join(words)


def _affine_dims(transform: IndexTransform) -> Iterable[int]:
    return [d for d, m in enumerate(transform.maps) if m.kind == SINGLE]


def _dim_name(node: Node, d: int) -> str:
    return node.domain.labels[d] or str(d)


def _describe_map(transform: IndexTransform, base: Node, d: int) -> str | None:
    m = transform.maps[d]
    name = base.domain.labels[d]
    prefix = f"{name}=" if name else f"{d}="
    if m.kind == CONSTANT:
        return f"{prefix}{m.offset}"
    if m.array is not None:
        return f"{prefix}{format_count(m.array.values.size)} indices"
    dim = m.input_dimension
    lo, hi = transform.domain.inclusive_min[dim], transform.domain.exclusive_max[dim]
    start, stop = m.offset + m.stride * lo, m.offset + m.stride * (hi - 1)
    stop = stop + (1 if m.stride > 0 else -1) if hi > lo else start
    whole = (base.domain.inclusive_min[d], base.domain.exclusive_max[d])
    if m.stride == 1:
        return None if (start, stop) == whole else f"{prefix}{start}:{stop}"
    return f"{prefix}{start}:{stop}:{m.stride}"


def _constant(node: Constant) -> str:
    return f"constant {_scalar(node)}"


def _scalar(node: Constant) -> str:
    return str(node.value[()])


def _scan(node: Scan) -> str:
    return f"scan {node.source.label}"


def _view(node: View) -> str:
    if isinstance(node.x, Constant):
        return f"full {_scalar(node.x)}"
    return f"view {describe_view(node.transform, node.x)}"


def _elementwise(node: Elementwise) -> str:
    scalars = [x for x in node.inputs if isinstance(x, Constant)]
    if not scalars or len(scalars) == len(node.inputs):
        return node.op
    trailing = node.inputs[-len(scalars) :] == tuple(scalars)
    words = [
        _scalar(x) if isinstance(x, Constant) else "·"
        for x in (scalars if trailing else node.inputs)
    ]
    return f"{node.op}  {', '.join(words)}"


def _cast(node: Cast) -> str:
    return f"cast {node.to}"


def _field(node: Field) -> str:
    return f"field {node.name!r}"


def _reduce(node: Reduce) -> str:
    dims = ", ".join(_dim_name(node.x, d) for d in node.axes_)
    extra = [f"{name}={value}" for name, value in node.params if value is not None]
    if node.keepdims:
        extra.append("keepdims")
    return f"{node.op} over {dims or 'nothing'}{''.join(f' {word}' for word in extra)}"


def _reshape(node: Reshape) -> str:
    return f"reshape {node.to_shape}"


def _rechunk(node: Rechunk) -> str:
    return f"rechunk {node.sizes}"


def _cache(node: Cache) -> str:
    return "cache"


def _join(node: Join) -> str:
    verb = "stack" if node.new else "concat"
    return f"{verb} {_layers(node)} along {_dim_name(node, node.axis)}"


def _overlay(node: Overlay) -> str:
    if node.fill is None:
        return f"overlay {_layers(node)}"
    return f"overlay {_layers(node)} on {_scalar(Constant(node.dtype, node.fill))}"


def _layers(node: Node) -> str:
    n = len(node.inputs)
    return f"{format_count(n)} layer{'s' * (n != 1)}"


def _downsample(node: Downsample) -> str:
    return f"downsample {node.factors} {node.method}{' · approx' * node.approx}"


def _contract(node: Contract) -> str:
    pairs = zip(node.summed1, node.summed2, strict=True)
    words = [f"{_dim_name(node.x1, d)} and {_dim_name(node.x2, e)}" for d, e in pairs]
    return f"contract {', '.join(words) or 'nothing'}"


def _call(node: Call) -> str:
    halo = f" halo {node.halo}" if any(node.halo) else ""
    return f"map_blocks {function_name(node.function)}{halo}"


def _inspect(node: Inspect) -> str:
    return f"inspect {function_name(node.function)}"


def _cumulate(node: Cumulate) -> str:
    wanted = "" if node.to is None else f" dtype={node.to}"
    blocks = f" in blocks of {format_count(node.block)}" if node.block else ""
    return f"{node.op} along {_dim_name(node, node.axis)}{wanted}{blocks}"


def _block_totals(node: BlockTotals) -> str:
    return f"{node.op} of blocks of {format_count(node.block)} along {_dim_name(node, node.axis)}"


def _sort(node: Sort) -> str:
    verb = "argsort" if node.indices else "sort"
    return f"{verb} along {_dim_name(node, node.axis)}{' descending' * node.descending}"


def _gather(node: Gather) -> str:
    return f"take along {_dim_name(node, node.axis)}"


def _lookup(node: Lookup) -> str:
    return f"look up in {format_count(node.table.size)} values"


def _masked(node: Masked) -> str:
    return "masked"


def _masked_reduce(node: MaskedReduce) -> str:
    return f"masked {_reduce(node)}"


def _quantile(node: Quantile) -> str:
    asked = ", ".join(f"{q:g}" for q in node.quantiles.ravel())
    approx = " · approx" * node.approx
    return f"quantile {asked} over {_over(node)}{approx}"


def _over(node: Quantile | Histogram) -> str:
    return ", ".join(_dim_name(node.x, d) for d in node.axes_) or "nothing"


def _histogram(node: Histogram) -> str:
    return f"histogram of {format_count(node.shape[-1])} bins over {_over(node)}"


def _edges(node: Edges) -> str:
    return f"edges of {format_count(node.bins)} bins"


def _spread(node: Spread) -> str:
    return f"one for each group of {format_count(node.group)}"


def _search(node: Search) -> str:
    return f"search sorted {format_count(node.table.size)} values ({node.op})"


LABELS: dict[type[Node], Callable[[Any], str]] = {
    BlockTotals: _block_totals,
    Cache: _cache,
    Call: _call,
    Contract: _contract,
    Cast: _cast,
    Constant: _constant,
    Cumulate: _cumulate,
    Downsample: _downsample,
    Edges: _edges,
    Elementwise: _elementwise,
    Field: _field,
    Gather: _gather,
    Histogram: _histogram,
    Inspect: _inspect,
    Join: _join,
    Lookup: _lookup,
    Masked: _masked,
    MaskedReduce: _masked_reduce,
    Overlay: _overlay,
    Quantile: _quantile,
    Rechunk: _rechunk,
    Reduce: _reduce,
    Reshape: _reshape,
    Scan: _scan,
    Search: _search,
    Sort: _sort,
    Spread: _spread,
    View: _view,
}
"""The phrase of each kind."""
