"""The optimizer's driver: values stay, work does not double, deep and wide plans stay cheap."""

from __future__ import annotations

import dataclasses
import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings

from lazytensor.config import QueryOptFlags
from lazytensor.exec.interpret import interpret
from lazytensor.plan import optimize as driver
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Cast, Constant, Elementwise, Rechunk, Reduce, Reshape, View
from lazytensor.plan.nodes_block import Call, Downsample
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.optimize import Trace, optimize
from lazytensor.plan.rules.law import law
from lazytensor.plan.rules.passes import BARRIERS, PASSES
from tests.plan.random_plans import leaf, plans, translated

FLAGS = tuple(field.name for field in dataclasses.fields(QueryOptFlags))
F4 = np.dtype("f4")


def view(x: Node, *key: object) -> View:
    return View(x, IndexTransform.identity(x.domain)[key])


def plus(x: Node, n: int) -> Elementwise:
    return Elementwise("add", (x, Constant.of(n, x.dtype)))


def mosaic(rows: int, columns: int) -> Overlay:
    """Tiles of 4 by 4 side by side, all values different."""
    tiles = (
        translated(leaf((4, 4), start=16 * (r * columns + c)), (4 * r, 4 * c))
        for r in range(rows)
        for c in range(columns)
    )
    return Overlay.of(tuple(tiles), None, None)


@settings(max_examples=150)
@given(plans())
def test_values_and_domain_stay_and_nothing_is_left_to_do(plan: Node) -> None:
    want = interpret(plan)
    for flags in [QueryOptFlags(), *(QueryOptFlags(**{name: False}) for name in FLAGS)]:
        after = optimize(plan, flags)
        assert (after.domain, after.dtype) == (plan.domain, plan.dtype)
        np.testing.assert_array_equal(interpret(after), want)
        trace = Trace()
        assert optimize(after, flags, trace) is after
        assert trace.firings == []
    assert optimize(plan, QueryOptFlags.none()) is plan


def test_a_view_does_not_move_below_what_others_need() -> None:
    shared = plus(leaf((6,)), 1)
    plan = Elementwise("add", (view(shared, slice(0, 3)), Reduce("sum", shared, (0,), True, ())))
    assert optimize(plan) is plan


def test_a_view_moves_below_a_shared_node_if_every_consumer_is_a_view() -> None:
    x = leaf((6,))
    shared = plus(x, 1)
    plan = Join((view(shared, slice(0, 2)), view(shared, slice(4, 6))), 0, False, "")
    by_hand = Join((plus(view(x, slice(0, 2)), 1), plus(view(x, slice(4, 6)), 1)), 0, False, "")
    assert optimize(plan) is by_hand


def test_one_view_that_has_to_stay_holds_the_others() -> None:
    shared = plus(leaf((6,)), 1)
    repeated = view(shared, np.arange(12) % 6)
    plan = Join((view(shared, slice(0, 2)), repeated), 0, False, "")
    assert optimize(plan) is plan


def test_a_diamond_is_crossed_in_one_sweep() -> None:
    x = leaf((6,))
    plan: Node = x
    window: Node = view(x, slice(1, 3))
    for _ in range(5):
        plan = Elementwise("add", (plan, plus(plan, 1)))
        window = Elementwise("add", (window, plus(window, 1)))
    assert optimize(view(plan, slice(1, 3))) is window


def test_ten_thousand_operations() -> None:
    chain: Node = leaf((8,))
    flips: Node = (start := leaf((8,)))
    for i in range(10_000):
        chain = plus(chain, i % 7 + 1)
        flips = view(flips, slice(None, None, -1))
    trace = Trace()
    after = optimize(view(chain, slice(2, 3)), None, trace)
    assert trace.counts() == {"view_through_elementwise": 10_000}
    assert all(node.shape == (1,) for node in walk(after) if isinstance(node, Elementwise))
    assert optimize(view(flips, 5)) is view(start, 5)


def test_a_window_on_ten_thousand_layers_looks_at_what_it_meets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    overlay = mosaic(100, 100)
    stack = Join(tuple(leaf((4,), start=4 * i) for i in range(10_000)), 0, True, "t")
    overlay.index.query(((0, 1), (0, 1)))
    looked_at = []
    turn = driver._Sweep._turn

    def counted(sweep: driver._Sweep, node: Node) -> None:
        looked_at.append(node)
        turn(sweep, node)

    monkeypatch.setattr(driver._Sweep, "_turn", counted)
    window = optimize(view(overlay, slice(6, 10), slice(6, 10)))
    assert isinstance(window, Overlay) and len(window.inputs) == 4
    layer = optimize(view(stack, 1234))
    assert layer is stack.inputs[1234]
    assert len(looked_at) < 100


def test_what_fires_is_recorded() -> None:
    trace = Trace()
    before = view(Cast(leaf((6,)), F4), slice(0, 2))
    after = optimize(before, None, trace)
    (firing,) = trace.firings
    assert (firing.law.name, firing.before, firing.after) == ("view_through_cast", before, after)
    assert trace.summary() == "view_through_cast×1"
    assert repr(firing.law) == "<law view_through_cast: cast(x)[i] = cast(x[i])>"


def test_a_result_is_remembered_as_long_as_the_plan_lives() -> None:
    plans = [view(Cast(leaf((5,)), F4), slice(0, 2)), plus(leaf((5,)), 2)]
    assert [optimize(plan) is optimize(plan) for plan in plans] == [True, True]
    alive = [weakref.ref(plan) for plan in plans]
    del plans
    gc.collect()
    assert [ref() for ref in alive] == [None, None]


def test_blocks_of_a_user_function_stay_what_they_are() -> None:
    x = Rechunk(leaf((8,)), (3,))
    call = Call(np.sort, (view(x, slice(1, 8)),), x.dtype, (0,), None, False, True, False)
    after = optimize(call)
    assert isinstance(after, Call)
    box = ((1, 8),)
    assert after.spans(box) == call.spans(box)
    np.testing.assert_array_equal(interpret(after), interpret(call))


def test_a_law_that_changes_the_domain_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    @law(Reshape, flag="simplify_expression")
    def wrong(reshape: Reshape) -> Node:
        """reshape(x) = x"""
        return reshape.x

    monkeypatch.setattr(driver, "PASSES", (wrong,))
    driver._enabled.cache_clear()
    try:
        with pytest.raises(AssertionError, match=r"law wrong \(reshape\(x\) = x\) turned"):
            optimize(Reshape(leaf((2, 3)), (3, 2)))
    finally:
        driver._enabled.cache_clear()


def test_a_law_that_goes_round_in_circles_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    @law(View, Cast, flag="slice_pushdown", gated=True)
    def circling(view: View, cast: Cast) -> Node:
        """cast(x)[i] = cast(x[:])[i]"""
        below = View(cast.x, IndexTransform.identity(cast.x.domain))
        return View(Cast(below, cast.to), view.transform)

    monkeypatch.setattr(driver, "PASSES", (circling,))
    driver._enabled.cache_clear()
    try:
        plan = view(Cast(leaf((4,)), F4), slice(0, 2))
        np.testing.assert_array_equal(interpret(optimize(plan)), interpret(plan))
    finally:
        driver._enabled.cache_clear()


def test_a_broadcast_of_one_position_settles() -> None:
    """A view that names the only position of a dim is no new view of it."""
    flags = QueryOptFlags(simplify_expression=False)
    shared = Elementwise("add", (leaf((3, 1)), leaf((3, 1))))
    base = IndexTransform.identity(shared.domain)[:, 0]
    plan = View(shared, base[:, np.newaxis][:, 0:4])
    after = optimize(plan, flags)
    assert optimize(after, flags) is after
    np.testing.assert_array_equal(interpret(after), interpret(plan))


def test_every_law_states_itself_and_has_a_flag() -> None:
    names = [entry.name for entry in PASSES]
    assert len(set(names)) == len(names)
    for entry in PASSES:
        assert "=" in entry.statement
        assert entry.flag in FLAGS
        # What looks at two nodes may find that the lower one is needed elsewhere too.
        assert len(entry.kinds) == 2 or not entry.gated
        assert entry.gated or not entry.name.startswith("view_through")
    assert not {entry.kinds[-1] for entry in PASSES if entry.gated} & BARRIERS.keys()


def test_a_node_with_other_consumers_is_not_taken_in() -> None:
    x = leaf((16, 16), "u2")
    low = Downsample(x, (2, 2), "max")
    high = Downsample(low, (2, 2), "max")
    assert optimize(high) is Downsample(x, (4, 4), "max")
    both = Join((high, View(low, IndexTransform.identity(low.domain)[:4, :4])), 0, True, "t")
    kept = [node for node in walk(optimize(both)) if isinstance(node, Downsample)]
    assert [node.factors for node in kept] == [(2, 2), (2, 2)]


def test_a_call_whose_input_is_optimised_keeps_its_cells() -> None:
    x = Rechunk(leaf((16, 16)), (8, 8))
    y = Rechunk(plus(x, 1), (4, 4))
    call = Call(np.negative, (y,), np.dtype("i4"), (0, 0), None, False, True, False)
    after = optimize(call)
    assert isinstance(after, Call) and after.inputs[0] is Rechunk(plus(x.x, 1), (4, 4))
    assert [cells.nominal for cells in after.grid if cells] == [4, 4]


@pytest.fixture(autouse=True)
def _fresh_memo() -> None:
    """Plans of one test must not be known to the next: some count what the driver does."""
    driver._memo.clear()
