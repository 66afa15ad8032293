"""Numbers of few bits that stand for floats: types, schemes, and the arithmetic between them.

A value is stood for by an integer ``q`` and means ``(q - zero_point) * scale``. One scale and zero
point hold for the whole tensor, for each position along an axis, or for each run of ``group_size``
elements in C order. Here is the arithmetic as NumPy functions: what rows of the operation table
(``plan.ops_quantize``) compute, and what compiled code is compared with. Values and parameters are
float32; every step is rounded to float32, so the same bits come out everywhere.

Parameters follow from the least and the largest value, in one of two ways. Either may be stored in
the same packets and read by anybody.

``mode="tenso"``: bit for bit those of the package tenso 0.24 (under NumPy 2): ``scale`` is the
range over the number of steps, ``zero_point`` is ``lowest - least / scale`` in float32. Where the
range is empty they are 1 and 0, so that a constant is rounded and cut off. One NaN makes all NaN;
an infinity makes the scale infinite, and a tiny range makes it 0: all values are lost then. Of no
elements at all, which the package refuses, they are 1 and 0.

``mode="safe"``: the same where that goes well, and otherwise

- only finite values count: an infinity becomes the least or the largest number of the type, NaN
  becomes 0 (``nan="ignore"``); or one NaN makes the parameters NaN (``nan="propagate"``), or is an
  error (``nan="raise"``). Where nothing is finite, and of no elements, they are 1 and 0;
- a constant ``c`` other than 0 is kept exactly: ``q = 0``, ``zero_point = -1``, ``scale = c``;
- the scale is at least the distance of neighbouring float32 at the largest magnitude. Steps finer
  than the values themselves would only be lost when the zero point is added: 100000 to 100001 has
  129 different values, all of which are kept. So a scale never becomes 0 either;
- a scale without full precision (below 2**-126) is rounded up, so that the largest value fits;
- the zero point is computed in float64 and rounded once.

What a value comes back as differs from it by half a step, and by a few roundings of float32 at the
largest magnitude. A value next to the largest float32 may so come back infinite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, SupportsIndex

import numpy as np

from lazytensor.errors import DimensionError, DTypeError, ShapeError
from lazytensor.plan.families import Families
from lazytensor.plan.source import window

__all__ = [
    "MODES",
    "NAN_POLICIES",
    "PIECE",
    "QTYPES",
    "SCHEMES",
    "Layout",
    "QType",
    "QuantizedArray",
    "check_count",
    "dequantize_values",
    "describe_scheme",
    "layout_of",
    "parameters_of",
    "pieces_of",
    "qtype_of",
    "quantize_values",
    "same_quantized",
    "scales_of",
    "spread_parameters",
    "zero_points_of",
]

SCHEMES = ("per_tensor", "per_channel", "per_group")
MODES = ("safe", "tenso")
NAN_POLICIES = ("ignore", "raise", "propagate")

_FLOAT32 = np.dtype(np.float32)
PIECE = 1 << 16
"""Elements that are worked on at a time, so that what is in between stays in the cache."""

_SMALL_PIECE = 1 << 13
"""The same of parameters, of which there is more in between."""


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

    @property
    def steps(self) -> int:
        """How many steps there are from the least value to the largest."""
        return self.highest - self.lowest


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


def qtype_of(dtype: Any) -> QType:
    """The quantized dtype of a name; raises ``DTypeError`` for what is none.

    >>> qtype_of("qint4").storage
    dtype('int8')
    """
    if isinstance(dtype, QType):
        return dtype
    if not isinstance(dtype, str) or dtype not in QTYPES:
        raise DTypeError(f"{dtype!r} is no quantized dtype; there are {', '.join(QTYPES)}")
    return QTYPES[dtype]


class Layout(NamedTuple):
    """Which elements share parameters: ``axis`` is not negative, 0 unless ``per_channel``;
    ``group_size`` is 0 unless ``per_group``; ``number``: how many scales there are."""

    scheme: str
    axis: int
    group_size: int
    number: int


def layout_of(shape: Sequence[int], scheme: str, axis: int = 0, group_size: int = 0) -> Layout:
    """The layout of the parameters of a tensor of this shape, checked.

    The axis is looked at for ``per_channel`` only. Raises ``ValueError`` for another scheme,
    ``DimensionError`` for an axis that does not exist, ``ShapeError`` for a group size that is not
    positive, or is given to a scheme without groups.

    >>> layout_of((4, 6), "per_channel", axis=-1), layout_of((4, 6), "per_group", 0, 5).number
    (Layout(scheme='per_channel', axis=1, group_size=0, number=6), 5)
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme={scheme!r} is none of {', '.join(SCHEMES)}")
    if scheme != "per_group" and group_size:
        raise ShapeError(f"group_size={group_size} is for scheme='per_group', not {scheme!r}")
    if scheme == "per_tensor":
        return Layout(scheme, 0, 0, 1)
    if scheme == "per_group":
        if group_size < 1:
            raise ShapeError(
                f"scheme='per_group' takes a group_size of 1 or more, not {group_size}"
            )
        return Layout(scheme, 0, group_size, -(-math.prod(shape) // group_size))
    if not -len(shape) <= axis < len(shape):
        raise DimensionError(f"axis {axis} does not exist: the tensor has {len(shape)} dims")
    axis %= len(shape)
    return Layout(scheme, axis, 0, shape[axis])


_REDUCERS: Families[str, Callable[..., Any]] = Families(
    {}, {"packed_nibbles": "lazytensor.io.tenso.dask_hooks:REDUCERS"}
)


class QuantizedArray(NamedTuple):
    """A quantized tensor in memory.

    ``data``: int8 or uint8 (``QType.storage``), one value an element. ``scales``, ``zero_points``:
    float32, one dim: one for the tensor, for each position of ``axis``, or for each group of
    ``group_size`` elements in C order, of which the last may be shorter. ``dtype``: ``"qint8"``,
    ... ``axis``: not negative; ``group_size``: 0 unless the scheme is ``"per_group"``. Compare two
    with ``same_quantized``.

    >>> q = QuantizedArray(np.array([0, 2], np.int8), np.array([0.5], np.float32),
    ...     np.array([-1], np.float32), "qint4")
    >>> q
    QuantizedArray(2)  qint4  1 B  per_tensor
    >>> q.dequantize()
    array([0.5, 1.5], dtype=float32)
    """

    data: np.ndarray
    scales: np.ndarray
    zero_points: np.ndarray
    dtype: str
    scheme: str = "per_tensor"
    axis: int = 0
    group_size: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent per dim."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """Number of dims."""
        return self.data.ndim

    @property
    def bits(self) -> int:
        """Bits of an element: 8 or 4."""
        return QTYPES[self.dtype].bits

    @property
    def signed(self) -> bool:
        """Whether there are values below 0."""
        return QTYPES[self.dtype].signed

    @property
    def nbytes(self) -> int:
        """Bytes of the values as they are stored, two of 4 bits in each."""
        return -(-self.data.size * self.bits // 8)

    def dequantize(self, dtype: Any = np.float32) -> np.ndarray:
        """The floats that are meant: ``(q - zero_point) * scale`` in float32, cast to ``dtype``.

        Raises ``ShapeError`` if there are not as many scales and zero points as the scheme takes.
        """
        scales, zero_points = spread_parameters(
            self.shape, self.scales, self.zero_points, self.scheme, self.axis, self.group_size
        )
        found = dequantize_values(self.data, scales, zero_points)
        return found.astype(dtype, copy=False)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """From protocol 5 on values of 4 bits are pickled two a byte, and out of band."""
        packed = None
        if int(protocol) >= 5 and self.bits == 4:
            packed = _REDUCERS["packed_nibbles"](self)
        return tuple.__reduce_ex__(self, protocol) if packed is None else packed

    def __repr__(self) -> str:
        shape = ", ".join(map(str, self.shape))
        return f"QuantizedArray({shape})  {self.dtype}  {self.nbytes} B  {describe_scheme(self)}"


def describe_scheme(q: Any) -> str:
    """The scheme of something quantized in words.

    >>> class Q: scheme, axis, group_size = "per_group", 0, 64
    >>> describe_scheme(Q)
    'per_group of 64'
    """
    more = {"per_channel": f" along {q.axis}", "per_group": f" of {q.group_size}"}
    return f"{q.scheme}{more.get(q.scheme, '')}"


def same_quantized(a: QuantizedArray, b: QuantizedArray) -> bool:
    """Whether two are the same bit for bit; NaN is NaN.

    >>> q = QuantizedArray(np.zeros(2, np.int8), np.ones(1, "f4"), np.zeros(1, "f4"), "qint8")
    >>> same_quantized(q, q), same_quantized(q, q._replace(dtype="qint4"))
    (True, False)
    """
    if a[3:] != b[3:]:
        return False
    for mine, theirs in zip(a[:3], b[:3], strict=True):
        one, other = np.asarray(mine), np.asarray(theirs)
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        nan = one != one
        if not np.array_equal(nan, other != other):
            return False
        if np.where(nan, 0, one).tobytes() != np.where(nan, 0, other).tobytes():
            return False
    return True


# Parameters.


def parameters_of(
    low: np.ndarray, high: np.ndarray, qtype: QType, mode: str
) -> tuple[np.ndarray, np.ndarray]:
    """Scales and zero points of ranges of float32, by the rules of a mode (see the module).

    ``low`` above ``high`` says that there are no values; ``low`` NaN that there is a NaN among
    them.

    >>> low, high = np.float32([0, 3]), np.float32([51, 3])
    >>> parameters_of(low, high, QTYPES["quint8"], "safe")
    (array([0.2, 3. ], dtype=float32), array([ 0., -1.], dtype=float32))
    """
    scale = scales_of(low, high, qtype, mode)
    return scale, zero_points_of(low, high, scale, qtype, mode)


def scales_of(
    low: np.ndarray, high: np.ndarray, qtype: QType, mode: str, out: np.ndarray | None = None
) -> np.ndarray:
    """The first half of ``parameters_of``."""
    compute = _safe_scale if mode == "safe" else _tenso_scale
    made = _in_pieces(partial(compute, qtype), (low, high), _FLOAT32, out, _SMALL_PIECE)
    np.copyto(made, np.nan, where=np.isnan(made))  # bits of NaN differ by who made it
    return made


def zero_points_of(
    low: np.ndarray,
    high: np.ndarray,
    scale: np.ndarray,
    qtype: QType,
    mode: str,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The second half of ``parameters_of``."""
    compute = _safe_zero_point if mode == "safe" else _tenso_zero_point
    made = _in_pieces(partial(compute, qtype), (low, high, scale), _FLOAT32, out, _SMALL_PIECE)
    np.copyto(made, np.nan, where=np.isnan(made))  # bits of NaN differ by who made it
    return made


def _steps(qtype: QType, lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    """The width of a step, in float64."""
    step = np.asarray(hi.astype(np.float64))
    step -= lo
    step /= qtype.steps
    return step


def _tenso_scale(qtype: QType, lo: np.ndarray, hi: np.ndarray, out: np.ndarray) -> None:
    out[...] = _steps(qtype, lo, hi)
    out[hi <= lo] = 1


def _tenso_zero_point(
    qtype: QType, lo: np.ndarray, hi: np.ndarray, scale: np.ndarray, out: np.ndarray
) -> None:
    np.subtract(np.float32(qtype.lowest), lo / scale, out=out)
    out[hi <= lo] = 0


_NORMAL = 2.0**-126
_SMALLEST = 2.0**-149
_EXPONENT = np.uint32(0x7F80_0000)


def _safe_scale(qtype: QType, lo: np.ndarray, hi: np.ndarray, out: np.ndarray) -> None:
    step = _steps(qtype, lo, hi)
    largest = np.asarray(np.maximum(np.abs(lo), np.abs(hi)))
    power = (largest.view(np.uint32) & _EXPONENT).view(_FLOAT32)
    apart = np.maximum(power * np.float32(2.0**-23), np.float32(_SMALLEST))
    np.maximum(step, apart, out=step)
    short = step < _NORMAL
    if short.any():
        step[short] = np.ceil(step[short] / _SMALLEST) * _SMALLEST
    out[...] = step
    flat = hi <= lo
    if flat.any():
        out[flat] = np.where((hi < lo) | (hi == 0), np.float32(1), hi)[flat]


def _safe_zero_point(
    qtype: QType, lo: np.ndarray, hi: np.ndarray, scale: np.ndarray, out: np.ndarray
) -> None:
    place = np.asarray(lo.astype(np.float64))
    place /= scale
    np.subtract(qtype.lowest, place, out=place)
    out[...] = place
    flat = hi <= lo
    if flat.any():
        out[flat] = np.where((hi < lo) | (hi == 0), np.float32(0), np.float32(-1))[flat]


def spread_parameters(
    shape: Sequence[int],
    scales: np.ndarray,
    zero_points: np.ndarray,
    scheme: str,
    axis: int = 0,
    group_size: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Parameters as arrays that broadcast to a tensor of this shape, checked.

    Those of groups are repeated for every element. Raises ``ShapeError`` if their number is not
    the scheme's.

    >>> scales, zero_points = np.arange(2.0, dtype="f4"), np.zeros(2, "f4")
    >>> spread_parameters((2, 3), scales, zero_points, "per_group", group_size=4)[0]
    array([[0., 0., 0.],
           [0., 1., 1.]], dtype=float32)
    """
    layout = layout_of(shape, scheme, axis, group_size)
    out = []
    for name, values in (("scales", scales), ("zero points", zero_points)):
        given: np.ndarray = np.asarray(values, _FLOAT32).reshape(-1)
        check_count(layout, len(given), name)
        if layout.scheme == "per_channel":
            given = given.reshape((-1,) + (1,) * (len(shape) - 1 - layout.axis))
        elif layout.scheme == "per_tensor":
            given = given.reshape(())
        else:
            given = given.repeat(layout.group_size)[: math.prod(shape)].reshape(tuple(shape))
        out.append(given)
    return out[0], out[1]


def check_count(layout: Layout, found: int, name: str) -> None:
    """Raise ``ShapeError`` if there are not as many parameters as a scheme takes."""
    if found != layout.number:
        raise ShapeError(
            f"{found} {name} for {layout.number} under {describe_scheme(layout)}: "
            "there is one for the tensor, for each position of the axis, or for each group"
        )


# Values.


def quantize_values(
    x: np.ndarray,
    scale: np.ndarray,
    zero_point: np.ndarray,
    qtype: QType,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """``x / scale + zero_point`` in float32, rounded (halves to even), cut off; NaN gives 0.

    Any real numbers, which become float32 first; parameters broadcast.

    >>> quantize_values(np.float32([0, 0.5, 1, np.nan]), np.float32(1), np.float32(0),
    ...     QTYPES["qint8"])
    array([0, 0, 1, 0], dtype=int8)
    """

    def compute(x: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, out: np.ndarray) -> None:
        found = np.divide(x.astype(_FLOAT32, copy=False), scale)
        found = np.asarray(np.add(found, zero_point))
        np.clip(found, np.float32(qtype.lowest), np.float32(qtype.highest), out=found)
        np.rint(found, out=found)
        found[found != found] = 0
        out[...] = found.astype(qtype.storage)

    return _in_pieces(compute, (x, scale, zero_point), qtype.storage, out)


def dequantize_values(
    q: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    """``(q - zero_point) * scale`` in float32.

    >>> dequantize_values(np.int8([-1, 2]), np.float32(0.5), np.float32(1))
    array([-1. ,  0.5], dtype=float32)
    """

    def compute(q: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, out: np.ndarray) -> None:
        found = np.subtract(q.astype(_FLOAT32), zero_point)
        np.multiply(found, scale, out=out)

    return _in_pieces(compute, (q, scale, zero_point), _FLOAT32, out)


def _in_pieces(
    compute: Callable[..., None],
    arrays: tuple[np.ndarray, ...],
    dtype: np.dtype,
    out: np.ndarray | None,
    size: int = PIECE,
) -> np.ndarray:
    """A function of elements on one piece after the other."""
    shape = np.broadcast_shapes(*[array.shape for array in arrays])
    into = np.empty(shape, dtype) if out is None else out
    seen = [np.broadcast_to(array, shape) for array in arrays]
    with np.errstate(all="ignore"):
        for part in pieces_of(shape, size):
            compute(*[window(array, part) for array in seen], window(into, part))
    return into


def pieces_of(shape: tuple[int, ...], size: int = PIECE) -> Iterator[tuple[slice, ...]]:
    """Pieces of at most ``size`` elements that together are an array: slices of all dims.

    >>> list(pieces_of((2, PIECE)))[1]
    (slice(1, 2, None), slice(0, 65536, None))
    """
    axis, inner = len(shape), 1
    while axis and inner * shape[axis - 1] <= size:
        axis -= 1
        inner *= shape[axis]
    whole = tuple([slice(0, n) for n in shape[axis:]])
    if axis == 0:
        yield whole
        return
    axis -= 1
    rows = max(1, size // max(1, inner))
    for outer in np.ndindex(*shape[:axis]):
        for lo in range(0, shape[axis], rows):
            part = slice(lo, min(lo + rows, shape[axis]))
            yield (*[slice(i, i + 1) for i in outer], part, *whole)
