"""The texts of compiled folds: which totals of which dtype, as runs or as rows.

Text, and not a module, because every combination of dtype and totals is code of its own; it only
names what it is made of (``native.kernels.fold_lanes``, ``fold_cells``). Extents, strides and
addresses come in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

__all__ = ["PLANES", "SPREAD", "planes_of", "tally_text", "totals_text"]

SPREAD = "spread"
"""Count, mean and sum of squared deviations, from two looks at the values; goes with
``float_sum``."""

PLANES = {
    "sum": 1, "float_sum": 2, "squares": 1, "least": 1, "greatest": 1, "nonzero": 1, SPREAD: 3,
}  # fmt: skip
"""How many cells each total has for each position that is kept."""

_ADDS = {
    "sum": "add({cell}, {found})",
    "float_sum": "add_float({cell}, plane, as_float({found}))",
    "squares": "add({cell}, {found})",
    "least": "keep_least({cell}, {found})",
    "greatest": "keep_greatest({cell}, {found})",
    "nonzero": "add({cell}, {found})",
}

_HEAD = """\
from lazytensor.native.intrinsics import f64, inner
from lazytensor.native.kernels.fold_block import WIDTH
from lazytensor.native.kernels.fold_cells import (
    add, add_float, as_float, keep_greatest, keep_least, merge_spread,
)
from lazytensor.native.kernels.fold_lanes import (
    cell_lanes, row_lanes, row_spread, run_lanes, run_spread,
)
from lazytensor.native.kernels.folds import clear, rows_kernel, runs_kernel
from lazytensor.native.kernels.memory import word

DTYPE, NAMES = {dtype!r}, {names!r}
STEP = 8 * WIDTH
"""

_RUNS = """
lanes = run_lanes(DTYPE, NAMES)

@inner
def take(at, n, cell, plane, found):
    lanes(at, n, found)
{adds}

kernel = runs_kernel(take)
"""

_RUNS_TWICE = """
lanes, deviations = run_lanes(DTYPE, NAMES), run_spread(DTYPE)

@inner
def take(at, n, cell, plane, found):
    lanes(at, n, found)
{adds}
    mean = as_float(word(found, {float_sum})) / n
    deviations(at, n, mean, found)
    rest, squares = f64(found)[0], f64(found)[1]
    merge_spread(cell + {place} * plane, plane, n, mean, rest, squares)

kernel = runs_kernel(take)
"""

_ROWS = """
first, further = row_lanes(DTYPE, NAMES)
meet = cell_lanes(DTYPE, NAMES, {places!r})

@inner
def begin(columns, at, n):
    first(columns, STEP, at, n)

@inner
def more(columns, at, n):
    further(columns, STEP, at, n)

@inner
def leave(columns, first, n, cell, apart, plane, rows):
    if apart == 8:
        meet(columns, STEP, first, cell, plane, n)
        return
    for k in range(n):
        meet(columns, STEP, first + k, cell + k * apart, plane, 1)
"""

_ROWS_ONCE = """
kernel = rows_kernel(begin, more, None, None, leave)
"""

_ROWS_TWICE = """
deviations = row_spread(DTYPE)
MEANS = {count} * STEP

@inner
def centre(columns, n, rows):
    sums, means = f64(columns + {float_sum} * STEP), f64(columns + MEANS)
    for j in range(n):
        means[j] = sums[j] / rows
    clear(columns + MEANS + STEP, 8 * n)
    clear(columns + MEANS + 2 * STEP, 8 * n)

@inner
def again(columns, at, n):
    deviations(columns + MEANS + STEP, STEP, columns + MEANS, at, n)

@inner
def leave_all(columns, first, n, cell, apart, plane, rows):
    leave(columns, first, n, cell, apart, plane, rows)
    means = columns + MEANS
    rests, squares = f64(means + STEP), f64(means + 2 * STEP)
    for k in range(n):
        to, j = cell + {place} * plane + k * apart, first + k
        merge_spread(to, plane, rows, f64(means)[j], rests[j], squares[j])

kernel = rows_kernel(begin, more, centre, again, leave_all)
"""

_TALLY = """\
from lazytensor.native.kernels.fold_tally import tally
from lazytensor.native.kernels.folds import runs_kernel

kernel = runs_kernel(tally({dtype!r}))
"""


def planes_of(names: Sequence[str]) -> dict[str, int]:
    """The number of the first plane of each total.

    >>> planes_of(("float_sum", "least"))
    {'float_sum': 0, 'least': 2}
    """
    out, number = {}, 0
    for name in names:
        out[name] = number
        number += PLANES[name]
    return out


def _adds(names: Sequence[str]) -> str:
    """Lines that add what was found to the cells."""
    planes = planes_of(names)
    return "\n".join(
        "    "
        + _ADDS[name].format(cell=f"cell + {planes[name]} * plane", found=f"word(found, {i})")
        for i, name in enumerate(names)
    )


@lru_cache(maxsize=256)
def totals_text(dtype: str, names: tuple[str, ...], *, rows: bool) -> str:
    """The source of a fold.

    ``dtype``: kind and size, as in ``"u2"``. ``names``: of ``PLANES``, ``SPREAD`` last. ``rows``:
    whether positions side by side are folded, not values.

    >>> "rows_kernel(" in totals_text("u2", ("greatest",), rows=True)
    True
    """
    twice = SPREAD in names
    once = tuple([name for name in names if name != SPREAD])
    head = _HEAD.format(dtype=dtype, names=once)
    values = {
        "float_sum": once.index("float_sum") if twice else 0,
        "place": planes_of(names).get(SPREAD, 0),
        "count": len(once),
    }
    if not rows:
        body = _RUNS_TWICE if twice else _RUNS
        return head + body.format(adds=_adds(once), **values)
    places = planes_of(names)
    text = _ROWS.format(places=tuple([places[name] for name in once]))
    return head + text + (_ROWS_TWICE.format(**values) if twice else _ROWS_ONCE)


def tally_text(dtype: str) -> str:
    """The source of a fold that counts leading digits of keys."""
    return _TALLY.format(dtype=dtype)
