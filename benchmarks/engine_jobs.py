"""What ``engine.py`` times: work that is computed while it is read, and work on many small pieces.

A job is data, as rows are in ``workloads.py``. Its goals say how many times as long as we take the
peers are to need: for a result in fresh memory, and for one in memory that is used again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["JOBS", "OURS", "PEERS", "SOME", "Job", "chosen_jobs"]

OURS = "lazytensor"
PEERS = (
    "tensorstore", "numexpr", "zarrs", "zarr-python", "dask", "xarray", "blosc2 (in memory)",
)  # fmt: skip
SOME = (OURS, "floor", *PEERS)
"""Contenders in the order of the columns."""

BEST = "best peer"

_NONE: Mapping[str, float] = MappingProxyType({})
_BOTH = ("fresh", "given")


@dataclass(frozen=True)
class Job:
    """One kind of work on one store (none: it is about arrays in memory).

    ``outputs``: whether the result is new memory, or memory that is given. ``goals``: by peer, and
    by peer and output, the ratio wanted. ``at_most``: seconds that it may take at all.
    ``times``: how often it is done for one time to be taken.
    """

    kind: str
    store: str
    label: str
    outputs: tuple[str, ...] = _BOTH
    goals: Mapping[str, float] = field(default_factory=lambda: _NONE)
    given_goals: Mapping[str, float] | None = None
    at_most: float | None = None
    times: int = 1

    @property
    def key(self) -> str:
        """What ``--rows`` looks at."""
        return f"{self.kind}-{self.store}" if self.store else self.kind

    def goals_of(self, output: str) -> Mapping[str, float]:
        """The ratios wanted, by peer."""
        if output == "given" and self.given_goals is not None:
            return self.given_goals
        return self.goals


_STORES = {
    "raw": "raw",
    "lz4": "blosc-lz4",
    "zstd": "zstd-1",
    "bitshuffle": "blosc-zstd bitshuffle",
    "sharded": "shards of 32³ blosc-zstd",
    "small": "32³ blosc-lz4",
}


def _read(store: str, fresh: float, given: float, zarrs: float = 1.1) -> Job:
    return Job(
        "read",
        store,
        f"read all, {_STORES[store]}",
        goals={"tensorstore": fresh, "zarrs": zarrs},
        given_goals={"tensorstore": given},
    )


def _on(kind: str, label: str, goals: Mapping[str, float]) -> tuple[Job, ...]:
    """The same on several stores: by store the ratio to the best peer."""
    return tuple(
        Job(kind, store, f"{label}, {_STORES[store]}", goals={BEST: goal} if goal else _NONE)
        for store, goal in goals.items()
    )


_DONE = ("fresh",)

JOBS = (
    _read("raw", 2.8, 2.4),
    _read("lz4", 2.0, 1.6),
    _read("zstd", 1.75, 1.6),
    _read("bitshuffle", 1.75, 1.6),
    _read("sharded", 1.7, 1.6, 1.3),
    _read("small", 1.7, 1.6),
    *_on("crop", "crop 200³", {"lz4": 1.2, "bitshuffle": 1.4, "raw": 0}),
    *_on("strided", "every 2nd", {"lz4": 1.35, "raw": 1.7}),
    *_on("cast", "cast to float32", {"lz4": 2.3, "raw": 3.5}),
    *_on("mean", "downsample 2×2×2 mean", {"lz4": 1.7, "raw": 0}),
    *_on("max", "downsample 2×2×2 max", {"lz4": 1.5, "raw": 0}),
    *_on("median", "downsample 2×2×2 median", {"lz4": 5.5, "raw": 0}),
    *_on("mode", "downsample 2×2×2 mode", {"lz4": 6.0, "raw": 0}),
    *_on("chain", "`((x - 100) * 0.5).round().clip(0, 255)` as uint8", {"lz4": 6.0, "raw": 10.0}),
    *(
        Job("spread", store, f"mean and std in one pass, {_STORES[store]}", _DONE, {BEST: 6.0})
        for store in ("lz4", "raw")
    ),
    *(
        Job("counts", store, f"histogram of 65 536 values, {_STORES[store]}", _DONE, {BEST: 9.0})
        for store in ("lz4", "raw")
    ),
    *(
        Job(
            "projection",
            store,
            f"max projection over z, {_STORES[store]}",
            goals={"tensorstore": 2.8, "blosc2 (in memory)": 1.8},
        )
        for store in ("lz4", "raw")
    ),
    Job("tiles-random", "", "1 000 overlapping tiles over a background, all", _DONE,
        {"tensorstore": 100}),
    Job("tiles-random-window", "", "... a window of 200²", _DONE, {"tensorstore": 1.5}, times=20),
    Job("tiles-apart", "", "961 tiles side by side, all", _DONE, {"tensorstore": 3}),
    Job("tiles-apart-window", "", "... a window of 200²", _DONE, {"tensorstore": 1.5}, times=20),
    Job("mosaic", "", "mosaic of 10 000 tiles, all", _DONE, {"tensorstore": 3}),
    Job("mosaic-window", "", "... a window of 200²", _DONE, {"tensorstore": 1.5}, times=20),
    Job("mosaic-build", "", "... built of its layers", _DONE, at_most=0.05),
    Job("batches", "lz4", "1 000 random tiles of 64³ in batches of 16, cache of 256 MiB", _DONE,
        {"tensorstore": 1.5, "tensorstore stacked": 3.0}),
)  # fmt: skip


def chosen_jobs(patterns: list[str]) -> list[Job]:
    """Jobs whose key contains one of ``patterns``; all of them if there are none."""
    found = [job for job in JOBS if not patterns or any(part in job.key for part in patterns)]
    if not found:
        raise ValueError(f"no row matches {patterns}; there are {', '.join(j.key for j in JOBS)}")
    return found
