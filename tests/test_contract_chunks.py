"""Per-dim values: a sequence, one number, a mapping by name, keywords; cells through views."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lazytensor as lt

VALUES = np.arange(24).reshape(4, 6)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        (2, (2, 2)), ((2, 3), (2, 3)), ({"y": 2}, (2, 6)), ({-1: 3, 0: 1}, (1, 3)),
        ((2, -1), (2, 6)), ((None, 3), (4, 3)), ((2, (1, 5)), (2, 5)), (np.array([2, 3]), (2, 3)),
        (None, (4, 6)),
    ],
    ids=str,
)  # fmt: skip
def test_cells_of_sources(chunks: Any, expected: tuple[int, ...]) -> None:
    def fill(domain: lt.IndexDomain, out: np.ndarray) -> None:
        out[...] = VALUES[domain.index_exp]

    dims = ("y", "x")
    made = [
        lt.asarray(VALUES, chunks=chunks, dims=dims),
        lt.from_array(VALUES, chunks=chunks, dims=dims),
        lt.virtual_chunked(fill, shape=(4, 6), dtype="i8", chunks=chunks, dims=dims),
        lt.from_array(Indexable(), chunks=chunks, dims=dims),
    ]
    for x in made:
        assert x.chunks == expected and x.dims == dims
        np.testing.assert_array_equal(x.collect(), VALUES)


class Indexable:
    """As little of an array as ``from_array`` takes."""

    shape, dtype = VALUES.shape, VALUES.dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        return VALUES[key]


@pytest.mark.parametrize("chunks", [(2,), {"q": 2}, 0, (2, -3), "ab"], ids=str)
def test_wrong_cells(chunks: Any) -> None:
    with pytest.raises((lt.ShapeError, lt.DimensionError)):
        lt.asarray(VALUES, chunks=chunks, dims=("y", "x"))


def test_rechunk_takes_names() -> None:
    x = lt.asarray(VALUES, dims=("y", "x"))
    assert x.rechunk(x=2).chunks == x.rechunk({"x": 2}).chunks == (4, 2)
    assert x.rechunk((None, 2)).chunks == (4, 2) and x.rechunk(2).chunks == (2, 2)
    with pytest.raises(TypeError, match="not both"):
        x.rechunk(2, x=2)
    with pytest.raises(lt.DimensionError, match="built at"):
        x.rechunk(q=2)


def test_cells_through_operations() -> None:
    x = lt.asarray(VALUES.astype("f8"), chunks=(2, 3))
    row = lt.asarray(np.arange(6.0), chunks=(1,))
    assert (x + row).chunks == (row + x).chunks == (2, 3)
    assert (x.astype("u1") + lt.asarray(VALUES, chunks=(4, 1))).chunks == (4, 1)
    assert x[:, [0, 3, 4]].chunks == (2, None) and x.sum(axis=0).chunks == (3,)
    assert x[::2].chunks == (1, 3) and x.mT.chunks == (3, 2) and x[None].chunks == (1, 2, 3)
    assert lt.stack([x, x]).chunks == (1, 2, 3) and x.downsample((2, 1)).chunks == (1, 3)
    assert lt.pad(x, 1).chunk_edges(0) == (0, 1, 3, 5, 6)
