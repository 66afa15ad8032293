"""Overlays: layers outside the window or hidden are not there, holes are where they were."""

from __future__ import annotations

import numpy as np
import pytest

from lazytensor.config import QueryOptFlags
from lazytensor.exec.holes import hole_plan
from lazytensor.exec.interpret import interpret
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Constant, Scan, View
from lazytensor.plan.nodes_join import Overlay
from lazytensor.plan.optimize import optimize
from tests.plan.random_plans import leaf, translated

A, B, C = (leaf((4, 4), start=16 * i) for i in range(3))
# A at (0, 0), B right of it, C below with a gap between.
TILES = (A, translated(B, (0, 4)), translated(C, (6, 0)))
NINE = np.int32(9).tobytes()


def view(x: Node, *key: object) -> View:
    return View(x, IndexTransform.identity(x.domain)[key])


def box(*bounds: tuple[int, int], labels: tuple[str, ...] = ("y", "x")) -> IndexDomain:
    return IndexDomain._make(tuple(a for a, _ in bounds), tuple(b for _, b in bounds), labels)


def layers(plan: Node) -> list[Node]:
    return [node for node in walk(plan) if isinstance(node, Scan)]


@pytest.mark.parametrize("fill", [NINE, None])
@pytest.mark.parametrize(
    ("key", "met"),
    [
        ((slice(0, 2), slice(1, 3)), [A]),
        ((slice(1, 3), slice(2, 6)), [A, B]),
        ((3, slice(5, 8)), [B]),
        ((slice(0, 10, 7), 0), [A, C]),
        ((slice(9, 2, -1), slice(0, 2)), [A, C]),
        (([1, 7], [0, 3]), [A, C]),
        (([7, 6],), [C]),
    ],
)
def test_only_what_is_met_is_read(fill: bytes | None, key: tuple[object], met: list[Node]) -> None:
    plan = view(Overlay.of(TILES, None, fill), *key)
    after = optimize(plan)
    assert layers(after) == met
    assert after.domain == plan.domain
    np.testing.assert_array_equal(interpret(after), interpret(plan))
    np.testing.assert_array_equal(interpret(hole_plan(after)), interpret(hole_plan(plan)))


def test_a_window_is_what_one_would_write_by_hand() -> None:
    plan = view(Overlay.of(TILES, None, None), slice(1, 3), slice(2, 6))
    by_hand = Overlay(
        (view(A, slice(1, 3), slice(2, 4)), view(TILES[1], slice(1, 3), slice(4, 6))),
        box((1, 3), (2, 6)),
        None,
    )
    assert optimize(plan) is optimize(by_hand)
    assert layers(optimize(view(Overlay.of(TILES, None, None), 2, slice(0, 4)))) == [A]
    assert optimize(view(Overlay.of(TILES, None, None), 2, slice(0, 4))) is view(A, 2)


def test_hidden_layers_are_gone() -> None:
    whole = leaf((4, 4), start=100)
    assert optimize(Overlay.of((A, B, whole), None, None)) is whole
    halves = (view(B, slice(0, 2)), view(C, slice(2, 4)))
    assert layers(optimize(Overlay.of((A, *halves), None, None))) == [B, C]
    kept = optimize(Overlay.of((A, B), None, None), QueryOptFlags(overlay_culling=False))
    assert isinstance(kept, Overlay) and len(kept.inputs) == 2


def test_a_layer_that_shows_through_a_hole_of_the_others_stays() -> None:
    plan = Overlay.of((A, view(B, slice(0, 3))), None, None)
    assert layers(optimize(plan)) == [A, B]


def test_a_window_without_layers_is_the_fill_value() -> None:
    window = box((4, 6), (0, 2))
    after = optimize(Overlay(TILES, window, NINE))
    assert isinstance(after, View) and isinstance(after.x, Constant)
    np.testing.assert_array_equal(interpret(after), np.full((2, 2), 9))
    hole = Overlay(TILES, window, None)
    assert interpret(hole_plan(optimize(hole))).all()
    assert interpret(hole_plan(optimize(view(Overlay.of(TILES, None, None), slice(4, 6))))).all()


def test_layers_are_clipped_to_the_window() -> None:
    plan = Overlay((A, TILES[1]), box((1, 9), (2, 5)), NINE)
    after = optimize(plan)
    assert isinstance(after, Overlay)
    assert [layer.shape for layer in after.inputs] == [(3, 2), (3, 1)]
    np.testing.assert_array_equal(interpret(after), interpret(plan))


def test_one_layer_that_leaves_a_hole_stays_an_overlay() -> None:
    plan = Overlay((A,), box((0, 5), (0, 4)), None)
    assert optimize(plan) is plan
    assert interpret(hole_plan(plan)).sum() == 4
