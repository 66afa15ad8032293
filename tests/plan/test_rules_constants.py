"""Constants: what is made of them is one, and what does not matter beside them is not computed."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import lazytensor as lt
from lazytensor.config import QueryOptFlags
from lazytensor.errors import DTypeError, HoleError
from lazytensor.exec.interpret import interpret
from lazytensor.plan.constants import cast_value, downsample_value, elementwise_value
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cast, Constant, Elementwise, Field, Reduce, View
from lazytensor.plan.nodes_block import Downsample
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.ops import ELEMENTWISE
from lazytensor.plan.optimize import Trace, optimize
from tests.plan.random_plans import leaf, translated

ONLY = QueryOptFlags.none().update(constant_folding=True)
OFF = QueryOptFlags().update(constant_folding=False)
X = leaf((4, 6))


def const(value: Any, dtype: str, shape: tuple[int, ...] = (), lo: int = 0) -> Node:
    scalar = Constant.of(value, np.dtype(dtype))
    if not shape:
        return scalar
    domain = IndexDomain._make((lo,) * len(shape), tuple(lo + n for n in shape), ("",) * len(shape))
    return View(scalar, IndexTransform._make(domain, ()))


def same(plan: Node, by_hand: Node, flags: QueryOptFlags = ONLY) -> None:
    after = optimize(plan, flags)
    assert after is by_hand
    assert after.domain == plan.domain
    np.testing.assert_array_equal(interpret(after), interpret(plan))


def fired(plan: Node) -> list[str]:
    trace = Trace()
    optimize(plan, ONLY, trace)
    return list(trace.counts())


def test_what_is_made_of_constants_is_one() -> None:
    a, b = const(3, "i4", (2, 3)), const(4, "i4", (2, 3))
    same(Elementwise("add", (a, b)), const(7, "i4", (2, 3)))
    same(Elementwise("add", (a, const(1, "i4"))), const(4, "i4", (2, 3)))
    same(Elementwise("multiply", (const(3, "i4"), const(5, "i4"))), const(15, "i4"))
    same(Cast(const(2.9, "f8", (4,)), np.dtype("i1")), const(2, "i1", (4,)))
    same(Reduce("sum", a, (1,), False, ()), const(9, "i8", (2,)))
    same(Reduce("mean", a, (0, 1), True, ()), const(3.0, "f8", (1, 1)))
    same(Reduce("argmax", a, (1,), False, ()), const(0, "i8", (2,)))
    same(Downsample(const(1.5, "f4", (4, 4)), (2, 3), "mean"), const(1.5, "f4", (2, 2)))
    same(Join((a, a), 0, False, ""), const(3, "i4", (4, 3)))
    structure = np.zeros((), [("r", "u1"), ("g", "f4")])
    structure["g"] = 2.5
    same(Field(const(structure, structure.dtype, (2,)), "g"), const(2.5, "f4", (2,)))


def test_it_is_seen_in_the_plan() -> None:
    x = lt.sum(lt.ones((10, 10)) * 3 + lt.asarray(2.0)[()])
    assert "sum" in x.explain(optimized=False)
    text = (lt.full((4, 4), 2) * 3 + 1).explain()
    assert "multiply" not in text and "add" not in text
    rules = (lt.full((4, 4), 2) * 3 + 1).explain(rules=True)
    assert "f(c, d) = a constant" in rules


def test_chains_fold_from_below() -> None:
    plan = const(1.5, "f4", (6, 6))
    for _ in range(50):
        plan = Elementwise("add", (plan, const(1, "f4")))
    plan = Reduce("max", Downsample(Cast(plan, np.dtype("f8")), (3, 3), "min"), (0,), False, ())
    same(plan, const(51.5, "f8", (2,)))


def test_sums_of_more_than_memory_holds() -> None:
    huge = const(3, "u1", (1 << 40, 1 << 21))
    total = optimize(Reduce("sum", huge, (0, 1), False, ()), ONLY)
    assert total is const(3 << 61, "u8")
    assert optimize(Reduce("std", huge, (0, 1), False, ()), ONLY) is const(0.0, "f8")
    assert lt.mean(lt.full((1 << 50,), 7, dtype=lt.int16)).collect() == 7


def test_errors_stay_where_they_were() -> None:
    powers = Elementwise("pow", (const(2, "i4", (3,)), const(-1, "i4", (3,))))
    assert optimize(powers, ONLY) is powers
    with pytest.raises(DTypeError):
        lt.pow(lt.full(3, 2), lt.full(3, -1)).collect()
    window = Downsample(const(1, "i4", (1 << 16, 1 << 16)), (1 << 16, 1 << 16), "mean")
    assert optimize(window, ONLY) is window


@pytest.mark.parametrize(
    "plan",
    [
        Cast(const(np.nan, "f8", (3,)), np.dtype("i4")),
        Cast(const(300.0, "f8", (3,)), np.dtype("u1")),
        Cast(const(-1.0, "f4", (3,)), np.dtype("u8")),
        Downsample(const(0.1, "f4", (4,)), (3,), "mean"),
        Downsample(const(-0.0, "f4", (4,)), (3,), "mean"),
        Downsample(const(np.nan, "f4", (4,)), (3,), "max"),
        Reduce("var", const(0.1, "f8", (3,)), (0,), False, (("correction", 3.0),)),
        Elementwise("add", (X, const(0, "i4", (4, 6), lo=3))),
        Elementwise("multiply", (leaf((3,), "f4"), const(0, "f4"))),
        Elementwise("add", (leaf((3,), "f4"), const(0, "f4"))),
        Elementwise("add", (leaf((3,), "u1"), const(0, "i4"))),
        Elementwise("subtract", (const(0, "i4"), X)),
    ],
    ids=lambda plan: repr(plan),
)
def test_what_is_not_exact_stays(plan: Node) -> None:
    if plan.inputs[0] is X:
        # Where the origins differ, x + 0 is x counted from 0.
        assert optimize(plan, ONLY).domain == plan.domain
        return
    assert optimize(plan, ONLY) is plan


def test_neutral_operands_go_away() -> None:
    for op, other in (
        ("add", 0), ("subtract", 0), ("multiply", 1), ("bitwise_or", 0), ("bitwise_xor", 0),
        ("bitwise_and", -1), ("floor_divide", 1), ("bitwise_left_shift", 0),
        ("bitwise_right_shift", 0), ("maximum", -(2**31)), ("minimum", 2**31 - 1),
    ):  # fmt: skip
        same(Elementwise(op, (X, const(other, "i4"))), X)
    same(Elementwise("add", (const(0, "i4"), X)), X)
    truth = leaf((4,), "?")
    same(Elementwise("logical_and", (truth, const(True, "?"))), truth)
    same(Elementwise("logical_or", (const(False, "?"), truth)), truth)
    # An operand with more dims still shapes the result.
    wide = Elementwise("add", (X, const(0, "i4", (2, 4, 6))))
    after = optimize(wide, ONLY)
    assert isinstance(after, View) and after.x is X and after.domain == wide.domain


def test_operands_that_do_not_matter_are_not_read() -> None:
    for op, other, result in (
        ("multiply", 0, 0), ("bitwise_and", 0, 0), ("bitwise_or", -1, -1),
        ("maximum", 2**31 - 1, 2**31 - 1), ("minimum", -(2**31), -(2**31)),
    ):  # fmt: skip
        plan = Elementwise(op, (X, const(other, "i4")))
        after = optimize(plan, ONLY)
        assert isinstance(after, View) and after.x is const(result, "i4")
        np.testing.assert_array_equal(interpret(after), interpret(plan))
    floats = leaf((4,), "f4")
    after = optimize(Elementwise("logical_and", (floats, const(False, "?"))), ONLY)
    assert isinstance(after, View) and after.x is const(False, "?")


def test_a_constant_condition_chooses() -> None:
    y = leaf((4, 6), start=100)
    same(Elementwise("where", (const(True, "?"), X, y)), X)
    same(Elementwise("where", (const(False, "?", (4, 6)), X, y)), y)
    wide = Elementwise("where", (const(True, "?"), X, leaf((4, 6), "f8")))
    same(wide, Cast(X, np.dtype("f8")))
    scalar = Elementwise("where", (const(False, "?"), X, const(5, "i4")))
    after = optimize(scalar, ONLY)
    assert after.inputs == (const(5, "i4"),) and after.domain == scalar.domain


def test_nobody_misses_an_error() -> None:
    """A hole, a power or a user's function stay, though their values would not matter."""
    hole = lt.overlay([lt.asarray(np.ones((2, 2), np.int32))], domain=lt.IndexDomain(shape=[3, 3]))
    for plan in (
        hole * 0,
        lt.where(lt.asarray(False), hole, 0),
        lt.bitwise_and(hole, 0),
    ):
        with pytest.raises(HoleError):
            plan.collect()
    zero = const(0, "i4")
    seen: list[Any] = []
    looked = (lt.arange(3, dtype=lt.int32)).inspect(lambda d, v: seen.append(v.shape))._node
    kept = Elementwise("multiply", (looked, zero))
    assert optimize(kept) is kept
    powers = Elementwise("pow", (X, X))
    assert optimize(Elementwise("multiply", (powers, zero)), ONLY).inputs[0] is powers


NINE, ONE = np.int32(9).tobytes(), np.int32(1).tobytes()


def test_a_background_is_a_fill_value() -> None:
    a = leaf((2, 2))
    window = IndexDomain._make((0, 0), (4, 4), ("y", "x"))
    background = const(9, "i4", (5, 5), lo=-1)
    by_hand = Overlay((a,), window, NINE)
    same(Overlay((background, a), window, None), by_hand)
    same(Overlay((background, a), window, ONE), by_hand)
    same(Overlay((const(9, "i4", (2, 2)), a), window, NINE), by_hand)
    same(Overlay((const(1, "i4", (4, 4)), background, a), window, None), by_hand)
    # One that leaves holes, or lies on something, is a layer.
    for layers, fill in (
        ((const(9, "i4", (2, 2)), a), None),
        ((const(9, "i4", (2, 2)), a), ONE),
        ((a, const(9, "i4", (2, 1))), NINE),
    ):
        plan = Overlay(layers, window, fill)
        assert optimize(plan, ONLY) is plan
    nothing = Overlay((const(9, "i4", (2, 2)), const(9, "i4", (1, 3))), window, NINE)
    after = optimize(nothing, ONLY)
    assert after.inputs == (const(9, "i4"),) and after.domain == window


def test_holes_stay_holes() -> None:
    window = IndexDomain._make((0, 0), (4, 4), ("y", "x"))
    plan = Overlay((const(9, "i4", (2, 2)), translated(leaf((2, 2)), (2, 2))), window, None)
    assert optimize(plan, ONLY) is plan


_SOME = {
    "?": [False, True], "u1": [0, 1, 255], "i2": [-3, 0, 7], "i8": [-(2**63), 5],
    "f4": [0.0, -0.0, 1.5, np.nan, np.inf, 1e-40], "f8": [-np.inf, 0.1, 3.0], "c8": [1 - 2j, 0j],
    "f2": [0.5, np.inf],
}  # fmt: skip


@given(data=st.data())
def test_every_operation_on_constants(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(ELEMENTWISE)))
    dtypes = [data.draw(st.sampled_from(list(_SOME))) for _ in range(ELEMENTWISE[name].arity)]
    if name == "where":
        dtypes[0] = "?"
    operands = [const(data.draw(st.sampled_from(_SOME[t])), t, (37,)) for t in dtypes]
    try:
        plan = Elementwise(name, tuple(operands))
    except DTypeError:
        return
    after = optimize(plan, ONLY)
    try:
        expected = interpret(plan)
    except DTypeError:
        assert after is plan
        return
    got = interpret(after)
    assert got.dtype == expected.dtype and got.shape == expected.shape
    kinds = got.dtype.kind in "fc"
    if kinds and name in _CURVES:
        np.testing.assert_allclose(got, expected, rtol=4 * np.finfo(got.dtype).eps)
    else:
        lt.testing.assert_equal(got, expected)


_CURVES = frozenset(
    (
        "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cos", "cosh", "exp", "expm1",
        "hypot", "log", "log10", "log1p", "log2", "logaddexp", "pow", "sin", "sinh", "tan", "tanh",
    )
)  # fmt: skip


@given(data=st.data())
def test_every_cast_of_constants(data: st.DataObject) -> None:
    dtype, to = data.draw(st.sampled_from(list(_SOME))), data.draw(st.sampled_from(list(_SOME)))
    plan = Cast(const(data.draw(st.sampled_from(_SOME[dtype])), dtype, (37,)), np.dtype(to))
    lt.testing.assert_equal(interpret(optimize(plan, ONLY)), interpret(plan))


@given(data=st.data())
def test_every_downsample_of_constants(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from([t for t in _SOME if t != "c8"]))
    value = data.draw(st.sampled_from(_SOME[dtype]))
    shape = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 9)))
    lo = data.draw(st.integers(-5, 5))
    method = data.draw(st.sampled_from(("mean", "median", "mode", "min", "max")))
    factors = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    plan = Downsample(const(value, dtype, shape, lo=lo), factors, method)
    lt.testing.assert_equal(interpret(optimize(plan, ONLY)), interpret(plan))


def test_extended_dtypes() -> None:
    half = np.array(1.5, lt.bfloat16).tobytes()
    assert cast_value(half, lt.bfloat16, np.dtype("f4")) == np.float32(1.5).tobytes()
    assert cast_value(half, lt.bfloat16, np.dtype("i4")) == np.int32(1).tobytes()
    assert cast_value(np.int32(100).tobytes(), np.dtype("i4"), lt.int4) is None
    assert elementwise_value("add", [lt.bfloat16] * 2, [half] * 2, lt.bfloat16) is not None
    assert downsample_value(half, lt.bfloat16, (2,), "mean") is None


def test_with_the_flag_off_nothing_folds() -> None:
    plan = Elementwise("add", (const(3, "i4", (2,)), const(4, "i4", (2,))))
    assert optimize(plan, OFF) is plan
    assert fired(plan) == ["fold_elementwise"]
