"""For tests of code that uses tensors: compare, count what is read, and forbid computing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.build import as_node
from lazytensor.collecting import collecting_forbidden, run

if TYPE_CHECKING:
    from lazytensor.io.store_counting import CountingStore

__all__ = ["CountingStore", "assert_equal", "raise_if_collects"]

_SHOWN = 5


def __getattr__(name: str) -> Any:
    if name == "CountingStore":
        from lazytensor.io.store_counting import CountingStore

        return CountingStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def assert_equal(a: Any, b: Any) -> None:
    """``AssertionError`` unless values, dtype and shape are equal, and domains of two tensors.

    NaN equals NaN, and 0.0 is not -0.0. Names and origin count when both are tensors.

    >>> lt.testing.assert_equal(lt.asarray([1, 2]) * 2, np.array([2, 4]))
    """
    left, right = as_node(a), as_node(b)
    if left.shape != right.shape:
        raise AssertionError(f"shapes differ: {left.shape} and {right.shape}")
    if left.dtype != right.dtype:
        raise AssertionError(f"dtypes differ: {left.dtype} and {right.dtype}")
    if all(hasattr(x, "_node") for x in (a, b)) and left.domain != right.domain:
        raise AssertionError(f"domains differ: {left.domain} and {right.domain}")
    _assert_same_values(*run((left, right)))


def _assert_same_values(left: np.ndarray, right: np.ndarray) -> None:
    same = _same(left, right)
    if same.all():
        return
    places = np.argwhere(~same)
    lines = [f"{len(places)} of {left.size} values differ"]
    for place in map(tuple, places[:_SHOWN]):
        index = ", ".join(map(str, place))
        lines.append(f"  at [{index}]: {left[place]!r} and {right[place]!r}")
    if len(places) > _SHOWN:
        lines.append(f"  … and {len(places) - _SHOWN} more")
    raise AssertionError("\n".join(lines))


def _same(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    same: np.ndarray = np.ones(left.shape, bool)
    if left.dtype.names:
        for name in left.dtype.names:
            same &= _same(left[name], right[name])
        return same
    if left.dtype.kind == "c":
        same &= _same(left.real, right.real)
        same &= _same(left.imag, right.imag)
        return same
    same &= left == right
    if left.dtype.kind not in "fV" or issubclass(left.dtype.type, np.void):
        return same
    if left.dtype.kind == "V":  # the small floats and integers of ml_dtypes fit into float64
        left, right = left.astype(np.float64), right.astype(np.float64)
    same &= np.signbit(left) == np.signbit(right)
    same |= np.isnan(left) & np.isnan(right)
    return same


@contextmanager
def raise_if_collects() -> Iterator[None]:
    """Inside the block every collect, explicit or implicit, raises ``RuntimeError``.

    >>> with lt.testing.raise_if_collects():
    ...     x = lt.asarray([1, 2]) + 1
    ...     x.collect()
    Traceback (most recent call last):
    ...
    RuntimeError: collect inside raise_if_collects(): a plan was to be built, not run
    """
    token = collecting_forbidden.set(True)
    try:
        yield
    finally:
        collecting_forbidden.reset(token)
