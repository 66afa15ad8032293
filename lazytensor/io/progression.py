"""Arithmetic progressions as sources, so that ``lt.arange(10**12)`` costs nothing.

Values are worked out for the boxes that are read, bit for bit as ``numpy.arange`` fills them: the
start plus position times the step between the first two values, in the arithmetic of the dtype.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from lazytensor.errors import SerializationError
from lazytensor.plan.source import Box, MadeSource
from lazytensor.plan.spec import TensorSpec, make_spec

__all__ = ["ProgressionSource", "from_json"]


class ProgressionSource(MadeSource):
    """``first + step * p`` for positions ``p`` in ``[0, size)``, in a dtype.

    >>> source = ProgressionSource(np.int64(5), np.int64(2), 10**12)
    >>> out = np.empty(2, int); source.read_into(((3, 5),), out); out
    array([11, 13])
    """

    __slots__ = ("_first", "_step", "key", "spec")

    spec: TensorSpec
    key: Hashable

    def __init__(self, first: np.generic, step: np.generic, size: int) -> None:
        self._first = first
        self._step = step
        self.spec = make_spec((size,), first.dtype)
        self.key = ("progression", first.dtype, first.tobytes(), step.tobytes(), size)

    def __reduce__(self) -> tuple[Any, ...]:
        return ProgressionSource, (self._first, self._step, self.spec.shape[0])

    @property
    def label(self) -> str:
        """``"arange(...)"``."""
        return f"arange({self._first}, step={self._step})"

    def read_into(self, box: Box, out: np.ndarray) -> None:
        """Work out the values of the box."""
        ((lo, hi),) = box
        with np.errstate(all="ignore"):
            values = np.arange(lo, hi).astype(out.dtype)
            values *= self._step
            values += self._first
        out[...] = values

    def to_json(self) -> dict[str, Any]:
        """First value, step and size; values as the hexadecimal digits of their bytes."""
        return {
            "format": "progression",
            "dtype": self.spec.dtype.str,
            "first": self._first.tobytes().hex(),
            "step": self._step.tobytes().hex(),
            "size": self.spec.shape[0],
        }


def from_json(
    document: Mapping[str, Any], *, storage_options: Mapping[str, Any] | None = None
) -> ProgressionSource:
    """The source that ``ProgressionSource.to_json`` described, else ``SerializationError``.

    >>> source = ProgressionSource(np.int64(5), np.int64(2), 4)
    >>> from_json(source.to_json()).key == source.key
    True
    """
    try:
        dtype = np.dtype(document["dtype"])
        first, step = (
            np.frombuffer(bytes.fromhex(document[name]), dtype)[0] for name in ("first", "step")
        )
        size = document["size"]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise SerializationError(f"no progression: {dict(document)!r:.80} ({error})") from None
    if document.get("format") != "progression" or type(size) is not int or size < 0:
        raise SerializationError(f"no progression: {dict(document)!r:.80}")
    if dtype.kind not in "iuf":
        raise SerializationError(f"a progression of {dtype} has no meaning")
    return ProgressionSource(first, step, size)
