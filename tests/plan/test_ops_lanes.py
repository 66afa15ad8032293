"""The order in which floats are summed: that of a loop that says it plainly."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazytensor.plan.ops_lanes import (
    Lanes,
    group_of,
    lanes_of,
    spread_of_slots,
    spreads,
    sum_of_slots,
    sums,
)


def in_groups(values: list[Any]) -> Any:
    """Rows one after another in groups, and so their sums."""
    group = group_of(len(values))
    found = []
    for lo in range(0, len(values), group):
        total = 0.0
        for value in values[lo : lo + group]:
            total = total + value
        found.append(total)
    return found[0] if len(found) == 1 else in_turn(found)


def in_turn(values: list[Any]) -> Any:
    total = 0.0
    for value in values:
        total = total + value
    return total


def looped(block: np.ndarray, lanes: Lanes) -> np.ndarray:
    """As ``sums``."""
    out = block.astype(np.float64)
    for d in reversed(lanes.leads):
        rows = np.moveaxis(out, d, 0)
        cells = [in_groups(list(rows[a:b])) for a, b in itertools.pairwise(lanes.edges[d])]
        out = np.moveaxis(np.array(cells), 0, d)
    return out


def views(values: np.ndarray) -> list[np.ndarray]:
    return [
        values,
        np.asfortranarray(values),
        np.repeat(values, 2, axis=-1)[..., ::2],
        values[::-1].copy()[::-1],
    ]


@st.composite
def blocks(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, ...], Lanes]:
    shape = tuple(
        draw(st.lists(st.sampled_from([1, 2, 3, 17, 33, 70, 130]), min_size=2, max_size=4))
    )
    if math.prod(shape) > 200_000:
        shape = (*shape[:1], *[min(n, 17) for n in shape[1:]])
    reduced = [draw(st.booleans()) for _ in shape]
    edges = [tuple(sorted({0, n, *draw(st.lists(st.integers(0, n), max_size=2))})) for n in shape]
    lanes = lanes_of(shape, reduced, edges)
    if lanes is None:
        shape, reduced = (70, *shape[1:-1], 5), [True, *reduced[1:]]
        edges = [(0, 70), *[(0, n) for n in shape[1:]]]
        lanes = lanes_of(shape, reduced, edges)
        assert lanes is not None
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    values = rng.normal(3, 10, shape) * 10.0 ** rng.integers(-4, 4, shape)
    if draw(st.booleans()):
        few = rng.random(shape) < 0.01
        values[few] = rng.choice([np.nan, np.inf, -np.inf, -0.0], int(few.sum()))
    dtype = draw(st.sampled_from(["f4", "f8"]))
    axes = tuple([d for d, is_reduced in enumerate(reduced) if is_reduced])
    return values.astype(dtype), axes, lanes


@given(blocks())
@settings(max_examples=60, deadline=None)
def test_sums_are_those_of_a_loop_whatever_the_strides(given_: Any) -> None:
    block, _, lanes = given_
    with np.errstate(all="ignore"):
        wanted = looped(block, lanes)
        for view in views(block):
            np.testing.assert_array_equal(sums(view, lanes), wanted)


@given(blocks())
@settings(max_examples=60, deadline=None)
def test_spreads_are_those_of_a_loop_whatever_the_strides(given_: Any) -> None:
    block, _, lanes = given_
    with np.errstate(all="ignore"):
        total = sums(block, lanes)
        means, squares = spreads(block, lanes, total)
        np.testing.assert_array_equal(means, total / lanes.rows)
        cells = means
        for d in lanes.leads:
            cells = np.repeat(cells, np.diff(lanes.edges[d]), axis=d)
        far = block - cells
        rest = looped(far, lanes)
        of_squares = looped(far * far, lanes)
        wanted = of_squares - rest * rest / lanes.rows
        np.testing.assert_array_equal(squares, np.where(wanted < 0, 0, wanted))
        for view in views(block):
            np.testing.assert_array_equal(spreads(view, lanes, total)[1], squares)


@pytest.mark.parametrize("shape", [(40_000, 3), (300_000, 2), (2, 700, 300), (17, 5000)])
def test_large_blocks_in_parts(shape: tuple[int, ...]) -> None:
    block = np.random.default_rng(1).normal(2, 1, shape)
    reduced = [True] * (len(shape) - 1) + [False]
    lanes = lanes_of(shape, reduced, [(0, n) for n in shape])
    assert lanes is not None
    total = sums(block, lanes)
    np.testing.assert_array_equal(total, looped(block, lanes))
    means, squares = spreads(block, lanes, total)
    far = block - means
    rest = looped(far, lanes)
    np.testing.assert_array_equal(squares, looped(far * far, lanes) - rest * rest / lanes.rows)


@given(blocks())
@settings(max_examples=40, deadline=None)
def test_states_keep_the_bound(given_: Any) -> None:
    block, axes, lanes = given_
    block = np.where(np.isfinite(block), block, 1.0).astype(block.dtype)
    total = sums(block, lanes)
    state = sum_of_slots(total, axes)
    count, mean, squares = spread_of_slots(lanes.rows, *spreads(block, lanes, total), axes)
    kept = [1 if d in axes else n for d, n in enumerate(block.shape)]
    eps = np.finfo("f8").eps
    for place in itertools.islice(np.ndindex(*kept), 50):
        part = tuple(slice(None) if d in axes else i for d, i in enumerate(place))
        values = [float(v) for v in block[part].ravel()]
        n = len(values)
        bound = 4 * math.sqrt(n) * eps * math.fsum(map(abs, values))
        assert abs(state[0][place] - math.fsum(values)) <= bound
        assert count[place] == n
        centre = math.fsum(values) / n
        spread = math.fsum((v - centre) ** 2 for v in values)
        assert abs(squares[place] - spread) <= 8 * math.sqrt(n) * eps * spread + 1e-300
        assert abs(mean[place] - centre) <= bound / n + eps * abs(centre)
