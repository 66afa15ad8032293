"""The floor of a workload: what no reader built on the same decoders can beat by much.

Every stored unit that the workload needs is read and decoded once, on all cores, into a scratch
block that stays in the cache, and the output is touched once, front to back. There is no metadata,
no plan, no grid and no strided copy; the list of units is made ahead of the clock. What remains of
Python is one short loop a unit, some microseconds, which is visible for 64 KiB units only.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from data import STORES

__all__ = ["Floor"]

_DTYPE = np.dtype("u2")

Decode = Callable[[Any, np.ndarray], Any]


@dataclass(frozen=True)
class Unit:
    """One encoded chunk: ``size`` bytes at ``start`` of an open file, and its place in the grid."""

    file: int
    start: int
    size: int
    index: tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """The units of one workload and the shape of what it returns; ``decode`` None: stored raw."""

    units: tuple[Unit, ...]
    edge: int
    shape: tuple[int, ...]
    decode: Decode | None


class Floor:
    """A contender that returns arrays of the right size with their elements in any order."""

    def __init__(self) -> None:
        import numcodecs.blosc

        # Its global state takes a lock; without it each call has a context of its own.
        numcodecs.blosc.use_threads = False
        self._count = len(os.sched_getaffinity(0))
        self._threads = ThreadPoolExecutor(self._count)

    def open(self, path: Path) -> Work:
        shape = tuple(json.loads((path / "zarr.json").read_text(encoding="utf-8"))["shape"])
        store = STORES[path.name]
        inner, outer = store.inner(shape[0]), store.outer(shape[0])
        units = [
            unit
            for file in sorted((path / "c").rglob("*"))
            if file.is_file()
            for unit in _units(file, [int(part) for part in file.parts[-3:]], outer // inner)
        ]
        if len(units) * inner**3 != shape[0] ** 3:
            raise ValueError(f"{path} holds {len(units)} units of {inner}³, not all of {shape}")
        return Work(tuple(units), inner, shape, _decoder(store.codec))

    def crop(self, x: Work, box: tuple[slice, ...]) -> Work:
        def hit(unit: Unit) -> bool:
            return all(
                i * x.edge < side.stop and (i + 1) * x.edge > side.start
                for i, side in zip(unit.index, box, strict=True)
            )

        shape = tuple(side.stop - side.start for side in box)
        return replace(x, units=tuple(filter(hit, x.units)), shape=shape)

    def halve(self, x: Work) -> Work:
        return replace(x, shape=tuple(extent // 2 for extent in x.shape))

    def fresh(self, x: Work) -> np.ndarray:
        out = np.empty(x.shape, _DTYPE)
        self.into(x, out)
        return out

    def into(self, x: Work, out: np.ndarray) -> None:
        counter = itertools.count()
        runs = [self._threads.submit(_run, x, out.reshape(-1), counter) for _ in range(self._count)]
        for run in runs:
            run.result()


def _units(file: Path, place: list[int], per_side: int) -> Iterator[Unit]:
    """The encoded chunks of a file, which stays open for the life of the process."""
    handle = os.open(file, os.O_RDONLY)
    if per_side == 1:
        yield Unit(handle, 0, os.fstat(handle).st_size, tuple(place))
        return
    # A shard ends with its index: offset and size of each chunk, then a checksum of 4 bytes.
    tail = per_side**3 * 16 + 4
    table = np.frombuffer(os.pread(handle, tail, os.fstat(handle).st_size - tail)[:-4], "<u8")
    for number, (start, size) in enumerate(table.reshape(-1, 2).tolist()):
        within = np.unravel_index(number, (per_side,) * 3)
        index = tuple(p * per_side + int(i) for p, i in zip(place, within, strict=True))
        yield Unit(handle, start, size, index)


def _decoder(codec: str) -> Decode | None:
    from numcodecs import blosc, zstd

    decoders: dict[str, Decode] = {"zstd": zstd.decompress}
    return None if codec == "raw" else decoders.get(codec, blosc.decompress)


_hot = threading.local()


def _scratch(work: Work) -> tuple[np.ndarray, memoryview]:
    """Blocks of this thread for a decoded and an encoded unit, kept from run to run."""
    if getattr(_hot, "work", None) is not work:
        _hot.work = work
        _hot.decoded = np.empty(work.edge**3, _DTYPE)
        _hot.encoded = memoryview(bytearray(max(unit.size for unit in work.units)))
    return _hot.decoded, _hot.encoded


def _run(work: Work, flat: np.ndarray, counter: Iterator[int]) -> None:
    scratch, encoded = _scratch(work)
    share = -(-flat.size // len(work.units))
    for number in counter:
        if number >= len(work.units):
            return
        unit = work.units[number]
        if work.decode is None:
            os.preadv(unit.file, [scratch.data], unit.start)
        else:
            piece = encoded[: unit.size]
            os.preadv(unit.file, [piece], unit.start)
            work.decode(piece, scratch)
        part = flat[number * share : (number + 1) * share]
        np.copyto(part, scratch[: part.size])
