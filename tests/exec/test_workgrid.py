"""The work grid tiles every domain exactly once, whatever the cells, and respects them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.exec import fusion, schedule, stages, workgrid
from lazytensor.exec.kernels.choice import kernels_of_run
from lazytensor.exec.workgrid import WorkGrid, choose_grid
from lazytensor.plan.source import Box
from tests.sources import ChunkedArray

Draw = Callable[[Any], Any]


def moved(box: Box) -> int:
    return 8 * int(np.prod([hi - lo for lo, hi in box]))


def cover(grid: WorkGrid, shape: tuple[int, ...], origin: tuple[int, ...]) -> np.ndarray:
    """How often each element is in a block."""
    times = np.zeros(shape, int)
    for number in range(grid.count):
        box = grid.box(number)
        assert all(hi > lo for lo, hi in box)
        times[tuple(slice(lo - o, hi - o) for (lo, hi), o in zip(box, origin, strict=True))] += 1
    return times


@st.composite
def views(draw: Draw) -> lt.LazyTensor:
    """Regular and irregular cells, free ones and none, seen shifted, strided, flipped, smaller."""
    shape = tuple(draw(st.lists(st.integers(1, 40), min_size=0, max_size=3)))
    values = np.zeros(shape)
    chunks: list[Any] = []
    for n in shape:
        if draw(st.booleans()):
            chunks.append(draw(st.integers(1, n + 3)))
        else:
            cuts = sorted({draw(st.integers(1, n)) for _ in range(3)} | {n})
            chunks.append(tuple(int(c) for c in np.diff([0, *cuts])))
    origin = tuple(draw(st.integers(-20, 20)) for _ in shape)
    x = lt.asarray(values)
    if draw(st.integers(0, 3)):
        x = lt.scan_source(ChunkedArray(values, chunks, origin=origin))
    steps = st.sampled_from((1, 1, 2, 3, 5, 7, -1, -2, -4))
    x = x[tuple(slice(draw(st.none() | st.integers(0, n)), None, draw(steps)) for n in shape)]
    if draw(st.booleans()) and x.ndim and x.size:
        x = lt.downsample(x, tuple(draw(st.integers(1, 4)) for _ in x.shape), "max")
    if draw(st.integers(0, 4)) == 0 and x.ndim and x.size:
        x = x[np.array([0, x.shape[0] - 1, 0])]
    return x


@given(views(), st.sampled_from((1, 8, 64, 1000, 1 << 20)))
def test_every_element_is_in_exactly_one_block(x: lt.LazyTensor, target: int) -> None:
    grid = choose_grid_at(x, target)
    assert (cover(grid, x.shape, x.origin) == 1).all()
    if grid.count:
        assert max(moved(grid.box(i)) for i in range(grid.count)) <= moved(grid.largest())


@given(views(), st.sampled_from((8, 64, 1000)))
def test_numbers_and_indices_agree(x: lt.LazyTensor, target: int) -> None:
    grid = choose_grid_at(x, target)
    boxes = [grid.box_at(index) for index in np.ndindex(*grid.counts)]
    assert boxes == [grid.box(i) for i in range(grid.count)]
    assert boxes == sorted(boxes)


@given(views(), st.sampled_from((8, 64, 1000)))
def test_no_cell_is_cut_unless_it_is_free(x: lt.LazyTensor, target: int) -> None:
    grid = choose_grid_at(x, target)
    for number in range(grid.count):
        for (lo, hi), origin, n, cells in zip(
            grid.box(number), x.origin, x.shape, x._node.grid, strict=True
        ):
            # Windows that begin before the domain straddle every border.
            if cells is None or cells.free or cells.start < 0:
                continue
            a, b = lo - origin, hi - origin
            assert a == 0 or cells.stored_cell(a) != cells.stored_cell(a - 1)
            assert b == n or cells.stored_cell(b) != cells.stored_cell(b - 1)


def choose_grid_at(x: lt.LazyTensor, target: int) -> WorkGrid:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workgrid, "TARGET", target)
        patch.setattr(workgrid, "_SMALLEST", target)
        return choose_grid(x._node, moved, 1 << 40)


@pytest.mark.parametrize(("chunk", "factor"), [(64, 3), (10, 4), (6, 4), (7, 5)])
@pytest.mark.parametrize("shift", [0, 1, 5])
def test_windows_do_not_straddle_blocks(chunk: int, factor: int, shift: int) -> None:
    """A block of a downsample ends where a cell and a window do."""
    source = ChunkedArray(np.zeros(4000), (chunk,))
    x = lt.downsample(lt.scan_source(source)[shift * chunk :], (factor,), "max")
    grid = choose_grid_at(x, 8 * chunk)
    assert grid.count > 3
    for number in range(1, grid.count):
        ((lo, _),) = grid.box(number)
        assert lo * factor % chunk == 0


def test_each_chunk_is_read_once_below_a_downsample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workgrid, "_SMALLEST", 1 << 14)
    values = np.arange(256 * 256, dtype="f8").reshape(256, 256)
    source = ChunkedArray(values, (16, 16))
    found = lt.downsample(lt.scan_source(source), (3, 3), "min").collect(engine="local")
    np.testing.assert_array_equal(found, values[::3, ::3])
    read = [cell for box in source.boxes for cell in source.cells_of(box)]
    assert len(source.boxes) > 4
    assert len(read) == len(set(read)) == 256


def test_a_huge_array_has_a_small_grid() -> None:
    def read(domain: lt.IndexDomain, out: np.ndarray) -> None:
        raise AssertionError("nothing is to be read")

    x = lt.virtual_chunked(read, shape=(10**5,) * 3, dtype="u2", chunks=(64, 64, 64)) + 1
    grid = choose_grid(x._node, lambda box: moved(box) // 4, 1 << 40)
    assert grid.count > 10**8
    last = grid.box(grid.count - 1)
    assert all(hi == 10**5 for _, hi in last)


@pytest.mark.parametrize(
    ("threads", "most", "tasks"),
    [
        (0, 1 << 40, 256),
        (1, 1 << 40, 64),  # four times as much at most
        (4, 1 << 40, 64),
        (16, 1 << 40, 128),  # or each of the threads would have too few of them
        (100, 1 << 40, 256),
        (4, 1 << 12, 128),  # or they would take more than half of the memory
        (4, 1 << 10, 256),
    ],
)
def test_what_flows_is_cut_coarser_for_few_threads(
    threads: int, most: int, tasks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workgrid, "TARGET", 256)
    monkeypatch.setattr(workgrid, "_SMALLEST", 256)
    x = lt.scan_source(ChunkedArray(np.zeros(256 * 32), (32,)))
    grid = choose_grid(x._node, moved, most, threads)
    assert grid.count == tasks
    assert (cover(grid, x.shape, (0,)) == 1).all()


def test_empty_and_0d_tensors() -> None:
    x = lt.zeros((0, 5))
    grid = choose_grid(x._node, moved, 1 << 40)
    assert grid.count == 0
    assert choose_grid(lt.zeros(())._node, moved, 1 << 40).box(0) == ()


@pytest.mark.parametrize("lead", [1, 7])
def test_the_largest_block_is_the_largest(lead: int) -> None:
    source = ChunkedArray(np.zeros(8), (8,))
    x = lt.concat([lt.scan_source(source)[8 - lead :], lt.zeros(3)])
    grid = choose_grid_at(x, 8)
    sizes = [moved(grid.box(i)) for i in range(grid.count)]
    assert moved(grid.largest()) == max(sizes)


def test_a_random_gather_is_not_cut_into_crumbs() -> None:
    """However few elements a block has, it needs nearly all of the input: cutting saves nothing."""
    values = np.arange(1 << 19)
    order = np.random.default_rng(0).permutation(values.size)
    lt.metrics(reset=True)
    got = lt.asarray(values)[order].collect()
    np.testing.assert_array_equal(got, values[order])
    assert lt.metrics()["tasks"] <= 16


def test_a_gather_that_exceeds_the_limit_is_cut_all_the_same() -> None:
    image = lt.downsample(lt.asarray(np.arange(1 << 20).reshape(1024, 1024)), (2, 2), "max")
    rows = np.random.default_rng(0).integers(0, 512, 4000)
    taken = image[rows]
    got = taken.collect(engine=lt.LocalEngine(threads=1, max_memory="16MiB"))
    np.testing.assert_array_equal(got, image.collect()[rows])


@pytest.mark.parametrize("sums", [True, False])
def test_what_is_summed_is_cut_alike_whatever_threads(
    sums: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where blocks of the result sum for themselves, in memory that is gone over once."""
    monkeypatch.setattr(stages, "_SMALL_RESULT", 64)
    monkeypatch.setattr(schedule, "TARGET", 1 << 18)
    monkeypatch.setattr(workgrid, "TARGET", 1 << 18)
    monkeypatch.setattr(workgrid, "_SMALLEST", 1 << 16)
    monkeypatch.setattr(fusion, "_FEWEST", 0)
    x = lt.asarray(np.ones((40, 100, 300), np.float32))
    part = (lt.sum if sums else lt.max)(x, axis=1, keepdims=True)
    y = (x * 2 - part) * 3
    with kernels_of_run("auto"):
        counts = {
            schedule.prepare(y._node, {}, 1 << 30, threads=threads).grid.count
            for threads in (1, 2, 5)
        }
    assert (len(counts) == 1) is sums
