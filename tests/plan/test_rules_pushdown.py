"""Views through operations on single positions or along axes: the plan one would write by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lazytensor.exec.interpret import interpret
from lazytensor.plan.dimexpr import d
from lazytensor.plan.explain import explain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.memory import MemorySource, array_node
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import (
    Cache,
    Cast,
    Constant,
    Elementwise,
    Field,
    Reduce,
    Scan,
    View,
)
from lazytensor.plan.optimize import optimize
from tests.plan.random_plans import leaf

F4 = np.dtype("f4")
X = leaf((6, 8))
ROW = array_node(np.arange(8))
COLUMN = array_node(np.arange(6).reshape(6, 1))


def view(x: Node, *key: object) -> View:
    return View(x, IndexTransform.identity(x.domain)[key])


def add(*inputs: Node) -> Elementwise:
    return Elementwise("add", inputs)


def reduced(x: Node, *axes: int, op: str = "sum", keepdims: bool = False) -> Reduce:
    return Reduce(op, x, axes, keepdims, ())


TWO = Constant.of(2, X.dtype)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (view(Cast(X, F4), 2, slice(0, 4)), Cast(view(X, 2, slice(0, 4)), F4)),
        (view(add(X, TWO), slice(None, None, -1)), add(view(X, slice(None, None, -1)), TWO)),
        (view(add(X, add(X, TWO)), 1), add(view(X, 1), add(view(X, 1), TWO))),
        (view(add(X, X), [5, 0]), add(view(X, [5, 0]), view(X, [5, 0]))),
        (view(add(X, ROW), 1), add(view(X, 1), ROW)),
        (view(reduced(X, 1), 3), reduced(view(X, 3), 0)),
        (view(reduced(X, 0), slice(1, 3)), reduced(view(X, slice(None), slice(1, 3)), 0)),
        (
            view(reduced(X, 0, keepdims=True), slice(None), slice(1, 3)),
            reduced(view(X, slice(None), slice(1, 3)), 0, keepdims=True),
        ),
        (view(reduced(X, 1, op="argmax"), [4, 0]), reduced(view(X, [4, 0]), 1, op="argmax")),
    ],
)
def test_before_and_after(before: Node, after: Node) -> None:
    assert optimize(before) is after
    np.testing.assert_array_equal(interpret(after), interpret(before))


def test_it_reads_like_this() -> None:
    before = view(Cast(add(X, TWO), F4), 2, slice(0, 4))
    assert explain(before).splitlines() == [
        "view [y=2, x=0:4]    (x: 4)        float32   16 B",
        "└─ cast float32      (y: 6, x: 8)  float32  192 B",
        "   └─ add  2         (y: 6, x: 8)  int32    192 B",
        "      └─ scan array  (y: 6, x: 8)  int32    192 B",
    ]
    assert explain(optimize(before)).splitlines() == [
        "cast float32      (x: 4)  float32  16 B",
        "└─ add  2         (x: 4)  int32    16 B",
        "   └─ scan array  (x: 4)  int32    16 B   [y=2, x=0:4]",
    ]


def test_broadcast_operands_stay_small() -> None:
    before = view(add(X, Elementwise("sqrt", (COLUMN,))), slice(0, 2), slice(3, 5))
    root = next(n for n in walk(optimize(before)) if n.dtype == "f8" and isinstance(n, Elementwise))
    assert root.op == "sqrt" and root.shape == (2, 1)
    np.testing.assert_array_equal(interpret(optimize(before)), interpret(before))


def test_repeating_stays_above() -> None:
    """A broadcast or repeating view below an operation would repeat the operation."""
    cast = Cast(X, F4)
    broadcast = View(cast, IndexTransform.identity(cast.domain)[np.newaxis][0:5])
    repeated = view(cast, np.arange(60) % 3)
    after = optimize(broadcast)
    assert isinstance(after, View) and after.x is cast
    after = optimize(repeated)
    assert isinstance(after, View) and after.x is Cast(view(X, slice(0, 3)), F4)
    for plan in (broadcast, repeated):
        np.testing.assert_array_equal(interpret(optimize(plan)), interpret(plan))


def test_a_diagonal_and_a_permutation_move() -> None:
    t = IndexTransform.identity(X.domain)
    square = add(view(X, slice(None), slice(0, 6)), TWO)
    diagonal = View(square, IndexTransform.identity(square.domain)[d[0, 1].diagonal])
    turned = View(reduced(leaf((2, 3, 4)), 1), t[0:2, 0:4][d[1].transpose[0]])
    for plan in (diagonal, turned):
        after = optimize(plan)
        assert not isinstance(after, View)
        np.testing.assert_array_equal(interpret(after), interpret(plan))


def test_a_field_of_a_slice() -> None:
    dtype = np.dtype([("a", "i4"), ("b", "f8")])
    values = np.zeros((5,), dtype)
    values["a"] = np.arange(5)
    x = Scan(MemorySource(values))
    assert optimize(view(Field(x, "a"), slice(1, 3))) is Field(view(x, slice(1, 3)), "a")


def test_a_kept_axis_that_is_gathered_waits_above() -> None:
    plan = view(reduced(X, 0, keepdims=True), [0, 0], slice(2, 4))
    after = optimize(plan)
    assert isinstance(after, View) and after.x is reduced(
        view(X, slice(None), slice(2, 4)), 0, keepdims=True
    )
    np.testing.assert_array_equal(interpret(after), interpret(plan))


def test_a_cache_holds_views() -> None:
    plan = view(Cache(X), slice(1, 3))
    assert optimize(plan) is plan
