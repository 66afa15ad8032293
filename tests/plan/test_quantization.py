"""The arithmetic of quantization, against formulas written down once more."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import lazytensor as lt
from lazytensor.plan.ops import OPERATIONS, SUMMARIES
from lazytensor.plan.ops_quantize import quantize_row
from lazytensor.plan.quantization import (
    MODES,
    PIECE,
    QTYPES,
    QType,
    QuantizedArray,
    dequantize_values,
    layout_of,
    parameters_of,
    pieces_of,
    qtype_of,
    quantize_values,
    same_quantized,
    spread_parameters,
)

F4 = np.float32
RANGES = {"qint8": (-128, 127), "quint8": (0, 255), "qint4": (-8, 7), "quint4": (0, 15)}

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
qtypes = st.sampled_from(list(QTYPES.values()))


def one(value: Any) -> np.ndarray:
    return np.array(value, F4)


def rounded_half_even(v: float) -> int:
    return round(v)


def by_hand(x: float, scale: float, zero_point: float, low: int, high: int) -> int:
    """One value, every step rounded to float32 by NumPy's scalars."""
    with np.errstate(all="ignore"):
        v = F4(F4(F4(x) / F4(scale)) + F4(zero_point))
    if math.isnan(v):
        return 0
    if math.isinf(v):
        return high if v > 0 else low
    return min(max(rounded_half_even(float(v)), low), high)


def test_types_are_the_four_there_are() -> None:
    assert {name: (one.lowest, one.highest) for name, one in QTYPES.items()} == RANGES
    for name, qtype in QTYPES.items():
        assert qtype.name == name
        assert qtype.bits == (4 if name.endswith("4") else 8)
        assert qtype.signed == (not name.startswith("qu"))
        assert qtype.storage == (np.int8 if qtype.signed else np.uint8)
        assert qtype_of(name) is qtype_of(qtype)
    with pytest.raises(lt.DTypeError, match="qint8, quint8, qint4, quint4"):
        qtype_of("int8")


@given(
    qtype=qtypes,
    x=st.lists(st.floats(width=32), min_size=1, max_size=8),
    scale=st.floats(width=32),
    zero_point=st.floats(width=32),
)
def test_values_are_what_the_formula_says(
    qtype: QType, x: list[float], scale: float, zero_point: float
) -> None:
    values = np.array(x, F4)
    found = quantize_values(values, one(scale), one(zero_point), qtype)
    expected = [by_hand(v, scale, zero_point, qtype.lowest, qtype.highest) for v in x]
    assert found.dtype == qtype.storage
    assert found.tolist() == expected
    with np.errstate(all="ignore"):
        back = (found.astype(F4) - F4(zero_point)) * F4(scale)
    np.testing.assert_array_equal(dequantize_values(found, one(scale), one(zero_point)), back)


def test_halves_go_to_the_even_neighbour_and_ends_are_cut_off() -> None:
    x = np.array([-0.5, 0.5, 1.5, 2.5, -1.5, 126.5, 127.5, 128.5, 1e30, -1e30, np.inf], F4)
    found = quantize_values(x, one(1), one(0), QTYPES["qint8"])
    assert found.tolist() == [0, 0, 2, 2, -2, 126, 127, 127, 127, -128, 127]


def test_operands_of_any_layout_and_byte_order() -> None:
    x = np.arange(-60, 60).reshape(4, 5, 6)
    expected = quantize_values(x.astype(F4), one(0.5), one(1), QTYPES["qint8"])
    for given_ in (x.astype(">f4"), x.astype("i2"), np.asfortranarray(x), x.astype("f8")):
        np.testing.assert_array_equal(
            quantize_values(given_, one(0.5), one(1), QTYPES["qint8"]), expected
        )
    out = np.empty((6, 5, 4), np.int8).T
    assert quantize_values(x, one(0.5), one(1), QTYPES["qint8"], out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (7,), (3, PIECE), (PIECE // 2, 3), (2, 3, 5)])
def test_pieces_are_all_of_an_array_once(shape: tuple[int, ...]) -> None:
    seen = np.zeros(shape, int)
    for part in pieces_of(shape):
        assert len(part) == len(shape)
        seen[part] += 1
        assert seen[part].size <= PIECE
    assert (seen == 1).all()


# Parameters as the package has them.


def tenso_parameters(lo: float, hi: float, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """As the source of the package is written, with NumPy 2's scalars."""
    if lo == hi:
        return F4(1), F4(0)
    with np.errstate(all="ignore"):
        scale = F4((lo - hi) / (low - high))
        return scale, F4(low - lo / scale)


@given(qtype=qtypes, a=st.floats(width=32), b=st.floats(width=32))
def test_tensos_parameters(qtype: QType, a: float, b: float) -> None:
    lo, hi = (a, b) if not a > b else (b, a)
    scale, zero_point = parameters_of(one(lo), one(hi), qtype, "tenso")
    expected = tenso_parameters(lo, hi, qtype.lowest, qtype.highest)
    np.testing.assert_array_equal((scale, zero_point), expected)


# Parameters that lose less.


def round_trip(x: np.ndarray, qtype: QType, mode: str = "safe") -> np.ndarray:
    finite = x[np.isfinite(x)]
    lo, hi = (finite.min(), finite.max()) if finite.size else (np.inf, -np.inf)
    scale, zero_point = parameters_of(one(lo), one(hi), qtype, mode)
    q = quantize_values(x, scale, zero_point, qtype)
    return dequantize_values(q, scale, zero_point)


@given(qtype=qtypes, c=floats, n=st.integers(1, 3))
def test_constants_are_kept_exactly(qtype: QType, c: float, n: int) -> None:
    x = np.full(n, c, F4)
    np.testing.assert_array_equal(round_trip(x, qtype), x)
    scale, zero_point = parameters_of(x[0], x[0], qtype, "safe")
    assert (scale, zero_point) == ((c, -1) if c else (1, 0))
    assert (quantize_values(x, scale, zero_point, qtype) == 0).all()


@given(
    qtype=qtypes,
    x=arrays(F4, st.integers(1, 12), elements=st.floats(-(2.0**126), 2.0**126, width=32)),
)
def test_what_comes_back_is_near(qtype: QType, x: np.ndarray) -> None:
    scale, zero_point = parameters_of(x.min(), x.max(), qtype, "safe")
    assert np.isfinite(scale) and np.isfinite(zero_point) and scale != 0
    error = np.abs(round_trip(x, qtype).astype(float) - x)
    largest = np.abs(x).max()
    few_roundings = 4 * float(np.spacing(largest)) + 2.0**-149
    assert (error <= 0.5001 * abs(float(scale)) + few_roundings).all()


@given(qtype=qtypes, base=st.floats(1, 1e6, width=32), steps=st.integers(1, 15))
def test_neighbouring_floats_are_told_apart(qtype: QType, base: float, steps: int) -> None:
    base = float(F4(base))
    spacing = float(np.spacing(F4(base)))
    x = (base + spacing * np.arange(min(steps, qtype.steps) + 1)).astype(F4)
    np.testing.assert_array_equal(round_trip(x, qtype), x)


@pytest.mark.parametrize("name", QTYPES)
def test_ranges_with_a_large_offset(name: str) -> None:
    x = np.linspace(1e5, 1e5 + 1, 1000, dtype=F4)
    spacing = float(np.spacing(x[-1]))
    step = max(1 / QTYPES[name].steps, spacing)
    assert np.abs(round_trip(x, QTYPES[name]) - x.astype(float)).max() <= step / 2 + spacing
    if name.endswith("8"):
        np.testing.assert_array_equal(round_trip(x, QTYPES[name]), x)


@pytest.mark.parametrize("name", QTYPES)
@pytest.mark.parametrize("size", [1e-45, 1e-44, 1e-43, 1e-40, 1e-38, 1e-37])
def test_tiny_ranges_are_not_lost(name: str, size: float) -> None:
    qtype = QTYPES[name]
    x = np.array([0, size / 3, size], F4)
    step = max(float(x[-1]) / qtype.steps, 2.0**-149)
    assert (np.abs(round_trip(x, qtype) - x.astype(float)) <= step + 2.0**-149).all()
    assert round_trip(x, qtype)[-1] > 0


def test_infinities_are_the_ends_and_nan_is_nothing() -> None:
    x = np.array([0, 51, -np.inf, np.inf, np.nan], F4)
    assert round_trip(x, QTYPES["quint8"])[:4].tolist() == [0, 51, 0, 51]
    nothing = np.array([np.nan, np.inf], F4)
    scale, zero_point = parameters_of(one(np.inf), one(-np.inf), QTYPES["qint8"], "safe")
    assert (scale, zero_point) == (1, 0)
    assert quantize_values(nothing, scale, zero_point, QTYPES["qint8"]).tolist() == [0, 127]


@pytest.mark.parametrize("mode", MODES)
def test_a_nan_range_gives_nan(mode: str) -> None:
    for lo, hi in ((np.nan, np.nan), (np.nan, 1.0)):
        assert np.isnan(parameters_of(one(lo), one(hi), QTYPES["qint4"], mode)).all()


@pytest.mark.parametrize("mode", MODES)
def test_many_parameters_are_those_of_each(mode: str) -> None:
    rng = np.random.default_rng(5)
    lo = rng.normal(size=30000).astype(F4)
    hi = lo + rng.choice([0, 1e-7, 1, 1e9], lo.size).astype(F4)
    lo[::100], hi[::100] = np.inf, -np.inf
    lo[50::100] = hi[50::100] = 0
    many = parameters_of(lo, hi, QTYPES["quint4"], mode)
    for i in (*range(200), 29999):
        each = parameters_of(lo[i], hi[i], QTYPES["quint4"], mode)
        np.testing.assert_array_equal([p[i] for p in many], each)


# Layouts.


def test_layouts_say_how_many_parameters_there_are() -> None:
    assert layout_of((3, 4), "per_tensor").number == 1
    assert layout_of((3, 4), "per_channel", -1) == ("per_channel", 1, 0, 4)
    assert layout_of((3, 4), "per_group", 7, 5) == ("per_group", 0, 5, 3)
    assert layout_of((0, 4), "per_group", 0, 5).number == 0
    assert layout_of((), "per_group", 0, 5).number == 1
    for arguments, error, words in (
        (((3,), "per_row"), ValueError, "per_tensor, per_channel, per_group"),
        (((3,), "per_channel", 1), lt.DimensionError, "axis 1 does not exist"),
        (((), "per_channel", 0), lt.DimensionError, "0 dims"),
        (((3,), "per_group"), lt.ShapeError, "group_size of 1 or more, not 0"),
        (((3,), "per_group", 0, -4), lt.ShapeError, "not -4"),
        (((3,), "per_tensor", 0, 4), lt.ShapeError, "is for scheme='per_group'"),
    ):
        with pytest.raises(error, match=words):
            layout_of(*arguments)


def test_parameters_are_spread_by_their_scheme() -> None:
    scales, zero_points = np.arange(6, dtype=F4), np.arange(6, dtype=F4) * 10
    a, b = spread_parameters((2, 3, 4), scales[:3], zero_points[:3], "per_channel", 1)
    assert a.shape == b.shape == (3, 1)
    a, b = spread_parameters((2, 3), scales[:2], zero_points[:2], "per_group", group_size=4)
    assert (a.tolist(), b.tolist()) == ([[0, 0, 0], [0, 1, 1]], [[0, 0, 0], [0, 10, 10]])
    with pytest.raises(lt.ShapeError, match="6 scales for 3 under per_channel along 1"):
        spread_parameters((2, 3, 4), scales, zero_points, "per_channel", 1)
    with pytest.raises(lt.ShapeError, match="6 zero points for 1"):
        spread_parameters((2, 3, 4), scales[:1], zero_points, "per_tensor")


def test_quantized_arrays() -> None:
    data = np.array([[0, 1, 2]], np.uint8)
    q = QuantizedArray(data, np.ones(1, F4), np.zeros(1, F4), "quint4")
    assert (q.shape, q.ndim, q.bits, q.signed, q.nbytes) == ((1, 3), 2, 4, False, 2)
    assert q._replace(dtype="quint8").nbytes == 3
    assert q.dequantize().dtype == F4 and q.dequantize("f8").dtype == np.float64
    assert repr(q) == "QuantizedArray(1, 3)  quint4  2 B  per_tensor"
    assert "per_channel along 1" in repr(q._replace(scheme="per_channel", axis=1))
    nan = q._replace(scales=np.full(1, np.nan, F4))
    assert same_quantized(q, q._replace(data=data.copy())) and same_quantized(nan, nan)
    for other in (
        nan,
        q._replace(data=data + np.uint8(1)),
        q._replace(data=data.astype(np.int8)),
        q._replace(data=data[0]),
        q._replace(zero_points=-q.zero_points),
        q._replace(axis=1),
    ):
        assert not same_quantized(q, other)


# Rows of the table.


def test_rows_compute_these_functions() -> None:
    x, f4 = np.array([0.25, 3, np.nan], F4), np.dtype("f4")
    for qtype in QTYPES.values():
        row = OPERATIONS[quantize_row(qtype)]
        found = row.evaluate(x, one(0.5), one(1))
        np.testing.assert_array_equal(found, quantize_values(x, one(0.5), one(1), qtype))
        assert row.result_dtype((np.dtype("u2"), f4, f4)) == qtype.storage
    for dtypes in ((np.dtype("c8"), f4, f4), (f4, np.dtype("f8"), f4), (np.dtype("M8[s]"), f4, f4)):
        with pytest.raises(lt.DTypeError, match="quantize_qint8"):
            OPERATIONS["quantize_qint8"].result_dtype(dtypes)
    with pytest.raises(lt.DTypeError, match="int8 or uint8"):
        OPERATIONS["dequantize"].result_dtype((np.dtype("i2"), f4, f4))
    assert not set(OPERATIONS) & {"quantize", "finite_min"}


@given(
    x=arrays(F4, st.tuples(st.integers(1, 5), st.integers(0, 5)), elements=st.floats(width=32)),
    cut=st.integers(0, 5),
)
def test_finite_extremes_do_not_depend_on_the_cut(x: np.ndarray, cut: int) -> None:
    for name, pick, nothing in (("finite_min", np.min, np.inf), ("finite_max", np.max, -np.inf)):
        row = SUMMARIES[name]
        for axes in ((0,), (1,), (0, 1)):
            values = np.where(np.isfinite(x), x, F4(nothing))
            expected = pick(values, axis=axes, initial=nothing)
            np.testing.assert_array_equal(row.whole(x, axes), expected)
            if 1 in axes:
                parts = [row.partial(part, axes) for part in (x[:, :cut], x[:, cut:])]
                merged = row.finish(row.merge(*parts), dtype=x.dtype, count=x.size)
                np.testing.assert_array_equal(merged.reshape(expected.shape), expected)
    with pytest.raises(lt.DTypeError, match="takes floats"):
        SUMMARIES["finite_min"].result_dtype(np.dtype("i4"))
