"""The interval index against a painted grid."""

from __future__ import annotations

import itertools
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from lazytensor.errors import ShapeError
from lazytensor.plan.interval import FewIntervals, IntervalIndex, subtract
from lazytensor.plan.source import Box

HOLE = -1


def painted(lo: np.ndarray, hi: np.ndarray, box: Box) -> np.ndarray:
    """Number of the topmost layer at every position of ``box``."""
    grid = np.full([max(0, b - a) for a, b in box], HOLE)
    for layer, (start, stop) in enumerate(zip(lo.tolist(), hi.tolist(), strict=True)):
        where = tuple(
            slice(max(0, a - lower), max(0, b - lower))
            for a, b, (lower, _) in zip(start, stop, box, strict=True)
        )
        if all(a < b for a, b in zip(start, stop, strict=True)):
            grid[where] = layer
    return grid


def check_visible(
    index: IntervalIndex | FewIntervals, lo: np.ndarray, hi: np.ndarray, box: Box
) -> None:
    """Pieces are disjoint, fill the window, and say what a painter sees."""
    expected = painted(lo, hi, box)
    layers, holes = index.visible(box)
    found, times = np.full_like(expected, -2), np.zeros_like(expected)
    for layer, pieces in [*layers, (HOLE, holes)]:
        for piece in pieces:
            assert all(a < b for a, b in piece)
            where = tuple(slice(a - o, b - o) for (a, b), (o, _) in zip(piece, box, strict=True))
            found[where] = layer
            times[where] += 1
    assert (times == 1).all()
    np.testing.assert_array_equal(found, expected)
    numbers = [layer for layer, _ in layers]
    assert numbers == sorted(set(numbers))


def meeting(lo: np.ndarray, hi: np.ndarray, box: Box) -> list[int]:
    """Brute force of ``query``."""
    if any(a >= b for a, b in box):
        return []
    return [
        layer
        for layer, (start, stop) in enumerate(zip(lo.tolist(), hi.tolist(), strict=True))
        if all(max(a, c) < min(b, d) for a, b, (c, d) in zip(start, stop, box, strict=True))
    ]


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, Box]:
    """Boxes and a window in 1 to 3 dims, small coordinates: many touch, cover and miss."""
    ndim = draw(st.integers(1, 3))
    count = draw(st.one_of(st.integers(0, 6), st.integers(7, 150)))
    reach, largest = draw(st.sampled_from([(6, 4), (12, 3), (12, 14)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    lo = rng.integers(-reach, reach, (count, ndim))
    hi = lo + rng.integers(0, largest, (count, ndim), endpoint=True)
    bounds = np.sort(rng.integers(-reach - 2, reach + 3, (ndim, 2)), axis=1)
    return lo, hi, tuple((a, b) for a, b in bounds.tolist())


@given(scenes())
def test_query_and_visible_match_a_painted_grid(scene: tuple[np.ndarray, np.ndarray, Box]) -> None:
    lo, hi, box = scene
    index = IntervalIndex(lo, hi)
    assert index.query(box).tolist() == meeting(lo, hi, box)
    check_visible(index, lo, hi, box)


@given(scenes())
def test_few_boxes_are_compared_one_by_one(scene: tuple[np.ndarray, np.ndarray, Box]) -> None:
    lo, hi, box = scene
    bounds = np.stack([lo, hi], axis=-1).tolist()
    few = FewIntervals([tuple((a, b) for a, b in own) for own in bounds])
    assert few.query(box) == meeting(lo, hi, box)
    check_visible(few, lo, hi, box)


@given(scenes())
def test_subtract(scene: tuple[np.ndarray, np.ndarray, Box]) -> None:
    lo, hi, box = scene
    left = np.zeros([b - a for a, b in box], int)
    for piece in subtract(box, lo, hi):
        left[tuple(slice(a - o, b - o) for (a, b), (o, _) in zip(piece, box, strict=True))] += 1
    np.testing.assert_array_equal(left, painted(lo, hi, box) == HOLE)


def tile_grid(rows: int, columns: int, pitch: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Tiles of ``size`` every ``pitch`` positions."""
    lo = np.array(list(itertools.product(range(rows), range(columns)))) * pitch
    return lo, lo + size


@pytest.mark.parametrize("size", [4, 3, 6])
def test_thousands_of_tiles_over_a_background(size: int) -> None:
    """Tiles that touch, leave gaps and overlap; enough of them for several tree levels."""
    lo, hi = tile_grid(60, 60, 4, size)
    lo, hi = np.vstack([[[-5, -5]], lo]), np.vstack([[[200, 200]], hi])
    index = IntervalIndex(lo, hi)
    for box in [((-8, 250), (-8, 250)), ((37, 38), (41, 60)), ((7, 8), (9, 10))]:
        assert index.query(box).tolist() == meeting(lo, hi, box)
        check_visible(index, lo, hi, box)


def test_a_tiling_hides_its_background_and_leaves_whole_tiles() -> None:
    lo, hi = tile_grid(30, 30, 4, 4)
    index = IntervalIndex(np.vstack([[[0, 0]], lo]), np.vstack([[[120, 120]], hi]))
    layers, holes = index.visible(((0, 120), (0, 120)))
    assert [layer for layer, _ in layers] == list(range(1, 901))
    assert all(len(pieces) == 1 for _, pieces in layers)
    assert holes == []


def test_pieces_of_one_layer_are_few() -> None:
    """A rectangle cut out of a rectangle leaves four, not a raster."""
    index = IntervalIndex(np.array([[0, 0], [2, 2]]), np.array([[9, 9], [5, 5]]))
    (below, pieces), above = index.visible(((0, 9), (0, 9))).layers
    assert (below, len(pieces)) == (0, 4)
    assert above == (1, [((2, 5), (2, 5))])


def test_coordinates_near_the_ends_of_int64() -> None:
    far = 2**62
    lo, hi = np.array([[-far], [far - 9], [0]]), np.array([[far], [far], [1]])
    index = IntervalIndex(lo, hi)
    assert index.query(((far - 1, far + 5),)).tolist() == [0, 1]
    layers, holes = index.visible(((far - 10, far + 5),))
    assert layers == [(0, [((far - 10, far - 9),)]), (1, [((far - 9, far),)])]
    assert holes == [((far, far + 5),)]


def test_no_layers_and_no_dims() -> None:
    none = IntervalIndex(np.empty((0, 2), int), np.empty((0, 2), int))
    assert none.query(((0, 1), (0, 1))).tolist() == []
    assert none.visible(((0, 1), (2, 3))) == ([], [((0, 1), (2, 3))])
    assert none.visible(((0, 1), (3, 3))) == ([], [])
    points = IntervalIndex(np.empty((100, 0), int), np.empty((100, 0), int))
    assert points.query(()).tolist() == list(range(100))
    assert points.visible(()) == ([(99, [()])], [])
    assert IntervalIndex(np.empty((0, 0), int), np.empty((0, 0), int)).visible(()) == ([], [()])


def test_the_arrays_given_may_change_later() -> None:
    lo, hi = np.array([[0]]), np.array([[4]])
    index = IntervalIndex(lo, hi)
    lo += 100
    assert index.query(((0, 1),)).tolist() == [0]


@pytest.mark.parametrize(("lo", "hi"), [([[0]], [[1], [2]]), ([0], [1])])
def test_bounds_that_do_not_fit(lo: Any, hi: Any) -> None:
    with pytest.raises(ShapeError, match="bounds must both be"):
        IntervalIndex(np.array(lo), np.array(hi))


def test_a_window_of_another_rank() -> None:
    index = IntervalIndex(np.array([[0, 0]]), np.array([[1, 1]]))
    with pytest.raises(ShapeError, match="1 dims, the layers have 2"):
        index.query(((0, 1),))
