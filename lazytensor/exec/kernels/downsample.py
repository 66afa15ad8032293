"""Downsampling of one in-memory block: every output cell reduces one window of base values.

Windows are aligned to *coordinate* 0: output cell ``b`` of a dim with factor ``f`` covers the base
coordinates ``[b*f, (b+1)*f)``, as far as the block reaches. Along one dim the cells therefore fall
into at most three runs of equal width (cut at the low end, complete, cut at the high end), so a
block is a product of few boxes with windows of one size each, and no Python loop ever runs over
output elements. This module owns that geometry; what a window is reduced to is in
``downsample_mean`` (arithmetic) and ``downsample_order`` (median, mode, min, max), and in
``downsample_compiled``, which has compiled code for complete windows (and for some that are cut).

The rules are those of ``tensorstore.downsample``; values where its order of evaluation is undefined
(NaN in a median or a mode) are fixed here: NaNs sort behind all numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from lazytensor.errors import ShapeError
from lazytensor.exec.kernels.downsample_compiled import (
    downsample_consumer,
    saved_seconds,
    takes_cut,
)
from lazytensor.exec.kernels.downsample_mean import mean_into
from lazytensor.exec.kernels.downsample_order import extreme_into, median_into, mode_into
from lazytensor.exec.kernels.downsample_windows import Run, runs_of
from lazytensor.native.kernels.chunk_block import MOST_RANK
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
        _reduce(block, runs, factors, out, method)


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
    block: np.ndarray,
    runs: tuple[tuple[Run, ...], ...],
    factors: tuple[int, ...],
    out: np.ndarray,
    method: str,
) -> None:
    """Reduce in a dtype that the kernels know: native byte order, whole bytes."""
    work = _working_dtype(block.dtype)
    if work == block.dtype and work.isnative:
        _reduce_native(block, runs, factors, out, method)
        return
    result = np.empty(out.shape, work)
    _reduce_native(block.astype(work), runs, factors, result, method)
    out[...] = result.astype(out.dtype)


_MANY_VALUES = 4096
"""Calling compiled code takes as long as reducing about so many values without."""


def _reduce_native(
    block: np.ndarray,
    runs: tuple[tuple[Run, ...], ...],
    factors: tuple[int, ...],
    out: np.ndarray,
    method: str,
) -> None:
    """What compiled code takes by it, if it is there and that is much; all else by NumPy."""
    plain = _REDUCTIONS[method]
    taken = _taken(runs, factors, cut=takes_cut(method, block.dtype))
    if not _reduce_compiled(block, taken, factors, out, method):
        plain(block, runs, out)
        return
    if taken == runs:
        return
    for box in itertools.product(*runs):
        if not all(run in dim_taken for run, dim_taken in zip(box, taken, strict=True)):
            part, into = block[tuple(run.base for run in box)], out[tuple(run.cells for run in box)]
            plain(part, tuple((_alone(run),) for run in box), into)


def _alone(run: Run) -> Run:
    """A run by itself: of cells and values that begin with its own."""
    cells, base = run.cells, run.base
    return Run(slice(0, cells.stop - cells.start), slice(0, base.stop - base.start), run.width)


def _taken(
    runs: tuple[tuple[Run, ...], ...], factors: tuple[int, ...], *, cut: bool
) -> tuple[tuple[Run, ...], ...]:
    """The runs of complete windows, and behind them those that may be cut; none where there are
    none."""
    taken = []
    for dim_runs, factor in zip(runs, factors, strict=True):
        first = next((k for k, run in enumerate(dim_runs) if run.width == factor), None)
        if first is None:
            first = len(dim_runs)
            if cut and len(dim_runs) == 1 and dim_runs[0].width == 1:
                first = 0
        end = first + 1
        if cut and end < len(dim_runs) and dim_runs[end].width == 1:
            end += 1
        taken.append(dim_runs[first:end])
    return tuple(taken)


def _reduce_compiled(
    block: np.ndarray,
    taken: tuple[tuple[Run, ...], ...],
    factors: tuple[int, ...],
    out: np.ndarray,
    method: str,
) -> bool:
    """Reduce the windows of some runs; False if nothing was done."""
    if block.size < _MANY_VALUES or not all(taken) or block.ndim > MOST_RANK:
        return False
    values = block[tuple(slice(dim[0].base.start, dim[-1].base.stop) for dim in taken)]
    into = out[tuple(slice(dim[0].cells.start, dim[-1].cells.stop) for dim in taken)]
    if values.size < _MANY_VALUES:
        return False
    saves = saved_seconds(method, values.shape)
    consumer = downsample_consumer(method, block.dtype, factors, into, saves=saves)
    if consumer is None:
        return False
    consumer.take(values, (0,) * values.ndim)
    return True


def _working_dtype(dtype: np.dtype) -> np.dtype:
    """Integers of less than a byte are stored one a byte and have no arithmetic of their own."""
    kind = number_kind(dtype)
    if kind in "iu" and dtype.kind == "V":
        return np.dtype(np.int8 if kind == "i" else np.uint8)
    return dtype.newbyteorder("=") if not dtype.isnative else dtype
