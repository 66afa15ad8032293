"""Views and tiles of microscopy images, ``lt.ome``.

For those who come from ome-arrow: ``view`` selects as its ``TensorView`` does, with letters for the
layout and regions in pixels, and gives a tensor like any other, that nothing has been read for;
``iter_tiles`` iterates over one in the order, and with the seeded shuffle, of ``iter_dlpack`` and
``iter_tiles_3d``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from lazytensor.build_views import cast
from lazytensor.callsite import about
from lazytensor.indexing import isel_node
from lazytensor.ome_layout import LETTERS, arranged, letters_of, parse_layout, parse_policy
from lazytensor.ome_selection import selected
from lazytensor.ome_tiles import tiles
from lazytensor.plan.node import Node
from lazytensor.sources import asarray
from lazytensor.tensor import LazyTensor

__all__ = ["iter_tiles", "view"]

Index = int | slice | Sequence[int] | np.ndarray | None


def view(
    x: Any,
    *,
    t: Index = None,
    z: Index = None,
    c: Index = None,
    roi: Sequence[int] | None = None,
    roi3d: Sequence[int] | None = None,
    roi_nd: Sequence[int] | None = None,
    roi_type: Literal["2d", "2d_timelapse", "3d", "4d"] | None = None,
    tile: tuple[int, int] | None = None,
    layout: str | None = None,
    dtype: Any = None,
    channel_policy: Literal["error", "first"] = "error",
) -> LazyTensor:
    """A part of an image in a layout, as a tensor; nothing is read.

    Parameters
    ----------
    x
        A tensor, or what ``lt.asarray`` takes. Its dims are named t, c, z, y, x (or h, w), any of
        them in any order; those that it does not have are of size 1. Without names they are the
        last ones of TCZYX: ZYX for three, YX for two.
    t, z, c
        Positions: an int (the dim stays, of size 1), a slice, or a sequence of ints in any order,
        also several times the same. Negative ones count from the end.
    roi
        ``(x, y, w, h)`` in pixels.
    roi3d
        ``(x, y, z, w, h, d)``; excludes ``z``.
    roi_nd, roi_type
        All minima, then all maxima (exclusive): of y, x (``"2d"``); t, y, x (``"2d_timelapse"``);
        z, y, x (``"3d"``); t, z, y, x (``"4d"``). Six values need a ``roi_type``. Excludes ``t``
        and ``z`` where it has them.
    tile
        ``(tile_y, tile_x)``: a cell of the grid of ``x.chunks``; those at the edge are smaller.
    layout
        Letters of TZCYX in any order and case, H and W being Y and X. One that is left out drops a
        dim of size 1. By default CYX if there is one T and one Z, else TZCYX.
    dtype
        Convert to this dtype, as ``astype`` does.
    channel_policy
        ``"first"``: a layout without C keeps the first of several channels. ``"error"``: it raises.

    Returns
    -------
    A tensor with dims named by the letters of the layout in lower case. Views of views compose:
    a region is relative to what it is a region of.

    Raises ``ValueError`` in all cases of bad selections and layouts: as ``OutOfBoundsError`` (also
    an ``IndexError``) for what is out of bounds, nothing being clipped but slices; as
    ``ShapeError`` for a layout that drops a dim which is not of size 1; else as ``DimensionError``.
    Exactly one of ``roi``, ``roi3d``, ``roi_nd`` and ``tile`` may be given. Rule: ``TensorView`` of
    ome-arrow 0.1.0, except that integer arrays and NumPy ints are taken, and sequences of booleans
    are not.

    >>> x = lt.asarray(np.arange(120).reshape(1, 2, 3, 4, 5), dims="tczyx")
    >>> lt.ome.view(x, z=-1, roi=(1, 0, 4, 2))
    LazyTensor(c: 2, y: 2, x: 4)  int64  128 B  chunks (2, 4, 5)
    >>> lt.ome.view(x, c=1, z=[2, 0], roi=(1, 1, 2, 1), layout="ZHW").collect()
    array([[[106, 107]],
    <BLANKLINE>
           [[ 66,  67]]])
    """
    x = asarray(x)
    with about(x):
        letters = letters_of(x.dims)
        wanted = parse_layout(layout)
        first = parse_policy(channel_policy)
        node = arranged(x._node, letters, LETTERS)
        keys = selected(
            dict(zip(LETTERS, node.shape, strict=True)),
            lambda letter: _edges(node, letter),
            t=t, z=z, c=c, roi=roi, roi3d=roi3d, roi_nd=roi_nd, roi_type=roi_type, tile=tile,
        )  # fmt: skip
        node = isel_node(node, {d: keys[letter] for d, letter in enumerate(LETTERS)})
        if wanted is None:
            wanted = "CYX" if node.shape[:2] == (1, 1) else LETTERS
        node = arranged(node, LETTERS, wanted, first_channel=first)
        return LazyTensor._wrap(node if dtype is None else cast(node, dtype))


def _edges(node: Node, letter: str) -> Sequence[int] | None:
    """Where read cells along a dim of a node in the usual layout start, and the end of the last."""
    d = LETTERS.index(letter)
    cells = node.grid[d]
    return None if cells is None else list(cells.edges_between(0, node.shape[d]))


def iter_tiles(
    x: Any,
    tile_size: Sequence[int] | None,
    *,
    batch_size: int | None = None,
    shuffle: bool = False,
    seed: int | None = None,
    prefetch: int = 2,
    to: Literal["numpy", "torch", "jax", "cupy", "dlpack"] = "numpy",
    device: Any = None,
) -> Iterator[Any]:
    """An image tile by tile, or in batches over T.

    Parameters
    ----------
    x
        An image as ``view`` takes it. Tiles have its dims, in its order; a ``view`` says what part
        of an image, and in which layout.
    tile_size
        ``(h, w)``: tiles with all of T, Z and C, row after row. ``(d, h, w)``: tiles of one T and
        ``d`` of Z, first along X, then Y, Z and T. Those at the edges are smaller. None: all of
        Z, C, Y and X, for ``batch_size`` of T at a time.
    batch_size
        How many of T come together, all by default. With a ``tile_size``: so many consecutive
        tiles are stacked along a new first dim, fewer where the next one has another shape, and at
        the end; by default they come one by one.
    shuffle, seed
        Tiles (or, without ``tile_size``, positions of T) in random order:
        ``random.Random(seed).shuffle`` of a list of all of them in the order above. None: another
        order each time.
    prefetch
        How many portions (some MiB of tiles, at least one) are read ahead by another thread.
        0: they are read when the first of them is asked for, by the thread that asks.
    to, device
        As in ``collect``: arrays of which library, on which of its devices.

    Returns
    -------
    An iterator over C-contiguous, writable arrays that nobody else has. It reads nothing before the
    first is asked for, and stops reading when it is deleted, or by its ``close()``. Stored chunks
    that several tiles want are kept (256 MiB of them, or option ``cache_bytes`` if that is more).

    Raises ``ValueError`` and ``TypeError`` for what is no size, batch or number, at once; the
    iterator what a ``collect`` raises, where the tile that cannot be read would have come. Order
    and shapes: ``iter_dlpack`` and ``iter_tiles_3d`` of ome-arrow 0.1.0 (which ignores
    ``batch_size`` beside a ``tile_size``).

    >>> x = lt.asarray(np.arange(12).reshape(3, 4), dims=("y", "x"))
    >>> [tile.tolist() for tile in lt.ome.iter_tiles(x, (2, 3))]
    [[[0, 1, 2], [4, 5, 6]], [[3], [7]], [[8, 9, 10]], [[11]]]
    >>> [len(b) for b in lt.ome.iter_tiles(lt.zeros((5, 1, 1, 2, 2)), None, batch_size=2)]
    [2, 2, 1]
    """
    x = asarray(x)
    with about(x):
        letters = letters_of(x.dims)
        return tiles(
            x, letters, tile_size, batch_size=batch_size, shuffle=shuffle, seed=seed,
            prefetch=prefetch, to=to, device=device,
        )  # fmt: skip
