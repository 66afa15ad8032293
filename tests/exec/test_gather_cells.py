"""Gathers in compiled code, from cells of stored arrays and from memory, against NumPy."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import lazytensor as lt
from lazytensor import native
from lazytensor.errors import LazyTensorError, OutOfBoundsError
from lazytensor.exec.cancelling import kind as cancelled_kind
from lazytensor.exec.kernels import gather_array
from lazytensor.exec.kernels.choice import kernels_of_run
from lazytensor.exec.kernels.gather_cells import Along, entries_of, group_points
from lazytensor.exec.pool import CancelToken
from lazytensor.exec.sparse import begin_gather
from lazytensor.io.zarr.reading import FilesReading, ShardsReading
from lazytensor.plan.grid import DimGrid
from tests.exec.test_forks import in_child, needs_fork

zarr = pytest.importorskip("zarr")

SHAPE, CHUNKS = (37, 20, 23), (8, 6, 5)
FIELDS = [("a", "u1"), ("b", "<f8"), ("c", "<i2")]
DTYPES: list[Any] = [
    "?", "u1", "i2", "f2", "f4", "i8", "c8", "c16", "S3", "U5", "M8[s]", "bfloat16", FIELDS,
]  # fmt: skip
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


@pytest.fixture
def compiled_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything in memory is gathered in compiled code, worth it or not."""
    monkeypatch.setattr(gather_array, "_FEWEST", 1)
    monkeypatch.setattr(gather_array, "_takes_well", lambda *some: False)


def values(dtype: Any) -> np.ndarray:
    """Distinct values as far as the dtype has them, NaN, infinities and -0.0 among them."""
    size = int(np.prod(SHAPE))
    numbers = np.arange(size)
    if dtype == "bfloat16":
        return (numbers * 257 % 65536).astype("u2").view(ml_dtypes.bfloat16).reshape(SHAPE)
    if dtype is FIELDS:
        found = np.zeros(size, FIELDS)
        found["a"], found["b"] = numbers % 251, np.where(numbers % 5, numbers, np.nan)
        found["c"] = numbers + 1
        return found.reshape(SHAPE)
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
    if array.dtype.kind in "SUM" or array.dtype.names:
        settings["zarr_format"] = 2
    if array.dtype.names:
        settings["fill_value"] = np.zeros((), array.dtype)[()]
    plain = array.view("u2") if array.dtype == ml_dtypes.bfloat16 else array
    one = zarr.create_array(str(path), shape=array.shape, dtype=plain.dtype, **settings)
    one[...] = plain
    if plain is not array:  # which its writer does not know
        file = path / "zarr.json"
        document = json.loads(file.read_text()) | {"data_type": "bfloat16"}
        file.write_text(json.dumps(document))
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
@pytest.mark.parametrize("layout", ["plain", "sharded", "F", "memory", "memory, as it is best"])
def test_gathers_are_those_of_numpy(
    tmp_path: Path, layout: str, name: str, engine: str, request: pytest.FixtureRequest
) -> None:
    array = values("i8")
    if layout == "memory":
        request.getfixturevalue("compiled_in_memory")
    if "memory" in layout:
        x = lt.asarray(array)
    else:
        x = stored(tmp_path / "a", array, sharded=layout == "sharded", order=layout)
    lazy, plain = GATHERS[name]
    same(lazy(x).collect(engine=ENGINES[engine]), plain(array))


@pytest.mark.usefixtures("compiled_in_memory")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["points", "outer", "first axis"])
def test_every_dtype_bit_for_bit(tmp_path: Path, dtype: Any, name: str) -> None:
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


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kind", ["raw", "zstd", "raw shards", "zstd shards"])
def test_estimates_are_exact_and_cells_are_handed_over(
    tmp_path: Path, kind: str, known: bool
) -> None:
    settings: dict[str, Any] = {} if "shards" not in kind else {"shards": (16, 12, 10)}
    array = values("i8")
    one = zarr.create_array(
        str(tmp_path / "a"), shape=SHAPE, dtype="i8", chunks=CHUNKS,
        compressors=None if "raw" in kind else "auto", **settings,
    )  # fmt: skip
    one[...] = array
    for file in (tmp_path / "a").rglob("*"):  # the index of a shard just written is not kept
        changed = 1e9 if known else time.time() + 1e6
        os.utime(file, (changed, changed))
    x = lt.scan_zarr(str(tmp_path / "a"))
    for name, (lazy, plain) in GATHERS.items():
        view = lazy(x)
        for engine in ENGINES.values():
            foretold = view.estimate(exact=True, engine=engine)
            lt.metrics(reset=True)
            same(view.collect(engine=engine), plain(array))
            spent = lt.metrics(reset=True)
            assert (name, spent["bytes_read"]) == (name, foretold.bytes_read)
            assert (name, spent["bytes_decoded"]) == (name, foretold.bytes_decoded)
    with kernels_of_run("numba"):
        node = x.vindex[Z, Y, X]._node
        reading = begin_gather(node.x.source, node.transform, np.empty(5000, "i8"))
    assert reading is not None
    reading.close()


def test_many_shards_are_read_one_by_one_and_so_is_their_estimate(tmp_path: Path) -> None:
    array = np.arange(600.0)
    one = zarr.create_array(str(tmp_path / "a"), shape=600, dtype="f8", chunks=(2,), shards=(6,))
    one[...] = array
    for file in (tmp_path / "a").rglob("*"):
        os.utime(file, (time.time() + 1e6,) * 2)
    numbers = rng.permutation(600)
    for some in (numbers, numbers[numbers < 300]):  # more than one reading opens, and fewer
        view = lt.scan_zarr(str(tmp_path / "a"))[some]
        for engine in ENGINES.values():
            foretold = view.estimate(exact=True, engine=engine)
            lt.metrics(reset=True)
            same(view.collect(engine=engine), array[some])
            assert lt.metrics(reset=True)["bytes_read"] == foretold.bytes_read


SIGNED = [rng.integers(-n, n, 4000) for n in SHAPE]
AGAIN = [np.resize(some[:7], 4000) for some in SIGNED]
NONE = np.zeros(0, np.int64)
INDICES: dict[str, Any] = {
    "negative points": lambda x: x.vindex[tuple(SIGNED)],
    "repeated points": lambda x: x.vindex[tuple(AGAIN)],
    "one point": lambda x: x.vindex[tuple([np.full(3000, -2)] * 3)],
    "negative outer": lambda x: x.oindex[[-1, -37, 5, 5, -1], :, SIGNED[2][:30]],
    "a negative step": lambda x: x.oindex[::-3, SIGNED[1][:30], ::-2],
    "no points": lambda x: x.vindex[NONE, NONE, NONE],
    "no rows": lambda x: x.oindex[NONE, :, [-1, 3]],
    "no columns": lambda x: x.oindex[[4, -4, 4], :, NONE],
    "a mask": lambda x: x.oindex[:, np.arange(20) % 3 == 1, [0, 0, -1]],
}


class Plain:
    """A NumPy array with the indexing of a tensor."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    @property
    def vindex(self) -> Plain:
        return self

    @property
    def oindex(self) -> Outer:
        return Outer(self.array)

    def __getitem__(self, key: Any) -> np.ndarray:
        found: np.ndarray = self.array[key]
        return found


class Outer:
    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __getitem__(self, key: Any) -> np.ndarray:
        found = self.array
        for axis, term in enumerate(key):
            found = found[(slice(None),) * axis + (term,)]
        return found


@pytest.mark.usefixtures("compiled_in_memory")
@pytest.mark.parametrize("layout", ["plain", "sharded", "memory"])
@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("cache_bytes", [0, 3000, 1 << 20])
def test_indices_origins_names_and_caches(
    tmp_path: Path, name: str, layout: str, cache_bytes: int
) -> None:
    array = values("f4")
    x = lt.asarray(array)
    if layout != "memory":
        x = stored(tmp_path / "a", array, sharded=layout == "sharded")
    x = x.label["z", "y", "x"]
    want = INDICES[name](Plain(array))
    with lt.Config(cache_bytes=cache_bytes):
        for seen, engine in product((x, x.translate_to[100, -7, 3]), ENGINES.values()):
            found = INDICES[name](seen)
            same(found.collect(engine=engine), want)
            if found.size and "point" not in name:
                assert found.dims == ("z", "y", "x")
        backwards = INDICES[name](x).transpose()
        same(backwards.collect(engine=ENGINES["three"]), want.transpose())


@pytest.mark.usefixtures("compiled_in_memory")
@pytest.mark.parametrize("layout", ["plain", "sharded", "memory"])
def test_what_is_outside_is_refused(tmp_path: Path, layout: str) -> None:
    x = lt.asarray(values("i2"))
    if layout != "memory":
        x = stored(tmp_path / "a", values("i2"), sharded=layout == "sharded")
    for wrong in (37, -38):
        with pytest.raises(OutOfBoundsError, match=str(wrong)):
            x.vindex[np.r_[Z, wrong], np.r_[Y, 0], np.r_[X, 0]].collect(engine=ENGINES["one"])


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


@pytest.fixture
def strike(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Have something happen whenever a thread begins to work on a reading."""

    def of(happen: Callable[[], None]) -> None:
        for kind in (FilesReading, ShardsReading):

            def work(self: Any, before: Any = kind.work) -> None:
                happen()
                before(self)

            monkeypatch.setattr(kind, "work", work)

    return of


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="open files cannot be counted here")
@pytest.mark.parametrize("engine", ["one", "three"])
@pytest.mark.parametrize("sharded", [False, True])
class TestStopping:
    def test_ctrl_c(
        self, tmp_path: Path, sharded: bool, engine: str, strike: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        array = values("i8")
        view = stored(tmp_path / "a", array, sharded=sharded).vindex[Z, Y, X]
        same(view.collect(engine=ENGINES[engine]), array[Z, Y, X])
        before = descriptors()

        def press() -> None:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)

        strike(press)
        with pytest.raises(KeyboardInterrupt):
            view.collect(engine=ENGINES[engine])
        monkeypatch.undo()
        assert descriptors() <= before
        same(view.collect(engine=ENGINES[engine]), array[Z, Y, X])

    def test_cancelled(
        self, tmp_path: Path, sharded: bool, engine: str, strike: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        array = values("i8")
        x = stored(tmp_path / "a", array, sharded=sharded)
        view = x.vindex[Z, Y, X] + x.vindex[X, Y, Z % 20]
        want = array[Z, Y, X] + array[X, Y, Z % 20]
        same(view.collect(engine=ENGINES[engine]), want)
        before, token, out = descriptors(), CancelToken(), np.empty(view.shape, "i8")
        token.cancel()
        with pytest.raises(cancelled_kind()):
            ENGINES[engine].run([view._node], [out], cancel=token)
        token = CancelToken()
        strike(token.cancel)
        try:  # it may have been the last task
            ENGINES[engine].run([view._node], [out], cancel=token)
        except cancelled_kind():
            pass
        else:
            same(out, want)
        monkeypatch.undo()
        assert descriptors() <= before
        same(view.collect(engine=ENGINES[engine]), want)


@needs_fork
@pytest.mark.usefixtures("compiled_in_memory")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("layout", ["plain", "sharded", "memory"])
def test_a_forked_child_gathers(tmp_path: Path, layout: str) -> None:
    array = values("u1")
    x = lt.asarray(array)
    if layout != "memory":
        x = stored(tmp_path / "a", array, sharded=layout == "sharded")
    view = x.vindex[Z, Y, X]
    want = array[Z, Y, X]
    for engine in ENGINES.values():
        same(view.collect(engine=engine), want)
        assert in_child(lambda e=engine: view.collect(engine=e).tobytes()) == want.tobytes()


def test_what_numpy_takes_as_fast_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(gather_array, "compiled", lambda name, *some: asked.append(name))
    monkeypatch.setattr(gather_array, "_MANY", 1 << 14)
    array = rng.integers(0, 256, (300, 40, 60)).astype("u2")
    x, rows, columns = lt.asarray(array), rng.integers(0, 40, 40), rng.integers(0, 60, 50)
    many = tuple(rng.integers(0, n, 1 << 15) for n in array.shape)
    views = {
        "rows and columns": (x.oindex[:, rows, columns], False),
        "rows": (x.oindex[:, rows], False),
        "columns": (x.oindex[:, :, columns], True),
        "points": (x.vindex[many], True),
        "few points": (x.vindex[tuple(some[:5000] for some in many)], False),
        "backwards": (x.oindex[:, rows, ::-1], True),
        "turned": (x.oindex[:, rows, columns].transpose(2, 0, 1), True),
    }
    for name, (view, is_asked) in views.items():
        asked.clear()
        view.collect(engine=ENGINES["one"])
        assert (name, bool(asked)) == (name, is_asked)


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
