"""Fused expressions: several elementwise steps as one piece of data, and NumPy's way through them.

An expression says what happens to one element, in the order in which it happens (static single
assignment: a slot for each operand and each result). It knows no arrays: the same one is evaluated
here, operation by operation on pieces that stay in the cache, and compiled by ``kernels.codegen``;
both give the bits of the operations applied to whole arrays.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from lazytensor.exec.buffers import Scratch, size_class
from lazytensor.exec.kernels.cast import cast_into
from lazytensor.plan.ops import OPERATIONS
from lazytensor.plan.source import window

__all__ = ["CAST", "Expression", "ExpressionStep", "evaluate", "evaluation_nbytes"]

CAST = "cast"
"""Name of the step that converts its operand to another dtype."""

_PIECE_NBYTES = 256 << 10
"""Of each value: a few of them fit the cache, and NumPy's set-up is little beside them."""

_BYTE = np.dtype(np.uint8)


class ExpressionStep(NamedTuple):
    """One operation: a row of the elementwise table or ``CAST``, its operand slots and dtype."""

    name: str
    operands: tuple[int, ...]
    dtype: np.dtype


class Expression(NamedTuple):
    """What happens to one element.

    Slots are numbered: first the operands that are arrays, then the constants, then the results of
    the steps, each of which refers to slots before its own. ``result`` is the slot that is wanted.

    >>> u2, f4 = np.dtype("u2"), np.dtype("f4")
    >>> halved = Expression(
    ...     (u2,), (f4,),
    ...     (ExpressionStep("cast", (0,), f4), ExpressionStep("multiply", (2, 1), f4)), 3,
    ... )
    >>> halved.dtype, len(halved.dtypes)
    (dtype('float32'), 4)
    """

    arrays: tuple[np.dtype, ...]
    constants: tuple[np.dtype, ...]
    steps: tuple[ExpressionStep, ...]
    result: int

    @property
    def dtypes(self) -> tuple[np.dtype, ...]:
        """Dtype of every slot."""
        return (*self.arrays, *self.constants, *(step.dtype for step in self.steps))

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the result."""
        return self.dtypes[self.result]


def evaluate(
    expr: Expression,
    constants: Sequence[bytes],
    arrays: Sequence[np.ndarray],
    out: np.ndarray,
    scratch: Scratch,
) -> None:
    """Compute the expression into ``out``, to whose shape the arrays broadcast.

    ``constants``: the bytes of each. ``out`` shares no memory with an operand, unless it is the
    operand, element for element. Errors are those of the operations.

    >>> u2, f4 = np.dtype("u2"), np.dtype("f4")
    >>> steps = ExpressionStep("cast", (0,), f4), ExpressionStep("multiply", (2, 1), f4)
    >>> halved = Expression((u2,), (f4,), steps, 3)
    >>> half, out = np.array(0.5, f4).tobytes(), np.empty(3, f4)
    >>> evaluate(halved, [half], [np.arange(3, dtype=u2)], out, Scratch())
    >>> out
    array([0. , 0.5, 1. ], dtype=float32)
    """
    if out.size == 0:
        return
    scheme = _scheme(expr)
    scalars = [
        np.frombuffer(data, dtype).reshape(())
        for data, dtype in zip(constants, expr.constants, strict=True)
    ]
    shape, size = out.shape, min(out.size, scheme.size)
    operands = [a if a.shape == shape else np.broadcast_to(a, shape) for a in arrays]
    rooms = [scratch.take((size * scheme.widest,), _BYTE) for _ in range(scheme.rooms)]
    try:
        if size == out.size:
            _piece(expr, [*operands, *scalars], scheme.views(expr, rooms, shape), out)
        else:
            _in_pieces(expr, operands, scalars, rooms, out)
    finally:
        for room in rooms:
            scratch.give(room)


def evaluation_nbytes(expr: Expression, size: int) -> int:
    """Bytes of scratch that ``evaluate`` takes for ``size`` elements."""
    scheme = _scheme(expr)
    return scheme.rooms * size_class(min(size, scheme.size) * scheme.widest)


class _Scheme(NamedTuple):
    """How an expression is evaluated: elements at a time, at most, and rooms for values.

    ``numbers``: the room of each step's values, None for the result. A room has so many elements of
    ``widest`` bytes.
    """

    size: int
    numbers: tuple[int | None, ...]
    rooms: int
    widest: int

    def views(
        self, expr: Expression, rooms: list[np.ndarray], shape: tuple[int, ...]
    ) -> list[np.ndarray | None]:
        """Arrays of a shape in the rooms, one for each step."""
        count = math.prod(shape)
        return [
            None
            if n is None
            else rooms[n][: count * step.dtype.itemsize].view(step.dtype).reshape(shape)
            for n, step in zip(self.numbers, expr.steps, strict=True)
        ]


@lru_cache(maxsize=1024)
def _scheme(expr: Expression) -> _Scheme:
    """All at once where nothing is gained by less, else a piece at a time."""
    widest = max(dtype.itemsize for dtype in expr.dtypes)
    whole = len(expr.steps) == 1 or _depends_on_place(expr)
    numbers, rooms = _rooms(expr)
    return _Scheme(
        sys.maxsize if whole else max(1, _PIECE_NBYTES // widest), numbers, rooms, widest
    )


def _depends_on_place(expr: Expression) -> bool:
    """Whether a step's values may change with the place of an element in its array.

    NumPy turns floats into uint32 by vectors and the rest one by one, and the two differ in
    negative numbers and those too large.
    """
    dtypes = expr.dtypes
    return any(
        step.name == CAST
        and step.dtype.kind == "u"
        and step.dtype.itemsize == 4
        and dtypes[step.operands[0]].kind in "fc"
        for step in expr.steps
    )


def _rooms(expr: Expression) -> tuple[tuple[int | None, ...], int]:
    """For each step the number of the room for its values, None for the result; and how many.

    A room is free again after the last step that needs what is in it; that step itself may put
    values of the same dtype there, as it goes along.
    """
    dtypes, first = expr.dtypes, len(expr.arrays) + len(expr.constants)
    last = {slot: k for k, step in enumerate(expr.steps) for slot in step.operands}
    room: dict[int, int] = {}
    numbers: list[int | None] = []
    free: list[int] = []
    count = 0
    for k, (slot, step) in enumerate(enumerate(expr.steps, first)):
        over = {x for x in step.operands if x in room and last[x] == k and x != expr.result}
        if slot == expr.result:
            numbers.append(None)
        else:
            same = next((x for x in sorted(over) if dtypes[x] == step.dtype), None)
            if same is not None:
                room[slot] = room[same]
                over.discard(same)
            elif free:
                room[slot] = free.pop()
            else:
                room[slot] = count
                count += 1
            numbers.append(room[slot])
            if slot not in last:
                over.add(slot)
        free += [room[x] for x in sorted(over)]
    return tuple(numbers), count


def _parts(shape: tuple[int, ...], size: int) -> Iterator[tuple[slice, ...]]:
    """Pieces of at most ``size`` elements that together are an array, in C order.

    Trailing dims stay whole as long as they fit, so a piece is a run of rows.
    """
    axis, inner = len(shape), 1
    while axis and inner * shape[axis - 1] <= size:
        axis -= 1
        inner *= shape[axis]
    if axis == 0:
        yield ()
        return
    axis -= 1
    rows = max(1, size // inner)
    for outer in np.ndindex(*shape[:axis]):
        for lo in range(0, shape[axis], rows):
            yield (*(slice(i, i + 1) for i in outer), slice(lo, min(lo + rows, shape[axis])))


def _in_pieces(
    expr: Expression,
    arrays: list[np.ndarray],
    scalars: list[np.ndarray],
    rooms: list[np.ndarray],
    out: np.ndarray,
) -> None:
    """All steps on one piece after the other."""
    scheme = _scheme(expr)
    views: list[np.ndarray | None] = []
    shape = None
    for part in _parts(out.shape, scheme.size):
        into = window(out, part)
        if into.shape != shape:
            shape = into.shape
            views = scheme.views(expr, rooms, shape)
        _piece(expr, [*(window(array, part) for array in arrays), *scalars], views, into)


def _piece(
    expr: Expression, slots: list[np.ndarray], rooms: Sequence[np.ndarray | None], out: np.ndarray
) -> None:
    """All steps on one piece, each into its room, or ``out``."""
    for step, room in zip(expr.steps, rooms, strict=True):
        into = out if room is None else room
        operands = [slots[slot] for slot in step.operands]
        if step.name == CAST:
            cast_into(operands[0], into)
        else:
            OPERATIONS[step.name].evaluate(*operands, out=into)
        slots.append(into)
    if expr.result < len(slots) - len(expr.steps):
        out[...] = slots[expr.result]
