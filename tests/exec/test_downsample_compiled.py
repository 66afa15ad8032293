"""Compiled downsampling against the plain way, which ``test_downsample`` holds to the rules."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence

import ml_dtypes
import numpy as np
import pytest

from lazytensor.exec.kernels import downsample_compiled
from lazytensor.exec.kernels.choice import chosen_kernels, kernels_of_run
from lazytensor.exec.kernels.consumer import CompiledConsumer, address_of_kernel
from lazytensor.exec.kernels.downsample import downsample_into
from lazytensor.exec.kernels.downsample_compiled import downsample_consumer, takes_cut
from lazytensor.exec.kernels.downsample_text import text_of
from lazytensor.exec.kernels.maps import CompiledMap
from lazytensor.native import Kernel, objects
from lazytensor.native.kernels import chunk_block
from lazytensor.native.kernels import consumer_block as block_words

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
GUARD = 0xA5

# One text for each way through the code that writes them: sums in pairs and without, quotients by
# shifts and by division with and without ties, signs, keys of floats, halves sorted by columns and
# not, runs of zeros, lines of all lengths.
CASES = [
    ("mean", "u2", (2, 2, 2)),
    ("mean", "i1", (2, 3)),
    ("mean", "f4", (2, 2, 2)),
    ("min", "bfloat16", (2, 1, 2)),
    ("max", "f4", (2, 2, 2)),
    ("median", "u2", (2, 2, 2)),
    ("median", "f8", (3, 3)),
    ("mode", "u8", (2, 2, 2)),
    ("mode", "f4", (3, 2, 1)),
]

_compiled: dict[str, Kernel] = {}


def compiled_here(name: str, text: str, saves: float) -> Kernel | None:
    """The kernel, compiled in this process: numba is imported once for all of them."""
    from lazytensor.native.compiler import compile_source

    if chosen_kernels() == "numpy":
        return None
    if text not in _compiled:
        _compiled[text] = objects.load(compile_source(name, text))
    return _compiled[text]


@pytest.fixture
def compiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    pytest.importorskip("numba")
    monkeypatch.setitem(os.environ, "NUMBA_OPT", "0")
    with monkeypatch.context() as patch:
        patch.setattr(downsample_compiled, "compiled", compiled_here)
        yield


def dtype_of(name: str) -> np.dtype:
    return BFLOAT16 if name == "bfloat16" else np.dtype(name)


def values_of(rng: np.random.Generator, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """Values with repeats, extremes and every special one."""
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        wide = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
        near = rng.integers(0, 4, shape).astype(dtype)
        ends = np.where(rng.random(shape) < 0.5, dtype.type(info.max), dtype.type(info.min))
        return np.choose(rng.integers(0, 3, shape), [wide, near, ends])
    special = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1.0, 0.1])
    pick = rng.random(shape) < rng.choice([0.0, 0.3, 0.95])
    with np.errstate(all="ignore"):
        return np.where(pick, rng.choice(special, shape), rng.normal(0, 3, shape)).astype(dtype)


def bits_of(array: np.ndarray, method: str) -> np.ndarray:
    """Bits of every element; the sign and payload of a NaN are the processor's in a mean."""
    found = np.ascontiguousarray(array)
    bits: np.ndarray = found.view(f"u{found.dtype.itemsize}").copy()
    if method == "mean" and found.dtype.kind == "f":
        bits[np.isnan(found)] = 1
    return bits


def plain(block: np.ndarray, factors: Sequence[int], method: str) -> np.ndarray:
    out = np.empty([-(-n // f) for n, f in zip(block.shape, factors, strict=True)], block.dtype)
    zeros = (0,) * block.ndim
    with kernels_of_run("numpy"):
        downsample_into(block, zeros, factors, method, out, zeros)
    return out


def laid_out(
    rng: np.random.Generator, shape: Sequence[int], dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray]:
    """An array of a shape with some strides, and the bytes of it and around it: guards."""
    order = rng.permutation(len(shape))
    steps = rng.choice([1, 1, 1, 2, 3, -1], len(shape))
    if rng.random() < 0.5:
        order, steps = np.arange(len(shape)), np.where(steps > 1, 1, steps)
    spans = [shape[d] * abs(steps[d]) + int(rng.integers(0, 3)) for d in order]
    memory = np.full(int(np.prod(spans)) * dtype.itemsize + 256, GUARD, np.uint8)
    begin = 64 * int(rng.integers(0, 2)) + int(rng.integers(0, 2)) * dtype.itemsize
    whole = memory[begin : begin + int(np.prod(spans)) * dtype.itemsize].view(dtype)
    turned = whole.reshape(spans).transpose(np.argsort(order))
    part = turned[tuple(slice(None, None, int(step)) for step in steps)]
    return part[tuple(slice(0, n) for n in shape)], memory


def check(
    method: str, dtype: np.dtype, factors: Sequence[int], cells: Sequence[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    cut = rng.random(len(cells)) < (0.4 if takes_cut(method, dtype) else 0)
    shape = [f * n - c * (f - 1) for f, n, c in zip(factors, cells, cut, strict=True)]
    block, memory_of_block = laid_out(rng, shape, dtype)
    block[...] = values_of(rng, shape, dtype)
    kept = memory_of_block.copy()
    expected = plain(block, factors, method)
    out, memory = laid_out(rng, cells, dtype)
    out[...] = np.zeros((), dtype)
    around = memory.copy()
    consumer = downsample_consumer(
        method, dtype, factors, out, saves=1.0, streamed=bool(rng.random() < 0.3)
    )
    assert consumer is not None
    consumer.take(block, (0,) * block.ndim)
    np.testing.assert_array_equal(bits_of(out, method), bits_of(expected, method))
    out[...] = np.zeros((), dtype)
    np.testing.assert_array_equal(memory, around, err_msg="written beside the target")
    np.testing.assert_array_equal(memory_of_block, kept)


def random_cells(rng: np.random.Generator, ndim: int) -> list[int]:
    """Few cells along most dims, and lines of about the length of a vector."""
    cells = rng.integers(1, 7, ndim).tolist()
    cells[int(rng.integers(0, ndim))] = int(rng.integers(1, 150))
    return [int(n) for n in cells]


@pytest.mark.parametrize(("method", "name", "factors"), CASES)
def test_any_strides(compiles: None, method: str, name: str, factors: tuple[int, ...]) -> None:
    rng = np.random.default_rng(11)
    for seed in range(40):
        more = int(rng.integers(0, 2))
        check(method, dtype_of(name), (1,) * more + factors,
              random_cells(rng, len(factors) + more), seed)  # fmt: skip


def hand_over_one_value(
    consumer: CompiledConsumer, value: np.ndarray, shape: Sequence[int]
) -> None:
    """What the reader of a chunk that is not stored does: a piece without strides."""
    room = np.empty(consumer.buffer_nbytes, np.uint8)
    work = np.zeros(chunk_block.WORK_WORDS, np.int64)
    tables = np.array((*shape, *consumer.strides, *[0] * len(shape)), np.int64)
    words = np.zeros(block_words.BLOCK_WORDS, np.int64)
    words[block_words.SOURCE] = value.__array_interface__["data"][0]
    words[block_words.COUNTS] = tables.__array_interface__["data"][0]
    words[block_words.TARGET] = consumer.target
    words[block_words.TARGET_STRIDES] = words[block_words.COUNTS] + 8 * len(shape)
    words[block_words.RANK] = len(shape)
    words[block_words.WORK] = work.__array_interface__["data"][0]
    words[block_words.BUFFER] = room.__array_interface__["data"][0]
    words[block_words.PARAMETERS] = consumer.parameters
    ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(consumer.function)(
        words.__array_interface__["data"][0]
    )


@pytest.mark.parametrize(("method", "name", "factors"), CASES[::3])
def test_a_value_that_stands_for_all(
    compiles: None, method: str, name: str, factors: tuple[int, ...]
) -> None:
    """A chunk that is not stored has no strides: its one value is everywhere."""
    dtype, cells = dtype_of(name), (3, 5, 70)[-len(factors) :]
    value = values_of(np.random.default_rng(3), (1,) * len(factors), dtype)
    cut = factors[-1] - 1 if takes_cut(method, dtype) else 0
    shape = [f * n for f, n in zip(factors, cells, strict=True)]
    shape[-1] -= cut
    expected = plain(np.broadcast_to(value, shape), factors, method)
    out = np.empty(cells, dtype)
    consumer = downsample_consumer(method, dtype, factors, out, saves=1.0)
    assert consumer is not None
    hand_over_one_value(consumer, value, shape)
    np.testing.assert_array_equal(bits_of(out, method), bits_of(expected, method))


MAPS = """
from lazytensor.native.intrinsics import f32, i64, u8, u16

def kernel(p):
    n = i64(p)[0]
    if i64(i64(p)[2])[0] == 1:
        to, at = f32(i64(p)[1]), u16(i64(p)[3])
        for i in range(n):
            to[i] = at[i] - i64(i64(p)[2])[2]
    else:
        out, values = u8(i64(p)[1]), f32(i64(p)[3])
        for i in range(n):
            out[i] = abs(values[i]) % 256
    return 0
"""


@pytest.mark.parametrize("seed", range(12))
def test_maps_before_and_after(compiles: None, seed: int) -> None:
    """Values are turned before they are reduced, results before they are stored."""
    rng = np.random.default_rng(seed)
    factors, cells = (2, 2, 2), random_cells(rng, 3)
    cells[int(rng.integers(0, 3))] += 30
    block, _ = laid_out(rng, [2 * n - int(rng.integers(0, 2)) for n in cells], np.dtype("u2"))
    block[...] = values_of(rng, block.shape, block.dtype)
    kernel = compiled_here("maps", MAPS, 1.0)
    assert kernel is not None
    constants = np.array([[1, 0, 1000, 0], [2, 0, 0, 0]], np.int64)
    first = constants.__array_interface__["data"][0]
    function = address_of_kernel(kernel)
    before = CompiledMap(function, first, constants)
    after = CompiledMap(function, first + 32, constants)
    turned = block.astype("f4") - np.float32(1000)
    for pre, post in ((before, None), (None, after), (before, after)):
        source = turned if pre is None else block
        expected = plain(turned, factors, "max")
        result = expected if post is None else (abs(expected) % 256).astype("u1")
        out, memory = laid_out(rng, cells, result.dtype)
        out[...] = 0
        around = memory.copy()
        consumer = downsample_consumer(
            "max", turned.dtype, factors, out, pre=pre, source=source.dtype, post=post,
            saves=1.0, streamed=seed % 3 == 0,
        )  # fmt: skip
        assert consumer is not None
        consumer.take(source, (0, 0, 0))
        np.testing.assert_array_equal(out, result)
        out[...] = 0
        np.testing.assert_array_equal(memory, around)


@pytest.mark.parametrize(("method", "name", "factors"), CASES)
def test_blocks_in_memory(compiles: None, method: str, name: str, factors: tuple[int, ...]) -> None:
    """Windows that are cut at both ends, and results of a part of the block."""
    dtype, rng = dtype_of(name), np.random.default_rng(17)
    for _ in range(12):
        extents = (rng.integers(10, 30), rng.integers(10, 30), rng.integers(25, 90))
        shape = [int(n) for n in extents[-len(factors) :]]
        block = values_of(rng, shape, dtype)
        lo = [int(n) for n in rng.integers(-7, 7, len(shape))]
        ends = [(a + n - 1) // f + 1 for a, n, f in zip(lo, shape, factors, strict=True)]
        out_lo = [a // f + int(rng.integers(0, 2)) for a, f in zip(lo, factors, strict=True)]
        cells = [b - a - int(rng.integers(0, 2)) for a, b in zip(out_lo, ends, strict=True)]
        found, expected = np.empty(cells, dtype), np.empty(cells, dtype)
        downsample_into(block, lo, factors, method, found, out_lo)
        with kernels_of_run("numpy"):
            downsample_into(block, lo, factors, method, expected, out_lo)
        np.testing.assert_array_equal(bits_of(found, method), bits_of(expected, method))


@pytest.mark.parametrize(("method", "name", "factors"), [CASES[k] for k in (0, 1, 4, 5, 7)])
def test_tensorstore(compiles: None, method: str, name: str, factors: tuple[int, ...]) -> None:
    ts = pytest.importorskip("tensorstore", exc_type=ImportError)
    shape = (21, 18, 67)[-len(factors) :]
    block = values_of(np.random.default_rng(5), shape, np.dtype(name))
    expected = ts.downsample(ts.array(block), factors, method).read().result()
    out = np.empty(expected.shape, block.dtype)
    zeros = (0,) * block.ndim
    downsample_into(block, zeros, factors, method, out, zeros)
    np.testing.assert_array_equal(out, expected)


def test_which_windows_have_code() -> None:
    some = np.dtype("u2")
    assert text_of("mean", some, (2, 2, 2)) == text_of("mean", some, (1, 2, 2, 2))
    assert text_of("mode", some, (4, 2)) == text_of("mode", some, (2, 2, 2))
    assert text_of("mode", some, (3, 3, 3)) is not None
    assert text_of("mode", some, (4, 3, 3)) is None  # more than a network sorts
    assert text_of("mean", some, (1, 16)) is None
    assert text_of("max", some, (1, 1)) is None  # a copy
    assert text_of("mean", np.dtype("f2"), (2, 2)) is None
    assert text_of("mean", np.dtype("u8"), (2, 2)) is None
    assert text_of("mode", np.dtype("c8"), (2, 2)) is None
    assert text_of("max", np.dtype(">u2"), (2, 2)) is None
    assert text_of("mode", np.dtype("bool"), (2, 2)) == text_of("mode", np.dtype("u1"), (2, 2))
    assert text_of("mode", np.dtype("M8[s]"), (2, 2)) is None


def test_without_compiled_code_there_is_no_consumer() -> None:
    with kernels_of_run("numpy"):
        assert (
            downsample_consumer("max", BFLOAT16, (2, 2), np.empty((2, 2), BFLOAT16), saves=9.0)
            is None
        )
