"""Views of downsamples and of functions on blocks: whole blocks of the input, no more."""

from __future__ import annotations

import numpy as np
import pytest

from lazytensor.exec.interpret import interpret
from lazytensor.plan.dimexpr import d
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Scan, View
from lazytensor.plan.nodes_block import Call, Downsample
from lazytensor.plan.optimize import optimize
from tests.plan.random_plans import leaf, translated

X = leaf((3, 8, 9))


def view(x: Node, *key: object) -> View:
    return View(x, IndexTransform.identity(x.domain)[key])


def mean(x: Node, *factors: int) -> Downsample:
    return Downsample(x, factors, "mean")


def read(plan: Node) -> tuple[int, ...]:
    """Extents of what is asked of the source."""
    (node,) = (n for n in walk(plan) if isinstance(n, View) and isinstance(n.x, Scan))
    return node.shape


ALL = slice(None)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (view(mean(X, 1, 2, 2), 0, slice(1, 3)), mean(view(X, 0, slice(2, 6)), 2, 2)),
        (
            view(mean(X, 1, 2, 4), ALL, ALL, slice(1, 3)),
            mean(view(X, ALL, ALL, slice(4, 9)), 1, 2, 4),
        ),
        (view(mean(X, 1, 2, 2), [2, 0]), mean(view(X, [2, 0]), 1, 2, 2)),
        (
            view(mean(X, 1, 2, 2), slice(None, None, -1)),
            mean(view(X, slice(None, None, -1)), 1, 2, 2),
        ),
    ],
)
def test_before_and_after(before: Node, after: Node) -> None:
    assert optimize(before) is after
    np.testing.assert_array_equal(interpret(after), interpret(before))


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        ((0, 2, slice(1, 3)), (2, 4)),
        ((ALL, slice(0, 4, 2)), (3, 6, 9)),
        ((1, [0, 1], slice(0, 1)), (4, 2)),
        ((ALL, slice(3, 1, -1), ALL), (3, 4, 9)),
        ((ALL, ALL, 4), (3, 8, 1)),
    ],
)
def test_what_cannot_move_sends_its_hull_ahead(key: tuple[object], asked: tuple[int, ...]) -> None:
    plan = view(mean(X, 1, 2, 2), *key)
    after = optimize(plan)
    assert isinstance(after, View) and isinstance(after.x, Downsample)
    assert read(after) == asked
    assert after.domain == plan.domain
    np.testing.assert_array_equal(interpret(after), interpret(plan))


def test_coordinates_stay_absolute() -> None:
    """Blocks lie at multiples of the factor, wherever the tensor starts."""
    x = translated(leaf((9,)), (-4,))
    coarse = mean(x, 3)
    assert coarse.domain.inclusive_min == (-2,)
    plan = view(coarse, slice(-1, 1))
    after = optimize(plan)
    assert isinstance(after, Downsample)
    assert after.x.domain.inclusive_min == (-3,) and after.x.domain.exclusive_max == (3,)
    np.testing.assert_array_equal(interpret(after), interpret(plan))
    moved = View(coarse, IndexTransform.identity(coarse.domain)[d[0].translate_by[5]][4:6])
    after = optimize(moved)
    assert isinstance(after, Downsample) and after.domain.inclusive_min == (4,)
    np.testing.assert_array_equal(interpret(after), interpret(moved))


def test_permuted_dims_permute_factors_unless_a_float_mean_would_round() -> None:
    for dtype, method, exact in (("i4", "mean", True), ("f4", "max", True), ("f4", "mean", False)):
        x = leaf((4, 6), dtype)
        coarse = Downsample(x, (2, 3), method)
        plan = View(coarse, IndexTransform.identity(coarse.domain)[d[1].transpose[0]])
        after = optimize(plan)
        assert isinstance(after, Downsample) == exact
        if isinstance(after, Downsample):
            assert after.factors == (3, 2)
        np.testing.assert_array_equal(interpret(after), interpret(plan))


def negative(block: np.ndarray) -> np.ndarray:
    return -block


def call(x: Node, *halo: int, pushdown: bool = True) -> Call:
    return Call(negative, (x,), x.dtype, halo, "reflect", pushdown, True, False)


def test_a_function_that_allows_it_sees_a_slice() -> None:
    x = leaf((8, 9))
    plan = view(call(x, 0, 0), slice(2, 4), slice(0, 5))
    assert optimize(plan) is call(view(x, slice(2, 4), slice(0, 5)), 0, 0)
    wide = optimize(view(call(x, 1, 2), 2, slice(4, 5)))
    assert read(wide) == (3, 5)
    kept = view(call(x, 0, 0, pushdown=False), slice(2, 4))
    assert optimize(kept) is kept


def total(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a + b


def test_further_inputs_are_sliced_where_they_are_not_broadcast() -> None:
    x, row = leaf((8, 9)), leaf((9,), start=100)
    both = Call(total, (x, row), x.dtype, (0, 0), None, True, True, False)
    plan = view(both, 7, slice(2, 5))
    after = optimize(plan)
    sliced = next(node for node in walk(after) if isinstance(node, Call))
    assert [operand.shape for operand in sliced.inputs] == [(1, 3), (3,)]
    np.testing.assert_array_equal(interpret(after), interpret(plan))
