"""The rows: what is timed, and what each row is called in the tables.

A row is data, so that the coordinator, which reads nothing, and the servers, which know one
library each, agree on it without importing each other.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CONTENDERS", "OURS", "ROWS", "SMALL", "Row", "Small", "chosen"]

OURS = "lazytensor"

CONTENDERS = (OURS, "floor", "tensorstore", "zarr-python", "zarrs", "dask")
"""Everything that answers requests; ``floor`` is no library but the bound (see ``floor.py``)."""


@dataclass(frozen=True)
class Row:
    """One action on one store, with the output fresh or given."""

    key: str
    label: str
    store: str
    action: str = "read"


ROWS = (
    Row("read-raw", "read all, 64³ chunks, raw", "raw"),
    Row("read-lz4", "read all, 64³ chunks, blosc-lz4", "lz4"),
    Row("read-zstd", "read all, 64³ chunks, zstd-1", "zstd"),
    Row("read-bitshuffle", "read all, 64³ chunks, blosc-zstd bitshuffle", "bitshuffle"),
    Row("read-small", "read all, 32³ chunks, blosc-lz4", "small"),
    Row("read-sharded", "read all, 32³ in 256³ shards, blosc-zstd bitshuffle", "sharded"),
    Row("crop-raw", "crop (200/512)³, raw", "raw", "crop"),
    Row("crop-lz4", "crop (200/512)³, blosc-lz4", "lz4", "crop"),
    Row("halve-raw", "downsample 2×2×2 mean, raw", "raw", "halve"),
    Row("halve-lz4", "downsample 2×2×2 mean, blosc-lz4", "lz4", "halve"),
)


@dataclass(frozen=True)
class Small:
    """One case of ``small.py`` or ``plan_building.py``, in microseconds; how often in one round."""

    key: str
    label: str
    number: int = 200


SMALL = (
    Small("plan-new", "plan building, per operation, every plan a new one"),
    Small("plan-again", "plan building, per operation, the same plan again"),
    Small("index-box-3", "index a transform with a box, rank 3", 2000),
    Small("index-box-5", "index a transform with a box, rank 5", 2000),
    Small("compose-3", "compose two transforms, rank 3", 2000),
    Small("compose-5", "compose two transforms, rank 5", 2000),
    Small("collect-0d", "`(x + 1).collect()`, 0-d in memory"),
    Small("collect-10x10", "`(x + 1).collect()`, 10 × 10 in memory"),
    Small("corner", "8³ corner of a 10¹⁵-element virtual array", 50),
)


def chosen(patterns: list[str]) -> tuple[list[Row], list[Small]]:
    """The rows whose key contains one of ``patterns``; all of them if there are none.

    Raises ``ValueError`` when nothing matches.
    """

    def wanted(key: str) -> bool:
        return not patterns or any(pattern in key for pattern in patterns)

    rows = [row for row in ROWS if wanted(row.key)]
    small = [case for case in SMALL if wanted(case.key)]
    if not rows and not small:
        keys = ", ".join(row.key for row in (*ROWS, *SMALL))
        raise ValueError(f"no row matches {patterns}; there are {keys}")
    return rows, small
