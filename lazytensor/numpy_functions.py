"""The NumPy functions that have a lazy twin among the functions of this package.

Each entry takes NumPy's own arguments and builds a plan. Arguments that have no lazy meaning, such
as ``out=``, are not in its signature: a call with one works on values, as does a function that has
no entry, and ``Config(implicit_collect=...)`` warns of both or forbids them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lazytensor import build, functions_join, functions_manipulate
from lazytensor import functions_contract as contract
from lazytensor import functions_views as views
from lazytensor.creation import full_like, meshgrid, tril, triu
from lazytensor.numpy_arranging import ARRANGING_TWINS
from lazytensor.numpy_axis import AXIS_TWINS
from lazytensor.numpy_stats import STATS_TWINS
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


def _tensor(a: Any) -> LazyTensor:
    return LazyTensor._wrap(build.as_node(a))


def _like(value: int) -> Any:
    def make(a: Any, dtype: Any = None, *, device: Any = None) -> LazyTensor:
        return full_like(a, value, dtype=dtype, device=device)

    return make


def _dtypes_of(arguments: Any) -> Any:
    return replace_tensors(arguments, lambda x: x.dtype)


def _shape(a: Any) -> tuple[int, ...]:
    return build.as_node(a).shape


def _size(a: Any, axis: Any = None) -> int:
    shape = _shape(a)
    return math.prod(shape if axis is None else [shape[axis]])


_TABLE: dict[Callable[..., Any], Callable[..., Any]] = {
    **ARRANGING_TWINS,
    **AXIS_TWINS,
    **STATS_TWINS,
    np.astype: views.astype,
    np.broadcast_arrays: lambda *args: tuple(manipulate.broadcast_arrays(*args)),
    np.broadcast_to: manipulate.broadcast_to,
    np.can_cast: lambda from_, to, casting="safe": np.can_cast(_dtypes_of(from_), to, casting),
    np.clip: _clip,
    np.concatenate: lambda arrays, axis=0: functions_join.concat(arrays, axis=axis),
    np.dot: lambda a, b: _tensor(a).dot(b),
    np.empty_like: _like(0),
    np.expand_dims: lambda a, axis: manipulate.expand_dims(a, axis=axis),
    np.flip: lambda m, axis=None: manipulate.flip(m, axis=axis),
    np.full_like: lambda a, fill_value, dtype=None: full_like(a, fill_value, dtype=dtype),
    np.matmul: contract.matmul,
    np.matrix_transpose: manipulate.matrix_transpose,
    np.meshgrid: meshgrid,
    np.moveaxis: lambda a, source, destination: manipulate.moveaxis(a, source, destination),
    np.ndim: lambda a: len(_shape(a)),
    np.ones_like: _like(1),
    np.pad: views.pad,
    np.permute_dims: lambda a, axes=None: _tensor(a).transpose(axes),
    np.ravel: lambda a: _tensor(a).ravel(),
    np.repeat: lambda a, repeats, axis=None: _tensor(a).repeat(repeats, axis),
    np.reshape: lambda a, shape: manipulate.reshape(a, shape),
    np.result_type: lambda *operands: np.result_type(*_dtypes_of(operands)),
    np.roll: lambda a, shift, axis=None: manipulate.roll(a, shift, axis=axis),
    np.round: _round,
    np.shape: _shape,
    np.size: _size,
    np.squeeze: lambda a, axis=None: _tensor(a).squeeze(axis),
    np.stack: lambda arrays, axis=0: functions_join.stack(arrays, axis=axis),
    np.swapaxes: lambda a, axis1, axis2: _tensor(a).swapaxes(axis1, axis2),
    np.take: lambda a, indices, axis=None: _tensor(a).take(indices, axis),
    np.tensordot: lambda a, b, axes=2: contract.tensordot(a, b, axes=axes),
    np.tile: lambda A, reps: manipulate.tile(A, reps),
    np.transpose: lambda a, axes=None: _tensor(a).transpose(axes),
    np.tril: lambda m, k=0: tril(m, k=k),
    np.triu: lambda m, k=0: triu(m, k=k),
    np.unstack: lambda x, axis=0: manipulate.unstack(x, axis=axis),
    np.vecdot: lambda x1, x2, /, *, axis=-1: contract.vecdot(x1, x2, axis=axis),
    np.zeros_like: _like(0),
}
TWINS.update(_TABLE)
