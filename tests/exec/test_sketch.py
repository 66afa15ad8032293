"""Quantiles and histograms in passes: their kernels, stages, and what they cost."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.exec import schedule, sketch
from lazytensor.exec.kernels import order
from lazytensor.exec.kernels.bins import bin_counts
from lazytensor.exec.kernels.order import digit_counts, from_keys, keys
from lazytensor.exec.kernels.rank_summary import KEPT, Ranks
from lazytensor.exec.sketch import expand
from lazytensor.exec.stages import plan_stages
from tests.exec.test_known import Hollow, SparseArray
from tests.sources import ChunkedArray

DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_keys_are_ordered_as_the_values_are(dtype: str, data: st.DataObject) -> None:
    bits = 8 * np.dtype(dtype).itemsize
    raw = data.draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=2, max_size=20))
    values = np.array(raw, f"u{bits // 8}").view(dtype)
    found = keys(values)
    again = from_keys(found, values.dtype)
    np.testing.assert_array_equal(again, values)
    ordinary = ~np.isnan(values)
    np.testing.assert_array_equal(np.signbit(again[ordinary]), np.signbit(values[ordinary]))
    np.testing.assert_array_equal(values[np.argsort(found)], np.sort(values))


@pytest.mark.parametrize("dtype", ["u1", "i2", "f2", "f4", "i8"])
def test_counting_by_sorting_is_counting(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(-100, 100, 5000).astype(dtype)
    size = order.table_size(values.dtype)
    plain = digit_counts(values, size, 0)
    monkeypatch.setattr(order, "_SORTED_FROM", 1)
    monkeypatch.setattr(order, "_LONGEST", 999)
    np.testing.assert_array_equal(digit_counts(values, size, 0), plain)
    assert plain.sum() == 5000


def test_a_bin_is_found_by_division_as_by_searching() -> None:
    rng = np.random.default_rng(0)
    for edges in (np.linspace(-1e-3, 7.3, 50), np.geomspace(1e-9, 1e9, 40), np.array([0, 1, 1, 2])):
        values = np.concatenate([rng.choice(edges, 500), rng.normal(size=500) * 3, edges])
        np.testing.assert_array_equal(bin_counts(values, edges), np.histogram(values, edges)[0])


def test_summaries_of_few_elements_are_exact() -> None:
    ranks = Ranks(np.array([3.0, 1.0]))
    for part in ([2.0], [], [5.0, 5.0]):
        ranks.extend(Ranks(np.array(part)))
    records = ranks.records()
    assert records["value"].tolist() == [1, 2, 3, 5, 5]
    assert records["weight"].sum() == 5


def test_summaries_stay_small() -> None:
    total = Ranks(np.zeros(0))
    for i in range(300):
        total.extend(Ranks(np.full(40_000, float(i))))
    held = sum(len(elements) for level in total.levels for elements, _ in level)
    assert held <= 16 * 3 * KEPT
    records = total.records()
    assert len(records) <= KEPT
    assert records["weight"].sum() == 300 * 40_000


def passes_over(tensors: list[lt.LazyTensor], room: int = 0) -> list[list[str]]:
    """The kinds of node that each pass computes."""
    expanded = expand([x._node for x in tensors], (), room)
    stages = plan_stages(expanded.roots, expanded.kept)
    return [[type(node).__name__ for node in stage.nodes] for stage in stages if stage.reductions]


def stored(dtype: str, shape: tuple[int, ...] = (64, 64, 40)) -> tuple[np.ndarray, lt.LazyTensor]:
    array = (np.random.default_rng(0).normal(size=shape) * 100).astype(dtype)
    return array, lt.scan_source(ChunkedArray(array, (16,) * len(shape)))


def test_what_is_looked_at_together_is_one_pass() -> None:
    _, x = stored("f4")
    s = lt.stats(x, bins=9)
    wanted = [s.quantile(0.5), s.std, s.quantile([0.1, 0.2]), *s.histogram, s.min]
    first, second = passes_over(wanted)
    assert sorted(first) == ["Reduce", "Reduce", "Reduce", "Tally"]
    assert sorted(second) == ["BinTally", "Tally", "Tally"]
    _, x = stored("i2")
    s = lt.stats(x, mask=x > 3)
    # Everything follows from the counts of all values.
    wanted = [s.quantile(0.5), s.std, *s.histogram, s.min, s.count, s.quantile(0.1)]
    assert passes_over(wanted) == [["Tally"]]
    assert passes_over([s.mean, s.std]) == [["Tally"]]
    assert passes_over([s.mean]) == [["MaskedReduce"]]


def test_many_kept_positions_are_sorted_where_they_are() -> None:
    array, x = stored("f4")
    assert passes_over([lt.quantile(x, 0.5, axis=0)]) == []
    np.testing.assert_array_equal(
        lt.quantile(x, 0.5, axis=0).collect(), np.quantile(array, 0.5, axis=0)
    )


def test_other_counts_are_not_statistics() -> None:
    """Only what counts say exactly is concluded from them."""
    array, x = stored("i2")
    wanted = [lt.stats(x).histogram[0], lt.sum(x, dtype=np.float32), lt.argmax(x), lt.prod(x > 0)]
    found = lt.collect_all([*wanted, lt.var(x, correction=1), lt.mean(x, keepdims=True)])
    assert found[1] == array.sum(dtype="i8").astype("f4")
    assert found[2] == array.argmax()
    np.testing.assert_allclose(found[4], array.var(ddof=1), rtol=1e-12)
    np.testing.assert_allclose(found[5], array.mean(keepdims=True), rtol=1e-12)


def test_sums_of_counts_are_exact() -> None:
    array = np.full((64, 64, 64), -32768, np.int16)
    array[0, 0, 0] = 5
    s = lt.stats(lt.scan_source(ChunkedArray(array, (16, 16, 16))))
    values = s.collect()
    assert values.sum == array.sum()
    assert values.min == -32768
    assert values.max == 5
    assert values.count == array.size
    np.testing.assert_allclose(values.std, array.astype("f8").std(), rtol=1e-9)
    assert lt.stats(np.full(9000, 7, np.uint8)).collect().std == 0


def test_estimates_follow_the_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    _, x = stored("f4", (64, 64, 64))
    median = lt.quantile(x, 0.5)
    assert median.estimate().chunks_read == 64
    once = median.estimate().tasks
    monkeypatch.setattr(schedule, "_MOST_SHARED", 0)
    assert median.estimate().tasks != once
    text = median.explain(stage="physical")
    assert "tally" in text
    assert median.estimate().peak_memory > 0


def test_a_second_pass_reads_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).normal(size=(64, 64, 64))
    source = ChunkedArray(array, (16, 16, 16))
    x = lt.scan_source(source)
    expected = np.quantile(array, 0.7)
    assert lt.quantile(x, 0.7).collect() == expected
    assert sum(np.prod([b - a for a, b in box]) for box in source.boxes) == array.size
    source.boxes.clear()
    monkeypatch.setattr(schedule, "_MOST_SHARED", 0)
    assert lt.quantile(x, 0.7).collect() == expected
    assert sum(np.prod([b - a for a, b in box]) for box in source.boxes) == 4 * array.size


def test_a_view_that_is_sliced_is_kept_as_sliced() -> None:
    array, x = stored("f8")
    part = x[3:40, ::2] + 1
    for q in (0.0, 0.33):
        np.testing.assert_array_equal(
            lt.quantile(part, q).collect(), np.quantile(array[3:40, ::2] + 1, q)
        )


def test_memory_is_bounded() -> None:
    """A median of 64 MiB of float32 takes tables and blocks, never a sorted copy."""
    array = np.random.default_rng(0).normal(size=(256, 256, 256)).astype("f4")
    x = lt.scan_source(ChunkedArray(array, (64, 64, 64)))
    engine = lt.LocalEngine(threads=1, max_memory="32MiB")
    tracemalloc.start()
    found = lt.quantile(x, [0.25, 0.5]).collect(engine=engine)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(found, np.quantile(array, [0.25, 0.5]))
    assert peak < 48 << 20


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "i8"])
def test_missing_chunks_are_counted_and_not_read(dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 100, (64, 64)).astype(dtype)
    holes = {(i, j) for i in range(16) for j in range(16) if (i * 7 + j) % 5 == 0}
    source = SparseArray(values, (4, 4), 9, holes)
    x = lt.scan_source(source)
    array = source.values
    s = lt.stats(x, by=0 if dtype == "i2" else None, bins=[0, 5, 9, 50, 99])
    axis = 1 if dtype == "i2" else None
    found = lt.collect_all([s.quantile([0.1, 0.5]), s.histogram[0], s.mean])
    np.testing.assert_array_equal(found[0], np.quantile(array, [0.1, 0.5], axis=axis))
    rows = array if dtype == "i2" else [array]
    expected = [np.histogram(row, [0, 5, 9, 50, 99])[0] for row in rows]
    np.testing.assert_array_equal(found[1].reshape(len(rows), -1), expected)
    approximate = lt.quantile(x, 0.5, approx=True).collect()
    assert np.count_nonzero(array < approximate) <= array.size / 2
    assert np.count_nonzero(array <= approximate) >= array.size / 2


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_a_hollow_array_of_any_size_has_quantiles(dtype: str) -> None:
    x = lt.scan_source(Hollow((1 << 40, 1 << 9), 1 << 8, dtype, 7))  # type: ignore[arg-type]
    s = lt.stats(x, bins=[0, 7, 8])
    assert s.quantile(0.5).collect() == 7
    assert s.histogram[0].collect().tolist() == [0, 1 << 49]
    together = lt.stats(x, bins=[0, 7, 8]).collect()
    assert together.mean == together.min == together.max == 7
    assert together.std == 0


@pytest.mark.parametrize("dtype", ["f4", "i8"])
def test_many_quantiles_take_no_more_passes(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sketch, "_SMALL", 1 << 30)
    array, x = stored(dtype)
    q = np.linspace(0, 1, 30)
    found = lt.quantile(x, q)
    assert passes_over([found]) == [["Tally"]] * order.passes(array.dtype)
    np.testing.assert_array_equal(found.collect(), np.quantile(array, q))


def test_numbers_without_a_key_are_sorted() -> None:
    array, x = stored("g")
    assert passes_over([lt.quantile(x, 0.5)]) == []
    assert lt.quantile(x, 0.25).collect() == np.quantile(array, 0.25)


def test_failures_name_what_failed() -> None:
    class Broken(ChunkedArray):
        def read_into(self, box: Any, out: np.ndarray) -> None:
            raise lt.SourceError("no more chunks")

    x = lt.scan_source(Broken(np.zeros((64, 64, 64), "f4"), (16, 16, 16)))
    with pytest.raises(lt.SourceError, match="no more chunks"):
        lt.quantile(x, 0.5).collect()


def test_room_for_tables_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    array, x = stored("u2", (32, 64, 64))
    by = lt.stats(x, by=0).quantile(0.5)
    assert passes_over([by]) == [["Tally"]] or passes_over([by]) == []
    monkeypatch.setattr(sketch, "_LARGEST_TABLE", 0)
    monkeypatch.setattr(sketch, "_LARGEST_SLAB", 1 << 40)
    assert passes_over([by]) == []
    np.testing.assert_array_equal(by.collect(), np.quantile(array, 0.5, axis=(1, 2)))
