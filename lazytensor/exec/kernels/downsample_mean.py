"""The mean of windows: exact for integers, in a fixed order for floats.

Integer sums are taken in the narrowest dtype that holds them, then divided with rounding half to
even. For 64-bit values the sum needs up to 95 bits: the high and the low 32 bits are summed apart
and divided as two digits. Float sums follow the C order of the window, one value after the other
starting from 0, because that is what makes every engine and chunking give the same bits; NumPy's
own ``sum`` regroups.
"""

from __future__ import annotations

import numpy as np

from lazytensor.errors import ShapeError
from lazytensor.exec.kernels.downsample_windows import Run, boxes, fold, planes, rows
from lazytensor.plan.downsampling import number_kind

__all__ = ["mean_into"]

_MAX_COUNT = 2**31
"""Values a window may hold, so that sums of 32-bit digits fit into 64 bits."""

_FEW_PLACES = 16
_MANY_WINDOWS = 1024
"""A window is walked place by place if it has few places, or if there are many windows to repay
each step; else every window becomes a row."""


def mean_into(block: np.ndarray, runs: tuple[tuple[Run, ...], ...], out: np.ndarray) -> None:
    """Mean of every window, in the dtype of ``block``."""
    kind = number_kind(block.dtype)
    if kind == "b":
        _bool_mean(block, runs, out)
    elif kind in "iu":
        _integer_mean(block, runs, out)
    else:
        _float_mean(block, runs, out)


def _bool_mean(block: np.ndarray, runs: tuple[tuple[Run, ...], ...], out: np.ndarray) -> None:
    """True where more than half are True: a tie is 0.5, and its even neighbour is 0."""
    sums = fold(block.view(np.uint8), runs, np.add, _sum_dtype(np.dtype(np.uint8), runs))
    for box in boxes(runs):
        np.greater(sums[box.cells], box.places // 2, out=out[box.cells])


def _integer_mean(block: np.ndarray, runs: tuple[tuple[Run, ...], ...], out: np.ndarray) -> None:
    if block.dtype.itemsize < 8:
        dtype = _sum_dtype(block.dtype, runs)
    elif _fits_64_bits(block, runs):
        dtype = block.dtype
    else:
        _wide_integer_mean(block, runs, out)
        return
    sums = fold(block, runs, np.add, dtype)
    for box in boxes(runs):
        out[box.cells] = _divide_half_even(sums[box.cells], box.places)


def _sum_dtype(dtype: np.dtype, runs: tuple[tuple[Run, ...], ...]) -> np.dtype:
    """Narrowest integer dtype for the sum of any window plus the rounding term."""
    count = max(box.places for box in boxes(runs))
    _check_count(count)
    limit = count * (int(np.iinfo(dtype).max) + 1)
    widths = (dtype.itemsize, 2, 4, 8)
    candidates = (np.dtype(f"{dtype.kind}{width}") for width in widths if width >= dtype.itemsize)
    return next(candidate for candidate in candidates if limit <= np.iinfo(candidate).max)


def _fits_64_bits(block: np.ndarray, runs: tuple[tuple[Run, ...], ...]) -> bool:
    """Whether no sum of 64-bit values can leave 64 bits: labels and counts rarely come near."""
    count = max(box.places for box in boxes(runs))
    bounds = np.iinfo(block.dtype)
    above, below = (int(block.max()) + 1) * count, int(block.min()) * count
    return above <= bounds.max and below >= bounds.min


def _check_count(count: int) -> None:
    if count >= _MAX_COUNT:
        raise ShapeError(
            f"the mean of a window of {count} integers is not supported: at most"
            f" {_MAX_COUNT - 1}; downsample in two steps, or cast to float64"
        )


def _divide_half_even(sums: np.ndarray, count: int) -> np.ndarray:
    """``sums / count``, rounded half to even; ``sums`` is overwritten."""
    if count == 1:
        return sums
    if count & (count - 1) == 0:
        # Adding half less one, and the parity of the floor, carries into the quotient exactly
        # when the rest is above half, or is half of an odd quotient.
        shift = count.bit_length() - 1
        odd = (sums >> shift) & 1
        odd += count // 2 - 1
        odd += sums
        odd >>= shift
        return odd
    sums += count // 2
    quotient = sums // count
    if count % 2 == 0:
        tie = quotient * count == sums
        quotient -= tie & (quotient & 1).astype(np.bool_)
    return quotient


def _wide_integer_mean(
    block: np.ndarray, runs: tuple[tuple[Run, ...], ...], out: np.ndarray
) -> None:
    """64-bit means by two digits of base 2^32, of which only the high one has a sign."""
    _check_count(max(box.places for box in boxes(runs)))
    low_digits = (block & block.dtype.type(0xFFFFFFFF)).view(np.uint64)
    low = fold(low_digits, runs, np.add, np.dtype(np.uint64))
    high = fold(block >> block.dtype.type(32), runs, np.add, block.dtype)
    for box in boxes(runs):
        out[box.cells] = _divide_digits(high[box.cells], low[box.cells], box.places)


def _divide_digits(high: np.ndarray, low: np.ndarray, count: int) -> np.ndarray:
    """``(high * 2^32 + low) / count`` rounded half to even, in the dtype of ``high``.

    ``0 <= rest < count < 2^31`` and ``low < count * 2^32``, so that ``rest * 2^32 + low`` is less
    than ``2^64``; the quotient of that digit may carry, which wraps to the right value.
    """
    high_quotient, rest = np.divmod(high, high.dtype.type(count))
    digits = (rest.astype(np.uint64) << np.uint64(32)) + low
    low_quotient, rest = np.divmod(digits, np.uint64(count))
    twice = rest << np.uint64(1)
    odd = (low_quotient & np.uint64(1)).astype(np.bool_)
    low_quotient += (twice > count) | ((twice == count) & odd)
    mean: np.ndarray = high_quotient << high.dtype.type(32)
    mean += low_quotient.astype(high.dtype)
    return mean


def _float_mean(block: np.ndarray, runs: tuple[tuple[Run, ...], ...], out: np.ndarray) -> None:
    wide = block.dtype.kind == "c" or block.dtype.itemsize >= 4
    dtype = block.dtype if wide else np.dtype(np.float32)
    real = np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype
    for box in boxes(runs):
        sums = _ordered_sums(block[box.base].astype(dtype, copy=False), box.widths, box.places)
        # Complex numbers are divided by a real count component by component.
        components = sums.view(real)
        components /= real.type(box.places)
        out[box.cells] = sums.astype(out.dtype, copy=False)


def _ordered_sums(block: np.ndarray, widths: tuple[int, ...], count: int) -> np.ndarray:
    """Sums of all windows of a box, each in C order from 0: so a sum of -0.0 is 0.0."""
    windows = tuple(extent // width for extent, width in zip(block.shape, widths, strict=True))
    if count <= _FEW_PLACES or block.size // count >= _MANY_WINDOWS:
        sums = np.zeros(windows, block.dtype)
        for plane in planes(block, widths):
            sums += plane
        return sums
    # accumulate is sequential by definition, unlike reduce.
    steps = rows(block, widths)
    np.add.accumulate(steps, axis=1, out=steps)
    sums = steps[:, -1] + 0  # as if it had started from 0
    return sums.reshape(windows)
