"""Reductions of one element and of joins: fewer passes, the same bits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.config import QueryOptFlags
from lazytensor.exec.holes import hole_plan
from lazytensor.exec.interpret import interpret
from lazytensor.plan.explain import explain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.memory import array_node
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Cast, Constant, Elementwise, Reduce, View
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.optimize import optimize
from lazytensor.plan.rules.reductions import (
    add_up_stack,
    constants_apart,
    parts_count_once,
    reduce_of_one_element,
)
from tests.plan.random_plans import filled, leaf, translated
from tests.sources import ChunkedArray

A, B, C = (leaf((4, 3), start=12 * i) for i in range(3))
I8 = np.dtype("i8")


def view(x: Node, *key: object) -> View:
    return View(x, IndexTransform.identity(x.domain)[key])


def reduced(op: str, x: Node, *axes: int, keepdims: bool = False) -> Reduce:
    return Reduce(op, x, axes, keepdims, ())


def stack(*layers: Node, axis: int = 0) -> Join:
    return Join(layers, axis, True, "t")


def concat(*layers: Node, axis: int = 0) -> Join:
    return Join(layers, axis, False, "")


def full(like: Node, value: int) -> Node:
    """A constant as the optimizer leaves it."""
    return optimize(filled(like, value))


def added(x: Node, y: Node, op: str = "add") -> Node:
    return Elementwise(op, (x, y))


ONE = view(A, slice(2, 3))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (reduced("max", ONE, 0), view(A, 2)),
        (reduced("sum", ONE, 0), Cast(view(A, 2), I8)),
        (reduced("any", ONE, 0), Cast(view(A, 2), np.dtype(bool))),
        (reduced("sum", stack(A, B), 0), added(Cast(A, I8), Cast(B, I8))),
        (reduced("max", stack(A, B, C), 0), added(added(A, B, "maximum"), C, "maximum")),
        (reduced("min", concat(A, B, A), 0), reduced("min", concat(A, B), 0)),
        (
            reduced("max", concat(A, full(B, 5)), 0),
            reduced("max", concat(A, full(view(B, slice(0, 1)), 5)), 0),
        ),
        (
            reduced("sum", concat(A, full(B, 5)), 0),
            added(reduced("sum", A, 0), Constant.of(20, I8)),
        ),
        (
            reduced("count_nonzero", concat(A, full(B, 5), full(C, 0)), 0, 1),
            added(reduced("count_nonzero", A, 0, 1), Constant.of(12, I8)),
        ),
        (reduced("sum", concat(A, full(B, 0)), 0), reduced("sum", A, 0)),
    ],
)
def test_before_and_after(before: Node, after: Node) -> None:
    flags = QueryOptFlags(constant_folding=False)
    assert optimize(before, flags) is optimize(after, flags)
    np.testing.assert_array_equal(interpret(after), interpret(before))
    off = flags.update(reduction_pushdown=False)
    assert optimize(before, off) is not optimize(after, off)


def test_printed() -> None:
    plan = reduced("sum", stack(A, B), 0)
    assert explain(plan).splitlines()[0].startswith("sum over t")
    after = explain(optimize(plan)).splitlines()
    assert [line.strip("│├└─ ").split()[0] for line in after] == ["add", *["cast", "scan"] * 2]


DTYPES = [np.dtype(t) for t in ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")]
FLOATS = [np.dtype(t) for t in ("f2", "f4", "f8")]
NUMBERS = [*DTYPES, *FLOATS, np.dtype("c8"), np.dtype("c16")]
OPS = ("all", "any", "count_nonzero", "max", "min", "prod", "sum", "mean", "var", "argmax")


def sample(dtype: np.dtype, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Values up to the limits of the dtype, zeros of both signs and NaN."""
    rng = np.random.default_rng(seed)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        edge = np.array([bounds.min, bounds.max, 0, 1], dtype)
        some = rng.integers(bounds.min, bounds.max, shape, dtype, endpoint=True)
        return np.where(rng.random(shape) < 0.4, rng.choice(edge, shape), some)
    special = np.array([np.nan, 0.0, -0.0, np.inf, -np.inf, 1.5, -2.25])
    return rng.choice(special, shape).astype(dtype)


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
@pytest.mark.parametrize("op", OPS)
def test_one_element_is_its_own_reduction(op: str, dtype: np.dtype) -> None:
    if op in ("max", "min", "argmax") and dtype.kind == "c":
        return
    values = sample(dtype, (1, 40, 1), 1)
    x = translated(array_node(values), (4, -3, 2))
    for axes, keepdims in itertools.product(((0,), (0, 2), (), (2,)), (False, True)):
        if op == "argmax" and len(axes) != 1:
            continue
        plan = Reduce(op, x, axes, keepdims, ())
        after = reduce_of_one_element(plan)
        if after is None:
            assert dtype.kind in "fc" or op in ("mean", "var", "argmax")
            continue
        assert (after.domain, after.dtype) == (plan.domain, plan.dtype)
        assert interpret(after).tobytes() == interpret(plan).tobytes()


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
@pytest.mark.parametrize("op", OPS)
def test_a_stack_adds_up(op: str, dtype: np.dtype) -> None:
    if op in ("max", "min", "argmax") and dtype.kind == "c":
        return
    layers = tuple(translated(array_node(sample(dtype, (5, 7), i)), (i % 2, -3)) for i in range(4))
    for axis, keepdims in itertools.product(range(3), (False, True)):
        plan = Reduce(op, stack(*layers, axis=axis), (axis,), keepdims, ())
        after = add_up_stack(plan)
        if after is None:
            assert op in ("mean", "var", "argmax") or dtype.kind in "fc"
            continue
        assert (after.domain, after.dtype) == (plan.domain, plan.dtype)
        assert interpret(after).tobytes() == interpret(plan).tobytes()


def test_a_dtype_that_was_asked_for_is_kept() -> None:
    for to in ("i2", "u1", "i8"):
        params = (("dtype", np.dtype(to)),)
        plan = Reduce("sum", stack(A, B, C), (0,), False, params)
        after = optimize(plan)
        assert not any(isinstance(node, Reduce) for node in walk(after))
        assert interpret(after).tobytes() == interpret(plan).tobytes()
    floats = Reduce("sum", stack(A, B), (0,), False, (("dtype", np.dtype("f8")),))
    assert add_up_stack(floats) is None


def test_many_layers_stay_a_reduction() -> None:
    plan = reduced("sum", stack(*[leaf((4,), start=i) for i in range(9)]), 0)
    assert optimize(plan) is plan
    both = reduced("sum", stack(A, B), 0, 1)
    assert optimize(both) is both


@settings(max_examples=200)
@given(st.data())
def test_parts_of_a_concat(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(NUMBERS))
    op = data.draw(st.sampled_from([op for op in OPS if dtype.kind != "c" or "m" not in op]))
    axis = data.draw(st.integers(0, 1))
    pool: list[Node] = []
    for i in range(3):
        shape = (
            (data.draw(st.integers(1, 3)), 4) if axis == 0 else (4, data.draw(st.integers(1, 3)))
        )
        x: Node = translated(array_node(sample(dtype, shape, i)), (i, 1))
        pool.append(full(x, i) if data.draw(st.booleans()) else x)
    parts = tuple(data.draw(st.lists(st.sampled_from(pool), min_size=1, max_size=5)))
    new = data.draw(st.booleans()) and len({x.shape for x in parts}) == 1
    join = Join(parts, axis, new, "")
    axes = {axis} | data.draw(st.sets(st.integers(0, join.ndim - 1), max_size=1))
    if op == "argmax":
        axes = {axis}
    plan = Reduce(op, join, tuple(sorted(axes)), data.draw(st.booleans()), ())
    for law in (parts_count_once, constants_apart):
        after = law(plan)
        if after is not None:
            assert (after.domain, after.dtype) == (plan.domain, plan.dtype)
            assert interpret(after).tobytes() == interpret(plan).tobytes()


def test_a_part_that_is_there_already_is_not_read_again() -> None:
    source = ChunkedArray(np.arange(24).reshape(6, 4), (2, 4))
    x = lt.scan_source(source)
    y = lt.max(lt.concat([x[0:4], x[0:4], lt.full((50, 4), 3)]), axis=0)
    found = y.collect()
    np.testing.assert_array_equal(found, [12, 13, 14, 15])
    assert len(source.boxes) <= 2


def test_holes_stay_errors() -> None:
    holes = Overlay.of((A, translated(B, (5, 0))), None, None)
    row = view(holes, slice(4, 5))
    for plan in (
        reduced("max", row, 0),
        reduced("max", stack(row, row), 0),
        reduced("sum", stack(row, view(holes, slice(0, 1))), 0),
        reduced("any", concat(row, row), 0),
    ):
        assert interpret(hole_plan(optimize(plan))).all()


def test_a_sum_of_a_sum_stays() -> None:
    """Dividing by the total wants the inner sum too: one pass over the input is enough for both."""
    rows = reduced("sum", A, 1)
    plan = Elementwise("subtract", (rows, reduced("sum", rows, 0)))
    assert optimize(plan) is plan
