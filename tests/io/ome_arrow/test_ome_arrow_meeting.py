"""Which windows meet which pieces: the same as comparing all, with far fewer comparisons."""

from __future__ import annotations

import numpy as np
import pytest

from lazytensor.io.ome_arrow import meeting as module
from lazytensor.io.ome_arrow.meeting import Boxes, meeting, parts_of


def boxes(rng: np.random.Generator, n: int, shape: tuple[int, ...], most: int) -> Boxes:
    los = np.stack([rng.integers(0, size, n) for size in shape], axis=1)
    return Boxes(los, los + rng.integers(1, most + 1, los.shape))


def tiles(rng: np.random.Generator, n: int, size: int) -> Boxes:
    """A plane that lies in tiles of different sizes, ``n`` along each dim."""
    edges = [
        np.concatenate(([0], np.sort(rng.choice(np.arange(1, size), n - 1, replace=False)), [size]))
        for _ in range(2)
    ]
    los = np.stack(np.meshgrid(edges[0][:-1], edges[1][:-1], indexing="ij"), -1).reshape(-1, 2)
    his = np.stack(np.meshgrid(edges[0][1:], edges[1][1:], indexing="ij"), -1).reshape(-1, 2)
    return Boxes(los, his)


@pytest.mark.parametrize("few", [1, 50, 1 << 14])
@pytest.mark.parametrize("at_once", [1, 37, 1 << 20])
def test_pairs_are_those_of_comparing_all(
    few: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FEW", few)
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    rng = np.random.default_rng(few)
    for shape in ((30,), (12, 9), (2, 1, 5, 8, 8)):
        for n, m in ((0, 4), (4, 0), (1, 1), (60, 40), (7, 90)):
            one, other = boxes(rng, n, shape, 6), boxes(rng, m, shape, 9)
            meets = (one.los[:, None] < other.his) & (one.his[:, None] > other.los)
            expected = np.argwhere(meets.all(axis=2)).tolist()
            found = meeting(one, other, 10_000)
            assert found is not None
            assert sorted(zip(*(numbers.tolist() for numbers in found), strict=True)) == [
                tuple(pair) for pair in expected
            ]
            if expected:
                assert meeting(one, other, len(expected) - 1) is None
                assert meeting(one, other, len(expected)) is not None


def test_few_are_compared() -> None:
    rng = np.random.default_rng(5)
    pieces = tiles(rng, 64, 4096)
    at = np.arange(0, 4096, 32)
    los = np.stack(np.meshgrid(at, at, indexing="ij"), -1).reshape(-1, 2)
    windows = Boxes(los, los + 32)
    compared = sum(part.compared for part in parts_of(windows, pieces))
    found = meeting(windows, pieces, 1 << 20)
    assert found is not None
    assert len(found[0]) <= compared < len(los) * len(pieces.los) // 50


def test_what_cannot_be_told_apart_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows that all look at everything: no more is made than is asked for."""
    monkeypatch.setattr(module, "_AT_ONCE", 1000)
    pieces = tiles(np.random.default_rng(6), 20, 100)
    windows = Boxes(np.zeros((500, 2), np.int64), np.full((500, 2), 100))
    assert meeting(windows, pieces, 5000) is None
    found = meeting(windows, pieces, 500 * 400)
    assert found is not None
    assert len(found[0]) == 500 * 400
