"""Laws that move a reshape up, where it costs nothing: engines write a result of any shape at once.

A block of the input is a box in memory of the result's order only if it is whole rows; below other
operations a reshape therefore has to read rows of cells, or cells again and again. What looks at
each position by itself, and reductions over whole groups of dims (see ``plan.reshaping``), are the
same before it and after.
"""

from __future__ import annotations

from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cast, Elementwise, Reduce, Reshape
from lazytensor.plan.reshaping import groups
from lazytensor.plan.rules.law import law

__all__ = ["cast_before_reshape", "elementwise_before_reshape", "reduce_before_reshape"]


@law(Cast, flag="simplify_expression")
def cast_before_reshape(cast: Cast) -> Node | None:
    """cast(reshape(x)) = reshape(cast(x))"""
    below = cast.x
    if type(below) is not Reshape:
        return None
    return Reshape(Cast(below.x, cast.to), below.to_shape)


@law(Elementwise, flag="simplify_expression")
def elementwise_before_reshape(f: Elementwise) -> Node | None:
    """f(reshape(x), reshape(y), scalar) = reshape(f(x, y, scalar)), where x and y share a domain"""
    domain = shape = None
    operands = []
    for x in f.inputs:
        if not x.shape:
            operands.append(x)
            continue
        if type(x) is not Reshape or (domain is not None and x.x.domain != domain):
            return None
        if shape not in (None, x.to_shape):
            return None
        domain, shape = x.x.domain, x.to_shape
        operands.append(x.x)
    # What reshapes a single value would not be broadcast below.
    if shape is None or not any(x.shape for x in operands):
        return None
    return Reshape(Elementwise(f.op, tuple(operands)), shape)


@law(Reduce, flag="simplify_expression")
def reduce_before_reshape(reduce: Reduce) -> Node | None:
    """reduce(reshape(x), axes) = reshape(reduce(x, dims)), where axes are whole groups of dims"""
    below = reduce.x
    if type(below) is not Reshape or not below.size:
        return None
    x = below.x
    dims: list[int] = []
    for group in groups(x.shape, below.to_shape):
        taken = [e in reduce.axes_ for e in group.above]
        if any(taken) and not all(taken):
            return None
        if taken[0]:
            dims.extend(group.below)
    if not dims:
        return None
    if len(dims) == sum(n != 1 for n in x.shape):
        dims = list(range(x.ndim))
    elif reduce.row.one_axis and len(dims) > 1:
        # The index it gives is one along these dims together.
        return None
    moved = Reduce(reduce.op, x, tuple(dims), False, reduce.params)
    return moved if moved.domain == reduce.domain else Reshape(moved, reduce.shape)
