"""The floor of a workload: what no reader built on the same decoders can beat by much.

Every stored unit that the workload needs is read and decoded once, on all cores, into a scratch
block that stays in the cache, and the output is touched once, front to back. There is no metadata,
no plan, no grid and no strided copy; the list of units is made ahead of the clock.

A loop in Python over units of 8 KiB would be no floor: it costs as much as decoding them, and its
threads take turns. Units that lie behind each other in a file are therefore read in one call and
decoded by a compiled loop that needs no interpreter. Its decoders are the ones that numcodecs
ships; gzip has none there and goes through isal, one call a unit.

A floor can be beaten, by decoders of one's own and by reading only some of the bytes of a raw unit.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Floor"]

_DTYPE = np.dtype("u2")
_TOGETHER = 512 << 10
"""Encoded bytes that are read with one call: what fits into a core's cache beside the output."""

Decode = Callable[[np.ndarray, "Piece", np.ndarray, np.ndarray, int], None]
"""Encoded bytes, what lies in them, scratch, output, and how much of it each unit touches."""


@dataclass(frozen=True)
class Unit:
    """One encoded chunk: ``size`` bytes at ``start`` of an open file."""

    file: int
    start: int
    size: int


@dataclass(frozen=True)
class Piece:
    """Units that are read together; ``starts`` count from the first byte that is read."""

    file: int
    start: int
    size: int
    starts: np.ndarray
    sizes: np.ndarray


@dataclass(frozen=True)
class Work:
    """The units of one workload and the shape of what it returns."""

    units: dict[tuple[int, ...], Unit]
    pieces: tuple[Piece, ...]
    edge: int
    shape: tuple[int, ...]
    codec: str

    @property
    def decoded(self) -> int:
        """Bytes of a decoded unit."""
        return self.edge ** len(next(iter(self.units))) * _DTYPE.itemsize


class Floor:
    """A contender that returns arrays of the right size with their elements in any order.

    ``threads`` work on each; by default as many as there are processors for this process.
    """

    def __init__(self, threads: int | None = None) -> None:
        # The caller works too, as anybody's best loop would have it.
        self._helpers = (threads or len(os.sched_getaffinity(0))) - 1
        self._threads = ThreadPoolExecutor(max(1, self._helpers))

    def open(self, path: Path) -> Work:
        document = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
        outer, codecs = _edge(document["chunk_grid"]["configuration"]), document["codecs"]
        inner = outer
        if codecs[0]["name"] == "sharding_indexed":
            inner, codecs = _edge(codecs[0]["configuration"]), codecs[0]["configuration"]["codecs"]
        units = dict(
            found
            for file in sorted((path / "c").rglob("*"))
            if file.is_file()
            for found in _units(file, [int(part) for part in file.parts[-3:]], outer // inner)
        )
        shape = tuple(document["shape"])
        if len(units) * inner**3 != shape[0] ** 3:
            raise ValueError(f"{path} holds {len(units)} units of {inner}³, not all of {shape}")
        codec = codecs[1]["name"] if len(codecs) > 1 else "raw"
        return Work(units, _pieces(units.values(), codec), inner, shape, codec)

    def view(self, x: Work, box: tuple[slice, ...]) -> Work:
        sides = [range(side.start // x.edge, -(-side.stop // x.edge)) for side in box]
        hit = [x.units[index] for index in itertools.product(*sides)]
        shape = tuple(len(range(side.start, side.stop, side.step or 1)) for side in box)
        return replace(x, pieces=_pieces(hit, x.codec), shape=shape)

    def halve(self, x: Work) -> Work:
        return replace(x, shape=tuple(extent // 2 for extent in x.shape))

    def fresh(self, x: Work) -> np.ndarray:
        out = np.empty(x.shape, _DTYPE)
        self.into(x, out)
        return out

    def into(self, x: Work, out: np.ndarray) -> None:
        flat = out.reshape(-1).view(np.uint8)
        share = -(-flat.size // sum(len(piece.starts) for piece in x.pieces))
        places = iter(_places(x, share))
        lock = threading.Lock()
        helpers = min(self._helpers, len(x.pieces) - 1)
        runs = [self._threads.submit(_run, x, flat, share, places, lock) for _ in range(helpers)]
        _run(x, flat, share, places, lock)
        for run in runs:
            run.result()

    def pieces(self, x: Work, boxes: Sequence[tuple[slice, ...]]) -> Sequence[Work]:
        return [self.view(x, box) for box in boxes]

    def piece(self, x: Work) -> np.ndarray:
        return self.fresh(x)


def _edge(configuration: dict[str, Any]) -> int:
    return int(configuration["chunk_shape"][0])


def _units(file: Path, place: list[int], per_side: int) -> Iterator[tuple[tuple[int, ...], Unit]]:
    """The encoded chunks of a file, which stays open for the life of the process."""
    handle = os.open(file, os.O_RDONLY)
    if per_side == 1:
        yield tuple(place), Unit(handle, 0, os.fstat(handle).st_size)
        return
    # A shard ends with its index: offset and size of each chunk, then a checksum of 4 bytes.
    tail = per_side**3 * 16 + 4
    table = np.frombuffer(os.pread(handle, tail, os.fstat(handle).st_size - tail)[:-4], "<u8")
    for number, (start, size) in enumerate(table.reshape(-1, 2).tolist()):
        within = np.unravel_index(number, (per_side,) * 3)
        index = tuple(p * per_side + int(i) for p, i in zip(place, within, strict=True))
        yield index, Unit(handle, start, size)


def _pieces(units: Any, codec: str) -> tuple[Piece, ...]:
    """Neighbours joined up to ``_TOGETHER``; raw bytes, which are no unit to decode, cut there."""
    joined: list[list[Unit]] = []
    for unit in sorted(units, key=lambda unit: (unit.file, unit.start)):
        for part in _cut(unit) if codec == "raw" else (unit,):
            if not (joined and _fits(joined[-1], part)):
                joined.append([])
            joined[-1].append(part)
    return tuple(_piece(run) for run in joined)


def _cut(unit: Unit) -> Iterator[Unit]:
    for done in range(0, unit.size, _TOGETHER):
        yield Unit(unit.file, unit.start + done, min(_TOGETHER, unit.size - done))


def _fits(run: list[Unit], unit: Unit) -> bool:
    last, room = run[-1], _TOGETHER - (unit.start + unit.size - run[0].start)
    return last.file == unit.file and last.start + last.size == unit.start and room >= 0


def _piece(run: list[Unit]) -> Piece:
    first, last = run[0], run[-1]
    starts = np.array([unit.start - first.start for unit in run], np.int64)
    sizes = np.array([unit.size for unit in run], np.int64)
    return Piece(first.file, first.start, last.start + last.size - first.start, starts, sizes)


def _places(work: Work, share: int) -> Iterator[tuple[Piece, int]]:
    """Every piece and where the part of the output begins that it touches."""
    done = 0
    for piece in work.pieces:
        yield piece, done
        done += share * len(piece.starts)


_hot = threading.local()


def _block(name: str, size: int) -> np.ndarray:
    """A block of this thread, kept from run to run."""
    block: np.ndarray | None = getattr(_hot, name, None)
    if block is None or block.size < size:
        block = np.empty(size, np.uint8)
        setattr(_hot, name, block)
    return block


def _run(
    work: Work,
    flat: np.ndarray,
    share: int,
    places: Iterator[tuple[Piece, int]],
    lock: threading.Lock,
) -> None:
    decode = _decoder(work.codec)
    scratch = _block("scratch", work.decoded)[: work.decoded]
    while True:
        with lock:
            found = next(places, None)
        if found is None:
            return
        piece, place = found
        encoded = _block("encoded", piece.size)[: piece.size]
        os.preadv(piece.file, [encoded], piece.start)
        decode(encoded, piece, scratch, flat[place : place + share * len(piece.starts)], share)


@cache
def _decoder(codec: str) -> Decode:
    made: dict[str, Callable[[], Decode]] = {
        "raw": lambda: _copy,
        "gzip": _gzip,
        "zstd": lambda: _compiled("ZSTD_decompressDCtx", needs_context=True),
        "blosc": lambda: _compiled("blosc_decompress_ctx", needs_context=False),
    }
    return made[codec]()


def _copy(
    encoded: np.ndarray, piece: Piece, scratch: np.ndarray, out: np.ndarray, share: int
) -> None:
    # A result may be larger than what it is made of.
    for k in range(0, out.size, max(1, encoded.size)):
        piece_of_out = out[k : k + encoded.size]
        np.copyto(piece_of_out, encoded[: piece_of_out.size])


def _gzip() -> Decode:
    from isal import isal_zlib

    def decode(
        encoded: np.ndarray, piece: Piece, scratch: np.ndarray, out: np.ndarray, share: int
    ) -> None:
        part = isal_zlib.decompress(encoded, 31, scratch.size)
        _copy(np.frombuffer(part, np.uint8), piece, scratch, out, share)

    return decode


def _compiled(name: str, *, needs_context: bool) -> Decode:
    """Decodes all units of a piece without the interpreter, through a function of C."""
    import numcodecs.blosc
    from numba import njit

    library = ctypes.CDLL(numcodecs.blosc.__file__)
    size = ctypes.c_size_t
    call = library[name]
    # Addresses as integers: the compiled loop has no use for pointers with types.
    if needs_context:
        call.argtypes, call.restype = [size] * 5, size
        library.ZSTD_createDCtx.restype = size
    else:
        call.argtypes, call.restype = [size, size, size, ctypes.c_int], ctypes.c_int

    @njit(nogil=True)  # type: ignore[untyped-decorator]
    def zstd(context, encoded, starts, sizes, scratch, out, share):  # type: ignore[no-untyped-def]
        source, target = encoded.ctypes.data, scratch.ctypes.data
        for i in range(len(starts)):
            if call(context, target, scratch.size, source + starts[i], sizes[i]) != scratch.size:
                return False
            part = out[i * share : (i + 1) * share]
            for k in range(0, part.size, scratch.size):
                piece = part[k : k + scratch.size]
                piece[:] = scratch[: piece.size]
        return True

    @njit(nogil=True)  # type: ignore[untyped-decorator]
    def blosc(context, encoded, starts, sizes, scratch, out, share):  # type: ignore[no-untyped-def]
        source, target = encoded.ctypes.data, scratch.ctypes.data
        for i in range(len(starts)):
            if call(source + starts[i], target, scratch.size, 1) != scratch.size:
                return False
            part = out[i * share : (i + 1) * share]
            for k in range(0, part.size, scratch.size):
                piece = part[k : k + scratch.size]
                piece[:] = scratch[: piece.size]
        return True

    loop = zstd if needs_context else blosc

    def decode(
        encoded: np.ndarray, piece: Piece, scratch: np.ndarray, out: np.ndarray, share: int
    ) -> None:
        if needs_context and not hasattr(_hot, "context"):
            _hot.context = library.ZSTD_createDCtx()
        context = _hot.context if needs_context else 0
        if not loop(context, encoded, piece.starts, piece.sizes, scratch, out, share):
            raise ValueError(f"{name} failed on the units at {piece.start}")

    return decode
