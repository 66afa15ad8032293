"""The consumer that applies compiled expressions to boxes of any strides, against NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazytensor.exec.buffers import Scratch, aligned_empty
from lazytensor.exec.kernels import maps
from lazytensor.exec.kernels.choice import kernels_of_run
from lazytensor.exec.kernels.codegen import source_of
from lazytensor.exec.kernels.expression import CAST, Expression, ExpressionStep, evaluate
from lazytensor.native import Kernel
from lazytensor.plan.source import Consumer, window
from tests.compiling import kernel_named, kernel_of

SENTINEL = 0xA5


def dtypes(codes: str) -> tuple[np.dtype, ...]:
    return tuple(map(np.dtype, codes.split()))


def step(name: str, operands: tuple[int, ...], code: str) -> ExpressionStep:
    return ExpressionStep(name, operands, np.dtype(code))


# Operands of every item size, alone and together; each is compiled once.
NARROWER = Expression(dtypes("f8"), dtypes("f8"), (step("less", (0, 1), "b1"),), 2)
WIDER = Expression(dtypes("u1"), (), (step(CAST, (0,), "f8"),), 1)
CASTING = Expression(dtypes("u2"), (), (step(CAST, (0,), "f4"),), 1)
SAME = Expression(dtypes("u1"), dtypes("u1"), (step("add", (0, 1), "u1"),), 2)
FLAT = Expression(
    dtypes("u2 f4 f4"),
    dtypes("f4"),
    (
        step(CAST, (0,), "f4"),
        step("subtract", (4, 1), "f4"),
        step("multiply", (5, 2), "f4"),
        step("add", (6, 3), "f4"),
    ),
    7,
)
CHOSEN = Expression(dtypes("b1 i8 u1"), (), (step("where", (0, 1, 2), "i8"),), 3)
EXPRESSIONS = (NARROWER, WIDER, CASTING, SAME, FLAT, CHOSEN)


def compiled(name: str, text: str | None, saves: float) -> Kernel:
    return kernel_named(name) if text is None else kernel_of(text)


@pytest.fixture(autouse=True)
def _compiled_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "compiled", compiled)


def drawn(rng: np.random.Generator, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    high = 2 if dtype.kind == "b" else 120
    return rng.integers(0, high, shape).astype(dtype)


def constants_of(expr: Expression) -> list[bytes]:
    return [np.array(3 + k, dtype).tobytes() for k, dtype in enumerate(expr.constants)]


def arranged(
    rng: np.random.Generator, memory: np.ndarray, shape: tuple[int, ...], dtype: np.dtype
) -> np.ndarray:
    """An array of a random layout inside ``memory``: dims in any order, apart and turned round."""
    order = rng.permutation(len(shape))
    steps = rng.choice([1, 1, 1, 2, 3], len(shape))
    turned = rng.random(len(shape)) < 0.25
    extents = [shape[d] * steps[d] for d in order]
    start = int(rng.integers(0, 64))
    count = int(np.prod(extents, dtype=np.int64))
    assert memory.nbytes >= start + count * dtype.itemsize
    whole = memory[start : start + count * dtype.itemsize].view(dtype).reshape(extents)
    whole = whole.transpose(np.argsort(order))
    index = tuple(
        slice(None, None, -int(s)) if t else slice(None, None, int(s))
        for s, t in zip(steps, turned, strict=True)
    )
    return window(whole, index)


def room_for(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.full(int(np.prod(shape)) * 3 ** len(shape) * dtype.itemsize + 128, SENTINEL, np.uint8)


def take_in_pieces(consumer: Consumer, values: np.ndarray, cuts: Sequence[Sequence[int]]) -> None:
    """Hand over the values piece by piece; ``cuts``: inner borders along each dim."""
    borders = [(0, *cut, n) for cut, n in zip(cuts, values.shape, strict=True)]
    for cell in np.ndindex(*(len(b) - 1 for b in borders)):
        lo = [b[i] for b, i in zip(borders, cell, strict=True)]
        hi = [b[i + 1] for b, i in zip(borders, cell, strict=True)]
        part = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
        consumer.take(window(values, part), lo)


SHAPES = st.one_of(
    st.lists(st.integers(0, 9), max_size=5).map(tuple),
    st.lists(st.integers(1, 70), max_size=3).map(tuple),
)


@given(
    expr=st.sampled_from(EXPRESSIONS),
    shape=SHAPES,
    seed=st.integers(0, 2**32 - 1),
    run=st.sampled_from([1 << 9, 1 << 11, 1 << 14]),
    streamed=st.booleans(),
    cut=st.booleans(),
)
def test_any_layout(
    expr: Expression,
    shape: tuple[int, ...],
    seed: int,
    run: int,
    streamed: bool,
    cut: bool,
) -> None:
    rng = np.random.default_rng(seed)
    arrays = []
    for k, dtype in enumerate(expr.arrays):
        own = tuple(1 if k and rng.random() < 0.4 else n for n in shape)
        array = arranged(rng, room_for(own, dtype), own, dtype)
        array[...] = drawn(rng, dtype, own)
        arrays.append(array if k else np.broadcast_to(array, shape))
    if rng.random() < 0.1:  # one value everywhere
        arrays[0] = np.broadcast_to(drawn(rng, expr.arrays[0], ()), shape)
    memory = room_for(shape, expr.dtype)
    twin, layout = memory.copy(), rng.bit_generator.state
    target = arranged(rng, memory, shape, expr.dtype)
    rng.bit_generator.state = layout
    expected = arranged(rng, twin, shape, expr.dtype)
    evaluate(expr, constants_of(expr), arrays, expected, Scratch())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maps, "_RUN_NBYTES", run)
        consumer = maps.map_consumer(
            expr, constants_of(expr), arrays[1:], target, streamed=streamed, saves=1.0
        )
    assert consumer is not None
    cuts = [sorted(rng.integers(0, n + 1, 2)) if cut else [] for n in shape]
    take_in_pieces(consumer, arrays[0], cuts)
    np.testing.assert_array_equal(memory, twin)  # what is not the target's, too


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("expr", EXPRESSIONS, ids=lambda e: "-".join(map(str, e.arrays)))
def test_chunks_of_a_large_target(expr: Expression, streamed: bool) -> None:
    rng = np.random.default_rng(5)
    shape = (20, 64, 192)
    target, expected = aligned_empty(shape, expr.dtype), np.empty(shape, expr.dtype)
    values = drawn(rng, expr.arrays[0], shape)
    others = [drawn(rng, dtype, shape[k + 1 :]) for k, dtype in enumerate(expr.arrays[1:])]
    consumer = maps.map_consumer(
        expr, constants_of(expr), others, target, streamed=streamed, saves=1.0
    )
    assert consumer is not None
    take_in_pieces(consumer, values, [[7], [], [64, 128]])
    evaluate(expr, constants_of(expr), [values, *others], expected, Scratch())
    np.testing.assert_array_equal(target, expected)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 4095, 4096, 4097, 100_000])
def test_long_rows_are_cut(n: int) -> None:
    values, out = np.arange(n).astype("u2"), np.empty(n, "f4")
    consumer = maps.map_consumer(CASTING, [], [], out, streamed=True, saves=1.0)
    assert consumer is not None
    consumer.take(values, (0,))
    np.testing.assert_array_equal(out, values.astype("f4"))


def test_a_result_may_lie_where_its_operand_does() -> None:
    values = np.arange(5000).astype("u1")
    expected = values + np.uint8(3)
    consumer = maps.map_consumer(SAME, constants_of(SAME), [], values, saves=1.0)
    assert consumer is not None
    consumer.take(values, (0,))
    np.testing.assert_array_equal(values, expected)


def test_more_dims_than_fit_a_table_are_left_to_others() -> None:
    target = np.empty((1,) * 33, "f4")
    assert maps.map_consumer(CASTING, [], [], target, saves=1.0) is None


def test_a_map_for_other_consumers() -> None:
    found = maps.compiled_map(SAME, constants_of(SAME), 1.0)
    assert found is not None
    values, out = np.arange(100, dtype="u1"), np.empty(100, "u1")
    addresses = [a.__array_interface__["data"][0] for a in (out, values)]
    words = np.array([100, addresses[0], found.constants, addresses[1]], np.int64)
    text = source_of(SAME)
    assert text is not None
    kernel_of(text)(words.__array_interface__["data"][0])
    np.testing.assert_array_equal(out, values + np.uint8(3))


def test_nothing_is_compiled_that_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with kernels_of_run("numpy"):
        assert maps.map_consumer(CASTING, [], [], np.empty(3, "f4"), saves=1e9) is None
        assert maps.compiled_map(CASTING, [], 1e9) is None
    with kernels_of_run("auto"):  # not worth a look
        assert maps.map_consumer(CASTING, [], [], np.empty(3, "f4"), saves=0.0) is None


def test_what_has_no_text_has_no_consumer() -> None:
    f4 = np.dtype("f4")
    sine = Expression((f4,), (), (ExpressionStep("sin", (0,), f4),), 1)
    assert maps.map_consumer(sine, [], [], np.empty(3, f4), saves=1.0) is None
    assert maps.compiled_map(sine, [], 1.0) is None
