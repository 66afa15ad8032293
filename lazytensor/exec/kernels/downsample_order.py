"""Median, mode, minimum and maximum of windows: reductions that pick an element.

All of them work on order keys (``downsample_keys``). Small windows are sorted by a network: a fixed
list of compare-and-swap steps, each of which is two whole-array operations over *all* windows, and
of which only those are kept that the wanted place depends on. Wide or few windows become the rows
of a matrix and are left to NumPy's partition and sort.
"""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np

from lazytensor.exec.kernels.downsample_keys import Keys, decode, encode, has_negative_zero
from lazytensor.exec.kernels.downsample_windows import Box, Run, boxes, fold, planes, rows
from lazytensor.native.kernels.networks import odd_even_merge_sort
from lazytensor.plan.downsampling import number_kind

__all__ = ["extreme_into", "median_into", "mode_into"]

_MAX_NETWORK = 64
_MIN_WINDOWS = 512
"""A network of up to 543 steps (64 places) is repaid by at least this many windows."""


def extreme_into(
    block: np.ndarray, runs: tuple[tuple[Run, ...], ...], out: np.ndarray, method: str
) -> None:
    """Minimum or maximum of every window; NaN is ignored, and NaNs alone give +inf or -inf."""
    smallest = method == "min"
    limit = np.inf if smallest else -np.inf
    dtype = block.dtype
    if dtype.kind == "f" and dtype.itemsize >= 4 and not has_negative_zero(block):
        # Without -0.0 the smallest number is one bit pattern, so the order of comparing is free.
        found = fold(block, runs, np.fmin if smallest else np.fmax, dtype)
        out[...] = np.where(np.isnan(found), dtype.type(limit), found)
        return
    encoded = encode(block, nan_first=not smallest)
    ufunc = np.minimum if smallest else np.maximum
    keys = fold(encoded.keys, runs, ufunc, encoded.keys.dtype)
    out[...] = decode(keys, encoded)
    if encoded.nan is not None:
        out[keys == encoded.nan] = np.array(limit).astype(dtype)


def median_into(block: np.ndarray, runs: tuple[tuple[Run, ...], ...], out: np.ndarray) -> None:
    """Lower middle element of every window; NaNs sort behind all numbers."""
    encoded = encode(block)
    for box in boxes(runs):
        keys = encoded.keys[box.base]
        out[box.cells] = decode(_lower_middle(keys, box), encoded).reshape(_windows(keys, box))


def mode_into(block: np.ndarray, runs: tuple[tuple[Run, ...], ...], out: np.ndarray) -> None:
    """Most frequent element of every window, of several the smallest; NaNs are equal, and last."""
    if number_kind(block.dtype) in "biuf":
        encoded = encode(block)
        for box in boxes(runs):
            keys = encoded.keys[box.base]
            out[box.cells] = decode(_mode(keys, box, encoded), encoded).reshape(_windows(keys, box))
        return
    values, codes = np.unique(_canonical(block), return_inverse=True)
    encoded = encode(codes.reshape(block.shape))
    for box in boxes(runs):
        keys = encoded.keys[box.base]
        out[box.cells] = values[_mode(keys, box, encoded)].reshape(_windows(keys, box))


def _canonical(block: np.ndarray) -> np.ndarray:
    """Complex values with one zero and one NaN, so that equal elements are one; text as it is."""
    if block.dtype.kind != "c":
        return block
    canonical: np.ndarray = block + 0
    canonical[np.isnan(canonical)] = complex(np.nan, np.nan)
    return canonical


def _windows(keys: np.ndarray, box: Box) -> tuple[int, ...]:
    return tuple(extent // width for extent, width in zip(keys.shape, box.widths, strict=True))


def _suits_network(keys: np.ndarray, box: Box) -> bool:
    return box.places <= _MAX_NETWORK and keys.size >= _MIN_WINDOWS * box.places


def _own_planes(keys: np.ndarray, box: Box) -> list[np.ndarray]:
    """Copies, as they are sorted in place: a plane may be a part of the block itself."""
    return [np.array(plane, order="C") for plane in planes(keys, box.widths)]


def _lower_middle(keys: np.ndarray, box: Box) -> np.ndarray:
    middle = (box.places - 1) // 2
    if box.places == 1:
        return np.ascontiguousarray(keys)
    if not _suits_network(keys, box):
        return np.partition(rows(keys, box.widths), middle, axis=1)[:, middle]
    places = _own_planes(keys, box)
    _run_network(places, _network(box.places, middle))
    return places[middle]


def _mode(keys: np.ndarray, box: Box, encoded: Keys) -> np.ndarray:
    if box.places == 1:
        return np.ascontiguousarray(keys)
    if not _suits_network(keys, box):
        return _mode_of_rows(np.sort(rows(keys, box.widths), axis=1), encoded.negative_zero)
    places = _own_planes(keys, box)
    _run_network(places, _network(box.places, None))
    return _mode_of_places(places, encoded.negative_zero)


def _mode_of_places(places: list[np.ndarray], negative_zero: int | None) -> np.ndarray:
    """Walk over sorted places with, per window, the run so far, and the longest run so far."""
    value = best = places[0]
    start = places[0]
    length = np.ones(value.shape, np.uint8)
    longest = length.copy()
    for previous, current in itertools.pairwise(places):
        same = _same_value(previous, current, negative_zero)
        length *= same
        length += 1
        start = np.where(same, start, current)
        longer = length > longest
        best = np.where(longer, start, best)
        np.maximum(longest, length, out=longest)
    return best


def _mode_of_rows(ordered: np.ndarray, negative_zero: int | None) -> np.ndarray:
    """First of the longest runs of every sorted row."""
    starts = np.ones(ordered.shape, np.bool_)
    starts[:, 1:] = ~_same_value(ordered[:, :-1], ordered[:, 1:], negative_zero)
    first = np.flatnonzero(starts)
    length = np.diff(first, append=ordered.size)
    row = first // ordered.shape[1]
    runs_before = np.searchsorted(row, np.arange(len(ordered)))
    longest = np.maximum.reduceat(length, runs_before)
    candidates = np.flatnonzero(length == longest[row])
    _, chosen = np.unique(row[candidates], return_index=True)
    best: np.ndarray = ordered.reshape(-1)[first[candidates[chosen]]]
    return best


def _same_value(left: np.ndarray, right: np.ndarray, negative_zero: int | None) -> np.ndarray:
    """Whether sorted neighbours are one value: -0.0 and the 0.0 behind it are."""
    same: np.ndarray = left == right
    if negative_zero is not None:
        same |= (left == negative_zero) & (right == negative_zero + 1)
    return same


Step = tuple[int, int, bool, bool]


def _run_network(places: list[np.ndarray], network: tuple[Step, ...]) -> None:
    """Apply the steps: ``places[i], places[j] = min, max``, as far as each is needed later."""
    for low, high, needs_low, needs_high in network:
        left, right = places[low], places[high]
        if needs_low and needs_high:
            places[low] = np.minimum(left, right)
            np.maximum(left, right, out=right)
        elif needs_low:
            np.minimum(left, right, out=left)
        else:
            np.maximum(left, right, out=right)


@lru_cache(maxsize=256)
def _network(size: int, wanted: int | None) -> tuple[Step, ...]:
    """Batcher's odd-even merge sort of ``size`` places, pruned to what ``wanted`` depends on.

    >>> _network(2, None)
    ((0, 1, True, True),)
    """
    needed = set(range(size)) if wanted is None else {wanted}
    steps: list[Step] = []
    for low, high in reversed(odd_even_merge_sort(size)):
        needs_low, needs_high = low in needed, high in needed
        if needs_low or needs_high:
            steps.append((low, high, needs_low, needs_high))
            needed |= {low, high}
    return tuple(reversed(steps))
