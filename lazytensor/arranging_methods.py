"""The methods of NumPy arrays that put elements in another place, and ``dot``.

They take NumPy's arguments, and names of dims beside numbers. Those of the Array API standard have
a function of the same name; NumPy's functions (``np.swapaxes(x, 0, 1)``) come here as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, cast

from lazytensor import build_views
from lazytensor.build import as_node, elementwise
from lazytensor.callsite import about
from lazytensor.indexing import keyed
from lazytensor.per_dim import dim_number

if TYPE_CHECKING:
    from lazytensor.build import Operand
    from lazytensor.plan.node import Node

__all__ = ["ArrangingMethods"]


class ArrangingMethods:
    """Base of ``LazyTensor``: ``dot ravel repeat squeeze swapaxes take transpose``."""

    __slots__ = ()

    if TYPE_CHECKING:
        _node: Node

        @classmethod
        def _wrap(cls, node: Node) -> Self: ...

    def _flat(self) -> Node:
        return build_views.reshape(self._node, (-1,))

    def ravel(self) -> Self:
        """The elements in C order along one dim.

        >>> lt.asarray([[1, 2], [3, 4]]).ravel().collect()
        array([1, 2, 3, 4])
        """
        return self._wrap(self._flat())

    def repeat(self, repeats: int, axis: int | str | None = None) -> Self:
        """Every element ``repeats`` times, as ``lt.repeat``; of the flat tensor without ``axis``.

        >>> lt.asarray([1, 2]).repeat(2).collect()
        array([1, 1, 2, 2])
        """
        with about(self):
            return self._wrap(build_views.repeat(self._node, repeats, axis))

    def squeeze(self, axis: int | str | tuple[int | str, ...] | None = None) -> Self:
        """Without these dims of size 1, or all of them; ``ShapeError`` for others.

        >>> lt.zeros((1, 3, 1)).squeeze().shape
        (3,)
        """
        with about(self):
            ones = tuple(d for d, n in enumerate(self._node.shape) if n == 1)
            return self._wrap(build_views.squeeze(self._node, ones if axis is None else axis))

    def swapaxes(self, axis1: int | str, axis2: int | str, /) -> Self:
        """With two dims exchanged; ``DimensionError`` for those that do not exist.

        >>> lt.zeros((2, 3, 4)).swapaxes(0, -1).shape
        (4, 3, 2)
        """
        with about(self):
            one, other = (dim_number(self._node.domain, d) for d in (axis1, axis2))
            order = list(range(self._node.ndim))
            order[one], order[other] = other, one
            return self._wrap(build_views.permute_dims(self._node, order))

    def take(self, indices: Any, axis: int | str | None = None) -> Self:
        """Elements along a dim by position, as ``lt.take``; of the flat tensor without ``axis``.

        >>> lt.asarray([[1, 2], [3, 4]]).take([1, 1, 0], axis=1).collect()
        array([[2, 2, 1],
               [4, 4, 3]])
        """
        with about(self):
            node = self._node if axis is not None else self._flat()
            return self._wrap(build_views.take(node, keyed(indices), 0 if axis is None else axis))

    def transpose(self, *axes: Any) -> Self:
        """With the dims in this order, or in reverse; ``DimensionError`` for what is no order.

        >>> lt.zeros((2, 3, 4)).transpose().shape, lt.zeros((2, 3)).transpose(1, 0).shape
        ((4, 3, 2), (3, 2))
        """
        with about(self):
            order = axes[0] if len(axes) == 1 and not isinstance(axes[0], (int, str)) else axes
            if order is None or not axes:
                order = range(self._node.ndim)[::-1]
            return self._wrap(build_views.permute_dims(self._node, order))

    def dot(self, other: Operand) -> Self:
        """NumPy's ``dot``: sums over the last dim here and the last but one of ``other``.

        Of scalars it is a product, of matrices ``self @ other``. Raises ``ShapeError`` for extents
        that differ.

        >>> lt.asarray([1, 2]).dot([3, 4]).collect()
        array(11)
        """
        from lazytensor import build_contract

        with about(self, other):
            x, y = self._node, as_node(other)
            if not x.ndim or not y.ndim:
                return self._wrap(elementwise("multiply", cast("Operand", self), other))
            axes = ([x.ndim - 1], [max(0, y.ndim - 2)])
            return self._wrap(build_contract.tensordot(self, other, axes))
