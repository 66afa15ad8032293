"""Methods that put elements elsewhere: what NumPy's methods of the same names give, lazily."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lazytensor as lt

VALUES = np.arange(24).reshape(2, 3, 4)
X = lt.asarray(VALUES, dims=("c", "y", "x"))

CALLS: dict[str, Callable[[Any], Any]] = {
    "dot a matrix": lambda x: x.dot(np.arange(8).reshape(4, 2)),
    "dot a vector": lambda x: x.dot(np.arange(4)),
    "dot a scalar": lambda x: x.dot(3),
    "dot a stack": lambda x: x.dot(np.arange(40).reshape(2, 4, 5)),
    "ravel": lambda x: x.ravel(),
    "repeat": lambda x: x.repeat(2),
    "repeat along": lambda x: x.repeat(3, axis=-1),
    "squeeze": lambda x: x[:1, :, :1].squeeze(),
    "squeeze nothing": lambda x: x.squeeze(),
    "squeeze one": lambda x: x[:1, :, :1].squeeze(axis=0),
    "swapaxes": lambda x: x.swapaxes(0, -1),
    "swapaxes of the same": lambda x: x.swapaxes(1, 1),
    "take": lambda x: x.take([3, -1, 3]),
    "take along": lambda x: x.take([2, 0], axis=1),
    "take one": lambda x: x.take(1, axis=0),
    "take a matrix": lambda x: x.take([[0, 1], [1, 0]], axis=2),
    "transpose": lambda x: x.transpose(),
    "transpose None": lambda x: x.transpose(None),
    "transpose to": lambda x: x.transpose(2, 0, 1),
    "transpose to a tuple": lambda x: x.transpose((2, 0, 1)),
}


@pytest.mark.parametrize("name", CALLS)
def test_methods_are_those_of_numpy(name: str) -> None:
    call = CALLS[name]
    with lt.testing.raise_if_collects():
        lazy = call(X)
    want = call(VALUES)
    assert (lazy.shape, lazy.dtype) == (want.shape, want.dtype)
    np.testing.assert_array_equal(lazy.collect(), want)


def test_methods_know_dims_by_name() -> None:
    assert X.swapaxes("c", "x").dims == ("x", "y", "c")
    assert X.transpose("x", "y", "c").dims == ("x", "y", "c")
    assert X[:1].squeeze("c").dims == ("y", "x")
    assert X.take([0], axis="y").shape == (2, 1, 4)
    assert X.repeat(2, axis="x").shape == (2, 3, 8)
    assert X[0, 0].transpose().dims == ("x",)
    assert lt.asarray(3).transpose().shape == ()


@pytest.mark.parametrize(
    ("attempt", "kind", "said"),
    [
        (lambda: X.swapaxes(0, 3), lt.DimensionError, "axis 3 is out of range"),
        (lambda: np.swapaxes(X, 0, 3), lt.DimensionError, "axis 3 is out of range"),
        (lambda: X.transpose(0, 0, 1), lt.DimensionError, "once|twice|each"),
        (lambda: X.squeeze("y"), lt.ShapeError, "'y'|3"),
        (lambda: X.take([9], axis=0), lt.OutOfBoundsError, "index 9"),
        (lambda: X.repeat([1, 2], axis=0), lt.DataDependentShapeError, "np.repeat"),
        (lambda: X.dot(np.arange(5)), lt.ShapeError, "4 along 'x' of the first, 5 along axis 0"),
    ],
)
def test_mistakes_are_typed(attempt: Callable[[], object], kind: Any, said: str) -> None:
    with lt.testing.raise_if_collects(), pytest.raises(kind, match=said):
        attempt()
