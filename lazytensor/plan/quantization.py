"""Numbers of few bits that stand for floats: types, schemes, and the arithmetic between them.

A value is stood for by an integer ``q`` and means ``(q - zero_point) * scale``. One scale and zero
point hold for the whole tensor, for each position along an axis, or for each run of ``group_size``
elements in C order. The arithmetic is that of tenso 0.24 bit for bit (``mode="tenso"``), and by
default one that does not lose constants and single NaNs (``mode="safe"``); packets are the same.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["QTYPES", "SCHEMES", "QType", "QuantizedArray"]

SCHEMES = ("per_tensor", "per_channel", "per_group")


class QType(NamedTuple):
    """A quantized dtype: its name, bits of an element, least and largest value."""

    name: str
    bits: int
    lowest: int
    highest: int

    @property
    def signed(self) -> bool:
        """Whether there are values below 0."""
        return self.lowest < 0

    @property
    def storage(self) -> np.dtype:
        """The dtype of one value an element."""
        return np.dtype(np.int8 if self.signed else np.uint8)


QTYPES = {
    one.name: one
    for one in (
        QType("qint8", 8, -128, 127),
        QType("quint8", 8, 0, 255),
        QType("qint4", 4, -8, 7),
        QType("quint4", 4, 0, 15),
    )
}
"""By name."""


class QuantizedArray(NamedTuple):
    """A quantized tensor in memory.

    ``data``: int8 or uint8 (``QType.storage``), one value an element. ``scales``, ``zero_points``:
    float32, one dim. ``dtype``: ``"qint8"``, ... ``axis``: not negative; ``group_size``: 0 unless
    the scheme is ``"per_group"``.
    """

    data: np.ndarray
    scales: np.ndarray
    zero_points: np.ndarray
    dtype: str
    scheme: str = "per_tensor"
    axis: int = 0
    group_size: int = 0
