"""Compiled folds: the states of NumPy for every dtype, shape, stride and cut."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.errors import FormatError
from lazytensor.exec import fold_states, folding, fusion, workgrid
from lazytensor.exec.kernels import downsample_compiled, folds, lanes, maps
from lazytensor.exec.kernels.choice import chosen_kernels
from lazytensor.exec.kernels.order import digit_counts, digits, table_size
from lazytensor.plan.ops import SUMMARIES
from tests import compiling
from tests.sources import ChunkedArray

OPS = tuple(fold_states._CHOICES)
MAIN = ("u2", "f4", "i8")
FOLDS = [
    *itertools.product(MAIN, (False, True)),
    *((name, False) for name in ("?", "i1", "u4", "u8", "f8")),
    *((name, True) for name in ("u1", "i2", "i4", "f2")),
]
"""Dtypes, and whether rows or runs are folded. Compiling takes a second for each, and both are made
of the same steps; so every dtype is here, and both ways only of some."""


used: list[str] = []
"""Names of the kernels that were asked for and given."""


def compiled_here(name: str, text: str | None, saves: float) -> Any:
    """As ``choice.compiled``, in this process."""
    if chosen_kernels() == "numpy":
        return None
    used.append(name)
    return compiling.kernel_named(name) if text is None else compiling.kernel_of(text)


@pytest.fixture(autouse=True, scope="module")
def _compiling() -> Iterator[None]:
    pytest.importorskip("numba")
    with pytest.MonkeyPatch.context() as patch:
        for module in (folds, folding, lanes, maps, downsample_compiled):
            patch.setattr(module, "compiled", compiled_here)
        yield


def all_totals(dtype: np.dtype, *, rows: bool) -> folds.Fold:
    """One fold with whatever any operation needs."""
    found = [fold_states.wanted_totals(op, dtype, {}) for op in OPS]
    totals = [wanted for wanted in found if isinstance(wanted, fold_states.Wanted)]
    names = sorted({name for wanted in totals for name in wanted.names})
    with lt.Config(kernels="numba"):
        fold = folds.totals_fold(dtype, names, rows=rows, saves=math.inf)
    assert fold is not None
    return fold


def ordinary(dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Distinct values, as far as there are so many, of both signs."""
    n = math.prod(shape)
    values = (np.arange(n) * 7919 % max(n, 1)).reshape(shape)
    if dtype.kind == "f":
        return (values / 7 - n / 20).astype(dtype)
    return values.astype(dtype)


def special(dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """The ends of the range; NaN, infinities, zeros of both signs."""
    if dtype.kind == "f":
        ends: list[Any] = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.5, -2.5, 5e-324]
    elif dtype.kind == "b":
        ends = [True, False]
    else:
        ends = [np.iinfo(dtype).min, np.iinfo(dtype).max, 0, 1]
    picks = np.random.default_rng(1).integers(0, len(ends), shape)
    return np.array(ends, dtype)[picks]


def zeros_of_both_signs(dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Mostly one sign."""
    values = np.zeros(shape, dtype)
    if dtype.kind == "f":
        values[np.random.default_rng(2).random(shape) < 0.9] = -0.0
    return values


def seen(values: np.ndarray) -> Iterator[np.ndarray]:
    """The values, and others, in memory of all kinds."""
    yield values
    yield np.asfortranarray(values)
    yield values[(slice(None, None, -1),) * values.ndim]
    yield np.repeat(values, 2, axis=-1)[..., ::2] if values.ndim else values
    if values.ndim > 1:
        yield np.broadcast_to(values[:1], values.shape)
        yield np.moveaxis(np.moveaxis(values, 0, -1).copy(), -1, 0)


def cuts(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """A box in pieces, in C order."""
    edges = [sorted({0, n // 3, n - n // 4, n}) for n in shape]
    yield from itertools.product(*([slice(a, b) for a, b in itertools.pairwise(e)] for e in edges))


def check(fold: folds.Fold, values: np.ndarray, axes: tuple[int, ...], *, cut: bool) -> None:
    """All operations over some axes, against NumPy's states."""
    values = np.asarray(values)
    kept = tuple(1 if d in axes else n for d, n in enumerate(values.shape))
    count = math.prod(values.shape[d] for d in axes)
    cells = fold.cells(kept)
    consumer = cells.consumer(values.shape)
    for part in cuts(values.shape) if cut else [tuple(slice(0, n) for n in values.shape)]:
        consumer.take(values[part] if values.ndim else values, [s.start for s in part])
    dtype = values.dtype
    for op in OPS:
        wanted = fold_states.wanted_totals(op, dtype, {})
        if not isinstance(wanted, fold_states.Wanted):
            continue
        row = SUMMARIES[op]
        state = wanted.state(cells, count, ())
        plain = row.partial(values, axes)
        assert [(part.dtype, part.shape) for part in state] == [
            (part.dtype, part.shape) for part in plain
        ], (op, dtype)
        found = row.finish(state, dtype=dtype, count=count)
        other = row.finish(plain, dtype=dtype, count=count)
        what = (op, dtype, values.shape, values.strides, axes, cut)
        np.testing.assert_array_equal(found, other, err_msg=str(what))
        if found.dtype.kind == "f":
            number = ~np.isnan(found)  # the sign of NaN says nothing
            np.testing.assert_array_equal(np.signbit(found) & number, np.signbit(other) & number)


SHAPES = [(), (1,), (63,), (5000,), (3, 70), (200, 5), (2, 3, 67), (4, 1, 33), (2, 140, 2, 35)]


@pytest.mark.parametrize(("name", "rows"), FOLDS)
def test_states_are_those_of_numpy(name: str, rows: bool) -> None:
    dtype = np.dtype(name)
    fold = all_totals(dtype, rows=rows)
    for shape in SHAPES:
        dims = range(len(shape))
        for n in range(len(shape) + 1):
            for axes in itertools.combinations(dims, n):
                for make in (ordinary, special, zeros_of_both_signs):
                    check(fold, make(dtype, shape), axes, cut=True)
                for values in seen(ordinary(dtype, shape)):
                    check(fold, values, axes, cut=False)


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("name", MAIN)
def test_long_runs_and_wide_rows(name: str, rows: bool) -> None:
    dtype = np.dtype(name)
    fold = all_totals(dtype, rows=rows)
    for shape in [(70_000,), (300, 2100), (3, 50, 70, 60)]:
        for axes in [(0,), (len(shape) - 1,), tuple(range(len(shape)))]:
            check(fold, ordinary(dtype, shape), axes, cut=False)
            check(fold, ordinary(dtype, shape), axes, cut=True)


@pytest.mark.parametrize("rows", [False, True])
def test_nothing_outside_of_the_cells_is_written(rows: bool) -> None:
    fold = all_totals(np.dtype("u2"), rows=rows)
    cells = fold.cells((1, 30, 50))
    planes = cells._planes
    guarded = np.full(planes.size + 64, 77, np.int64)
    inside = guarded[32:-32].reshape(planes.shape)
    inside[...] = planes
    cells._planes = inside
    values = ordinary(np.dtype("u2"), (20, 30, 50))
    cells.consumer(values.shape).take(values, (0, 0, 0))
    assert (guarded[:32] == 77).all()
    assert (guarded[-32:] == 77).all()
    np.testing.assert_array_equal(cells.words("sum"), values.sum(0, keepdims=True, dtype=np.int64))


DIGITS = ("b1", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8")


@pytest.fixture(scope="module")
def digit_kernel() -> Any:
    """One kernel for the leading digits of all dtypes: words number of the dtype, values, where
    they are, and where digits go."""
    names = [f"digit_{name}" for name in DIGITS if name != "b1"]
    number = {name: DIGITS.index(name.removeprefix("digit_")) for name in names}
    cases = "".join(
        f"        if which == {number[name]}:\n            found[i] = {name}(at, i)\n"
        for name in names
    )
    text = (
        "from lazytensor.native.intrinsics import i64\n"
        f"from lazytensor.native.kernels.fold_tally import {', '.join(names)}\n"
        "from lazytensor.native.kernels.memory import word\n\n"
        "def kernel(p):\n"
        "    which, n, at, found = word(p, 0), word(p, 1), word(p, 2), i64(word(p, 3))\n"
        f"    for i in range(n):\n{cases}    return 0\n"
    )
    return compiling.kernel_of(text)


@pytest.mark.parametrize("name", DIGITS)
def test_leading_digits(name: str, digit_kernel: Any) -> None:
    dtype = np.dtype(name)
    values = np.concatenate([make(dtype, (5000,)) for make in (ordinary, special)])
    seen_as = values.view("u1") if dtype.kind == "b" else values
    out = np.full(values.size, -1, np.int64)
    which = DIGITS.index("u1" if dtype.kind == "b" else name)
    words = np.array([which, values.size, values.ctypes.data, out.ctypes.data], np.int64)
    digit_kernel(words.ctypes.data)
    np.testing.assert_array_equal(out, digits(seen_as, 0))


@pytest.mark.parametrize("name", ["u2", "f4"])
def test_tables_of_counts(name: str) -> None:
    dtype = np.dtype(name)
    size = table_size(dtype)
    with lt.Config(kernels="numba"):
        fold = folds.tally_fold(dtype, size, saves=math.inf)
    assert fold is not None
    for values in (ordinary(dtype, (3, 40, 50)), special(dtype, (3, 40, 50))):
        for array in seen(values):
            cells = fold.cells((3, 1, 1))
            cells.consumer(array.shape).take(array, (0, 0, 0))
            for row, counts in zip(array, cells.counts[:, 0, 0], strict=True):
                flat = np.ascontiguousarray(row).reshape(-1)
                flat = flat.view("u1") if dtype.kind == "b" else flat
                np.testing.assert_array_equal(counts, digit_counts(flat, size, 0))


def test_a_map_before_a_fold() -> None:
    from lazytensor.exec.kernels.expression import Expression, ExpressionStep
    from lazytensor.exec.kernels.maps import compiled_map

    u2, f4 = np.dtype("u2"), np.dtype("f4")
    halved = Expression(
        (u2,), (f4,), (ExpressionStep("cast", (0,), f4), ExpressionStep("multiply", (2, 1), f4)), 3
    )
    with lt.Config(kernels="numba"):
        found = compiled_map(halved, [np.float32(0.5).tobytes()], math.inf)
    assert found is not None
    before = folds.Before(found.function, found.constants, 2, found.keep)
    values = ordinary(u2, (20, 30, 40))
    for rows, axes in ((False, (0, 1, 2)), (True, (0,)), (False, (2,))):
        kept = tuple(1 if d in axes else n for d, n in enumerate(values.shape))
        cells = all_totals(f4, rows=rows).cells(kept)
        consumer = cells.consumer(values.shape, before=before)
        for part in cuts(values.shape):
            consumer.take(values[part], [s.start for s in part])
        half = values.astype("f4") * np.float32(0.5)
        np.testing.assert_array_equal(cells.extremes("greatest"), half.max(axes, keepdims=True))
        np.testing.assert_array_equal(cells.extremes("least"), half.min(axes, keepdims=True))


# Whole runs.


class Handing(ChunkedArray):
    """A chunked array that hands its values over, cell by cell."""

    def __init__(self, values: np.ndarray, chunks: tuple[int, ...], *, whole: bool = False) -> None:
        super().__init__(values, chunks)
        self.chunks = chunks
        self.whole = whole
        self.handed = 0

    def read_through(self, box: Any, steps: tuple[int, ...], consumer: Any) -> bool:
        if self.whole or set(steps) != {1}:
            return False
        self.handed += 1
        edges = [
            sorted({lo, hi, *range(-(-lo // c) * c, hi, c)})
            for (lo, hi), c in zip(box, self.chunks, strict=True)
        ]
        for cell in itertools.product(*map(itertools.pairwise, edges)):
            values = self.values[tuple(slice(a, b) for a, b in cell)]
            consumer.take(values, [a - lo for (a, _), (lo, _) in zip(cell, box, strict=True)])
        return True


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "FEWEST", 0)
    monkeypatch.setattr(folding, "FEWEST_IN_LANES", 0)
    monkeypatch.setattr(fusion, "_FEWEST", 0)
    monkeypatch.setattr(workgrid, "TARGET", 16 << 10)
    monkeypatch.setattr(workgrid, "_SMALLEST", 16 << 10)


FOLDED = ("sum", "mean", "std", "min", "max", "any", "count_nonzero")


def results(x: lt.LazyTensor, engine: Any, ops: tuple[str, ...] = FOLDED) -> list[np.ndarray]:
    """Reductions of every kind over all axes, the first, the last and the middle; and counts.

    Each group is one pass over what is read.
    """
    turned = x[3:-2, ::-1].transpose(2, 0, 1)
    groups = [[getattr(lt, op)(x, axis=axis) for op in ops] for axis in (None, 0, 2, 1)]
    groups.append([getattr(lt, op)(turned, axis=(0, 1)) for op in FOLDED])
    groups[0].append(lt.histogram(x, bins=20, range=(0, 5000))[0])
    groups[0].append(lt.quantile(x, 0.25))
    return [np.asarray(a) for group in groups for a in lt.collect_all(group, engine=engine)]


CHUNKS = (20, 40, 26)
VALUES = {
    "u2": ordinary(np.dtype("u2"), (45, 85, 52)),
    "f4": ordinary(np.dtype("f4"), (45, 85, 52)),
}


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("kind", ["handed", "read", "memory"])
@pytest.mark.parametrize("name", VALUES)
def test_runs_with_and_without_compiled_code(name: str, kind: str) -> None:
    values = VALUES[name]
    source = Handing(values, CHUNKS, whole=kind == "read")
    x = lt.asarray(values) if kind == "memory" else lt.scan_source(source)
    plain = results(x, lt.LocalEngine(threads=2, kernels="numpy"))
    assert source.handed == 0
    used.clear()
    once = results(x, lt.LocalEngine(threads=1, kernels="numba"))
    assert (source.handed > 0) == (kind == "handed")
    assert any(text.startswith("fold_") for text in used)
    again = results(x, lt.LocalEngine(threads=3, kernels="numba"))
    for a, b, c in zip(plain, once, again, strict=True):
        assert b.tobytes() == c.tobytes()
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


@pytest.mark.usefixtures("small_blocks")
def test_bits_do_not_depend_on_whether_a_source_hands_over() -> None:
    found = []
    for whole in (False, True):
        x = lt.scan_source(Handing(VALUES["f4"], CHUNKS, whole=whole))
        found.append(results(x, lt.LocalEngine(threads=2, kernels="numba")))
    for a, b in zip(*found, strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.usefixtures("small_blocks")
def test_members_that_are_not_folded_see_the_blocks() -> None:
    values = VALUES["u2"]
    x = lt.scan_source(Handing(values, CHUNKS))
    ops = (*FOLDED, "prod", "argmax")
    plain = results(x, lt.LocalEngine(threads=2, kernels="numpy"), ops)
    other = results(x, lt.LocalEngine(threads=2, kernels="numba"), ops)
    for a, b in zip(plain, other, strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.usefixtures("small_blocks")
def test_an_expression_is_folded_while_it_is_read() -> None:
    source = Handing(VALUES["u2"], CHUNKS)
    x = (lt.scan_source(source).astype("f4") - 3) * 0.5
    plain = results(x, lt.LocalEngine(threads=2, kernels="numpy"))
    used.clear()
    other = results(x, lt.LocalEngine(threads=2, kernels="numba"))
    assert source.handed
    for a, b in zip(plain, other, strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.usefixtures("small_blocks")
def test_what_is_read_is_profiled_as_a_read_and_a_reduction() -> None:
    source = Handing(VALUES["u2"], CHUNKS)
    x = lt.scan_source(source)
    total = lt.std(x)
    found = total.profile(engine=lt.LocalEngine(threads=1, kernels="numba"))
    assert source.handed
    assert "std" in str(found)


def test_a_damaged_chunk_is_reported_as_without_folds(tmp_path: Path) -> None:
    meta = {
        "zarr_format": 2, "shape": [64, 64], "chunks": [32, 64], "dtype": "<u2", "order": "C",
        "compressor": None, "fill_value": 3, "filters": None,
    }  # fmt: skip
    (tmp_path / ".zarray").write_text(json.dumps(meta))
    x = lt.scan_zarr(tmp_path)
    engines = [lt.LocalEngine(kernels=kernels) for kernels in ("numpy", "numba")]
    assert [int(x.sum().collect(engine=engine)) for engine in engines] == [3 * 64 * 64] * 2
    (tmp_path / "1.0").write_bytes(b"short")
    said = []
    for engine in engines:
        with pytest.raises(FormatError, match=r"1\.0") as caught:
            x.sum().collect(engine=engine)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_spreads_of_short_integers_are_exact() -> None:
    values = np.full((1 << 20,), 65535, np.uint16)
    values[::3] = 65534
    wanted = float(np.var(values - 65534.0))
    assert float(lt.var(lt.asarray(values)).collect()) == pytest.approx(wanted, rel=1e-15)
