"""Windows are cut at the borders of chunks as slices would be, by either way of cutting them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazytensor import native
from lazytensor.io.windows import Windows, cut_windows
from tests.io.zarr_cases import distinct


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    assert native.wait("cut", timeout=200) is not None, native.reason("cut")


@given(data=st.data(), native_code=st.booleans())
def test_windows_are_cut_like_slices(data: st.DataObject, native_code: bool) -> None:
    rank = data.draw(st.integers(0, 4))
    few = st.integers(1, 4)
    sizes = [data.draw(few) for _ in range(rank)]
    steps = [data.draw(st.integers(1, 6)) for _ in range(rank)]
    counts = [data.draw(few) for _ in range(rank)]
    reach = [(n - 1) * by + 1 for n, by in zip(counts, steps, strict=True)]
    shape = [n + data.draw(st.integers(0, 5)) for n in reach]
    grid = [-(-n // size) for n, size in zip(shape, sizes, strict=True)]
    corners = [st.integers(0, n - r) for n, r in zip(shape, reach, strict=True)]
    number = data.draw(st.integers(1, 4))
    drawn = [[data.draw(corner) for corner in corners] for _ in range(number)]
    starts = np.array(drawn, np.int64).reshape(number, rank)
    padded = distinct(tuple(n * size for n, size in zip(grid, sizes, strict=True)), "u2")
    run = native.kernel("cut") if native_code else None
    addresses = np.arange(len(starts)) * 1000
    outer = np.empty(counts, "u2").strides
    inner = np.empty(sizes, "u2").strides
    pieces = cut_windows(Windows(starts, counts, steps, sizes, grid), inner, outer, addresses, run)
    assert pieces is not None
    found = np.zeros((len(starts), *counts), "u2")
    for unit, number in enumerate(pieces.units.tolist()):
        index = np.unravel_index(number, grid) if rank else ()
        part = tuple(slice(i * n, (i + 1) * n) for i, n in zip(index, sizes, strict=True))
        chunk = padded[part]
        first, last = pieces.first[unit : unit + 2].tolist()
        for piece, (at, where, spot) in zip(range(first, last), pieces.of(unit), strict=True):
            found[(at, *spot)] = chunk[where]
            assert tuple(pieces.counts[piece]) == found[(at, *spot)].shape
            assert pieces.inside[piece] == sum(
                s.start * stride for s, stride in zip(where, inner, strict=True)
            )
            assert pieces.to[piece] - addresses[at] == sum(
                s.start * stride for s, stride in zip(spot, outer, strict=True)
            )
    assert (np.diff(pieces.units) > 0).all()
    for start, window in zip(starts.tolist(), found, strict=True):
        part = tuple(slice(lo, lo + n, by) for lo, n, by in zip(start, reach, steps, strict=True))
        assert (window == padded[part]).all()
