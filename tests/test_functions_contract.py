"""Matrix products and their kin against NumPy: shapes, dtypes, names, errors."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings

import lazytensor as lt
from tests.engines import ENGINES
from tests.plans import distinct
from tests.sources import ChunkedArray

DTYPES = ("?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "c16")
EPS = {"f2": 2.0**-11, "f4": 2.0**-24, "c8": 2.0**-23, "f8": 2.0**-53, "c16": 2.0**-52}


def check(lazy: lt.LazyTensor, exact: np.ndarray, scale: np.ndarray, terms: int) -> None:
    """Integers bit for bit; floats within 4 sqrt(n) eps of the sum of magnitudes."""
    for name, engine in ENGINES.items():
        values = lazy.collect(engine=engine)
        assert values.dtype == lazy.dtype == exact.dtype, name
        assert values.shape == lazy.shape == exact.shape, name
        if values.dtype.kind in "biu":
            np.testing.assert_array_equal(values, exact, err_msg=name)
            continue
        eps = EPS[values.dtype.str[1:]]
        bound = 4 * np.sqrt(max(terms, 1)) * eps * np.abs(scale) + 2 * eps * np.abs(exact)
        assert (np.abs(values.astype("c16") - exact.astype("c16")) <= bound).all(), name


def widened(x: np.ndarray) -> np.ndarray:
    return x.astype("c16") if x.dtype.kind == "c" else x.astype("f8")


def pair(shape1: Any, shape2: Any, dtype1: str, dtype2: str) -> tuple[np.ndarray, np.ndarray]:
    return distinct(shape1, np.dtype(dtype1), 1), distinct(shape2, np.dtype(dtype2), 2)


def chunked(x: np.ndarray, size: int = 3) -> lt.LazyTensor:
    return lt.scan_source(ChunkedArray(x, [size] * x.ndim))


MATMULS = [
    ((3, 4), (4, 5)),
    ((4,), (4,)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((2, 3, 4), (4, 5)),
    ((3, 4), (2, 4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((1, 3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (6, 4, 5)),
    ((6, 3, 4), (2, 1, 4, 5)),
    ((2, 3, 4), (4,)),
    ((4,), (2, 4, 5)),
    ((3, 0), (0, 5)),
    ((0, 4), (4, 5)),
    ((0, 3, 4), (1, 4, 5)),
    ((1, 1), (1, 1)),
    ((1, 3, 4), (1, 4, 5)),
]


@pytest.mark.parametrize(("shape1", "shape2"), MATMULS)
@pytest.mark.parametrize("dtype", ["i4", "f8"])
def test_matmul_is_that_of_numpy(shape1: Any, shape2: Any, dtype: str) -> None:
    x, y = pair(shape1, shape2, dtype, dtype)
    exact = np.asarray(np.matmul(x, y))
    scale = np.asarray(np.matmul(np.abs(x), np.abs(y)))
    check(lt.matmul(lt.asarray(x), lt.asarray(y)), exact, scale, shape1[-1])
    check(chunked(x) @ chunked(y, 2), exact, scale, shape1[-1])


@pytest.mark.parametrize("dtype1", DTYPES)
@pytest.mark.parametrize("dtype2", DTYPES)
def test_dtypes_promote_as_in_numpy(dtype1: str, dtype2: str) -> None:
    x, y = pair((3, 9), (9, 4), dtype1, dtype2)
    common = np.result_type(x, y)
    if common == "f2":
        x, y = [z if z.dtype == bool else (z.real % 20).astype(z.dtype) for z in (x, y)]
    lazy = lt.asarray(x) @ lt.asarray(y)
    exact = (x.astype("f4") @ y.astype("f4")).astype("f2") if common == "f2" else x @ y
    check(lazy, exact, np.abs(widened(x)) @ np.abs(widened(y)), 9)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
@pytest.mark.parametrize("shape", [(2, 70, 3), (20, 700, 30)])
def test_integers_wrap_modulo_their_range(dtype: str, shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(1)
    x = rng.integers(limits.min, limits.max, (m, k), dtype, endpoint=True)
    y = rng.integers(limits.min, limits.max, (k, n), dtype, endpoint=True)
    for engine in ENGINES.values():
        values = (lt.asarray(x) @ lt.asarray(y)).collect(engine=engine)
        np.testing.assert_array_equal(values, x @ y)


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e5m2"])
def test_small_floats_are_rounded_once(dtype: str) -> None:
    rng = np.random.default_rng(2)
    small = np.dtype(getattr(ml_dtypes, dtype))
    x, y = rng.standard_normal((5, 300)).astype(small), rng.standard_normal((300, 4)).astype(small)
    lazy = lt.asarray(x) @ lt.asarray(y)
    assert lazy.dtype == small
    exact = x.astype("f8") @ y.astype("f8")
    for engine in ENGINES.values():
        values = lazy.collect(engine=engine).astype("f8")
        assert (np.abs(values - exact) <= np.abs(exact) * float(ml_dtypes.finfo(small).eps)).all()


def test_four_bit_integers_wrap() -> None:
    x = np.arange(-8, 8).astype(ml_dtypes.int4)
    exact = (x.astype("i8") @ x.astype("i8")).astype("i1").astype(ml_dtypes.int4)
    assert lt.vecdot(lt.asarray(x), lt.asarray(x)).collect() == exact


def test_float16_accumulates_in_float32() -> None:
    x = np.full((1, 5000), 1.0, "f2")
    assert (lt.asarray(x) @ lt.asarray(x.T)).collect() == 5000


def test_special_values_take_part() -> None:
    x = np.array([[np.inf, 0.0, np.nan], [1.0, 2.0, 3.0]])
    y = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal((lt.asarray(x) @ lt.asarray(y)).collect(), x @ y)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_tensordot_of_random_axes(data: st.DataObject) -> None:
    shared = data.draw(st.lists(st.integers(1, 4), max_size=2))
    one = shared + data.draw(st.lists(st.integers(0, 4), max_size=2))
    other = shared + data.draw(st.lists(st.integers(0, 4), max_size=2))
    order1 = data.draw(st.permutations(range(len(one))))
    order2 = data.draw(st.permutations(range(len(other))))
    x, y = pair(tuple(one[d] for d in order1), tuple(other[d] for d in order2), "i8", "i8")
    axes = (
        [order1.index(d) - data.draw(st.sampled_from((0, len(one)))) for d in range(len(shared))],
        [order2.index(d) for d in range(len(shared))],
    )
    exact = np.tensordot(x, y, axes=axes)
    lazy = lt.tensordot(chunked(x, 2), lt.asarray(y), axes=axes)
    check(lazy, exact, exact, 1)


@pytest.mark.parametrize("axes", [0, 1, 2])
def test_tensordot_of_a_number_of_axes(axes: int) -> None:
    shape2 = {0: (2,), 1: (4, 3), 2: (3, 4, 2)}[axes]
    x, y = pair((2, 3, 4), shape2, "i4", "u1")
    exact = np.tensordot(x, y, axes=axes)
    check(lt.tensordot(lt.asarray(x), lt.asarray(y), axes=axes), exact, exact, 1)


def test_tensordot_takes_names() -> None:
    x = lt.asarray(np.arange(24).reshape(2, 3, 4), dims=("c", "y", "x"))
    w = lt.asarray(np.arange(10).reshape(2, 5), dims=("c", "k"))
    mixed = lt.tensordot(x, w, axes=(["c"], ["c"]))
    assert mixed.dims == ("y", "x", "k")
    np.testing.assert_array_equal(
        mixed.collect(), np.tensordot(x.collect(), w.collect(), axes=([0], [0]))
    )


@pytest.mark.parametrize(
    ("shape1", "shape2", "axis"),
    [((5,), (5,), -1), ((3, 5), (5,), -1), ((3, 5), (3, 5), -2), ((2, 1, 5), (3, 5), -1),
     ((3, 1), (3, 4), -2), ((2, 0), (2, 0), -1)],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["i4", "c8", "f4"])
def test_vecdot_is_that_of_numpy(shape1: Any, shape2: Any, axis: int, dtype: str) -> None:
    x, y = pair(shape1, shape2, dtype, dtype)
    if dtype == "c8":
        x, y = x + 2j * x, y - 3j * y
        x, y = x.astype(dtype), y.astype(dtype)
    exact = np.asarray(np.vecdot(x, y, axis=axis))
    scale = np.asarray(np.vecdot(np.abs(x), np.abs(y), axis=axis))
    check(lt.vecdot(lt.asarray(x), chunked(y), axis=axis), exact, scale, shape1[axis])


def test_names_and_coordinates_of_a_product() -> None:
    x = lt.zeros((2, 5, 4)).label["t", "y", "k"].translate_to[1, 10, 3]
    w = lt.zeros((1, 4, 6)).label["", "k", "c"].translate_to[7, 9, 20]
    product = x @ w
    assert product.dims == ("t", "y", "c")
    assert product.origin == (1, 10, 20)
    assert (x @ w[0]).origin == (1, 10, 20)
    assert (w @ lt.zeros((2, 6, 3)).label["t", "", "k"].translate_to[5, 0, 0]).dims == ("t", "", "")


def test_a_name_on_both_sides_is_dropped() -> None:
    x = lt.zeros((5, 3)).label["n", "f"]
    assert (x.T @ x).dims == ("", "")
    assert lt.tensordot(x, x, axes=0).dims == ("", "", "", "")


def test_stacks_of_different_names_are_refused() -> None:
    with pytest.raises(lt.DimensionError, match="rename one of them"):
        lt.zeros((2, 3, 4)).label["t", "", ""] @ lt.zeros((2, 4, 3)).label["z", "", ""]


@pytest.mark.parametrize(
    ("shape1", "shape2", "words"),
    [
        ((3, 4), (3, 4), "4 along axis 1 of the first, 3 along axis 0 of the second"),
        ((), (3,), "a scalar is no matrix"),
        ((3,), (), "a scalar is no matrix"),
        ((2, 3, 4), (3, 4, 5), r"the stacks \(2,\) and \(3,\)"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(shape1: Any, shape2: Any, words: str) -> None:
    x, y = lt.zeros(shape1), lt.zeros(shape2)
    with pytest.raises(lt.ShapeError, match=words) as caught:
        x @ y
    assert "built at" in str(caught.value)


def test_wrong_axes_are_refused() -> None:
    x, y = lt.zeros((2, 3)), lt.zeros((3, 2))
    with pytest.raises(lt.ShapeError, match="2 along axis 0 of the first, 3 along axis 0"):
        lt.tensordot(x, y, axes=([0], [0]))
    with pytest.raises(lt.DimensionError, match="axes=3 of"):
        lt.tensordot(x, y, axes=3)
    with pytest.raises(lt.DimensionError, match="do not pair up"):
        lt.tensordot(x, y, axes=([0, 1], [0]))
    with pytest.raises(lt.DimensionError, match="twice"):
        lt.tensordot(x, y, axes=([0, 0], [0, 1]))
    with pytest.raises(lt.DimensionError, match="out of range"):
        lt.vecdot(x, x, axis=-3)
    with pytest.raises(lt.ShapeError, match="3 along axis 1 of the first, 2 along axis 1"):
        lt.vecdot(x, y)
    with pytest.raises(lt.ShapeError, match="a scalar is no vector"):
        lt.vecdot(x, lt.zeros(()))


def test_what_is_no_number_is_refused() -> None:
    words = lt.asarray(np.array(["a", "b"], np.dtypes.StringDType()))
    with pytest.raises(lt.DTypeError, match="it takes numbers"):
        lt.vecdot(words, words)


def test_operators_with_arrays_on_either_side_stay_lazy() -> None:
    x = np.arange(6.0).reshape(2, 3)
    lazy = lt.asarray(x)
    with lt.testing.raise_if_collects():
        products = [lazy @ x.T, x.T @ lazy, np.matmul(lazy, x.T), np.tensordot(lazy, x)]
        products += [np.vecdot(lazy, x), np.dot(lazy, x.T), lazy @ [1, 2, 3]]
    assert all(isinstance(y, lt.LazyTensor) for y in products)
    for y, exact in zip(
        products,
        [x @ x.T, x.T @ x, x @ x.T, np.tensordot(x, x), np.vecdot(x, x), x @ x.T, x @ [1, 2, 3]],
        strict=True,
    ):
        np.testing.assert_array_equal(y.collect(), exact)


def test_an_operand_that_is_none_is_left_to_its_own_operator() -> None:
    class Other:
        def __rmatmul__(self, other: object) -> str:
            return "mine"

    assert lt.zeros(3) @ Other() == "mine"
    with pytest.raises(TypeError):
        lt.zeros(3) @ object()


@pytest.mark.parametrize("shape2", [(), (4,), (3, 4, 2), (4, 3)])
def test_dot_has_numpys_own_rules(shape2: Any) -> None:
    x, y = pair((2, 3, 4), shape2, "i4", "i4")
    np.testing.assert_array_equal(np.dot(lt.asarray(x), y).collect(), np.dot(x, y))
