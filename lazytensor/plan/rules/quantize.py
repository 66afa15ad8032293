"""Laws of quantization: views of parameters of groups, and what is quantized twice.

A view moves below a quantization as below everything elementwise; what is particular here is that
the parameters that groups share are looked up by position.
"""

from __future__ import annotations

import math

from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Constant, Elementwise, View
from lazytensor.plan.nodes_quantize import Spread
from lazytensor.plan.ops_quantize import quantize_row
from lazytensor.plan.output_map import SINGLE, OutputIndexMap, single_map
from lazytensor.plan.quantization import QTYPES, QType
from lazytensor.plan.rules.law import law
from lazytensor.plan.rules.moves import box_of, box_transform, narrowed, view_of

__all__ = ["quantize_what_was_quantized", "view_through_spread"]

_QUANTIZED = {quantize_row(qtype): qtype for qtype in QTYPES.values()}


@law(View, Spread, flag="slice_pushdown", gated=True)
def view_through_spread(view: View, spread: Spread) -> Node | None:
    """spread(p, g)[i] = spread(p[j], g), where j asks for the groups that i meets"""
    transform = view.transform
    if transform.has_arrays:
        return narrowed(view, lambda box: view_through_spread(box, spread))
    if not view.size:
        return None
    offset, strides = spread.offset, [0] * transform.domain.rank
    for m, stride in zip(transform.maps, spread.strides, strict=True):
        offset += stride * m.offset
        if m.kind == SINGLE:
            strides[m.input_dimension] += stride * m.stride
    x, leads = _leading(spread, transform)
    moved = Spread(x, transform.domain, leads, tuple(strides), offset, spread.group)
    needed = moved.needed(box_of(transform.domain))
    if needed != box_of(x.domain):
        x = View(x, box_transform(needed, x.domain.labels))
        moved = Spread(x, transform.domain, leads, tuple(strides), offset, spread.group)
    return None if moved is spread else moved


def _leading(spread: Spread, transform: IndexTransform) -> tuple[Node, tuple[int, ...]]:
    """The parameters with the dims of the view in place of those of the tensor; and which."""
    if not spread.leads:
        return spread.x, ()
    maps = [transform.maps[d] for d in spread.leads]
    leads = tuple(sorted({m.input_dimension for m in maps if m.kind == SINGLE}))
    new = {d: i for i, d in enumerate(leads)}
    own, base = transform.domain, spread.x.domain
    below: list[OutputIndexMap] = [
        m._replace(input_dimension=new[m.input_dimension]) if m.kind == SINGLE else m for m in maps
    ]
    below.append(single_map(len(leads), 0, 1))
    lo = (*[own.inclusive_min[d] for d in leads], base.inclusive_min[-1])
    hi = (*[own.exclusive_max[d] for d in leads], base.exclusive_max[-1])
    domain = IndexDomain._make(lo, hi)
    return view_of(spread.x, IndexTransform._make(domain, tuple(below))), leads


@law(Elementwise, flag="simplify_expression")
def quantize_what_was_quantized(node: Elementwise) -> Node | None:
    """quantize(dequantize(q, s, z), s, z) = q, for known s, far from 0 and infinity, and small z

    The steps of float32 in between are wrong by less than half a step of the scale only if nothing
    overflows or loses digits, and |z| <= 2^15. Numbers of 4 bits are kept in bytes, which could
    hold others, so those have to come from a quantization themselves.
    """
    qtype = _QUANTIZED.get(node.op)
    if qtype is None:
        return None
    below, scale, zero_point = node.inputs
    if type(below) is not Elementwise or below.op != "dequantize":
        return None
    q = below.inputs[0]
    if below.inputs[1] is not scale or below.inputs[2] is not zero_point:
        return None
    if not (_is_safe(scale, zero_point) and _is_within(q, qtype)):
        return None
    return q if q.domain == node.domain else None


def _is_safe(scale: Node, zero_point: Node) -> bool:
    if type(scale) is not Constant or type(zero_point) is not Constant:
        return False
    s, z = float(scale.value), float(zero_point.value)
    return math.isfinite(s) and 2.0**-100 <= s <= 2.0**100 and abs(z) <= 2**15


def _is_within(q: Node, qtype: QType) -> bool:
    """Whether all of it are numbers of the type."""
    if q.dtype != qtype.storage:
        return False
    made = _QUANTIZED.get(q.op) if type(q) is Elementwise else None
    return qtype.bits == 8 or made == qtype
