"""What is read, not only what comes out: sources that count."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.plan.node import walk
from lazytensor.plan.nodes import Scan
from tests.engines import ENGINES, SETTINGS
from tests.plans import Pair, distinct, plans
from tests.sources import ChunkedArray

Cells = set[tuple[int, ...]]


def source(shape: tuple[int, ...], chunks: tuple[int, ...], **options: Any) -> ChunkedArray:
    values = np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape)
    return ChunkedArray(values, chunks, **options)


def times_read(stored: ChunkedArray) -> Counter[tuple[int, ...]]:
    """How often each chunk was touched."""
    return Counter(cell for box in stored.boxes for cell in stored.cells_of(box))


def estimated(text: str) -> tuple[int, int]:
    """The numbers of ``reads n of N chunks`` in a plan's last line."""
    found = re.search(r"reads (\S[\d\s]*?) of ([\d\s]*?) chunks", text.splitlines()[-1])
    assert found is not None, text
    return int(re.sub(r"\D", "", found[1])), int(re.sub(r"\D", "", found[2]))


# A mosaic of 8 x 8 tiles of 64 x 64 in 16 x 16 chunks, neighbours overlapping by 8.

TILE, PITCH, CHUNK = 64, 56, 16


def mosaic() -> tuple[list[ChunkedArray], lt.LazyTensor]:
    tiles = []
    for row in range(8):
        for column in range(8):
            values = distinct((TILE, TILE), np.dtype("u2"), 8 * row + column)
            tiles.append(ChunkedArray(values, (CHUNK, CHUNK), origin=(row * PITCH, column * PITCH)))
    return tiles, lt.overlay([lt.scan_source(tile) for tile in tiles])


def painted(tiles: list[ChunkedArray]) -> np.ndarray:
    size = 7 * PITCH + TILE
    canvas = np.zeros((size, size), np.uint16)
    for tile in tiles:
        row, column = tile.spec.domain.inclusive_min
        canvas[row : row + TILE, column : column + TILE] = tile.values
    return canvas


def needed(tiles: list[ChunkedArray], lo: tuple[int, int], hi: tuple[int, int]) -> list[Cells]:
    """The chunks of each tile that are on top somewhere in the window."""
    size = 7 * PITCH + TILE
    top = np.full((size, size), -1)
    for i, tile in enumerate(tiles):
        row, column = tile.spec.domain.inclusive_min
        top[row : row + TILE, column : column + TILE] = i
    wanted: list[Cells] = [set() for _ in tiles]
    for y in range(lo[0], hi[0]):
        for x in range(lo[1], hi[1]):
            row, column = tiles[top[y, x]].spec.domain.inclusive_min
            wanted[top[y, x]].add(((y - row) // CHUNK, (x - column) // CHUNK))
    return wanted


@pytest.mark.parametrize("place", [(0, 0), (3, 5), (13, 13)], ids=str)
def test_a_crop_of_a_downsampled_mosaic_reads_what_is_seen(place: tuple[int, int]) -> None:
    tiles, whole = mosaic()
    view = lt.downsample(whole, (2, 2))
    y, x = (p * CHUNK for p in place)
    crop = view.coord[y : y + CHUNK, x : x + CHUNK]
    wanted = needed(tiles, (2 * y, 2 * x), (2 * (y + CHUNK), 2 * (x + CHUNK)))
    estimate = crop.estimate()
    found = crop.collect()
    assert [tile.cells_read() for tile in tiles] == wanted
    assert estimate.chunks_read == sum(map(len, wanted))
    assert estimate.chunks_total == 64 * 16
    assert estimated(crop.explain()) == (estimate.chunks_read, 64 * 16)
    expected = lt.downsample(painted(tiles), (2, 2)).collect()
    np.testing.assert_array_equal(found, expected[y : y + CHUNK, x : x + CHUNK])


@pytest.mark.parametrize("flags", SETTINGS, ids=repr)
@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_flags_change_what_is_read_and_not_what_comes_out(
    engine: str, flags: lt.QueryOptFlags
) -> None:
    tiles, whole = mosaic()
    crop = lt.downsample(whole, (4, 4), "max").coord[30:46, 11:27]
    found = crop.collect(engine=ENGINES[engine], optimizations=flags)
    expected = lt.downsample(painted(tiles), (4, 4), "max").collect()
    np.testing.assert_array_equal(found, expected[30:46, 11:27])
    read = sum(len(tile.cells_read()) for tile in tiles)
    if flags == lt.QueryOptFlags() and engine != "interpret":
        assert read == sum(map(len, needed(tiles, (120, 44), (184, 108))))


def test_the_whole_mosaic_reads_no_hidden_chunk_and_none_twice() -> None:
    tiles, whole = mosaic()
    size = whole.shape[0]
    np.testing.assert_array_equal(whole.collect(), painted(tiles))
    wanted = needed(tiles, (0, 0), (size, size))
    assert [tile.cells_read() for tile in tiles] == wanted


def test_a_hidden_layer_is_not_read() -> None:
    below, above = source((8, 8), (4, 4)), source((8, 8), (4, 4))
    lt.overlay([lt.scan_source(below), lt.scan_source(above)]).collect()
    assert not below.boxes
    assert len(above.cells_read()) == 4


# A slice of anything reads what it needs. Each entry takes a tensor of shape (12, 12) in chunks of
# (4, 4) and says which chunks ``view[1:4, 5:8]`` of it needs.

VIEWS: dict[str, tuple[Any, Cells]] = {
    "itself": (lambda x: x, {(0, 1)}),
    "elementwise": (lambda x: lt.sqrt(x * 2.0 + 1), {(0, 1)}),
    "cast": (lambda x: x.astype("f4"), {(0, 1)}),
    "transposed": (lambda x: x.T, {(1, 0)}),
    "flipped": (lambda x: lt.flip(x), {(2, 1)}),
    "translated": (lambda x: x.translate_by[3, -2], {(0, 1)}),
    "kept reduction": (lambda x: x - lt.max(x[0]), {(0, 0), (0, 1), (0, 2)}),
    "concat": (lambda x: lt.concat([x[8:], x]), {(2, 1)}),
    "stack": (lambda x: lt.stack([x, x + 1])[1], {(0, 1)}),
    "pad": (lambda x: lt.pad(x, (0, 2)), {(0, 1)}),
    "border": (lambda x: lt.pad(x, 4), set()),
    "reflected": (lambda x: lt.pad(x, 4, "reflect"), {(0, 0)}),
    "overlay": (lambda x: lt.overlay([x, x.translate_to[4, 4] + 1])[0:12, 0:12], {(0, 1)}),
    "downsampled": (lambda x: lt.downsample(x, (1, 1)), {(0, 1)}),
    "rechunked": (lambda x: x.rechunk((2, 2)), {(0, 1)}),
    "inspected": (lambda x: x.inspect(lambda domain, values: None), {(0, 1)}),
    "blockwise": (lambda x: lt.map_blocks(np.negative, x, dtype=x.dtype), {(0, 1)}),
    "broadcast": (lambda x: x + x[:1], {(0, 1)}),
    "where": (lambda x: lt.where(x > 5, x, 0), {(0, 1)}),
}


@pytest.mark.parametrize("engine", ["blocks-1", "local"])
@pytest.mark.parametrize("name", sorted(VIEWS))
def test_a_slice_reads_what_it_needs(name: str, engine: str) -> None:
    build, wanted = VIEWS[name]
    stored = source((12, 12), (4, 4))
    lazy = build(lt.scan_source(stored))[1:4, 5:8]
    lazy.collect(engine=ENGINES[engine])
    assert stored.cells_read() == wanted
    assert lazy.estimate().chunks_read == len(wanted)
    np.testing.assert_array_equal(lazy.collect(), build(lt.asarray(stored.values))[1:4, 5:8])


@pytest.mark.parametrize("axis", [0, 1])
def test_a_slice_of_a_reduction_reads_its_rows(axis: int) -> None:
    stored = source((12, 12), (4, 4))
    lt.sum(lt.scan_source(stored), axis=axis)[5:7].collect()
    rows = {(1, i) for i in range(3)}
    assert stored.cells_read() == {cell if axis else cell[::-1] for cell in rows}


def test_a_slice_of_a_downsampled_tensor_reads_its_blocks() -> None:
    stored = source((12, 12), (4, 4))
    lt.downsample(lt.scan_source(stored), (3, 3))[1:2, 2:4].collect()
    assert stored.cells_read() == {(0, 1), (0, 2), (1, 1), (1, 2)}


def test_a_step_larger_than_a_chunk_reads_the_chunks_it_lands_in() -> None:
    stored = source((100, 40), (4, 8))
    lazy = lt.scan_source(stored)[2::11, ::-17]
    np.testing.assert_array_equal(lazy.collect(), stored.values[2::11, ::-17])
    wanted = {(y // 4, x // 8) for y in range(2, 100, 11) for x in range(39, -1, -17)}
    assert stored.cells_read() == wanted
    assert lazy.estimate().chunks_read == len(wanted)
    assert max(times_read(stored).values()) <= 2  # counted once, collected once


@pytest.mark.parametrize("mode", ["default", "oindex", "vindex"])
def test_a_gather_reads_the_chunks_it_lands_in(mode: str) -> None:
    stored = source((40, 40), (4, 4))
    ys, xs = np.array([1, 39, 2, 17]), np.array([3, 0, 21, 21])
    x = lt.scan_source(stored)
    lazy = x[ys, xs] if mode == "default" else getattr(x, mode)[ys, xs]
    expected = stored.values[np.ix_(ys, xs)] if mode == "oindex" else stored.values[ys, xs]
    np.testing.assert_array_equal(lazy.collect(), expected)
    pairs = [(y, x) for y in ys for x in xs] if mode == "oindex" else zip(ys, xs, strict=True)
    wanted = {(int(y) // 4, int(x) // 4) for y, x in pairs}
    assert stored.cells_read() == wanted
    assert lazy.estimate().chunks_read == len(wanted)


def test_a_mask_reads_the_chunks_it_selects_from() -> None:
    stored = source((24, 5), (4, 5))
    mask = np.zeros(24, bool)
    mask[[0, 13, 14]] = True
    np.testing.assert_array_equal(lt.scan_source(stored)[mask].collect(), stored.values[mask])
    assert stored.cells_read() == {(0, 0), (3, 0)}


# Nothing is read twice.


def _diamond(x: lt.LazyTensor) -> lt.LazyTensor:
    return (x + 1) * (x - 1) + lt.where(x > 3, x, -x)


ONCE: dict[str, Any] = {
    "diamond": _diamond,
    "view of a diamond": lambda x: _diamond(x)[::2, ::-1],
    "stack of itself": lambda x: lt.stack([x, x * 2]),
    "concat of itself": lambda x: lt.concat([x, x + 1]).astype("f8"),
    "reduction": lambda x: lt.sum(x, axis=0),
    "mean": lambda x: lt.mean(x),
    "downsample by divisors": lambda x: lt.downsample(x, (2, 4)),
}


@pytest.mark.parametrize("name", sorted(ONCE))
def test_each_chunk_is_read_once(name: str) -> None:
    stored = source((16, 16), (4, 4))
    lazy = ONCE[name](lt.scan_source(stored))
    lazy.collect(engine=lt.LocalEngine(threads=2))
    assert set(times_read(stored).values()) == {1}


def test_collect_all_reads_shared_chunks_once() -> None:
    stored = source((16, 16), (4, 4))
    x = lt.scan_source(stored)
    total, part, doubled = lt.collect_all([lt.sum(x), x[:4], x * 2])
    np.testing.assert_array_equal(doubled, stored.values * 2)
    np.testing.assert_array_equal(part, stored.values[:4])
    assert total == stored.values.sum()
    assert set(times_read(stored).values()) == {1}


SHARED: dict[str, tuple[Any, int, int]] = {
    # name: results, chunks read (of 16 in rows of 4), most times one of them
    "overlapping crops": (lambda x: [x[:8], x[4:]], 16, 1),
    "crops of one row of chunks": (lambda x: [x[0], x[1], x[2, ::-1]], 4, 1),
    "crops of two rows far apart": (lambda x: [x[0], x[1] * 2, x[13], x[14] + 1], 8, 1),
    "crops apart": (lambda x: [x[:4], x[12:]], 8, 1),
    "a crop, and a crop of what is computed": (lambda x: [x[5], (x + 1)[6]], 4, 1),
    "a tensor and its parts": (lambda x: [x, x[:4], x[3::7], x * 2], 16, 1),
    "sparse beside whole": (lambda x: [x.astype("f8"), x[::9, ::9]], 16, 1),
    "sparse alone": (lambda x: [x[::9, ::9], x[1::9, 1::9]], 4, 2),
    "the same twice": (lambda x: [x + 1, x + 1], 16, 1),
    "a projection and its part": (lambda x: [lt.max(x, axis=0), lt.max(x, axis=0)[2:5]], 16, 1),
}


@pytest.mark.parametrize("name", sorted(SHARED))
@pytest.mark.parametrize("engine", ["local", "blocks-64"])
def test_what_results_share_is_read_once_and_nothing_else_is(name: str, engine: str) -> None:
    build, chunks, most = SHARED[name]
    stored = source((16, 16), (4, 4))
    found = lt.collect_all(build(lt.scan_source(stored)), engine=ENGINES[engine])
    for mine, expected in zip(found, build(lt.asarray(stored.values)), strict=True):
        np.testing.assert_array_equal(mine, expected.collect())
    times = times_read(stored)
    assert (len(times), max(times.values())) == (chunks, most)


def test_what_does_not_fit_into_memory_is_shared_where_it_overlaps() -> None:
    stored = source((64, 64), (8, 64))
    x = lt.scan_source(stored)
    results = [x[lo : lo + 4] for lo in range(0, 64, 4)]
    engine = lt.LocalEngine(threads=1, max_memory=8 << 10)
    found = lt.collect_all(results, engine=engine)
    np.testing.assert_array_equal(np.concatenate(found), stored.values)
    times = times_read(stored)
    assert len(times) == 8
    assert sorted(times.values())[:2] == [1, 1]


@settings(max_examples=100)
@given(
    plans(min_ndim=1, max_steps=3),
    st.data(),
    st.sampled_from(sorted(ENGINES)),
    st.sampled_from(SETTINGS),
)
def test_results_computed_together_are_those_computed_apart(
    pair: Pair, data: st.DataObject, engine: str, flags: lt.QueryOptFlags
) -> None:
    x, mirror = pair
    results, expected = [], []
    for _ in range(data.draw(st.integers(2, 5))):
        key = tuple(
            slice(
                data.draw(st.none() | st.integers(0, n)),
                data.draw(st.none() | st.integers(0, n)),
                data.draw(st.sampled_from((None, None, -1, 3))),
            )
            for n in x.shape
        )
        part, values = x[key], mirror.values[key]
        if data.draw(st.booleans()):
            part, values = lt.equal(part, part), np.equal(values, values)
        results.append(part)
        expected.append(values)
    found = lt.collect_all(results, engine=ENGINES[engine], optimizations=flags)
    for mine, values in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, values)


@settings(max_examples=100)
@given(plans(max_steps=4), st.sampled_from(["blocks-1", "local"]), st.sampled_from(SETTINGS))
def test_estimates_count_what_is_read(pair: Pair, engine: str, flags: lt.QueryOptFlags) -> None:
    x, _ = pair
    stored = {
        node.source
        for node in walk(x._node)
        if isinstance(node, Scan) and isinstance(node.source, ChunkedArray)
    }
    estimate = x.estimate(optimizations=flags)
    assert not any(source.boxes for source in stored)
    x.collect(engine=ENGINES[engine], optimizations=flags)
    read = sum(len(source.cells_read()) for source in stored)
    # An estimate is for the engine's own tasks. Cut finer, a gather that cannot move down reads the
    # hull of what each task wants, which is less than the hull of all.
    assert estimate.chunks_read == read if engine == "local" else estimate.chunks_read >= read


def test_two_reductions_of_one_source_read_it_once() -> None:
    stored = source((16, 16), (4, 4))
    x = lt.scan_source(stored)
    lowest, highest = lt.collect_all([lt.min(x), lt.max(x)])
    assert (lowest, highest) == (0, 255)
    assert set(times_read(stored).values()) == {1}


def test_explain_counts_what_is_read() -> None:
    stored = source((100, 100), (10, 10))
    lazy = lt.downsample(lt.scan_source(stored) * 2, (2, 2))[3:5, 20:30]
    assert estimated(lazy.explain()) == (2, 100) == (lazy.estimate().chunks_read, 100)
    assert not stored.boxes
    lazy.collect()
    assert len(stored.cells_read()) == 2
