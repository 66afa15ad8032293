"""The manipulation functions of the Array API standard, and those that cannot be lazy.

Apart from ``reshape`` all are views or joins: nothing is copied, and slices reach the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from lazytensor import build_join, build_views
from lazytensor.build import as_node
from lazytensor.callsite import about
from lazytensor.errors import DataDependentShapeError, ShapeError
from lazytensor.indexing import keyed
from lazytensor.per_dim import dim_number, unique_dims
from lazytensor.plan.node import Node
from lazytensor.tensor import LazyTensor

__all__ = [
    "broadcast_arrays",
    "broadcast_shapes",
    "broadcast_to",
    "expand_dims",
    "flip",
    "matrix_transpose",
    "moveaxis",
    "nonzero",
    "permute_dims",
    "repeat",
    "reshape",
    "roll",
    "squeeze",
    "take",
    "tile",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
    "unstack",
]

_wrap = LazyTensor._wrap


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that these shapes broadcast to; ``ShapeError`` if they do not.

    Array API standard 2025.12, manipulation functions, ``broadcast_shapes``.

    >>> lt.broadcast_shapes((3, 1), (4,))
    (3, 4)
    """
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        shown = ", ".join(map(str, shapes))
        raise ShapeError(f"shapes {shown} do not broadcast: extents must agree or be 1") from None


def broadcast_to(x: Any, /, shape: tuple[int, ...]) -> LazyTensor:
    """The tensor repeated to a shape, as NumPy broadcasts; ``ShapeError`` where it cannot be.

    Array API standard 2025.12, manipulation functions, ``broadcast_to``.

    >>> lt.broadcast_to(lt.asarray([1, 2]), (2, 2)).collect()
    array([[1, 2],
           [1, 2]])
    """
    with about(x):
        return _wrap(build_views.broadcast_to(as_node(x), shape))


def broadcast_arrays(*arrays: Any) -> list[LazyTensor]:
    """The tensors, each broadcast to the shape common to all.

    Array API standard 2025.12, manipulation functions, ``broadcast_arrays``.

    >>> [x.shape for x in lt.broadcast_arrays(lt.zeros((3, 1)), lt.zeros(4))]
    [(3, 4), (3, 4)]
    """
    with about(*arrays):
        nodes = [as_node(x) for x in arrays]
        shape = broadcast_shapes(*(node.shape for node in nodes))
        return [_wrap(build_views.broadcast_to(node, shape)) for node in nodes]


def expand_dims(x: Any, /, axis: int | tuple[int, ...] = 0) -> LazyTensor:
    """The tensor with new dims of size 1 at ``axis`` of the result.

    Raises ``DimensionError`` for a place that the result does not have. Array API standard
    2025.12, manipulation functions, ``expand_dims``.

    >>> lt.expand_dims(lt.zeros(3), axis=1).shape
    (3, 1)
    """
    with about(x):
        return _wrap(build_views.expand_dims(as_node(x), axis))


def flip(x: Any, /, *, axis: int | str | tuple[int | str, ...] | None = None) -> LazyTensor:
    """The order of elements reversed along some dims, by default all.

    Array API standard 2025.12, manipulation functions, ``flip``.

    >>> lt.flip(lt.asarray([1, 2, 3])).collect()
    array([3, 2, 1])
    """
    with about(x):
        return _wrap(build_views.flip(as_node(x), axis))


def matrix_transpose(x: Any, /) -> LazyTensor:
    """The last two dims exchanged; ``ShapeError`` where there are fewer.

    Array API standard 2025.12, linear algebra functions, ``matrix_transpose``.

    >>> lt.matrix_transpose(lt.zeros((2, 3, 4))).shape
    (2, 4, 3)
    """
    with about(x):
        return _wrap(build_views.matrix_transpose(as_node(x)))


def moveaxis(
    x: Any,
    source: int | str | tuple[int | str, ...],
    destination: int | tuple[int, ...],
    /,
) -> LazyTensor:
    """Some dims moved to other places, the rest in their order.

    Array API standard 2025.12, manipulation functions, ``moveaxis``.

    >>> lt.moveaxis(lt.zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    with about(x):
        return _wrap(build_views.moveaxis(as_node(x), source, destination))


def permute_dims(x: Any, /, axes: Sequence[int | str]) -> LazyTensor:
    """The dims in another order: ``axes[i]``, a number or name, becomes dim ``i``.

    Raises ``DimensionError`` unless every dim is named once. Array API standard 2025.12,
    manipulation functions, ``permute_dims``.

    >>> lt.permute_dims(lt.zeros((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    with about(x):
        return _wrap(build_views.permute_dims(as_node(x), axes))


def repeat(x: Any, repeats: int, /, *, axis: int | str | None = None) -> LazyTensor:
    """Every element ``repeats`` times in a row, along one dim or of the flat tensor.

    An array of repeats would make the shape depend on its values: ``DataDependentShapeError``.
    Array API standard 2025.12, manipulation functions, ``repeat``.

    >>> lt.repeat(lt.asarray([1, 2]), 2).collect()
    array([1, 1, 2, 2])
    """
    with about(x):
        return _wrap(build_views.repeat(as_node(x), repeats, axis))


def reshape(x: Any, /, shape: tuple[int, ...], *, copy: bool | None = None) -> LazyTensor:
    """The elements in C order under another shape; one extent may be -1.

    ``copy`` has no meaning for something immutable. Names and coordinates are lost. Raises
    ``ShapeError`` when the number of elements differs. Array API standard 2025.12, manipulation
    functions, ``reshape``.

    >>> lt.reshape(lt.arange(6), (2, -1)).collect()
    array([[0, 1, 2],
           [3, 4, 5]])
    """
    with about(x):
        return _wrap(build_views.reshape(as_node(x), shape))


def roll(
    x: Any,
    /,
    shift: int | tuple[int, ...],
    *,
    axis: int | str | tuple[int | str, ...] | None = None,
) -> LazyTensor:
    """Elements shifted along dims, those that leave at one end coming in at the other.

    ``axis=None`` rolls the flat tensor. Raises ``ShapeError`` unless there is one shift, or one for
    each axis. Array API standard 2025.12, manipulation functions, ``roll``.

    >>> lt.roll(lt.arange(5), 2).collect()
    array([3, 4, 0, 1, 2])
    """
    node = as_node(x)
    with about(x):
        if axis is None:
            flat = _rolled(build_views.reshape(node, -1), shift, 0)
            return _wrap(build_views.reshape(flat, node.shape))
        return _wrap(_rolled(node, shift, axis))


def _rolled(node: Node, shift: Any, axis: Any) -> Node:
    axes = axis if isinstance(axis, tuple) else (axis,)
    shifts = shift if isinstance(shift, tuple) else (shift,) * len(axes)
    if len(shifts) != len(axes):
        raise ShapeError(f"roll: {len(shifts)} shifts for {len(axes)} axes")
    for by, dim in zip(shifts, axes, strict=True):
        if not isinstance(by, (int, np.integer)):
            raise ShapeError(f"roll: shifts are integers, not {by!r}")
        node = _rolled_once(node, int(by), dim_number(node.domain, dim))
    return node


def _rolled_once(node: Node, by: int, d: int) -> Node:
    extent = node.shape[d]
    cut = -by % extent if extent else 0
    if cut == 0:
        return node
    parts = [build_views.sliced(node, d, cut, extent), build_views.sliced(node, d, 0, cut)]
    return build_join.concat(parts, d, "position", None)


def squeeze(x: Any, /, axis: int | str | tuple[int | str, ...]) -> LazyTensor:
    """The tensor without some dims of size 1; ``ShapeError`` for dims of another size.

    Array API standard 2025.12, manipulation functions, ``squeeze``.

    >>> lt.squeeze(lt.zeros((3, 1)), axis=1).shape
    (3,)
    """
    with about(x):
        return _wrap(build_views.squeeze(as_node(x), axis))


def take(x: Any, indices: Any, /, *, axis: int | str | None = None) -> LazyTensor:
    """Elements along one dim in the order of an integer array.

    ``axis`` may be left out for one dim. A lazy ``indices`` is collected now. Raises
    ``OutOfBoundsError`` for positions outside. Array API standard 2025.12, indexing functions,
    ``take``.

    >>> lt.take(lt.asarray([5, 6, 7]), [2, 0]).collect()
    array([7, 5])
    """
    node = as_node(x)
    with about(x):
        if axis is None and node.ndim != 1:
            raise ShapeError(f"take needs an axis for a tensor of {node.ndim} dims")
        return _wrap(build_views.take(node, keyed(indices), 0 if axis is None else axis))


def tile(x: Any, repetitions: int | tuple[int, ...], /) -> LazyTensor:
    """The whole tensor repeated side by side, ``repetitions[i]`` times along dim ``i``.

    Repetitions and dims are matched from the end, the shorter padded with ones. Array API standard
    2025.12, manipulation functions, ``tile``.

    >>> lt.tile(lt.asarray([1, 2]), (2, 2)).collect()
    array([[1, 2, 1, 2],
           [1, 2, 1, 2]])
    """
    node = as_node(x)
    with about(x):
        times = build_views.shape_of(repetitions)
        if any(n < 0 for n in times):
            raise ShapeError(f"tile: repetitions {times} must not be negative")
        if len(times) > node.ndim:
            node = build_views.expand_dims(node, tuple(range(len(times) - node.ndim)))
        times = (1,) * (node.ndim - len(times)) + times
        for d, n in enumerate(times):
            if n == 0:
                node = build_views.sliced(node, d, 0, 0)
            elif n > 1:
                node = build_join.concat([node] * n, d, "position", None)
        return _wrap(node)


def unstack(x: Any, /, *, axis: int | str = 0) -> tuple[LazyTensor, ...]:
    """The tensors along one dim, which is dropped.

    Array API standard 2025.12, manipulation functions, ``unstack``.

    >>> [row.shape for row in lt.unstack(lt.zeros((2, 3)))]
    [(3,), (3,)]
    """
    node = as_node(x)
    with about(x):
        (d,) = unique_dims(node.domain, axis)
        return tuple(_wrap(build_views.picked(node, d, i)) for i in range(node.shape[d]))


def _data_dependent(name: str, way_out: str) -> NoReturn:
    raise DataDependentShapeError(
        f"{name} has a shape that depends on values nobody has computed; {way_out}"
    )


def nonzero(x: Any, /) -> NoReturn:
    """Not lazy: raises ``DataDependentShapeError`` naming the way out.

    Array API standard 2025.12, searching functions, ``nonzero``.
    """
    _data_dependent(
        "nonzero",
        "np.nonzero(x.collect()) computes it now, lt.where(x != 0, ...) and lt.count_nonzero(x) "
        "keep a known shape",
    )


def unique_all(x: Any, /) -> NoReturn:
    """Not lazy: raises ``DataDependentShapeError`` naming the way out.

    Array API standard 2025.12, set functions, ``unique_all``.
    """
    _data_dependent("unique_all", "np.unique_all(x.collect()) computes it now")


def unique_counts(x: Any, /) -> NoReturn:
    """Not lazy: raises ``DataDependentShapeError`` naming the way out.

    Array API standard 2025.12, set functions, ``unique_counts``.
    """
    _data_dependent("unique_counts", "np.unique_counts(x.collect()) computes it now")


def unique_inverse(x: Any, /) -> NoReturn:
    """Not lazy: raises ``DataDependentShapeError`` naming the way out.

    Array API standard 2025.12, set functions, ``unique_inverse``.
    """
    _data_dependent("unique_inverse", "np.unique_inverse(x.collect()) computes it now")


def unique_values(x: Any, /) -> NoReturn:
    """Not lazy: raises ``DataDependentShapeError`` naming the way out.

    Array API standard 2025.12, set functions, ``unique_values``.
    """
    _data_dependent("unique_values", "np.unique_values(x.collect()) computes it now")
