"""What is left of a box when others are cut out of it, as few disjoint boxes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lazytensor.plan.source import Box

__all__ = ["subtract", "without"]

_FEW = 6
"""Up to this many covers are cut off one after the other; more are divided by a plane first."""


def subtract(box: Box, lo: np.ndarray, hi: np.ndarray) -> list[Box]:
    """``box`` without the boxes ``[lo, hi)`` (arrays ``(N, ndim)``), as disjoint boxes in order.

    >>> subtract(((0, 4), (0, 4)), np.array([[1, 1]]), np.array([[3, 9]]))
    [((0, 1), (0, 4)), ((1, 3), (0, 1)), ((3, 4), (0, 4))]
    """
    rest: list[Box] = []
    work = [(box, lo, hi)]
    while work:
        piece, lo, hi = work.pop()
        bounds = np.array(piece, np.int64).reshape(len(piece), 2)
        meets = ((lo < bounds[:, 1]) & (hi > bounds[:, 0])).all(axis=1)
        lo = np.maximum(lo[meets], bounds[:, 0])
        hi = np.minimum(hi[meets], bounds[:, 1])
        if ((lo == bounds[:, 0]) & (hi == bounds[:, 1])).all(axis=1).any():
            continue
        if len(lo) <= _FEW:
            rest.extend(_cut_one_by_one(piece, lo, hi))
            continue
        axis, at = _cutting_plane(bounds, lo, hi)
        work.append(((*piece[:axis], (piece[axis][0], at), *piece[axis + 1 :]), lo, hi))
        work.append(((*piece[:axis], (at, piece[axis][1]), *piece[axis + 1 :]), lo, hi))
    return sorted(rest)


def _cut_one_by_one(box: Box, lo: np.ndarray, hi: np.ndarray) -> list[Box]:
    pieces = [box]
    for cover_lo, cover_hi in zip(lo.tolist(), hi.tolist(), strict=True):
        cover = tuple(zip(cover_lo, cover_hi, strict=True))
        pieces = [part for piece in pieces for part in without(piece, cover)]
    return pieces


def without(piece: Box, cover: Box) -> Iterator[Box]:
    """``piece`` without ``cover``: at most two parts a dim.

    Outer dims are cut first, so that parts keep whole inner rows.
    """
    if any(a >= d or b <= c for (a, b), (c, d) in zip(piece, cover, strict=True)):
        yield piece
        return
    for axis, ((a, b), (c, d)) in enumerate(zip(piece, cover, strict=True)):
        before, behind = piece[:axis], piece[axis + 1 :]
        if a < c:
            yield (*before, (a, c), *behind)
        if d < b:
            yield (*before, (d, b), *behind)
        piece = (*before, (max(a, c), min(b, d)), *behind)


def _cutting_plane(bounds: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> tuple[int, int]:
    """Median edge of the covers along the dim with the most edges inside the piece.

    No cover is the whole piece, so there is an edge inside in some dim.
    """
    inside = []
    for axis, (start, stop) in enumerate(bounds.tolist()):
        edges = np.unique(np.concatenate([lo[:, axis], hi[:, axis]]))
        inside.append(edges[(edges > start) & (edges < stop)])
    axis = max(range(len(inside)), key=lambda d: len(inside[d]))
    return axis, int(inside[axis][len(inside[axis]) // 2])
