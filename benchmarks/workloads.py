"""The rows: what is timed, and what each row is called in the tables.

A row is data, so that the coordinator, which reads nothing, and the servers, which know one
library each, agree on it without importing each other.
"""

from __future__ import annotations

from dataclasses import dataclass

from data import SCALES, Store

__all__ = ["CONTENDERS", "FUSED", "OURS", "ROWS", "SMALL", "Row", "Small", "chosen"]

OURS = "lazytensor"
FUSED = "zarr-python fused"

CONTENDERS = (OURS, "floor", "tensorstore", "zarrs", "zarr-python", FUSED, "dask")
"""Everything that answers requests; ``floor`` is no library but the bound (see ``floor.py``)."""

_BOX_BY_BOX = ("chunks", "inner")
_LABELS = {
    "read": "read all",
    "chunks": "chunk by chunk",
    "inner": "inner chunk by inner chunk",
    "strided": "strided view, every 2nd",
    "crop": "crop (200/512)³",
    "halve": "downsample 2×2×2 mean",
}
_CODECS = {
    "raw": "raw",
    "lz4": "blosc-lz4",
    "bitshuffle": "blosc-zstd bitshuffle",
    "zstd": "zstd",
    "zstd-1": "zstd-1",
    "gzip": "gzip",
}


@dataclass(frozen=True)
class Row:
    """One action on one store, the result in fresh memory or in memory that is given."""

    scale: str
    name: str
    action: str
    given: bool

    @property
    def store(self) -> Store:
        """How the array of the row is stored."""
        return SCALES[self.scale].stores[self.name]

    @property
    def key(self) -> str:
        """What ``--rows`` looks at, as ``count-read-lz4-given``."""
        return f"{self.scale}-{self.action}-{self.name}-{self.output}"

    @property
    def label(self) -> str:
        """What the table says."""
        codec = _CODECS[self.store.codec]
        where = f"{codec} in shards" if self.store.shard else codec
        if self.scale == "large" and self.store.chunk != 64:
            where = f"{self.store.chunk}³ {where}"
        return f"{_LABELS[self.action]}, {where}"

    @property
    def output(self) -> str:
        """``fresh`` or ``given``."""
        return "given" if self.given else "fresh"

    @property
    def with_dask(self) -> bool:
        """One task a file, and not too small a file, is what dask is made for."""
        suits = not self.store.shard and self.store.chunk >= 64
        return suits and self.action in ("read", "halve", "crop")


def _rows_of(scale: str, action: str) -> list[Row]:
    stores = SCALES[scale].stores
    if action == "inner":
        # Where there are no inner chunks it would be the workload before.
        names = [name for name, store in stores.items() if store.shard]
    elif scale == "large" and action != "read":
        names = ["raw", "lz4"]
    else:
        names = list(stores)
    # A result a call is what one asks for who goes box by box.
    outputs = (False,) if action in _BOX_BY_BOX else (False, True)
    return [Row(scale, name, action, given) for name in names for given in outputs]


ROWS = tuple(
    row for name, scale in SCALES.items() for action in scale.actions
    for row in _rows_of(name, action)
)  # fmt: skip


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
