"""Laws that make plans smaller where they stand, before and after."""

from __future__ import annotations

import numpy as np
import pytest

from lazytensor.plan.index import IndexTransform
from lazytensor.plan.memory import array_node
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cache, Cast, Constant, Rechunk, Reshape, View
from lazytensor.plan.nodes_block import Downsample
from lazytensor.plan.optimize import optimize
from tests.plan.random_plans import leaf, translated

F4 = np.dtype("f4")
X = leaf((6, 8))
PLAIN = array_node(np.arange(4), firm=True)


def view(x: Node, *key: object) -> View:
    return View(x, IndexTransform.identity(x.domain)[key])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (view(view(X, slice(2, 5)), 3), view(X, 3)),
        (view(view(X, slice(None, None, -1)), slice(None, None, -1)), X),
        (view(view(X, [4, 1, 2]), [2, 0]), view(X, [2, 4])),
        (view(X), X),
        (Cast(X, X.dtype), X),
        (Cast(Cast(X, X.dtype), F4), Cast(X, F4)),
        (view(Rechunk(X, (2, 2)), 1), view(X, 1)),
        (Rechunk(Rechunk(X, (2, 2)), (3, 3)), Rechunk(X, (3, 3))),
        (Cache(Cache(X)), Cache(X)),
        (Reshape(Reshape(X, (48,)), (3, 16)), Reshape(X, (3, 16))),
        (Reshape(PLAIN, (4,)), PLAIN),
        (Downsample(X, (1, 1), "mean"), X),
    ],
)
def test_before_and_after(before: Node, after: Node) -> None:
    assert (before.domain, before.dtype) == (after.domain, after.dtype)
    assert before is not after
    assert optimize(before) is after


def test_a_relabelled_or_moved_view_is_no_identity() -> None:
    moved = translated(X, (3, 0))
    assert optimize(moved) is moved


def test_an_empty_view_reads_nothing() -> None:
    empty = view(translated(X, (-1, 2)), slice(2, 2))
    after = optimize(empty)
    assert isinstance(after, View) and isinstance(after.x, Constant)
    assert (after.shape, after.domain) == ((0, 8), empty.domain)
