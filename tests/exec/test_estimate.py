"""Estimates against what a counting source saw: cells and decoded bytes are exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.exec import workgrid
from lazytensor.exec.cells import CellUnion
from tests.engines import ENGINES
from tests.sources import ChunkedArray

Draw = Callable[[Any], Any]

STEPS: dict[str, Callable[[Draw, lt.LazyTensor], lt.LazyTensor]] = {
    "slice": lambda draw, y: y[tuple(slice(draw(st.integers(0, n)), None) for n in y.shape)],
    "step": lambda draw, y: y[
        tuple(slice(None, None, draw(st.sampled_from((1, 2, 5, -1, -3)))) for _ in y.shape)
    ],
    "add": lambda draw, y: y + 1,
    "cast": lambda draw, y: y.astype("f8"),
    "transpose": lambda draw, y: lt.permute_dims(y, tuple(range(y.ndim))[::-1]),
    "neighbours": lambda draw, y: y[1:] - y[:-1],
    "concat": lambda draw, y: lt.concat([y, y[::-1]]),
    "stack": lambda draw, y: lt.stack([y, y + 1]),
    "pad": lambda draw, y: lt.pad(y, 1, mode="wrap") if y.size else y,
    "downsample": lambda draw, y: lt.downsample(y, (2,) * y.ndim, "max"),
    "moved": lambda draw, y: lt.overlay([y, y.translate_by[(1,) * y.ndim]], fill_value=0.0),
    "reduce": lambda draw, y: lt.max(y, axis=0) if y.ndim > 1 and y.shape[0] else y,
}
POINTWISE = ("slice", "step", "add", "cast", "transpose")


@st.composite
def plans(
    draw: Draw, steps: tuple[str, ...], table: Any = STEPS
) -> tuple[lt.LazyTensor, ChunkedArray]:
    shape = tuple(draw(st.lists(st.integers(1, 16), min_size=1, max_size=3)))
    source = ChunkedArray(
        np.arange(math.prod(shape), dtype="f8").reshape(shape),
        [draw(st.integers(1, n + 1)) for n in shape],
    )
    x = lt.scan_source(source)
    for _ in range(draw(st.integers(0, 4))):
        x = table[draw(st.sampled_from(steps))](draw, x)
    return x, source


def decoded(source: ChunkedArray) -> int:
    total = 0
    for cell in source.cells_read():
        extents = []
        for c, cut, n in zip(cell, source.spec.grid, source.values.shape, strict=True):
            assert cut is not None
            lo, hi = cut.stored_extent(c, n)
            extents.append(hi - lo)
        total += math.prod(extents) * source.values.itemsize
    return total


@given(plans(tuple(STEPS)), st.sampled_from(("local", "blocks-64")))
def test_chunks_and_bytes_are_those_that_are_read(
    case: tuple[lt.LazyTensor, ChunkedArray], engine: str
) -> None:
    x, source = case
    estimate = x.estimate(exact=True)
    assert source.boxes == []
    x.collect(engine=ENGINES[engine])
    assert estimate.chunks_read == len(source.cells_read())
    assert estimate.bytes_decoded == estimate.bytes_read == decoded(source)
    assert estimate.chunks_total == math.prod(
        cut.count for cut in source.spec.grid if cut is not None
    )


@contextmanager
def target(nbytes: int) -> Iterator[None]:
    """Tasks of about so many bytes, so that small arrays are cut as large ones are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workgrid, "TARGET", nbytes)
        patch.setattr(workgrid, "_SMALLEST", nbytes)
        yield


STAGED: dict[str, Callable[[Draw, lt.LazyTensor], lt.LazyTensor]] = {
    **STEPS,
    "centred": lambda draw, y: y - lt.mean(y) if y.size else y,
    "scaled": lambda draw, y: y / (lt.std(y) + lt.max(y)) if y.size else y,
    "summed": lambda draw, y: lt.sum(y, axis=-1) if y.ndim > 1 else y,
    "reshaped": lambda draw, y: lt.reshape(y, (-1,)),
    "kept": lambda draw, y: y.cache() + y.cache()[::-1],
    "gathered": lambda draw, y: y[[0, -1]] if y.ndim and y.shape[0] else y,
    "in memory": lambda draw, y: y + np.arange(y.shape[-1]) if y.ndim else y,
}


@given(plans(tuple(STAGED), STAGED), st.sampled_from((64, 256, 4096, 8 << 20)), st.booleans())
@settings(max_examples=200)
def test_tasks_and_chunks_are_those_of_the_run(
    case: tuple[lt.LazyTensor, ChunkedArray], nbytes: int, optimized: bool
) -> None:
    x, source = case
    flags = lt.QueryOptFlags() if optimized else lt.QueryOptFlags.none()
    with target(nbytes):
        estimate = x.estimate(optimizations=flags, exact=True)
        lt.metrics(reset=True)
        x.collect(optimizations=flags)
        assert estimate.tasks == lt.metrics(reset=True).get("tasks", 0)
        assert estimate.chunks_read == len(source.cells_read())
        quick = x.estimate(optimizations=flags)
    assert quick.tasks == estimate.tasks
    assert quick.chunks_read == estimate.chunks_read or quick.tasks > 256


def test_a_tiny_plan_is_one_task() -> None:
    x = lt.sum(lt.asarray([1, 2, 3]) + 1)
    lt.metrics(reset=True)
    x.collect()
    assert x.estimate().tasks == lt.metrics(reset=True)["tasks"] == 1


def test_of_a_gather_above_an_operation_the_tasks_are_asked() -> None:
    source = ChunkedArray(np.arange(4000.0), (10,))
    flags = lt.QueryOptFlags.none()
    x = (lt.scan_source(source) + 1)[[5, 3995]]
    with target(64):
        found = x.estimate(optimizations=flags)
        x.collect(optimizations=flags)
    assert found.chunks_read == len(source.cells_read())


def test_of_free_cells_only_what_is_wanted_is_decoded() -> None:
    x = lt.from_array(Slow(np.zeros((100, 100), "u1")))
    assert x[3:5, ::2].estimate().bytes_decoded == 2 * 99
    assert (x[:50] + 1).estimate().chunks_read == 1


class Slow:
    """An array of unknown kind."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.values[key]


def test_the_interpreter_reads_every_source_whole() -> None:
    source = ChunkedArray(np.arange(64.0).reshape(8, 8), (4, 4))
    x = lt.scan_source(source)[:2, :2] + 1
    found = x.estimate(engine="interpret")
    x.collect(engine="interpret")
    assert (found.tasks, found.chunks_read) == (1, len(source.cells_read())) == (1, 4)


def test_a_window_of_many_layers_and_all_of_them() -> None:
    source = ChunkedArray(np.zeros((1000, 1000), "u1"), (10, 10))
    tile = lt.scan_source(source)
    layers = [tile[i // 100 * 10 :, i % 100 * 10 :][:10, :10] for i in range(10_000)]
    x = lt.overlay(layers, fill_value=0)
    assert x.estimate().chunks_read == 10_000
    assert x[500:520, 510:530].estimate().chunks_read == 4


@given(plans(POINTWISE), st.sampled_from(("local", "blocks-64")))
def test_below_views_and_arithmetic_each_chunk_is_read_once(
    case: tuple[lt.LazyTensor, ChunkedArray], engine: str
) -> None:
    x, source = case
    x.collect(engine=ENGINES[engine])
    read = [cell for box in source.boxes for cell in source.cells_of(box)]
    assert len(read) == len(set(read))


def test_neighbours_in_one_task_are_read_together() -> None:
    source = ChunkedArray(np.arange(64.0 * 64).reshape(64, 64), (8, 8))
    x = lt.scan_source(source)
    (x[:, 1:] - x[:, :-1]).collect(engine="local")
    assert len(source.boxes) == 1


def test_counting_costs_nothing_for_huge_arrays() -> None:
    def read(domain: lt.IndexDomain, out: np.ndarray) -> None:
        raise AssertionError("nothing is to be read")

    x = lt.virtual_chunked(read, shape=(10**5,) * 3, dtype="u2", chunks=(100,) * 3)
    estimate = (x[::2] + 1).estimate()
    assert estimate.chunks_read == estimate.chunks_total == 10**9
    assert estimate.bytes_decoded == 2 * 10**15
    assert estimate.tasks > 10**6


def test_peak_memory_counts_threads_and_limits() -> None:
    x = lt.scan_source(ChunkedArray(np.zeros((2048, 1024)), (256, 1024))) + 1
    one, four = (x.estimate(engine=lt.LocalEngine(threads=n)).peak_memory for n in (1, 4))
    assert x.nbytes < one < four
    assert x.estimate(engine="interpret").tasks >= 1


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=3).flatmap(
        lambda shape: st.tuples(
            st.just(shape),
            st.lists(
                st.tuples(*(st.sets(st.integers(0, n - 1), max_size=n) for n in shape)), max_size=6
            ),
        )
    )
)
def test_a_union_of_products_is_counted_exactly(
    case: tuple[list[int], list[tuple[set[int], ...]]],
) -> None:
    shape, parts = case
    source = ChunkedArray(np.zeros(shape, "u1"), [1] * len(shape))
    union = CellUnion(source, [[np.array(sorted(s), int) for s in part] for part in parts])
    cells = {cell for part in parts for cell in product(*part)}
    assert union.count == union.elements == len(cells)
    assert union.sample(None) == sorted(cells)
    assert set(union.sample(4)) <= cells


@pytest.mark.parametrize("n", [1, 64, 65, 1000])
def test_stored_bytes_are_sampled_beyond_64_units(n: int) -> None:
    class Noted(ChunkedArray):
        asked = 0

        def unit_sizes(self, cells: list[tuple[int, ...]]) -> Any:
            self.asked += len(cells)
            return super().unit_sizes(cells)

    source = Noted(np.zeros(n, "u1"), (1,))
    assert lt.scan_source(source).estimate().bytes_read == n
    assert source.asked <= 64
