"""Downsamples of downsamples, and of what was put together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_dtypes import bfloat16, float8_e4m3fn

from lazytensor.exec.holes import hole_plan
from lazytensor.exec.interpret import interpret
from lazytensor.plan.explain import explain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.memory import array_node
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Constant, View
from lazytensor.plan.nodes_block import Downsample
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.optimize import optimize
from lazytensor.plan.rules.downsamples import downsample_layers
from lazytensor.plan.rules.moves import settled
from tests.plan.random_plans import filled, leaf, translated

X = leaf((6, 8))
NINE = np.int32(9).tobytes()


def view(x: Node, *key: object) -> View:
    return View(x, IndexTransform.identity(x.domain)[key])


def down(x: Node, *factors: int, method: str = "max") -> Downsample:
    return Downsample(x, factors, method)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (down(down(X, 2, 1), 3, 2), down(X, 6, 2)),
        (down(down(down(X, 2, 1), 1, 2), 2, 2), down(X, 4, 4)),
        (down(translated(X, (-3, 5)), 1, 1, method="mean"), translated(X, (-3, 5))),
        (down(leaf((4,), "f4"), 1, method="mean"), leaf((4,), "f4")),
    ],
)
def test_before_and_after(before: Node, after: Node) -> None:
    moved = optimize(before)
    assert moved.domain == after.domain
    assert moved is optimize(after) or explain(moved) == explain(after)
    assert interpret(moved).tobytes() == interpret(before).tobytes()


@pytest.mark.parametrize("method", ["mean", "median", "mode"])
def test_what_rounds_or_weighs_keeps_its_steps(method: str) -> None:
    plan = down(down(X, 2, 2, method=method), 2, 2, method=method)
    assert optimize(plan) is plan
    mixed = down(down(X, 2, 2, method="min"), 2, 2, method="max")
    assert optimize(mixed) is mixed


SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, -2.0, 6e-8]
FLOATS = [np.dtype(t) for t in ("f2", "f4", "f8", bfloat16, float8_e4m3fn)]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("method", ["min", "max"])
def test_two_steps_are_one_for_all_sorts_of_floats(method: str, dtype: np.dtype) -> None:
    """Of NaN, infinities and zeros of both signs in every order, with partial blocks."""
    rng = np.random.default_rng(3)
    for weights, origin in itertools.product((None, [5, 1, 1, 4, 4, 1, 1, 1]), range(-3, 3)):
        share = None if weights is None else np.array(weights) / sum(weights)
        with np.errstate(all="ignore"):
            values = rng.choice(SPECIAL, (7, 60), p=share).astype(dtype)
        x = translated(array_node(values), (origin, 1 - origin))
        for f, g in (((2, 3), (2, 2)), ((1, 2), (3, 1)), ((1, 1), (2, 3)), ((3, 2), (1, 1))):
            twice = Downsample(Downsample(x, f, method), g, method)
            once = Downsample(x, (f[0] * g[0], f[1] * g[1]), method)
            assert twice.domain == once.domain
            assert interpret(twice).tobytes() == interpret(once).tobytes()


def test_a_block_of_one_element_is_copied_whatever_it_is() -> None:
    values = np.array([np.nan, -0.0, np.inf, 1.0], "f4")
    values.view("u4")[0] = 0x7F800001
    for method in ("mean", "median", "mode", "min", "max"):
        plan = down(array_node(values, firm=True), 1, method=method)
        assert optimize(plan) is plan.x
        assert interpret(plan).tobytes() == values.tobytes()


# Layers.


def test_layers_between_blocks_are_downsampled_by_themselves() -> None:
    constant = translated(filled(X, 7), (0, 8))
    plan = down(Overlay.of((X, constant), None, None), 2, 4, method="mean")
    fresh = downsample_layers(plan)
    assert fresh is None  # A view still hides the constant.
    tidy = Overlay.of((X, optimize(constant)), None, None)
    after = downsample_layers(down(tidy, 2, 4, method="mean"))
    assert isinstance(after, Overlay)
    assert [type(x) for x in after.inputs] == [Downsample, Downsample]
    np.testing.assert_array_equal(interpret(optimize(plan)), interpret(plan))
    assert optimize(plan).domain == plan.domain


def test_without_anything_to_gain_all_stays() -> None:
    plan = down(Overlay.of((X, translated(X, (0, 9))), None, NINE), 2, 4)
    assert optimize(plan) is plan


@pytest.mark.parametrize("shift", [(0, 7), (1, 8)])
def test_a_seam_within_a_block_keeps_layers_together(shift: tuple[int, int]) -> None:
    constant = optimize(translated(filled(X, 7), shift))
    plan = down(Overlay.of((X, constant), None, NINE), 2, 4)
    assert downsample_layers(plan) is None


def test_fill_values_that_change_in_blocks_stay() -> None:
    for dtype, fill, method, stays in (
        ("f4", np.nan, "max", False),
        ("f4", 0.1, "mean", False),
        ("f4", 0.1, "max", True),
        ("f4", -0.0, "median", True),
        ("i4", 3, "mean", True),
    ):
        x = leaf((4,), dtype)
        layers = (x, optimize(translated(filled(x, 7), (8,))))
        plan = down(Overlay.of(layers, None, np.array(fill, dtype).tobytes()), 4, method=method)
        after = downsample_layers(plan)
        assert (after is not None) == stays
        if after is not None:
            assert interpret(after).tobytes() == interpret(plan).tobytes()


METHODS = st.sampled_from(["mean", "median", "mode", "min", "max"])


@settings(max_examples=300)
@given(st.data(), METHODS, st.sampled_from(["i4", "u1", "f4"]))
def test_mosaics_keep_values_and_holes(data: st.DataObject, method: str, dtype: str) -> None:
    f = data.draw(st.sampled_from([(1, 2), (2, 2), (2, 3)]))
    layers: list[Node] = []
    for i in range(data.draw(st.integers(1, 4))):
        cells = [data.draw(st.integers(-2, 2)) for _ in f]
        shape = [n * data.draw(st.integers(1, 2)) for n in f]
        x: Node = leaf((shape[0], shape[1]), dtype, start=20 * i)
        if data.draw(st.booleans()):
            x = filled(x, 7 + i)
        off = data.draw(st.sampled_from([0, 0, 0, 1]))
        origin = tuple(c * n + off for c, n in zip(cells, f, strict=True))
        layers.append(optimize(translated(x, origin)))
    fill = data.draw(st.sampled_from([None, np.array(9, dtype).tobytes()]))
    plan = Downsample(Overlay.of(tuple(layers), None, fill), f, method)
    after = optimize(plan)
    assert after.domain == plan.domain
    holes = interpret(hole_plan(plan))
    np.testing.assert_array_equal(interpret(hole_plan(after)), holes)
    assert interpret(after)[~holes].tobytes() == interpret(plan)[~holes].tobytes()


@settings(max_examples=200)
@given(st.data(), METHODS)
def test_joins_of_blocks(data: st.DataObject, method: str) -> None:
    n = data.draw(st.integers(1, 3))
    new = data.draw(st.booleans())
    layers: list[Node] = []
    for i in range(data.draw(st.integers(2, 4))):
        rows = 4 if new else n * data.draw(st.integers(1, 3))
        x: Node = translated(leaf((rows, 5), "f4", start=50 * i), (i, -2))
        layers.append(filled(x, i) if data.draw(st.booleans()) else x)
    join = Join(tuple(layers), 0, new, "t" if new else "")
    factors = (1, n, 2) if new else (n, 2)
    plan = Downsample(join, factors, method)
    if any(isinstance(x, View) and isinstance(x.x, Constant) for x in layers):
        after = downsample_layers(plan)
        assert after is not None
        assert after.domain == plan.domain
        assert interpret(after).tobytes() == interpret(plan).tobytes()
    assert interpret(optimize(plan)).tobytes() == interpret(plan).tobytes()


def test_ten_thousand_downsamples() -> None:
    plan: Node = leaf((1 << 10,))
    for i in range(10_000):
        plan = down(plan, 2 if i % 1000 == 0 else 1, method="min")
    after = optimize(plan)
    assert after is settled(down(leaf_of(after), 1 << 10, method="min"), plan.domain)


def leaf_of(plan: Node) -> Node:
    return next(iter(walk(plan)))
