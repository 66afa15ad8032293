"""The texts of compiled folds: which totals of which dtype, as runs or as rows.

Text, and not a module, because every combination of dtype and totals is code of its own; it only
names what it is made of (``native.kernels.fold_lanes``, ``fold_cells``). Extents, strides and
addresses come in words.
"""

from __future__ import annotations

from functools import lru_cache

__all__ = ["NAMES", "tally_text", "totals_text"]

NAMES = ("sum", "squares", "least", "greatest", "finite_least", "finite_greatest", "nonzero")
"""The totals there are: a cell each, for each position that is kept."""

_ADDS = {
    "sum": "add({cell}, {found})",
    "squares": "add({cell}, {found})",
    "least": "keep_least({cell}, {found})",
    "greatest": "keep_greatest({cell}, {found})",
    "finite_least": "keep_least({cell}, {found})",
    "finite_greatest": "keep_greatest({cell}, {found})",
    "nonzero": "add({cell}, {found})",
}

_HEAD = """\
from lazytensor.native.intrinsics import inner
from lazytensor.native.kernels.fold_block import WIDTH
from lazytensor.native.kernels.fold_cells import add, keep_greatest, keep_least
from lazytensor.native.kernels.fold_lanes import cell_lanes, row_lanes, run_lanes
from lazytensor.native.kernels.folds import rows_kernel, runs_kernel
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

_ROWS = """
first, further = row_lanes(DTYPE, NAMES)
meet = cell_lanes(DTYPE, NAMES)

@inner
def begin(columns, n):
    first(columns, STEP, n)

@inner
def more(columns, at, rows, apart, n):
    further(columns, STEP, at, rows, apart, n)

@inner
def leave(columns, first, n, cell, apart, plane):
    if apart == 8:
        meet(columns, STEP, first, cell, plane, n)
        return
    for k in range(n):
        meet(columns, STEP, first + k, cell + k * apart, plane, 1)

kernel = rows_kernel(begin, more, leave)
"""

_TALLY = """\
from lazytensor.native.kernels.fold_tally import tally
from lazytensor.native.kernels.folds import runs_kernel

kernel = runs_kernel(tally({dtype!r}))
"""


@lru_cache(maxsize=256)
def totals_text(dtype: str, names: tuple[str, ...], *, rows: bool) -> str:
    """The source of a fold.

    ``dtype``: kind and size, as in ``"u2"``. ``names``: of ``NAMES``. ``rows``: whether positions
    side by side are folded, not values.

    >>> "rows_kernel(" in totals_text("u2", ("greatest",), rows=True)
    True
    """
    head = _HEAD.format(dtype=dtype, names=names)
    if rows:
        return head + _ROWS
    adds = [
        "    " + _ADDS[name].format(cell=f"cell + {i} * plane", found=f"word(found, {i})")
        for i, name in enumerate(names)
    ]
    return head + _RUNS.format(adds="\n".join(adds))


def tally_text(dtype: str) -> str:
    """The source of a fold that counts leading digits of keys."""
    return _TALLY.format(dtype=dtype)
