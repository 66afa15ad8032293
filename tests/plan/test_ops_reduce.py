"""The reduction table: values against NumPy, and states of random cuts against the whole."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator
from functools import reduce
from typing import Any

import array_api_strict
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazytensor.errors import DTypeError
from lazytensor.plan.ops import REDUCTIONS, Reduction

CODES = "?bhilBHILefdFD"
NAMES = sorted(REDUCTIONS)
ARGS = ("argmin", "argmax")
FLOATING = ("mean", "std", "var")


def numpy_reduce(name: str, x: np.ndarray, axis: Any, **kwargs: Any) -> np.ndarray:
    """What NumPy computes, floats in float64."""
    function = getattr(np, name)
    wide = x.astype("D" if x.dtype.kind == "c" else "d") if x.dtype.kind in "efdFD" else x
    if name in ARGS and isinstance(axis, tuple):
        (axis,) = axis
    with np.errstate(all="ignore"):
        return np.asarray(function(wide, axis=axis, **kwargs))


def cut(
    row: Reduction, x: np.ndarray, axes: tuple[int, ...], cuts: list[list[int]]
) -> Iterator[Any]:
    """States of the blocks between cuts, grouped by the result they belong to."""
    edges = [[0, *sorted(set(c)), n] for c, n in zip(cuts, x.shape, strict=True)]
    spans = [[(a, b) for a, b in itertools.pairwise(e) if b > a] for e in edges]
    grid = np.array(np.meshgrid(*(range(len(s)) for s in spans), indexing="ij"))
    for cell in grid.reshape(x.ndim, -1).T:
        box = [spans[d][i] for d, i in enumerate(cell)]
        block = x[tuple(slice(a, b) for a, b in box)]
        offsets = tuple(a for a, _ in box)
        kept = tuple(box[d] for d in range(x.ndim) if d not in axes)
        yield kept, row.partial(block, axes, offsets=offsets, shape=x.shape)


def streamed(
    row: Reduction, x: np.ndarray, axes: tuple[int, ...], cuts: list[list[int]], params: Any = None
) -> np.ndarray:
    """The reduction computed in blocks."""
    params = params or {}
    states: dict[Any, list[Any]] = {}
    for kept, state in cut(row, x, axes, cuts):
        states.setdefault(kept, []).append(state)
    kept_dims = [d for d in range(x.ndim) if d not in axes]
    count = math.prod(x.shape[d] for d in axes)
    out = np.empty([x.shape[d] for d in kept_dims], row.result_dtype(x.dtype, params))
    for kept, group in states.items():
        values = row.finish(reduce(row.merge, group), dtype=x.dtype, count=count, params=params)
        out[tuple(slice(a, b) for a, b in kept)] = values.reshape([b - a for a, b in kept])
    return out


@st.composite
def cut_arrays(
    draw: Any, codes: str = CODES
) -> tuple[np.ndarray, tuple[int, ...], list[list[int]]]:
    """An array of distinct or special values, axes to reduce, and where to cut."""
    shape = draw(st.lists(st.integers(1, 7), min_size=1, max_size=3))
    dtype = np.dtype(draw(st.sampled_from(codes)))
    size = math.prod(shape)
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    x = rng.permutation(size) - size // 2
    if dtype.kind in "fc" and draw(st.booleans()):
        special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5])
        x = np.where(rng.random(size) < 0.4, rng.choice(special, size), x)
    axes = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    cuts = [draw(st.lists(st.integers(1, max(1, n - 1)), max_size=3)) for n in shape]
    with np.errstate(all="ignore"):
        return x.astype(dtype).reshape(shape), tuple(sorted(axes)), cuts


def bits(x: np.ndarray) -> bytes:
    """Bytes of an array, with one NaN for all."""
    if x.dtype.kind in "fc":
        x = np.where(np.isnan(x), x.dtype.type(np.nan), x)
    return np.ascontiguousarray(x).tobytes()


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("sum", "prod", *FLOATING)])
@given(case=cut_arrays())
def test_exact_reductions_do_not_depend_on_the_cut(name: str, case: Any) -> None:
    x, axes, cuts = case
    row = REDUCTIONS[name]
    axes = axes[:1] if row.one_axis else axes
    whole = row.whole(x, axes)
    assert bits(streamed(row, x, axes, cuts)) == bits(whole)
    np.testing.assert_array_equal(whole, numpy_reduce(name, x, axes))
    flat = tuple(range(x.ndim))
    assert bits(streamed(row, x, flat, cuts)) == bits(row.whole(x, flat))
    np.testing.assert_array_equal(row.whole(x, flat), numpy_reduce(name, x, None))


@pytest.mark.parametrize("name", ["sum", "prod", *FLOATING])
@given(case=cut_arrays("?bhilBHIL"))
def test_reductions_of_integers_do_not_depend_on_the_cut(name: str, case: Any) -> None:
    x, axes, cuts = case
    row = REDUCTIONS[name]
    whole = row.whole(x, axes)
    expected = numpy_reduce(name, x, axes)
    assert whole.dtype == expected.dtype
    if name in FLOATING:
        scale = float(np.abs(x.astype(float)).max())
        np.testing.assert_allclose(whole, expected, rtol=1e-13, atol=1e-13 * scale**2)
        np.testing.assert_allclose(
            streamed(row, x, axes, cuts), whole, rtol=1e-13, atol=1e-13 * scale**2
        )
    else:
        np.testing.assert_array_equal(whole, expected)
        assert bits(streamed(row, x, axes, cuts)) == bits(whole)


@pytest.mark.parametrize("name", ["sum", "mean"])
@given(case=cut_arrays("efdFD"))
def test_float_sums_stay_within_the_bound(name: str, case: Any) -> None:
    x, axes, cuts = case
    row = REDUCTIONS[name]
    n = math.prod(x.shape[d] for d in axes)
    expected = numpy_reduce(name, x, axes)
    for result in (row.whole(x, axes), streamed(row, x, axes, cuts)):
        assert result.dtype == x.dtype
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(np.isfinite(result), finite)
        if x.dtype.kind == "f":
            np.testing.assert_array_equal(result[~finite], expected[~finite].astype(x.dtype))
        bound = 4 * math.sqrt(n) * float(np.finfo(x.dtype).eps)
        size = np.abs(np.where(np.isfinite(x), x, 0)).sum(axes, dtype=float)
        size = size / n if name == "mean" else size
        error = np.abs(result[finite].astype(expected.dtype) - expected[finite])
        assert (error <= bound * np.asarray(size)[finite]).all()


@pytest.mark.parametrize("name", ["var", "std"])
@pytest.mark.parametrize("correction", [0.0, 1.0, 0.5, 100.0])
@given(case=cut_arrays("fdFD"))
def test_spreads_follow_numpy(name: str, correction: float, case: Any) -> None:
    x, axes, cuts = case
    if not np.isfinite(x).all():
        x = np.arange(x.size).reshape(x.shape).astype(x.dtype)
    row = REDUCTIONS[name]
    params = {"correction": correction}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = numpy_reduce(name, x, axes, ddof=correction)
    if np.prod([x.shape[d] for d in axes]) <= correction:
        expected = np.full_like(expected, np.nan)  # so the standard; NumPy may give infinity
    for result in (row.whole(x, axes, params=params), streamed(row, x, axes, cuts, params)):
        assert result.dtype == x.real.dtype
        rtol = 1e-6 if result.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(result, expected, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_large_float64_sums_stay_within_the_bound_along_every_axis(
    order: Any, axes: tuple[int, ...]
) -> None:
    # 0.1 has a rounding error of one sign: adding one after another drifts linearly.
    x = np.full((5000, 7), 0.1, order=order)
    x[:, 3] = -0.1
    n = math.prod(x.shape[d] for d in axes)
    exact = np.apply_along_axis(math.fsum, 0, x) if axes == (0,) else None
    result = REDUCTIONS["sum"].whole(x, axes)
    if exact is None:
        exact = np.array([math.fsum(r) for r in x]) if axes == (1,) else math.fsum(x.ravel())
    bound = 4 * math.sqrt(n) * np.finfo(float).eps * np.abs(x).sum(axes)
    assert (np.abs(result - exact) <= bound).all()


def test_a_running_merge_of_many_blocks_does_not_drift() -> None:
    row = REDUCTIONS["sum"]
    x = np.full(20_000, 0.1)
    states = [row.partial(block, (0,)) for block in x.reshape(-1, 2)]
    result = row.finish(reduce(row.merge, states), dtype=x.dtype, count=x.size)
    assert abs(result[0] - math.fsum(x)) <= np.spacing(2000.0)


def test_variance_of_large_offsets_is_accurate() -> None:
    x = (1e8 + np.arange(1000)).astype(np.float64)
    row = REDUCTIONS["var"]
    blocks = np.split(x, [10, 300, 301, 999])
    state = reduce(row.merge, [row.partial(b, (0,)) for b in blocks])
    np.testing.assert_allclose(
        row.finish(state, dtype=x.dtype, count=x.size), [83333.25], rtol=1e-12
    )
    single = x.astype(np.float32)
    np.testing.assert_allclose(row.whole(single, (0,)), np.var(single.astype(float)), rtol=1e-6)


def test_infinite_and_overflowing_sums() -> None:
    row = REDUCTIONS["sum"]
    parts = [np.array([v]) for v in (1e308, 1e308, -1e308)]
    state = reduce(row.merge, [row.partial(p, (0,)) for p in parts])
    assert row.finish(state, dtype=np.dtype(float), count=3)[0] == np.inf
    assert row.whole(np.array([60000, 60000, -60000], np.float16), (0,)) == 60000
    assert np.isnan(row.whole(np.array([np.inf, -np.inf]), (0,)))
    z = row.whole(np.array([complex(np.inf, 1), complex(1, 2)]), (0,))
    assert z == complex(np.inf, 3)


def test_nan_stays_in_its_part_of_a_complex_mean() -> None:
    z = REDUCTIONS["mean"].whole(np.array([complex(np.nan, 1), complex(1, 3)]), (0,))
    assert np.isnan(z.real) and z.imag == 2


EMPTY = {
    "sum": 0,
    "prod": 1,
    "any": False,
    "all": True,
    "count_nonzero": 0,
    "mean": np.nan,
    "var": np.nan,
    "std": np.nan,
}


@pytest.mark.parametrize("name", NAMES)
def test_reductions_of_nothing(name: str) -> None:
    row = REDUCTIONS[name]
    assert row.needs_values == (name not in EMPTY)
    if row.needs_values:
        assert row.whole(np.ones((3, 0)), (0,)).shape == (0,)
        return
    result = row.whole(np.empty((0, 2), np.float32), (0,))
    np.testing.assert_array_equal(result, np.full(2, EMPTY[name]))
    assert result.dtype == row.result_dtype(np.dtype("f4"))


@pytest.mark.parametrize("name", ["sum", "mean", "var", "prod", "any", "count_nonzero"])
def test_empty_blocks_change_nothing(name: str) -> None:
    row = REDUCTIONS[name]
    x = np.array([0.0, 2.5, 4.0])
    state = row.partial(x, (0,))
    nothing = row.partial(x[:0], (0,))
    for merged in (row.merge(state, nothing), row.merge(nothing, state)):
        value = row.finish(merged, dtype=x.dtype, count=3)
        np.testing.assert_array_equal(value, row.finish(state, dtype=x.dtype, count=3))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("code", CODES)
def test_result_dtypes(name: str, code: str) -> None:
    dtype = np.dtype(code)
    row = REDUCTIONS[name]
    x = np.ones((2, 3), dtype)
    kept = row.whole(x, (0,), keepdims=True)
    assert kept.shape == (1, 3)
    assert row.whole(x, (0,)).shape == (3,)
    assert kept.dtype == row.result_dtype(dtype)
    expected = getattr(np, name)(x, axis=0).dtype
    if name in ("mean", "var", "std") and dtype.kind in "biu":
        expected = np.dtype(float)
    assert kept.dtype == expected


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "min", "max", "argmax"])
@pytest.mark.parametrize("code", "bhilBHILfd")
def test_the_strict_namespace_agrees(name: str, code: str) -> None:
    x = np.arange(6).astype(code).reshape(2, 3)
    if name == "mean" and x.dtype.kind in "iu":
        return
    expected = getattr(array_api_strict, name)(array_api_strict.asarray(x), axis=1)
    result = REDUCTIONS[name].whole(x, (1,))
    assert result.dtype == np.from_dlpack(expected).dtype
    np.testing.assert_array_equal(result, np.from_dlpack(expected))


def test_sums_in_another_dtype() -> None:
    row = REDUCTIONS["sum"]
    x = np.array([200, 100], np.uint8)

    def total(values: np.ndarray, code: str) -> np.ndarray:
        return row.whole(values, (0,), params={"dtype": np.dtype(code)})

    assert total(x, "u1") == 44 and total(x, "u1").dtype == np.uint8
    assert total(x, "f4") == 300 and total(x, "f4").dtype == np.float32
    assert total(np.array([0.75, 0.75]), "i4") == 0
    assert total(np.array([2**60 + 1, 1]), "i8") == 2**60 + 2
    assert total(x, "c8").dtype == np.complex64
    with pytest.raises(DTypeError, match="complex128 with dtype=float32"):
        row.result_dtype(np.dtype("c16"), {"dtype": np.dtype("f4")})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("code", ["U3", "M8[s]", "O"])
def test_other_dtypes_are_refused_by_name(name: str, code: str) -> None:
    with pytest.raises(DTypeError, match=f"{name} is not defined for"):
        REDUCTIONS[name].result_dtype(np.dtype(code))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["bfloat16", "float8_e5m2", "int4", "uint4"])
def test_small_formats(name: str, kind: str) -> None:
    dtype = np.dtype(getattr(ml_dtypes, kind))
    row = REDUCTIONS[name]
    x = np.array([[1, 0, 3], [2, 4, 3]]).astype(dtype)
    result = row.whole(x, (1,))
    assert result.dtype == row.result_dtype(dtype)
    expected = row.whole(x.astype(np.float32), (1,))
    np.testing.assert_allclose(result.astype(float), expected.astype(result.dtype).astype(float))


def test_first_of_equals_wins_whatever_the_order_of_blocks() -> None:
    row = REDUCTIONS["argmax"]
    x = np.array([[1, 5, 0], [5, 2, 5]])
    right = row.partial(x[:, 1:], (0, 1), offsets=(0, 1), shape=x.shape)
    left = row.partial(x[:, :1], (0, 1), offsets=(0, 0), shape=x.shape)
    for state in (row.merge(left, right), row.merge(right, left)):
        assert row.finish(state, dtype=x.dtype, count=6).item() == 1
    nans = np.array([3.0, np.nan, 9.0, np.nan])
    parts = [row.partial(nans[i : i + 1], (0,), offsets=(i,), shape=(4,)) for i in (3, 2, 1, 0)]
    assert row.finish(reduce(row.merge, parts), dtype=nans.dtype, count=4).item() == 1


@pytest.mark.parametrize("dtype", ["f8", "f2", ml_dtypes.bfloat16])
def test_zeros_of_both_signs(dtype: Any) -> None:
    x = np.array([0.0, -0.0, 0.0], dtype)
    for row, sign in ((REDUCTIONS["min"], True), (REDUCTIONS["max"], False)):
        assert np.signbit(row.whole(x, (0,))) == sign
        states = [row.partial(x[i : i + 1], (0,)) for i in range(3)]
        assert np.signbit(row.finish(reduce(row.merge, states), dtype=x.dtype, count=3))[0] == sign


def test_zeros_of_both_signs_in_a_long_block() -> None:
    """Vector lanes of NumPy meet them in an order of their own."""
    x = np.array([-0.0] * 40 + [0.0] * 3 + [-0.0], ml_dtypes.bfloat16)
    assert not np.signbit(REDUCTIONS["max"].whole(x, (0,)))
    assert np.signbit(REDUCTIONS["min"].whole(x[::-1], (0,)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [3.5, 0.0, np.nan])
def test_zero_dimensional_arrays_and_no_axes(name: str, value: float) -> None:
    row = REDUCTIONS[name]
    scalar = np.array(value)
    np.testing.assert_array_equal(row.whole(scalar, ()), numpy_reduce(name, scalar, None))
    if not row.one_axis:
        x = np.array([[value, 1.0, -2.0]])
        np.testing.assert_array_equal(row.whole(x, ()), numpy_reduce(name, x, ()))
