"""Some rows of a Polars ``LazyFrame``, by number, of which unwanted columns are still not read.

``frame.select(pl.all().gather(rows))`` says the same, but Polars then reads every column.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars as pl

__all__ = ["rows_of"]


def rows_of(frame: pl.LazyFrame, rows: np.ndarray) -> pl.LazyFrame:
    """A ``LazyFrame`` of some rows of another one, in the order given.

    >>> import polars as pl
    >>> rows_of(pl.LazyFrame({"a": [1, 2, 3], "b": [4, 5, 6]}), np.array([2, 0])).collect()["b"]
    shape: (2,)
    Series: 'b' [i64]
    [
        6
        4
    ]
    """
    from polars.io.plugins import register_io_source

    schema = frame.collect_schema()

    def read(
        names: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, size: int | None
    ) -> Iterator[pl.DataFrame]:
        wanted = schema.names() if names is None else list(names)
        needed = [] if predicate is None else predicate.meta.root_names()
        more = [name for name in needed if name not in wanted]
        found = frame.select(wanted + more).collect()
        picked = found[rows if n_rows is None else rows[:n_rows]]
        if predicate is not None:
            picked = picked.filter(predicate)
        yield picked.select(wanted)

    return register_io_source(read, schema=schema, is_pure=True, explain_name=f"{len(rows)} rows")
