"""The states of reductions (``plan.ops_state``) from what was folded.

Which totals each operation needs of each dtype, and what its state is, given them: a table of the
operations that are folded. What is exact is folded into cells (``exec.kernels.folds``), sums of
floats into slots (``exec.kernels.lanes``). The others are computed by NumPy, from blocks in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lazytensor.exec.kernels.folds import Cells, fold_name
from lazytensor.exec.kernels.lanes import Slots
from lazytensor.plan.ops_lanes import spread_of_slots, sum_of_slots
from lazytensor.plan.ops_state import State, spread_of_sums, sums_as_floats
from lazytensor.plan.source import Box

__all__ = ["InLanes", "Wanted", "wanted_totals"]


class Wanted(NamedTuple):
    """What a member of a pass needs folded: totals by name, or a table of so many counts.

    ``state(cells, count, box)``: what it makes of them, ``count`` values having gone into each
    position.
    """

    names: tuple[str, ...]
    state: Callable[[Cells, int, Box], Any]
    table: int = 0


class InLanes(NamedTuple):
    """What a member needs summed in lanes (``plan.ops_lanes``), compiled code or none.

    ``state(slots, axes)``: what it makes of them, ``axes`` being reduced and kept as size 1.
    ``spread``: whether it takes more than sums.
    """

    state: Callable[[Slots, tuple[int, ...]], State]
    spread: bool = False


_Conclude = Callable[[Cells, int], State]
_Choice = tuple[tuple[str, ...], _Conclude] | InLanes

_INT64, _UINT64 = np.dtype(np.int64), np.dtype(np.uint64)


def _signed_sum(cells: Cells, _count: int) -> State:
    return (cells.words("sum"),)


def _unsigned_sum(cells: Cells, _count: int) -> State:
    return (cells.words("sum").view(_UINT64),)


def _sum_as_floats(cells: Cells, _count: int) -> State:
    return sums_as_floats((cells.words("sum"),))


def _sum_in_lanes(slots: Slots, axes: tuple[int, ...]) -> State:
    return sum_of_slots(slots.sums, axes)


def _spread_in_lanes(slots: Slots, axes: tuple[int, ...]) -> State:
    assert slots.means is not None
    assert slots.squares is not None
    return spread_of_slots(slots.rows, slots.means, slots.squares, axes)


def _sums_spread(cells: Cells, count: int) -> State:
    return spread_of_sums(count, cells.words("sum"), cells.words("squares"))


def _least(cells: Cells, _count: int) -> State:
    return (cells.extremes("least"),)


def _greatest(cells: Cells, _count: int) -> State:
    return (cells.extremes("greatest"),)


def _finite_least(cells: Cells, _count: int) -> State:
    return (cells.extremes("finite_least"),)


def _finite_greatest(cells: Cells, _count: int) -> State:
    return (cells.extremes("finite_greatest"),)


def _any(cells: Cells, _count: int) -> State:
    return (cells.words("nonzero") != 0,)


def _all(cells: Cells, count: int) -> State:
    return (cells.words("nonzero") == count,)


def _nonzero(cells: Cells, _count: int) -> State:
    return (cells.words("nonzero"),)


def _is_short(dtype: np.dtype) -> bool:
    """Integers whose squares add up without loss."""
    return dtype.kind in "biu" and dtype.itemsize <= 2


def _sum_choice(dtype: np.dtype) -> _Choice | None:
    if dtype.kind == "f":
        return InLanes(_sum_in_lanes) if dtype.itemsize > 2 else None
    return ("sum",), _unsigned_sum if dtype.kind == "u" else _signed_sum


def _mean_choice(dtype: np.dtype) -> _Choice | None:
    if dtype.kind == "f":
        return _sum_choice(dtype)
    if _is_short(dtype):
        return ("sum",), _signed_sum
    # Of 64 bits, integers could leave them.
    return (("sum",), _sum_as_floats) if dtype.itemsize == 4 else InLanes(_sum_in_lanes)


def _spread_choice(dtype: np.dtype) -> _Choice | None:
    if _is_short(dtype):
        return ("sum", "squares"), _sums_spread
    return InLanes(_spread_in_lanes, spread=True) if dtype.itemsize > 2 else None


_CHOICES: Mapping[str, Callable[[np.dtype], _Choice | None]] = {
    "sum": _sum_choice,
    "mean": _mean_choice,
    "var": _spread_choice,
    "std": _spread_choice,
    "min": lambda dtype: (("least",), _least),
    "max": lambda dtype: (("greatest",), _greatest),
    "finite_min": lambda dtype: (("finite_least",), _finite_least) if dtype.kind == "f" else None,
    "finite_max": lambda dtype: (
        (("finite_greatest",), _finite_greatest) if dtype.kind == "f" else None
    ),
    "any": lambda dtype: (("nonzero",), _any),
    "all": lambda dtype: (("nonzero",), _all),
    "count_nonzero": lambda dtype: (("nonzero",), _nonzero),
}


def wanted_totals(op: str, dtype: np.dtype, params: Mapping[str, Any]) -> Wanted | InLanes | None:
    """What a reduction of the operation table needs folded; None where it is not folded.

    >>> wanted_totals("std", np.dtype("u2"), {}).names
    ('sum', 'squares')
    >>> wanted_totals("prod", np.dtype("u2"), {}) is None
    True
    """
    if op not in _CHOICES or fold_name(dtype) is None or params.get("dtype") is not None:
        return None
    chosen = _CHOICES[op](dtype)
    if chosen is None or isinstance(chosen, InLanes):
        return chosen
    names, conclude = chosen
    return Wanted(names, lambda cells, count, _box: conclude(cells, count))
