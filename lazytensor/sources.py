"""Tensors of what a program has at hand: arrays in memory or of other libraries, functions.

Nothing is copied and no values are read before a plan that needs them is collected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lazytensor import build_views
from lazytensor.build import as_node, is_chunked
from lazytensor.handoff import check_host_device
from lazytensor.per_dim import check_names, per_dim
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.memory import MemorySource
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Constant, Scan
from lazytensor.plan.source import Source
from lazytensor.tensor import LazyTensor

__all__ = [
    "asarray",
    "from_array",
    "from_dlpack",
    "scan_source",
    "virtual_chunked",
]

Chunks = Sequence[int | Sequence[int]] | None
CellSizes = int | Sequence[int | Sequence[int] | None] | Mapping[int | str, int] | None
Dims = Sequence[str | None] | None


def asarray(
    obj: Any,
    /,
    *,
    dtype: Any = None,
    device: Any = None,
    copy: bool | None = None,
    chunks: CellSizes = None,
    dims: Dims = None,
) -> LazyTensor:
    """A tensor of anything that is an array or can become one.

    Parameters
    ----------
    obj
        A LazyTensor, NumPy array, Python or NumPy scalar, nested sequence, buffer, an object with
        ``__dlpack__`` or ``__array__``, or an open chunked array (see ``from_array``).
    dtype
        Convert to this dtype.
    copy
        None aliases an array: change it before collecting and the result shows it. True takes a
        snapshot. False refuses (``ValueError``) what would have to be copied.
    chunks, dims
        Read cells and dim names. Cells are a size per dim, the sizes of all cells of a dim, or None
        or -1 for the whole dim; one number is for all dims, and a mapping by dim says some of them.

    Raises ``DTypeError`` for Python objects and ``ShapeError`` for ragged sequences. Array API
    standard 2025.12, creation functions, ``asarray``.

    >>> lt.asarray([[1, 2], [3, 4]], dims=("y", "x"))
    LazyTensor(y: 2, x: 2)  int64  32 B  chunks (2, 2)
    """
    check_host_device(device)
    check_names(dims)
    tensor = LazyTensor._wrap(_as_leaf(obj, dtype, copy, chunks, dims))
    return tensor if dtype is None or tensor.dtype == dtype else _converted(tensor, dtype, copy)


def _converted(tensor: LazyTensor, dtype: Any, copy: bool | None) -> LazyTensor:
    wanted = build_views.as_dtype(dtype)
    if copy is False and wanted != tensor.dtype:
        raise ValueError(f"copy=False, but {tensor.dtype} has to be converted to {wanted}")
    return tensor.astype(wanted)


def _as_leaf(obj: Any, dtype: Any, copy: bool | None, chunks: CellSizes, dims: Dims) -> Node:
    node = getattr(obj, "_node", None)
    if isinstance(node, Node):
        return _recut(node, chunks, dims)
    if is_chunked(obj):
        if copy is False:
            raise ValueError(f"copy=False, but {type(obj).__name__} has to be read")
        return from_array(obj, chunks=chunks, dims=dims)._node
    if isinstance(obj, (list, tuple)) and any(hasattr(one, "_node") for one in obj):
        array = np.asarray([np.asarray(one) for one in obj])
    else:
        array = _as_numpy(obj, dtype)
    if copy is False and not np.may_share_memory(array, _buffer_of(obj)):
        raise ValueError(f"copy=False, but {type(obj).__name__} has to be copied into an array")
    if copy:
        array = array.copy()
    return Scan(MemorySource(array, chunks=_cells(chunks, array.shape, dims), dims=dims))


def _as_numpy(obj: Any, dtype: Any) -> np.ndarray:
    """The array of an object in memory, aliased where that is possible."""
    node = _memory_node(obj, dtype)
    if isinstance(node, Constant):
        return node.value
    assert isinstance(node, Scan)
    assert node.source.array is not None
    return node.source.array


def _memory_node(obj: Any, dtype: Any) -> Node:
    if isinstance(obj, Sequence) and not isinstance(obj, (str, bytes, list, tuple)):
        obj = np.asarray(obj)  # range, array.array and other sequences
    if dtype is not None and isinstance(obj, (list, tuple, int, float, complex)):
        # Straight to the dtype: by way of float64 a large integer would lose digits.
        wanted = build_views.as_dtype(dtype)
        if wanted.kind != "V":
            return as_node(np.asarray(obj, dtype=wanted))
    return as_node(obj)


def _buffer_of(obj: Any) -> np.ndarray:
    if isinstance(obj, np.ndarray):
        return obj
    if hasattr(obj, "__array_interface__") or isinstance(obj, (bytearray, memoryview)):
        return np.asarray(obj)
    if hasattr(obj, "__dlpack__"):
        return np.from_dlpack(obj)
    return np.empty(0)


def _recut(node: Node, chunks: CellSizes, dims: Dims) -> Node:
    if dims is not None:
        node = LazyTensor._wrap(node).label[tuple(name or "" for name in dims)]._node
    return node if chunks is None else build_views.rechunk(node, chunks)


def _cells(chunks: Any, shape: Sequence[int], dims: Dims) -> Chunks:
    """Cells per dim of one number for all, a mapping by dim, or a sequence.

    None and -1 stand for the whole dim.
    """
    if chunks is None:
        return None
    rank = len(shape)
    if isinstance(chunks, (int, np.integer)):
        chunks = (chunks,) * rank
    names = ("",) * rank if dims is None else tuple(name or "" for name in dims)
    domain = IndexDomain._make((0,) * rank, tuple(shape), names)
    sizes = per_dim(domain, chunks, (None,) * rank, "chunks")
    return tuple(
        max(1, n) if size is None or (isinstance(size, int) and size == -1) else size
        for size, n in zip(sizes, shape, strict=True)
    )


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> LazyTensor:
    """A tensor over the memory of an object with ``__dlpack__``, on the CPU.

    ``copy=True`` takes a snapshot. Raises ``BufferError`` for objects on other devices. Array API
    standard 2025.12, creation functions, ``from_dlpack``.

    >>> lt.from_dlpack(np.arange(3)).collect()
    array([0, 1, 2])
    """
    check_host_device(device)
    if isinstance(getattr(x, "_node", None), Node):
        return asarray(x)
    kind = x.__dlpack_device__()[0]
    if kind != 1:
        raise BufferError(f"values are on DLPack device type {int(kind)}; move them to the CPU")
    return asarray(np.from_dlpack(x, copy=copy))


def from_array(obj: Any, *, chunks: CellSizes = None, dims: Dims = None) -> LazyTensor:
    """A tensor over another library's array: anything with shape, dtype and indexing.

    Parameters
    ----------
    obj
        ``zarr.Array``, ``h5py.Dataset``, ``tensorstore.TensorStore``, a dask array and the like are
        read box by box when a plan needs them, one box at a time where the library is not known to
        be thread-safe. An open ``zarr.Array`` is scanned as ``scan_zarr`` would, and so without
        zarr-python, unless ``chunks`` are given or it has a codec or data type of a plug-in.
    chunks, dims
        Cells and names, by default those that the array states; as in ``asarray``.

    Raises ``TypeError`` when something is missing, ``DTypeError`` for Python objects.

    >>> lt.from_array(np.arange(6), chunks=(4,)).chunks
    (4,)
    """
    if isinstance(obj, np.ndarray) or isinstance(getattr(obj, "_node", None), Node):
        return asarray(obj, chunks=chunks, dims=dims)
    from lazytensor.io.array_like import ArrayLikeSource, stored_source

    check_names(dims)
    stored = stored_source(obj, dims) if chunks is None else None
    if stored is not None:
        return LazyTensor._wrap(Scan(stored))
    source = ArrayLikeSource(obj, dims=dims)
    if chunks is not None:
        cells = _cells(chunks, source.spec.shape, source.spec.dims)
        source = ArrayLikeSource(obj, chunks=cells, dims=dims)
    return LazyTensor._wrap(Scan(source))


def virtual_chunked(
    read: Callable[[IndexDomain, np.ndarray], Any],
    *,
    shape: Sequence[int],
    dtype: Any,
    chunks: CellSizes = None,
    dims: Dims = None,
    origin: Sequence[int] | None = None,
    concurrent: bool = True,
) -> LazyTensor:
    """A tensor whose values a function makes where they are needed.

    Parameters
    ----------
    read
        ``read(domain, out)`` fills ``out``, a zeroed, writable, C-contiguous array, with the values
        at ``domain`` (coordinates), which lies within one chunk if there are ``chunks``. It must
        always give the same values.
    shape, dtype, chunks, dims, origin
        What the tensor is; ``origin`` is the coordinate of the first element, 0 by default.
    concurrent
        False: never call ``read`` from two threads at a time.

    An exception in ``read`` reaches the user as a ``SourceError`` naming the domain. Collecting
    inside ``read`` raises ``RuntimeError``, since it would wait for the workers that run it.

    >>> def squares(domain, out):
    ...     out[...] = np.arange(domain[0].inclusive_min, domain[0].exclusive_max) ** 2
    >>> lt.virtual_chunked(squares, shape=(10**12,), dtype="i8")[7:10].collect()
    array([49, 64, 81])
    """
    from lazytensor.io.virtual import VirtualSource

    check_names(dims)
    extents = build_views.shape_of(shape)
    return LazyTensor._wrap(
        Scan(
            VirtualSource(
                read,
                extents,
                build_views.as_dtype(dtype),
                chunks=_cells(chunks, extents, dims),
                dims=dims,
                origin=origin,
                concurrent=concurrent,
            )
        )
    )


def scan_source(source: Source) -> LazyTensor:
    """The tensor of a source of your own: any object that satisfies the ``lt.Source`` protocol.

    Raises ``TypeError`` naming what the object lacks.

    >>> from lazytensor.plan.memory import MemorySource
    >>> lt.scan_source(MemorySource(np.arange(3))).collect()
    array([0, 1, 2])
    """
    needed = ("spec", "key", "label", "attrs", "storage", "array", "read_into", "unit_sizes",
              "check", "to_json")  # fmt: skip
    missing = [name for name in needed if not hasattr(source, name)]
    if missing:
        raise TypeError(f"{type(source).__name__} is no Source: it has no {', '.join(missing)}")
    return LazyTensor._wrap(Scan(source))
