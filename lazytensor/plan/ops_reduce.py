"""The reduction table: one row for every reduction of the Array API standard 2025.12.

A row joins a dtype rule, the mergeable state of ``ops_state`` and the words of the documentation.
Cumulative functions are not here: their results are as large as their operands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazytensor.errors import DTypeError
from lazytensor.plan import ops_state as states
from lazytensor.plan.ops_state import Algebra, Place, State
from lazytensor.plan.promote import is_extended, is_extended_float

__all__ = ["ROWS", "Reduction"]

Params = Mapping[str, Any]
Rule = Callable[[np.dtype, np.dtype | None], np.dtype]
"""Dtype of the operand and the ``dtype=`` asked for, to the dtype of the result."""

_NONE: Params = {}
_BOOL = np.dtype(np.bool_)
_INT64 = np.dtype(np.int64)
_UINT64 = np.dtype(np.uint64)
_FLOAT64 = np.dtype(np.float64)


def _numeric(dtype: np.dtype) -> bool:
    return dtype.kind in "biufc" or is_extended(dtype)


def _accumulating(dtype: np.dtype, asked: np.dtype | None) -> np.dtype:
    """Sums: what was asked for, else the default integer for smaller ones, else the same."""
    if asked is not None:
        lossy = dtype.kind == "c" and asked.kind != "c"
        if lossy or not _numeric(asked) or not _numeric(dtype):
            raise TypeError(f"{dtype} does not sum up to {asked}")
        return asked
    if dtype.kind in "bi":
        return _INT64
    if dtype.kind == "u":
        return _UINT64
    if is_extended(dtype) and not is_extended_float(dtype):
        return _UINT64 if dtype.name.startswith("u") else _INT64
    return _same(dtype, asked)


def _same(dtype: np.dtype, _asked: np.dtype | None) -> np.dtype:
    if not _numeric(dtype):
        raise TypeError(f"{dtype} is not a number")
    return dtype


def _floating(dtype: np.dtype, asked: np.dtype | None) -> np.dtype:
    """Means: floats keep their dtype, integers and bools give the default float."""
    kept = _same(dtype, asked)
    return kept if kept.kind in "fc" or is_extended_float(kept) else _FLOAT64


def _spreading(dtype: np.dtype, asked: np.dtype | None) -> np.dtype:
    """Variances: as means, but real also for complex numbers."""
    kept = _floating(dtype, asked)
    return np.dtype(f"f{kept.itemsize // 2}") if kept.kind == "c" else kept


def _always(result: np.dtype) -> Rule:
    def rule(dtype: np.dtype, asked: np.dtype | None) -> np.dtype:
        _same(dtype, asked)
        return result

    return rule


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Reduction:
    """One reduction.

    ``needs_values``: there is no result over zero elements. ``one_axis``: takes one axis or all.
    ``parameters``: names and defaults beyond axis and keepdims.

    >>> from lazytensor.plan.ops import REDUCTIONS
    >>> mean = REDUCTIONS["mean"]
    >>> x = np.arange(6).reshape(2, 3)
    >>> mean.whole(x, (1,))
    array([1., 4.])
    >>> left, right = mean.partial(x[:, :2], (1,)), mean.partial(x[:, 2:], (1,))
    >>> mean.finish(mean.merge(left, right), dtype=x.dtype, count=3)
    array([[1.],
           [4.]])
    """

    name: str
    rule: Rule
    algebra: Algebra
    needs_values: bool = False
    one_axis: bool = False
    parameters: tuple[tuple[str, Any], ...] = ()
    functions: tuple[str, ...] = ()
    doc: str
    note: str
    takes: str = "numbers"
    example: str = "[[1, 2], [3, 4]]"
    since: str = "2021.12"
    section: str = "statistical functions"

    def result_dtype(self, dtype: np.dtype, params: Params = _NONE) -> np.dtype:
        """Dtype of the result; ``DTypeError`` where the reduction is not defined."""
        try:
            return self.rule(dtype, params.get("dtype"))
        except TypeError:
            asked = params.get("dtype")
            wanted = f" with dtype={asked}" if asked is not None else ""
            raise DTypeError(
                f"{self.name} is not defined for {dtype}{wanted}: it takes {self.takes}"
            ) from None

    def partial(
        self,
        block: np.ndarray,
        axes: tuple[int, ...],
        *,
        offsets: tuple[int, ...] | None = None,
        shape: tuple[int, ...] | None = None,
        params: Params = _NONE,
    ) -> State:
        """State of one block over ``axes`` (ascending, not negative), kept as size 1.

        ``offsets`` is the position of the block's first element in the whole array and ``shape``
        the extents of that; only argmin and argmax look at them.
        """
        place = Place(offsets or (0,) * block.ndim, shape or block.shape)
        with np.errstate(all="ignore"):
            dtype = self.result_dtype(block.dtype, params)
            return self.algebra.partial(block, axes, dtype, place)

    def repeated(
        self,
        value: np.ndarray,
        count: int,
        kept: tuple[int, ...],
        axes: tuple[int, ...],
        *,
        offsets: tuple[int, ...] | None = None,
        shape: tuple[int, ...] | None = None,
        params: Params = _NONE,
    ) -> State | None:
        """State of elements that all are ``value`` (0-d), ``count`` of them for each result.

        As ``partial`` of a block of them, which nobody has to make. ``kept``: the shape of the
        state, 1 along ``axes``. ``offsets``: position of the first of them; ``shape``: extents of
        the whole array. None for reductions that have no such state.

        >>> from lazytensor.plan.ops import REDUCTIONS
        >>> state = REDUCTIONS["sum"].repeated(np.array(3), 10**18, (1, 2), (0,))
        >>> state[0].shape, int(state[0][0, 1])
        ((1, 2), 3000000000000000000)
        """
        repeat = self.algebra.repeat
        if repeat is None or count < 1:
            return None
        block = np.broadcast_to(value, (1,) * len(kept))
        one = self.partial(block, axes, offsets=offsets, shape=shape or kept, params=params)
        with np.errstate(all="ignore"):
            state = one if count == 1 else repeat(one, count)
        return tuple(np.broadcast_to(part, kept) for part in state)

    def merge(self, a: State, b: State) -> State:
        """State of the union of two disjoint sets of elements; ``a`` before ``b`` in C order."""
        with np.errstate(all="ignore"):
            return self.algebra.merge(a, b)

    def finish(
        self, state: State, *, dtype: np.dtype, count: int, params: Params = _NONE
    ) -> np.ndarray:
        """Values of a state, reduced axes kept as size 1.

        ``dtype`` is the operand's; ``count`` how many elements went into each value.
        """
        with np.errstate(all="ignore"):
            result = self.result_dtype(dtype, params)
            # Of no dims NumPy makes scalars, which are no arrays to what comes next.
            return np.asarray(self.algebra.finish(state, result, count, params))

    def whole(
        self,
        array: np.ndarray,
        axes: tuple[int, ...],
        *,
        keepdims: bool = False,
        params: Params = _NONE,
    ) -> np.ndarray:
        """The reduction of a whole array: one block, finished."""
        state = self.partial(array, axes, params=params)
        count = 1
        for axis in axes:
            count *= array.shape[axis]
        values = self.finish(state, dtype=array.dtype, count=count, params=params)
        return (
            values
            if keepdims
            else values.reshape(tuple(n for d, n in enumerate(array.shape) if d not in axes))
        )


_DTYPE = (("dtype", None),)
_CORRECTION = (("correction", 0.0),)
_SUM_NOTE = (
    "Integers are accumulated exactly in 64 bits and give int64 or uint64, floats keep their dtype "
    "and are accumulated in at least float64; ``dtype`` overrides both. Of no elements it is {}."
)
_MEAN_NOTE = "Floats keep their dtype, integers give float64. Of no elements it is NaN."
_SPREAD_NOTE = (
    "The sum of squares is divided by the number of elements less ``correction`` (1: unbiased). "
    + _MEAN_NOTE
)
_FIRST_NOTE = (
    "The index counts positions, over the flattened tensor in C order if ``axis`` is None. Of "
    "equal values the first counts, of NaN the first before all. The dtype is int64."
)
_EXTREME_NOTE = (
    "NaN gives NaN; of zeros of both signs the result is {}. The dtype is that of ``x``."
)

ROWS: tuple[Reduction, ...] = (
    Reduction(
        name="all",
        rule=_always(_BOOL),
        algebra=states.ALL,
        functions=("all",),
        doc="Whether every element is true, that is, not 0.",
        note="NaN counts as true. Of no elements it is True. The dtype is bool.",
        example="[[True, False], [True, True]]",
        section="utility functions",
    ),
    Reduction(
        name="any",
        rule=_always(_BOOL),
        algebra=states.ANY,
        functions=("any",),
        doc="Whether some element is true, that is, not 0.",
        note="NaN counts as true. Of no elements it is False. The dtype is bool.",
        example="[[False, False], [True, False]]",
        section="utility functions",
    ),
    Reduction(
        name="argmax",
        rule=_always(_INT64),
        algebra=states.ARGMAX,
        needs_values=True,
        one_axis=True,
        functions=("argmax",),
        doc="Index of the greatest element.",
        note=_FIRST_NOTE,
        section="searching functions",
    ),
    Reduction(
        name="argmin",
        rule=_always(_INT64),
        algebra=states.ARGMIN,
        needs_values=True,
        one_axis=True,
        functions=("argmin",),
        doc="Index of the smallest element.",
        note=_FIRST_NOTE,
        section="searching functions",
    ),
    Reduction(
        name="count_nonzero",
        rule=_always(_INT64),
        algebra=states.COUNT,
        functions=("count_nonzero",),
        doc="Number of elements that are not 0.",
        note="NaN counts as not 0. The dtype is int64.",
        example="[[1, 0], [3, 4]]",
        since="2024.12",
        section="searching functions",
    ),
    Reduction(
        name="max",
        rule=_same,
        algebra=states.MAX,
        needs_values=True,
        functions=("max", "amax"),
        doc="Greatest element.",
        note=_EXTREME_NOTE.format("0.0"),
    ),
    Reduction(
        name="mean",
        rule=_floating,
        algebra=states.MEAN,
        functions=("mean",),
        doc="Arithmetic mean.",
        note=_MEAN_NOTE,
    ),
    Reduction(
        name="min",
        rule=_same,
        algebra=states.MIN,
        needs_values=True,
        functions=("min", "amin"),
        doc="Smallest element.",
        note=_EXTREME_NOTE.format("-0.0"),
    ),
    Reduction(
        name="prod",
        rule=_accumulating,
        algebra=states.PROD,
        parameters=_DTYPE,
        functions=("prod",),
        doc="Product of the elements.",
        note=_SUM_NOTE.format(1),
    ),
    Reduction(
        name="std",
        rule=_spreading,
        algebra=states.STD,
        parameters=_CORRECTION,
        functions=("std",),
        doc="Standard deviation.",
        note=_SPREAD_NOTE,
    ),
    Reduction(
        name="sum",
        rule=_accumulating,
        algebra=states.SUM,
        parameters=_DTYPE,
        functions=("sum",),
        doc="Sum of the elements.",
        note=_SUM_NOTE.format(0),
    ),
    Reduction(
        name="var",
        rule=_spreading,
        algebra=states.VAR,
        parameters=_CORRECTION,
        functions=("var",),
        doc="Variance.",
        note=_SPREAD_NOTE,
    ),
)
