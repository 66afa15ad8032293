"""Views through operations along one axis: the plan one would write by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazytensor.config import QueryOptFlags
from lazytensor.exec.interpret import interpret
from lazytensor.plan.explain import explain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.memory import MemorySource, array_node
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Elementwise, Scan, View
from lazytensor.plan.nodes_axis import (
    BlockTotals,
    Cumulate,
    Gather,
    Lookup,
    Search,
    Sort,
)
from lazytensor.plan.optimize import Trace, optimize
from tests.plan.random_plans import leaf, transforms, translated

X = leaf((6, 8))
SMALL = leaf((6, 8), "u1")
TABLE = array_node(np.arange(256) * 2)
SORTED = leaf((5,))
INDICES = Scan(MemorySource(np.arange(18).reshape(6, 3) % 7 - 3, dims=("y", "x")))
ROW = Scan(MemorySource(np.arange(8).reshape(1, 8) % 6, dims=("y", "x")))


def view(x: Node, *key: object) -> View:
    return View(x, IndexTransform.identity(x.domain)[key])


def sort(x: Node, axis: int, *, descending: bool = False, indices: bool = False) -> Sort:
    return Sort(x, axis, descending, indices)


def cumsum(x: Node, axis: int) -> Cumulate:
    return Cumulate("cumulative_sum", x, axis, None, 0, None)


def blocked(x: Node, axis: int, block: int) -> Cumulate:
    """The cumulative sum in two passes."""
    totals = BlockTotals("cumulative_sum", x, axis, None, block)
    return Cumulate("cumulative_sum", x, axis, None, block, cumsum(totals, axis))


ALL = slice(None)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (view(sort(X, 1), 2), sort(view(X, 2), 0)),
        (view(sort(X, 1), slice(1, 4)), sort(view(X, slice(1, 4)), 1)),
        (view(sort(X, 0), ALL, [5, 0]), sort(view(X, ALL, [5, 0]), 0)),
        (view(sort(X, 1), 2, 3), view(sort(view(X, 2), 0), 3)),
        (view(sort(X, 1), slice(0, 2), slice(0, 3)),
         view(sort(view(X, slice(0, 2)), 1), ALL, slice(0, 3))),
        (view(sort(X, 1, indices=True), 2), sort(view(X, 2), 0, indices=True)),
        (view(cumsum(X, 1), 2), cumsum(view(X, 2), 0)),
        (view(cumsum(X, 1), ALL, slice(0, 5)), cumsum(view(X, ALL, slice(0, 5)), 1)),
        (view(cumsum(X, 1), 1, slice(2, 5)), view(cumsum(view(X, 1, slice(0, 5)), 0), slice(2, 5))),
        (view(cumsum(X, 0), 3), view(cumsum(view(X, slice(0, 4)), 0), 3)),
        (view(blocked(X, 1, 2), ALL, slice(0, 5)), blocked(view(X, ALL, slice(0, 5)), 1, 2)),
        (view(blocked(X, 1, 4), ALL, slice(0, 4)), cumsum(view(X, ALL, slice(0, 4)), 1)),
        (view(Gather(X, INDICES, 1), 2), Gather(view(X, 2), view(INDICES, 2), 0)),
        (view(Gather(X, INDICES, 1), ALL, slice(1, 3)),
         Gather(X, view(INDICES, ALL, slice(1, 3)), 1)),
        (view(Gather(X, ROW, 0), ALL, slice(2, 4)),
         Gather(view(X, ALL, slice(2, 4)), view(ROW, ALL, slice(2, 4)), 0)),
        (view(Lookup(TABLE, SMALL), slice(None, None, -1)),
         Lookup(TABLE, view(SMALL, slice(None, None, -1)))),
        (view(Search("left", SORTED, X), [3, 3]), Search("left", SORTED, view(X, [3, 3]))),
        (sort(sort(X, 1), 1, descending=True), sort(X, 1, descending=True)),
    ],
)  # fmt: skip
def test_before_and_after(before: Node, after: Node) -> None:
    assert optimize(before, QueryOptFlags()) is optimize(after)
    trace = Trace()
    assert optimize(before, None, trace) is after, explain(optimize(before))
    assert trace.firings
    np.testing.assert_array_equal(interpret(after), interpret(before))


def test_it_reads_like_this() -> None:
    before = view(cumsum(X, 1), 1, slice(2, 5))
    assert explain(before).splitlines() == [
        "view [y=1, x=2:5]          (x: 3)        int64   24 B",
        "└─ cumulative_sum along x  (y: 6, x: 8)  int64  384 B",
        "   └─ scan array           (y: 6, x: 8)  int32  192 B",
    ]
    assert explain(optimize(before)).splitlines() == [
        "view [x=2:5]               (x: 3)  int64  24 B",
        "└─ cumulative_sum along x  (x: 5)  int64  40 B",
        "   └─ scan array           (x: 5)  int32  20 B   [y=1, x=0:5]",
    ]


@pytest.mark.parametrize(
    "node",
    [
        view(sort(X, 1), ALL, slice(1, 3)),
        view(sort(X, 0), [1, 1]),
        view(cumsum(X, 1), ALL, 7),
        view(cumsum(X, 1), ALL, slice(None, None, -1)),
    ],
)
def test_the_axis_itself_stays(node: View) -> None:
    assert optimize(node) is node


def test_sorting_differently_is_no_repetition() -> None:
    for node in (
        sort(sort(X, 0), 1),
        sort(sort(X, 1, indices=True), 1),
        sort(sort(X, 1), 1, indices=True),
    ):
        assert optimize(node) is node


def test_a_shared_operation_is_done_once() -> None:
    ordered = sort(X, 1)
    node = Elementwise("add", (view(ordered, slice(0, 1)), ordered))
    assert sum(type(n) is Sort for n in walk(optimize(node))) == 1


@st.composite
def operations(draw: st.DrawFn) -> Node:
    """One of the kinds over an operand with any origin, values in no order."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    values = rng.permutation(int(np.prod(shape))).reshape(shape)
    origin = tuple(draw(st.lists(st.integers(-3, 3), min_size=len(shape), max_size=len(shape))))
    x = translated(array_node(values), origin)
    axis = draw(st.integers(0, len(shape) - 1))
    kind = draw(st.sampled_from(("sort", "argsort", "cumsum", "blocked", "gather", "search")))
    if kind in ("sort", "argsort"):
        return Sort(x, axis, draw(st.booleans()), kind == "argsort")
    if kind == "cumsum":
        return cumsum(x, axis)
    if kind == "blocked":
        return blocked(x, axis, draw(st.integers(1, 3)))
    if kind == "search":
        return Search("right", array_node(np.arange(0, 200, 7)), x)
    wanted = [draw(st.sampled_from((1, n))) for n in shape]
    wanted[axis] = draw(st.integers(1, 4))
    picks = rng.integers(-shape[axis], shape[axis], wanted)
    return Gather(x, translated(array_node(picks), origin), axis)


@settings(max_examples=400, deadline=None)
@given(operations(), st.data())
def test_views_never_change_a_value(node: Node, data: st.DataObject) -> None:
    viewed: Node = node
    for _ in range(data.draw(st.integers(1, 3))):
        viewed = View(viewed, data.draw(transforms(viewed)))
    trace = Trace()
    after = optimize(viewed, None, trace)
    assert after.domain == viewed.domain
    np.testing.assert_array_equal(interpret(after), interpret(viewed))
    again = Trace()
    assert optimize(after, None, again) is after
    assert not again.firings
