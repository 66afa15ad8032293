"""The NumPy functions that have a lazy twin among the functions of this package.

Each entry takes NumPy's own arguments and builds a plan; arguments that have no lazy meaning are
not in its signature, so that using one is a ``TypeError`` that names it rather than a surprise.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazytensor import build, functions_join, functions_manipulate
from lazytensor import functions_views as views
from lazytensor.creation import full_like, meshgrid, tril, triu
from lazytensor.numpy_twins import TWINS, replace_tensors
from lazytensor.tensor import LazyTensor

__all__: list[str] = []

manipulate = functions_manipulate


def _clip(
    a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None
) -> LazyTensor:
    low, high = (min if a_min is None else a_min), (max if a_max is None else a_max)
    return LazyTensor._wrap(build.clip(a, low, high))


def _round(a: Any, decimals: int = 0) -> LazyTensor:
    return LazyTensor._wrap(build.round_to(a, decimals))


def _transpose(a: Any, axes: Any = None) -> LazyTensor:
    order = range(build.as_node(a).ndim)
    return manipulate.permute_dims(a, tuple(reversed(order)) if axes is None else axes)


def _swapaxes(a: Any, axis1: int, axis2: int) -> LazyTensor:
    order = list(range(build.as_node(a).ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return manipulate.permute_dims(a, order)


def _squeeze(a: Any, axis: Any = None) -> LazyTensor:
    ones = tuple(d for d, n in enumerate(build.as_node(a).shape) if n == 1)
    return manipulate.squeeze(a, ones if axis is None else axis)


def _ravel(a: Any) -> LazyTensor:
    return manipulate.reshape(a, (-1,))


def _like(value: int) -> Any:
    def make(a: Any, dtype: Any = None, *, device: Any = None) -> LazyTensor:
        return full_like(a, value, dtype=dtype, device=device)

    return make


def _dtypes_of(arguments: Any) -> Any:
    return replace_tensors(arguments, lambda x: x.dtype)


def _shape(a: Any) -> tuple[int, ...]:
    return build.as_node(a).shape


TWINS.update(
    {
        np.astype: views.astype,
        np.broadcast_arrays: lambda *args: tuple(manipulate.broadcast_arrays(*args)),
        np.broadcast_to: manipulate.broadcast_to,
        np.can_cast: lambda from_, to, casting="safe": np.can_cast(_dtypes_of(from_), to, casting),
        np.clip: _clip,
        np.concatenate: lambda arrays, axis=0: functions_join.concat(arrays, axis=axis),
        np.empty_like: _like(0),
        np.expand_dims: lambda a, axis: manipulate.expand_dims(a, axis=axis),
        np.flip: lambda m, axis=None: manipulate.flip(m, axis=axis),
        np.full_like: lambda a, fill_value, dtype=None: full_like(a, fill_value, dtype=dtype),
        np.matrix_transpose: manipulate.matrix_transpose,
        np.meshgrid: meshgrid,
        np.moveaxis: manipulate.moveaxis,
        np.ndim: lambda a: len(_shape(a)),
        np.ones_like: _like(1),
        np.pad: views.pad,
        np.permute_dims: _transpose,
        np.ravel: _ravel,
        np.repeat: lambda a, repeats, axis=None: manipulate.repeat(a, repeats, axis=axis),
        np.reshape: lambda a, shape: manipulate.reshape(a, shape),
        np.result_type: lambda *operands: np.result_type(*_dtypes_of(operands)),
        np.roll: lambda a, shift, axis=None: manipulate.roll(a, shift, axis=axis),
        np.round: _round,
        np.shape: _shape,
        np.size: lambda a: build.as_node(a).size,
        np.squeeze: _squeeze,
        np.stack: lambda arrays, axis=0: functions_join.stack(arrays, axis=axis),
        np.swapaxes: _swapaxes,
        np.take: lambda a, indices, axis=None: manipulate.take(a, indices, axis=axis),
        np.tile: manipulate.tile,
        np.transpose: _transpose,
        np.tril: lambda m, k=0: tril(m, k=k),
        np.triu: lambda m, k=0: triu(m, k=k),
        np.unstack: lambda x, axis=0: manipulate.unstack(x, axis=axis),
        np.zeros_like: _like(0),
    }
)
