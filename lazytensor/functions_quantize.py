"""Quantization as functions: ``quantize`` and ``dequantize``."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazytensor import build_quantize
from lazytensor.callsite import about
from lazytensor.plan.quantization import QuantizedArray
from lazytensor.quantized import QuantizedTensor
from lazytensor.tensor import LazyTensor

__all__ = ["dequantize", "quantize"]


def quantize(
    x: Any,
    dtype: str = "qint8",
    scheme: str = "per_tensor",
    *,
    axis: int | str = 0,
    group_size: int = 0,
    scales: Any = None,
    zero_points: Any = None,
    mode: str = "safe",
    nan: str = "ignore",
) -> QuantizedTensor:
    """Integers of 8 or 4 bits that stand for the values, with a scale and a zero point.

    Parameters
    ----------
    x
        Real numbers, which become float32 first.
    dtype
        ``"qint8"`` (-128 to 127), ``"quint8"`` (0 to 255), ``"qint4"`` (-8 to 7) or ``"quint4"``
        (0 to 15).
    scheme
        Which elements share parameters: all (``"per_tensor"``), those at one position of ``axis``
        (``"per_channel"``), or runs of ``group_size`` elements in C order (``"per_group"``), the
        last of which may be shorter.
    scales, zero_points
        Parameters to use, one dim of each; by default they are found from the least and the
        largest value, in one pass. A scale may be negative.
    mode
        How they are found: ``"tenso"``, bit for bit as the package tenso does, or ``"safe"``, which
        keeps constants, and what is not lost to infinities and NaN. The format is the same.
    nan
        With ``"safe"``: leave NaN out of the range (``"ignore"``; NaN itself becomes 0), let one
        NaN make all NaN (``"propagate"``), or raise ``ValueError`` when collected (``"raise"``;
        ``"tenso"`` does so too if asked to, and propagates otherwise).

    The value of ``x`` is rounded to the nearest ``q`` (halves to even) of ``(q - zero_point) *
    scale``; what lies outside is cut off. The parameters are those of the tensor given, also for a
    later slice of the result. Raises ``DTypeError`` for what are no real numbers, ``ShapeError``,
    ``DimensionError`` or ``ValueError`` for arguments that do not fit. The arithmetic is that of
    tenso 0.24; the rules of ``mode="safe"`` stand in ``lazytensor.plan.quantization``.

    >>> q = lt.quantize(np.float32([0, 10, 100, 255]))
    >>> q.collect().data
    array([-128, -118,  -28,  127], dtype=int8)
    >>> q.dequantize().collect()
    array([  0.,  10., 100., 255.], dtype=float32)
    """
    with about(x):
        return QuantizedTensor._wrap(
            build_quantize.quantize(
                x,
                dtype,
                scheme,
                axis=axis,
                group_size=group_size,
                scales=scales,
                zero_points=zero_points,
                mode=mode,
                nan=nan,
            )
        )


def dequantize(
    data: Any,
    scales: Any = None,
    zero_points: Any = None,
    *,
    scheme: str = "per_tensor",
    axis: int | str = 0,
    group_size: int = 0,
    dtype: Any = np.float32,
) -> LazyTensor:
    """What quantized values stand for: ``(data - zero_point) * scale`` in float32.

    Parameters
    ----------
    data
        int8 or uint8, one value an element, with parameters; or a ``QuantizedTensor`` or
        ``QuantizedArray``, which has its own.
    scales, zero_points
        Real numbers, one dim of each: one, one for each position of ``axis``, or one for each group
        of ``group_size`` elements in C order, as ``scheme`` says (see ``lt.quantize``).
    dtype
        What the result is cast to.

    A slice of the result reads that slice of ``data``, and the parameters that belong to it. Raises
    ``DTypeError``, ``ShapeError``, ``DimensionError`` or ``ValueError`` for what does not fit, and
    ``TypeError`` for parameters beside something that has its own.

    >>> lt.dequantize(np.int8([-2, 0, 3]), np.float32([0.5]), np.float32([-1])).collect()
    array([-0.5,  0.5,  2. ], dtype=float32)
    """
    if isinstance(data, (QuantizedTensor, QuantizedArray)):
        if scales is not None or zero_points is not None:
            raise TypeError("what is quantized has parameters of its own; give no others")
        scheme, axis, group_size = data.scheme, data.axis, data.group_size
        data, scales, zero_points = data.data, data.scales, data.zero_points
    elif scales is None or zero_points is None:
        raise TypeError("dequantize takes scales and zero_points beside bare values")
    with about(data, scales, zero_points):
        return LazyTensor._wrap(
            build_quantize.dequantize(
                data,
                scales,
                zero_points,
                scheme=scheme,
                axis=axis,
                group_size=group_size,
                dtype=dtype,
            )
        )
