"""Rechunks: gone where nobody looks at cells, kept where somebody does."""

from __future__ import annotations

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.config import QueryOptFlags
from lazytensor.exec.interpret import interpret
from lazytensor.plan.explain import explain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Cast, Constant, Elementwise, Field, Rechunk, Reduce, Reshape, View
from lazytensor.plan.nodes_block import Call, Downsample
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.optimize import optimize
from tests.plan.random_plans import leaf, translated

F4 = np.dtype("f4")
X = leaf((6, 8))
CUT = Rechunk(X, (2, 3))
ONE = Constant.of(1, X.dtype)


def view(x: Node, *key: object) -> View:
    return View(x, IndexTransform.identity(x.domain)[key])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (view(CUT, 1), view(X, 1)),
        (Rechunk(CUT, (3, 3)), Rechunk(X, (3, 3))),
        (Cast(CUT, F4), Cast(X, F4)),
        (Elementwise("add", (CUT, ONE)), Elementwise("add", (X, ONE))),
        (Reduce("sum", CUT, (0,), False, ()), Reduce("sum", X, (0,), False, ())),
        (Downsample(CUT, (2, 2), "mean"), Downsample(X, (2, 2), "mean")),
        (Join((X, CUT, X), 0, False, ""), Join((X, X, X), 0, False, "")),
        (Reshape(CUT, (48,)), Reshape(X, (48,))),
        (
            Overlay.of((X, translated(CUT, (2, 2))), None, None),
            Overlay.of((X, translated(X, (2, 2))), None, None),
        ),
    ],
)
def test_before_and_after(before: Node, after: Node) -> None:
    assert optimize(before) is optimize(after)
    np.testing.assert_array_equal(interpret(after), interpret(before))
    kept = optimize(before, QueryOptFlags(rechunk_elim=False))
    assert any(isinstance(node, Rechunk) for node in walk(kept))


def test_fields_too() -> None:
    records = lt.asarray(np.zeros(4, [("a", "i4")]))._node
    assert optimize(Field(Rechunk(records, (2,)), "a")) is Field(records, "a")


def test_printed() -> None:
    plan = Cast(Rechunk(X, (2, 3)), F4)
    assert [line.strip("└─ ").split()[0] for line in explain(plan).splitlines()] == [
        "cast", "rechunk", "scan",
    ]  # fmt: skip
    after = explain(optimize(plan)).splitlines()
    assert [line.strip("└─ ").split()[0] for line in after] == ["cast", "scan"]


def test_chunks_that_were_asked_for_stay() -> None:
    assert optimize(CUT) is CUT
    x = lt.from_array(np.zeros((6, 8)), chunks=(3, 4)).rechunk((2, 8))
    assert x.chunks == (2, 8)


def test_blocks_of_a_function_stay_what_they_are() -> None:
    call = Call(np.sort, (CUT,), X.dtype, (0, 0), None, False, True, False)
    assert optimize(call) is call
    seen: list[tuple[int, ...]] = []

    def remember(block: np.ndarray) -> np.ndarray:
        seen.append(block.shape)
        return block

    x = lt.from_array(np.arange(48).reshape(6, 8), chunks=(6, 8)).rechunk((3, 4))
    y = lt.map_blocks(remember, (x + 1).astype("f4"), dtype="f4", validate=False)
    y.collect()
    assert set(seen) == {(3, 4)}
