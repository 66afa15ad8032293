"""Arrays that already are in memory, as sources.

They live in ``plan`` because any operand may be one: building a plan must be able to hold an array
without knowing of files. The array is aliased, never copied; what it holds when the plan runs is
what is read. An array that was computed to stand in for a tensor (``persist``) is such a source
too: it has that tensor's coordinates, axes, cells and attributes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from lazytensor.errors import DTypeError, SerializationError
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.nodes import Scan
from lazytensor.plan.source import Box, MadeSource
from lazytensor.plan.spec import TensorSpec, make_spec

__all__ = ["MemorySource", "array_node"]


class MemorySource(MadeSource):
    """A NumPy array as a source; ``firm=False`` makes its bounds implicit (no opinion)."""

    __slots__ = ("array", "attrs", "cut", "firm", "key", "spec", "stands_in")

    def __init__(
        self,
        array: np.ndarray,
        *,
        chunks: Sequence[int | Sequence[int]] | None = None,
        dims: Sequence[str | None] | None = None,
        firm: bool = True,
    ) -> None:
        if array.dtype.hasobject and array.dtype.kind != "T":
            raise DTypeError(
                f"arrays of dtype {array.dtype} hold Python objects; convert to a numeric, "
                f"string or structured dtype first"
            )
        if array.dtype.kind in "US" and array.dtype.itemsize == 0:
            raise DTypeError(f"dtype {array.dtype} has no size")
        spec = make_spec(array.shape, array.dtype, dims=dims, chunks=chunks)
        self.array: np.ndarray | None = array
        self.spec = spec if firm else _without_opinion(spec)
        self.cut = None if chunks is None else tuple(_plain(c) for c in chunks)
        self.firm = firm
        self.attrs: Mapping[str, Any] = {}
        self.stands_in = False
        """Whether it has the spec and the attributes of a tensor that it was computed from."""
        self.key: Hashable = ("memory", id(array), self.cut, spec.dims, firm)

    @classmethod
    def standing_in(
        cls, array: np.ndarray, spec: TensorSpec, attrs: Mapping[str, Any]
    ) -> MemorySource:
        """The values of a tensor in its place: all that is known of it stays.

        ``array``: of the shape and dtype of ``spec``.

        >>> spec = make_spec((2,), np.dtype("u1"), dims=("x",), origin=(7,))
        >>> MemorySource.standing_in(np.array([3, 4], "u1"), spec, {}).spec.domain
        { "x": [7, 9) }
        """
        self = cls(array)
        self.spec = TensorSpec(
            spec.domain,
            spec.dtype,
            spec.axes,
            tuple(None if cells is None else cells.settled() for cells in spec.grid),
        )
        self.attrs = MappingProxyType(dict(attrs))
        self.stands_in = True
        self.key = ("memory", id(array), id(self.spec))
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # The key holds an id, which means nothing in another process.
        if self.stands_in:
            return _restore_standing_in, (self.array, self.spec, dict(self.attrs))
        return _restore, (self.array, self.cut, self.spec.dims, self.firm, self.spec.dtype)

    @property
    def label(self) -> str:
        """``"array"``: what plans print."""
        return "array"

    @property
    def levels(self) -> tuple[Any, ...]:
        """No pyramid."""
        return ()

    def read_into(self, box: Box, out: np.ndarray) -> None:
        """Copy the box out of the array."""
        assert self.array is not None
        first = self.spec.domain.inclusive_min
        part = [slice(lo - o, hi - o) for (lo, hi), o in zip(box, first, strict=True)]
        out[...] = self.array[tuple(part)]

    def to_json(self) -> dict[str, Any]:
        """Refused here: the serialiser writes arrays itself, within its size limit."""
        raise SerializationError("an array in memory has no location to refer to")


def _plain(chunk: int | Sequence[int]) -> int | tuple[int, ...]:
    return int(chunk) if isinstance(chunk, (int, np.integer)) else tuple(int(c) for c in chunk)


def _restore(
    array: np.ndarray, chunks: Any, dims: tuple[str, ...], firm: bool, dtype: np.dtype
) -> MemorySource:
    # NumPy hands pickled arrays on in the byte order of the machine.
    array = np.asarray(array, dtype)
    return MemorySource(array, chunks=chunks, dims=dims, firm=firm)


def _restore_standing_in(
    array: np.ndarray, spec: TensorSpec, attrs: dict[str, Any]
) -> MemorySource:
    return MemorySource.standing_in(np.asarray(array, spec.dtype), spec, attrs)


def _without_opinion(spec: TensorSpec) -> TensorSpec:
    domain = spec.domain
    flags = (True,) * domain.rank
    loose = IndexDomain._make(
        domain.inclusive_min, domain.exclusive_max, domain.labels, flags, flags
    )
    return TensorSpec(loose, spec.dtype, spec.axes, spec.grid)


def array_node(array: np.ndarray, *, firm: bool = False) -> Scan:
    """Plan node of an in-memory operand; by default it has no opinion on coordinates."""
    return Scan(MemorySource(array, firm=firm))
