"""The sequence of edges against its written-out form."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lazytensor.plan.edges import Edges


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=6),
    st.data(),
)
def test_against_enumeration(runs: list[tuple[int, int]], data: st.DataObject) -> None:
    edges = Edges([size for size, _ in runs], [count for _, count in runs])
    sizes = [size for size, count in runs for _ in range(count)]
    ends = np.cumsum([0, *sizes]).tolist()
    assert list(edges) == ends
    assert edges == Edges.from_positions(ends)
    assert hash(edges) == hash(Edges.from_positions(ends))
    assert (edges.count, edges.extent, len(edges)) == (len(sizes), ends[-1], len(ends))
    assert (edges.widest, edges.divisor) == (max(sizes), np.gcd.reduce(sizes))
    owner = np.repeat(np.arange(len(sizes)), sizes)
    positions = np.arange(ends[-1])
    assert edges.cells_of(positions).tolist() == owner.tolist()
    assert [edges.cell_at(int(p)) for p in positions] == owner.tolist()
    lo = data.draw(st.integers(0, ends[-1] - 1))
    hi = data.draw(st.integers(lo, ends[-1]))
    touched = np.unique(owner[lo:hi]).tolist()
    assert list(edges.cells(lo, hi)) == [(c, ends[c], sizes[c]) for c in touched]
    assert edges.inside(lo, hi).tolist() == [end for end in ends if lo < end <= hi]
    step = data.draw(st.integers(1, 9))
    behind = np.append(owner, [len(sizes)] * 20)  # all that follows is one more cell
    for stop in (hi, hi + 20):
        points = len(range(lo, stop, step))
        assert edges.touched(lo, step, points) == len(np.unique(behind[lo:stop:step]))


def test_empty_cells_hold_nothing() -> None:
    edges = Edges.from_positions([0, 2, 2, 5])
    assert [edges.cell_at(p) for p in range(5)] == [0, 0, 2, 2, 2]
    assert edges.touched(0, 1, 5) == edges.touched(0, 3, 2) == 2


def test_no_cells() -> None:
    edges = Edges([], [])
    assert (edges.count, edges.extent, edges.widest, edges.divisor) == (0, 0, 0, 0)
    assert list(edges) == [0]
    assert list(edges.cells(0, 0)) == []
    assert edges != Edges([1], [1])
    assert edges != (0,)
