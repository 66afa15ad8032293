"""Float sums by compiled code have the bits that NumPy's have, however values come."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.exec import folding, fusion, through, workgrid
from lazytensor.exec.fold_states import wanted_totals
from lazytensor.exec.kernels import downsample_compiled, folds, lanes, maps
from lazytensor.exec.kernels.choice import chosen_kernels
from lazytensor.exec.kernels.expression import Expression, ExpressionStep
from lazytensor.exec.laid import laid_in_memory
from lazytensor.plan.ops_lanes import Lanes, lanes_of
from tests import compiling

pytest.importorskip("numba")

missing: set[str] = set()
"""How names of kernels begin that are not there yet."""


def compiled_here(name: str, text: str | None, saves: float) -> Any:
    """As ``choice.compiled``, in this process."""
    if chosen_kernels() == "numpy" or any(name.startswith(part) for part in missing):
        return None
    return compiling.kernel_named(name) if text is None else compiling.kernel_of(text)


@pytest.fixture(autouse=True, scope="module")
def _compiling() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (folds, folding, lanes, maps, downsample_compiled):
            patch.setattr(module, "compiled", compiled_here)
        yield


def fold_of(dtype: str, *, spread: bool) -> lanes.LaneFold:
    with lt.Config(kernels="numba"):
        fold = lanes.lane_fold(np.dtype(dtype), spread=spread, saves=math.inf)
    assert fold is not None
    return fold


def same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    """The same bits; the sign of NaN says nothing."""
    if a is None or b is None:
        return a is b
    number = ~np.isnan(a)
    return np.array_equal(a, b, equal_nan=True) and np.array_equal(
        np.signbit(a) & number, np.signbit(b) & number
    )


EXTENTS = st.sampled_from([1, 2, 3, 8, 31, 33, 64, 100, 257])


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, Lanes, list[tuple[slice, ...]]]:
    """A block, its lanes, and the block in pieces in some order."""
    shape = tuple(draw(st.lists(EXTENTS, min_size=2, max_size=4)))
    reduced = [draw(st.booleans()) for _ in shape]
    if math.prod(shape) > 500_000 or draw(st.integers(0, 9)) == 0:
        shape, reduced = (draw(st.integers(16, 20_000)), draw(st.integers(2, 20))), [True, False]
    cuts = [tuple(sorted({0, n, *draw(st.lists(st.integers(0, n), max_size=2))})) for n in shape]
    found = lanes_of(shape, reduced, cuts)
    if found is None:
        shape, reduced, cuts = (20, 3000), [True, True], [(0, 20), (0, 7, 3000)]
        found = lanes_of(shape, reduced, cuts)
        assert found is not None
    dtype = draw(st.sampled_from(["f4", "f8", "i8"]))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    values = (rng.normal(3, 10, shape) * 10.0 ** rng.integers(-4, 4, shape)).astype(dtype)
    if dtype != "i8" and draw(st.booleans()):
        few = rng.random(shape) < draw(st.sampled_from([0.001, 0.1, 1.0]))
        ends = draw(st.sampled_from([[np.nan, np.inf, -np.inf, 1.0], [-0.0], [0.0, -0.0]]))
        values[few] = rng.choice(ends, int(few.sum()))
    if draw(st.booleans()):
        values = np.asfortranarray(values)
    elif draw(st.booleans()):
        values = np.repeat(values, 2, axis=-1)[..., ::2]
    pieces = [tuple([slice(0, n) for n in shape])]
    if draw(st.booleans()):
        pieces = list(
            itertools.product(*[[slice(*e) for e in itertools.pairwise(c)] for c in cuts])
        )
        pieces = draw(st.permutations(pieces)) if len(pieces) < 30 else pieces[::-1]
    return values, found, list(pieces)


@given(cases())
@settings(max_examples=80, deadline=None)
def test_slots_have_the_bits_of_numpy(case: Any) -> None:
    values, found, pieces = case
    plain = lanes.filled(values, found, spread=True)
    for spread in (False, True):
        cells = fold_of(values.dtype.str[1:], spread=spread).cells(found)
        consumer = cells.consumer()
        for piece in pieces:
            consumer.take(values[piece], [s.start for s in piece])
        slots = cells.slots()
        assert same(slots.sums, plain.sums)
        if spread:
            assert same(slots.means, plain.means)
            assert same(slots.squares, plain.squares)


@pytest.mark.parametrize(("dtype", "spread"), [("i4", False), ("u8", True)])
def test_integers(dtype: str, spread: bool) -> None:
    """Those of 64 bits with a sign are among the cases above; what has none is cast otherwise."""
    ends = np.iinfo(dtype)
    values = np.random.default_rng(3).integers(ends.min, ends.max, (70, 40, 9), dtype)
    found = lanes_of(values.shape, [True, False, True], [(0, 33, 70), (0, 40), (0, 9)])
    assert found is not None
    cells = fold_of(dtype, spread=spread).cells(found)
    cells.consumer().take(values, (0, 0, 0))
    slots, plain = cells.slots(), lanes.filled(values, found, spread=spread)
    for a, b in zip(slots, plain, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_map_before() -> None:
    u2, f4 = np.dtype("u2"), np.dtype("f4")
    halved = Expression(
        (u2,), (f4,), (ExpressionStep("cast", (0,), f4), ExpressionStep("multiply", (2, 1), f4)), 3
    )
    with lt.Config(kernels="numba"):
        found = maps.compiled_map(halved, [np.float32(0.3).tobytes()], math.inf)
    assert found is not None
    before = folds.Before(found.function, found.constants, 2, found.keep)
    values = np.random.default_rng(0).integers(0, 1000, (50, 33, 70)).astype(u2)
    for reduced in ([True] * 3, [True, False, False], [True, True, False]):
        how = lanes_of(values.shape, reduced, [(0, 20, 50), (0, 33), (0, 70)])
        assert how is not None
        for view in (values, np.asfortranarray(values)):
            cells = fold_of("f4", spread=True).cells(how)
            consumer = cells.consumer(before)
            consumer.take(view[:20], (0, 0, 0))
            consumer.take(view[20:], (20, 0, 0))
            plain = lanes.filled(values.astype(f4) * np.float32(0.3), how, spread=True)
            for a, b in zip(cells.slots(), plain, strict=True):
                np.testing.assert_array_equal(a, b)


def test_how_memory_lies_does_not_choose_what_is_reduced() -> None:
    values = np.random.default_rng(0).normal(size=(40, 50, 60))
    for view in (values.transpose(2, 0, 1), values[::-1, :, ::-1], values):
        laid = laid_in_memory(view, (0,))
        if laid is not None:
            slots = lanes.filled(laid.turn(view), laid.lanes, spread=True)
            wanted = wanted_totals("sum", view.dtype, {})
            total = laid.state(wanted, slots)[0]  # type: ignore[arg-type]
            np.testing.assert_allclose(total, view.sum(0, keepdims=True), rtol=1e-10, atol=1e-10)
    assert laid_in_memory(np.broadcast_to(values[:1], values.shape), (0,)) is None


# Whole runs.


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "FEWEST", 100)
    monkeypatch.setattr(folding, "FEWEST_IN_LANES", 100)
    monkeypatch.setattr(fusion, "_FEWEST", 0)
    monkeypatch.setattr(workgrid, "TARGET", 256 << 10)
    monkeypatch.setattr(workgrid, "_SMALLEST", 256 << 10)


SHAPE = (75, 90, 61)
OPS = ("sum", "mean", "var", "std", "max")


def bits(x: lt.LazyTensor, engine: Any) -> list[bytes]:
    """Of reductions over all axes and some, each group one pass."""
    groups = [
        [getattr(lt, op)(x, axis=axis) for op in OPS] for axis in (None, 0, (0, 1), 2, (0, 2))
    ]
    groups.append([lt.sum(x[3:-2, ::-1].transpose(2, 0, 1), axis=(0, 1))])
    groups.append([lt.mean(x[::2, 1:], axis=(0, 1)), lt.std(x[::2, 1:], axis=(0, 1))])
    groups.append([lt.mean(x * 0.1 + 3), lt.std(x * 0.1 + 3)])
    return [np.asarray(a).tobytes() for g in groups for a in lt.collect_all(g, engine=engine)]


STORED: dict[str, dict[str, Any]] = {
    "chunks": {"chunks": (20, 32, 16)},
    "narrow": {"chunks": (25, 30, 4)},
    "shards": {"chunks": (20, 24, 16), "shards": (40, 48, 64)},
    "turned": {"chunks": (20, 32, 16), "order": "F", "zarr_format": 2},
    "missing": {"chunks": (20, 32, 16), "fill_value": 0.3},
}


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [*((kind, "f4") for kind in (*STORED, "memory", "memory turned")), ("chunks", "f8")],
)
def test_bits_do_not_depend_on_kernels_or_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, dtype: str
) -> None:
    values = (np.random.default_rng(4).normal(1, 3, SHAPE) ** 3).astype(dtype)
    if kind.startswith("memory"):
        x = lt.asarray(values if kind == "memory" else np.asfortranarray(values))
    else:
        zarr = pytest.importorskip("zarr")
        array = zarr.create_array(str(tmp_path), shape=SHAPE, dtype=dtype, **STORED[kind])
        array[: 40 if kind == "missing" else None] = values[: 40 if kind == "missing" else None]
        x = lt.scan_zarr(tmp_path)
    handed: list[bool] = []
    read = through.read_line

    def reading(*given: Any) -> bool:
        handed.append(read(*given))
        return handed[-1]

    monkeypatch.setattr(folding, "read_line", reading)
    found = [
        bits(x, lt.LocalEngine(threads=threads, kernels=kernels))
        for kernels, threads in (("numpy", 1), ("numpy", 3), ("numba", 1), ("numba", 3))
    ]
    assert found[0] == found[1] == found[2] == found[3]
    assert any(handed) == (kind in STORED)


@pytest.mark.parametrize("side", [17, 31, 33])
def test_bits_of_little_do_not_depend_on_kernels(tmp_path: Path, side: int) -> None:
    """Up to some size, nobody adds up in lanes."""
    zarr = pytest.importorskip("zarr")
    values = np.random.default_rng(side).normal(1, 3, (side,) * 3).astype("f4")
    array = zarr.create_array(str(tmp_path), shape=values.shape, dtype="f4", chunks=(20, 32, 16))
    array[...] = values
    for x in (lt.asarray(values), lt.scan_zarr(tmp_path)):
        plain = bits(x, lt.LocalEngine(threads=1, kernels="numpy"))
        assert bits(x, lt.LocalEngine(threads=2, kernels="numba")) == plain
        assert bits(x, lt.LocalEngine(threads=2)) == plain


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("gone", ["lanes_", "fold_", "map", "fold_each"])
def test_bits_do_not_depend_on_what_is_compiled_by_now(tmp_path: Path, gone: str) -> None:
    zarr = pytest.importorskip("zarr")
    values = np.random.default_rng(4).normal(1, 3, SHAPE).astype("f4")
    array = zarr.create_array(str(tmp_path), shape=SHAPE, dtype="f4", chunks=(20, 32, 16))
    array[...] = values
    x = lt.scan_zarr(tmp_path)
    engine = lt.LocalEngine(threads=2, kernels="numba")
    all_there = bits(x, engine)
    missing.add(gone)
    try:
        assert bits(x, engine) == all_there
    finally:
        missing.clear()


@pytest.mark.usefixtures("small_blocks")
def test_code_that_turns_up_during_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    values = np.random.default_rng(4).normal(1, 3, SHAPE).astype("f4")
    array = zarr.create_array(str(tmp_path), shape=SHAPE, dtype="f4", chunks=(20, 32, 16))
    array[...] = values
    x = lt.scan_zarr(tmp_path)
    wanted = bits(x, lt.LocalEngine(threads=1, kernels="numpy"))
    asked = itertools.count()

    def now_and_then(name: str, text: str | None, saves: float) -> Any:
        return compiled_here(name, text, saves) if next(asked) % 2 else None

    for module in (folds, folding, lanes, maps):
        monkeypatch.setattr(module, "compiled", now_and_then)
    read = through.read_line
    monkeypatch.setattr(folding, "read_line", lambda *given: next(asked) % 3 > 0 and read(*given))
    for _ in range(3):
        assert bits(x, lt.LocalEngine(threads=2, kernels="numba")) == wanted
