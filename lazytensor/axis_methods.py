"""The methods along one axis that NumPy arrays have too.

There is no ``sort``: NumPy's sorts an array in place, and code that relies on that would silently
go on with unsorted values; ``lt.sort(x)`` is the sorted tensor.

What builds these plans is imported by the method that is called: most processes call none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from lazytensor import build_views
from lazytensor.callsite import about

if TYPE_CHECKING:
    from lazytensor.build import DTypeLike, Operand
    from lazytensor.plan.node import Node

__all__ = ["AxisMethods"]


class AxisMethods:
    """Base of ``LazyTensor``: ``argsort``, ``cumsum``, ``cumprod``, ``searchsorted``.

    >>> lt.asarray([3, 1]).argsort().collect()
    array([1, 0])
    """

    __slots__ = ()

    if TYPE_CHECKING:
        _node: Node

        @classmethod
        def _wrap(cls, node: Node) -> Self: ...

    def argsort(self, axis: int | str | None = -1, *, descending: bool = False) -> Self:
        """Positions that sort the values along an axis, of the flat tensor if it is None.

        >>> lt.asarray([2, 1]).argsort().collect()
        array([1, 0])
        """
        from lazytensor import build_axis

        with about(self):
            node = self._node if axis is not None else build_views.reshape(self._node, (-1,))
            return self._wrap(build_axis.sort(node, -1 if axis is None else axis, descending, True))

    def cumsum(self, axis: int | str | None = None, dtype: DTypeLike = None) -> Self:
        """As ``lt.cumulative_sum``; of the flat tensor if ``axis`` is None.

        >>> lt.asarray([[1, 2], [3, 4]]).cumsum().collect()
        array([ 1,  3,  6, 10])
        """
        return self._cumulated("cumulative_sum", axis, dtype)

    def cumprod(self, axis: int | str | None = None, dtype: DTypeLike = None) -> Self:
        """As ``lt.cumulative_prod``; of the flat tensor if ``axis`` is None.

        >>> lt.asarray([1, 2, 3]).cumprod().collect()
        array([1, 2, 6])
        """
        return self._cumulated("cumulative_prod", axis, dtype)

    def _cumulated(self, op: str, axis: int | str | None, dtype: Any) -> Self:
        from lazytensor import build_axis

        with about(self):
            node = self._node
            if axis is None and node.ndim != 1:
                node, axis = build_views.reshape(node, (-1,)), 0
            return self._wrap(build_axis.cumulate(op, node, axis, dtype, False))

    def searchsorted(
        self,
        v: Operand,
        side: Literal["left", "right"] = "left",
        sorter: Operand | None = None,
    ) -> Self:
        """Where values would be put into this sorted tensor of one dim; see ``lt.searchsorted``.

        >>> lt.asarray([1, 3]).searchsorted([0, 2]).collect()
        array([0, 1])
        """
        from lazytensor import build_axis

        with about(self, v):
            return self._wrap(build_axis.searchsorted(self, v, side, sorter))
