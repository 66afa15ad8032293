"""The elementwise functions and reductions of the namespace.

Written by tools/generate.py from the operation table in lazytensor/plan: change the table, not
this file.
"""

from __future__ import annotations

from lazytensor import build
from lazytensor.build import AxisLike, DTypeLike, Operand
from lazytensor.tensor import LazyTensor

__all__ = [
    "abs",
    "acos",
    "acosh",
    "add",
    "all",
    "any",
    "argmax",
    "argmin",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bitwise_and",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "ceil",
    "clip",
    "conj",
    "copysign",
    "cos",
    "cosh",
    "count_nonzero",
    "divide",
    "equal",
    "exp",
    "expm1",
    "floor",
    "floor_divide",
    "greater",
    "greater_equal",
    "hypot",
    "imag",
    "isfinite",
    "isinf",
    "isnan",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "multiply",
    "negative",
    "nextafter",
    "not_equal",
    "positive",
    "pow",
    "prod",
    "real",
    "reciprocal",
    "remainder",
    "round",
    "sign",
    "signbit",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "std",
    "subtract",
    "sum",
    "tan",
    "tanh",
    "trunc",
    "var",
    "where",
]


def abs(x: Operand, /) -> LazyTensor:
    """Absolute value; of complex numbers the magnitude.

    The shape is that of ``x``. The dtype is that of ``x``, for complex ``x`` its real dtype.
    The most negative integer has no positive twin and stays.
    Raises ``DTypeError`` for other than numbers.
    Array API standard 2025.12, elementwise functions, ``abs`` (since 2021.12).

    >>> lt.abs(lt.asarray([-1.5, 2.0])).collect()
    array([1.5, 2. ])
    """
    return LazyTensor._wrap(build.elementwise("abs", x))


def acos(x: Operand, /) -> LazyTensor:
    """Inverse cosine, in radians.

    The shape is that of ``x``. The dtype is the promoted floating-point dtype; integers give
    NumPy's float for them.
    Raises ``DTypeError`` for other than floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``acos`` (since 2021.12).

    >>> lt.acos(lt.asarray([1.0, 0.0])).collect()
    array([0.        , 1.57079633])
    """
    return LazyTensor._wrap(build.elementwise("acos", x))


def acosh(x: Operand, /) -> LazyTensor:
    """Inverse hyperbolic cosine.

    The shape is that of ``x``. The dtype is the promoted floating-point dtype; integers give
    NumPy's float for them.
    Raises ``DTypeError`` for other than floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``acosh`` (since 2021.12).

    >>> lt.acosh(lt.asarray([1.0, 2.0])).collect()
    array([0.       , 1.3169579])
    """
    return LazyTensor._wrap(build.elementwise("acosh", x))


def add(x1: Operand, x2: Operand, /) -> LazyTensor:
    """Sum ``x1 + x2``; of bools the logical or.

    Shapes broadcast. The dtype is the promoted dtype of the operands; Python scalars do not
    raise it. Integers wrap around.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than numbers.
    Array API standard 2025.12, elementwise functions, ``add`` (since 2021.12).

    >>> lt.add(lt.asarray([1, 2]), 3).collect()
    array([4, 5])
    """
    return LazyTensor._wrap(build.elementwise("add", x1, x2))


def all(x: Operand, /, *, axis: AxisLike = None, keepdims: bool = False) -> LazyTensor:
    """Whether every element is true, that is, not 0.

    ``axis``: numbers or dim names, one or a tuple, None for all; ``keepdims`` keeps reduced
    dims as size 1. NaN counts as true. Of no elements it is True. The dtype is bool.
    Raises ``DimensionError`` for an axis that is not there, ``DTypeError`` for other than
    numbers.
    Array API standard 2025.12, utility functions, ``all`` (since 2021.12).

    >>> lt.all(lt.asarray([[True, False], [True, True]]), axis=0).collect()
    array([ True, False])
    """
    return LazyTensor._wrap(build.reduction("all", x, axis, keepdims))


def any(x: Operand, /, *, axis: AxisLike = None, keepdims: bool = False) -> LazyTensor:
    """Whether some element is true, that is, not 0.

    ``axis``: numbers or dim names, one or a tuple, None for all; ``keepdims`` keeps reduced
    dims as size 1. NaN counts as true. Of no elements it is False. The dtype is bool.
    Raises ``DimensionError`` for an axis that is not there, ``DTypeError`` for other than
    numbers.
    Array API standard 2025.12, utility functions, ``any`` (since 2021.12).

    >>> lt.any(lt.asarray([[False, False], [True, False]]), axis=0).collect()
    array([ True, False])
    """
    return LazyTensor._wrap(build.reduction("any", x, axis, keepdims))


def argmax(
    x: Operand,
    /,
    *,
    axis: int | str | None = None,
    keepdims: bool = False,
) -> LazyTensor:
    """Index of the greatest element.

    ``axis``: a number or a dim name, None for the flattened tensor; ``keepdims`` keeps reduced
    dims as size 1. The index counts positions, over the flattened tensor in C order if ``axis``
    is None. Of equal values the first counts, of NaN the first before all. The dtype is int64.
    Raises ``DimensionError`` for an axis that is not there, ``DTypeError`` for other than
    numbers, ``ShapeError`` where there are no elements to choose from.
    Array API standard 2025.12, searching functions, ``argmax`` (since 2021.12).

    >>> lt.argmax(lt.asarray([[1, 2], [3, 4]]), axis=0).collect()
    array([1, 1])
    """
    return LazyTensor._wrap(build.reduction("argmax", x, axis, keepdims))


def argmin(
    x: Operand,
    /,
    *,
    axis: int | str | None = None,
    keepdims: bool = False,
) -> LazyTensor:
    """Index of the smallest element.

    ``axis``: a number or a dim name, None for the flattened tensor; ``keepdims`` keeps reduced
    dims as size 1. The index counts positions, over the flattened tensor in C order if ``axis``
    is None. Of equal values the first counts, of NaN the first before all. The dtype is int64.
    Raises ``DimensionError`` for an axis that is not there, ``DTypeError`` for other than
    numbers, ``ShapeError`` where there are no elements to choose from.
    Array API standard 2025.12, searching functions, ``argmin`` (since 2021.12).

    >>> lt.argmin(lt.asarray([[1, 2], [3, 4]]), axis=0).collect()
    array([0, 0])
    """
    return LazyTensor._wrap(build.reduction("argmin", x, axis, keepdims))


def asin(x: Operand, /) -> LazyTensor:
    """Inverse sine, in radians.

    The shape is that of ``x``. The dtype is the promoted floating-point dtype; integers give
    NumPy's float for them.
    Raises ``DTypeError`` for other than floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``asin`` (since 2021.12).

    >>> lt.asin(lt.asarray([0.0, 1.0])).collect()
    array([0.        , 1.57079633])
    """
    return LazyTensor._wrap(build.elementwise("asin", x))


def asinh(x: Operand, /) -> LazyTensor:
    """Inverse hyperbolic sine.

    The shape is that of ``x``. The dtype is the promoted floating-point dtype; integers give
    NumPy's float for them.
    Raises ``DTypeError`` for other than floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``asinh`` (since 2021.12).

    >>> lt.asinh(lt.asarray([0.0, 1.0])).collect()
    array([0.        , 0.88137359])
    """
    return LazyTensor._wrap(build.elementwise("asinh", x))


def atan(x: Operand, /) -> LazyTensor:
    """Inverse tangent, in radians.

    The shape is that of ``x``. The dtype is the promoted floating-point dtype; integers give
    NumPy's float for them.
    Raises ``DTypeError`` for other than floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``atan`` (since 2021.12).

    >>> lt.atan(lt.asarray([0.0, 1.0])).collect()
    array([0.        , 0.78539816])
    """
    return LazyTensor._wrap(build.elementwise("atan", x))


def atan2(x1: Operand, x2: Operand, /) -> LazyTensor:
    """Angle of the point ``(x2, x1)``, in radians on [-π, π].

    Shapes broadcast. The dtype is the promoted floating-point dtype; integers give NumPy's
    float for them.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than real
    floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``atan2`` (since 2021.12).

    >>> lt.atan2(lt.asarray([1.0, -1.0]), [1.0, 1.0]).collect()
    array([ 0.78539816, -0.78539816])
    """
    return LazyTensor._wrap(build.elementwise("atan2", x1, x2))


def atanh(x: Operand, /) -> LazyTensor:
    """Inverse hyperbolic tangent.

    The shape is that of ``x``. The dtype is the promoted floating-point dtype; integers give
    NumPy's float for them.
    Raises ``DTypeError`` for other than floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``atanh`` (since 2021.12).

    >>> lt.atanh(lt.asarray([0.0, 0.5])).collect()
    array([0.        , 0.54930614])
    """
    return LazyTensor._wrap(build.elementwise("atanh", x))


def bitwise_and(x1: Operand, x2: Operand, /) -> LazyTensor:
    """Bitwise and of ``x1`` and ``x2``; of bools the logical one.

    Shapes broadcast. The dtype is the promoted dtype of the operands; Python scalars do not
    raise it.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than integers
    or bools of a common dtype.
    Array API standard 2025.12, elementwise functions, ``bitwise_and`` (since 2021.12).

    >>> lt.bitwise_and(lt.asarray([12, 10]), 6).collect()
    array([4, 2])
    """
    return LazyTensor._wrap(build.elementwise("bitwise_and", x1, x2))


def bitwise_invert(x: Operand, /) -> LazyTensor:
    """Every bit of ``x`` flipped; of bools the logical not.

    The shape is that of ``x``. The dtype is that of ``x``.
    Raises ``DTypeError`` for other than integers or bools.
    Array API standard 2025.12, elementwise functions, ``bitwise_invert`` (since 2021.12).

    >>> lt.bitwise_invert(lt.asarray([0, 5])).collect()
    array([-1, -6])
    """
    return LazyTensor._wrap(build.elementwise("bitwise_invert", x))


def bitwise_left_shift(x1: Operand, x2: Operand, /) -> LazyTensor:
    """``x1`` with its bits moved ``x2`` places to the left.

    Shapes broadcast. The dtype is the promoted dtype of the operands; Python scalars do not
    raise it. Shifts by a negative number, or by as many bits as there are, give 0.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than integers
    of a common dtype.
    Array API standard 2025.12, elementwise functions, ``bitwise_left_shift`` (since 2021.12).

    >>> lt.bitwise_left_shift(lt.asarray([1, 3]), 2).collect()
    array([ 4, 12])
    """
    return LazyTensor._wrap(build.elementwise("bitwise_left_shift", x1, x2))


def bitwise_or(x1: Operand, x2: Operand, /) -> LazyTensor:
    """Bitwise or of ``x1`` and ``x2``; of bools the logical one.

    Shapes broadcast. The dtype is the promoted dtype of the operands; Python scalars do not
    raise it.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than integers
    or bools of a common dtype.
    Array API standard 2025.12, elementwise functions, ``bitwise_or`` (since 2021.12).

    >>> lt.bitwise_or(lt.asarray([12, 10]), 6).collect()
    array([14, 14])
    """
    return LazyTensor._wrap(build.elementwise("bitwise_or", x1, x2))


def bitwise_right_shift(x1: Operand, x2: Operand, /) -> LazyTensor:
    """``x1`` with its bits moved ``x2`` places to the right, the sign kept.

    Shapes broadcast. The dtype is the promoted dtype of the operands; Python scalars do not
    raise it. Shifts by a negative number, or by as many bits as there are, give 0, of negative
    ``x1`` -1.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than integers
    of a common dtype.
    Array API standard 2025.12, elementwise functions, ``bitwise_right_shift`` (since 2021.12).

    >>> lt.bitwise_right_shift(lt.asarray([9, -9]), 2).collect()
    array([ 2, -3])
    """
    return LazyTensor._wrap(build.elementwise("bitwise_right_shift", x1, x2))


def bitwise_xor(x1: Operand, x2: Operand, /) -> LazyTensor:
    """Bitwise exclusive or of ``x1`` and ``x2``; of bools the logical one.

    Shapes broadcast. The dtype is the promoted dtype of the operands; Python scalars do not
    raise it.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than integers
    or bools of a common dtype.
    Array API standard 2025.12, elementwise functions, ``bitwise_xor`` (since 2021.12).

    >>> lt.bitwise_xor(lt.asarray([12, 10]), 6).collect()
    array([10, 12])
    """
    return LazyTensor._wrap(build.elementwise("bitwise_xor", x1, x2))


def ceil(x: Operand, /) -> LazyTensor:
    """Smallest whole number not less than ``x``.

    The shape is that of ``x``. The dtype is that of ``x``. Integers are returned as they are.
    Raises ``DTypeError`` for other than real numbers.
    Array API standard 2025.12, elementwise functions, ``ceil`` (since 2021.12).

    >>> lt.ceil(lt.asarray([-1.5, 0.5, 2.5])).collect()
    array([-1.,  1.,  3.])
    """
    return LazyTensor._wrap(build.elementwise("ceil", x))


def clip(x: Operand, /, min: Operand | None = None, max: Operand | None = None) -> LazyTensor:
    """``x`` limited to ``[min, max]``; a bound that is None limits nothing.

    Shapes broadcast. The dtype is the promoted dtype of all three; Python scalars do not raise
    it. NaN in any of them gives NaN; where ``min`` exceeds ``max`` the result is ``max``.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than real
    numbers.
    Array API standard 2025.12, elementwise functions, ``clip`` (since 2023.12).

    >>> lt.clip(lt.asarray([1, 5, 9]), 2, 8).collect()
    array([2, 5, 8])
    """
    return LazyTensor._wrap(build.clip(x, min, max))


def conj(x: Operand, /) -> LazyTensor:
    """Complex conjugate; real numbers are their own.

    The shape is that of ``x``. The dtype is that of ``x``.
    Raises ``DTypeError`` for other than numbers.
    Array API standard 2025.12, elementwise functions, ``conj`` (since 2022.12).

    >>> lt.conj(lt.asarray([1 + 2j, 3 - 4j])).collect()
    array([1.-2.j, 3.+4.j])
    """
    return LazyTensor._wrap(build.elementwise("conj", x))


def copysign(x1: Operand, x2: Operand, /) -> LazyTensor:
    """Magnitude of ``x1`` with the sign of ``x2``, which counts also for zero and NaN.

    Shapes broadcast. The dtype is the promoted floating-point dtype; integers give NumPy's
    float for them.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than real
    floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``copysign`` (since 2023.12).

    >>> lt.copysign(lt.asarray([1.0, -2.0]), -0.0).collect()
    array([-1., -2.])
    """
    return LazyTensor._wrap(build.elementwise("copysign", x1, x2))


def cos(x: Operand, /) -> LazyTensor:
    """Cosine of an angle in radians.

    The shape is that of ``x``. The dtype is the promoted floating-point dtype; integers give
    NumPy's float for them.
    Raises ``DTypeError`` for other than floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``cos`` (since 2021.12).

    >>> lt.cos(lt.asarray([0.0, 1.0])).collect()
    array([1.        , 0.54030231])
    """
    return LazyTensor._wrap(build.elementwise("cos", x))


def cosh(x: Operand, /) -> LazyTensor:
    """Hyperbolic cosine.

    The shape is that of ``x``. The dtype is the promoted floating-point dtype; integers give
    NumPy's float for them.
    Raises ``DTypeError`` for other than floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``cosh`` (since 2021.12).

    >>> lt.cosh(lt.asarray([0.0, 1.0])).collect()
    array([1.        , 1.54308063])
    """
    return LazyTensor._wrap(build.elementwise("cosh", x))


def count_nonzero(
    x: Operand,
    /,
    *,
    axis: AxisLike = None,
    keepdims: bool = False,
) -> LazyTensor:
    """Number of elements that are not 0.

    ``axis``: numbers or dim names, one or a tuple, None for all; ``keepdims`` keeps reduced
    dims as size 1. NaN counts as not 0. The dtype is int64.
    Raises ``DimensionError`` for an axis that is not there, ``DTypeError`` for other than
    numbers.
    Array API standard 2025.12, searching functions, ``count_nonzero`` (since 2024.12).

    >>> lt.count_nonzero(lt.asarray([[1, 0], [3, 4]]), axis=0).collect()
    array([2, 1])
    """
    return LazyTensor._wrap(build.reduction("count_nonzero", x, axis, keepdims))


def divide(x1: Operand, x2: Operand, /) -> LazyTensor:
    """Quotient ``x1 / x2``.

    Shapes broadcast. The dtype is the promoted floating-point dtype; integers give NumPy's
    float for them. Division by zero gives an infinity, 0 / 0 NaN; nothing warns.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than numbers.
    Array API standard 2025.12, elementwise functions, ``divide`` (since 2021.12).

    >>> lt.divide(lt.asarray([1.0, 3.0]), 2).collect()
    array([0.5, 1.5])
    """
    return LazyTensor._wrap(build.elementwise("divide", x1, x2))


def equal(x1: Operand, x2: Operand, /) -> LazyTensor:
    """Truth of ``x1 == x2``, element by element.

    Shapes broadcast. The dtype is bool. Integers compare by value whatever their dtypes; NaN
    compares unequal.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than operands
    that promote to a common dtype.
    Array API standard 2025.12, elementwise functions, ``equal`` (since 2021.12).

    >>> lt.equal(lt.asarray([1, 2, 3]), 2).collect()
    array([False,  True, False])
    """
    return LazyTensor._wrap(build.elementwise("equal", x1, x2))


def exp(x: Operand, /) -> LazyTensor:
    """Exponential function.

    The shape is that of ``x``. The dtype is the promoted floating-point dtype; integers give
    NumPy's float for them.
    Raises ``DTypeError`` for other than floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``exp`` (since 2021.12).

    >>> lt.exp(lt.asarray([0.0, 1.0])).collect()
    array([1.        , 2.71828183])
    """
    return LazyTensor._wrap(build.elementwise("exp", x))


def expm1(x: Operand, /) -> LazyTensor:
    """``exp(x) - 1``, exact also near 0.

    The shape is that of ``x``. The dtype is the promoted floating-point dtype; integers give
    NumPy's float for them.
    Raises ``DTypeError`` for other than floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``expm1`` (since 2021.12).

    >>> lt.expm1(lt.asarray([0.0, 1e-10])).collect()
    array([0.e+00, 1.e-10])
    """
    return LazyTensor._wrap(build.elementwise("expm1", x))


def floor(x: Operand, /) -> LazyTensor:
    """Greatest whole number not greater than ``x``.

    The shape is that of ``x``. The dtype is that of ``x``. Integers are returned as they are.
    Raises ``DTypeError`` for other than real numbers.
    Array API standard 2025.12, elementwise functions, ``floor`` (since 2021.12).

    >>> lt.floor(lt.asarray([-1.5, 0.5, 2.5])).collect()
    array([-2.,  0.,  2.])
    """
    return LazyTensor._wrap(build.elementwise("floor", x))


def floor_divide(x1: Operand, x2: Operand, /) -> LazyTensor:
    """Quotient ``x1 / x2`` rounded down, the partner of ``remainder``.

    Shapes broadcast. The dtype is the promoted dtype of the operands; Python scalars do not
    raise it. Integers divided by zero give 0. Infinite dividends give NaN and infinite divisors
    -1 or 0, as Python has it (the standard allows it).
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than real
    numbers.
    Array API standard 2025.12, elementwise functions, ``floor_divide`` (since 2021.12).

    >>> lt.floor_divide(lt.asarray([7, -7]), 2).collect()
    array([ 3, -4])
    """
    return LazyTensor._wrap(build.elementwise("floor_divide", x1, x2))


def greater(x1: Operand, x2: Operand, /) -> LazyTensor:
    """Truth of ``x1 > x2``, element by element.

    Shapes broadcast. The dtype is bool. Integers compare by value whatever their dtypes; NaN
    compares unequal.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than operands
    that promote to a common dtype.
    Array API standard 2025.12, elementwise functions, ``greater`` (since 2021.12).

    >>> lt.greater(lt.asarray([1, 2, 3]), 2).collect()
    array([False, False,  True])
    """
    return LazyTensor._wrap(build.elementwise("greater", x1, x2))


def greater_equal(x1: Operand, x2: Operand, /) -> LazyTensor:
    """Truth of ``x1 >= x2``, element by element.

    Shapes broadcast. The dtype is bool. Integers compare by value whatever their dtypes; NaN
    compares unequal.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than operands
    that promote to a common dtype.
    Array API standard 2025.12, elementwise functions, ``greater_equal`` (since 2021.12).

    >>> lt.greater_equal(lt.asarray([1, 2, 3]), 2).collect()
    array([False,  True,  True])
    """
    return LazyTensor._wrap(build.elementwise("greater_equal", x1, x2))


def hypot(x1: Operand, x2: Operand, /) -> LazyTensor:
    """``sqrt(x1**2 + x2**2)`` without overflow on the way.

    Shapes broadcast. The dtype is the promoted floating-point dtype; integers give NumPy's
    float for them.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than real
    floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``hypot`` (since 2023.12).

    >>> lt.hypot(lt.asarray([3.0, 5.0]), [4.0, 12.0]).collect()
    array([ 5., 13.])
    """
    return LazyTensor._wrap(build.elementwise("hypot", x1, x2))


def imag(x: Operand, /) -> LazyTensor:
    """Imaginary part; 0 for real numbers.

    The shape is that of ``x``. The dtype is that of the parts of ``x``.
    Raises ``DTypeError`` for other than numbers.
    Array API standard 2025.12, elementwise functions, ``imag`` (since 2022.12).

    >>> lt.imag(lt.asarray([1 + 2j, 3 - 4j])).collect()
    array([ 2., -4.])
    """
    return LazyTensor._wrap(build.elementwise("imag", x))


def isfinite(x: Operand, /) -> LazyTensor:
    """Whether ``x`` is neither infinite nor NaN.

    The shape is that of ``x``. The dtype is bool. A complex number passes as its parts do.
    Raises ``DTypeError`` for other than numbers.
    Array API standard 2025.12, elementwise functions, ``isfinite`` (since 2021.12).

    >>> lt.isfinite(lt.asarray([1.0, float('inf'), float('nan')])).collect()
    array([ True, False, False])
    """
    return LazyTensor._wrap(build.elementwise("isfinite", x))


def isinf(x: Operand, /) -> LazyTensor:
    """Whether ``x`` is an infinity of either sign.

    The shape is that of ``x``. The dtype is bool. A complex number passes as its parts do.
    Raises ``DTypeError`` for other than numbers.
    Array API standard 2025.12, elementwise functions, ``isinf`` (since 2021.12).

    >>> lt.isinf(lt.asarray([1.0, float('inf'), float('nan')])).collect()
    array([False,  True, False])
    """
    return LazyTensor._wrap(build.elementwise("isinf", x))


def isnan(x: Operand, /) -> LazyTensor:
    """Whether ``x`` is NaN.

    The shape is that of ``x``. The dtype is bool. A complex number passes as its parts do.
    Raises ``DTypeError`` for other than numbers.
    Array API standard 2025.12, elementwise functions, ``isnan`` (since 2021.12).

    >>> lt.isnan(lt.asarray([1.0, float('inf'), float('nan')])).collect()
    array([False, False,  True])
    """
    return LazyTensor._wrap(build.elementwise("isnan", x))


def less(x1: Operand, x2: Operand, /) -> LazyTensor:
    """Truth of ``x1 < x2``, element by element.

    Shapes broadcast. The dtype is bool. Integers compare by value whatever their dtypes; NaN
    compares unequal.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than operands
    that promote to a common dtype.
    Array API standard 2025.12, elementwise functions, ``less`` (since 2021.12).

    >>> lt.less(lt.asarray([1, 2, 3]), 2).collect()
    array([ True, False, False])
    """
    return LazyTensor._wrap(build.elementwise("less", x1, x2))


def less_equal(x1: Operand, x2: Operand, /) -> LazyTensor:
    """Truth of ``x1 <= x2``, element by element.

    Shapes broadcast. The dtype is bool. Integers compare by value whatever their dtypes; NaN
    compares unequal.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than operands
    that promote to a common dtype.
    Array API standard 2025.12, elementwise functions, ``less_equal`` (since 2021.12).

    >>> lt.less_equal(lt.asarray([1, 2, 3]), 2).collect()
    array([ True,  True, False])
    """
    return LazyTensor._wrap(build.elementwise("less_equal", x1, x2))


def log(x: Operand, /) -> LazyTensor:
    """Natural logarithm.

    The shape is that of ``x``. The dtype is the promoted floating-point dtype; integers give
    NumPy's float for them. Of 0 it is -inf.
    Raises ``DTypeError`` for other than floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``log`` (since 2021.12).

    >>> lt.log(lt.asarray([1.0, 2.0])).collect()
    array([0.        , 0.69314718])
    """
    return LazyTensor._wrap(build.elementwise("log", x))


def log1p(x: Operand, /) -> LazyTensor:
    """``log(1 + x)``, exact also near 0.

    The shape is that of ``x``. The dtype is the promoted floating-point dtype; integers give
    NumPy's float for them.
    Raises ``DTypeError`` for other than floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``log1p`` (since 2021.12).

    >>> lt.log1p(lt.asarray([0.0, 1e-10])).collect()
    array([0.e+00, 1.e-10])
    """
    return LazyTensor._wrap(build.elementwise("log1p", x))


def log2(x: Operand, /) -> LazyTensor:
    """Logarithm to base 2.

    The shape is that of ``x``. The dtype is the promoted floating-point dtype; integers give
    NumPy's float for them. Of 0 it is -inf.
    Raises ``DTypeError`` for other than floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``log2`` (since 2021.12).

    >>> lt.log2(lt.asarray([1.0, 8.0])).collect()
    array([0., 3.])
    """
    return LazyTensor._wrap(build.elementwise("log2", x))


def log10(x: Operand, /) -> LazyTensor:
    """Logarithm to base 10.

    The shape is that of ``x``. The dtype is the promoted floating-point dtype; integers give
    NumPy's float for them. Of 0 it is -inf.
    Raises ``DTypeError`` for other than floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``log10`` (since 2021.12).

    >>> lt.log10(lt.asarray([1.0, 1000.0])).collect()
    array([0., 3.])
    """
    return LazyTensor._wrap(build.elementwise("log10", x))


def logaddexp(x1: Operand, x2: Operand, /) -> LazyTensor:
    """``log(exp(x1) + exp(x2))`` without overflow on the way.

    Shapes broadcast. The dtype is the promoted floating-point dtype; integers give NumPy's
    float for them.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than real
    floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``logaddexp`` (since 2021.12).

    >>> lt.logaddexp(lt.asarray([0.0, 1000.0]), [0.0, 1000.0]).collect()
    array([6.93147181e-01, 1.00069315e+03])
    """
    return LazyTensor._wrap(build.elementwise("logaddexp", x1, x2))


def logical_and(x1: Operand, x2: Operand, /) -> LazyTensor:
    """Logical and of ``x1`` and ``x2``.

    Shapes broadcast. The dtype is bool. Numbers other than 0 count as true, NaN too.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than operands
    that promote to a common dtype.
    Array API standard 2025.12, elementwise functions, ``logical_and`` (since 2021.12).

    >>> lt.logical_and(lt.asarray([True, False]), True).collect()
    array([ True, False])
    """
    return LazyTensor._wrap(build.elementwise("logical_and", x1, x2))


def logical_not(x: Operand, /) -> LazyTensor:
    """Logical not.

    The shape is that of ``x``. The dtype is bool. Numbers other than 0 count as true, NaN too.
    Raises ``DTypeError`` for other than operands that promote to a common dtype.
    Array API standard 2025.12, elementwise functions, ``logical_not`` (since 2021.12).

    >>> lt.logical_not(lt.asarray([True, False])).collect()
    array([False,  True])
    """
    return LazyTensor._wrap(build.elementwise("logical_not", x))


def logical_or(x1: Operand, x2: Operand, /) -> LazyTensor:
    """Logical or of ``x1`` and ``x2``.

    Shapes broadcast. The dtype is bool. Numbers other than 0 count as true, NaN too.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than operands
    that promote to a common dtype.
    Array API standard 2025.12, elementwise functions, ``logical_or`` (since 2021.12).

    >>> lt.logical_or(lt.asarray([True, False]), True).collect()
    array([ True,  True])
    """
    return LazyTensor._wrap(build.elementwise("logical_or", x1, x2))


def logical_xor(x1: Operand, x2: Operand, /) -> LazyTensor:
    """Logical exclusive or of ``x1`` and ``x2``.

    Shapes broadcast. The dtype is bool. Numbers other than 0 count as true, NaN too.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than operands
    that promote to a common dtype.
    Array API standard 2025.12, elementwise functions, ``logical_xor`` (since 2021.12).

    >>> lt.logical_xor(lt.asarray([True, False]), True).collect()
    array([False,  True])
    """
    return LazyTensor._wrap(build.elementwise("logical_xor", x1, x2))


def max(x: Operand, /, *, axis: AxisLike = None, keepdims: bool = False) -> LazyTensor:
    """Greatest element.

    ``axis``: numbers or dim names, one or a tuple, None for all; ``keepdims`` keeps reduced
    dims as size 1. NaN gives NaN; of zeros of both signs the result is 0.0. The dtype is that
    of ``x``.
    Raises ``DimensionError`` for an axis that is not there, ``DTypeError`` for other than
    numbers, ``ShapeError`` where there are no elements to choose from.
    Array API standard 2025.12, statistical functions, ``max`` (since 2021.12).

    >>> lt.max(lt.asarray([[1, 2], [3, 4]]), axis=0).collect()
    array([3, 4])
    """
    return LazyTensor._wrap(build.reduction("max", x, axis, keepdims))


def maximum(x1: Operand, x2: Operand, /) -> LazyTensor:
    """The greater of ``x1`` and ``x2``.

    Shapes broadcast. The dtype is the promoted dtype of the operands; Python scalars do not
    raise it. NaN in either gives NaN.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than real
    numbers.
    Array API standard 2025.12, elementwise functions, ``maximum`` (since 2023.12).

    >>> lt.maximum(lt.asarray([1, 5]), 3).collect()
    array([3, 5])
    """
    return LazyTensor._wrap(build.elementwise("maximum", x1, x2))


def mean(x: Operand, /, *, axis: AxisLike = None, keepdims: bool = False) -> LazyTensor:
    """Arithmetic mean.

    ``axis``: numbers or dim names, one or a tuple, None for all; ``keepdims`` keeps reduced
    dims as size 1. Floats keep their dtype, integers give float64. Of no elements it is NaN.
    Raises ``DimensionError`` for an axis that is not there, ``DTypeError`` for other than
    numbers.
    Array API standard 2025.12, statistical functions, ``mean`` (since 2021.12).

    >>> lt.mean(lt.asarray([[1, 2], [3, 4]]), axis=0).collect()
    array([2., 3.])
    """
    return LazyTensor._wrap(build.reduction("mean", x, axis, keepdims))


def min(x: Operand, /, *, axis: AxisLike = None, keepdims: bool = False) -> LazyTensor:
    """Smallest element.

    ``axis``: numbers or dim names, one or a tuple, None for all; ``keepdims`` keeps reduced
    dims as size 1. NaN gives NaN; of zeros of both signs the result is -0.0. The dtype is that
    of ``x``.
    Raises ``DimensionError`` for an axis that is not there, ``DTypeError`` for other than
    numbers, ``ShapeError`` where there are no elements to choose from.
    Array API standard 2025.12, statistical functions, ``min`` (since 2021.12).

    >>> lt.min(lt.asarray([[1, 2], [3, 4]]), axis=0).collect()
    array([1, 2])
    """
    return LazyTensor._wrap(build.reduction("min", x, axis, keepdims))


def minimum(x1: Operand, x2: Operand, /) -> LazyTensor:
    """The smaller of ``x1`` and ``x2``.

    Shapes broadcast. The dtype is the promoted dtype of the operands; Python scalars do not
    raise it. NaN in either gives NaN.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than real
    numbers.
    Array API standard 2025.12, elementwise functions, ``minimum`` (since 2023.12).

    >>> lt.minimum(lt.asarray([1, 5]), 3).collect()
    array([1, 3])
    """
    return LazyTensor._wrap(build.elementwise("minimum", x1, x2))


def multiply(x1: Operand, x2: Operand, /) -> LazyTensor:
    """Product ``x1 * x2``; of bools the logical and.

    Shapes broadcast. The dtype is the promoted dtype of the operands; Python scalars do not
    raise it. Integers wrap around.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than numbers.
    Array API standard 2025.12, elementwise functions, ``multiply`` (since 2021.12).

    >>> lt.multiply(lt.asarray([1, 2]), 3).collect()
    array([3, 6])
    """
    return LazyTensor._wrap(build.elementwise("multiply", x1, x2))


def negative(x: Operand, /) -> LazyTensor:
    """``-x``.

    The shape is that of ``x``. The dtype is that of ``x``. Integers wrap around.
    Raises ``DTypeError`` for other than numbers other than bools (for those there is
    ``logical_not``).
    Array API standard 2025.12, elementwise functions, ``negative`` (since 2021.12).

    >>> lt.negative(lt.asarray([1, -2])).collect()
    array([-1,  2])
    """
    return LazyTensor._wrap(build.elementwise("negative", x))


def nextafter(x1: Operand, x2: Operand, /) -> LazyTensor:
    """The float next to ``x1`` in the direction of ``x2``.

    Shapes broadcast. The dtype is the promoted floating-point dtype; integers give NumPy's
    float for them.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than real
    floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``nextafter`` (since 2024.12).

    >>> lt.nextafter(lt.asarray([0.0, 1.0]), 2.0).collect()
    array([5.e-324, 1.e+000])
    """
    return LazyTensor._wrap(build.elementwise("nextafter", x1, x2))


def not_equal(x1: Operand, x2: Operand, /) -> LazyTensor:
    """Truth of ``x1 != x2``, element by element.

    Shapes broadcast. The dtype is bool. Integers compare by value whatever their dtypes; NaN
    compares unequal.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than operands
    that promote to a common dtype.
    Array API standard 2025.12, elementwise functions, ``not_equal`` (since 2021.12).

    >>> lt.not_equal(lt.asarray([1, 2, 3]), 2).collect()
    array([ True, False,  True])
    """
    return LazyTensor._wrap(build.elementwise("not_equal", x1, x2))


def positive(x: Operand, /) -> LazyTensor:
    """``+x``: the values as they are.

    The shape is that of ``x``. The dtype is that of ``x``.
    Raises ``DTypeError`` for other than numbers other than bools.
    Array API standard 2025.12, elementwise functions, ``positive`` (since 2021.12).

    >>> lt.positive(lt.asarray([1, -2])).collect()
    array([ 1, -2])
    """
    return LazyTensor._wrap(build.elementwise("positive", x))


def pow(x1: Operand, x2: Operand, /) -> LazyTensor:
    """``x1`` to the power of ``x2``.

    Shapes broadcast. The dtype is the promoted dtype of the operands; Python scalars do not
    raise it. Integers wrap around; an integer to a negative integer power is a ``DTypeError``
    (when built if the power is a Python scalar, else when collected). Floats to the power of
    -1, 0.5 and 2 are rounded as ``1 / x``, ``sqrt(x)`` and ``x * x`` are.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than numbers.
    Array API standard 2025.12, elementwise functions, ``pow`` (since 2021.12).

    >>> lt.pow(lt.asarray([2.0, 3.0]), 2).collect()
    array([4., 9.])
    """
    return LazyTensor._wrap(build.elementwise("pow", x1, x2))


def prod(
    x: Operand,
    /,
    *,
    axis: AxisLike = None,
    dtype: DTypeLike = None,
    keepdims: bool = False,
) -> LazyTensor:
    """Product of the elements.

    ``axis``: numbers or dim names, one or a tuple, None for all; ``keepdims`` keeps reduced
    dims as size 1. Integers are accumulated exactly in 64 bits and give int64 or uint64, floats
    keep their dtype and are accumulated in at least float64; ``dtype`` overrides both. Of no
    elements it is 1.
    Raises ``DimensionError`` for an axis that is not there, ``DTypeError`` for other than
    numbers.
    Array API standard 2025.12, statistical functions, ``prod`` (since 2021.12).

    >>> lt.prod(lt.asarray([[1, 2], [3, 4]]), axis=0).collect()
    array([3, 8])
    """
    return LazyTensor._wrap(build.reduction("prod", x, axis, keepdims, dtype=dtype))


def real(x: Operand, /) -> LazyTensor:
    """Real part.

    The shape is that of ``x``. The dtype is that of the parts of ``x``.
    Raises ``DTypeError`` for other than numbers.
    Array API standard 2025.12, elementwise functions, ``real`` (since 2022.12).

    >>> lt.real(lt.asarray([1 + 2j, 3 - 4j])).collect()
    array([1., 3.])
    """
    return LazyTensor._wrap(build.elementwise("real", x))


def reciprocal(x: Operand, /) -> LazyTensor:
    """``1 / x``.

    The shape is that of ``x``. The dtype is that of ``x``. Of integers it is rounded towards
    zero, and 0 for 0.
    Raises ``DTypeError`` for other than numbers.
    Array API standard 2025.12, elementwise functions, ``reciprocal`` (since 2024.12).

    >>> lt.reciprocal(lt.asarray([2.0, 4.0])).collect()
    array([0.5 , 0.25])
    """
    return LazyTensor._wrap(build.elementwise("reciprocal", x))


def remainder(x1: Operand, x2: Operand, /) -> LazyTensor:
    """What ``floor_divide`` leaves over; it has the sign of ``x2``.

    Shapes broadcast. The dtype is the promoted dtype of the operands; Python scalars do not
    raise it. Integers divided by zero leave 0.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than real
    numbers.
    Array API standard 2025.12, elementwise functions, ``remainder`` (since 2021.12).

    >>> lt.remainder(lt.asarray([7, -7]), 3).collect()
    array([1, 2])
    """
    return LazyTensor._wrap(build.elementwise("remainder", x1, x2))


def round(x: Operand, /) -> LazyTensor:
    """Nearest whole number, halves to the even one.

    The shape is that of ``x``. The dtype is that of ``x``. Integers are returned as they are.
    Raises ``DTypeError`` for other than real numbers.
    Array API standard 2025.12, elementwise functions, ``round`` (since 2021.12).

    >>> lt.round(lt.asarray([-1.5, 0.5, 2.5])).collect()
    array([-2.,  0.,  2.])
    """
    return LazyTensor._wrap(build.elementwise("round", x))


def sign(x: Operand, /) -> LazyTensor:
    """-1, 0 or 1 as ``x`` is negative, zero or positive; of complex numbers ``x / abs(x)``.

    The shape is that of ``x``. The dtype is that of ``x``. NaN gives NaN.
    Raises ``DTypeError`` for other than numbers other than bools.
    Array API standard 2025.12, elementwise functions, ``sign`` (since 2021.12).

    >>> lt.sign(lt.asarray([-2, 0, 3])).collect()
    array([-1,  0,  1])
    """
    return LazyTensor._wrap(build.elementwise("sign", x))


def signbit(x: Operand, /) -> LazyTensor:
    """Whether the sign bit is set, which it is for -0.0 too.

    The shape is that of ``x``. The dtype is bool.
    Raises ``DTypeError`` for other than real numbers.
    Array API standard 2025.12, elementwise functions, ``signbit`` (since 2023.12).

    >>> lt.signbit(lt.asarray([-0.0, 0.0, -1.0])).collect()
    array([ True, False,  True])
    """
    return LazyTensor._wrap(build.elementwise("signbit", x))


def sin(x: Operand, /) -> LazyTensor:
    """Sine of an angle in radians.

    The shape is that of ``x``. The dtype is the promoted floating-point dtype; integers give
    NumPy's float for them.
    Raises ``DTypeError`` for other than floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``sin`` (since 2021.12).

    >>> lt.sin(lt.asarray([0.0, 1.0])).collect()
    array([0.        , 0.84147098])
    """
    return LazyTensor._wrap(build.elementwise("sin", x))


def sinh(x: Operand, /) -> LazyTensor:
    """Hyperbolic sine.

    The shape is that of ``x``. The dtype is the promoted floating-point dtype; integers give
    NumPy's float for them.
    Raises ``DTypeError`` for other than floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``sinh`` (since 2021.12).

    >>> lt.sinh(lt.asarray([0.0, 1.0])).collect()
    array([0.        , 1.17520119])
    """
    return LazyTensor._wrap(build.elementwise("sinh", x))


def sqrt(x: Operand, /) -> LazyTensor:
    """Square root.

    The shape is that of ``x``. The dtype is the promoted floating-point dtype; integers give
    NumPy's float for them. Of negative real numbers it is NaN.
    Raises ``DTypeError`` for other than floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``sqrt`` (since 2021.12).

    >>> lt.sqrt(lt.asarray([4.0, 2.0])).collect()
    array([2.        , 1.41421356])
    """
    return LazyTensor._wrap(build.elementwise("sqrt", x))


def square(x: Operand, /) -> LazyTensor:
    """``x * x``.

    The shape is that of ``x``. The dtype is that of ``x``. Integers wrap around.
    Raises ``DTypeError`` for other than numbers.
    Array API standard 2025.12, elementwise functions, ``square`` (since 2021.12).

    >>> lt.square(lt.asarray([2, -3])).collect()
    array([4, 9])
    """
    return LazyTensor._wrap(build.elementwise("square", x))


def std(
    x: Operand,
    /,
    *,
    axis: AxisLike = None,
    correction: float = 0.0,
    keepdims: bool = False,
) -> LazyTensor:
    """Standard deviation.

    ``axis``: numbers or dim names, one or a tuple, None for all; ``keepdims`` keeps reduced
    dims as size 1. The sum of squares is divided by the number of elements less ``correction``
    (1: unbiased). Floats keep their dtype, integers give float64. Of no elements it is NaN.
    Raises ``DimensionError`` for an axis that is not there, ``DTypeError`` for other than
    numbers.
    Array API standard 2025.12, statistical functions, ``std`` (since 2021.12).

    >>> lt.std(lt.asarray([[1, 2], [3, 4]]), axis=0).collect()
    array([1., 1.])
    """
    return LazyTensor._wrap(build.reduction("std", x, axis, keepdims, correction=correction))


def subtract(x1: Operand, x2: Operand, /) -> LazyTensor:
    """Difference ``x1 - x2``.

    Shapes broadcast. The dtype is the promoted dtype of the operands; Python scalars do not
    raise it. Integers wrap around.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than numbers
    other than two bools (for those there is ``logical_xor``).
    Array API standard 2025.12, elementwise functions, ``subtract`` (since 2021.12).

    >>> lt.subtract(lt.asarray([5, 7]), 3).collect()
    array([2, 4])
    """
    return LazyTensor._wrap(build.elementwise("subtract", x1, x2))


def sum(
    x: Operand,
    /,
    *,
    axis: AxisLike = None,
    dtype: DTypeLike = None,
    keepdims: bool = False,
) -> LazyTensor:
    """Sum of the elements.

    ``axis``: numbers or dim names, one or a tuple, None for all; ``keepdims`` keeps reduced
    dims as size 1. Integers are accumulated exactly in 64 bits and give int64 or uint64, floats
    keep their dtype and are accumulated in at least float64; ``dtype`` overrides both. Of no
    elements it is 0.
    Raises ``DimensionError`` for an axis that is not there, ``DTypeError`` for other than
    numbers.
    Array API standard 2025.12, statistical functions, ``sum`` (since 2021.12).

    >>> lt.sum(lt.asarray([[1, 2], [3, 4]]), axis=0).collect()
    array([4, 6])
    """
    return LazyTensor._wrap(build.reduction("sum", x, axis, keepdims, dtype=dtype))


def tan(x: Operand, /) -> LazyTensor:
    """Tangent of an angle in radians.

    The shape is that of ``x``. The dtype is the promoted floating-point dtype; integers give
    NumPy's float for them.
    Raises ``DTypeError`` for other than floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``tan`` (since 2021.12).

    >>> lt.tan(lt.asarray([0.0, 1.0])).collect()
    array([0.        , 1.55740772])
    """
    return LazyTensor._wrap(build.elementwise("tan", x))


def tanh(x: Operand, /) -> LazyTensor:
    """Hyperbolic tangent.

    The shape is that of ``x``. The dtype is the promoted floating-point dtype; integers give
    NumPy's float for them.
    Raises ``DTypeError`` for other than floats (integers are converted).
    Array API standard 2025.12, elementwise functions, ``tanh`` (since 2021.12).

    >>> lt.tanh(lt.asarray([0.0, 1.0])).collect()
    array([0.        , 0.76159416])
    """
    return LazyTensor._wrap(build.elementwise("tanh", x))


def trunc(x: Operand, /) -> LazyTensor:
    """The whole number next to ``x`` towards zero.

    The shape is that of ``x``. The dtype is that of ``x``. Integers are returned as they are.
    Raises ``DTypeError`` for other than real numbers.
    Array API standard 2025.12, elementwise functions, ``trunc`` (since 2021.12).

    >>> lt.trunc(lt.asarray([-1.5, 0.5, 2.5])).collect()
    array([-1.,  0.,  2.])
    """
    return LazyTensor._wrap(build.elementwise("trunc", x))


def var(
    x: Operand,
    /,
    *,
    axis: AxisLike = None,
    correction: float = 0.0,
    keepdims: bool = False,
) -> LazyTensor:
    """Variance.

    ``axis``: numbers or dim names, one or a tuple, None for all; ``keepdims`` keeps reduced
    dims as size 1. The sum of squares is divided by the number of elements less ``correction``
    (1: unbiased). Floats keep their dtype, integers give float64. Of no elements it is NaN.
    Raises ``DimensionError`` for an axis that is not there, ``DTypeError`` for other than
    numbers.
    Array API standard 2025.12, statistical functions, ``var`` (since 2021.12).

    >>> lt.var(lt.asarray([[1, 2], [3, 4]]), axis=0).collect()
    array([1., 1.])
    """
    return LazyTensor._wrap(build.reduction("var", x, axis, keepdims, correction=correction))


def where(condition: Operand, x1: Operand, x2: Operand, /) -> LazyTensor:
    """``x1`` where ``condition`` holds, else ``x2``.

    Shapes broadcast. The dtype is the promoted dtype of ``x1`` and ``x2``; Python scalars do
    not raise it. A numeric condition holds where it is not 0.
    Raises ``ShapeError`` where shapes do not broadcast, ``DTypeError`` for other than a bool or
    number and two operands that promote to a common dtype.
    Array API standard 2025.12, searching functions, ``where`` (since 2021.12).

    >>> lt.where(lt.asarray([True, False]), [1, 2], 0).collect()
    array([1, 0])
    """
    return LazyTensor._wrap(build.elementwise("where", condition, x1, x2))
