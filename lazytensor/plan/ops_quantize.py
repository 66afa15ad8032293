"""Rows of the operation table that quantization is made of, and that are no public functions.

What is quantized depends on an element and its parameters only, so it is elementwise: views move
through it, it fuses with what is before and behind, and engines know it already. A row for every
quantized dtype, since the range is part of what is computed. Parameters are rows as well, of the
least and the largest value: ``plan.quantization`` says by which rules. Who looks an operation up by
name finds them in ``plan.ops.OPERATIONS``.

The two summaries, the least and the largest finite value, are private for the same reason: they
answer infinity where nothing is finite, which only makes sense to whoever asks for a range.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from lazytensor.plan.op import Compute, Op
from lazytensor.plan.ops_reduce import Reduction
from lazytensor.plan.ops_state import MAX, MIN, Algebra, Axes, Place, State
from lazytensor.plan.promote import Loop, Signature, is_extended
from lazytensor.plan.quantization import (
    MODES,
    QTYPES,
    QType,
    dequantize_values,
    quantize_values,
    scales_of,
    zero_points_of,
)

if TYPE_CHECKING:
    from lazytensor.plan.node import Node

__all__ = [
    "PARAMETERISED",
    "REDUCTIONS",
    "ROWS",
    "quantize_row",
    "scale_row",
    "takes_rows",
    "zero_point_row",
]

Arrays = tuple[np.ndarray, ...]

_FLOAT32 = np.dtype(np.float32)
_STORED = (np.dtype(np.int8), np.dtype(np.uint8))


def quantize_row(qtype: QType) -> str:
    """Name of the row that quantizes: of an element, a scale and a zero point.

    >>> quantize_row(QTYPES["qint4"])
    'quantize_qint4'
    """
    return f"quantize_{qtype.name}"


def scale_row(qtype: QType, mode: str) -> str:
    """Name of the row of a scale: of the least and the largest value."""
    return f"scale_{qtype.name}_{mode}"


def zero_point_row(qtype: QType, mode: str) -> str:
    """Name of the row of a zero point: of the least and the largest value, and the scale."""
    return f"zero_point_{qtype.name}_{mode}"


PARAMETERISED = frozenset(["dequantize", *map(quantize_row, QTYPES.values())])
"""The rows that take an element and its parameters."""


def takes_rows(node: Node) -> bool:
    """Whether a node of such a row has more than one pair of parameters."""
    return any(x.size != 1 for x in node.inputs[1:])


def _all_single(signature: Signature) -> bool:
    return all(entry == _FLOAT32 for entry in signature)


def _is_real(entry: object) -> bool:
    return isinstance(entry, np.dtype) and (entry.kind in "biuf" or is_extended(entry))


def _quantizing(qtype: QType) -> Callable[[Signature], Loop]:
    def resolve(signature: Signature) -> Loop:
        if not _is_real(signature[0]) or not _all_single(signature[1:]):
            raise TypeError("no loop")
        return Loop((_FLOAT32,) * 3, qtype.storage)

    return resolve


def _dequantizing(signature: Signature) -> Loop:
    if signature[0] not in _STORED or not _all_single(signature[1:]):
        raise TypeError("no loop")
    return Loop((_FLOAT32,) * 3, _FLOAT32)


def _of_range(signature: Signature) -> Loop:
    if not _all_single(signature):
        raise TypeError("no loop")
    return Loop((_FLOAT32,) * len(signature), _FLOAT32)


def _quantize(qtype: QType) -> Compute:
    def compute(loop: Loop, arrays: Arrays, out: np.ndarray | None) -> np.ndarray:
        x, scale, zero_point = arrays
        return quantize_values(x, scale, zero_point, qtype, out)

    return compute


def _dequantize(loop: Loop, arrays: Arrays, out: np.ndarray | None) -> np.ndarray:
    q, scale, zero_point = arrays
    return dequantize_values(q, scale, zero_point, out)


def _scale(qtype: QType, mode: str) -> Compute:
    def compute(loop: Loop, arrays: Arrays, out: np.ndarray | None) -> np.ndarray:
        low, high = arrays
        return scales_of(low, high, qtype, mode, out)

    return compute


def _zero_point(qtype: QType, mode: str) -> Compute:
    def compute(loop: Loop, arrays: Arrays, out: np.ndarray | None) -> np.ndarray:
        low, high, scale = arrays
        return zero_points_of(low, high, scale, qtype, mode, out)

    return compute


def _without_nan(loop: Loop, arrays: Arrays, out: np.ndarray | None) -> np.ndarray:
    low, seen = arrays
    if np.isnan(seen).any():
        raise ValueError(
            "quantize: there is a NaN among the values, and nan='raise' was asked for; "
            "nan='ignore' leaves it out of the range"
        )
    shape = np.broadcast_shapes(low.shape, seen.shape)
    if out is None:
        return np.array(np.broadcast_to(low, shape))
    out[...] = low
    return out


_NONE = "NaN gives 0."
_TAKES = "a real tensor and parameters of float32"


def _quantize_rows(qtype: QType) -> list[Op]:
    # Adding and subtracting 1.5 * 2^23 rounds to whole numbers, halves to even, what is so small.
    value = "({0} / {1} + {2})"
    low, high, magic = [f"np.float32({n})" for n in (qtype.lowest, qtype.highest, 3 << 22)]
    within = f"min(max(({value} if {value} == {value} else np.float32(0)), {low}), {high})"
    # Of int32 nothing has to be asked before it is cut to a byte.
    rounded = f"np.int32({within} + {magic} - {magic})"
    rows = [
        Op(
            name=quantize_row(qtype),
            parameters=("x", "scale", "zero_point"),
            resolver=_quantizing(qtype),
            compute=_quantize(qtype),
            expr=rounded,
            passes=7,
            doc=f"``x / scale + zero_point`` as a {qtype.name}: rounded, and cut off.",
            note=_NONE,
            takes=_TAKES,
            example=("[0.5, 1.5]", "1.0", "0.0"),
        )
    ]
    for mode in MODES:
        made = {
            scale_row(qtype, mode): (_scale(qtype, mode), "scale", ("low", "high")),
            zero_point_row(qtype, mode): (
                _zero_point(qtype, mode),
                "zero point",
                ("low", "high", "scale"),
            ),
        }
        rows += [
            Op(
                name=name,
                parameters=parameters,
                resolver=_of_range,
                compute=compute,
                expr=None,
                doc=f"The {what} of a {qtype.name} for values from low to high ({mode}).",
                note="NaN gives NaN.",
                takes="float32",
                example=("0.0", "1.0", "0.1")[: len(parameters)],
            )
            for name, (compute, what, parameters) in made.items()
        ]
    return rows


ROWS: tuple[Op, ...] = (
    *[row for qtype in QTYPES.values() for row in _quantize_rows(qtype)],
    Op(
        name="dequantize",
        parameters=("q", "scale", "zero_point"),
        resolver=_dequantizing,
        compute=_dequantize,
        expr="({0} - {2}) * {1}",
        passes=3,
        doc="``(q - zero_point) * scale``.",
        note="Computed in float32.",
        takes="int8 or uint8 and parameters of float32",
        example=("[1, 2]", "0.5", "0.0"),
    ),
    Op(
        name="without_nan",
        parameters=("low", "seen"),
        resolver=_of_range,
        compute=_without_nan,
        expr=None,
        doc="``low``, unless there is a NaN among what was seen.",
        note="That is a ``ValueError``.",
        takes="float32",
        example=("0.0", "1.0"),
    ),
)


def _finite(extreme: Algebra, nothing: float) -> Algebra:
    """An extreme of the values that are finite; ``nothing`` where none is."""

    def partial(block: np.ndarray, axes: Axes, dtype: np.dtype, place: Place) -> State:
        if any(block.shape[d] == 0 for d in axes):
            kept = tuple([1 if d in axes else n for d, n in enumerate(block.shape)])
            return (np.full(kept, nothing, block.dtype),)
        counting = np.where(np.isfinite(block), block, block.dtype.type(nothing))
        return extreme.partial(counting, axes, dtype, place)

    return Algebra(partial, extreme.merge, extreme.finish, extreme.repeat)


def _floats(dtype: np.dtype, _asked: np.dtype | None) -> np.dtype:
    if dtype.kind != "f":
        raise TypeError(f"{dtype} is not a float")
    return dtype


REDUCTIONS: tuple[Reduction, ...] = (
    Reduction(
        name="finite_max",
        rule=_floats,
        algebra=_finite(MAX, -np.inf),
        doc="Greatest finite element.",
        note="-inf where there is none.",
        takes="floats",
    ),
    Reduction(
        name="finite_min",
        rule=_floats,
        algebra=_finite(MIN, np.inf),
        doc="Least finite element.",
        note="inf where there is none.",
        takes="floats",
    ),
)
