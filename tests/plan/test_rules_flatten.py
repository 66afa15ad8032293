"""Joins of joins and overlays of overlays: one node, the same values and the same holes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from lazytensor.config import QueryOptFlags
from lazytensor.exec.holes import hole_plan
from lazytensor.exec.interpret import interpret
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Constant, Elementwise, Scan, View
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.optimize import Trace, optimize
from lazytensor.plan.rules.flatten import flatten_overlays
from lazytensor.plan.rules.moves import settled
from tests.plan.random_plans import leaf, translated

A, B, C, D = (leaf((2, 3), start=6 * i) for i in range(4))
NINE, SEVEN = np.int32(9).tobytes(), np.int32(7).tobytes()


def view(x: Node, *key: object) -> View:
    return View(x, IndexTransform.identity(x.domain)[key])


def box(*bounds: tuple[int, int]) -> IndexDomain:
    return IndexDomain._make(tuple(a for a, _ in bounds), tuple(b for _, b in bounds), ("y", "x"))


def concat(*layers: Node, axis: int = 0) -> Join:
    return Join(layers, axis, False, "")


def stack(*layers: Node, axis: int = 0) -> Join:
    return Join(layers, axis, True, "t")


def overlay(*layers: Node, window: IndexDomain | None = None, fill: bytes | None = None) -> Overlay:
    return Overlay.of(layers, window, fill)


def at(x: Node, *origin: int) -> Node:
    return translated(x, origin)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (concat(concat(A, B), C), concat(A, B, C)),
        (concat(A, concat(concat(B, C), D), B), concat(A, B, C, D, B)),
        (concat(stack(A, B), stack(C, D)), stack(A, B, C, D)),
        (concat(concat(A, B, axis=1), concat(C, D, axis=1), axis=1), concat(A, B, C, D, axis=1)),
        (
            overlay(overlay(A, at(B, 1, 1)), at(C, 5, 4), fill=None),
            overlay(A, at(B, 1, 1), at(C, 5, 4)),
        ),
        (
            overlay(A, overlay(at(B, 0, 1), at(C, 1, 2), window=box((0, 2), (2, 4)))),
            overlay(
                A,
                view(at(B, 0, 1), slice(0, 2), slice(2, 4)),
                view(at(C, 1, 2), slice(1, 2), slice(2, 4)),
            ),
        ),
    ],
)
def test_before_and_after(before: Node, after: Node) -> None:
    assert optimize(before) is optimize(after, QueryOptFlags(join_flattening=False))
    np.testing.assert_array_equal(interpret(after), interpret(before))
    kept = optimize(before, QueryOptFlags(join_flattening=False))
    assert len([n for n in walk(kept) if isinstance(n, Join | Overlay)]) > 1


def test_concats_along_other_axes_stay() -> None:
    plan = concat(concat(A, B, axis=1), concat(C, D, axis=1), axis=0)
    assert optimize(plan) is plan
    mixed = concat(stack(A, B), leaf((1, 2, 3)))
    assert optimize(mixed) is mixed


def test_a_concat_whose_origin_would_move_stays() -> None:
    """Layers at 2 and at 4 count from 0, and so does what is joined with them, wherever it is."""
    plan = concat(concat(at(A, 0, 2), at(B, 0, 4)), at(C, 0, 0))
    after = optimize(plan)
    assert after.domain == plan.domain
    np.testing.assert_array_equal(interpret(after), interpret(plan))


def test_a_shared_level_is_flattened_too() -> None:
    inner = concat(A, B)
    plan = stack(concat(inner, C), concat(D, inner))
    assert optimize(plan) is stack(concat(A, B, C), concat(D, A, B))


# Windows, fill values and holes of what is within.


def test_the_inner_window_cuts_its_layers() -> None:
    inner = overlay(at(B, 0, 1), window=box((0, 2), (2, 5)), fill=NINE)
    plan = overlay(A, inner, fill=NINE)
    after = optimize(plan)
    np.testing.assert_array_equal(interpret(after), interpret(plan))
    # Position (0, 4) is in the inner window only, and reads what is no layer's there.
    assert interpret(after)[0].tolist() == [0, 1, 7, 8, 9]


@pytest.mark.parametrize(
    ("inner_fill", "outer_fill", "lowest", "dissolves"),
    [
        (None, None, True, True),
        (NINE, NINE, True, True),
        (NINE, SEVEN, True, False),
        (None, NINE, True, False),
        (NINE, None, True, False),
        # Above something that shows through the hole, unless the hole stays one.
        (None, None, False, False),
        (NINE, NINE, False, False),
    ],
)
def test_a_hole_stays_what_it_is(
    inner_fill: bytes | None, outer_fill: bytes | None, lowest: bool, dissolves: bool
) -> None:
    inner = overlay(A, at(B, 1, 2), fill=inner_fill)
    other = at(C, 5, 0) if lowest else at(C, 0, 4)
    layers = (inner, other) if lowest else (other, inner)
    plan = overlay(*layers, fill=outer_fill)
    after = optimize(plan)
    inside = [n for n in walk(after) if isinstance(n, Overlay)]
    assert (len(inside) == 1) == dissolves
    np.testing.assert_array_equal(interpret(after), interpret(plan))
    np.testing.assert_array_equal(interpret(hole_plan(after)), interpret(hole_plan(plan)))


def test_the_lowest_layer_brings_its_fill_value_where_it_is_everywhere() -> None:
    inner = overlay(A, at(B, 1, 2), fill=NINE)
    plan = overlay(inner, at(C, 1, 1), fill=SEVEN)
    assert optimize(plan) is overlay(A, at(B, 1, 2), at(C, 1, 1), fill=NINE)


def test_mosaics_of_mosaics_with_gaps_are_one() -> None:
    left = overlay(A, at(B, 1, 3))
    right = overlay(at(C, 0, 10), at(D, 1, 13))
    plan = overlay(left, right)
    assert optimize(plan) is overlay(A, at(B, 1, 3), at(C, 0, 10), at(D, 1, 13))


@st.composite
def nested(draw: DrawFn, depth: int = 3) -> Node:
    """Overlays in overlays, with and without fill values, windows and holes."""
    layers: list[Node] = []
    for i in range(draw(st.integers(1, 4))):
        if depth and draw(st.booleans()):
            layers.append(draw(nested(depth - 1)))
        else:
            shape = draw(st.integers(1, 4)), draw(st.integers(1, 4))
            origin = draw(st.integers(-3, 3)), draw(st.integers(-3, 3))
            layers.append(at(leaf(shape, start=100 * depth + 20 * i), *origin))
    window = None
    if draw(st.booleans()):
        lo = draw(st.integers(-4, 2)), draw(st.integers(-4, 2))
        shape = draw(st.integers(1, 6)), draw(st.integers(1, 6))
        window = IndexDomain(inclusive_min=lo, shape=shape, labels=("y", "x"))
    return overlay(*layers, window=window, fill=draw(st.sampled_from((None, NINE, SEVEN))))


@settings(max_examples=300)
@given(nested(), st.data())
def test_nested_overlays_keep_values_and_holes(plan: Node, data: st.DataObject) -> None:
    after = optimize(plan)
    assert after.domain == plan.domain
    holes = interpret(hole_plan(plan))
    np.testing.assert_array_equal(interpret(hole_plan(after)), holes)
    np.testing.assert_array_equal(interpret(after)[~holes], interpret(plan)[~holes])
    trace = Trace()
    assert optimize(after, None, trace) is after
    assert trace.firings == []


# Side by side.


def test_neighbours_are_a_concat() -> None:
    plan = overlay(at(C, 4, 0), at(B, 2, 0), A)
    assert optimize(plan) is concat(A, at(B, 2, 0), at(C, 4, 0))
    moved = overlay(at(A, -3, 5), at(B, -3, 8))
    after = optimize(moved)
    assert after is settled(concat(at(A, -3, 5), at(B, -3, 8), axis=1), moved.domain)
    np.testing.assert_array_equal(interpret(after), interpret(moved))


@pytest.mark.parametrize(
    "plan",
    [
        overlay(A, at(B, 3, 0), fill=NINE),  # a gap
        overlay(A, at(B, 1, 0)),  # one over the other
        overlay(A, at(B, 2, 1), fill=NINE),  # not in a row
        overlay(A, at(B, 0, 3), at(C, 2, 0), at(D, 2, 3)),  # in two rows
        overlay(A, at(B, 2, 0), window=box((0, 5), (0, 3)), fill=NINE),
    ],
)
def test_what_is_not_side_by_side_stays_an_overlay(plan: Overlay) -> None:
    assert isinstance(optimize(plan), Overlay)


# Many.


def chained(count: int, *, below: bool, gaps: bool) -> Node:
    """``count`` overlays of two layers, each within the next, as its lower or its upper layer."""
    plan: Node = leaf((2, 2))
    for i in range(1, count):
        tile = at(leaf((2, 2), start=4 * i), (3 if gaps else 2) * i, 0)
        layers = (plan, tile) if below else (tile, plan)
        plan = overlay(*layers)
    return plan


@pytest.mark.parametrize("gaps", [False, True])
def test_ten_thousand_levels_are_one_overlay(gaps: bool) -> None:
    plan = chained(10_000, below=True, gaps=gaps)
    after = optimize(plan)
    assert len(after.inputs) == 10_000
    small = optimize(chained(5_000, below=False, gaps=False))
    assert len(small.inputs) == 5_000


def test_ten_thousand_concats_are_one() -> None:
    tiles = [leaf((4,), start=4 * i) for i in range(10_000)]
    plan: Node = tiles[0]
    for tile in tiles[1:]:
        plan = concat(plan, tile)
    trace = Trace()
    assert optimize(plan, None, trace) is concat(*tiles)
    assert len(trace.firings) == 1


def test_a_window_of_nested_mosaics_asks_for_the_layers_it_meets() -> None:
    rows = []
    for r in range(30):
        tiles = [at(leaf((4, 4), start=480 * r + 16 * c), 4 * r, 5 * c) for c in range(30)]
        rows.append(overlay(*tiles, fill=NINE))
    plan = view(overlay(*rows, fill=NINE), slice(6, 10), slice(6, 13))
    after = optimize(plan)
    assert len([n for n in walk(after) if isinstance(n, Scan)]) == 4
    np.testing.assert_array_equal(interpret(after), interpret(plan))


def test_layers_are_looked_at_once_where_there_is_nothing_to_flatten() -> None:
    many = overlay(*[at(leaf((4, 4), start=16 * i), 5 * i, 3 * i) for i in range(100)])
    assert flatten_overlays(many) is None
    assert (
        flatten_overlays(overlay(A, view(Elementwise("add", (A, Constant.of(1, A.dtype)))))) is None
    )
