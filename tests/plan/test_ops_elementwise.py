"""The elementwise table against NumPy, the standard and its special cases; cases come from it."""

from __future__ import annotations

import array_api_strict
import ml_dtypes
import numpy as np
import pytest

from lazytensor.errors import DTypeError
from lazytensor.plan.op import Op
from lazytensor.plan.ops import ELEMENTWISE, FUNCTIONS, REDUCTIONS, UFUNCS

NUMBERS = tuple(np.dtype(code) for code in "?bhilBHILefdFD")
UFUNC_ROWS = [row for row in ELEMENTWISE.values() if row.ufunc is not None]
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 1e-300, 1e300, 3.0)


def samples(dtype: np.dtype) -> np.ndarray:
    """Values of a dtype where operations are at their edges."""
    if dtype.kind == "b":
        return np.array([True, False])
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return np.array([0, 1, 2, 3, 7, 40, info.max, info.min, info.max - 1], dtype)
    with np.errstate(all="ignore"):
        if dtype.kind == "f":
            return np.array(SPECIAL).astype(dtype)
        parts = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -2.5])
        return (parts[:, None] + 1j * parts).ravel().astype(dtype)


def same(actual: np.ndarray, expected: np.ndarray) -> None:
    """Equal in dtype, shape and bits, any NaN for NaN."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(actual, expected)
    if actual.dtype.kind == "f":
        known = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(actual[known]), np.signbit(expected[known]))


def numpy_result(row: Op, arrays: list[np.ndarray]) -> np.ndarray | type[Exception]:
    assert row.ufunc is not None
    with np.errstate(all="ignore"):
        try:
            return np.asarray(row.ufunc(*arrays))
        except (TypeError, ValueError) as error:
            return type(error)


def test_the_table_has_every_elementwise_function_of_the_standard() -> None:
    home = "array_api_strict._elementwise_functions"
    names = {
        name
        for name in array_api_strict.__all__
        if getattr(getattr(array_api_strict, name), "__module__", "") == home
    }
    assert set(ELEMENTWISE) - {"where"} == names
    assert len(names) == 67


def test_rows_agree_with_their_keys() -> None:
    for name, row in (*ELEMENTWISE.items(), *REDUCTIONS.items()):
        assert row.name == name
        assert row.doc.endswith(".") and row.note.endswith(".")
    for row in ELEMENTWISE.values():
        assert len(row.example) == row.arity


@pytest.mark.parametrize("row", UFUNC_ROWS, ids=lambda row: row.name)
def test_values_and_dtypes_are_numpys(row: Op) -> None:
    different = {"round", "reciprocal"}  # of integers, see below
    for first in NUMBERS:
        for second in NUMBERS if row.arity == 2 else (None,):
            arrays = [samples(first)]
            if second is not None:
                arrays = [arrays[0][:, None], samples(second)[None, :]]
            if row.name in different and first.kind in "biu":
                continue
            expected = numpy_result(row, arrays)
            if isinstance(expected, np.ndarray):
                found = row.evaluate(*arrays)
                if row.name == "pow" and expected.dtype in ("f4", "f8"):
                    # Simple powers are rounded alike wherever they lie (see tests/test_powers.py).
                    near = np.isfinite(expected)
                    np.testing.assert_array_max_ulp(found[near], expected[near], 1)
                    expected[near] = found[near]
                same(found, expected)
                assert row.result_dtype(tuple(a.dtype for a in arrays)) == expected.dtype
            else:
                with pytest.raises(DTypeError, match=row.name):
                    row.evaluate(*arrays)


@pytest.mark.parametrize("row", [*ELEMENTWISE.values()], ids=lambda row: row.name)
def test_out_holds_the_result_and_is_returned(row: Op) -> None:
    x = np.array([[True, False, True]] if "bitwise" in row.name else [[1.0, 0.25, 0.5]])
    if "shift" in row.name:
        x = np.array([[1, 2, 3]])
    arrays = [x] * row.arity
    expected = row.evaluate(*arrays)
    out = np.full(expected.shape, 7, expected.dtype)
    assert row.evaluate(*arrays, out=out) is out
    same(out, expected)
    assert not np.shares_memory(expected, x)


@pytest.mark.parametrize("row", [*ELEMENTWISE.values()], ids=lambda row: row.name)
def test_scalars_and_empty_arrays(row: Op) -> None:
    dtype = np.dtype(np.int8) if "bitwise" in row.name else np.dtype(np.float32)
    for shape in ((), (0,), (3, 0)):
        arrays = [np.ones(shape, dtype)] * row.arity
        result = row.evaluate(*arrays)
        assert isinstance(result, np.ndarray)
        assert result.shape == shape
        assert result.dtype == row.result_dtype((dtype,) * row.arity)


@pytest.mark.parametrize("name", ["ceil", "floor", "trunc", "round"])
@pytest.mark.parametrize("code", "?bhilBHIL")
def test_rounding_leaves_integers_alone(name: str, code: str) -> None:
    x = samples(np.dtype(code))
    same(ELEMENTWISE[name].evaluate(x), x)


def test_round_goes_to_even() -> None:
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    same(ELEMENTWISE["round"].evaluate(x), np.array([-2.0, -2.0, -0.0, 0.0, 2.0, 2.0]))


def test_reciprocal_of_integers_is_defined_for_zero_too() -> None:
    reciprocal = ELEMENTWISE["reciprocal"]
    x = np.array([-2, -1, 0, 1, 2], np.int32)
    same(reciprocal.evaluate(x), np.array([0, -1, 0, 1, 0], np.int32))
    same(reciprocal.evaluate(np.array([0, 1, 200], np.uint8)), np.array([0, 1, 0], np.uint8))
    nonzero = np.array([-3, -1, 1, 5])
    same(reciprocal.evaluate(nonzero), np.reciprocal(nonzero))


def test_integers_divided_by_zero_and_the_most_negative_one() -> None:
    for code in "bhilBHIL":
        dtype = np.dtype(code)
        x = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max, 0], dtype)
        zero = np.zeros(3, dtype)
        same(ELEMENTWISE["floor_divide"].evaluate(x, zero), zero)
        same(ELEMENTWISE["remainder"].evaluate(x, zero), zero)
    low = np.array([-128], np.int8)
    same(ELEMENTWISE["floor_divide"].evaluate(low, np.array([-1], np.int8)), low)
    same(ELEMENTWISE["abs"].evaluate(low), low)


def test_floor_division_and_remainder_go_together() -> None:
    x = np.arange(-7, 8)[:, None]
    y = np.array([-3, -2, 2, 3])
    for cast in (np.int64, np.float32):
        a, b = x.astype(cast), y.astype(cast)
        quotient = ELEMENTWISE["floor_divide"].evaluate(a, b)
        rest = ELEMENTWISE["remainder"].evaluate(a, b)
        same(quotient * b + rest, np.broadcast_to(a, quotient.shape).copy())
        assert (np.sign(rest) * np.sign(b) >= 0).all()


@pytest.mark.parametrize("shift", [-1, 0, 1, 7, 8, 63, 64, 65])
def test_shifts_out_of_range_move_every_bit_out(shift: int) -> None:
    x = np.array([-5, 5, 127], np.int8)
    count = np.array(shift, np.int8)
    inside = 0 <= shift < 8
    left = (x << count) if inside else np.zeros_like(x)
    right = (x >> count) if inside else np.array([-1, 0, 0], np.int8)
    same(ELEMENTWISE["bitwise_left_shift"].evaluate(x, count), left)
    same(ELEMENTWISE["bitwise_right_shift"].evaluate(x, count), right)


def test_integer_powers() -> None:
    power = ELEMENTWISE["pow"]
    same(power.evaluate(np.array([2, 3]), np.array([62, 41])), np.array([2, 3]) ** [62, 41])
    with pytest.raises(DTypeError, match="pow of int64 by a negative integer"):
        power.evaluate(np.array([2, 3]), np.array([1, -1]))
    loop = power.loop((np.dtype("i2"), int))
    with pytest.raises(DTypeError, match="cast the base to a float"):
        power.scalar(1, -2, loop)
    assert power.scalar(1, 2, loop) == 2
    assert power.scalar(0, -2, power.loop((int, np.dtype("i2")))) == -2


def test_sign_of_complex_numbers() -> None:
    z = np.array([3 + 4j, 0, -2])
    same(ELEMENTWISE["sign"].evaluate(z), np.array([0.6 + 0.8j, 0, -1]))


def test_clip_is_numpys_and_keeps_nan() -> None:
    clip = ELEMENTWISE["clip"]
    for code in "bhilBHILefd":
        x = samples(np.dtype(code))
        for low, high in ((1, 7), (7, 1), (0, 0)):
            bounds = np.array(low, code), np.array(high, code)
            same(clip.evaluate(x, *bounds), np.clip(x, *bounds))
    nan = np.array(np.nan)
    one = np.array(1.0)
    for arrays in ((nan, one, one), (one, nan, one), (one, one, nan)):
        assert np.isnan(clip.evaluate(*arrays))
    assert clip.result_dtype((np.dtype("u1"), np.dtype("i4"), np.dtype("u1"))) == np.int32


def test_where_selects_what_numpy_selects() -> None:
    where = ELEMENTWISE["where"]
    condition = np.array([[True], [False]])
    a, b = np.arange(3, dtype=np.uint8), np.array([0.5, np.nan, -0.0], np.float32)
    same(where.evaluate(condition, a, b), np.where(condition, a, b))
    counts = np.array([0.0, np.nan, 2.0])
    same(where.evaluate(counts, a, a + 10), np.where(counts, a, a + 10))
    text = np.array(["a", "bc"], np.dtypes.StringDType())
    assert where.evaluate(condition, text, text[::-1]).tolist() == [["a", "bc"], ["bc", "a"]]


def test_parts() -> None:
    z = np.array([1 + 2j, np.nan - 0.0j], np.complex64)
    same(ELEMENTWISE["real"].evaluate(z), z.real)
    same(ELEMENTWISE["imag"].evaluate(z), z.imag)
    x = np.arange(3, dtype=np.int16)
    same(ELEMENTWISE["real"].evaluate(x), x)
    same(ELEMENTWISE["imag"].evaluate(x), np.zeros(3, np.int16))


def test_comparisons_of_mixed_integers_are_by_value() -> None:
    big, small = np.array([2**63 + 1], np.uint64), np.array([-1, 2**63 - 1], np.int64)
    same(ELEMENTWISE["greater"].evaluate(big, small), np.array([True, True]))
    same(ELEMENTWISE["equal"].evaluate(np.array([2**64 - 1], np.uint64), small), np.zeros(2, bool))


REFUSED = [
    ("bitwise_and", ("f4", "i1")),
    ("bitwise_invert", ("f8",)),
    ("bitwise_left_shift", ("?", "f8")),
    ("subtract", ("?", "?")),
    ("negative", ("?",)),
    ("floor", ("c8",)),
    ("hypot", ("c8", "f4")),
    ("atan2", ("f4", "c16")),
    ("sin", ("M8[s]",)),
    ("clip", ("U3", "U3", "U3")),
    ("real", ("U3",)),
]


@pytest.mark.parametrize(("name", "codes"), REFUSED)
def test_undefined_dtypes_are_refused_by_name(name: str, codes: tuple[str, ...]) -> None:
    dtypes = tuple(np.dtype(code) for code in codes)
    with pytest.raises(DTypeError) as caught:
        ELEMENTWISE[name].result_dtype(dtypes)
    for word in (name, *(str(dtype) for dtype in dtypes), "it takes"):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("row", UFUNC_ROWS, ids=lambda row: row.name)
def test_small_floats_compute_as_float32_does(row: Op, name: str) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name))
    x = np.array([0.5, 1.0, 0.25, 0.75]).astype(dtype)
    arrays = [x, x[::-1]][: row.arity]
    if "bitwise" in row.name:
        with pytest.raises(DTypeError):
            row.evaluate(*arrays)
        return
    result = row.evaluate(*arrays)
    assert result.dtype == row.result_dtype((dtype,) * row.arity)
    assert result.dtype in (dtype, np.dtype(bool))
    if row.name == "nextafter":
        return
    wide = row.evaluate(*(a.astype(np.float32) for a in arrays)).astype(dtype)
    if result.dtype == bool:
        assert (result == wide.astype(bool)).all()
    else:
        np.testing.assert_allclose(
            result.astype(float), wide.astype(float), rtol=2 * float(ml_dtypes.finfo(dtype).eps)
        )


def test_small_floats_select_and_clip() -> None:
    x = np.arange(6).astype(ml_dtypes.bfloat16)
    two, four = x[2], x[4]
    clipped = ELEMENTWISE["clip"].evaluate(x, np.asarray(two), np.asarray(four))
    assert clipped.dtype == x.dtype and clipped.tolist() == [2, 2, 2, 3, 4, 4]
    chosen = ELEMENTWISE["where"].evaluate(x > two, x, np.asarray(two))
    assert chosen.dtype == x.dtype and chosen.tolist() == [2, 2, 2, 3, 4, 5]


def test_numpy_functions_map_to_operations() -> None:
    assert UFUNCS[np.add] == "add" and UFUNCS[np.power] == "pow" and UFUNCS[np.mod] == "remainder"
    assert UFUNCS[np.absolute] == "abs" and UFUNCS[np.invert] == "bitwise_invert"
    assert np.rint not in UFUNCS
    assert FUNCTIONS[np.sum] == "sum" and FUNCTIONS[np.amax] == "max"
    assert FUNCTIONS[np.clip] == "clip" and FUNCTIONS[np.where] == "where"
    for ufunc, name in UFUNCS.items():
        assert ufunc.nin == ELEMENTWISE[name].arity


@pytest.mark.parametrize("name", ["ceil", "floor", "round", "trunc"])
@pytest.mark.parametrize("code", [">i2", ">u8"])
def test_rounding_keeps_integers_of_another_byte_order(name: str, code: str) -> None:
    values = np.arange(5).astype(code)
    found = ELEMENTWISE[name].evaluate(values)
    assert found.dtype == np.dtype(code)
    np.testing.assert_array_equal(found, values)
