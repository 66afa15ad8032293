"""Cells seen through views, against the plain enumeration of every position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lazytensor.plan.grid import DimGrid

Draw = Callable[[Any], Any]


@st.composite
def grids(draw: Draw) -> tuple[DimGrid, np.ndarray]:
    """A grid seen through up to two views, and the stored cell of each of its positions."""
    extent = draw(st.integers(0, 30))
    if draw(st.booleans()):
        chunk = draw(st.integers(1, extent + 3))
        grid, cells = DimGrid.regular(extent, chunk), np.arange(extent) // chunk
    else:
        cuts = sorted({draw(st.integers(1, max(1, extent))) for _ in range(3)} | {extent, 0})
        edges = [e for e in cuts if e <= extent]
        grid = DimGrid.from_edges(edges)
        cells = np.searchsorted(edges, np.arange(extent), side="right") - 1
    for _ in range(draw(st.integers(0, 2))):
        n = len(cells)
        if not n:
            break
        start = draw(st.integers(0, n - 1))
        step = draw(st.sampled_from((1, 2, 3, 7, -1, -2, -5)))
        cells = cells[start::step]
        grid = grid.affine(start, step, len(cells))
    return grid, cells


@given(grids(), st.data())
def test_everything_agrees_with_enumeration(
    case: tuple[DimGrid, np.ndarray], data: st.DataObject
) -> None:
    grid, cells = case
    n = len(cells)
    assert grid.extent == n
    assert [grid.stored_cell(p) for p in range(n)] == cells.tolist()
    assert grid.count == len(set(cells.tolist()))
    lo = data.draw(st.integers(0, n))
    hi = data.draw(st.integers(lo, n))
    touched = sorted(set(cells[lo:hi].tolist()))
    assert grid.cells_between(lo, hi) == len(touched)
    assert [int(c) for c in grid.stored_cells(lo, hi)] == touched
    changes = [p for p in range(lo + 1, hi) if cells[p] != cells[p - 1]]
    assert grid.edges_between(lo, hi) == [lo, *changes, *([hi] if hi > lo else [])]


@given(grids())
def test_no_cell_is_wider_than_nominal(case: tuple[DimGrid, np.ndarray]) -> None:
    grid, cells = case
    widths = np.unique(cells, return_counts=True)[1]
    assert max(widths.tolist(), default=1) <= grid.nominal


@given(grids())
def test_equal_grids_are_equal_and_hash_alike(case: tuple[DimGrid, np.ndarray]) -> None:
    grid, _ = case
    again = grid.affine(0, 1, grid.extent)
    assert grid == again
    assert hash(grid) == hash(again)
    assert grid != grid.affine(0, 1, grid.extent + 1)
    assert grid != "a grid"


def test_views_of_views_compose() -> None:
    grid = DimGrid.regular(100, 10)
    assert grid.affine(5, 2, 40).affine(3, -1, 4) == grid.affine(11, -2, 4)


def test_a_large_grid_costs_nothing() -> None:
    grid = DimGrid.regular(10**15, 64).affine(7, 3, 10**14)
    assert grid.count == (7 + 3 * (10**14 - 1)) // 64 + 1
    assert grid.cells_between(10**13, 10**13 + 1) == 1


def test_stored_extents_are_clipped() -> None:
    assert DimGrid.regular(10, 4).stored_extent(2, 10) == (8, 10)
    assert DimGrid.from_edges([0, 3, 10]).stored_extent(1, 10) == (3, 10)
    assert DimGrid.whole(7).free and DimGrid.whole(0).nominal == 1
    assert DimGrid.regular(8, 4).is_plain
    assert not DimGrid.regular(8, 4).affine(1, 1, 7).is_plain
