"""What is read once although several results, or several passes of one, look at it."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.exec.engine import collect_nodes
from lazytensor.exec.sharing import Shared, share
from lazytensor.exec.stages import plan_stages
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Scan
from tests.engines import ENGINES, Blocks
from tests.plan.test_rules_pyramid import pyramid
from tests.plans import Pair, plans
from tests.sources import ChunkedArray

APART = lt.QueryOptFlags(comm_subplan_elim=False)
MANY = 1 << 30


def source(
    shape: tuple[int, ...] = (32, 32), chunks: tuple[int, ...] = (8, 8), dtype: str = "i4"
) -> ChunkedArray:
    size = math.prod(shape)
    values = np.random.default_rng(size).permutation(size).reshape(shape).astype(dtype)
    return ChunkedArray(values, chunks)


def shared(*results: lt.LazyTensor, room: int = MANY) -> Shared | None:
    roots = [x._node for x in results]
    return share(roots, plan_stages(roots), room)


def kept(*results: lt.LazyTensor, room: int = MANY) -> frozenset[Node]:
    found = shared(*results, room=room)
    return frozenset() if found is None else found.kept


def times_read(stored: ChunkedArray) -> Counter[tuple[int, ...]]:
    return Counter(cell for box in stored.boxes for cell in stored.cells_of(box))


def most(stored: ChunkedArray) -> int:
    return max(times_read(stored).values(), default=0)


# ---- several passes of one result

DIAMONDS: dict[str, Any] = {
    "minus its mean": lambda x: x - lt.mean(x),
    "in float": lambda x: x.astype("f4") - lt.mean(x.astype("f4")),
    "rescaled": lambda x: (x - lt.min(x)) / (lt.max(x) - lt.min(x)),
    "z score": lambda x: (x - lt.mean(x)) / lt.std(x),
    "std by hand": lambda x: lt.sqrt(lt.mean((x - lt.mean(x)) ** 2)),
    "two axes": lambda x: lt.max(lt.sum(x, axis=0)) + lt.max(lt.sum(x, axis=1)),
    "kept axis": lambda x: x - lt.max(x, axis=1, keepdims=True),
    "each axis": lambda x: x - lt.max(x, axis=0) + lt.max(x, axis=1),
    "three passes": lambda x: x / lt.max(x - lt.mean(x)),
    "of a downsample": lambda x: (lambda y: y - lt.mean(y))(lt.downsample(x, (2, 2))),
    "of a view": lambda x: (lambda y: y - lt.min(y))(x[3:20, ::-1]),
    "counted": lambda x: x[:16] * lt.sum(x[:16] > lt.mean(x[:16])),
}


@pytest.mark.parametrize("name", sorted(DIAMONDS))
@pytest.mark.parametrize("engine", ["local", "blocks-64"])
def test_a_diamond_over_passes_reads_once(name: str, engine: str) -> None:
    stored = source()
    build = DIAMONDS[name]
    lazy = build(lt.scan_source(stored))
    estimate = lazy.estimate(engine=ENGINES["local"])
    found = lazy.collect(engine=ENGINES[engine])
    np.testing.assert_allclose(found, build(lt.asarray(stored.values)).collect(), rtol=1e-6)
    assert most(stored) == 1
    assert estimate.chunks_read == len(times_read(stored))
    stored.boxes.clear()
    again = lazy.collect(engine=ENGINES[engine], optimizations=APART)
    assert most(stored) > 1
    np.testing.assert_allclose(again, found, rtol=1e-6)


def test_what_does_not_fit_is_read_again() -> None:
    stored = source((64, 64))
    x = lt.scan_source(stored)
    lazy = x - lt.min(x)
    for limit, times in (("1MiB", 1), ("20KiB", 2)):
        stored.boxes.clear()
        engine = lt.LocalEngine(threads=1, max_memory=limit)
        np.testing.assert_array_equal(
            lazy.collect(engine=engine), stored.values - stored.values.min()
        )
        assert most(stored) == times


def test_what_is_kept_is_counted() -> None:
    stored = source((256, 256))
    x = lt.scan_source(stored)
    lazy = x - lt.min(x)
    with_kept, without = lazy.estimate(), lazy.estimate(optimizations=APART)
    assert with_kept.peak_memory >= without.peak_memory + stored.values.nbytes // 2
    assert with_kept.chunks_read == without.chunks_read == 1024


def test_a_part_is_no_reason_to_keep_the_whole() -> None:
    stored = source()
    x = lt.scan_source(stored)
    (x - lt.mean(x))[:4, :4].collect()
    assert sorted(times_read(stored).values())[-2:] == [1, 2]
    assert shared((x - lt.mean(x))[:4, :4]) is None


def test_what_is_in_memory_is_not_kept() -> None:
    x = lt.asarray(np.arange(1 << 20))
    for lazy in (x - lt.mean(x), (x + 1) - lt.mean(x + 1), x.astype("f4") - lt.mean(x)):
        assert shared(lazy) is None
    y = lt.downsample(x, (4,), "median")
    assert shared(y - lt.mean(y)) is not None


def test_the_narrowest_is_kept() -> None:
    x = lt.scan_source(source(dtype="u1"))
    wide = x.astype("f8") + 1
    assert kept(wide * 2, lt.exp(wide)) == {x._node}
    deep = lt.exp(lt.sin(wide))
    assert kept(deep * 2, lt.sqrt(deep)) == {deep._node}


def test_sums_are_those_of_one_pass() -> None:
    stored = source((64, 64), dtype="f4")
    stored.values *= np.float32(1.1)
    x = lt.scan_source(stored)
    lazy = x - lt.mean(x)
    first = lazy.collect(engine=lt.LocalEngine(threads=1))
    for threads in (1, 2, 4):
        engine = lt.LocalEngine(threads=threads)
        np.testing.assert_array_equal(first, lazy.collect(engine=engine))
    np.testing.assert_array_equal(first, lazy.collect(optimizations=APART))


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (1, 1)])
def test_empty_and_single_tensors(shape: tuple[int, int]) -> None:
    stored = ChunkedArray(np.ones(shape), (2, 2))
    x = lt.scan_source(stored)
    lazy = x - lt.sum(x)
    np.testing.assert_array_equal(
        lazy.collect(engine=ENGINES["local"]), stored.values - stored.values.sum()
    )
    assert most(stored) <= 1


# ---- several results

TOGETHER: dict[str, Any] = {
    "statistics": lambda x: [lt.mean(x), lt.std(x), lt.min(x), lt.max(x)],
    "statistics along different axes": lambda x: [lt.sum(x, axis=0), lt.sum(x, axis=1), lt.max(x)],
    "an array and its mean": lambda x: [x, lt.mean(x)],
    "views that overlap": lambda x: [x[:20], x[12:], x[:, 5:9]],
    "what is computed of it": lambda x: [x + 1, lt.flip(x), x[::3], lt.downsample(x, (2, 2))],
    "diamonds": lambda x: [x - lt.mean(x), x / lt.max(x)],
    "a chain and its ends": lambda x: [lt.sum(x * 2 + 1), (x * 2 + 1)[4:9], x],
    "flipped": lambda x: [lt.flip(x) + x, lt.sum(x)],
}


@pytest.mark.parametrize("name", sorted(TOGETHER))
@pytest.mark.parametrize("engine", ["local", "blocks-64"])
def test_results_read_once(name: str, engine: str) -> None:
    stored = source()
    build = TOGETHER[name]
    found = lt.collect_all(build(lt.scan_source(stored)), engine=ENGINES[engine])
    for mine, expected in zip(found, build(lt.asarray(stored.values)), strict=True):
        np.testing.assert_allclose(mine, expected.collect(), rtol=1e-6)
    # Two looks at one array in one pass meet chunk by chunk only where their chunks do.
    assert most(stored) == 1 or (name == "flipped" and engine != "local")


def test_the_flag_switches_sharing_off() -> None:
    stored = source()
    x = lt.scan_source(stored)
    lt.collect_all([lt.min(x), lt.max(x)], optimizations=APART)
    assert most(stored) == 2


def test_a_pyramid_and_its_base() -> None:
    values = np.arange(32 * 32, dtype="u2").reshape(32, 32)
    fine, coarse = pyramid(values, [(2, 2)], chunks=8)
    x = lt.scan_source(fine)
    base, low = lt.collect_all([x, x.downsample((2, 2))])
    np.testing.assert_array_equal(base, values)
    np.testing.assert_array_equal(low, coarse.values)
    assert most(fine) == 1 and not coarse.boxes
    fine.boxes.clear()
    lt.collect_all([x[:8], x.downsample((2, 2))])
    assert len(times_read(fine)) == 4 and len(times_read(coarse)) == 4


# ---- blocks whose chunks overlap

SHIFTED: dict[str, Any] = {
    "difference": lambda x: x[1:] - x[:-1],
    "difference of columns": lambda x: x[:, 1:] - x[:, :-1],
    "five points": lambda x: (
        4 * x[1:-1, 1:-1] - x[2:, 1:-1] - x[:-2, 1:-1] - x[1:-1, 2:] - x[1:-1, :-2]
    ),
    "mirrored": lambda x: x + lt.flip(x),
    "transposed": lambda x: x - x.T,
    "reduced": lambda x: lt.max(x[1:] - x[:-1], axis=0),
}


@pytest.mark.parametrize("name", sorted(SHIFTED))
def test_windows_that_are_shifted_decode_once(name: str) -> None:
    stored = source((1024, 1024), (64, 64))
    build = SHIFTED[name]
    lazy = build(lt.scan_source(stored))
    found = lazy.collect()
    np.testing.assert_array_equal(found, build(lt.asarray(stored.values)).collect())
    assert most(stored) == 1
    stored.boxes.clear()
    np.testing.assert_array_equal(lazy.collect(optimizations=APART), found)
    assert most(stored) > 1


@pytest.mark.parametrize(
    "build",
    [
        lambda x: x + 1,
        lambda x: x * x[:, :1],
        lambda x: x[:512] + x[512:],
        lambda x: lt.stack([x, x + 1]),
        lambda x: x[64:] - x[:-64] if x.shape[0] > 4096 else x,
    ],
)
def test_windows_that_share_little_are_read_as_they_are(build: Any) -> None:
    x = lt.scan_source(source((1024, 1024), (64, 64)))
    assert shared(build(x)) is None


def test_what_is_shifted_and_too_large_is_read_as_it_is() -> None:
    x = lt.scan_source(source((1024, 1024), (64, 64)))
    assert shared(x[1:] - x[:-1], room=1 << 20) is None
    assert kept(x[1:] - x[:-1], room=8 << 20) == {x._node}


# ---- engines


class Plain:
    """An engine that knows of nothing but the protocol."""

    name = "plain"

    def __init__(self) -> None:
        self.calls = 0

    def run(self, roots: Any, outs: Any, *, progress: Any = None, cancel: Any = None) -> None:
        self.calls += 1
        lt.InterpretEngine().run(roots, outs)


def test_an_engine_need_not_know_the_flag() -> None:
    engine = Plain()
    x = lt.scan_source(source())
    np.testing.assert_array_equal(
        (x - lt.min(x)).collect(engine=engine, optimizations=APART), (x - lt.min(x)).collect()
    )
    assert engine.calls == 1


# ---- many


def test_a_thousand_small_views_are_read_once() -> None:
    stored = source((4096, 16), (16, 16))
    x = lt.scan_source(stored)
    views = [x[4 * i : 4 * i + 6] for i in range(1000)]
    found = lt.collect_all(views)
    for i, mine in enumerate(found):
        np.testing.assert_array_equal(mine, stored.values[4 * i : 4 * i + 6])
    assert most(stored) == 1


# ---- random plans


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[lt.LazyTensor], list[ChunkedArray]]:
    """Results over one or two sources that use each other's parts in any way."""
    stored = [
        ChunkedArray(
            np.random.default_rng(draw(st.integers(0, 5))).integers(-9, 9, (12, 10)).astype("i8"),
            (draw(st.integers(1, 6)), draw(st.integers(2, 10))),
        )
        for _ in range(draw(st.integers(1, 2)))
    ]
    known = [lt.scan_source(s) for s in stored]
    for _ in range(draw(st.integers(1, 8))):
        a, b = draw(st.sampled_from(known)), draw(st.sampled_from(known))
        kind = draw(st.sampled_from(["add", "less", "crop", "flip", "step", "sum", "down", "pick"]))
        if kind == "add":
            made = a + b
        elif kind == "less":
            made = a - lt.max(b)
        elif kind == "crop":
            lo, hi = sorted((draw(st.integers(0, 12)), draw(st.integers(0, 12))))
            made = lt.concat([a[lo:hi], a[hi:], a[:lo]])
        elif kind == "flip":
            made = lt.flip(a, axis=draw(st.integers(0, 1)))
        elif kind == "step":
            made = lt.concat([a[::2], b[1::2]])
        elif kind == "sum":
            made = a * lt.sum(b, axis=draw(st.integers(0, 1)), keepdims=True)
        elif kind == "down":
            made = lt.repeat(lt.downsample(a, (2, 1), align="position"), 2, axis=0)
        else:
            made = a - b[draw(st.integers(0, 11))]
        known.append(made)
    results = draw(st.lists(st.sampled_from(known), min_size=1, max_size=4))
    for i, x in enumerate(results):
        if draw(st.booleans()):
            lo = draw(st.integers(0, 11))
            results[i] = x[lo : draw(st.integers(lo, 12))]
    return results, stored


def cells(stored: list[ChunkedArray]) -> int:
    """Chunks read, one counted as often as it was."""
    total = sum(sum(times_read(one).values()) for one in stored)
    for one in stored:
        one.boxes.clear()
    return total


@settings(max_examples=200, deadline=None)
@given(graphs(), st.sampled_from(["local", "blocks-64"]))
def test_sharing_reads_no_more(
    graph: tuple[list[lt.LazyTensor], list[ChunkedArray]], engine: str
) -> None:
    results, stored = graph
    nodes = [x._node for x in results]
    found = collect_nodes(nodes, engine=ENGINES[engine])
    together = cells(stored)
    expected = collect_nodes(nodes, engine=ENGINES[engine], optimizations=APART)
    apart = cells(stored)
    oracle = collect_nodes(nodes, engine=ENGINES["interpret"])
    for mine, theirs, right in zip(found, expected, oracle, strict=True):
        np.testing.assert_array_equal(mine, right)
        np.testing.assert_array_equal(theirs, right)
    if engine == "local":
        assert together <= apart


@settings(max_examples=100, deadline=None)
@given(plans(max_steps=4))
def test_random_results_beside_their_mean(pair: Pair) -> None:
    x, mirror = pair
    if x.dtype.kind not in "iuf" or not x.size:
        return
    stored = {
        node.source
        for node in walk(x._node)
        if isinstance(node, Scan) and isinstance(node.source, ChunkedArray)
    }
    with np.errstate(all="ignore"):
        lazy = lt.equal(x, lt.max(x))
        expected = np.equal(mirror.values, np.max(mirror.values))
    np.testing.assert_array_equal(lazy.collect(engine=Blocks(64, 2)), expected)
    cells(list(stored))
    lazy.collect()
    together = cells(list(stored))
    lazy.collect(optimizations=APART)
    assert together <= cells(list(stored))
