"""Reshape: what a view of it asks for is asked for below."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.config import QueryOptFlags
from lazytensor.exec.interpret import interpret
from lazytensor.plan.explain import explain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.memory import array_node
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Cast, Elementwise, Reduce, Reshape, Scan, View
from lazytensor.plan.optimize import Trace, optimize
from lazytensor.plan.reshaping import groups
from lazytensor.plan.rules.reshapes import _common_rows
from tests.plan.random_plans import leaf, transforms, translated
from tests.sources import ChunkedArray

X = leaf((6, 4, 5))
ORIGIN = translated(X, (3, -2, 7))
PLAIN = array_node(np.arange(24), firm=True)
F4 = np.dtype("f4")


def view(x: Node, *key: object) -> View:
    return View(x, IndexTransform.identity(x.domain)[key])


def reshape(x: Node, *shape: int) -> Reshape:
    return Reshape(x, shape)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # Rows of the merged dims.
        (view(reshape(X, 24, 5), slice(8, 16)), view(reshape(view(X, slice(2, 4)), 8, 5))),
        # What is between them stays above.
        (view(reshape(X, 24, 5), slice(9, 11)), view(reshape(view(X, 2), 4, 5), slice(1, 3))),
        (view(reshape(X, 24, 5), 9), view(X, 2, 1)),
        # The dims of a split one.
        (view(reshape(PLAIN, 6, 4), slice(2, 4)), reshape(view(PLAIN, slice(8, 16)), 2, 4)),
        (view(reshape(PLAIN, 6, 4), 2), view(PLAIN, slice(8, 12))),
        (view(reshape(PLAIN, 6, 4), 2, 3), view(PLAIN, 11)),
        # Dims that are only carried along: anything moves.
        (
            view(reshape(X, 24, 5), slice(None), slice(None, None, -2)),
            reshape(view(X, slice(None), slice(None), slice(None, None, -2)), 24, 3),
        ),
        (view(reshape(X, 24, 5), slice(None), 3), reshape(view(X, ..., 3), 24)),
        (
            view(reshape(X, 3, 2, 20), [2, 0], 1),
            view(reshape(view(X, slice(1, 6)), 5, 20), [4, 0]),
        ),
        (reshape(reshape(X, 120), 6, 4, 5), view(X)),
    ],
)
def test_before_and_after(before: Node, after: Node) -> None:
    moved = optimize(before)
    np.testing.assert_array_equal(interpret(moved), interpret(before))
    assert moved.domain == before.domain
    np.testing.assert_array_equal(interpret(after), interpret(before))


def test_rows_are_what_one_would_write_by_hand() -> None:
    plan = view(reshape(PLAIN, 6, 4), slice(2, 4))
    by_hand = reshape(view(PLAIN, slice(8, 16)), 2, 4)
    below = [n for n in walk(optimize(plan)) if isinstance(n, Reshape)]
    assert below == [by_hand]
    assert optimize(view(reshape(PLAIN, 6, 4), 2, 3)) is view(PLAIN, 11)
    whole = view(reshape(X, 24, 5), slice(None), 3)
    assert optimize(whole) is optimize(reshape(view(X, slice(None), slice(None), 3), 24))


def test_printed() -> None:
    before = view(reshape(X, 24, 5), slice(8, 16))
    assert explain(before).splitlines() == [
        "view [0=8:16]       (8, 5)              int32  160 B",
        "└─ reshape (24, 5)  (24, 5)             int32  480 B",
        "   └─ scan array    (z: 6, y: 4, x: 5)  int32  480 B",
    ]
    assert explain(optimize(before)).splitlines() == [
        "view at (8, 0)     (8, 5)              int32  160 B",
        "└─ reshape (8, 5)  (8, 5)              int32  160 B",
        "   └─ scan array   (z: 2, y: 4, x: 5)  int32  160 B   [z=2:4]",
    ]


def test_a_reshape_by_units_is_a_view() -> None:
    plan = reshape(ORIGIN, 1, 6, 4, 1, 5)
    after = optimize(plan)
    assert isinstance(after, View) and isinstance(after.x, Scan)
    assert after.domain == plan.domain
    np.testing.assert_array_equal(interpret(after), interpret(plan))
    back = reshape(plan, 6, 4, 5)
    assert optimize(back) is optimize(reshape(ORIGIN, 6, 4, 5))
    assert optimize(plan, QueryOptFlags(simplify_expression=False)) is plan
    lone = reshape(leaf((1, 1)), 1)
    np.testing.assert_array_equal(interpret(optimize(lone)), interpret(lone))


def test_empty_reshapes_stay_empty() -> None:
    for shape, to in (((0, 3), (3, 0)), ((0, 3), (0, 5)), ((2, 0), (0,))):
        plan = reshape(leaf(shape), *to)
        assert optimize(plan).domain == plan.domain
        assert interpret(optimize(plan)).shape == to


def test_no_group_is_coarser_than_need_be() -> None:
    def found(below: tuple[int, ...], above: tuple[int, ...]) -> list[tuple[object, ...]]:
        return [tuple(group) for group in groups(below, above)]

    assert found((6, 4), (4, 6)) == [((0, 1), (0, 1))]
    assert found((2, 3, 4), (6, 4)) == [((0, 1), (0,)), ((2,), (1,))]
    assert found((1, 8, 1), (2, 1, 4)) == [((1,), (0, 2))]
    assert found((5,), (5, 1)) == [((0,), (0,))]
    assert found((1, 1), (1,)) == []


@given(st.data())
def test_rows_hold_the_box_and_are_the_same_elements(data: st.DataObject) -> None:
    above = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    size = math.prod(above)
    divisors = [n for n in range(1, size + 1) if size % n == 0]
    first = data.draw(st.sampled_from(divisors))
    below = (first, size // first)
    box = []
    for n in above:
        a = data.draw(st.integers(0, n - 1))
        box.append((a, data.draw(st.integers(a + 1, n))))
    lower, upper = _common_rows(below, above, tuple(box))
    numbers = np.arange(size)

    def part(shape: tuple[int, ...], bounds: tuple[tuple[int, int], ...]) -> np.ndarray:
        return numbers.reshape(shape)[tuple(slice(*ends) for ends in bounds)].ravel()

    np.testing.assert_array_equal(part(below, lower), part(above, upper))
    assert set(part(above, tuple(box))) <= set(part(above, upper))


@st.composite
def reshaped(draw: st.DrawFn) -> Node:
    """A reshape of an array somewhere, of dims that split, merge and come and go."""
    shape = draw(st.lists(st.integers(1, 6), min_size=0, max_size=4))
    x: Node = array_node(np.arange(math.prod(shape)).reshape(shape), firm=draw(st.booleans()))
    if shape and draw(st.booleans()):
        x = translated(x, tuple(draw(st.integers(-5, 5)) for _ in shape))
    to: list[int] = []
    rest = math.prod(shape)
    while rest > 1 and len(to) < 4:
        to.append(draw(st.sampled_from([n for n in range(1, rest + 1) if rest % n == 0])))
        rest //= to[-1]
    if rest > 1 or draw(st.booleans()):
        to.insert(draw(st.integers(0, len(to))), rest)
    return Reshape(x, tuple(to))


@settings(max_examples=400)
@given(reshaped(), st.data())
def test_views_of_a_reshape(plan: Node, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        plan = View(plan, data.draw(transforms(plan)))
    for flags in (QueryOptFlags(), QueryOptFlags(simplify_expression=False)):
        trace = Trace()
        after = optimize(plan, flags, trace)
        assert after.domain == plan.domain
        np.testing.assert_array_equal(interpret(after), interpret(plan))
        again = Trace()
        assert optimize(after, flags, again) is after
        assert again.firings == []


def test_a_view_does_not_move_below_a_shared_reshape() -> None:
    shared = reshape(PLAIN, 6, 4)
    plan = Elementwise("add", (view(shared, slice(2, 3)), Reduce("sum", shared, (0,), True, ())))
    assert optimize(plan) is plan


def test_only_the_chunks_of_the_rows_are_read() -> None:
    source = ChunkedArray(np.arange(2400).reshape(40, 60), (4, 60))
    x = lt.scan_source(source)
    y = lt.reshape(x.astype("f4"), (8, 5, 6, 10))[3:5, :, 2]
    want = source.values.astype("f4").reshape(8, 5, 6, 10)[3:5, :, 2]
    np.testing.assert_array_equal(y.collect(), want)
    assert {box[0] for box in source.boxes} <= {(12 + 4 * i, 16 + 4 * i) for i in range(4)} | {
        (a, b) for a in range(12, 28) for b in range(12, 29)
    }


def test_ten_thousand_reshapes_are_one() -> None:
    plan: Node = PLAIN
    for i in range(10_000):
        plan = Reshape(plan, (6, 4) if i % 2 else (3, 8))
    after = optimize(Cast(plan, F4))
    assert len(list(walk(after))) == 3
