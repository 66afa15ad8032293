"""Regions that are known to be constant are counted, not read."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import lazytensor as lt
from lazytensor.exec import known
from lazytensor.exec.known import known_of
from lazytensor.exec.lower import Compiled
from lazytensor.plan.optimize import optimize
from lazytensor.plan.source import Box, UnitSize
from lazytensor.plan.spec import make_spec
from tests.engines import ENGINES, Blocks
from tests.sources import ChunkedArray


class SparseArray(ChunkedArray):
    """A chunked array that has only some of its chunks, and can tell which."""

    def __init__(
        self, values: np.ndarray, chunks: Sequence[int], fill: Any, stored: set[tuple[int, ...]],
        **options: Any,
    ) -> None:  # fmt: skip
        full = np.full(values.shape, fill, values.dtype)
        for cell in stored:
            part = tuple(slice(i * c, (i + 1) * c) for i, c in zip(cell, chunks, strict=True))
            full[part] = values[part]
        super().__init__(full, chunks, **options)
        self.fill_value = np.array(fill, values.dtype)
        self.stored = stored
        self.listed = 0

    def stored_objects(self, limit: int) -> np.ndarray | None:
        self.listed += 1
        if len(self.stored) > limit:
            return None
        return np.array(sorted(self.stored), np.int64).reshape(-1, self.values.ndim)


class Hollow:
    """A source without any chunks that cannot be read: of any size."""

    def __init__(self, shape: tuple[int, ...], chunk: int, dtype: str, fill: Any) -> None:
        self.spec = make_spec(shape, np.dtype(dtype), chunks=[chunk] * len(shape))
        self.key = ("hollow", id(self))
        self.label = "hollow"
        self.attrs: dict[str, Any] = {}
        self.storage = self.array = None
        self.fill_value = np.array(fill, dtype)

    def stored_objects(self, limit: int) -> np.ndarray:
        return np.empty((0, len(self.spec.shape)), np.int64)

    def read_into(self, box: Box, out: np.ndarray) -> None:
        raise AssertionError(f"{box} was read")

    def unit_sizes(self, cells: list[tuple[int, ...]]) -> UnitSize:
        return UnitSize(len(cells), 0, len(cells))

    def check(self) -> None:
        pass

    def to_json(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asks also for what is small."""
    monkeypatch.setattr(known, "_FEW_BLOCKS", 2)
    monkeypatch.setattr(known, "_FEW_CELLS", 2)


REDUCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(lt, name)
    for name in ("sum", "prod", "mean", "var", "std", "min", "max", "any", "all", "count_nonzero")
}
TWINS = {"count_nonzero": np.count_nonzero}
TINY = Blocks(16, 2)


def sparse(
    dtype: str = "i4", fill: Any = 7, stored: Sequence[tuple[int, int]] = ((1, 2),), **options: Any
) -> SparseArray:
    values = (np.arange(24 * 20).reshape(24, 20) % 251).astype(dtype)
    return SparseArray(values, (3, 2), fill, set(stored), **options)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1)])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_only_stored_chunks_are_read(name: str, axis: Any) -> None:
    source = sparse("f8", 1.5, [(1, 2), (6, 9)])
    x = lt.scan_source(source)
    ours = REDUCTIONS[name](x, axis=axis).collect(engine=TINY)
    theirs = getattr(np, name)(source.values, axis=axis)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    if name == "any":
        assert source.cells_read() == set()
    else:
        assert {(1, 2), (6, 9)} <= source.cells_read()
        assert len(source.cells_read()) <= (4 if axis in (None, (0, 1)) else 8)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", ["argmin", "argmax"])
@pytest.mark.parametrize("fill", [-1, 0, 100, 300])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_places_of_extremes(name: str, fill: int, axis: int | None) -> None:
    source = sparse("i4", fill, [(0, 0), (3, 5), (7, 9)])
    ours = getattr(lt, name)(lt.scan_source(source), axis=axis).collect(engine=TINY)
    np.testing.assert_array_equal(ours, getattr(np, name)(source.values, axis=axis))


CHAINS: dict[str, tuple[Callable[[Any], Any], Callable[[np.ndarray], np.ndarray]]] = {
    "itself": (lambda x: x, lambda v: v),
    "computed": (lambda x: x * 3 - 1, lambda v: v * 3 - 1),
    "cast": (lambda x: x.astype(lt.float32) / 2, lambda v: v.astype("f4") / np.float32(2)),
    "turned": (lambda x: x.T[::-1], lambda v: v.T[::-1]),
    "skipping": (lambda x: x[::5, 1::3], lambda v: v[::5, 1::3]),
    "cropped": (lambda x: x[2:23, 1:19], lambda v: v[2:23, 1:19]),
    "gathered": (lambda x: x[[3, 20, 3]], lambda v: v[[3, 20, 3]]),
    "with itself": (lambda x: x + x[::-1], lambda v: v + v[::-1]),
    "joined": (lambda x: lt.concat([x, x + 1]), lambda v: np.concatenate([v, v + 1])),
    "stacked": (lambda x: lt.stack([x, x]), lambda v: np.stack([v, v])),
    "padded": (
        lambda x: lt.pad(x, 30, constant_values=5),
        lambda v: np.pad(v, 30, constant_values=5),
    ),
    "reduced before": (lambda x: lt.max(x, axis=1), lambda v: v.max(axis=1)),
    "reshaped": (lambda x: lt.reshape(x, (12, 2, 20)), lambda v: v.reshape(12, 2, 20)),
    "halved": (
        lambda x: lt.downsample(x, (3, 2), "max"),
        lambda v: v.reshape(8, 3, 10, 2).max(axis=(1, 3)),
    ),
    "chosen": (lambda x: lt.where(x > 50, x, 0), lambda v: np.where(v > 50, v, 0)),
    "with noise": (
        lambda x: x + lt.asarray(np.arange(20)),
        lambda v: v + np.arange(20),
    ),
}


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES.keys())
@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("name_of", ["sum", "min", "mean", None])
def test_through_operations(name: str, name_of: str | None, engine: Any) -> None:
    ours, theirs = CHAINS[name]
    for stored in ([], [(1, 2)], [(0, 0), (1, 0), (7, 9)]):
        source = sparse("i4", 7, stored)
        x, v = ours(lt.scan_source(source)), theirs(source.values)
        if name_of is not None:
            x, v = getattr(lt, name_of)(x), getattr(np, name_of)(v)
        np.testing.assert_allclose(x.collect(engine=engine), v, rtol=1e-6)


SPECIAL = {
    "u1": (0, 7, 255), "i2": (0, -1), "?": (False, True), "f4": (0.0, -0.0, np.nan, np.inf, 0.1),
    "f8": (0.0, -np.inf, 1e300), "c8": (0j, 1 - 1j), "f2": (1.5, np.nan), "u8": (2**64 - 1,),
}  # fmt: skip


@given(data=st.data())
@pytest.mark.usefixtures("eager")
def test_random_sparse_arrays(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(list(SPECIAL)))
    fill = data.draw(st.sampled_from(SPECIAL[dtype]))
    ndim = data.draw(st.integers(1, 3))
    shape = tuple(data.draw(st.integers(1, 9)) for _ in range(ndim))
    chunks = tuple(data.draw(st.integers(1, 4)) for _ in range(ndim))
    cells = list(
        itertools.product(*[range(-(-n // c)) for n, c in zip(shape, chunks, strict=True)])
    )
    stored = set(data.draw(st.lists(st.sampled_from(cells), max_size=3)))
    values = (np.arange(math.prod(shape)).reshape(shape) * 7 % 11).astype(dtype)
    origin = tuple(data.draw(st.integers(-5, 5)) for _ in shape)
    source = SparseArray(values, chunks, fill, stored, origin=origin)
    name = data.draw(st.sampled_from([*REDUCTIONS, "argmin", "argmax"]))
    if dtype[0] == "c" and name in ("min", "max", "argmin", "argmax"):
        return
    some = st.sets(st.integers(0, ndim - 1), min_size=1)
    axis: Any = data.draw(st.none() | st.tuples(st.integers(0, ndim - 1)) | some.map(tuple))
    if name.startswith("arg"):
        axis = None if axis is None else axis[0]
    keepdims = data.draw(st.booleans())
    x = getattr(lt, name)(lt.scan_source(source), axis=axis, keepdims=keepdims)
    expected = x.collect(engine="interpret")
    source.boxes.clear()
    ours = x.collect(engine=data.draw(st.sampled_from([TINY, Blocks(200, 1)])))
    if name in ("sum", "mean", "var", "std", "prod") and ours.dtype.kind in "fc":
        if name in ("var", "std", "prod") and not np.isfinite(expected).all():
            return
        rtol = 2e-2 if ours.dtype.itemsize == 2 else 1e-5
        np.testing.assert_allclose(ours, expected, rtol=rtol, atol=1e-3 if name == "std" else 1e-6)
    else:
        lt.testing.assert_equal(ours, expected)


@pytest.mark.parametrize(
    ("name", "fill", "answer"),
    [
        ("sum", 3, 3 * 10**15), ("mean", 3, 3.0), ("std", 3, 0.0), ("min", 3, 3), ("max", 3, 3),
        ("any", 3, True), ("all", 3, True), ("count_nonzero", 3, 10**15), ("argmax", 3, 0),
        ("any", 0, False),
    ],
)  # fmt: skip
def test_an_empty_petabyte(name: str, fill: int, answer: Any) -> None:
    x = lt.scan_source(Hollow((10**5,) * 3, 64, "u1", fill))
    assert getattr(lt, name)(x).collect() == answer
    assert getattr(lt, name)(x).estimate().chunks_read == 0
    rows = getattr(lt, name)(x[:, :7, :70], axis=2 if name == "argmax" else (0, 2)).collect()
    assert rows.ravel()[0] == (7 * 10**6 * fill if name == "sum" else rows.ravel()[-1])


def test_an_empty_petabyte_of_floats() -> None:
    x = lt.scan_source(Hollow((10**5,) * 3, 64, "f4", 0.1))
    y = (x * 2 + 1).astype(lt.float64)
    exact = float(np.float32(0.1) * np.float32(2) + np.float32(1))
    assert lt.mean(y).collect() == exact
    assert lt.var(y).collect() == 0
    assert lt.sum(y).collect() == pytest.approx(exact * 1e15, rel=1e-15)
    z = lt.downsample(lt.scan_source(Hollow((10**5,) * 3, 64, "f4", 2.5)), (2, 2, 2))
    assert lt.sum(z).collect() == pytest.approx(2.5 * 1.25e14)


def test_a_mosaic_in_an_empty_petabyte() -> None:
    tile = np.arange(25.0).reshape(5, 5)
    tiles = [lt.asarray(tile).translate_to[1000 * i, 7 * i] for i in range(4)]
    window = lt.IndexDomain(shape=[10**8, 10**8])
    x = lt.overlay(tiles, domain=window, fill_value=0.0)
    assert lt.sum(x).collect() == 4 * tile.sum()
    assert lt.max(x).collect() == 24
    assert lt.mean(x, axis=0)[:100].collect()[7] > 0


def test_a_block_is_cut_where_chunks_are_missing() -> None:
    values = np.arange(400 * 400).reshape(400, 400)
    stored = {(3, 4), (90, 7), (90, 150)}
    source = SparseArray(values, (2, 2), 9, stored)
    x = lt.sum(lt.scan_source(source))
    engine = Blocks(4096, 2)
    assert x.collect(engine=engine) == source.values.sum()
    assert source.cells_read() == stored
    crowded = {(i, j) for i in range(200) for j in range(0, 200, 2) if i < 4}
    source = SparseArray(values, (2, 2), 9, crowded)
    assert lt.max(lt.scan_source(source)).collect(engine=engine) == source.values.max()
    rows = lt.argmin(lt.scan_source(source), axis=1).collect(engine=engine)
    np.testing.assert_array_equal(rows, source.values.argmin(axis=1))


def test_what_decides_is_enough() -> None:
    def answer(name: str, dtype: str, fill: Any) -> tuple[Any, int]:
        values = np.arange(200 * 200).reshape(200, 200).astype(dtype)
        source = SparseArray(values, (2, 2), fill, {(3, 4), (90, 7)})
        got = getattr(lt, name)(lt.scan_source(source)).collect(engine=Blocks(64, 2))
        np.testing.assert_array_equal(got, getattr(np, name)(source.values))
        return got, len(source.boxes)

    assert answer("any", "u1", 1) == (True, 0)
    assert answer("all", "f4", 0) == (False, 0)
    assert answer("min", "u2", 0) == (0, 0)
    assert answer("max", "i2", 2**15 - 1) == (2**15 - 1, 0)
    assert answer("min", "f4", np.nan)[1] == 0
    # Of the others every element counts, or may.
    assert answer("min", "i2", 0)[1] > 0
    assert answer("min", "f4", -np.inf)[1] > 0
    assert answer("sum", "u2", 0)[1] > 0
    assert answer("any", "u1", 0)[1] > 0


def test_what_decides_hides_no_error() -> None:
    values = np.ones((200, 200), np.int64)
    source = SparseArray(values, (2, 2), 0, {(3, 4)})
    x = lt.scan_source(source)
    powers = lt.where(x == 0, 1, lt.pow(lt.asarray(2), -x))
    with pytest.raises(lt.DTypeError):
        lt.any(powers).collect(engine=Blocks(64, 2))


def test_a_listing_is_not_asked_for_in_vain() -> None:
    full = {(i, j) for i in range(100) for j in range(100)}
    values = np.zeros((200, 200), np.uint8)
    noise = lt.asarray(np.arange(200, dtype=np.uint8))
    for make, listed in (
        (lambda x: x[3, 4], 0),  # one read
        (lambda x: x[:9, :9], 0),  # few blocks
        (lambda x: lt.sum(x + noise), 0),  # never constant
        (lambda x: lt.sum(x), 1),
        (lambda x: x + 1, 1),
    ):
        source = SparseArray(values, (2, 2), 0, full)
        make(lt.scan_source(source)).collect(engine=Blocks(64, 2))
        assert source.listed == listed
    small = SparseArray(values[:20, :20], (2, 2), 0, set())
    lt.sum(lt.scan_source(small)).collect(engine=Blocks(16, 2))
    assert small.listed == 0


def test_a_listing_is_taken_when_it_is_needed() -> None:
    values = np.ones((200, 200), np.uint8)
    source = SparseArray(values, (2, 2), 0, set())
    total = lt.sum(lt.scan_source(source))
    assert total.collect(engine=Blocks(64, 2)) == 0
    source.stored.add((4, 5))
    source.values[8:10, 10:12] = 1
    assert total.collect(engine=Blocks(64, 2)) == 4


def test_blocks_of_a_result_that_are_known_are_not_read() -> None:
    values = np.arange(200 * 200).reshape(200, 200)
    source = SparseArray(values, (2, 2), 9, {(3, 4), (90, 7)})
    x = lt.scan_source(source) * 2
    np.testing.assert_array_equal(x.collect(engine=Blocks(256, 2)), source.values * 2)
    assert len(source.boxes) == 2


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_bits_whatever_threads(threads: int) -> None:
    source = sparse("f8", 0.1, [(1, 2), (5, 5), (6, 9)])
    source.values[3:6, 4:6] = 1e16
    x = lt.scan_source(source)
    ours = [lt.sum(x), lt.var(x), lt.mean(x, axis=0)]
    once = lt.collect_all(ours, engine=Blocks(16, 1))
    for a, b in zip(lt.collect_all(ours, engine=Blocks(16, threads)), once, strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.usefixtures("eager")
def test_nothing_is_known_of_what_shows_more_than_values() -> None:
    source = sparse()
    x = lt.scan_source(source)
    seen: list[Any] = []
    plans = {
        "inspect": x.inspect(lambda domain, values: seen.append(domain)),
        "map_blocks": lt.map_blocks(lambda b: b, x),
        "random order": x[np.array([5, 2, 9])],
    }
    for name, plan in plans.items():
        node = optimize(plan._node)
        found = known_of(Compiled(node), 1000)
        whole = tuple(zip(node.domain.inclusive_min, node.domain.exclusive_max, strict=True))
        assert found is None or found.constant_in(whole) is None, name
