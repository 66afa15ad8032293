"""Tiles in memory for the overlays of ``engine.py``, and where random windows lie."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

__all__ = ["Mosaic", "batch_corners", "mosaic_of", "pasted"]

_SEED = 20250102


class Mosaic(NamedTuple):
    """Tiles, later ones over earlier ones, the corner of each, and the shape of all together.

    ``columns``: how many make a row, where they lie side by side; else 0.
    """

    tiles: list[np.ndarray]
    corners: list[tuple[int, int]]
    shape: tuple[int, int]
    columns: int = 0


@cache
def mosaic_of(name: str, n: int) -> Mosaic:
    """``tiles-random``, ``tiles-apart`` or ``mosaic``; small ones for a volume below 512³."""
    made = {"tiles-random": _random, "tiles-apart": _apart, "mosaic": _grid}
    return made[name](full=n >= 512)


def _random(*, full: bool) -> Mosaic:
    edge, number = (2000, 1000) if full else (400, 40)
    rng = np.random.Generator(np.random.Philox(key=_SEED))
    tiles = [rng.integers(0, 60000, (edge, edge), np.uint16)]
    corners = [(0, 0)]
    for _ in range(number):
        y, x = rng.integers(0, edge - 64, 2).tolist()
        tiles.append(rng.integers(0, 60000, (64, 64), np.uint16))
        corners.append((y, x))
    return Mosaic(tiles, corners, (edge, edge))


def _apart(*, full: bool) -> Mosaic:
    return _side_by_side(31 if full else 6)


def _grid(*, full: bool) -> Mosaic:
    return _side_by_side(100 if full else 10)


def _side_by_side(number: int) -> Mosaic:
    rng = np.random.Generator(np.random.Philox(key=_SEED + number))
    places = [(64 * i, 64 * j) for i in range(number) for j in range(number)]
    tiles = [rng.integers(0, 60000, (64, 64), np.uint16) for _ in places]
    return Mosaic(tiles, places, (64 * number, 64 * number), number)


def pasted(mosaic: Mosaic) -> np.ndarray:
    """All tiles together, by NumPy."""
    out = np.zeros(mosaic.shape, np.uint16)
    for tile, (y, x) in zip(mosaic.tiles, mosaic.corners, strict=True):
        out[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return out


def batch_corners(n: int) -> list[tuple[int, int, int]]:
    """Corners of 992 windows of 64³ (62 batches of 16), anywhere in the volume."""
    rng = np.random.Generator(np.random.Philox(key=_SEED))
    number = 992 if n >= 512 else 32
    corners = rng.integers(0, n - 64 + 1, (number, 3)).tolist()
    return [(z, y, x) for z, y, x in corners]
