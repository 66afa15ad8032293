"""Special values on every engine: from the operation tables, and as the standard words them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import product
from math import inf, isnan, nan, pi
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.plan.op import Op
from lazytensor.plan.ops import ELEMENTWISE, FUNCTIONS, REDUCTIONS
from tests.engines import ENGINES
from tests.sources import ChunkedArray

CODES = ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16")
FLOATS = [nan, inf, -inf, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.0, 1e-300, -1e300]
EXACT = {
    *("abs", "add", "bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_or"),
    *("bitwise_right_shift", "bitwise_xor", "ceil", "clip", "conj", "copysign", "divide", "equal"),
    *("floor", "floor_divide", "greater", "greater_equal", "imag", "isfinite", "isinf", "isnan"),
    *("less", "less_equal", "logical_and", "logical_not", "logical_or", "logical_xor", "maximum"),
    *("minimum", "multiply", "negative", "nextafter", "not_equal", "positive", "real"),
    *("reciprocal", "remainder", "round", "sign", "signbit", "sqrt", "square", "subtract", "trunc"),
    "where",
}  # fmt: skip
PAIRS = [
    *((code, code) for code in CODES),
    *(("u1", "i1"), ("i8", "u8"), ("u1", "f4"), ("i8", "f4"), ("f4", "f8"), ("f8", "c8")),
    *(("?", "i2"), ("f2", "f4"), ("i4", "c8")),
]


def samples(code: str) -> np.ndarray:
    """Values of a dtype at its edges."""
    dtype = np.dtype(code)
    if dtype.kind == "b":
        return np.array([True, False])
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return np.array([0, 1, 2, 3, 7, 9, info.max, info.min, info.max - 1], dtype)
    with np.errstate(all="ignore"):
        if dtype.kind == "f":
            return np.array(FLOATS).astype(dtype)
        parts = np.array([nan, inf, -inf, 0.0, -0.0, 1.0, -2.5])
        return np.array([complex(a, b) for a, b in product(parts, parts)]).astype(dtype)


def same(actual: np.ndarray, expected: np.ndarray, ulps: int, what: Any) -> None:
    """Equal with NaN for NaN and signs of zeros, transcendental functions within some ulp."""
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), what
    if expected.dtype.kind == "c":
        same(actual.real, expected.real, ulps, what)
        same(actual.imag, expected.imag, ulps, what)
        return
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected, err_msg=str(what))
        return
    known = ~np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(actual), ~known, err_msg=str(what))
    a, b = actual[known], expected[known]
    np.testing.assert_array_equal(np.signbit(a), np.signbit(b), err_msg=str(what))
    if ulps:
        finite = np.isfinite(b)
        np.testing.assert_array_equal(a[~finite], b[~finite], err_msg=str(what))
        np.testing.assert_array_almost_equal_nulp(a[finite], b[finite], ulps)
    else:
        np.testing.assert_array_equal(a, b, err_msg=str(what))


def twin(name: str) -> Any:
    """NumPy's function of a row."""
    row: Any = ELEMENTWISE.get(name) or REDUCTIONS[name]
    if getattr(row, "ufunc", None) is not None and name != "round":
        return row.ufunc
    return next(function for function, meaning in FUNCTIONS.items() if meaning == name)


def lazily(values: np.ndarray) -> Iterator[tuple[str, lt.LazyTensor]]:
    """The values in memory and as chunks."""
    yield "memory", lt.asarray(values)
    yield "chunks", lt.scan_source(ChunkedArray(values, [3] * values.ndim))


def check(name: str, expected: np.ndarray, *operands: np.ndarray) -> None:
    ulps = 0 if name in EXACT else 4
    pairs = [dict(lazily(x)) for x in operands]
    for kind in ("memory", "chunks"):
        lazy = getattr(lt, name)(*[pair[kind] for pair in pairs])
        for engine in ("interpret", "blocks-64") if kind == "chunks" else ("local",):
            same(
                lazy.collect(engine=ENGINES[engine]), expected, ulps, (name, engine, expected.dtype)
            )


def numpys(name: str, *operands: np.ndarray) -> np.ndarray | None:
    """What NumPy makes of it; None where it refuses."""
    with np.errstate(all="ignore"):
        try:
            return np.asarray(twin(name)(*operands))
        except (TypeError, ValueError):
            return None


def rows(arity: int) -> list[str]:
    return [name for name, row in ELEMENTWISE.items() if isinstance(row, Op) and row.arity == arity]


@pytest.mark.parametrize("name", rows(1))
def test_one_operand_as_numpy(name: str) -> None:
    for code in CODES:
        x = samples(code)
        if name == "reciprocal" and x.dtype.kind in "iu":
            x = x[x != 0]  # C does not say what 1 / 0 is
        if name in ("ceil", "floor", "trunc", "round") and x.dtype.kind in "biu":
            expected: np.ndarray | None = x  # NumPy 2.0 gave floats
        elif name == "positive" and code == "?":
            continue
        else:
            expected = numpys(name, x)
        if expected is None:
            with pytest.raises(lt.DTypeError):
                getattr(lt, name)(lt.asarray(x))
        else:
            check(name, expected, x)


@pytest.mark.parametrize("name", rows(2))
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_two_operands_as_numpy(name: str, first: str, second: str) -> None:
    x, y = samples(first)[:, None], samples(second)[None]
    if name == "pow" and y.dtype.kind == "i":
        y = y[y >= 0][None]
    if name in ("bitwise_left_shift", "bitwise_right_shift") and y.dtype.kind in "iu":
        y = np.array([[0, 1, 3, 7]], y.dtype)
    expected = numpys(name, x, y)
    if expected is None:
        with pytest.raises(lt.DTypeError):
            getattr(lt, name)(lt.asarray(x), lt.asarray(y))
        return
    check(name, expected, x, y)


# What the standard says of special operands, in its order; some cases for each function.

UNARY: dict[str, list[tuple[Any, Any]]] = {
    "abs": [(nan, nan), (-0.0, 0.0), (inf, inf), (-inf, inf)],
    "acos": [(nan, nan), (1.5, nan), (-1.5, nan), (1.0, 0.0)],
    "acosh": [(nan, nan), (0.5, nan), (1.0, 0.0), (inf, inf)],
    "asin": [(nan, nan), (1.5, nan), (-1.5, nan), (0.0, 0.0), (-0.0, -0.0)],
    "asinh": [(nan, nan), (0.0, 0.0), (-0.0, -0.0), (inf, inf), (-inf, -inf)],
    "atan": [(nan, nan), (0.0, 0.0), (-0.0, -0.0), (inf, pi / 2), (-inf, -pi / 2)],
    "atanh": [(nan, nan), (-1.5, nan), (1.5, nan), (-1.0, -inf), (1.0, inf), (0.0, 0.0),
              (-0.0, -0.0)],
    "ceil": [(3.0, 3.0), (inf, inf), (-inf, -inf), (0.0, 0.0), (-0.0, -0.0), (nan, nan),
             (-0.5, -0.0)],
    "cos": [(nan, nan), (0.0, 1.0), (-0.0, 1.0), (inf, nan), (-inf, nan)],
    "cosh": [(nan, nan), (0.0, 1.0), (-0.0, 1.0), (inf, inf), (-inf, inf)],
    "exp": [(nan, nan), (0.0, 1.0), (-0.0, 1.0), (inf, inf), (-inf, 0.0)],
    "expm1": [(nan, nan), (0.0, 0.0), (-0.0, -0.0), (inf, inf), (-inf, -1.0)],
    "floor": [(3.0, 3.0), (inf, inf), (-inf, -inf), (0.0, 0.0), (-0.0, -0.0), (nan, nan)],
    "isfinite": [(inf, False), (-inf, False), (nan, False), (1.0, True)],
    "isinf": [(inf, True), (-inf, True), (nan, False), (0.0, False)],
    "isnan": [(nan, True), (inf, False)],
    "log": [(nan, nan), (-1.0, nan), (0.0, -inf), (-0.0, -inf), (1.0, 0.0), (inf, inf)],
    "log1p": [(nan, nan), (-2.0, nan), (-1.0, -inf), (-0.0, -0.0), (0.0, 0.0), (inf, inf)],
    "log2": [(nan, nan), (-1.0, nan), (0.0, -inf), (-0.0, -inf), (1.0, 0.0), (inf, inf)],
    "log10": [(nan, nan), (-1.0, nan), (0.0, -inf), (-0.0, -inf), (1.0, 0.0), (inf, inf)],
    "logical_not": [(nan, False), (0.0, True), (-0.0, True)],
    "reciprocal": [(nan, nan), (inf, 0.0), (-inf, -0.0), (0.0, inf), (-0.0, -inf)],
    "round": [(3.0, 3.0), (inf, inf), (-inf, -inf), (0.0, 0.0), (-0.0, -0.0), (nan, nan),
              (0.5, 0.0), (1.5, 2.0), (2.5, 2.0), (-0.5, -0.0)],
    "sign": [(-2.0, -1.0), (0.0, 0.0), (-0.0, 0.0), (2.0, 1.0), (nan, nan), (inf, 1.0)],
    "signbit": [(0.0, False), (-0.0, True), (inf, False), (-inf, True), (-1.0, True)],
    "sin": [(nan, nan), (0.0, 0.0), (-0.0, -0.0), (inf, nan), (-inf, nan)],
    "sinh": [(nan, nan), (0.0, 0.0), (-0.0, -0.0), (inf, inf), (-inf, -inf)],
    "sqrt": [(nan, nan), (-1.0, nan), (0.0, 0.0), (-0.0, -0.0), (inf, inf)],
    "square": [(nan, nan), (inf, inf), (-inf, inf), (-0.0, 0.0)],
    "tan": [(nan, nan), (0.0, 0.0), (-0.0, -0.0), (inf, nan), (-inf, nan)],
    "tanh": [(nan, nan), (0.0, 0.0), (-0.0, -0.0), (inf, 1.0), (-inf, -1.0)],
    "trunc": [(3.0, 3.0), (inf, inf), (-inf, -inf), (0.0, 0.0), (-0.0, -0.0), (nan, nan),
              (-0.5, -0.0)],
}  # fmt: skip

BINARY: dict[str, list[tuple[Any, Any, Any]]] = {
    "add": [(nan, 1.0, nan), (inf, -inf, nan), (-inf, inf, nan), (inf, inf, inf),
            (-inf, -inf, -inf), (inf, 1.0, inf), (1.0, -inf, -inf), (-0.0, -0.0, -0.0),
            (-0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 2.0, 2.0), (2.0, -2.0, 0.0)],
    "atan2": [(nan, 1.0, nan), (1.0, 0.0, pi / 2), (1.0, -0.0, pi / 2), (0.0, 1.0, 0.0),
              (0.0, 0.0, 0.0), (0.0, -0.0, pi), (0.0, -1.0, pi), (-0.0, 1.0, -0.0),
              (-0.0, 0.0, -0.0), (-0.0, -0.0, -pi), (-0.0, -1.0, -pi), (-1.0, 0.0, -pi / 2),
              (-1.0, -0.0, -pi / 2), (1.0, inf, 0.0), (1.0, -inf, pi), (-1.0, inf, -0.0),
              (-1.0, -inf, -pi), (inf, 1.0, pi / 2), (-inf, 1.0, -pi / 2), (inf, inf, pi / 4),
              (inf, -inf, 3 * pi / 4), (-inf, inf, -pi / 4), (-inf, -inf, -3 * pi / 4)],
    "copysign": [(1.0, -0.0, -1.0), (-1.0, 0.0, 1.0), (0.0, -2.0, -0.0), (inf, -1.0, -inf)],
    "divide": [(nan, 1.0, nan), (inf, -inf, nan), (0.0, -0.0, nan), (0.0, 1.0, 0.0),
               (-0.0, 1.0, -0.0), (0.0, -1.0, -0.0), (-0.0, -1.0, 0.0), (1.0, 0.0, inf),
               (1.0, -0.0, -inf), (-1.0, 0.0, -inf), (-1.0, -0.0, inf), (inf, 1.0, inf),
               (inf, -1.0, -inf), (-inf, 1.0, -inf), (-inf, -1.0, inf), (1.0, inf, 0.0),
               (1.0, -inf, -0.0), (-1.0, inf, -0.0), (-1.0, -inf, 0.0)],
    "equal": [(nan, nan, False), (inf, inf, True), (-inf, -inf, True), (-0.0, 0.0, True)],
    # Of infinities the standard lets a library follow Python, as this one does.
    "floor_divide": [(nan, 1.0, nan), (inf, -inf, nan), (0.0, -0.0, nan), (0.0, 1.0, 0.0),
                     (-0.0, 1.0, -0.0), (0.0, -1.0, -0.0), (-0.0, -1.0, 0.0), (1.0, 0.0, inf),
                     (1.0, -0.0, -inf), (-1.0, 0.0, -inf), (-1.0, -0.0, inf), (inf, 1.0, nan),
                     (-inf, 1.0, nan), (1.0, inf, 0.0), (1.0, -inf, -1.0), (-1.0, inf, -1.0),
                     (-1.0, -inf, 0.0), (-7.0, 2.0, -4.0)],
    "greater": [(nan, 1.0, False), (1.0, nan, False)],
    "greater_equal": [(nan, nan, False)],
    "hypot": [(inf, nan, inf), (nan, -inf, inf), (nan, 1.0, nan), (0.0, -0.0, 0.0)],
    "less": [(nan, 1.0, False)],
    "less_equal": [(nan, nan, False), (inf, inf, True)],
    "logaddexp": [(nan, 1.0, nan), (inf, 1.0, inf), (1.0, inf, inf), (-inf, -inf, -inf)],
    "logical_and": [(nan, 1.0, True), (0.0, nan, False)],
    "logical_or": [(nan, 0.0, True), (0.0, -0.0, False)],
    "logical_xor": [(nan, 1.0, False), (0.0, nan, True)],
    "maximum": [(nan, 1.0, nan), (1.0, nan, nan), (inf, -inf, inf)],
    "minimum": [(nan, 1.0, nan), (1.0, nan, nan), (inf, -inf, -inf)],
    "multiply": [(nan, 1.0, nan), (inf, 0.0, nan), (-0.0, inf, nan), (inf, inf, inf),
                 (inf, -inf, -inf), (-1.0, 0.0, -0.0), (-1.0, -0.0, 0.0), (inf, -2.0, -inf)],
    "nextafter": [(nan, 1.0, nan), (1.0, nan, nan), (-0.0, 0.0, 0.0), (0.0, -0.0, -0.0)],
    "not_equal": [(nan, nan, True), (0.0, -0.0, False)],
    "pow": [(nan, 0.0, 1.0), (nan, -0.0, 1.0), (2.0, nan, nan), (nan, 1.0, nan), (2.0, inf, inf),
            (2.0, -inf, 0.0), (1.0, inf, 1.0), (-1.0, -inf, 1.0), (0.5, inf, 0.0),
            (0.5, -inf, inf), (inf, 2.0, inf), (inf, -2.0, 0.0), (-inf, 3.0, -inf),
            (-inf, 2.0, inf), (-inf, -3.0, -0.0), (-inf, -2.0, 0.0), (0.0, 2.0, 0.0),
            (0.0, -2.0, inf), (-0.0, 3.0, -0.0), (-0.0, 2.0, 0.0), (-0.0, -3.0, -inf),
            (-0.0, -2.0, inf), (-2.0, 0.5, nan), (1.0, nan, 1.0)],
    "remainder": [(nan, 1.0, nan), (inf, 2.0, nan), (0.0, 0.0, nan), (0.0, 1.0, 0.0),
                  (-0.0, 1.0, 0.0), (0.0, -1.0, -0.0), (-0.0, -1.0, -0.0), (1.0, 0.0, nan),
                  (1.0, inf, 1.0), (1.0, -inf, -inf), (-1.0, inf, inf), (-1.0, -inf, -1.0)],
    "subtract": [(inf, inf, nan), (0.0, -0.0, 0.0), (-0.0, 0.0, -0.0), (0.0, 0.0, 0.0)],
}  # fmt: skip

COMPLEX: dict[str, list[tuple[complex, complex]]] = {
    "abs": [(complex(inf, nan), inf), (complex(nan, -inf), inf), (complex(nan, 1), nan)],
    "conj": [(complex(inf, -0.0), complex(inf, 0.0))],
    "exp": [(complex(0.0, 0.0), 1 + 0j), (complex(inf, 0.0), complex(inf, 0.0)),
            (complex(-inf, 1.0), complex(0.0, 0.0)), (complex(nan, 0.0), complex(nan, 0.0)),
            (complex(1.0, inf), complex(nan, nan)), (complex(nan, nan), complex(nan, nan))],
    "log": [(complex(-0.0, 0.0), complex(-inf, pi)), (complex(0.0, 0.0), complex(-inf, 0.0)),
            (complex(1.0, inf), complex(inf, pi / 2)), (complex(-inf, 1.0), complex(inf, pi)),
            (complex(inf, inf), complex(inf, pi / 4)), (complex(nan, inf), complex(inf, nan))],
    "sign": [(0j, 0j), (complex(nan, 1.0), complex(nan, nan)), (3 + 4j, 0.6 + 0.8j)],
    "sqrt": [(complex(0.0, 0.0), 0j), (complex(1.0, inf), complex(inf, inf)),
             (complex(-inf, 1.0), complex(0.0, inf)), (complex(inf, 1.0), complex(inf, 0.0)),
             (complex(nan, nan), complex(nan, nan))],
    "isfinite": [(complex(1.0, nan), False), (complex(inf, 1.0), False), (1 + 1j, True)],
    "isinf": [(complex(nan, -inf), True), (complex(nan, 1.0), False)],
    "isnan": [(complex(inf, nan), True), (complex(1.0, inf), False)],
    "tanh": [(complex(inf, 1.0), complex(1.0, 0.0)), (complex(nan, nan), complex(nan, nan))],
    "sinh": [(complex(0.0, 0.0), 0j), (complex(inf, 0.0), complex(inf, 0.0))],
    "cosh": [(complex(0.0, 0.0), 1 + 0j), (complex(inf, 0.0), complex(inf, 0.0))],
}  # fmt: skip


def is_value(actual: Any, expected: Any, what: Any) -> None:
    """Equal up to the last places, NaN for NaN, with the sign of a zero."""
    if isinstance(expected, complex):
        is_value(complex(actual).real, expected.real, what)
        is_value(complex(actual).imag, expected.imag, what)
    elif isinstance(expected, bool):
        assert bool(actual) is expected, what
    elif isnan(expected):
        assert isnan(actual), what
    else:
        assert actual == pytest.approx(expected, rel=1e-6), what
        assert np.signbit(actual) == np.signbit(expected), what


@pytest.mark.parametrize("code", ["f4", "f8"])
@pytest.mark.parametrize("name", UNARY)
def test_one_operand_as_the_standard_says(name: str, code: str) -> None:
    x = np.array([case[0] for case in UNARY[name]], code)
    for engine in ENGINES.values():
        values = getattr(lt, name)(lt.asarray(x)).collect(engine=engine)
        for value, case in zip(values, UNARY[name], strict=True):
            is_value(value, case[1], (name, *case))


@pytest.mark.parametrize("code", ["f4", "f8"])
@pytest.mark.parametrize("name", BINARY)
def test_two_operands_as_the_standard_says(name: str, code: str) -> None:
    x, y = (np.array([case[i] for case in BINARY[name]], code) for i in (0, 1))
    for engine in ENGINES.values():
        values = getattr(lt, name)(lt.asarray(x), lt.asarray(y)).collect(engine=engine)
        for value, case in zip(values, BINARY[name], strict=True):
            is_value(value, case[2], (name, *case))


@pytest.mark.parametrize("code", ["c8", "c16"])
@pytest.mark.parametrize("name", COMPLEX)
def test_complex_numbers_as_the_standard_says(name: str, code: str) -> None:
    x = np.array([case[0] for case in COMPLEX[name]], code)
    for engine in ENGINES.values():
        values = getattr(lt, name)(lt.asarray(x)).collect(engine=engine)
        for value, case in zip(values, COMPLEX[name], strict=True):
            is_value(value.item(), case[1], (name, *case))


def test_clip_as_the_standard_says() -> None:
    x = lt.asarray([nan, -inf, inf, 5.0, -0.0])
    np.testing.assert_array_equal(lt.clip(x, -1.0, 1.0).collect(), [nan, -1, 1, 1, 0])
    np.testing.assert_array_equal(lt.clip(x, lt.asarray(nan), 1.0).collect(), [nan] * 5)
    np.testing.assert_array_equal(lt.clip(x).collect(), x.collect())
    np.testing.assert_array_equal(lt.clip(x, max=0.0).collect(), [nan, -inf, 0, 0, 0])


# Reductions and scans.

LINES = [
    [nan, 1.0, 2.0], [inf, -inf, 1.0], [inf, 1.0, inf], [-inf, 3.0, 2.0], [-0.0, -0.0, -0.0],
    [-0.0, 0.0, -0.0], [1.0, nan, inf], [nan, nan, nan], [1e300, 1e300, -1e300], [0.0, 1.0, 2.0],
]  # fmt: skip
SPREAD = {"mean", "std", "sum", "var", "prod"}


def reduced(name: str, x: np.ndarray, axis: int | None) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(twin(name)(x, axis=axis))


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_as_numpy(name: str, code: str) -> None:
    kind = np.dtype(code).kind
    if kind == "c" and name in ("max", "min", "argmax", "argmin"):
        return
    if kind in "fc":
        with np.errstate(all="ignore"):
            x = np.array(LINES).astype(code)
    else:
        x = np.resize(samples(code), (4, 7))
    if name in SPREAD and kind in "fc":
        x = np.where(np.isfinite(x) & (np.abs(x) > 9), x.dtype.type(1), x)  # where NumPy overflows
    if name in SPREAD and kind == "c":
        x = np.where(np.isfinite(x), x, x.dtype.type(2))  # NumPy divides by a complex number
    for axis in (None, 0, 1):
        expected = reduced(name, x, axis)
        for _, lazy in lazily(x):
            for engine in ENGINES.values():
                values = getattr(lt, name)(lazy, axis=axis).collect(engine=engine)
                assert values.dtype == getattr(lt, name)(lazy, axis=axis).dtype
                if expected.dtype.kind in "fc":
                    near(values, expected, (name, code, axis))
                else:
                    np.testing.assert_array_equal(values, expected, err_msg=f"{name} {axis}")


def near(actual: np.ndarray, expected: np.ndarray, what: Any) -> None:
    if expected.dtype.kind == "c":
        near(actual.real, expected.real, what)
        near(actual.imag, expected.imag, what)
        return
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected), err_msg=str(what))
    rel = {2: 4e-3, 4: 1e-5, 8: 1e-12}[expected.dtype.itemsize]
    np.testing.assert_allclose(actual, expected, rtol=rel, atol=rel, err_msg=str(what))


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (2, 0, 4)])
def test_reductions_of_nothing(name: str, shape: tuple[int, ...]) -> None:
    x = np.zeros(shape)
    for axis in (None, 0, x.ndim - 1):
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = np.asarray(twin(name)(x, axis=axis))
        except ValueError:
            with pytest.raises(lt.ShapeError, match="no value"):
                getattr(lt, name)(lt.asarray(x), axis=axis)
            continue
        for _, lazy in lazily(x):
            for engine in ENGINES.values():
                values = getattr(lt, name)(lazy, axis=axis).collect(engine=engine)
                same(values, expected, 0, (name, shape, axis))


@pytest.mark.parametrize(("correction", "n"), [(0, 3), (1, 3), (3, 3), (5, 3), (0, 0), (1, 1)])
def test_variances_of_too_few_values_are_not_numbers(correction: int, n: int) -> None:
    """N - correction <= 0 gives NaN, says the standard, where NumPy may give infinity."""
    x = lt.asarray(np.arange(float(n)))
    for name in ("var", "std"):
        value = float(getattr(lt, name)(x, correction=correction))
        assert isnan(value) == (n - correction <= 0), (name, correction, n)


@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod"])
@pytest.mark.parametrize("initial", [False, True])
def test_scans_of_special_values(name: str, initial: bool) -> None:
    numpy_scan = getattr(np, name)
    x = np.array(LINES)
    for axis in (0, 1):
        with np.errstate(all="ignore"):
            expected = numpy_scan(x, axis=axis, include_initial=initial)
        for _, lazy in lazily(x):
            for engine in ENGINES.values():
                scan = getattr(lt, name)(lazy, axis=axis, include_initial=initial)
                near(scan.collect(engine=engine), expected, (name, axis))
    for shape in ((0,), (3, 0)):
        empty = np.zeros(shape)
        expected = numpy_scan(empty, axis=-1, include_initial=initial)
        lazy = getattr(lt, name)(lt.asarray(empty), axis=-1, include_initial=initial)
        same(lazy.collect(), expected, 0, (name, shape))


@pytest.mark.parametrize("code", ["i1", "u1", "i4", "u8"])
def test_integers_overflow_as_in_numpy(code: str) -> None:
    x = np.resize(samples(code), 40)
    for name in ("cumulative_sum", "cumulative_prod"):
        expected = getattr(np, name)(x)
        for _, lazy in lazily(x):
            for engine in ENGINES.values():
                np.testing.assert_array_equal(
                    getattr(lt, name)(lazy).collect(engine=engine), expected
                )
    for name in ("sum", "prod"):
        for dtype in (None, code):
            expected = getattr(np, name)(x, dtype=dtype)
            for engine in ENGINES.values():
                value = getattr(lt, name)(lt.asarray(x), dtype=dtype).collect(engine=engine)
                np.testing.assert_array_equal(value, expected)


def test_sorting_puts_nan_last() -> None:
    x = np.array([nan, 1.0, -inf, inf, -0.0, 0.0, nan])
    np.testing.assert_array_equal(lt.sort(lt.asarray(x)).collect(), np.sort(x))
    np.testing.assert_array_equal(lt.argsort(lt.asarray(x)).collect(), np.argsort(x, kind="stable"))
