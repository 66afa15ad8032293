"""Other libraries' arrays as sources: whatever has ``shape``, ``dtype`` and ``__getitem__``.

An open ``zarr.Array``, ``h5py.Dataset``, ``tensorstore.TensorStore`` or dask array is read by the
boxes that a plan needs, with the cells it says it has. Nothing of these libraries is imported: what
differs between them is looked up by attribute. Libraries whose reading is known to be thread-safe
are called concurrently, anything else one box at a time.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from lazytensor.errors import DTypeError, FormatError, SerializationError, SourceError
from lazytensor.io.virtual import reader_error
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.guard import reading
from lazytensor.plan.one_at_a_time import OneAtATime
from lazytensor.plan.source import Box, MadeSource, Source
from lazytensor.plan.spec import make_spec

__all__ = ["ArrayLikeSource", "stored_source"]

_THREAD_SAFE = frozenset({"dask", "h5py", "numpy", "tensorstore", "xarray", "zarr"})


class ArrayLikeSource(MadeSource):
    """An array of another library, read box by box.

    ``obj``: has ``shape``, ``dtype`` and takes a tuple of slices. ``chunks``: cells, by default
    those of ``obj``. ``dims``: names, by default those of ``obj``. Raises ``TypeError`` when
    something is missing, ``DTypeError`` for Python objects, ``ShapeError`` and ``DimensionError``
    as ``make_spec``.

    >>> source = ArrayLikeSource(np.arange(6).reshape(2, 3), chunks=(1, 3))
    >>> out = np.empty((1, 2), int); source.read_into(((1, 2), (0, 2)), out); out
    array([[3, 4]])
    """

    __slots__ = ("_chunks", "_dims", "_object", "_turns", "key", "spec")

    def __init__(
        self,
        obj: Any,
        *,
        chunks: Sequence[int | Sequence[int]] | None = None,
        dims: Sequence[str | None] | None = None,
    ) -> None:
        missing = [name for name in ("shape", "dtype", "__getitem__") if not hasattr(obj, name)]
        if missing:
            raise TypeError(
                f"from_array takes an object with shape, dtype and indexing; "
                f"{type(obj).__name__} has no {' and no '.join(missing)}{_other_way(obj)}"
            )
        self._object = obj
        self._chunks = chunks
        self._dims = dims
        self.spec = make_spec(
            tuple(obj.shape),
            _dtype_of(obj),
            dims=_dims_of(obj) if dims is None else dims,
            origin=_origin_of(obj),
            chunks=_chunks_of(obj) if chunks is None else chunks,
        )
        library = type(obj).__module__.partition(".")[0]
        self._turns: AbstractContextManager[None] = (
            nullcontext() if library in _THREAD_SAFE else OneAtATime()
        )
        cut = None if chunks is None else repr(tuple(chunks))
        self.key: Hashable = ("array-like", id(obj), cut, self.spec.dims)

    def __reduce__(self) -> tuple[Any, ...]:
        # The key holds an id, which means nothing in another process.
        return _restore, (self._object, self._chunks, self._dims)

    @property
    def label(self) -> str:
        """The type of the array, such as ``"zarr.core.array.Array"``."""
        kind = type(self._object)
        return f"{kind.__module__}.{kind.__qualname__}"

    def read_into(self, box: Box, out: np.ndarray) -> None:
        """Index the array by the box; its exception is wrapped in a ``SourceError``."""
        key = tuple(slice(lo, hi) for lo, hi in box)
        try:
            with self._turns, reading():
                block = np.asarray(self._object[key])
        except Exception as error:
            domain = IndexDomain._make(
                tuple(lo for lo, _ in box), tuple(hi for _, hi in box), self.spec.dims
            )
            raise reader_error(self.label, domain, error) from error
        if block.shape != out.shape:
            raise SourceError(
                f"{self.label} gave an array of shape {block.shape} for {key}, expected {out.shape}"
            )
        np.copyto(out, block, casting="equiv")

    def to_json(self) -> dict[str, Any]:
        """``SerializationError``: an open array is not data."""
        raise SerializationError(
            f"{self.label}: an open array of another library cannot be written down; scan the file"
        )


def stored_source(obj: Any, dims: Sequence[str | None] | None = None) -> Source | None:
    """An open zarr array as the zarr driver reads it, or None if it cannot.

    That reads faster, in parallel, and can be written down. Arguments as ``ArrayLikeSource``.

    >>> stored_source(np.arange(3)) is None
    True
    """
    from lazytensor.io.store_open import is_zarr_node
    from lazytensor.io.zarr import scan

    if not is_zarr_node(obj):
        return None
    try:
        return scan(obj, dims=dims)
    except (FormatError, DTypeError):
        # A codec or data type that only zarr-python knows, by one of its plug-ins.
        return None


def _other_way(obj: Any) -> str:
    """What takes an object that is no array, where that is known."""
    from lazytensor.io.store_open import is_zarr_node

    if isinstance(obj, (str, os.PathLike)):
        return "; lt.scan takes paths and URLs"
    return "; lt.open_zarr takes groups" if is_zarr_node(obj) else ""


def _restore(obj: Any, chunks: Any, dims: Any) -> ArrayLikeSource:
    return ArrayLikeSource(obj, chunks=chunks, dims=dims)


def _dtype_of(obj: Any) -> np.dtype:
    named = getattr(obj.dtype, "numpy_dtype", obj.dtype)
    try:
        dtype: np.dtype = np.dtype(named)
    except TypeError:
        raise DTypeError(
            f"{type(obj).__name__} has dtype {obj.dtype!r}, which NumPy lacks"
        ) from None
    if dtype.hasobject and dtype.kind != "T":
        raise DTypeError(f"{type(obj).__name__} has dtype {dtype}, which holds Python objects")
    return dtype


def _dims_of(obj: Any) -> Sequence[str | None] | None:
    candidates: tuple[Any, ...] = (
        getattr(obj, "dims", None),
        getattr(getattr(obj, "metadata", None), "dimension_names", None),
        getattr(getattr(obj, "domain", None), "labels", None),
    )
    for names in candidates:
        if not isinstance(names, (tuple, list)) or len(names) != len(obj.shape):
            continue
        if all(name is None or isinstance(name, str) for name in names):
            return names
    return None


def _origin_of(obj: Any) -> Sequence[int] | None:
    """Coordinates of the first element, for arrays that are indexed by coordinates."""
    lowest = getattr(getattr(obj, "domain", None), "inclusive_min", None)
    return lowest if isinstance(lowest, tuple) else None


def _chunks_of(obj: Any) -> Sequence[int | Sequence[int]] | None:
    for cells in (
        getattr(obj, "read_chunk_sizes", None),
        _read_chunk(obj),
        getattr(obj, "chunks", None),
    ):
        if isinstance(cells, (tuple, list)) and len(cells) == len(obj.shape):
            return tuple(
                max(1, int(c)) if isinstance(c, (int, np.integer)) else tuple(c) for c in cells
            )
    return None


def _read_chunk(obj: Any) -> Sequence[int] | None:
    """TensorStore's read chunks, where it has them."""
    chunk = getattr(getattr(obj, "chunk_layout", None), "read_chunk", None)
    shape = getattr(chunk, "shape", None)
    return tuple(shape) if shape and all(shape) else None
