"""Overlays and joins of arrays in memory: pasted, compiled and not, as NumPy would paste them."""

from __future__ import annotations

import gc
import pickle
import weakref
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor import native
from lazytensor.exec import compositing
from lazytensor.exec.compositing import composite_of
from lazytensor.exec.lower import Compiled, lower
from lazytensor.exec.pasted import is_pasted
from lazytensor.plan.interval_cover import is_covered
from lazytensor.plan.interval_cut import subtract
from tests.engines import ENGINES, SETTINGS

RNG = np.random.default_rng(5)
COMPILED = native.wait("paste") is not None
NUMPY = lt.LocalEngine(threads=2, kernels="numpy")
NUMBA = lt.LocalEngine(threads=2, kernels="numba")
ALL = {**ENGINES, "numpy": NUMPY, "numba": NUMBA}

DTYPES = ["?", "u1", "<i2", ">i2", "<u4", ">f4", "<f8", "<c16", "S3", "<U2", "M8[s]", "V5"]
DTYPES_MORE = [
    np.dtype([("a", "u1"), ("b", "<f4")]),
    np.dtype([("a", "u1"), ("b", "<f4")], align=True),
]


def _values(shape: tuple[int, ...], dtype: Any, start: int = 1) -> np.ndarray:
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=int))
    if dtype.kind in "bSUV":
        data = (np.arange(size * dtype.itemsize) * 37 + start) % 2
        data = data if dtype.kind == "b" else data + 65
        if dtype.kind == "U":
            return (np.arange(size) + start).astype(dtype).reshape(shape)
        return np.frombuffer(data.astype("u1").tobytes(), dtype).reshape(shape)
    return (np.arange(size) + start).astype("i8").astype(dtype).reshape(shape)


class Mosaic:
    """Random layers, as tensors and as arrays with the coordinates of their first elements."""

    def __init__(self, ndim: int, count: int, dtype: Any, *, zero_size: bool = True) -> None:
        self.tensors: list[Any] = []
        self.arrays: list[tuple[tuple[int, ...], np.ndarray]] = []
        for k in range(count):
            shape = tuple(RNG.integers(0 if zero_size and k % 7 == 6 else 1, 7, ndim).tolist())
            self._add(shape, tuple(RNG.integers(-9, 9, ndim).tolist()), dtype, k)

    def _add(self, shape: tuple[int, ...], at: tuple[int, ...], dtype: Any, k: int) -> None:
        ndim = len(shape)
        kind = k % 5
        if kind == 1 and ndim:  # a part of something larger, every second element, flipped
            big = _values(tuple(2 * n + 3 for n in shape), dtype, 100 * k)
            part = tuple(slice(2 * n, 0, -2) for n in shape)
            seen, x = big[part], lt.asarray(big)[part]
        elif kind == 2 and ndim > 1:  # transposed
            big = _values(shape[::-1], dtype, 100 * k)
            seen = big.T
            x = lt.permute_dims(lt.asarray(big), tuple(range(ndim))[::-1])
        elif kind == 3 and ndim:  # one element everywhere along the first dim
            big = _values((1, *shape[1:]), dtype, 100 * k)
            seen, x = np.broadcast_to(big, shape), lt.broadcast_to(lt.asarray(big), shape)
        elif kind == 4 and ndim:  # strides of NumPy's own
            big = np.asfortranarray(_values(shape, dtype, 100 * k))
            seen, x = big, lt.asarray(big)
        else:
            seen = _values(shape, dtype, 100 * k)
            x = lt.asarray(seen)
        self.arrays.append((at, seen))
        self.tensors.append(x.translate_to[at] if ndim else x)

    def paste(self, lo: tuple[int, ...], hi: tuple[int, ...], fill: Any) -> tuple[Any, Any]:
        """What NumPy makes of it, and where a layer is."""
        shape = tuple(b - a for a, b in zip(lo, hi, strict=True))
        out = np.zeros(shape, self.arrays[0][1].dtype)
        if fill is not None:
            out[...] = fill
        there = np.zeros(shape, np.bool_)
        for at, values in self.arrays:
            first = [max(a, b) for a, b in zip(at, lo, strict=True)]
            end = [min(a + n, b) for a, n, b in zip(at, values.shape, hi, strict=True)]
            if any(a >= b for a, b in zip(first, end, strict=True)):
                continue
            place = tuple(slice(a - o, b - o) for a, b, o in zip(first, end, lo, strict=True))
            part = tuple(slice(a - o, b - o) for a, b, o in zip(first, end, at, strict=True))
            out[place] = values[part]
            there[place] = True
        return out, there


def _same(a: np.ndarray, b: np.ndarray) -> None:
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b, strict=True)


def _bounds(x: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return x.domain.inclusive_min, x.domain.exclusive_max


def test_the_kernel_is_there() -> None:
    assert native.reason("paste") is None


@pytest.mark.parametrize("engine", ALL)
@pytest.mark.parametrize("ndim", range(5))
def test_like_numpy(engine: str, ndim: int) -> None:
    mosaic = Mosaic(ndim, 23, "<u2")
    x = lt.overlay(mosaic.tensors, fill_value=9)
    expected, _ = mosaic.paste(*_bounds(x), 9)
    assert composite_of(x._node) is not None
    _same(x.collect(engine=ALL[engine]), expected)


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("dtype", [*DTYPES, *DTYPES_MORE], ids=str)
def test_dtypes(engine: str, dtype: Any) -> None:
    mosaic = Mosaic(2, 19, dtype, zero_size=False)
    fill = _values((1,), dtype, 7)[0]
    x = lt.overlay(mosaic.tensors, fill_value=fill)
    expected, _ = mosaic.paste(*_bounds(x), fill)
    _same(x.collect(engine=ALL[engine]), expected)
    window = x[3:-2, ::-1]
    _same(window.collect(engine=ALL[engine]), expected[3:-2, ::-1])


def test_extended_dtypes() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    a = np.arange(12).reshape(3, 4).astype(ml_dtypes.bfloat16)
    b = (a + 20).astype(ml_dtypes.bfloat16)
    x = lt.overlay([lt.asarray(a), lt.asarray(b).translate_to[1, 1]], fill_value=-1)
    expected = np.full((4, 5), -1, ml_dtypes.bfloat16)
    expected[:3, :4] = a
    expected[1:, 1:] = b
    for engine in ("numpy", "numba", "interpret"):
        _same(x.collect(engine=ALL[engine]), expected)


def test_payloads_of_nan_and_signs_of_zero_stay() -> None:
    bits = np.array([0x7FC00001, 0xFFC00002, 0x80000000, 0x7F800001], "u4")
    x = lt.overlay([lt.zeros(6, dtype="f4"), lt.asarray(bits.view("f4")).translate_to[1]])
    for engine in ("numpy", "numba"):
        found = x.collect(engine=ALL[engine]).view("u4")
        assert found.tolist() == [0, *bits.tolist(), 0]


INDICES: list[Any] = [
    np.s_[2:5, 1:9],
    np.s_[::-1],
    np.s_[:, ::-1],
    np.s_[3],
    np.s_[:, 4],
    np.s_[None, 2:, None, :3],
    np.s_[::3, ::-2],
    np.s_[5:5],
    np.s_[[0, 2, 2], :],
    np.s_[3, 4],
]


@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize("engine", ["numpy", "numba", "interpret", "blocks-1", "local"])
def test_windows(index: Any, engine: str) -> None:
    mosaic = Mosaic(2, 60, "<i4")
    x = lt.overlay(mosaic.tensors, fill_value=-1)
    expected, _ = mosaic.paste(*_bounds(x), -1)
    _same(x[index].collect(engine=ALL[engine]), np.asarray(expected[index]))
    _same(x.T[index].collect(engine=ALL[engine]), np.asarray(expected.T[index]))


@pytest.mark.parametrize("flags", SETTINGS, ids=str)
def test_flags(flags: Any) -> None:
    mosaic = Mosaic(2, 40, "<i4")
    x = lt.overlay(mosaic.tensors, fill_value=-1)
    expected, _ = mosaic.paste(*_bounds(x), -1)
    y = (x[1:, 2:-1] * 2 + 1).T
    for engine in ("blocks-64", "numba"):
        _same(y.collect(engine=ALL[engine], optimizations=flags), (expected[1:, 2:-1] * 2 + 1).T)
        _same(x.collect(engine=ALL[engine], optimizations=flags), expected)


@pytest.mark.parametrize("engine", ["numpy", "numba", "interpret", "blocks-64"])
def test_domains(engine: str) -> None:
    mosaic = Mosaic(2, 30, "<i4")
    for lo, hi in [
        ((-4, -3), (5, 6)),
        ((-20, -30), (20, 30)),
        ((2, 2), (3, 3)),
        ((90, 90), (95, 99)),
    ]:
        domain = lt.IndexDomain(inclusive_min=lo, exclusive_max=hi)
        x = lt.overlay(mosaic.tensors, domain=domain, fill_value=-1)
        _same(x.collect(engine=ALL[engine]), mosaic.paste(lo, hi, -1)[0])
        _same(x[1:].collect(engine=ALL[engine]), mosaic.paste(lo, hi, -1)[0][1:])


@pytest.mark.parametrize("engine", ["numpy", "numba", "interpret"])
def test_holes_are_errors_exactly_where_they_are_asked_for(engine: str) -> None:
    mosaic = Mosaic(2, 25, "<i4", zero_size=False)
    x = lt.overlay(mosaic.tensors)
    expected, there = mosaic.paste(*_bounds(x), None)
    assert not there.all()
    asked = 0
    for _ in range(60):
        a, b = sorted(RNG.integers(0, x.shape[0], 2).tolist())
        c, d = sorted(RNG.integers(0, x.shape[1], 2).tolist())
        window = x[a : b + 1, c : d + 1]
        seen = there[a : b + 1, c : d + 1]
        if seen.all():
            asked += 1
            _same(window.collect(engine=ALL[engine]), expected[a : b + 1, c : d + 1])
            continue
        first, _ = _bounds(window)
        at = tuple((np.argwhere(~seen)[0] + first).tolist())
        with pytest.raises(lt.HoleError, match=r"covered by none") as error:
            window.collect(engine=ALL[engine])
        assert f"position {at} " in str(error.value)
    assert asked
    with pytest.raises(lt.HoleError):
        (x + 1).collect(engine=ALL[engine])
    i, j = np.argwhere(there)[0].tolist()
    assert (x + 1)[i, j].collect(engine=ALL[engine]) == expected[i, j] + 1


def test_nothing_is_written_where_a_hole_is_asked_for() -> None:
    x = lt.overlay([lt.ones((2, 2)), lt.ones((2, 2)).translate_to[3, 3]])
    out = np.full((5, 5), 7.0)
    with pytest.raises(lt.HoleError):
        x.collect(out=out)
    assert (out == 7).all()


@pytest.mark.parametrize("engine", ["numpy", "numba", "interpret", "blocks-1", "local"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_joins(engine: str, axis: int) -> None:
    shapes = [[3, 4], [3, 4]]
    arrays = [_values((3, 4), "<u2", 50 * k) for k in range(20)]
    tensors = [
        lt.asarray(a).translate_to[-2, 5] if k == 0 else lt.asarray(a) for k, a in enumerate(arrays)
    ]
    tensors = [lt.asarray(a.copy()) for a in arrays]
    stacked = lt.stack(tensors, axis=axis)
    assert composite_of(stacked._node) is not None
    _same(stacked.collect(engine=ALL[engine]), np.stack(arrays, axis=axis))
    _same(
        stacked[1:3, ::-1, 2].collect(engine=ALL[engine]), np.stack(arrays, axis=axis)[1:3, ::-1, 2]
    )
    if axis < 2:
        arrays = [
            _values(tuple(k % 4 if d == axis else n for d, n in enumerate(shapes[0])), "<u2")
            for k in range(20)
        ]
        whole = np.concatenate(arrays, axis=axis)
        joined = lt.concat([lt.asarray(a) for a in arrays], axis=axis)
        _same(joined.collect(engine=ALL[engine]), whole)
        _same(joined[1:-1, 1:].collect(engine=ALL[engine]), whole[1:-1, 1:])


def test_joins_of_layers_with_origins() -> None:
    arrays = [_values((3, 4), "<u2", 50 * k) for k in range(9)]
    x = lt.concat([lt.asarray(a).translate_to[-2, 5] for a in arrays])
    _same(x.collect(), np.concatenate(arrays))
    y = lt.stack([lt.asarray(a).translate_to[-2, 5] for a in arrays], axis=1)
    _same(y.collect(), np.stack(arrays, axis=1))
    _same((y + 1)[1:].collect(engine=ALL["blocks-64"]), np.stack(arrays, axis=1)[1:] + 1)


def test_within_a_plan() -> None:
    mosaic = Mosaic(2, 50, "<i4")
    x = lt.overlay(mosaic.tensors, fill_value=3)
    expected, _ = mosaic.paste(*_bounds(x), 3)
    y = (x.astype("f8") / 2)[1:-1]
    for engine in ("numpy", "numba", "blocks-1", "blocks-64"):
        _same(y.collect(engine=ALL[engine]), expected[1:-1] / 2)
        assert x.sum().collect(engine=ALL[engine]) == expected.sum()
        _same((x[1:] - x[:-1]).collect(engine=ALL[engine]), expected[1:] - expected[:-1])
    steps = lower(Compiled((x + 1)._node), ((-5, 5), (-5, 5))).steps
    assert [step.op for step in steps].count("paste") == 1


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_what_overlaps_much_is_pasted_in_blocks(engine: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(compositing, "STREAMED_NBYTES", 1)
    monkeypatch.setattr(compositing, "_WINDOW", 1)
    out = np.zeros((900, 1024), "u2")
    layers = []
    for k in range(300):
        at = RNG.integers(-50, 900, 2).tolist()
        shape = RNG.integers(1, 400, 2).tolist()
        values = _values(tuple(shape), "u2", k)
        layers.append(lt.asarray(values).translate_to[at])
        a, b = max(0, at[0]), max(0, at[1])
        part = values[a - at[0] :, b - at[1] :][: 900 - a, : 1024 - b]
        out[a : a + part.shape[0], b : b + part.shape[1]] = part
    domain = lt.IndexDomain(shape=(900, 1024))
    x = lt.overlay(layers, domain=domain, fill_value=0)
    _same(x.collect(engine=ALL[engine]), out)
    _same(x[100:700, ::-1].collect(engine=ALL[engine]), out[100:700, ::-1])
    tiles = [
        lt.asarray(_values((64, 64), "u2", k)).translate_to[k // 16 * 64, k % 16 * 64]
        for k in range(256)
    ]
    expected = np.block(
        [[_values((64, 64), "u2", 16 * i + j) for j in range(16)] for i in range(16)]
    )
    _same(lt.overlay(tiles, fill_value=1).collect(engine=ALL[engine]), expected)
    _same(lt.overlay(tiles).collect(engine=ALL[engine]), expected)
    on_one = lt.overlay([lt.full((1024, 1024), 5, dtype="u2"), *tiles[:200]])
    expected[12 * 64 :, 8 * 64 :][:64] = 5
    expected[13 * 64 :] = 5
    _same(on_one.collect(engine=ALL[engine]), expected)


def test_what_an_array_holds_when_a_plan_runs_is_seen() -> None:
    a, b = np.zeros((4, 4), "u1"), np.ones((2, 2), "u1")
    x = lt.overlay([lt.asarray(a), lt.asarray(b).translate_to[1, 1]])
    assert x.collect(engine=NUMBA).sum() == 4
    a[0], b[0] = 7, 9
    assert x.collect(engine=NUMBA).sum() == 28 + 18 + 2


def test_arrays_live_as_long_as_the_plan_and_no_longer() -> None:
    arrays = [np.full((300, 300), k, "u1") for k in range(9)]
    died = [weakref.finalize(a, lambda: None) for a in arrays]
    x = lt.concat([lt.asarray(a) for a in arrays])
    x.collect(engine=NUMBA)
    del arrays
    gc.collect()
    assert all(one.alive for one in died)
    assert [int(x[300 * k, 0].collect()) for k in range(9)] == list(range(9))
    del x
    gc.collect()
    assert not any(one.alive for one in died)


def test_out_may_be_a_layer() -> None:
    a = np.arange(40_000, dtype="i4")
    x = lt.overlay([lt.asarray(a), lt.asarray(a[:100]).translate_to[50]])
    expected = a.copy()
    expected[50:150] = a[:100]
    x.collect(out=a)
    _same(a, expected)


def test_layers_of_other_kinds_are_computed() -> None:
    a = np.arange(16.0).reshape(4, 4)
    layers = [
        lt.asarray(a),
        (lt.asarray(a) + 1).translate_to[2, 2],
        lt.asarray(a).translate_to[3, 3],
    ]
    x = lt.overlay(layers, fill_value=0)
    assert composite_of(x._node) is None
    expected = np.zeros((7, 7))
    expected[:4, :4], expected[2:6, 2:6], expected[3:, 3:] = a, a + 1, a
    for engine in ALL.values():
        _same(x.collect(engine=engine), expected)
    text = lt.asarray(np.array(["a", "bc"], np.dtypes.StringDType()))
    assert composite_of(lt.concat([text, text])._node) is None
    assert lt.concat([text, text]).collect().tolist() == ["a", "bc"] * 2


def test_composites_survive_pickling() -> None:
    mosaic = Mosaic(3, 20, ">f4")
    x = lt.overlay(mosaic.tensors, fill_value=2)
    composite = pickle.loads(pickle.dumps(composite_of(x._node)))
    expected, _ = mosaic.paste(*_bounds(x), 2)
    out = np.empty(x.shape, ">f4")
    composite.paste(composite.whole, out)
    _same(out, expected)


def test_a_pasted_plan_is_estimated_as_it_runs() -> None:
    tiles = [
        lt.asarray(np.full((256, 256), k, "u1")).translate_to[k // 16 * 256, k % 16 * 256]
        for k in range(256)
    ]
    x = lt.overlay(tiles)
    assert is_pasted(x._node)
    cost = x.estimate()
    assert cost.chunks_read == cost.bytes_read == 0
    seen: list[int] = []
    _same(
        x.collect(progress=lambda done, total, *_: seen.append(total)),
        x.collect(engine="interpret"),
    )
    assert set(seen) == {cost.tasks}
    assert x[:50, :50].estimate().tasks == 1


def test_many_windows_at_once() -> None:
    mosaic = Mosaic(2, 80, "<i4")
    x = lt.overlay(mosaic.tensors, fill_value=-1)
    expected, _ = mosaic.paste(*_bounds(x), -1)
    found = lt.collect_all([x[:5], x[2:9, ::-1], x, x[:5]])
    for a, b in zip(
        found, [expected[:5], expected[2:9, ::-1], expected, expected[:5]], strict=True
    ):
        _same(a, b)


def test_more_layers_than_are_looked_through(monkeypatch: Any) -> None:
    monkeypatch.setattr(compositing, "_LOOKED_THROUGH", 10)
    mosaic = Mosaic(2, 300, "<i4")
    x = lt.overlay(mosaic.tensors, fill_value=-1)
    expected, _ = mosaic.paste(*_bounds(x), -1)
    for engine in (NUMPY, NUMBA):
        _same(x.collect(engine=engine), expected)
        _same(x[4:9, 2:3].collect(engine=engine), expected[4:9, 2:3])


@pytest.mark.parametrize("ndim", range(4))
def test_is_covered(ndim: int) -> None:
    seen = set()
    for _ in range(300):
        count = int(RNG.integers(1, 25))
        lo = RNG.integers(-3, 4, (count, ndim))
        hi = lo + RNG.integers(0, 5, (count, ndim))
        box = tuple(
            (int(a), int(a + n))
            for a, n in zip(RNG.integers(-2, 2, ndim), RNG.integers(0, 4, ndim), strict=True)
        )
        expected = not subtract(box, lo, hi) if all(a < b for a, b in box) else True
        filled = (lo < hi).all(axis=1)
        expected = (
            expected
            if not ndim
            else (not all(a < b for a, b in box) or not subtract(box, lo[filled], hi[filled]))
        )
        assert is_covered(box, lo, hi) is expected
        seen.add(expected)
    assert seen == {True, False} or not ndim


def test_is_covered_in_parts(monkeypatch: Any) -> None:
    from lazytensor.plan import interval_cover

    monkeypatch.setattr(interval_cover, "_MOST_CELLS", 8)
    test_is_covered(2)
    test_is_covered(3)


def test_huge_domains() -> None:
    lo = np.array([[-(2**40), 0], [0, -5]])
    hi = np.array([[0, 2**40], [2**40, 2**41]])
    assert is_covered(((-5, 5), (0, 2**40)), lo, hi)
    assert not is_covered(((-5, 5), (-1, 2**40)), lo, hi)
    far = lt.asarray(np.arange(5)).translate_to[10**15]
    x = lt.overlay([lt.asarray(np.arange(3)), far], fill_value=-1)
    assert x[10**15 - 1 :].collect().tolist() == [-1, 0, 1, 2, 3, 4]
