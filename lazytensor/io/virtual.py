"""Sources whose values a user's function makes (``lt.virtual_chunked``).

The function is called from worker threads with the boxes that a plan needs, so an array of 10^15
elements costs what is read of it; with chunks given, no box reaches over the border of one. What it
gets is always the same, whatever the engine: a zeroed, writable, C-contiguous array, and a domain
in coordinates.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise, product
from typing import Any

import numpy as np

from lazytensor.errors import SerializationError, SourceError
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.guard import reading
from lazytensor.plan.one_at_a_time import OneAtATime
from lazytensor.plan.source import Box, MadeSource, window
from lazytensor.plan.spec import TensorSpec, make_spec

__all__ = ["ReaderRuntimeError", "VirtualSource", "function_name", "reader_error"]

Reader = Callable[[IndexDomain, np.ndarray], Any]


class ReaderRuntimeError(SourceError, RuntimeError):
    """A reader raised a ``RuntimeError``, for example because it tried to collect."""


def function_name(function: Any) -> str:
    """What a function is called in messages: ``"module.name"``, or its ``repr``.

    >>> function_name(len)
    'builtins.len'
    """
    name = getattr(function, "__qualname__", None)
    return f"{function.__module__}.{name}" if name else repr(function)


def reader_error(what: str, domain: IndexDomain, error: Exception) -> SourceError:
    """The error that a user sees when user code that reads ``domain`` raised ``error``."""
    kind = ReaderRuntimeError if isinstance(error, RuntimeError) else SourceError
    return kind(f"{what} failed for {domain}: {type(error).__name__}: {error}")


class VirtualSource(MadeSource):
    """A tensor whose boxes are filled by ``read(domain, out)``.

    Arguments as ``lt.virtual_chunked``. Raises ``ShapeError``, ``DTypeError`` and
    ``DimensionError`` as ``make_spec``.

    >>> def read(domain, out):
    ...     out[...] = np.arange(*domain[0].interval) if False else domain.origin[0]
    >>> source = VirtualSource(read, (10,), np.dtype("i4"))
    >>> out = np.empty(3, "i4"); source.read_into(((4, 7),), out); out
    array([4, 4, 4], dtype=int32)
    """

    __slots__ = ("_arguments", "_labels", "_read", "_turns", "key", "spec")

    def __init__(
        self,
        read: Reader,
        shape: Sequence[int],
        dtype: np.dtype,
        *,
        chunks: Sequence[int | Sequence[int]] | None = None,
        dims: Sequence[str | None] | None = None,
        origin: Sequence[int] | None = None,
        concurrent: bool = True,
    ) -> None:
        if not callable(read):
            raise TypeError(f"read must be a function read(domain, out), not {read!r}")
        self.spec = make_spec(shape, dtype, dims=dims, origin=origin, chunks=chunks)
        self._labels = self.spec.domain.labels
        self._read = read
        self._turns: AbstractContextManager[None] = nullcontext() if concurrent else OneAtATime()
        self._arguments = (tuple(shape), dtype, chunks, dims, origin, concurrent)
        domain = self.spec.domain
        self.key: Hashable = (
            "virtual",
            id(read),
            domain.shape,
            dtype,
            None if chunks is None else repr(tuple(chunks)),
            domain.labels,
            domain.inclusive_min,
            concurrent,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # The key holds an id, which means nothing in another process.
        return _restore, (self._read, *self._arguments)

    @property
    def label(self) -> str:
        """``"virtual <function>"``."""
        return f"virtual {function_name(self._read)}"

    def read_into(self, box: Box, out: np.ndarray) -> None:
        """Let the function fill ``out``, one call for each cell that the box meets.

        A function that loads a plane, say, may count on never being asked for two. Its exception
        is wrapped in a ``SourceError``.
        """
        for part, place in _by_cell(box, self.spec):
            self._read_part(part, window(out, place))

    def _read_part(self, box: Box, out: np.ndarray) -> None:
        domain = IndexDomain._make(
            tuple(lo for lo, _ in box), tuple(hi for _, hi in box), self._labels
        )
        whole = out.flags.c_contiguous
        target = out if whole else np.empty(out.shape, out.dtype)
        target[...] = np.zeros((), out.dtype)
        try:
            with self._turns, reading():
                returned = self._read(domain, target)
        except Exception as error:
            raise reader_error(self.label, domain, error) from error
        if isinstance(returned, np.ndarray) and not np.may_share_memory(returned, target):
            raise SourceError(
                f"{self.label} returned an array for {domain}; it must write into its second "
                f"argument, as in out[...] = values"
            )
        if not whole:
            out[...] = target

    def to_json(self) -> dict[str, Any]:
        """``SerializationError``: a function is not data."""
        raise SerializationError(
            f"{self.label}: a tensor made by a function cannot be written down; sink it to a file"
        )


def _by_cell(box: Box, spec: TensorSpec) -> Iterator[tuple[Box, tuple[slice, ...]]]:
    """The parts of a box that lie in one cell each, and where they are in it."""
    cuts = []
    for (lo, hi), cells, origin in zip(box, spec.grid, spec.domain.inclusive_min, strict=True):
        if cells is None or cells.free:
            cuts.append([(lo, hi)])
            continue
        edges = cells.edges_between(lo - origin, hi - origin)
        cuts.append([(a + origin, b + origin) for a, b in pairwise(edges)])
    for part in product(*cuts):
        yield part, tuple(slice(a - lo, b - lo) for (a, b), (lo, _) in zip(part, box, strict=True))


def _restore(
    read: Reader,
    shape: Sequence[int],
    dtype: np.dtype,
    chunks: Any,
    dims: Any,
    origin: Any,
    concurrent: bool,
) -> VirtualSource:
    return VirtualSource(
        read, shape, dtype, chunks=chunks, dims=dims, origin=origin, concurrent=concurrent
    )
