"""What a view of an image selects: from its keywords to one key per dim.

There are several ways to say a region, some of which exclude each other, and none of them clips:
what is out of bounds is an error. All of them end as a slice, or an index array, for each of T, Z,
C, Y and X. Rule: ``TensorView`` of ome-arrow 0.1.0.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from lazytensor.errors import DimensionError, OutOfBoundsError
from lazytensor.indexing import keyed

__all__ = ["Key", "SelectionError", "selected", "whole_number"]

Key = slice | np.ndarray
"""What is selected of a dim: a slice within bounds, or positions."""

_ALL = slice(None)
_ROI_TYPES = {4: "2d", 8: "4d"}
_BOUNDS = {"2d": "YX", "2d_timelapse": "TYX", "3d": "ZYX", "4d": "TZYX"}
"""The dims of the bounds in ``roi_nd``: all lower ones, then all upper ones."""


class SelectionError(OutOfBoundsError, ValueError):
    """A selection of an image that is out of bounds, or one of nothing: also a ``ValueError``."""


def selected(
    sizes: Mapping[str, int],
    edges: Callable[[str], Sequence[int] | None],
    *,
    t: Any = None,
    z: Any = None,
    c: Any = None,
    roi: Any = None,
    roi3d: Any = None,
    roi_nd: Any = None,
    roi_type: str | None = None,
    tile: Any = None,
) -> dict[str, Key]:
    """The key of each of T, Z, C, Y and X; for the keywords see ``ome.view``.

    ``sizes``: of these dims. ``edges``: where read cells of a dim start, and its size at the end;
    None where it has none. Raises ``SelectionError`` for what is out of bounds, ``DimensionError``
    for keywords that exclude each other or have the wrong length. Both are a ``ValueError``.

    >>> sizes = {"T": 3, "Z": 1, "C": 2, "Y": 8, "X": 9}
    >>> selected(sizes, {}.get, t=[2, 1], roi=(1, 2, 5, 4))
    {'T': slice(2, 0, -1), 'Z': slice(None, ...), 'C': ..., 'Y': slice(2, 6, 1), 'X': ...}
    """
    indices = {"T": t, "Z": z, "C": c}
    if roi_type is not None and roi_nd is None:
        raise DimensionError("roi_type says what roi_nd means: give roi_nd too")
    given = {"roi": roi, "roi3d": roi3d, "roi_nd": roi_nd, "tile": tile}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise DimensionError(f"{' and '.join(named)} exclude each other: give one of them")
    regions: dict[str, slice] = {}
    if roi is not None:
        regions = _roi(roi, sizes)
    elif roi3d is not None:
        regions = _roi3d(roi3d, sizes)
    elif roi_nd is not None:
        regions = _roi_nd(roi_nd, roi_type, sizes)
    elif tile is not None:
        regions = _tile(tile, edges, sizes)
    for letter, index in indices.items():
        if index is not None and letter in regions:
            raise DimensionError(
                f"{letter.lower()}= and {named[0]}= both select along {letter}: give one of them"
            )
    keys: dict[str, Key] = {}
    for letter in sizes:
        index = indices.get(letter)
        keys[letter] = (
            regions.get(letter, _ALL) if index is None else _index(index, sizes[letter], letter)
        )
    return keys


def whole_number(value: Any, what: str) -> int:
    """A whole number as an int; ``ValueError`` for fractions, ``TypeError`` for no numbers.

    >>> whole_number(np.uint8(3), "h"), whole_number(2.0, "w")
    (3, 2)
    """
    if isinstance(value, float | np.floating) and value.is_integer():
        return int(value)
    if isinstance(value, float | np.floating):
        raise ValueError(f"{what} is {value!r}, which is no whole number")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{what} is {value!r}, which is no whole number") from None


def _numbers(values: Any, names: str, what: str) -> list[int]:
    """As many whole numbers as there are names."""
    expected = names.split()
    try:
        found = list(values)
    except TypeError:
        raise TypeError(f"{what} is ({', '.join(expected)}), not {values!r}") from None
    if len(found) != len(expected):
        raise DimensionError(f"{what} is ({', '.join(expected)}), not {len(found)} values: {found}")
    return [whole_number(v, f"{name} of {what}") for v, name in zip(found, expected, strict=True)]


def _span(letter: str, lo: int, hi: int, sizes: Mapping[str, int], what: str) -> slice:
    """Positions ``[lo, hi)`` of a dim, of which there must be some, and all must exist."""
    if hi <= lo:
        raise SelectionError(f"{what} selects [{lo}, {hi}) along {letter}: it must not be empty")
    if lo < 0 or hi > sizes[letter]:
        raise SelectionError(
            f"{what} selects [{lo}, {hi}) along {letter}, which has [0, {sizes[letter]})"
        )
    return slice(lo, hi, 1)


def _roi(roi: Any, sizes: Mapping[str, int]) -> dict[str, slice]:
    x, y, w, h = _numbers(roi, "x y w h", "roi")
    return {"Y": _span("Y", y, y + h, sizes, "roi"), "X": _span("X", x, x + w, sizes, "roi")}


def _roi3d(roi: Any, sizes: Mapping[str, int]) -> dict[str, slice]:
    x, y, z, w, h, d = _numbers(roi, "x y z w h d", "roi3d")
    lows, extents = {"Z": z, "Y": y, "X": x}, {"Z": d, "Y": h, "X": w}
    return {k: _span(k, lo, lo + extents[k], sizes, "roi3d") for k, lo in lows.items()}


def _roi_nd(roi: Any, kind: str | None, sizes: Mapping[str, int]) -> dict[str, slice]:
    values = list(roi)
    kind = _ROI_TYPES.get(len(values)) if kind is None else kind
    if kind is None:
        raise DimensionError(
            f"roi_nd has {len(values)} values: it takes 4 (y, x), 8 (t, z, y, x), or 6 together "
            f"with roi_type='2d_timelapse' (t, y, x) or '3d' (z, y, x), all minima first"
        )
    if kind not in _BOUNDS:
        raise DimensionError(f"roi_type={kind!r} is none of {', '.join(map(repr, _BOUNDS))}")
    letters = _BOUNDS[kind]
    names = [f"{letter.lower()}{end}" for end in ("min", "max") for letter in letters]
    bounds = _numbers(values, " ".join(names), f"roi_nd of type {kind!r}")
    pairs = zip(letters, bounds[: len(letters)], bounds[len(letters) :], strict=True)
    return {letter: _span(letter, lo, hi, sizes, "roi_nd") for letter, lo, hi in pairs}


def _tile(
    tile: Any, edges: Callable[[str], Sequence[int] | None], sizes: Mapping[str, int]
) -> dict[str, slice]:
    found = {}
    for letter, at in zip("YX", _numbers(tile, "tile_y tile_x", "tile"), strict=True):
        cells = edges(letter)
        if cells is None:
            raise DimensionError(
                f"tile selects a cell of the chunk grid, and there is none along {letter}: "
                f"give roi, or x.rechunk(...) first"
            )
        if not 0 <= at < len(cells) - 1:
            raise SelectionError(
                f"tile selects cell {at} along {letter}, which has [0, {len(cells) - 1})"
            )
        found[letter] = _span(letter, cells[at], cells[at + 1], sizes, "tile")
    return found


def _index(index: Any, size: int, letter: str) -> Key:
    """Positions of T, Z or C; a single one is kept as an axis of size 1."""
    index = keyed(index)
    if isinstance(index, slice):
        return slice(*_ends(range(*index.indices(size))))
    if _is_list(index):
        return _positions(index, size, letter)
    try:
        at = operator.index(index)
    except TypeError:
        by_name = f"; x.sel({letter.lower()}={index!r}) selects by label" * isinstance(index, str)
        raise DimensionError(
            f"{letter.lower()}={index!r}: it takes an int, a slice or a sequence of ints{by_name}"
        ) from None
    return _positions(np.array([at], object), size, letter)


def _is_list(index: Any) -> bool:
    if isinstance(index, str | bytes):
        return False
    return isinstance(index, Sequence) or np.ndim(index) > 0


def _positions(index: Any, size: int, letter: str) -> Key:
    given = np.asarray(index)
    if not given.size:
        return slice(0, 0, 1)
    if given.ndim != 1 or given.dtype.kind not in "iuO":
        mask = ": say np.flatnonzero(mask) for a mask" * (given.dtype.kind == "b")
        raise DimensionError(
            f"{letter.lower()}= takes a sequence of ints, not one of shape {given.shape} and dtype "
            f"{given.dtype}{mask}"
        )
    found = [_position(item, size, letter) for item in given.tolist()]
    step = found[1] - found[0] if len(found) > 1 else 1
    if step and all(b - a == step for a, b in pairwise(found)):
        return slice(*_ends(range(found[0], found[-1] + step, step)))
    return np.array(found, np.int64)


def _position(item: Any, size: int, letter: str) -> int:
    try:
        at = operator.index(item)
    except TypeError:
        raise DimensionError(f"{letter.lower()}= takes ints, and {item!r} is none") from None
    if not -size <= at < size:
        raise SelectionError(f"position {at} is not in the {size} of {letter}")
    return at + size if at < 0 else at


def _ends(positions: range) -> tuple[int, int | None, int]:
    """The slice of non-negative positions."""
    if not positions:
        return 0, 0, 1
    stop = positions[-1] + (1 if positions.step > 0 else -1)
    return positions[0], None if stop < 0 else stop, positions.step
