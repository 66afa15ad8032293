"""Fused expressions: NumPy's way and compiled code, against the operations on whole arrays."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazytensor.errors import DTypeError
from lazytensor.exec.buffers import Scratch
from lazytensor.exec.kernels import expression as module
from lazytensor.exec.kernels.cast import cast_into
from lazytensor.exec.kernels.codegen import has_text, source_of
from lazytensor.exec.kernels.expression import (
    CAST,
    Expression,
    ExpressionStep,
    evaluate,
    evaluation_nbytes,
)
from lazytensor.plan.ops import ELEMENTWISE
from tests.compiling import kernel_of

CODES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")

# Each operation is compiled once for bools, for signed and unsigned integers and for floats: the
# sizes of one kind have their expression in common. Of the sizes those that are at some edge are
# taken, the narrowest, which is computed in a wider type, and the widest.
OPERATION_CODES = ("b1", "i1", "i8", "u2", "f4")

ROOT2 = np.float32(np.sqrt(np.float32(2)))


def edges(dtype: np.dtype) -> np.ndarray:
    """Values of a dtype at which operations and conversions turn."""
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        wanted = [0, 1, 2, 3, 7, 8, 15, 31, 32, 63, 64, 100, 255, 256, 2**15, 2**24 + 1, 2**31]
        wanted += [2**53 + 1, info.max, info.max - 1, info.min, info.min + 1, -1, -2, -3, -7]
        return np.array(sorted({v for v in wanted if info.min <= v <= info.max}), dtype)
    powers: list[float] = [
        2.0**k + d for k in (7, 8, 15, 16, 31, 32, 53, 62, 63, 64) for d in (-0.5, 0, 0.5, 9)
    ]
    special = [0.0, 0.5, 1.0, 1.5, 2.5, 3.3, 1e-40, 1e30, *powers, np.inf, np.nan]
    with np.errstate(all="ignore"):
        return np.array([*special, *(-v for v in special)], dtype)


def same(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal, zeros in their sign too, any NaN for NaN."""
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    if expected.dtype.kind == "f":
        known = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found[known]), np.signbit(expected[known]))


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def mapped(
    expr: Expression, constants: Sequence[np.ndarray], arrays: Sequence[np.ndarray]
) -> np.ndarray:
    """What the compiled map makes of 1-d arrays; nothing is written beside its result."""
    text = source_of(expr)
    assert text is not None
    n, size = arrays[0].size, expr.dtype.itemsize
    memory = np.full(size * n + 128, 0xA5, np.uint8)
    room = np.frombuffer(b"".join(v.tobytes().ljust(16) for v in constants) + bytes(16), np.uint8)
    held = [np.ascontiguousarray(array) for array in arrays]
    words = np.array([n, address(memory) + 64, address(room), *map(address, held)], np.int64)
    assert kernel_of(text)(address(words)) == 0
    assert (memory[:64] == 0xA5).all()
    assert (memory[64 + size * n :] == 0xA5).all()
    return memory[64 : 64 + size * n].view(expr.dtype)


def single(name: str, dtypes: Sequence[np.dtype], result: np.dtype) -> Expression:
    """One operation on arrays alone."""
    step = ExpressionStep(name, tuple(range(len(dtypes))), result)
    return Expression(tuple(dtypes), (), (step,), len(dtypes))


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("code", OPERATION_CODES)
def test_compiled_operations_have_the_bits_of_the_table(name: str, code: str) -> None:
    row, dtype = ELEMENTWISE[name], np.dtype(code)
    values = edges(dtype)
    if row.arity == 3:
        values = values[:: max(1, values.size // 16)]
    grids = np.meshgrid(*[values] * row.arity, indexing="ij")
    arrays = [grid.ravel() for grid in grids]
    if name == "where":
        arrays[0] = arrays[0] != 0
    dtypes = [array.dtype for array in arrays]
    try:
        loop = row.loop(tuple(dtypes))
    except DTypeError:
        return
    expr = single(name, dtypes, loop.result)
    if source_of(expr) is not None:
        same(mapped(expr, [], arrays), row.evaluate(*arrays))


@pytest.mark.parametrize("code", ["f4", "f8"])
@pytest.mark.parametrize(("low", "high"), [(-1.0, 2.5), (0.0, -0.0), (np.nan, 1.0), (3.0, 1.0)])
def test_compiled_clip_to_constants(code: str, low: float, high: float) -> None:
    dtype = np.dtype(code)
    bounds = [np.array(v, dtype) for v in (low, high)]
    step = ExpressionStep("clip", (0, 1, 2), dtype)
    expr = Expression((dtype,), (dtype, dtype), (step,), 3)
    values = edges(dtype)
    same(mapped(expr, bounds, [values]), ELEMENTWISE["clip"].evaluate(values, *bounds))


@pytest.mark.parametrize("target", CODES)
@pytest.mark.parametrize("source", CODES)
def test_compiled_casts_are_numpys(source: str, target: str) -> None:
    expr = single(CAST, [np.dtype(source)], np.dtype(target))
    if source_of(expr) is None:
        # Of negative floats NumPy makes one uint32 in long rows and another in short ones.
        assert source[0] == "f"
        assert target == "u4"
        return
    values = np.tile(edges(np.dtype(source)), 3)
    expected = np.empty(values.size, target)
    cast_into(values, expected)
    same(mapped(expr, [], [values]), expected)


def test_compiled_comparisons_of_mixed_integers() -> None:
    left, right = (edges(np.dtype(code)) for code in ("u1", "i1"))
    arrays = [grid.ravel() for grid in np.meshgrid(left, right)]
    expr = single("less", [a.dtype for a in arrays], np.dtype(bool))
    same(mapped(expr, [], arrays), np.less(*arrays))


@pytest.mark.parametrize(
    ("name", "codes", "result"),
    [
        ("sin", ("f4",), "f4"),
        ("pow", ("f8", "f8"), "f8"),
        ("add", ("f2", "f2"), "f2"),
        ("add", ("c8", "c8"), "c8"),
        ("add", (">i4", ">i4"), "i4"),
        ("equal", ("U3", "U3"), "b1"),
        ("less", ("i8", "u8"), "b1"),
        ("floor_divide", ("i8", "i8"), "i8"),
        ("clip", ("f4", "f4", "f4"), "f4"),
        (CAST, ("f4",), "u4"),
        (CAST, ("f2",), "f4"),
        (CAST, ("M8[s]",), "i8"),
    ],
)
def test_what_is_left_to_numpy_has_no_text(name: str, codes: tuple[str, ...], result: str) -> None:
    operands = tuple([(np.dtype(code), False) for code in codes])
    assert not has_text(name, operands, np.dtype(result))


def test_equal_work_has_equal_text_and_no_numbers_in_it() -> None:
    f4 = np.dtype("f4")
    steps = (ExpressionStep("multiply", (0, 1), f4), ExpressionStep("add", (2, 1), f4))
    text = source_of(Expression((f4,), (f4,), steps, 3))
    assert text is not None
    assert text.count("\n") < 20
    assert "load_f4(constants + 0, 0)" in text


def test_slots_that_nobody_needs_are_neither_loaded_nor_computed() -> None:
    f4 = np.dtype("f4")
    steps = (ExpressionStep("sin", (1,), f4), ExpressionStep("add", (0, 0), f4))
    expr = Expression((f4, f4), (f4,), steps, 4)
    text = source_of(expr)
    assert text is not None
    assert "a1" not in text
    assert "constants +" not in text


# Random expressions. Transcendental functions and dtypes without a scalar twin are for NumPy alone.

SCALAR_NAMES = (
    "abs", "add", "bitwise_and", "bitwise_left_shift", "ceil", "equal", "floor_divide", "isfinite",
    "less", "logical_or", "maximum", "minimum", "multiply", "negative", "reciprocal", "remainder",
    "round", "sign", "sqrt", "square", "subtract", "where",
)  # fmt: skip
OTHER_NAMES = ("exp", "sin", "divide", "clip", "hypot", "real")


@st.composite
def expressions(
    draw: st.DrawFn, codes: Sequence[str] = CODES, names: Sequence[str] = SCALAR_NAMES
) -> Expression:
    """A few steps on arrays and constants of any dtypes; all of them are defined."""
    dtypes = st.sampled_from(codes).map(np.dtype)
    arrays = draw(st.lists(dtypes, min_size=1, max_size=3))
    constants = draw(st.lists(dtypes, max_size=2))
    slots = [*arrays, *constants]
    steps: list[ExpressionStep] = []
    for _ in range(draw(st.integers(1, 7))):
        name = draw(st.sampled_from((CAST, *names)))
        arity = 1 if name == CAST else ELEMENTWISE[name].arity
        operands = tuple(draw(st.integers(0, len(slots) - 1)) for _ in range(arity))
        if name == CAST:
            result = draw(dtypes)
            if slots[operands[0]].kind in "fc" and result == np.dtype("u4"):
                continue
        else:
            try:
                result = ELEMENTWISE[name].loop(tuple(slots[k] for k in operands)).result
            except DTypeError:
                continue
        steps.append(ExpressionStep(name, operands, result))
        slots.append(result)
    return Expression(tuple(arrays), tuple(constants), tuple(steps), len(slots) - 1)


def drawn(rng: np.random.Generator, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Values at the edges and elsewhere."""
    if dtype.kind == "c":
        parts = drawn(rng, np.dtype(f"f{dtype.itemsize // 2}"), (*shape, 2))
        return parts.view(dtype)[..., 0]
    pool = edges(dtype)
    some = rng.integers(0, 100, pool.size).astype(dtype)
    return rng.choice(np.concatenate([pool, some]), shape)


def whole(
    expr: Expression, constants: Sequence[np.ndarray], arrays: Sequence[np.ndarray]
) -> np.ndarray:
    """Every operation on whole arrays."""
    slots = [*arrays, *constants]
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    for step in expr.steps:
        operands = [slots[k] for k in step.operands]
        if step.name == CAST:
            result = np.empty(operands[0].shape, step.dtype)
            cast_into(operands[0], result)
        else:
            result = ELEMENTWISE[step.name].evaluate(*operands)
        slots.append(result)
    return np.broadcast_to(slots[expr.result], shape)


class CountingScratch(Scratch):
    """Knows the most that was ever lent."""

    __slots__ = ("most",)

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def take(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        found = super().take(shape, dtype)
        self.most = max(self.most, self._lent_bytes)
        return found


SHAPES = ((3, 5, 7), (1, 40), (13,), (), (2, 0, 3))


@given(
    expr=expressions((*CODES, "f2", "c8"), (*SCALAR_NAMES, *OTHER_NAMES)),
    shape=st.sampled_from(SHAPES),
    seed=st.integers(0, 2**32 - 1),
    piece=st.sampled_from([1, 64, 400, 1 << 17]),
    data=st.data(),
)
def test_pieces_have_the_bits_of_the_whole(
    expr: Expression, shape: tuple[int, ...], seed: int, piece: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    arrays = []
    for k, dtype in enumerate(expr.arrays):
        kept = data.draw(st.tuples(*[st.booleans()] * len(shape))) if k else (True,) * len(shape)
        own = tuple(n if keep else 1 for n, keep in zip(shape, kept, strict=True))
        arrays.append(drawn(rng, dtype, own))
    constants = [drawn(rng, dtype, ()) for dtype in expr.constants]
    out, scratch = np.empty(shape, expr.dtype), CountingScratch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PIECE_NBYTES", piece)
        module._scheme.cache_clear()
        evaluate(expr, [c.tobytes() for c in constants], arrays, out, scratch)
        most = evaluation_nbytes(expr, out.size)
    module._scheme.cache_clear()
    same(out, whole(expr, constants, arrays))
    assert scratch.most <= most
    assert scratch._lent_bytes == 0


@given(
    index=st.integers(0, 11),
    n=st.sampled_from([0, 1, 5, 64, 1000]),
    seed=st.integers(0, 2**32 - 1),
)
def test_compiled_expressions_have_the_bits_of_the_whole(index: int, n: int, seed: int) -> None:
    expr = COMPILED[index]
    rng = np.random.default_rng(seed)
    arrays = [drawn(rng, dtype, (n,)) for dtype in expr.arrays]
    constants = [drawn(rng, dtype, ()) for dtype in expr.constants]
    same(mapped(expr, constants, arrays), whole(expr, constants, arrays))


def _chain(arrays: str, constants: str, *steps: tuple[str, tuple[int, ...], str]) -> Expression:
    made = tuple(ExpressionStep(name, slots, np.dtype(code)) for name, slots, code in steps)
    a, c = (tuple(map(np.dtype, codes.split())) for codes in (arrays, constants))
    return Expression(a, c, made, len(a) + len(c) + len(made) - 1)


# Chains in which something could go wrong: a product and a sum that must not become one operation,
# integers that wrap between steps, a value used twice, truth that is computed with.
COMPILED = (
    _chain("f4", "f4 f4", ("multiply", (0, 1), "f4"), ("add", (3, 2), "f4")),
    _chain("f8 f8 f8", "", ("multiply", (0, 1), "f8"), ("subtract", (3, 2), "f8")),
    _chain(
        "u1 u1", "u1", ("add", (0, 1), "u1"), ("multiply", (3, 3), "u1"), ("less", (4, 2), "b1")
    ),
    _chain("i1", "i1", ("subtract", (0, 1), "i1"), ("abs", (2,), "i1"), (CAST, (3,), "i8")),
    _chain(
        "u2", "f4 f4 f4 f4",
        (CAST, (0,), "f4"), ("subtract", (5, 1), "f4"), ("multiply", (6, 2), "f4"),
        ("round", (7,), "f4"), ("clip", (8, 3, 4), "f4"), (CAST, (9,), "u1"),
    ),
    _chain(
        "f4 f4 f4", "",
        ("subtract", (0, 1), "f4"), ("subtract", (2, 1), "f4"), ("divide", (3, 4), "f4"),
    ),
    _chain("u2 f4", "u2", ("less", (0, 2), "b1"), ("where", (3, 1, 0), "f4")),
    _chain("b1 i4", "", ("add", (0, 1), "i4"), ("multiply", (2, 0), "i4"), (CAST, (3,), "b1")),
    _chain("u8", "f8", (CAST, (0,), "f8"), ("divide", (2, 1), "f8"), (CAST, (3,), "u8")),
    _chain("i4", "i4", ("floor_divide", (0, 1), "i4"), ("remainder", (0, 1), "i4"),
           ("add", (2, 3), "i4")),
    _chain("f8", "", (CAST, (0,), "f4"), ("sqrt", (1,), "f4"), (CAST, (2,), "i2"),
           ("negative", (3,), "i2")),
    _chain("u1", "", ("isnan", (0,), "b1"), ("logical_not", (1,), "b1"), ("add", (2, 0), "u1")),
)  # fmt: skip


def test_an_operand_may_be_overwritten_by_the_result() -> None:
    expr = COMPILED[0]
    values = np.arange(1000, dtype="f4")
    constants = [np.array(v, "f4") for v in (ROOT2, 1)]
    expected = whole(expr, constants, [values])
    evaluate(expr, [c.tobytes() for c in constants], [values], values, Scratch())
    same(values, expected)


def test_a_result_may_be_an_operand_or_a_constant() -> None:
    f4 = np.dtype("f4")
    values, out = np.arange(5, dtype=f4), np.empty(5, f4)
    evaluate(Expression((f4,), (), (), 0), [], [values], out, Scratch())
    same(out, values)
    evaluate(Expression((f4,), (f4,), (), 1), [np.float32(7).tobytes()], [values], out, Scratch())
    same(out, np.full(5, 7, f4))


def test_conversions_that_depend_on_the_place_see_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_PIECE_NBYTES", 8)
    module._scheme.cache_clear()
    f4, u4 = np.dtype("f4"), np.dtype("u4")
    steps = (ExpressionStep("negative", (0,), f4), ExpressionStep(CAST, (1,), u4))
    expr = Expression((f4,), (), steps, 2)
    values = np.tile(edges(f4), 3)
    out = np.empty(values.size, u4)
    evaluate(expr, [], [values], out, Scratch())
    same(out, whole(expr, [], [values]))


def test_errors_are_those_of_the_operation() -> None:
    i4 = np.dtype("i4")
    expr = single("pow", [i4, i4], i4)
    with pytest.raises(DTypeError, match="negative integer"):
        evaluate(expr, [], [np.array([2], i4), np.array([-1], i4)], np.empty(1, i4), Scratch())


def test_every_arity_of_the_table_is_known_here() -> None:
    assert {row.arity for row in ELEMENTWISE.values()} == {1, 2, 3}
    assert set(itertools.chain(SCALAR_NAMES, OTHER_NAMES)) <= set(ELEMENTWISE)
