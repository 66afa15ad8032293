"""Where pieces lie: grids, what a box touches, and what overlaps."""

from __future__ import annotations

import numpy as np
import pytest

from lazytensor.io.ome_arrow.cells import PieceGrid, overlapping
from lazytensor.io.ome_arrow.layout import cut_pieces, joined
from lazytensor.plan.edges import Edges
from tests.io.ome_arrow.ome_arrow_pieces import irregular_boxes, regular_boxes


def tables(boxes: list[tuple[slice, ...]]) -> tuple[np.ndarray, np.ndarray]:
    origins = np.array([[s.start for s in box] for box in boxes], np.int64)
    return origins, np.array([[s.stop - s.start for s in box] for box in boxes], np.int64)


def grid_of(shape: tuple[int, ...], boxes: list[tuple[slice, ...]]) -> PieceGrid:
    return PieceGrid(shape, *tables(boxes))


def test_grids() -> None:
    shape = (2, 5, 7)
    boxes = regular_boxes(shape, (1, 2, 3))
    assert grid_of(shape, boxes).is_regular
    assert grid_of(shape, boxes[::-1]).cells == (1, 2, 3)
    # Only some of them, which say as much as all as long as a large one is there.
    assert grid_of(shape, boxes[3:5]).cells == (1, 2, 3)
    shifted = [(slice(0, 2), slice(0, 5), slice(0, 3)), (slice(0, 2), slice(0, 5), slice(3, 7))]
    grid = grid_of(shape, shifted)
    assert not grid.is_regular
    assert grid.cells == (Edges([2], [1]), Edges([5], [1]), Edges([3, 4], [1, 1]))
    bricks = [
        (slice(0, 2), slice(0, 2), slice(0, 4)), (slice(0, 2), slice(0, 2), slice(4, 7)),
        (slice(0, 2), slice(2, 5), slice(0, 3)), (slice(0, 2), slice(2, 5), slice(3, 7)),
    ]  # fmt: skip
    assert grid_of(shape, bricks).cells[2] == 4
    empty = PieceGrid(shape, np.zeros((0, 3), np.int64), np.zeros((0, 3), np.int64))
    assert empty.cells == (1, 5, 7)
    assert len(empty.touching(((0, 2), (0, 5), (0, 7)), (1, 1, 1))) == 0


@pytest.mark.parametrize("seed", range(6))
def test_touched_pieces(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (3, 20, 31)
    boxes = irregular_boxes(rng, shape) if seed % 2 else regular_boxes(shape, (1, 6, 7))
    boxes = [boxes[i] for i in rng.permutation(len(boxes))][: len(boxes) - seed]
    grid = grid_of(shape, boxes)
    for _ in range(60):
        box, steps = [], []
        for n in shape:
            lo = int(rng.integers(n))
            box.append((lo, int(rng.integers(lo + 1, n + 1))))
            steps.append(int(rng.integers(1, 12)))
        wanted = [range(lo, hi, step) for (lo, hi), step in zip(box, steps, strict=True)]
        expected = {
            i
            for i, piece in enumerate(boxes)
            if all(
                any(s.start <= p < s.stop for p in along)
                for s, along in zip(piece, wanted, strict=True)
            )
        }
        numbers = grid.touching(tuple(box), steps)
        assert expected <= set(numbers.tolist())
        cut = cut_pieces(
            grid.origins[numbers], grid.extents[numbers], [lo for lo, _ in box],
            [len(along) for along in wanted], steps,
        )  # fmt: skip
        assert set(numbers[cut.rows].tolist()) == expected
        if grid.one(tuple(box)) >= 0:
            assert expected == {grid.one(tuple(box))}


def test_sizes_are_no_tables() -> None:
    # One small piece in an image that claims to have 2**62 of them.
    grid = PieceGrid((1 << 20, 1 << 20, 1 << 22), np.array([[5, 6, 7]]), np.array([[1, 1, 1]]))
    assert grid.one(((5, 6), (6, 7), (7, 8))) == 0
    assert grid.one(((5, 6), (6, 7), (8, 9))) == -1
    assert grid.touching(tuple((0, n) for n in grid.shape), (1,) * 3).tolist() == [0]
    assert grid.touching(((0, 9), (6, 9), (0, 1 << 22)), (5, 2, 7)).tolist() == [0]
    long = PieceGrid((1 << 62,), np.array([[1 << 61]]), np.array([[1]]))
    assert long.touching(((0, 1 << 62),), (1,)).tolist() == [0]
    assert long.touching(((0, 1 << 62),), (3,)).tolist() == [0]


@pytest.mark.parametrize("seed", range(8))
def test_overlapping(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (4, 40, 50)
    if seed < 4:
        origins = np.stack([rng.integers(0, n, 300) for n in shape], axis=1)
        ends = origins + rng.integers(1, 4, (300, 3))
    else:
        origins, extents = tables(regular_boxes(shape, (1, 5, 7)))
        ends = origins + extents
        if seed > 5:
            ends[17, 2] += 2
    expected = np.zeros(len(origins), bool)
    for i in range(len(origins)):
        for j in range(i):
            if ((origins[i] < ends[j]) & (ends[i] > origins[j])).all():
                expected[i] = expected[j] = True
    np.testing.assert_array_equal(overlapping(origins, ends), expected)


def test_thousands_in_one_place() -> None:
    origins = np.zeros((5000, 5), np.int64)
    assert overlapping(origins, origins + 1).all()


def test_joined_pieces() -> None:
    shape = (2, 3, 4, 5)
    boxes = regular_boxes(shape, (1, 1, 4, 5))
    grid = grid_of(shape, boxes)
    zeros, numbers = np.zeros(6, np.int64), np.arange(6)

    def extents(units: np.ndarray, elements: np.ndarray, some: np.ndarray) -> list[list[int]]:
        slabs = joined(grid, units, elements, some, single=False)
        return [*slabs.extents.tolist(), slabs.pieces.tolist()]

    assert extents(zeros, numbers, numbers) == [[2, 3, 4, 5], [0, 1, 2, 3, 4, 5]]
    assert extents(zeros, numbers, numbers[::-1])[0] == [2, 3, 4, 5]
    assert extents(zeros, numbers, numbers[1:]) == [
        [1, 2, 4, 5], [1, 3, 4, 5], [1, 2, 3, 4, 5],
    ]  # fmt: skip
    # Not what follows in the image but not in memory, nor what is in another unit.
    assert len(extents(zeros, numbers * 2, numbers)) == 7
    assert extents(numbers // 2, numbers % 2, numbers)[:3] == [
        [1, 2, 4, 5],
        [1, 1, 4, 5],
        [1, 1, 4, 5],
    ]
    assert len(joined(grid, zeros, numbers, numbers, single=True).origins) == 6
