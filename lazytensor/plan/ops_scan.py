"""The table of cumulative operations: one row for each of the Array API standard 2025.12.

A row says how values are added up along an axis and in which dtype. Reductions are in
``ops_reduce``; what is here has a result as large as its operand, so there is no state to merge but
a *carry*: what stands before a stretch of the axis is joined to everything in it.

Float sums are added up in groups of 64, the groups' totals again in groups of 64, and so on: the
error grows with the logarithm of the extent, |error| <= 4 sqrt(n) eps sum|x|, where adding one
after the other would let it grow with n. What is summed in a dtype of more digits than the result
has needs no groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from lazytensor.errors import DTypeError
from lazytensor.plan import ops_reduce
from lazytensor.plan.promote import is_extended

__all__ = ["CUMULATIONS", "LANES_AT_ONCE", "ROWS", "Cumulation", "lanes"]

_GROUP = 64
LANES_AT_ONCE = 1 << 17
"""Elements worked on at a time: temporaries stay in the cache, and small beside a task."""

_WIDE = {"b": np.int64, "i": np.int64, "u": np.uint64, "f": np.float64, "c": np.complex128}


def lanes(
    shape: tuple[int, ...], axis: int, most: int = LANES_AT_ONCE
) -> Iterator[tuple[slice, ...]]:
    """Parts that tile an array: whole along ``axis``, of ``most`` elements where that allows it.

    >>> list(lanes((4, 3), 1, most=6))
    [(slice(0, 2, None), slice(0, 3, None)), (slice(2, 4, None), slice(0, 3, None))]
    """
    bounds = [(0, n) for n in shape]
    steps = list(shape)
    size = 1
    for n in shape:
        size *= n
    for d, n in enumerate(shape):
        if d != axis and size > most:
            size //= n
            steps[d] = max(1, most // max(1, size))
            size *= steps[d]
    counts = [-(-n // max(1, step)) for (_, n), step in zip(bounds, steps, strict=True)]
    for index in np.ndindex(*counts):
        yield tuple(
            slice(i * step, min(n, (i + 1) * step))
            for i, n, step in zip(index, shape, steps, strict=True)
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Cumulation:
    """One cumulative operation.

    ``rule``: dtype of the operand and the dtype asked for (or None) to that of the result.
    ``initial``: value over no elements. ``regroups``:
    float results may be joined from parts, within the bound of float sums; products may not, for a
    part may overflow where the whole does not.

    >>> sums = CUMULATIONS["cumulative_sum"]
    >>> sums.accumulate(np.array([[1, 2], [3, 4]], np.uint8), 1)
    array([[1, 3],
           [3, 7]], dtype=uint64)
    """

    name: str
    ufunc: np.ufunc
    rule: Callable[[np.dtype, np.dtype | None], np.dtype]
    initial: int
    regroups: bool
    doc: str
    note: str
    since: str
    section: str = "statistical functions"

    def result_dtype(self, dtype: np.dtype, asked: np.dtype | None = None) -> np.dtype:
        """Dtype of the result; ``DTypeError`` where the operation is not defined."""
        try:
            return self.rule(dtype, asked)
        except TypeError:
            wanted = f" with dtype={asked}" if asked is not None else ""
            raise DTypeError(
                f"{self.name} is not defined for {dtype}{wanted}: it takes numbers"
            ) from None

    def accumulator(self, result: np.dtype) -> np.dtype:
        """Dtype that is added up in: the widest of the result's kind."""
        wide = np.dtype(_WIDE[_kind(result)])
        return result if result.itemsize > wide.itemsize else wide

    def streams(self, result: np.dtype) -> bool:
        """Whether stretches of the axis may be worked on apart and joined."""
        return self.regroups or _kind(result) in "biu"

    def accumulate(
        self,
        x: np.ndarray,
        axis: int,
        asked: np.dtype | None = None,
        *,
        out: np.ndarray | None = None,
        before: np.ndarray | None = None,
        skip: int = 0,
    ) -> np.ndarray:
        """The operation on a whole array, or on a stretch of the axis with its carry ``before``.

        ``before`` has extent 1 along the axis and the accumulator's dtype. The first ``skip``
        results are left out of ``out``. No warning escapes.
        """
        result = self.result_dtype(x.dtype, asked)
        into = np.empty(x.shape, result) if out is None else out
        with np.errstate(all="ignore"):
            for part in lanes(x.shape, axis):
                carry = None if before is None else before[_flat(part, axis)]
                for piece in _pieces(part, axis):
                    lo, hi = piece[axis].start, piece[axis].stop
                    place = into[_shifted(piece, axis, -skip)]
                    wide = self._run(x[piece], axis, result, place if lo >= skip else None, carry)
                    carry = _last(wide, axis)
                    if wide is not place and hi > skip:
                        wanted = _along(wide, axis, max(0, skip - lo), hi - lo)
                        place[...] = wanted.astype(result, copy=False)
        return into

    def totals(
        self, x: np.ndarray, axis: int, asked: np.dtype | None, size: int, out: np.ndarray
    ) -> None:
        """The last value of every stretch of ``size`` elements, in the accumulator's dtype."""
        result = self.result_dtype(x.dtype, asked)
        with np.errstate(all="ignore"):
            for i in range(out.shape[axis]):
                stretch = _along(x, axis, i * size, (i + 1) * size)
                place = _along(out, axis, i, i + 1)
                for part in lanes(stretch.shape, axis):
                    carry = None
                    for piece in _pieces(part, axis):
                        wide = self._run(stretch[piece], axis, result, None, carry)
                        carry = _last(wide, axis)
                    place[_flat(part, axis)] = carry

    def _run(
        self,
        x: np.ndarray,
        axis: int,
        result: np.dtype,
        out: np.ndarray | None,
        before: np.ndarray | None,
    ) -> np.ndarray:
        """Accumulate a piece, in ``out`` if it has the accumulator's dtype, upon what is before."""
        wide = self._widened(x, result, out)
        inexact = _kind(result) in "fc" and result.itemsize >= wide.dtype.itemsize
        if self.regroups and inexact:
            _in_groups(self.ufunc, wide, axis)
            return wide if before is None else self.ufunc(before, wide, out=wide)
        if before is not None and wide.size:
            first = _along(wide, axis, 0, 1)
            self.ufunc(before, first, out=first)
        self.ufunc.accumulate(wide, axis=axis, out=wide)
        return wide

    def _widened(self, x: np.ndarray, result: np.dtype, out: np.ndarray | None) -> np.ndarray:
        """A copy of the operand in the accumulator's dtype; ``out`` itself if it has that."""
        accumulator = self.accumulator(result)
        # Integers of floats are taken one by one, before they are added up.
        whole = _kind(result) in "iu" and _kind(x.dtype) in "fc"
        values = x.astype(result) if whole else x
        if out is None or out.dtype != accumulator:
            return values.astype(accumulator)
        np.copyto(out, values, casting="unsafe")
        return out


def _kind(dtype: np.dtype) -> str:
    """NumPy's letter of the kind, also for the formats of ml_dtypes."""
    if not is_extended(dtype):
        return dtype.kind
    return "f" if "float" in dtype.name else ("u" if dtype.name.startswith("u") else "i")


def _along(x: np.ndarray, axis: int, lo: int, hi: int) -> np.ndarray:
    part: np.ndarray = x[(*(slice(None),) * axis, slice(lo, hi))]
    return part


def _flat(part: tuple[slice, ...], axis: int) -> tuple[slice, ...]:
    """The same lanes of an array that has extent 1 along the axis."""
    return (*part[:axis], slice(0, 1), *part[axis + 1 :])


def _pieces(part: tuple[slice, ...], axis: int) -> Iterator[tuple[slice, ...]]:
    """A part cut along the axis, where it is longer than should be worked on at a time."""
    across = 1
    for d, one in enumerate(part):
        across *= one.stop - one.start if d != axis else 1
    step = max(1, LANES_AT_ONCE // max(1, across))
    start, stop = part[axis].start, part[axis].stop
    for lo in range(start, stop, step):
        yield (*part[:axis], slice(lo, min(stop, lo + step)), *part[axis + 1 :])


def _shifted(part: tuple[slice, ...], axis: int, by: int) -> tuple[slice, ...]:
    """The part moved along the axis, as far as it does not leave the array at its beginning."""
    start, stop = part[axis].start + by, part[axis].stop + by
    return (*part[:axis], slice(max(0, start), max(0, stop)), *part[axis + 1 :])


def _last(x: np.ndarray, axis: int) -> np.ndarray:
    extent = x.shape[axis]
    return _along(x, axis, extent - 1, extent).copy()


def _in_groups(ufunc: np.ufunc, values: np.ndarray, axis: int) -> None:
    """Accumulate in place: inside groups, then over the totals of the groups before."""
    extent = values.shape[axis]
    if extent <= _GROUP:
        ufunc.accumulate(values, axis=axis, out=values)
        return
    count = extent // _GROUP
    # Splitting one axis in two never copies.
    split = (*values.shape[:axis], count, _GROUP, *values.shape[axis + 1 :])
    groups = _along(values, axis, 0, count * _GROUP).reshape(split)
    ufunc.accumulate(groups, axis=axis + 1, out=groups)
    totals = np.take(groups, _GROUP - 1, axis=axis + 1)
    _in_groups(ufunc, totals, axis)
    later = _along(groups, axis, 1, count)
    ufunc(np.expand_dims(_along(totals, axis, 0, count - 1), axis + 1), later, out=later)
    if extent % _GROUP:
        rest = _along(values, axis, count * _GROUP, extent)
        ufunc.accumulate(rest, axis=axis, out=rest)
        ufunc(_along(totals, axis, count - 1, count), rest, out=rest)


_RULES = {row.name: row.rule for row in ops_reduce.ROWS}

_NOTE = (
    "Integers are accumulated in 64 bits (they wrap around) and give int64 or uint64, floats keep "
    "their dtype and are accumulated in at least float64; ``dtype`` overrides both."
)

ROWS: tuple[Cumulation, ...] = (
    Cumulation(
        name="cumulative_prod",
        ufunc=np.multiply,
        rule=_RULES["prod"],
        initial=1,
        regroups=False,
        doc="Product of every element and those before it.",
        note=_NOTE,
        since="2024.12",
    ),
    Cumulation(
        name="cumulative_sum",
        ufunc=np.add,
        rule=_RULES["sum"],
        initial=0,
        regroups=True,
        doc="Sum of every element and those before it.",
        note=_NOTE,
        since="2023.12",
    ),
)

CUMULATIONS: dict[str, Cumulation] = {row.name: row for row in ROWS}
"""Cumulative operations by name."""
