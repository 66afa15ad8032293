"""The operators of a lazy tensor, and the methods that NumPy arrays have too.

Written by tools/generate.py from the operation table in lazytensor/plan: change the table, not
this file. An operand that no tensor can be made of is left to its own reflected operator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from lazytensor import build
from lazytensor.build import AxisLike, DTypeLike, Operand

if TYPE_CHECKING:
    from lazytensor.plan.node import Node

__all__ = ["Operators"]


class Operators:
    """Base of ``LazyTensor``: everything here follows from the operation table.

    >>> x = lt.asarray([1, 2, 3])
    >>> ((x + 1) * 2 > 5).collect()
    array([False,  True,  True])
    """

    __slots__ = ()

    if TYPE_CHECKING:
        _node: Node

        @classmethod
        def _wrap(cls, node: Node) -> Self: ...

    def __abs__(self) -> Self:
        """As ``lt.abs(self)``."""
        return self._wrap(build.elementwise("abs", self))

    def __add__(self, other: Operand, /) -> Self:
        """As ``lt.add(self, other)``."""
        node = build.operator("add", self, other)
        return NotImplemented if node is None else self._wrap(node)

    def __radd__(self, other: Operand, /) -> Self:
        """As ``lt.add(other, self)``."""
        node = build.operator("add", other, self)
        return NotImplemented if node is None else self._wrap(node)

    def __and__(self, other: Operand, /) -> Self:
        """As ``lt.bitwise_and(self, other)``."""
        node = build.operator("bitwise_and", self, other)
        return NotImplemented if node is None else self._wrap(node)

    def __rand__(self, other: Operand, /) -> Self:
        """As ``lt.bitwise_and(other, self)``."""
        node = build.operator("bitwise_and", other, self)
        return NotImplemented if node is None else self._wrap(node)

    def __invert__(self) -> Self:
        """As ``lt.bitwise_invert(self)``."""
        return self._wrap(build.elementwise("bitwise_invert", self))

    def __lshift__(self, other: Operand, /) -> Self:
        """As ``lt.bitwise_left_shift(self, other)``."""
        node = build.operator("bitwise_left_shift", self, other)
        return NotImplemented if node is None else self._wrap(node)

    def __rlshift__(self, other: Operand, /) -> Self:
        """As ``lt.bitwise_left_shift(other, self)``."""
        node = build.operator("bitwise_left_shift", other, self)
        return NotImplemented if node is None else self._wrap(node)

    def __or__(self, other: Operand, /) -> Self:
        """As ``lt.bitwise_or(self, other)``."""
        node = build.operator("bitwise_or", self, other)
        return NotImplemented if node is None else self._wrap(node)

    def __ror__(self, other: Operand, /) -> Self:
        """As ``lt.bitwise_or(other, self)``."""
        node = build.operator("bitwise_or", other, self)
        return NotImplemented if node is None else self._wrap(node)

    def __rshift__(self, other: Operand, /) -> Self:
        """As ``lt.bitwise_right_shift(self, other)``."""
        node = build.operator("bitwise_right_shift", self, other)
        return NotImplemented if node is None else self._wrap(node)

    def __rrshift__(self, other: Operand, /) -> Self:
        """As ``lt.bitwise_right_shift(other, self)``."""
        node = build.operator("bitwise_right_shift", other, self)
        return NotImplemented if node is None else self._wrap(node)

    def __xor__(self, other: Operand, /) -> Self:
        """As ``lt.bitwise_xor(self, other)``."""
        node = build.operator("bitwise_xor", self, other)
        return NotImplemented if node is None else self._wrap(node)

    def __rxor__(self, other: Operand, /) -> Self:
        """As ``lt.bitwise_xor(other, self)``."""
        node = build.operator("bitwise_xor", other, self)
        return NotImplemented if node is None else self._wrap(node)

    def __truediv__(self, other: Operand, /) -> Self:
        """As ``lt.divide(self, other)``."""
        node = build.operator("divide", self, other)
        return NotImplemented if node is None else self._wrap(node)

    def __rtruediv__(self, other: Operand, /) -> Self:
        """As ``lt.divide(other, self)``."""
        node = build.operator("divide", other, self)
        return NotImplemented if node is None else self._wrap(node)

    def __eq__(self, other: Operand, /) -> Self:  # type: ignore[override]
        """As ``lt.equal(self, other)``."""
        node = build.operator("equal", self, other)
        return NotImplemented if node is None else self._wrap(node)

    def __floordiv__(self, other: Operand, /) -> Self:
        """As ``lt.floor_divide(self, other)``."""
        node = build.operator("floor_divide", self, other)
        return NotImplemented if node is None else self._wrap(node)

    def __rfloordiv__(self, other: Operand, /) -> Self:
        """As ``lt.floor_divide(other, self)``."""
        node = build.operator("floor_divide", other, self)
        return NotImplemented if node is None else self._wrap(node)

    def __gt__(self, other: Operand, /) -> Self:
        """As ``lt.greater(self, other)``."""
        node = build.operator("greater", self, other)
        return NotImplemented if node is None else self._wrap(node)

    def __ge__(self, other: Operand, /) -> Self:
        """As ``lt.greater_equal(self, other)``."""
        node = build.operator("greater_equal", self, other)
        return NotImplemented if node is None else self._wrap(node)

    def __lt__(self, other: Operand, /) -> Self:
        """As ``lt.less(self, other)``."""
        node = build.operator("less", self, other)
        return NotImplemented if node is None else self._wrap(node)

    def __le__(self, other: Operand, /) -> Self:
        """As ``lt.less_equal(self, other)``."""
        node = build.operator("less_equal", self, other)
        return NotImplemented if node is None else self._wrap(node)

    def __mul__(self, other: Operand, /) -> Self:
        """As ``lt.multiply(self, other)``."""
        node = build.operator("multiply", self, other)
        return NotImplemented if node is None else self._wrap(node)

    def __rmul__(self, other: Operand, /) -> Self:
        """As ``lt.multiply(other, self)``."""
        node = build.operator("multiply", other, self)
        return NotImplemented if node is None else self._wrap(node)

    def __neg__(self) -> Self:
        """As ``lt.negative(self)``."""
        return self._wrap(build.elementwise("negative", self))

    def __ne__(self, other: Operand, /) -> Self:  # type: ignore[override]
        """As ``lt.not_equal(self, other)``."""
        node = build.operator("not_equal", self, other)
        return NotImplemented if node is None else self._wrap(node)

    def __pos__(self) -> Self:
        """As ``lt.positive(self)``."""
        return self._wrap(build.elementwise("positive", self))

    def __pow__(self, other: Operand, /) -> Self:
        """As ``lt.pow(self, other)``."""
        node = build.operator("pow", self, other)
        return NotImplemented if node is None else self._wrap(node)

    def __rpow__(self, other: Operand, /) -> Self:
        """As ``lt.pow(other, self)``."""
        node = build.operator("pow", other, self)
        return NotImplemented if node is None else self._wrap(node)

    def __mod__(self, other: Operand, /) -> Self:
        """As ``lt.remainder(self, other)``."""
        node = build.operator("remainder", self, other)
        return NotImplemented if node is None else self._wrap(node)

    def __rmod__(self, other: Operand, /) -> Self:
        """As ``lt.remainder(other, self)``."""
        node = build.operator("remainder", other, self)
        return NotImplemented if node is None else self._wrap(node)

    def __sub__(self, other: Operand, /) -> Self:
        """As ``lt.subtract(self, other)``."""
        node = build.operator("subtract", self, other)
        return NotImplemented if node is None else self._wrap(node)

    def __rsub__(self, other: Operand, /) -> Self:
        """As ``lt.subtract(other, self)``."""
        node = build.operator("subtract", other, self)
        return NotImplemented if node is None else self._wrap(node)

    def all(self, axis: AxisLike = None, *, keepdims: bool = False) -> Self:
        """Whether every element is true, that is, not 0.

        ``axis``: numbers or dim names, one or a tuple, None for all. As the function ``lt.all``.

        >>> lt.asarray([[True, False], [True, True]]).all(0).collect()
        array([ True, False])
        """
        return self._wrap(build.reduction("all", self, axis, keepdims))

    def any(self, axis: AxisLike = None, *, keepdims: bool = False) -> Self:
        """Whether some element is true, that is, not 0.

        ``axis``: numbers or dim names, one or a tuple, None for all. As the function ``lt.any``.

        >>> lt.asarray([[False, False], [True, False]]).any(0).collect()
        array([ True, False])
        """
        return self._wrap(build.reduction("any", self, axis, keepdims))

    def argmax(self, axis: int | str | None = None, *, keepdims: bool = False) -> Self:
        """Index of the greatest element.

        ``axis``: a number or a dim name, None for the flattened tensor. As the function
        ``lt.argmax``.

        >>> lt.asarray([[1, 2], [3, 4]]).argmax(0).collect()
        array([1, 1])
        """
        return self._wrap(build.reduction("argmax", self, axis, keepdims))

    def argmin(self, axis: int | str | None = None, *, keepdims: bool = False) -> Self:
        """Index of the smallest element.

        ``axis``: a number or a dim name, None for the flattened tensor. As the function
        ``lt.argmin``.

        >>> lt.asarray([[1, 2], [3, 4]]).argmin(0).collect()
        array([0, 0])
        """
        return self._wrap(build.reduction("argmin", self, axis, keepdims))

    def count_nonzero(self, axis: AxisLike = None, *, keepdims: bool = False) -> Self:
        """Number of elements that are not 0.

        ``axis``: numbers or dim names, one or a tuple, None for all. As the function
        ``lt.count_nonzero``.

        >>> lt.asarray([[1, 0], [3, 4]]).count_nonzero(0).collect()
        array([2, 1])
        """
        return self._wrap(build.reduction("count_nonzero", self, axis, keepdims))

    def max(self, axis: AxisLike = None, *, keepdims: bool = False) -> Self:
        """Greatest element.

        ``axis``: numbers or dim names, one or a tuple, None for all. As the function ``lt.max``.

        >>> lt.asarray([[1, 2], [3, 4]]).max(0).collect()
        array([3, 4])
        """
        return self._wrap(build.reduction("max", self, axis, keepdims))

    def mean(self, axis: AxisLike = None, *, keepdims: bool = False) -> Self:
        """Arithmetic mean.

        ``axis``: numbers or dim names, one or a tuple, None for all. As the function ``lt.mean``.

        >>> lt.asarray([[1, 2], [3, 4]]).mean(0).collect()
        array([2., 3.])
        """
        return self._wrap(build.reduction("mean", self, axis, keepdims))

    def min(self, axis: AxisLike = None, *, keepdims: bool = False) -> Self:
        """Smallest element.

        ``axis``: numbers or dim names, one or a tuple, None for all. As the function ``lt.min``.

        >>> lt.asarray([[1, 2], [3, 4]]).min(0).collect()
        array([1, 2])
        """
        return self._wrap(build.reduction("min", self, axis, keepdims))

    def prod(
        self,
        axis: AxisLike = None,
        *,
        dtype: DTypeLike = None,
        keepdims: bool = False,
    ) -> Self:
        """Product of the elements.

        ``axis``: numbers or dim names, one or a tuple, None for all. As the function ``lt.prod``.

        >>> lt.asarray([[1, 2], [3, 4]]).prod(0).collect()
        array([3, 8])
        """
        return self._wrap(build.reduction("prod", self, axis, keepdims, dtype=dtype))

    def std(
        self,
        axis: AxisLike = None,
        *,
        correction: float = 0.0,
        keepdims: bool = False,
    ) -> Self:
        """Standard deviation.

        ``axis``: numbers or dim names, one or a tuple, None for all. As the function ``lt.std``.

        >>> lt.asarray([[1, 2], [3, 4]]).std(0).collect()
        array([1., 1.])
        """
        return self._wrap(build.reduction("std", self, axis, keepdims, correction=correction))

    def sum(
        self,
        axis: AxisLike = None,
        *,
        dtype: DTypeLike = None,
        keepdims: bool = False,
    ) -> Self:
        """Sum of the elements.

        ``axis``: numbers or dim names, one or a tuple, None for all. As the function ``lt.sum``.

        >>> lt.asarray([[1, 2], [3, 4]]).sum(0).collect()
        array([4, 6])
        """
        return self._wrap(build.reduction("sum", self, axis, keepdims, dtype=dtype))

    def var(
        self,
        axis: AxisLike = None,
        *,
        correction: float = 0.0,
        keepdims: bool = False,
    ) -> Self:
        """Variance.

        ``axis``: numbers or dim names, one or a tuple, None for all. As the function ``lt.var``.

        >>> lt.asarray([[1, 2], [3, 4]]).var(0).collect()
        array([1., 1.])
        """
        return self._wrap(build.reduction("var", self, axis, keepdims, correction=correction))

    def clip(self, min: Operand | None = None, max: Operand | None = None) -> Self:
        """The values limited to ``[min, max]``, as the function ``lt.clip``.

        >>> lt.asarray([1, 5, 9]).clip(2, 8).collect()
        array([2, 5, 8])
        """
        return self._wrap(build.clip(self, min, max))

    def conj(self) -> Self:
        """Complex conjugate, as the function ``lt.conj``.

        >>> lt.asarray([1 + 2j]).conj().collect()
        array([1.-2.j])
        """
        return self._wrap(build.elementwise("conj", self))

    @property
    def imag(self) -> Self:
        """Imaginary part; 0 for real numbers.

        >>> lt.asarray([1 + 2j]).imag.collect()
        array([2.])
        """
        return self._wrap(build.elementwise("imag", self))

    @property
    def real(self) -> Self:
        """Real part.

        >>> lt.asarray([1 + 2j]).real.collect()
        array([1.])
        """
        return self._wrap(build.elementwise("real", self))

    def round(self, decimals: int = 0) -> Self:
        """Rounded to ``decimals`` decimal places, halves to the even digit, as ``numpy.round``.

        >>> lt.asarray([0.25, 1.5]).round(1).collect()
        array([0.2, 1.5])
        """
        return self._wrap(build.round_to(self, decimals))
