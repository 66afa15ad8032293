"""Downsampling of one in-memory block: every output cell reduces one window of base values.

Windows are aligned to *coordinate* 0: output cell ``b`` of a dim with factor ``f`` covers the base
coordinates ``[b*f, (b+1)*f)``, as far as the block reaches. Along one dim the cells therefore fall
into at most three runs of equal width (cut at the low end, complete, cut at the high end), so a
block is a product of few boxes with windows of one size each, and no Python loop ever runs over
output elements. This module owns that geometry; what a window is reduced to is in
``downsample_mean`` (arithmetic) and ``downsample_order`` (median, mode, min, max).

The rules are those of ``tensorstore.downsample``; values where its order of evaluation is undefined
(NaN in a median or a mode) are fixed here: NaNs sort behind all numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lazytensor.errors import ShapeError
from lazytensor.exec.kernels.downsample_mean import mean_into
from lazytensor.exec.kernels.downsample_order import extreme_into, median_into, mode_into
from lazytensor.exec.kernels.downsample_windows import Run, runs_of
from lazytensor.plan.downsampling import check_factors, check_method, number_kind

__all__ = ["check_method", "downsample_into", "work_nbytes"]

Reduction = Callable[[np.ndarray, "tuple[tuple[Run, ...], ...]", np.ndarray], None]

_REDUCTIONS: dict[str, Reduction] = {
    "mean": mean_into,
    "median": median_into,
    "mode": mode_into,
    "min": lambda block, runs, out: extreme_into(block, runs, out, "min"),
    "max": lambda block, runs, out: extreme_into(block, runs, out, "max"),
}


def downsample_into(
    block: np.ndarray,
    lo: Sequence[int],
    factors: Sequence[int],
    method: str,
    out: np.ndarray,
    out_lo: Sequence[int],
) -> None:
    """Fill ``out`` with the reduced windows of ``block``.

    Parameters
    ----------
    block
        Base values over the base coordinates ``[lo, lo + block.shape)``, already intersected with
        the bounds of the base. Values beyond the windows of ``out`` are allowed and ignored.
    lo
        Base coordinate of ``block[0, ..., 0]``; may be negative.
    factors
        Window extent per dim, at least 1. All ones copies.
    method
        ``mean``, ``median``, ``mode``, ``min`` or ``max`` (``stride`` is a view, not a reduction).

        - mean: over the values present. Integers exactly, rounded half to even; floats up to 32
          bits accumulate in float32, wider and complex ones in their own type, in C order.
        - median: an element of the window, the lower middle one of an even count.
        - mode: the most frequent value, of several the smallest; complex in lexicographic order.
        - min, max: NaN is ignored; a window of NaNs gives +inf for min, -inf for max.
    out
        Output values over the output coordinates ``[out_lo, out_lo + out.shape)``, of the dtype of
        ``block``; may be strided, must not overlap it.
    out_lo
        Output coordinate of ``out[0, ..., 0]``.

    Raises
    ------
    ShapeError
        Ranks differ, a factor is below 1, or a cell of ``out`` has no base value in ``block``.
    DTypeError
        The method is not defined for the dtype (see ``check_method``).

    >>> block, out = np.arange(7.0), np.empty(3)
    >>> downsample_into(block, [1], [3], "mean", out, [0])
    >>> out
    array([0.5, 3. , 5.5])
    """
    factors = check_factors(factors, block.ndim)
    check_method(method, block.dtype)
    if method not in _REDUCTIONS:
        raise ShapeError(f"downsample method {method!r} is a view: index the base instead")
    if out.dtype != block.dtype or out.ndim != block.ndim:
        raise ShapeError(
            f"downsample output is {out.ndim}-d {out.dtype}, expected {block.ndim}-d {block.dtype}"
        )
    runs = tuple(
        runs_of(start, size, factor, out_start, cells)
        for start, size, factor, out_start, cells in zip(
            lo, block.shape, factors, out_lo, out.shape, strict=True
        )
    )
    if out.size == 0:
        return
    if all(factor == 1 for factor in factors):
        out[...] = block[tuple(run.base for (run,) in runs)]
        return
    with np.errstate(all="ignore"):
        _reduce(block, runs, out, method)


_WORK = {
    "mean": {"i": 1.7, "f2": 2.75, "f": 0.4},
    "median": {"i": 1.4, "f2": 2.75, "f": 2.4},
    "mode": {"i": 3.5, "f2": 4.0, "f": 3.5, "c": 7.5},
    "min": {"i": 0.8, "f2": 2.75, "f": 0.8},
    "max": {"i": 0.8, "f2": 2.75, "f": 0.8},
}


def work_nbytes(method: str, dtype: np.dtype, elements: int) -> int:
    """Bytes that reducing a block of so many elements takes beside it and the result, at most.

    As measured, by the kind of numbers: sums are wider than what is summed, order is found in a
    copy, half floats are made whole ones.

    >>> work_nbytes("median", np.dtype("u2"), 1000)
    2800
    """
    table = _WORK[method]
    work = _working_dtype(dtype)
    kind = number_kind(dtype)
    name = "f2" if kind == "f" and work.itemsize <= 2 else "i" if kind in "biu" else kind
    turned = 0 if work == dtype and work.isnative else 1
    return int((table.get(name, table["f"]) + turned) * elements * work.itemsize)


def _reduce(
    block: np.ndarray, runs: tuple[tuple[Run, ...], ...], out: np.ndarray, method: str
) -> None:
    """Reduce in a dtype that the kernels know: native byte order, whole bytes."""
    work = _working_dtype(block.dtype)
    if work == block.dtype and work.isnative:
        _REDUCTIONS[method](block, runs, out)
        return
    result = np.empty(out.shape, work)
    _REDUCTIONS[method](block.astype(work), runs, result)
    out[...] = result.astype(out.dtype)


def _working_dtype(dtype: np.dtype) -> np.dtype:
    """Integers of less than a byte are stored one a byte and have no arithmetic of their own."""
    kind = number_kind(dtype)
    if kind in "iu" and dtype.kind == "V":
        return np.dtype(np.int8 if kind == "i" else np.uint8)
    return dtype.newbyteorder("=") if not dtype.isnative else dtype
