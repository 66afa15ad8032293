"""Views of stacks and concats: only the layers that are met, and of them what is asked."""

from __future__ import annotations

import numpy as np
import pytest

from lazytensor.exec.interpret import interpret
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Scan, View
from lazytensor.plan.nodes_join import Join
from lazytensor.plan.optimize import optimize
from tests.plan.random_plans import leaf, translated

A, B, C = (leaf((3, 4), start=12 * i) for i in range(3))
STACK = Join((A, B, C), 0, True, "t")
CONCAT = Join((A, B, C), 0, False, "")


def view(x: Node, *key: object) -> View:
    return View(x, IndexTransform.identity(x.domain)[key])


def layers(plan: Node) -> list[Node]:
    return [node for node in walk(plan) if isinstance(node, Scan)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (view(STACK, 1), B),
        (view(STACK, 1, 2), view(B, 2)),
        (view(STACK, slice(0, 2)), Join((A, B), 0, True, "t")),
        (view(STACK, slice(None), 1), Join((view(A, 1), view(B, 1), view(C, 1)), 0, True, "t")),
        (view(CONCAT, 4), view(B, 1)),
        (view(CONCAT, slice(0, 3)), A),
        (view(CONCAT, slice(0, 4)), Join((A, view(B, slice(0, 1))), 0, False, "")),
        (Join((A,), 0, False, ""), A),
    ],
)
def test_before_and_after(before: Node, after: Node) -> None:
    assert optimize(before) is after
    np.testing.assert_array_equal(interpret(after), interpret(before))


@pytest.mark.parametrize(
    ("before", "met"),
    [
        (view(STACK, [2, 0, 2]), [C, A]),
        (view(STACK, slice(None, None, -2)), [C, A]),
        (view(STACK, slice(1, 2)), [B]),
        (view(CONCAT, slice(7, 2, -2)), [C, B]),
        (view(CONCAT, slice(4, 8)), [B, C]),
        (view(CONCAT, slice(0, 9, 8)), [A, C]),
        (view(CONCAT, [8, 7, 6]), [C]),
        (view(CONCAT, [0, 3, 5]), [A, B]),
        (view(CONCAT, slice(4, 5), 1), [B]),
        (Join((A,), 1, True, "t"), [A]),
    ],
)
def test_only_what_is_met_is_read(before: Node, met: list[Node]) -> None:
    after = optimize(before)
    assert layers(after) == met
    assert after.domain == before.domain
    np.testing.assert_array_equal(interpret(after), interpret(before))


def test_layers_with_coordinates_of_their_own() -> None:
    moved = translated(B, (7, -2))
    plan = view(Join((A, moved), 0, False, ""), slice(2, 5), slice(1, 3))
    after = optimize(plan)
    assert after.domain == plan.domain
    np.testing.assert_array_equal(interpret(after), interpret(plan))


def test_an_empty_layer_is_never_met() -> None:
    plan = view(Join((A, view(B, slice(0, 0)), C), 0, False, ""), slice(2, 4))
    assert layers(optimize(plan)) == [A, C]
    np.testing.assert_array_equal(interpret(optimize(plan)), interpret(plan))
