"""Compiled quantization beside NumPy's: the same bits, whatever the shapes, strides and groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.exec import stages
from lazytensor.exec.kernels import quantize
from lazytensor.exec.kernels.choice import kernels_of_run
from lazytensor.exec.kernels.quantize import Groups, apply_rows, spread_into
from lazytensor.native import nibbles
from lazytensor.plan.ops_quantize import quantize_row
from lazytensor.plan.quantization import QTYPES, same_quantized
from tests.compiled_engines import compiling, used
from tests.compiling import kernel_named
from tests.engines import ENGINES
from tests.sources import ChunkedArray

F4 = np.float32
OPS = ("dequantize", *map(quantize_row, QTYPES.values()))
_VALUES = np.array([0, -0.0, 0.5, -1.5, 2.5, 127.5, 1e9, -1e30, 1e-45, np.inf, -np.inf, np.nan], F4)


def values(rng: np.random.Generator, op: str, shape: tuple[int, ...]) -> np.ndarray:
    if op == "dequantize":
        return rng.integers(-128, 128, shape).astype(np.int8).view(rng.choice(["i1", "u1"]))
    usual = (rng.normal(size=shape) * 30).astype(F4)
    return np.where(rng.random(shape) < 0.2, rng.choice(_VALUES, shape), usual)


def parameters(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    scales = rng.choice(F4([0.25, 1, 3.7, -2, 1e-40, 0, np.nan, np.inf]), shape)
    return scales, rng.choice(F4([0, 1, -0.5, 127.5, -2.5e7, np.nan]), shape)


def both(op: str, *operands: Any, shape: tuple[int, ...]) -> None:
    """Compiled and plain; the result lies in memory that nothing else may be written to."""
    dtype = F4 if op == "dequantize" else QTYPES[op.removeprefix("quantize_")].storage
    found = []
    for kernels in ("numba", "numpy"):
        room = np.full(tuple([n + 2 for n in shape]), 77, dtype)
        out = room[tuple([slice(1, -1)] * len(shape))]
        with kernels_of_run(kernels):
            apply_rows(op, *operands, out)
        found.append(room)
    one, other = found
    same = (one == other) | ((one != one) & (other != other))
    assert same.all()
    assert (np.signbit(one) == np.signbit(other)).all() or op == "dequantize"


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, ...]:
    return tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))


@pytest.mark.parametrize("op", OPS)
@given(shape=shapes(), seed=st.integers(0, 2**20), data=st.data())
@settings(max_examples=30)
def test_rows_of_any_parameters(
    op: str, shape: tuple[int, ...], seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    x = values(rng, op, shape)
    turned = data.draw(
        st.sampled_from(("as it is", "turned", "every second", "backwards", "broadcast"))
    )
    if turned == "turned":
        x = np.ascontiguousarray(x.T).T
    elif turned == "every second":
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    elif turned == "backwards":
        x = x[..., ::-1]
    elif turned == "broadcast":
        x = np.broadcast_to(x[..., :1], shape)
    with compiling(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantize, "_FEWEST", 1)
        kept = tuple([n if data.draw(st.booleans()) else 1 for n in shape])
        both(op, x, *parameters(rng, kept), None, shape=shape)
        both(op, x, *parameters(rng, kept[1:]), None, shape=shape)
        group = data.draw(st.integers(1, 12))
        leads = tuple([d for d in range(len(shape)) if data.draw(st.integers(0, 3)) == 0])
        strides = [0] * len(shape)
        step = 1
        for d in reversed(range(len(shape))):
            if d not in leads:
                strides[d] = step * data.draw(st.sampled_from((1, 1, 1, 2, 0)))
                step *= shape[d]
        if data.draw(st.integers(0, 4)) == 0:
            strides = [-s for s in strides]
        ends = sum([s * (n - 1) for s, n in zip(strides, shape, strict=True)])
        first = data.draw(st.integers(0, 20)) - min(0, ends)
        count = (first + max(0, ends)) // group + 1
        pair = parameters(rng, (*[shape[d] for d in leads], count))
        both(op, x, *pair, Groups(leads, tuple(strides), first, group), shape=shape)


def test_many_rows_and_runs() -> None:
    rng = np.random.default_rng(3)
    with compiling():
        for shape in ((70, 301), (3, 20000), (20001,), (2, 130, 129)):
            for op in OPS:
                x = values(rng, op, shape)
                n = int(np.prod(shape))
                flat = tuple(np.cumprod((1, *shape[:0:-1]))[::-1].tolist())
                for group in (1, 32, 128, 1000, 10**6):
                    pair = parameters(rng, (-(-n // group),))
                    both(op, x, *pair, Groups((), flat, 0, group), shape=shape)
                for kept in (shape[-1:], (*shape[:-1], 1), (shape[0],) + (1,) * (len(shape) - 1)):
                    both(op, x, *parameters(rng, kept), None, shape=shape)


def test_spreading_a_part_is_a_part_of_spreading() -> None:
    groups = Groups((1,), (100, 0, 3), 5, 7)
    p = np.arange(4 * 60.0).reshape(4, 60)
    whole = np.empty((3, 4, 5))
    spread_into(p, groups, whole)
    for i in range(3):
        for k in range(5):
            np.testing.assert_array_equal(whole[i, :, k], p[:, (5 + 100 * i + 3 * k) // 7])
    part = np.empty((2, 3, 2))
    at = (slice(1, 3), slice(0, 3), slice(2, 4))
    spread_into(p[:3], groups, part, at)
    np.testing.assert_array_equal(part, whole[at])
    single = np.empty(())
    spread_into(p[0], Groups((), (), 15, 7), single)
    assert single == 2


@pytest.mark.parametrize(
    "keywords",
    [{}, {"scheme": "per_channel", "axis": 0}, {"scheme": "per_channel", "axis": -1},
     {"scheme": "per_group", "group_size": 128}, {"scheme": "per_group", "group_size": 100}],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["qint8", "quint4"])
def test_compiled_runs_have_the_bits_of_plain_ones(keywords: dict[str, Any], dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(700, 512)).astype(F4)
    x[3, 5], x[100, 100], x[:, 7] = np.nan, np.inf, 1.5
    q = lt.quantize(lt.asarray(x) * 2, dtype, **keywords)
    plain = q.collect(engine=lt.LocalEngine(threads=2, kernels="numpy"))
    expected = q.dequantize().collect(engine=lt.LocalEngine(threads=2, kernels="numpy"))
    assert same_quantized(plain, q.collect(engine=lt.InterpretEngine()))
    with compiling():
        used.clear()
        engine = lt.LocalEngine(threads=2, kernels="numba")
        assert same_quantized(q.collect(engine=engine), plain)
        np.testing.assert_array_equal(q.dequantize().collect(engine=engine), expected)
        np.testing.assert_array_equal(lt.dequantize(plain).collect(engine=engine), expected)
    asked = set(used)
    assert ("quantize" in asked) == bool(keywords) or "fused" in asked
    assert any(name.startswith("fold_f4") for name in asked)


@pytest.mark.parametrize("group", [128, 100])
def test_groups_are_reduced_where_they_are_needed(
    group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(0).normal(size=(700, 512)).astype(F4)
    x[5, 5], x[:, 300] = np.nan, -np.inf
    for mode in ("safe", "tenso"):
        q = lt.quantize(x, "quint8", "per_group", group_size=group, mode=mode)
        expected = q.collect(engine=lt.InterpretEngine())
        monkeypatch.setattr(stages, "_SMALL_RESULT", 0)
        for kernels in ("numpy", "numba"):
            with compiling():
                used.clear()
                engine = lt.LocalEngine(threads=2, kernels=kernels)
                np.testing.assert_array_equal(q.data.collect(engine=engine), expected.data)
                found = q.dequantize()[100:200, 30:400].collect(engine=engine)
            np.testing.assert_array_equal(found, expected.dequantize()[100:200, 30:400])
            assert ("fold_f4_runs" in used) == (kernels == "numba")
        monkeypatch.undo()


def test_memory_is_what_a_task_holds() -> None:
    import tracemalloc

    x = np.random.default_rng(0).normal(size=(2048, 2048)).astype(F4)
    for keywords in (
        {},
        {"scheme": "per_channel", "axis": 1},
        {"scheme": "per_group", "group_size": 100},
    ):
        q = lt.quantize(x, **keywords)
        outs = [np.empty(t.shape, t.dtype) for t in (q.data, q.scales, q.zero_points)]
        for kernels in ("numpy", "numba"):
            engine = lt.LocalEngine(threads=1, kernels=kernels)
            run = lambda: lt.collect_all([q.data, q.scales, q.zero_points], out=outs, engine=engine)  # noqa: E731, B023
            run()
            tracemalloc.start()
            run()
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 24 << 20, (keywords, kernels, peak)


@pytest.mark.parametrize("engine", sorted(ENGINES))
@pytest.mark.parametrize("given", ["none", "in memory", "stored"])
@pytest.mark.parametrize(
    ("scheme", "number"),
    [({"scheme": "per_group", "group_size": 7}, 9), ({"scheme": "per_channel", "axis": 1}, 6)],
    ids=["per_group", "per_channel"],
)
def test_results_together_look_their_parameters_up(
    scheme: dict[str, Any], number: int, given: str, engine: str
) -> None:
    """What results share are the parameters, not those of every element."""
    values = np.arange(60, dtype=F4).reshape(10, 6)
    keywords: dict[str, Any] = dict(scheme)
    if given != "none":
        pair: list[Any] = [np.linspace(0.5, 2, number).astype(F4), np.zeros(number, F4)]
        if given == "stored":
            pair = [lt.scan_source(ChunkedArray(one, [2])) for one in pair]
        keywords["scales"], keywords["zero_points"] = pair
    q = lt.quantize(lt.scan_source(ChunkedArray(values, [4, 3])), **keywords)
    meant = q.dequantize()
    plans = [q.data, meant, meant[:4] + 1, meant[3:, ::-1], q.scales]
    found = lt.collect_all(plans, engine=ENGINES[engine])
    for plan, one in zip(plans, found, strict=True):
        assert one.tobytes() == plan.collect(engine="interpret").tobytes()


def test_nibbles_are_packed_in_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nibbles, "kernel", lambda name, saves: kernel_named(name))
    monkeypatch.setattr(nibbles, "_FEWEST", 1)
    rng = np.random.default_rng(0)
    for n in (0, 1, 2, 63, 64, 1001):
        for signed in (True, False):
            data = (rng.integers(-8, 8, n) + 8 * (not signed)).astype(
                np.int8 if signed else np.uint8
            )
            out = np.full((n + 1) // 2, 99, np.uint8)
            assert nibbles.pack_pairs(data, out) == n // 2 * 2
            low, high = data[0::2].view(np.uint8) & 15, data[1::2].view(np.uint8) & 15
            np.testing.assert_array_equal(out[: n // 2], low[: n // 2] | (high << 4))
            back = np.empty(n // 2 * 2, data.dtype)
            assert nibbles.unpack_pairs(out[: n // 2], back, signed=signed) == n // 2 * 2
            np.testing.assert_array_equal(back, data[: n // 2 * 2])
    assert nibbles.pack_pairs(np.zeros(8, np.int8)[::2], np.zeros(2, np.uint8)) == 0
