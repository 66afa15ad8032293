"""Values quantized packet by packet, for arrays in chunks whose packets have scales of their own.

The arithmetic is that of ``plan.quantization``; here is the look at all values that finds ranges.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lazytensor.errors import DTypeError
from lazytensor.plan.quantization import (
    MODES,
    NAN_POLICIES,
    Layout,
    QuantizedArray,
    layout_of,
    parameters_of,
    qtype_of,
    quantize_values,
    spread_parameters,
)

__all__ = ["Quantizing", "quantize_array"]

_INFINITE = np.float32(np.inf)


class Quantizing(NamedTuple):
    """How values are quantized; fields as the arguments of ``lt.quantize``."""

    dtype: str
    scheme: str = "per_tensor"
    axis: int = 0
    group_size: int = 0
    mode: str = "safe"
    nan: str = "ignore"

    def checked(self, shape: tuple[int, ...], dtype: np.dtype) -> Quantizing:
        """The same for values of a shape and dtype, the axis counted from the front.

        Raises ``ValueError``, ``DTypeError``, ``DimensionError`` or ``ShapeError``.
        """
        qtype_of(self.dtype)
        if dtype.kind not in "biuf" and dtype.name != "bfloat16":
            raise DTypeError(f"quantize takes real numbers, not {dtype}")
        for name, value, known in (("mode", self.mode, MODES), ("nan", self.nan, NAN_POLICIES)):
            if value not in known:
                raise ValueError(f"{name}={value!r} is none of {', '.join(known)}")
        layout = layout_of(shape, self.scheme, self.axis, self.group_size)
        return self._replace(axis=layout.axis, group_size=layout.group_size)


def quantize_array(values: np.ndarray, how: Quantizing) -> QuantizedArray:
    """Values quantized with parameters of their own.

    Raises ``ValueError`` for NaN with ``nan="raise"``.

    >>> q = quantize_array(np.float32([0, 51]), Quantizing("quint8"))
    >>> q.data, q.scales, q.dequantize()
    (array([  0, 255], dtype=uint8), array([0.2], dtype=float32), array([ 0., 51.], dtype=float32))
    """
    qtype = qtype_of(how.dtype)
    layout = layout_of(values.shape, how.scheme, how.axis, how.group_size)
    with np.errstate(all="ignore"):
        real = values.astype(np.float32, copy=False)
    low, high = _ranges(real, layout, how)
    scales, zero_points = parameters_of(low, high, qtype, how.mode)
    spread = spread_parameters(
        values.shape, scales, zero_points, how.scheme, layout.axis, layout.group_size
    )
    data = quantize_values(real, *spread, qtype)
    return QuantizedArray(
        data, scales, zero_points, how.dtype, how.scheme, layout.axis, layout.group_size
    )


def _ranges(x: np.ndarray, layout: Layout, how: Quantizing) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest values: least above largest of none, NaN where the mode has it so."""
    if how.mode == "tenso":
        return _reduced(x, x, layout)
    nan = np.isnan(x)
    if how.nan == "raise" and nan.any():
        raise ValueError("there is a NaN among the values, and nan='raise'")
    odd = ~np.isfinite(x)
    if how.nan == "propagate":
        odd &= ~nan
    if not odd.any():
        return _reduced(x, x, layout)
    return _reduced(np.where(odd, _INFINITE, x), np.where(odd, -_INFINITE, x), layout)


def _reduced(low: np.ndarray, high: np.ndarray, layout: Layout) -> tuple[Any, Any]:
    if layout.scheme == "per_group":
        starts = np.arange(0, low.size, layout.group_size)
        if not low.size:
            return np.empty(0, np.float32), np.empty(0, np.float32)
        return (
            np.minimum.reduceat(low.reshape(-1), starts),
            np.maximum.reduceat(high.reshape(-1), starts),
        )
    axes: Any = None
    if layout.scheme == "per_channel":
        axes = tuple([d for d in range(low.ndim) if d != layout.axis])
    least = low.min(axis=axes, initial=_INFINITE)
    largest = high.max(axis=axes, initial=-_INFINITE)
    return np.atleast_1d(np.asarray(least)), np.atleast_1d(np.asarray(largest))
