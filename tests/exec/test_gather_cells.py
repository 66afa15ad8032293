"""Gathers in compiled code, from cells of stored arrays and from memory, against NumPy."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor import native
from lazytensor.errors import LazyTensorError, OutOfBoundsError
from lazytensor.exec.kernels.choice import kernels_of_run
from lazytensor.exec.kernels.gather_cells import Along, entries_of, group_points
from lazytensor.exec.sparse import begin_gather
from lazytensor.plan.grid import DimGrid

zarr = pytest.importorskip("zarr")

SHAPE, CHUNKS = (37, 20, 23), (8, 6, 5)
DTYPES = ["?", "u1", "i2", "f2", "f4", "i8", "c8", "c16", "S3", "U5", "M8[s]"]
ENGINES = {
    "numpy": lt.LocalEngine(kernels="numpy"),
    "one": lt.LocalEngine(threads=1, kernels="numba"),
    "three": lt.LocalEngine(threads=3, kernels="numba"),
}


@pytest.fixture(scope="module", autouse=True)
def kernels() -> None:
    if importlib.util.find_spec("numba") is None:
        pytest.skip("numba is not installed")
    for name in ("chunks", "gather", "gather_sort"):
        assert native.wait(name) is not None, native.reason(name)


def values(dtype: str) -> np.ndarray:
    """Distinct values as far as the dtype has them, NaN, infinities and -0.0 among them."""
    size = int(np.prod(SHAPE))
    numbers = np.arange(size)
    if np.dtype(dtype).kind in "SUM":
        return numbers.astype(dtype).reshape(SHAPE)
    found = (numbers % 251 if dtype == "u1" else numbers).astype(dtype)
    if np.dtype(dtype).kind in "fc":
        found[::7], found[3::11], found[5::13] = np.nan, -np.inf, -0.0
    return found.reshape(SHAPE)


def stored(path: Path, array: np.ndarray, *, sharded: bool = False, order: str = "C") -> Any:
    settings: dict[str, Any] = {"chunks": CHUNKS}
    if sharded:
        settings["shards"] = tuple(2 * n for n in CHUNKS)
    elif order == "F":
        settings |= {"order": "F", "zarr_format": 2}
    if array.dtype.kind in "SUM":
        settings["zarr_format"] = 2
    one = zarr.create_array(str(path), shape=array.shape, dtype=array.dtype, **settings)
    one[...] = array
    return lt.scan_zarr(str(path))


def same(got: np.ndarray, want: np.ndarray) -> None:
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    assert got.tobytes() == np.ascontiguousarray(want).tobytes()


rng = np.random.default_rng(5)
POINTS = [rng.integers(0, n, 5000) for n in SHAPE]
Z, Y, X = POINTS
ROWS, COLUMNS = rng.permutation(20)[:13], rng.integers(0, 23, 40)
GRID = [rng.integers(0, n, (70, 90)) for n in SHAPE]

GATHERS: dict[str, Any] = {
    "points": (lambda x: x.vindex[Z, Y, X], lambda a: a[Z, Y, X]),
    "few points": (lambda x: x.vindex[Z[:3], Y[:3], X[:3]], lambda a: a[Z[:3], Y[:3], X[:3]]),
    "points of two dims": (lambda x: x.vindex[:, Y, X], lambda a: a[:, Y, X].T),
    "a grid of points": (lambda x: x.vindex[tuple(GRID)], lambda a: a[tuple(GRID)]),
    "outer": (lambda x: x.oindex[:, ROWS, COLUMNS], lambda a: a[:, ROWS[:, None], COLUMNS]),
    "first axis": (lambda x: x[np.r_[Z[:60]]], lambda a: a[Z[:60]]),
    "last axis": (lambda x: x.oindex[:, :, COLUMNS], lambda a: a[:, :, COLUMNS]),
    "backwards": (lambda x: x.oindex[::-1, ROWS, 3], lambda a: a[::-1, ROWS, 3]),
    "strided": (lambda x: x.oindex[3:30:4, ROWS], lambda a: a[3:30:4][:, ROWS]),
    "transposed": (lambda x: x.oindex[:, ROWS].transpose(2, 0, 1),
                   lambda a: a[:, ROWS].transpose(2, 0, 1)),
    "one": (lambda x: x.vindex[Z[:1], Y[:1], X[:1]], lambda a: a[Z[:1], Y[:1], X[:1]]),
    "none": (lambda x: x[Z[:0]], lambda a: a[Z[:0]]),
    "take": (lambda x: lt.take(x, COLUMNS, axis=2), lambda a: np.take(a, COLUMNS, axis=2)),
    "sorted": (lambda x: x[np.arange(3, 31)], lambda a: a[3:31]),
    "repeated": (lambda x: x[np.array([4, 4, 4, 9, 9])], lambda a: a[[4, 4, 4, 9, 9]]),
}  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", GATHERS)
@pytest.mark.parametrize("layout", ["plain", "sharded", "F", "memory"])
def test_gathers_are_those_of_numpy(tmp_path: Path, layout: str, name: str, engine: str) -> None:
    array = values("i8")
    if layout == "memory":
        x = lt.asarray(array)
    else:
        x = stored(tmp_path / "a", array, sharded=layout == "sharded", order=layout)
    lazy, plain = GATHERS[name]
    same(lazy(x).collect(engine=ENGINES[engine]), plain(array))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["points", "outer", "first axis"])
def test_every_dtype_bit_for_bit(tmp_path: Path, dtype: str, name: str) -> None:
    array = values(dtype)
    lazy, plain = GATHERS[name]
    cases = [
        (stored(tmp_path / "a", array), array),
        (lt.asarray(array), array),
        (lt.asarray(array[:, ::-1]), array[:, ::-1]),
    ]
    for x, seen in cases:
        for engine in ENGINES.values():
            same(lazy(x).collect(engine=engine), plain(seen))


@pytest.mark.parametrize("sharded", [False, True])
def test_what_is_not_stored_is_the_fill_value(tmp_path: Path, sharded: bool) -> None:
    settings: dict[str, Any] = {"shards": tuple(2 * n for n in CHUNKS)} if sharded else {}
    one = zarr.create_array(
        str(tmp_path / "a"), shape=SHAPE, dtype="f4", chunks=CHUNKS, fill_value=np.nan, **settings
    )
    one[3:20, 2:9, 6:17] = 2.5
    x, array = lt.scan_zarr(str(tmp_path / "a")), one[...]
    for lazy, plain in (GATHERS["points"], GATHERS["outer"], GATHERS["first axis"]):
        for engine in ENGINES.values():
            same(lazy(x).collect(engine=engine), plain(array))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_damaged_chunk_is_the_same_error(tmp_path: Path, engine: str) -> None:
    x = stored(tmp_path / "a", values("i8"))
    files = sorted(p for p in (tmp_path / "a").rglob("*") if p.is_file())
    chunk = next(p for p in files if p.name != "zarr.json")
    chunk.write_bytes(chunk.read_bytes()[:7])
    with pytest.raises(LazyTensorError, match="key"):
        x.vindex[Z, Y, X].collect(engine=ENGINES[engine])


@pytest.mark.parametrize("kind", ["raw", "zstd", "raw shards", "zstd shards"])
def test_estimates_are_exact_and_cells_are_handed_over(tmp_path: Path, kind: str) -> None:
    settings: dict[str, Any] = {} if "shards" not in kind else {"shards": (16, 12, 10)}
    array = values("i8")
    one = zarr.create_array(
        str(tmp_path / "a"), shape=SHAPE, dtype="i8", chunks=CHUNKS,
        compressors=None if "raw" in kind else "auto", **settings,
    )  # fmt: skip
    one[...] = array
    for file in (tmp_path / "a").rglob("*"):  # the index of a shard just written is not kept
        os.utime(file, (1e9, 1e9))
    x = lt.scan_zarr(str(tmp_path / "a"))
    for name, (lazy, plain) in GATHERS.items():
        view = lazy(x)
        for engine in ("one", "three"):
            with kernels_of_run("numba"):
                foretold = view.estimate(exact=True)
            lt.metrics(reset=True)
            same(view.collect(engine=ENGINES[engine]), plain(array))
            spent = lt.metrics(reset=True)
            assert (name, spent["bytes_read"]) == (name, foretold.bytes_read)
    with kernels_of_run("numba"):
        node = x.vindex[Z, Y, X]._node
        reading = begin_gather(node.x.source, node.transform, np.empty(5000, "i8"))
    assert reading is not None
    reading.close()


def test_sorting_is_the_same_with_and_without_compiled_code() -> None:
    run = native.wait("gather_sort")
    assert run is not None
    dims = [
        Along(rng.integers(0, 100, 3000), 1, 0, DimGrid.regular(100, 16), 100),
        Along(rng.integers(-40, 1, 3000), -2, 5, DimGrid.regular(90, 7), 90),
    ]
    for places in (4, rng.permutation(3000) * 8):
        ours = entries_of((0, 1), dims, (800, 8), places, run)
        plain = entries_of((0, 1), dims, (800, 8), places)
        for a, b in zip(ours, plain, strict=True):
            np.testing.assert_array_equal(a, b)


def test_points_far_apart_are_sorted_too() -> None:
    dims = [
        Along(rng.integers(0, 1 << 60, 100), 1, 0, DimGrid.regular(1 << 60, 3), 1 << 60)
        for _ in range(3)
    ]
    groups = group_points(dims)
    cells = np.stack([dim.values // 3 for dim in dims])[:, groups.order]
    np.testing.assert_array_equal(cells, cells[:, np.lexsort(cells[::-1])])


def test_positions_outside_are_refused() -> None:
    for low, high in ((-1, 3), (0, 10)):
        along = Along(np.array([low, high]), 1, 0, DimGrid.regular(10, 4), 10)
        with pytest.raises(OutOfBoundsError, match="extent 10"):
            entries_of((0,), [along], (8,), 8)
