"""The functions and methods along one axis: arguments, names, errors, NumPy's own functions."""

from __future__ import annotations

import inspect
from typing import Any

import array_api_strict
import numpy as np
import pytest

import lazytensor as lt
from lazytensor.errors import DimensionError, DTypeError, LazyTensorError, ShapeError
from tests.engines import ENGINES
from tests.sources import ChunkedArray

VALUES = np.array([[3, 1, 2, 1], [0, 5, 4, 9], [7, 7, 8, 6]], "i4")
X = lt.asarray(VALUES, dims=("y", "x"))

NAMES = [
    *("argsort", "cumulative_prod", "cumulative_sum", "diff"),
    *("isin", "searchsorted", "sort", "take_along_axis"),
]


@pytest.mark.parametrize("name", NAMES)
def test_signatures_are_the_standards(name: str) -> None:
    standard = getattr(array_api_strict, name, None)
    if standard is None:
        pytest.skip("not in the strict namespace of this version")
    ours, theirs = inspect.signature(getattr(lt, name)), inspect.signature(standard)
    kinds = {p.name: (p.kind, p.default) for p in ours.parameters.values()}
    assert kinds == {p.name: (p.kind, p.default) for p in theirs.parameters.values()}


@pytest.mark.parametrize("axis", [0, 1, -1, "y", "x"])
def test_axes_go_by_number_and_name(axis: Any) -> None:
    d = {"y": 0, "x": 1}.get(axis, axis)
    pairs = [
        (lt.sort(X, axis=axis), np.sort(VALUES, axis=d)),
        (lt.argsort(X, axis=axis), np.argsort(VALUES, axis=d, kind="stable")),
        (lt.cumulative_sum(X, axis=axis), np.cumsum(VALUES, axis=d)),
        (lt.cumulative_prod(X, axis=axis), np.cumprod(VALUES, axis=d)),
        (lt.diff(X, axis=axis), np.diff(VALUES, axis=d)),
        (lt.take_along_axis(X, lt.argsort(X, axis=axis), axis=axis), np.sort(VALUES, axis=d)),
    ]
    for found, expected in pairs:
        assert found.dims == ("y", "x")
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found.collect(), expected)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("dtype", ["?", "u1", "i4", "f4", "c8"])
def test_differences_are_numpys(n: int, dtype: str) -> None:
    values = VALUES.astype(dtype)
    for engine in ENGINES.values():
        found = lt.diff(lt.asarray(values), n=n).collect(engine=engine)
        np.testing.assert_array_equal(found, np.diff(values, n=n))
    edges = {"prepend": values[:, :2], "append": values[:, 1:2]}
    found = lt.diff(lt.asarray(values), n=n, **edges).collect()
    np.testing.assert_array_equal(found, np.diff(values, n=n, **edges))
    if n:
        one = values.dtype.type(1)
        found = lt.diff(lt.asarray(values), n=n, prepend=one, axis=0).collect()
        np.testing.assert_array_equal(
            found, np.diff(values, n=n, prepend=values.dtype.type(1), axis=0)
        )


def test_differences_count_from_0() -> None:
    x = X.translate_to[4, 7]
    assert lt.diff(x).origin == (4, 0)
    assert lt.diff(x, n=0) is not x
    assert lt.diff(x, n=0).domain == x.domain


@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod"])
def test_an_initial_value_makes_the_axis_longer(name: str) -> None:
    x = X.translate_to[4, 7]
    y = getattr(lt, name)(x, axis="x", include_initial=True)
    assert y.shape == (3, 5)
    assert y.origin == (4, 0)
    assert y.dims == ("y", "x")
    expected = getattr(np, name)(VALUES, axis=1, include_initial=True)
    np.testing.assert_array_equal(y.collect(), expected)
    axes = (lt.Axis("z", scale=0.5, offset=3.0), lt.Axis("c", labels=("a", "b")))
    source = ChunkedArray(np.arange(6).reshape(3, 2), (2, 2), dims=("z", "c"), axes=axes)
    longer = getattr(lt, name)(lt.scan_source(source), axis="z", include_initial=True)
    assert longer.axes == (lt.Axis("z", scale=0.5, offset=2.5), axes[1])
    empty = getattr(lt, name)(lt.zeros(0), include_initial=True)
    np.testing.assert_array_equal(empty.collect(), [0.0 if name == "cumulative_sum" else 1.0])


def test_python_scalars_stand_for_what_they_meet() -> None:
    assert lt.isin(X, 7).collect().sum() == 2
    assert lt.isin(7, X).collect()
    assert not lt.isin(7.5, X).collect()
    assert lt.isin(lt.asarray(np.float32([0.1])), 0.1).collect().all()
    assert not lt.isin(X.astype("u1"), -1).collect().any()
    assert not lt.isin(X.astype("u1"), 2**70 * 1.0).collect().any()
    assert lt.searchsorted(lt.asarray(np.float32([0.1, 0.5])), 0.1).collect() == 0
    assert lt.searchsorted(lt.asarray(np.uint8([1, 200])), 1000).collect() == 2
    assert lt.searchsorted(lt.asarray([1, 2]), 1.5).shape == ()


def test_dtypes_that_meet_are_promoted() -> None:
    found = lt.searchsorted(np.array([0, 10, 20], "u1"), np.array([-5, 300], "i2"))
    np.testing.assert_array_equal(found.collect(), [0, 3])
    found = lt.isin(np.array([1, 2], "i4"), np.array([2.0, 2.5]))
    np.testing.assert_array_equal(found.collect(), [False, True])


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: lt.sort(X, axis=2), DimensionError, "axis 2"),
        (lambda: lt.sort(X, axis="z"), DimensionError, "no dim 'z'"),
        (lambda: lt.sort(lt.asarray(1)), DimensionError, "without dims"),
        (lambda: lt.cumulative_sum(X), DimensionError, "say along which"),
        (lambda: lt.cumulative_sum(lt.asarray(1)), DimensionError, "dims"),
        (lambda: lt.diff(X, n=-1), ShapeError, "negative"),
        (lambda: lt.diff(X, prepend=lt.zeros((2, 2))), LazyTensorError, "2"),
        (lambda: lt.take_along_axis(X, lt.asarray([1])), ShapeError, "as many dims"),
        (lambda: lt.take_along_axis(X, X.astype("f4")), DTypeError, "integers"),
        (lambda: lt.take_along_axis(X, lt.zeros((2, 4), dtype="i8")), ShapeError, "broadcast"),
        (lambda: lt.searchsorted(X, 1), ShapeError, "one dim"),
        (lambda: lt.searchsorted([1, 2], 1, sorter=lt.asarray([0])), ShapeError, "sorter"),
        (lambda: lt.searchsorted([1, 2], 1, side="middle"), ValueError, "middle"),
        (lambda: lt.isin(X, ["a"]), DTypeError, "cannot compare"),
    ],
)
def test_mistakes_are_said_when_built(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_numpys_functions_stay_lazy() -> None:
    order = np.argsort(VALUES, axis=1, kind="stable")
    pairs = {
        "sort": (np.sort(X), np.sort(VALUES)),
        "sort flat": (np.sort(X, axis=None), np.sort(VALUES, axis=None)),
        "argsort": (np.argsort(X, axis=0), np.argsort(VALUES, axis=0, kind="stable")),
        "cumsum": (np.cumsum(X, axis=1, dtype="f4"), np.cumsum(VALUES, axis=1, dtype="f4")),
        "cumsum flat": (np.cumsum(X), np.cumsum(VALUES)),
        "cumprod": (np.cumprod(X, 0), np.cumprod(VALUES, 0)),
        "diff": (np.diff(X, 2, 0), np.diff(VALUES, 2, 0)),
        "diff edge": (np.diff(X, prepend=0), np.diff(VALUES, prepend=0)),
        "take": (np.take_along_axis(X, order, 1), np.sort(VALUES, 1)),
        "search": (np.searchsorted(lt.asarray([1, 5]), X, "right"),
                   np.searchsorted([1, 5], VALUES, "right")),
        "isin": (np.isin(X, [1, 7], invert=True), np.isin(VALUES, [1, 7], invert=True)),
        "cumulative_sum": (np.cumulative_sum(X, axis=0, include_initial=True),
                           np.cumulative_sum(VALUES, axis=0, include_initial=True)),
    }  # fmt: skip
    for name, (found, expected) in pairs.items():
        assert isinstance(found, lt.LazyTensor), name
        assert found.dtype == expected.dtype, name
        np.testing.assert_array_equal(found.collect(), expected, err_msg=name)


def test_methods_are_numpys() -> None:
    np.testing.assert_array_equal(X.argsort(0).collect(), VALUES.argsort(0, kind="stable"))
    np.testing.assert_array_equal(X.argsort(None).collect(), VALUES.argsort(None, kind="stable"))
    np.testing.assert_array_equal(X.cumsum().collect(), VALUES.cumsum())
    np.testing.assert_array_equal(X.cumsum("x").collect(), VALUES.cumsum(1))
    np.testing.assert_array_equal(X.cumprod(0, "f8").collect(), VALUES.cumprod(0, "f8"))
    row = lt.asarray([1, 4, 6])
    np.testing.assert_array_equal(
        row.searchsorted([4, 7], side="right").collect(),
        np.searchsorted([1, 4, 6], [4, 7], "right"),
    )
    assert not hasattr(X, "sort")


def test_nothing_is_read_when_built() -> None:
    with lt.testing.raise_if_collects():
        lt.take_along_axis(X, lt.argsort(X))
        lt.searchsorted(lt.sort(lt.asarray([3, 1])), X)
        lt.isin(X, lt.asarray([1]))
