"""Statistics in one pass: ``stats quantile histogram minmax normalize``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.exec import schedule, sketch
from tests.engines import ENGINES, SETTINGS
from tests.plans import Pair, distinct, plans
from tests.sources import ChunkedArray

INTEGERS = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")
FLOATS = ("f2", "f4", "f8")


@pytest.fixture(params=["passes", "slabs"])
def way(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything is found by passes, or by sorting, whatever the engine would choose."""
    passes = request.param == "passes"
    choice = (lambda node, nbytes, room: node.x.size > 0) if passes else (lambda *_: False)
    monkeypatch.setattr(sketch, "_is_streamed", choice)
    return str(request.param)


def values(dtype: Any, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """All over the range of the dtype, with neighbours and repetitions."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.4
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        # NumPy's own differences overflow where 64-bit integers are further apart than half.
        wide = rng.integers(info.min // 4, info.max // 4, shape, dtype=dtype.newbyteorder("="))
        return np.where(rng.random(shape) < 0.5, wide, rng.integers(0, 9, shape)).astype(dtype)
    return (rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4, shape)).astype(dtype)


def sources(array: np.ndarray) -> Iterator[lt.LazyTensor]:
    yield lt.asarray(array)
    chunks = [max(1, (n + 1) // 2) for n in array.shape]
    yield lt.scan_source(ChunkedArray(array, chunks, origin=[-3, 5, 2][: array.ndim]))


def numpy_quantile(array: np.ndarray, q: Any, **keywords: Any) -> Any:
    """NumPy's, where it does not overflow: it subtracts integers in their own dtype."""
    if array.dtype.kind == "b" and np.asarray(q).dtype.kind == "f":
        array = array.view(np.uint8)
    if array.dtype.kind == "i" and array.itemsize < 8 and np.asarray(q).dtype.kind == "f":
        small = array.itemsize < 4 and np.asarray(q).dtype == np.float32
        array = array.astype(np.float32 if small else np.float64)
    with np.errstate(all="ignore"):
        return np.quantile(array, q, **keywords)


QUANTILES: tuple[Any, ...] = (0.01, [0.0, 0.9, 1.0], np.float32(0.3), [[0, 1], [0, 1]])


@pytest.mark.parametrize("dtype", ["?", *INTEGERS, *FLOATS, ">f4", ">u2"])
@pytest.mark.parametrize("axis", [None, (0, 2)], ids=str)
def test_quantiles_are_those_of_numpy(dtype: str, axis: Any, way: str) -> None:
    array = values(dtype, (3, 4, 5))
    for x in sources(array):
        for q in QUANTILES:
            expected = numpy_quantile(array, q, axis=axis)
            for engine in ENGINES.values():
                found = lt.quantile(x, q, axis=axis).collect(engine=engine)
                assert found.dtype == np.asarray(expected).dtype.newbyteorder("=")
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", FLOATS)
def test_special_floats_have_their_place(dtype: str, way: str) -> None:
    rows = np.array(
        [
            [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, 5e-8, -5e-8],
            [np.nan, 1, 2, 3, 4, 5, 6, 7],
            [np.inf, np.inf, np.inf, 1, 2, 3, 4, -np.inf],
            [-np.nan, np.inf, -np.inf, 0, 0, 0, 0, 0],
        ],
        dtype,
    )
    for x in sources(rows):
        for q in (0.0, 0.1, 0.5, 0.9, 1.0):
            with np.errstate(all="ignore"):
                expected = np.quantile(rows, q, axis=1)
            for engine in ENGINES.values():
                found = lt.quantile(x, q, axis=1).collect(engine=engine)
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["u8", "i8"])
def test_64_bit_integers_are_ordered_to_the_last_bit(dtype: str, way: str) -> None:
    top = 1 << 62
    array = np.array([top + 3, top + 1, top, top + 2, top - 1], dtype)
    for x in sources(array):
        for engine in ENGINES.values():
            assert lt.quantile(x, 0).collect(engine=engine) == top - 1
            assert lt.quantile(x, [0, 1]).collect(engine=engine).tolist() == [top - 1, top + 3]
            np.testing.assert_array_equal(
                lt.quantile(x, 0.3).collect(engine=engine), np.quantile(array, 0.3)
            )


def test_differences_of_signed_integers_do_not_overflow(way: str) -> None:
    array = np.array([-128, 127], np.int8)
    for x in sources(array):
        for engine in ENGINES.values():
            assert lt.quantile(x, 0.25).collect(engine=engine) == -128 + 255 / 4


def test_whole_quantiles_choose_an_element() -> None:
    x = lt.asarray(np.array([3, 1, 2], np.int16))
    assert lt.quantile(x, 1).dtype == np.int16
    assert lt.quantile(x, 1).collect() == 3
    assert lt.quantile(lt.asarray([True, False]), 0).collect() == np.False_


def test_bfloat16_quantiles(way: str) -> None:
    array = np.array([1.5, -2.0, 0.25, 8.0], ml_dtypes.bfloat16)
    for x in sources(array):
        for engine in ENGINES.values():
            found = lt.quantile(x, 0.5).collect(engine=engine)
            assert found.dtype == ml_dtypes.bfloat16
            assert float(found) == 0.875


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_nothing_has_no_quantile(engine: Any) -> None:
    empty = lt.asarray(np.zeros((0, 3), np.float32))
    assert np.isnan(lt.quantile(empty, 0.5).collect(engine=engine))
    np.testing.assert_array_equal(
        lt.quantile(empty, [0.5, 1.0], axis=0).collect(engine=engine), np.full((2, 3), np.nan)
    )
    assert lt.quantile(empty, 0.5, axis=1).collect(engine=engine).shape == (0,)
    with pytest.raises(lt.ShapeError, match="no value"):
        lt.quantile(lt.asarray(np.zeros(0, np.int32)), 1)


@pytest.mark.parametrize("q", [-0.1, 1.1, np.nan, [0.5, 2.0]], ids=str)
def test_quantiles_lie_between_0_and_1(q: Any) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        lt.quantile([1, 2], q)


def test_what_has_no_order_has_no_quantile() -> None:
    with pytest.raises(lt.DTypeError, match="complex"):
        lt.quantile([1j], 0.5)
    with pytest.raises(lt.DTypeError, match="real numbers"):
        lt.histogram([1j], 3)
    with pytest.raises(lt.DTypeError, match="numbers"):
        lt.quantile([1.0], 0.5j)


BINS: tuple[Any, ...] = (
    (5, None), (1, None), (7, (-3, 50)), ([0, 1, 5, 20], None), ([-1.5, 0.0, 0.0, 2.5], None),
    (3, (0.1, 0.9)), (4, (2, 2)), (np.array([0, 4, 4, 8], np.uint8), None),
)  # fmt: skip


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "i4", "u8", *FLOATS])
def test_histograms_are_those_of_numpy(dtype: str, way: str) -> None:
    array = values(dtype, (5, 4, 7))
    for x in sources(array):
        for bins, limits in BINS:
            counts, edges = np.histogram(array, bins, limits)
            for engine in ENGINES.values():
                found = lt.collect_all(lt.histogram(x, bins, limits), engine=engine)
                np.testing.assert_array_equal(found[0], counts)
                np.testing.assert_array_equal(found[1], edges)
                assert found[0].dtype == np.int64
                assert found[1].dtype == edges.dtype


def test_a_value_on_an_edge_is_in_the_bin_above(way: str) -> None:
    edges = np.linspace(0, 1, 98)
    array = np.concatenate([edges, np.nextafter(edges, -1), np.nextafter(edges, 2)])
    expected = np.histogram(array, edges)[0]
    for x in sources(array):
        for engine in ENGINES.values():
            found = lt.histogram(x, 97, (0, 1))[0].collect(engine=engine)
            np.testing.assert_array_equal(found, expected)


def test_nan_is_in_no_bin_and_has_no_range(way: str) -> None:
    array = np.array([np.nan, 0.5, np.inf, -np.inf, 1.0])
    for x in sources(array):
        for engine in ENGINES.values():
            assert lt.histogram(x, 2, (0, 1))[0].collect(engine=engine).tolist() == [0, 2]
            with pytest.raises(ValueError, match="not finite"):
                lt.histogram(x, 2)[0].collect(engine=engine)


def test_small_integers_have_a_bin_each() -> None:
    for dtype in ("u1", "i1", "?"):
        array = values(dtype, (40,))
        counts, edges = lt.stats(array).histogram
        size = 2 if dtype == "?" else 256
        assert counts.shape == (size,)
        assert edges.collect()[0] == (-128 if dtype == "i1" else 0)
        low = edges.collect()[:-1].astype(int)
        expected = [np.count_nonzero(array == value) for value in low]
        assert counts.collect().tolist() == expected


def test_bins_are_checked_where_they_are_given() -> None:
    for wrong in ([1, 0], [1], [[0, 1]]):
        with pytest.raises(ValueError, match="edges"):
            lt.histogram([1, 2], wrong)
    with pytest.raises(ValueError, match="at least one bin"):
        lt.histogram([1, 2], 0)
    with pytest.raises(TypeError, match="auto"):
        lt.histogram([1, 2], "auto")
    with pytest.raises(ValueError, match="ascends, unlike"):
        lt.histogram([1, 2], 3, (2, 1))


# One pass.


def times_read(source: ChunkedArray) -> set[int]:
    """How often chunks were read."""
    return set(Counter(cell for box in source.boxes for cell in source.cells_of(box)).values())


@pytest.mark.parametrize("dtype", ["u2", "u1", "f2"])
@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("room", [0, 256 << 20])
def test_all_statistics_come_of_one_pass(
    dtype: str, with_mask: bool, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "_MOST_SHARED", room)
    array = values(dtype, (64, 64, 64))
    source = ChunkedArray(array, (16, 16, 16))
    x = lt.scan_source(source)
    s = lt.stats(x, mask=x > array[0, 0, 0] if with_mask else None, bins=20, range=(0, 9))
    half = s.quantile(0.5)
    found = lt.collect_all([s.count, s.mean, s.std, s.min, s.max, *s.histogram, half])
    assert times_read(source) == {1}
    source.boxes.clear()
    together = s.collect()
    assert times_read(source) == {1}
    np.testing.assert_array_equal(together.histogram[0], found[5])
    chosen = array[array > array[0, 0, 0]] if with_mask else array
    assert found[0] == chosen.size
    np.testing.assert_array_equal(found[7], numpy_quantile(chosen, 0.5))
    np.testing.assert_array_equal(found[5], np.histogram(chosen, 20, (0, 9))[0])
    assert found[3] == chosen.min()
    wide = chosen.astype(np.float64)
    np.testing.assert_allclose(found[1], wide.mean(), rtol=1e-3 if dtype == "f2" else 1e-12)
    np.testing.assert_allclose(found[2], wide.std(), rtol=1e-3 if dtype == "f2" else 1e-12)


@pytest.mark.parametrize(("dtype", "reads"), [("f4", 2), ("i4", 2), ("f8", 4), ("u8", 4)])
def test_wider_numbers_are_read_again_unless_they_can_be_kept(
    dtype: str, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = values(dtype, (64, 64, 64))
    for room, expected in ((256 << 20, 1), (0, reads)):
        monkeypatch.setattr(schedule, "_MOST_SHARED", room)
        source = ChunkedArray(array, (16, 16, 16))
        s = lt.stats(lt.scan_source(source), bins=20)
        wanted = [s.mean, s.std, s.quantile(0.5), s.quantile([0.1, 0.7]), *s.histogram]
        found = lt.collect_all(wanted)
        assert times_read(source) == {expected}
        np.testing.assert_array_equal(found[2], np.quantile(array, 0.5))
        np.testing.assert_array_equal(found[3], np.quantile(array, [0.1, 0.7]))
        np.testing.assert_array_equal(found[4], np.histogram(array, 20)[0])
        source.boxes.clear()
        lt.collect_all([s.mean, s.quantile(0.5, approx=True), s.quantile([0.1], approx=True)])
        assert times_read(source) == {1}


# Masks and kept dims.


def kept_parts(array: np.ndarray, mask: np.ndarray, by: int) -> list[np.ndarray]:
    return [
        part[chosen]
        for part, chosen in zip(np.moveaxis(array, by, 0), np.moveaxis(mask, by, 0), strict=True)
    ]


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "i4", "u8", "f2", "f4", "f8", "c8", ">i2"])
@pytest.mark.parametrize("by", [0, 1, 2])
def test_masked_statistics_are_those_of_what_is_selected(dtype: str, by: int, way: str) -> None:
    array = values(dtype if dtype != "c8" else "f4", (3, 4, 5))
    array = array.astype(dtype)
    mask = np.random.default_rng(1).random(array.shape) < 0.6
    parts = kept_parts(array, mask, by)
    for x in sources(array):
        s = lt.stats(x, by=by, mask=mask)
        for engine in ENGINES.values():
            count, total, mean, std = lt.collect_all([s.count, s.sum, s.mean, s.std], engine=engine)
            assert count.tolist() == [part.size for part in parts]
            for i, part in enumerate(parts):
                wide = part.astype(np.complex128 if dtype == "c8" else np.float64)
                close = {"rtol": 2e-3, "atol": 1.0} if dtype == "f2" else {"rtol": 1e-5}
                if array.dtype.kind in "biu":
                    assert total[i] == part.sum()
                else:
                    np.testing.assert_allclose(total[i], wide.sum(), **close)
                np.testing.assert_allclose(mean[i], wide.mean(), **close)
                np.testing.assert_allclose(std[i], wide.std(), **close)
            if dtype == "c8":
                continue
            low, high = lt.collect_all([s.min, s.max], engine=engine)
            assert low.dtype == high.dtype == array.dtype
            assert low.tolist() == [part.min() for part in parts]
            assert high.tolist() == [part.max() for part in parts]
            half = s.quantile(0.25).collect(engine=engine)
            np.testing.assert_array_equal(half, [numpy_quantile(part, 0.25) for part in parts])
            counts = lt.stats(x, by=by, mask=mask, bins=[0, 1, 3, 9]).histogram[0]
            np.testing.assert_array_equal(
                counts.collect(engine=engine),
                [np.histogram(np.asarray(part, np.float64), [0, 1, 3, 9])[0] for part in parts],
            )


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("dtype", ["u1", "i4", "f4"])
def test_a_mask_may_select_nothing(engine: Any, dtype: str, way: str) -> None:
    array = np.ones((2, 5), dtype)
    x = lt.scan_source(ChunkedArray(array, (1, 2)))
    s = lt.stats(x, by=0, mask=np.array([[True] * 5, [False] * 5]))
    found = lt.collect_all([s.count, s.sum, s.mean, s.std, s.quantile(0.5)], engine=engine)
    assert found[0].tolist() == [5, 0]
    assert found[1].tolist() == [5, 0]
    for values_of in found[2:]:
        assert np.isnan(values_of).tolist() == [False, True]
    for extreme in (s.min, s.max):
        if dtype == "f4":
            assert np.isnan(extreme.collect(engine=engine)).tolist() == [False, True]
        else:
            with pytest.raises(lt.ShapeError, match="selects no element"):
                extreme.collect(engine=engine)


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_masked_statistics_of_no_elements(engine: Any, shape: tuple[int, int]) -> None:
    kept = shape[0]
    s = lt.stats(np.zeros(shape, "f4"), by=0, mask=np.zeros(shape, bool))
    found = lt.collect_all([s.count, s.sum, s.mean, s.std, s.min, s.max], engine=engine)
    assert [values.shape for values in found] == [(kept,)] * 6
    assert found[0].tolist() == found[1].tolist() == [0] * kept
    assert all(np.isnan(values).all() for values in found[2:])
    least = lt.stats(np.zeros(shape, "u1"), by=0, mask=np.zeros(shape, bool)).min
    if kept:
        with pytest.raises(lt.ShapeError, match="selects no element"):
            least.collect(engine=engine)
    else:
        assert least.collect(engine=engine).shape == (0,)


def test_what_a_mask_leaves_out_does_not_count_whatever_it_is(way: str) -> None:
    array = np.array([np.nan, 1.0, np.inf, 3.0, -np.inf])
    for x in sources(array):
        s = lt.stats(x, mask=np.isfinite(array))
        for engine in ENGINES.values():
            found = lt.collect_all(
                [s.sum, s.mean, s.std, s.min, s.max, s.quantile(0.5)], engine=engine
            )
            assert [float(value) for value in found] == [4, 2, 1, 1, 3, 2]


def test_masks_broadcast_and_are_boolean() -> None:
    x = lt.asarray(np.arange(12).reshape(3, 4), dims=("y", "x"))
    assert lt.stats(x, mask=np.array([True, False, False, False])).sum.collect() == 0 + 4 + 8
    assert lt.stats(x, mask=(x > 3) & (x < 6)).count.collect() == 2
    with pytest.raises(lt.DTypeError, match="boolean"):
        lt.stats(x, mask=np.ones(4))
    with pytest.raises(lt.ShapeError):
        lt.stats(x, mask=np.ones(3, bool))
    with pytest.raises(lt.ShapeError, match="more dims"):
        lt.stats(x, mask=np.ones((2, 3, 4), bool))


def test_dims_are_kept_by_name_and_number() -> None:
    x = lt.asarray(np.arange(24).reshape(2, 3, 4), dims=("c", "y", "x"))
    assert lt.stats(x, by="c").mean.dims == ("c",)
    assert lt.stats(x, by=("c", 2)).quantile([0.5, 0.6]).dims == ("", "c", "x")
    assert lt.stats(x, axis=("y", "x"), bins=5).histogram[0].dims == ("c", "")
    assert lt.stats(x, by="c").count.collect().tolist() == [12, 12]
    with pytest.raises(TypeError, match="one of them"):
        lt.stats(x, axis=0, by=1)
    with pytest.raises(lt.DimensionError, match="'z'"):
        lt.stats(x, by="z")


def test_no_elements_at_all() -> None:
    s = lt.stats(np.zeros((0, 2), np.float32), by=1)
    found = lt.collect_all([s.count, s.sum, s.mean, s.std, s.min, s.max, s.quantile(0.5)])
    assert found[0].tolist() == [0, 0]
    assert found[1].tolist() == [0, 0]
    assert all(np.isnan(value).all() for value in found[2:])
    with pytest.raises(lt.ShapeError, match="no value"):
        _ = lt.stats(np.zeros(0, np.int8)).min


# How good, and how repeatable.


def test_mean_and_deviation_of_floats_are_accurate() -> None:
    rng = np.random.default_rng(0)
    shifted = (1e4 + rng.normal(size=300_000)).astype(np.float32)
    mixed = np.concatenate([np.full(1000, 1e7), rng.normal(size=200_000)]).astype(np.float32)
    for array in (shifted, mixed, np.sort(mixed)):
        wide = array.astype(np.float64)
        for mask in (None, array > array.mean()):
            chosen = wide if mask is None else wide[mask]
            x = lt.asarray(array, chunks=(4096,))
            for engine in (ENGINES["local"], ENGINES["blocks-64"]):
                if engine is ENGINES["blocks-64"]:
                    x = lt.asarray(array[:5000], chunks=(64,))
                    chosen = wide[:5000] if mask is None else wide[:5000][mask[:5000]]
                s = lt.stats(x, mask=mask if mask is None else mask[: x.size])
                mean, std = lt.collect_all([s.mean, s.std], engine=engine)
                if chosen.size:
                    assert abs(mean - chosen.mean()) <= 1e-6 * abs(chosen).mean()
                    assert abs(std - chosen.std()) <= 1e-6 * max(chosen.std(), 1e-3 * abs(mean))


@pytest.mark.parametrize("dtype", ["f4", "u2"])
def test_results_do_not_depend_on_threads(dtype: str) -> None:
    array = values(dtype, (80, 70, 60))
    x = lt.scan_source(ChunkedArray(array, (8, 70, 60)))
    s = lt.stats(x, mask=x > array.flat[0])
    u = lt.stats(x)
    wanted = [s.mean, s.std, s.sum, u.mean, u.quantile(0.3, approx=True), u.quantile(0.3)]
    first = lt.collect_all(wanted, engine=lt.LocalEngine(threads=1))
    for threads in (2, 3, 5):
        again = lt.collect_all(wanted, engine=lt.LocalEngine(threads=threads))
        assert [a.tobytes() for a in again] == [a.tobytes() for a in first]


ADVERSARIAL = {
    "ascending": lambda n: np.arange(n, dtype=np.float32),
    "descending": lambda n: np.arange(n, dtype=np.float32)[::-1].copy(),
    "constant": lambda n: np.full(n, 7, np.float32),
    "two values": lambda n: (np.arange(n) % 2).astype(np.float32),
    "heavy tails": lambda n: np.random.default_rng(0).standard_cauchy(n).astype(np.float32),
    "blocks apart": lambda n: (
        np.repeat(np.arange(n // 1000) * 1e6, 1000) + np.random.default_rng(1).normal(size=n)
    ),
    "mostly zero": lambda n: np.where(np.arange(n) % 997, 0, np.arange(n)).astype(np.float64),
    "organ pipe": lambda n: np.minimum(np.arange(n), np.arange(n)[::-1]).astype(np.int64),
}


@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_approximate_quantiles_keep_their_promise(kind: str) -> None:
    array = ADVERSARIAL[kind](600_000)
    ordered = np.sort(array)
    q = np.linspace(0, 1, 101)
    for chunk in (1000, 60_000, 600_000):
        x = lt.scan_source(ChunkedArray(array, (chunk,)))
        found = lt.quantile(x, q, approx=True).collect()
        rank = q * (len(array) - 1)
        low = np.searchsorted(ordered, found, "left")
        high = np.searchsorted(ordered, found, "right") - 1
        error = np.maximum(np.maximum(low - rank, rank - high), 0)
        assert error.max() <= len(array) / 4096
    assert np.isnan(lt.quantile(np.append(array, np.nan), 0.5, approx=True).collect())


# Normalising.


def normalized(x: np.ndarray, low: Any, high: Any, dtype: Any = np.float32) -> np.ndarray:
    work = np.float64 if dtype == np.float64 else np.float32
    low, high = np.asarray(low).astype(work), np.asarray(high).astype(work)
    span = high - low
    with np.errstate(all="ignore"):
        out = np.where(span == 0, 0, (x.astype(work) - low) / span)
    return np.clip(out, 0, 1).astype(dtype)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4", "f8"])
@pytest.mark.parametrize("to", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
def test_normalize_by_percentiles(dtype: str, to: Any) -> None:
    array = values(dtype, (3, 8, 9))
    low, high = numpy_quantile(array, np.array([1, 99.8]) / 100, axis=(1, 2))
    expected = normalized(array, low[:, None, None], high[:, None, None], to)
    for x in sources(array):
        named = x.label["c", "y", "x"]
        for engine in ENGINES.values():
            found = lt.normalize(named, percentiles=(1, 99.8), dtype=to).collect(engine=engine)
            assert found.dtype == to
            np.testing.assert_array_equal(found, expected)
    whole = lt.normalize(lt.asarray(array, dims=("c", "y", "x")), percentiles=(0, 100), by=())
    expected = normalized(array, np.float64(array.min()), np.float64(array.max()))
    np.testing.assert_array_equal(whole.collect(), expected)


def test_normalize_between_limits() -> None:
    array = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    x = lt.asarray(array, dims=("c", "y", "x"))
    np.testing.assert_array_equal(
        lt.normalize(x, window=(2, 12)).collect(), normalized(array, 2, 12)
    )
    low, high = lt.minmax(x, axis=("y", "x"))
    expected = normalized(array, array.min((1, 2))[:, None, None], array.max((1, 2))[:, None, None])
    np.testing.assert_array_equal(lt.normalize(x, window=(low, high)).collect(), expected)
    free = lt.normalize(x, window=(2, 12), clip=False).collect()
    np.testing.assert_array_equal(free, (array.astype("f4") - 2) / np.float32(10))
    assert not lt.normalize(x, window=(5, 5)).collect().any()
    with pytest.raises(lt.ShapeError, match="limit"):
        lt.normalize(x, window=(np.zeros(3), 1))
    with pytest.raises(ValueError, match="two"):
        lt.normalize(x, window=(1, 2, 3))


def test_normalize_by_deviation() -> None:
    array = np.stack([np.full((3, 4), 9), np.arange(12).reshape(3, 4)]).astype(np.uint8)
    x = lt.asarray(array, dims=("c", "y", "x"))
    found = lt.normalize(x, zscore=True).collect()
    assert not found[0].any()
    np.testing.assert_allclose(found[1], (array[1] - 5.5) / array[1].std(), rtol=1e-6)


def test_normalize_takes_one_of_three() -> None:
    for wrong in ({}, {"zscore": True, "window": (0, 1)}, {"zscore": False}):
        with pytest.raises(TypeError, match="one of"):
            lt.normalize([1, 2], **wrong)
    with pytest.raises(ValueError, match="between 0 and 100"):
        lt.normalize([1, 2], percentiles=(1, 101))
    with pytest.raises(lt.DTypeError, match="floats"):
        lt.normalize([1, 2], zscore=True, dtype=np.int8)


def test_limits_are_those_of_the_whole_also_for_a_slice() -> None:
    array = values("u2", (2, 30, 40))
    source = ChunkedArray(array, (1, 10, 10))
    x = lt.scan_source(source).label["c", "y", "x"]
    whole = lt.normalize(x, percentiles=(1, 99))
    np.testing.assert_array_equal(whole[1, 3:5, 7].collect(), whole.collect()[1, 3:5, 7])
    source.boxes.clear()
    whole[1, 3:5, 7].collect()
    # The other channel's percentiles are not asked for.
    assert {cell[0] for cell in source.cells_read()} == {1}


def test_a_mosaic_is_normalized() -> None:
    rng = np.random.default_rng(0)
    tiles = [rng.integers(0, 999, (2, 20, 20)).astype(np.uint16) for _ in range(2)]
    a, b = (lt.asarray(tile, dims=("c", "y", "x")) for tile in tiles)
    both = lt.overlay([a, b.translate_by[0, 0, 10]])
    canvas = np.concatenate([tiles[0][:, :, :10], tiles[1]], axis=2)
    small = lt.downsample(canvas, (1, 2, 2)).collect()[0]
    found = lt.normalize(both.downsample(y=2, x=2)[0], percentiles=(1, 99.8)).collect()
    expected = normalized(small, *np.quantile(small, [0.01, 0.998]))
    np.testing.assert_array_equal(found, expected)


# Laws of plans.


@settings(max_examples=60, deadline=None)
@given(plans(max_steps=3), st.data())
def test_statistics_of_random_plans(pair: Pair, data: st.DataObject) -> None:
    x, mirror = pair
    array = mirror.values
    if array.dtype.kind == "c" or not array.size:
        return
    axes = data.draw(st.lists(st.integers(0, max(0, array.ndim - 1)), unique=True))
    axis = tuple(sorted(axes)) if array.ndim else ()
    q = data.draw(st.sampled_from((0.5, [0.2, 1.0])))
    edges = [-1.5, 0, 3, 100, 300]
    flags = data.draw(st.sampled_from(SETTINGS))
    engine = ENGINES[data.draw(st.sampled_from(sorted(ENGINES)))]
    quantile = lt.quantile(x, q, axis=axis)
    counts = lt.stats(x, axis=axis, bins=edges).histogram[0]
    found = lt.collect_all([quantile, counts], engine=engine, optimizations=flags)
    reference = array.view("u1") if array.dtype.kind == "b" else array
    if axis:
        expected = numpy_quantile(reference, q, axis=axis)
    else:
        expected = numpy_quantile(reference[None], q, axis=0)
    np.testing.assert_array_equal(found[0], expected)
    assert found[1].sum() == np.count_nonzero((array >= -1.5) & (array <= 300))
    if found[1].shape[0] > 1 and counts.ndim > 1:
        part = counts[1:, ..., 1].collect(engine=engine, optimizations=flags)
        np.testing.assert_array_equal(part, found[1][1:, ..., 1])
        slots = (slice(None),) * np.ndim(q)
        part = quantile[(*slots, slice(1, None))].collect(engine=engine, optimizations=flags)
        np.testing.assert_array_equal(part, found[0][(*slots, slice(1, None))])


def test_numpy_functions_stay_lazy() -> None:
    array = values("f4", (6, 7))
    x = lt.asarray(array)
    with lt.testing.raise_if_collects():
        lazy = [
            np.quantile(x, 0.3, axis=0),
            np.percentile(x, [10, 90]),
            np.median(x, axis=1, keepdims=True),
            np.ptp(x, axis=0),
            *np.histogram(x, bins=4, range=(-1, 1)),
        ]
    eager = [
        np.quantile(array, 0.3, axis=0),
        np.percentile(array, [10, 90]),
        np.median(array, axis=1, keepdims=True),
        np.ptp(array, axis=0),
        *np.histogram(array, bins=4, range=(-1, 1)),
    ]
    for one, other in zip(lazy, eager, strict=True):
        np.testing.assert_allclose(one.collect(), other, rtol=1e-6)
    np.testing.assert_array_equal(
        np.quantile(x, 0.3, method="nearest"), np.quantile(array, 0.3, method="nearest")
    )
    np.testing.assert_array_equal(
        np.histogram(x, density=True)[0], np.histogram(array, density=True)[0]
    )


def test_written_plans_come_back() -> None:
    x = lt.asarray(distinct((3, 4, 5), np.dtype("f4")), dims=("c", "y", "x"))
    s = lt.stats(x, by="c", mask=x > 40, bins=7)
    for tensor in (s.mean, s.std, s.quantile([0.1, 0.9], approx=True), *s.histogram):
        for form in ("json", "binary"):
            again = lt.LazyTensor.deserialize(tensor.serialize(format=form))
            assert again.dtype == tensor.dtype
            lt.testing.assert_equal(again, tensor)


def test_bins_that_were_asked_for_are_collected() -> None:
    array = np.array([1.0, 2.0, 9.0])
    assert lt.stats(array).collect().histogram is None
    found = lt.stats(array, bins=3).collect().histogram
    assert found is not None
    for one, other in zip(found, np.histogram(array, 3), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(TypeError, match="'to'"):
        lt.stats(array).collect(to="torch")  # type: ignore[call-arg]
