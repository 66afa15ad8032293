"""Downsampling against a literal reading of the rules, and against TensorStore."""

from __future__ import annotations

import itertools
import math
import warnings
from collections import Counter
from fractions import Fraction
from typing import Any

import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given

from lazytensor.errors import DTypeError, LazyTensorError, ShapeError
from lazytensor.exec.kernels.downsample import downsample_into

METHODS = ("mean", "median", "mode", "min", "max")
INTEGERS = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
FLOATS = ("float16", "float32", "float64")
COMPLEX = ("complex64", "complex128")
EXTENSIONS = (
    "bfloat16",
    "float8_e4m3fn",
    "float8_e4m3b11fnuz",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e3m4",
    "float4_e2m1fn",
    "int2",
    "int4",
    "uint4",
)
ALL_DTYPES = INTEGERS + FLOATS + COMPLEX + EXTENSIONS


def dtype_of(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name)) if name in EXTENSIONS else np.dtype(name)


def methods_of(dtype: np.dtype) -> tuple[str, ...]:
    return ("mean", "mode") if dtype.kind == "c" else METHODS


def is_nan(value: Any) -> bool:
    return bool(value != value)


def order_key(value: Any) -> Any:
    """Numbers in order, -0.0 before 0.0, NaN last; complex lexicographically."""
    if isinstance(value, complex):
        if is_nan(value):
            return (1,)
        return (0, value.real, value.imag)
    return (is_nan(value), 0 if is_nan(value) else value, math.copysign(1, value))


def oracle_mean(values: list[Any], dtype: np.dtype) -> Any:
    name = dtype.name
    if name == "bool" or "int" in name:
        return round(Fraction(sum(int(value) for value in values), len(values)))
    accumulator = dtype if dtype.itemsize >= 4 or dtype.kind == "c" else np.dtype(np.float32)
    total = accumulator.type(0)
    for value in values:
        total = accumulator.type(total + accumulator.type(value))
    if dtype.kind == "c":
        part = total.real.dtype.type
        return complex(total.real / part(len(values)), total.imag / part(len(values)))
    return total / accumulator.type(len(values))


def oracle_mode(values: list[Any]) -> Any:
    ordered = sorted(values, key=order_key)
    counts = Counter("nan" if is_nan(value) else value for value in ordered)
    most = max(counts.values())
    return next(v for v in ordered if counts["nan" if is_nan(v) else v] == most)


def oracle_extreme(values: list[Any], method: str, floating: bool) -> Any:
    numbers = sorted((value for value in values if not is_nan(value)), key=order_key)
    if not numbers:
        assert floating
        return math.inf if method == "min" else -math.inf
    return numbers[0 if method == "min" else -1]


def oracle_window(values: list[Any], method: str, dtype: np.dtype) -> Any:
    if method == "mean":
        return oracle_mean(values, dtype)
    if method == "mode":
        return oracle_mode(values)
    if method == "median":
        return sorted(values, key=order_key)[(len(values) - 1) // 2]
    return oracle_extreme(values, method, "float" in dtype.name)


def oracle(block: np.ndarray, lo: Any, factors: Any, method: str, out: Any, out_lo: Any) -> None:
    for cell in itertools.product(*(range(n) for n in out.shape)):
        window = tuple(
            slice(max((c + o) * f, start) - start, min((c + o + 1) * f, start + n) - start)
            for c, o, f, start, n in zip(cell, out_lo, factors, lo, block.shape, strict=True)
        )
        values = [value.item() for value in block[window].reshape(-1)]
        if all(factor == 1 for factor in factors):
            out[cell] = values[0]
        else:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                out[cell] = np.array(oracle_window(values, method, block.dtype)).astype(out.dtype)


def bits(array: np.ndarray) -> list[Any]:
    """Elements that compare as bits do, but for the payload of NaNs."""
    flat = np.ascontiguousarray(array).reshape(-1)
    size = flat.dtype.itemsize // (2 if flat.dtype.kind == "c" else 1)
    codes = flat.view(f"u{size}").tolist()
    parts = flat.view(f"f{size}") if flat.dtype.kind == "c" else flat
    if "int" in flat.dtype.name or flat.dtype.kind == "b":
        return codes
    return [
        "nan" if nan else code for nan, code in zip(np.isnan(parts).tolist(), codes, strict=True)
    ]


def random_values(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Distinct-ish values with repeats, extremes and every special value of the dtype."""
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        wide = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
        near = rng.integers(0, 4, shape).astype(dtype)
        ends = np.where(rng.random(shape) < 0.5, dtype.type(info.max), dtype.type(info.min))
        return np.choose(rng.integers(0, 3, shape), [wide, near, ends])
    if "int" in dtype.name:
        low = 0 if dtype.name.startswith("u") else -(2 ** (int(dtype.name[-1]) - 1))
        high = low + 2 ** int(dtype.name[-1])
        return rng.integers(low, high, shape).astype(np.int8).astype(dtype)
    special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, 2.0, 0.1])
    wide = rng.normal(0, 3, shape)
    pick = rng.random(shape) < rng.choice([0.0, 0.3, 0.9])
    values = np.where(pick, rng.choice(special, shape), wide)
    if dtype.kind == "c":
        parts = np.stack([values, rng.permutation(values.reshape(-1)).reshape(shape)], axis=-1)
        return parts.view(np.complex128)[..., 0].astype(dtype)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return values.astype(dtype)


@st.composite
def geometries(draw: st.DrawFn, max_ndim: int = 3) -> tuple[Any, ...]:
    """Shape, lo, factors, out_shape, out_lo; the output is a sub-box of the cells of the block."""
    ndim = draw(st.integers(1, max_ndim))
    extents, dims = st.integers(1, 12 if ndim == 1 else 6), []
    for _ in range(ndim):
        size, lo, factor = draw(extents), draw(st.integers(-9, 9)), draw(st.integers(1, 5))
        first, last = lo // factor, (lo + size - 1) // factor
        start = draw(st.integers(first, last))
        stop = draw(st.integers(start, last))
        dims.append((size, lo, factor, stop - start + 1, start))
    return tuple(zip(*dims, strict=True))


@given(geometries(), st.sampled_from(ALL_DTYPES), st.integers(0, 2**32))
def test_every_method_matches_the_oracle_bit_for_bit(
    geometry: tuple[Any, ...], name: str, seed: int
) -> None:
    shape, lo, factors, out_shape, out_lo = geometry
    dtype = dtype_of(name)
    block = random_values(np.random.default_rng(seed), shape, dtype)
    kept = block.copy()
    for method in methods_of(dtype):
        found, expected = np.empty(out_shape, dtype), np.empty(out_shape, dtype)
        downsample_into(block, lo, factors, method, found, out_lo)
        oracle(block, lo, factors, method, expected, out_lo)
        if dtype.kind == "c" and method == "mode":  # complex zeros and NaNs are canonical
            np.testing.assert_array_equal(found, expected)
        else:
            assert bits(found) == bits(expected), (method, block, found, expected)
    assert kept.tobytes() == block.tobytes()


@pytest.mark.parametrize("name", ALL_DTYPES)
@pytest.mark.parametrize(
    ("shape", "lo", "factors"),
    [
        ((40, 41), (-3, 5), (2, 2)),  # many windows: networks
        ((52, 52), (-13, 1), (4, 3)),
        ((3, 40), (1, 0), (3, 40)),  # few wide windows: rows
        ((70, 50), (-1, 7), (18, 20)),
    ],
)
def test_wide_windows_and_many_windows(
    name: str, shape: tuple[int, ...], lo: tuple[int, ...], factors: tuple[int, ...]
) -> None:
    dtype = dtype_of(name)
    block = random_values(np.random.default_rng(7), shape, dtype)
    out_lo = [start // f for start, f in zip(lo, factors, strict=True)]
    out_shape = [
        (start + size - 1) // f - o + 1
        for start, size, f, o in zip(lo, shape, factors, out_lo, strict=True)
    ]
    for method in methods_of(dtype):
        found, expected = np.empty(out_shape, dtype), np.empty(out_shape, dtype)
        downsample_into(block, lo, factors, method, found, out_lo)
        oracle(block, lo, factors, method, expected, out_lo)
        if dtype.kind == "c" and method == "mode":
            np.testing.assert_array_equal(found, expected)
        else:
            assert bits(found) == bits(expected), method


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [*INTEGERS, *FLOATS, "bfloat16"])
def test_the_sign_of_a_zero_does_not_depend_on_the_place(method: str, name: str) -> None:
    """Vector units and their scalar ends pick different zeros; a chunking must not show."""
    block = random_values(np.random.default_rng(3), (66, 34), dtype_of(name))
    whole = np.empty((33, 17), block.dtype)
    downsample_into(block, (0, 0), (2, 2), method, whole, (0, 0))
    parts = np.empty_like(whole)
    for row, column in itertools.product(range(0, 33, 5), range(0, 17, 3)):
        piece = parts[row : row + 5, column : column + 3]
        cut = block[2 * row : 2 * row + 10, 2 * column : 2 * column + 6]
        downsample_into(cut, (2 * row, 2 * column), (2, 2), method, piece, (row, column))
    assert bits(parts) == bits(whole)


def tensorstore_agrees(name: str, method: str, block: np.ndarray) -> bool:
    """TensorStore leaves NaN in a median or mode undefined, and sums 8-bit floats in 8 bits.

    It also divides complex sums by a complex count, which spreads NaN and inf to the other part.
    """
    if name in EXTENSIONS and name != "bfloat16":
        return name == "int4"
    if name in COMPLEX and method == "mean":
        return bool(np.isfinite(block).all())
    return method not in ("median", "mode") or not np.isnan(block.astype(np.complex128)).any()


@given(geometries(), st.sampled_from((*INTEGERS, *FLOATS, *COMPLEX, "bfloat16", "int4")), st.data())
def test_tensorstore(geometry: tuple[Any, ...], name: str, data: st.DataObject) -> None:
    ts = pytest.importorskip("tensorstore", exc_type=ImportError)
    shape, lo, factors, _, _ = geometry
    ends = [start + size for start, size in zip(lo, shape, strict=True)]
    cells = [(a // f, (b - 1) // f) for a, b, f in zip(lo, ends, factors, strict=True)]
    # A block cut at both ends is read out of bounds by TensorStore 0.1.86.
    for (first, last), a, b, f in zip(cells, lo, ends, factors, strict=True):
        if first == last and first * f < a and b < (first + 1) * f:
            return
    # It drops a factor over a dim of one value, and then keeps the NaN that a window of one has.
    if all(f == 1 or b - a == 1 for a, b, f in zip(lo, ends, factors, strict=True)):
        return
    dtype = dtype_of(name)
    seed = data.draw(st.integers(0, 2**32))
    block = random_values(np.random.default_rng(seed), shape, dtype)
    base = ts.array(block).translate_to[lo]
    for method in methods_of(dtype):
        if not tensorstore_agrees(name, method, block):
            continue
        expected = ts.downsample(base, factors, method).read().result()
        found = np.empty(expected.shape, dtype)
        downsample_into(block, lo, factors, method, found, [first for first, _ in cells])
        if name == "bfloat16":  # NumPy knows no NaN of an extension dtype
            found, expected = found.astype(np.float32), expected.astype(np.float32)
        np.testing.assert_array_equal(found, expected, err_msg=method)


@pytest.mark.parametrize(("lo", "mean"), [(0, [1, 4, 6]), (1, [0.5, 3, 5.5]), (-1, [0, 2, 5])])
def test_blocks_are_aligned_to_coordinate_zero(lo: int, mean: list[float]) -> None:
    out = np.empty(3)
    downsample_into(np.arange(7.0), [lo], [3], "mean", out, [lo // 3])
    assert out.tolist() == mean


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
@pytest.mark.parametrize("count", [2, 3, 4, 6, 7, 1000])
def test_means_of_64_bit_values_are_exact(dtype: str, count: int) -> None:
    info = np.iinfo(dtype)
    rng = np.random.default_rng(count)
    rows = [
        np.full(count, info.max, dtype),
        np.full(count, info.min, dtype),
        np.where(np.arange(count) % 2, *np.array([info.max, info.min], dtype)),
        rng.integers(info.min, info.max, count, dtype=dtype, endpoint=True),
    ]
    out = np.empty(len(rows), dtype)
    downsample_into(np.concatenate(rows), [0], [count], "mean", out, [0])
    exact = [round(Fraction(sum(map(int, row)), count)) for row in rows]
    assert out.tolist() == exact


def test_strided_blocks_and_outputs() -> None:
    base = np.arange(24 * 20, dtype=np.uint16).reshape(24, 20)
    block, whole = base[::-2, 1::3].T, np.zeros((8, 12), np.uint16)
    for method in METHODS:
        out = whole[::2, 1::2][: (block.shape[0] + 1) // 2]
        downsample_into(block, (0, 0), (2, 2), method, out, (0, 0))
        expected = np.empty_like(out)
        oracle(block, (0, 0), (2, 2), method, expected, (0, 0))
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("name", [">u2", ">f4", ">i8", ">c8"])
def test_foreign_byte_order(name: str) -> None:
    block = np.arange(10).astype(name)
    out, native = np.empty(4, name), np.empty(4, np.dtype(name).newbyteorder("="))
    downsample_into(block, [-1], [3], "mean", out, [-1])
    downsample_into(block.astype(native.dtype), [-1], [3], "mean", native, [-1])
    assert out.tolist() == native.tolist()


def test_mode_of_text_is_the_most_frequent() -> None:
    block = np.array(["b", "a", "b", "c", "a", "d"])
    out = np.empty(2, block.dtype)
    downsample_into(block, [0], [3], "mode", out, [0])
    assert out.tolist() == ["b", "a"]


def test_many_dims() -> None:
    """64 dims are allowed, and splitting each in two must not need more."""
    block = np.arange(60.0).reshape((1,) * 61 + (3, 4, 5))
    for method in METHODS:
        out, expected = np.empty((1,) * 61 + (2, 2, 1)), np.empty((2, 2, 1))
        downsample_into(block, (0,) * 64, (7,) * 61 + (2, 2, 40), method, out, (0,) * 64)
        oracle(block.reshape(3, 4, 5), (0,) * 3, (2, 2, 40), method, expected, (0,) * 3)
        assert bits(out) == bits(expected)


@pytest.mark.parametrize(
    ("lo", "factors", "method", "cells", "out_lo", "error", "text"),
    [
        ([0], [3], "average", 3, [0], ShapeError, "unknown downsample method 'average'"),
        ([0], [3], "stride", 3, [0], ShapeError, "is a view"),
        ([0], [0], "mean", 3, [0], ShapeError, "at least 1"),
        ([0], [2, 2], "mean", 3, [0], ShapeError, "expected 1, found 2"),
        ([0], [1.5], "mean", 3, [0], ShapeError, "integers"),
        ([0], [3], "mean", 4, [0], ShapeError, r"cells \[0, 4\)"),
        ([4], [3], "mean", 1, [0], ShapeError, r"base values \[4, 11\)"),
    ],
)
def test_wrong_arguments(
    lo: Any,
    factors: Any,
    method: str,
    cells: int,
    out_lo: Any,
    error: type[LazyTensorError],
    text: str,
) -> None:
    with pytest.raises(error, match=text):
        downsample_into(np.arange(7.0), lo, factors, method, np.empty(cells), out_lo)


@pytest.mark.parametrize("method", ["median", "min", "max"])
def test_what_has_no_order_is_refused(method: str) -> None:
    block = np.arange(4.0).astype(np.complex64)
    with pytest.raises(DTypeError, match="is not defined for complex64"):
        downsample_into(block, [0], [2], method, np.empty(2, np.complex64), [0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["O", "longdouble", [("x", "f4")]])
def test_unknown_dtypes_are_refused(method: str, dtype: Any) -> None:
    block = np.zeros(4, dtype)
    with pytest.raises(DTypeError, match="is not defined for"):
        downsample_into(block, [0], [2], method, np.empty(2, dtype), [0])


def test_other_dtype_of_the_output_is_refused() -> None:
    with pytest.raises(ShapeError, match="output is 1-d float32"):
        downsample_into(np.arange(4.0), [0], [2], "mean", np.empty(2, np.float32), [0])


def test_no_cells_is_nothing_to_do() -> None:
    downsample_into(np.empty((0, 3)), (0, 0), (2, 2), "mean", np.empty((0, 2)), (0, 0))
