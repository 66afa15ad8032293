"""The libraries of ``engine.py``: for each kind of work, the fastest way its documentation has.

A library is asked for ``KIND(path, out)`` and answers with a function that does the work once; what
can be made ready ahead of the clock is made ready there (opening, building a graph). ``out`` is
None for a result in fresh memory. A kind that a library has no method for is not timed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from engine_tiles import Mosaic, batch_corners, mosaic_of
from peers import TensorStore, Zarr, Zarrs

__all__ = ["CONTENDERS", "Ready", "crop_of"]

Ready = Callable[[], Any]
_F4 = np.float32
_CACHE = 256 << 20
_BATCH, _TILE = 16, 64
_AHEAD = 2
"""Reads under way beside the one that is worked on."""


def crop_of(n: int) -> tuple[slice, ...]:
    """200 of 512 voxels along each dim, off the chunk grid on every side."""
    starts = (n * 37 // 512, n * 101 // 512, n * 203 // 512)
    return tuple(slice(start, start + n * 200 // 512) for start in starts)


def _chain(x: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    """The chain in NumPy, in place, and plane by plane: those stay in the caches."""
    result = np.empty(x.shape, np.uint8) if out is None else out
    values = np.empty(x.shape[1:], _F4)
    for plane, into in zip(x, result, strict=True):
        np.subtract(plane, _F4(100), out=values, casting="unsafe")
        values *= _F4(0.5)
        np.rint(values, out=values)
        np.clip(values, 0, 255, out=values)
        np.copyto(into, values, casting="unsafe")
    return result


def _spread(x: np.ndarray) -> np.ndarray:
    """Mean and deviation in NumPy, which need not find the mean twice."""
    mean = x.mean(keepdims=True)
    return np.array([mean.item(), x.std(mean=mean)])


class Ours:
    """lazytensor, with its kernels compiled beforehand, as they are after the first run."""

    def __init__(self) -> None:
        import lazytensor
        from lazytensor import native

        native.wait("chunks")
        lazytensor.set_config(kernels="numba")
        self.lt = lazytensor

    def use_threads(self, threads: int) -> None:
        """So many from now on."""
        self.lt.set_config(threads=threads)

    def _open(self, path: Path) -> Any:
        return self.lt.scan_zarr(str(path))

    def _do(self, x: Any, out: np.ndarray | None) -> Ready:
        return x.collect if out is None else lambda: x.collect(out=out)

    def read(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._do(self._open(path), out)

    def crop(self, path: Path, out: np.ndarray | None) -> Ready:
        x = self._open(path)
        return self._do(x[crop_of(x.shape[0])], out)

    def strided(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._do(self._open(path)[::2, ::2, ::2], out)

    def cast(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._do(self._open(path).astype(self.lt.float32), out)

    def _downsample(self, method: str) -> Callable[[Path, np.ndarray | None], Ready]:
        return lambda path, out: self._do(
            self.lt.downsample(self._open(path), (2, 2, 2), method=method), out
        )

    def __getattr__(self, kind: str) -> Any:
        if kind in ("mean", "max", "median", "mode"):
            return self._downsample(kind)
        raise AttributeError(kind)

    def chain(self, path: Path, out: np.ndarray | None) -> Ready:
        lt, x = self.lt, self._open(path)
        values = ((x.astype(lt.float32) - 100) * 0.5).round().clip(0, 255).astype(lt.uint8)
        return self._do(values, out)

    def spread(self, path: Path, out: np.ndarray | None) -> Ready:
        x = self._open(path)
        both = x.mean(), x.std()
        return lambda: np.array(self.lt.collect_all(both))

    def counts(self, path: Path, out: np.ndarray | None) -> Ready:
        counts, _ = self.lt.histogram(self._open(path), bins=65536, range=(0, 65536))
        return lambda: counts.collect()

    def projection(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._do(self._open(path).max(axis=0), out)

    def layers(self, mosaic: Mosaic) -> list[Any]:
        return [
            self.lt.asarray(tile).translate_to[corner]
            for tile, corner in zip(mosaic.tiles, mosaic.corners, strict=True)
        ]

    def built(self, layers: list[Any], mosaic: Mosaic) -> Any:
        return self.lt.overlay(layers)

    def forget(self) -> None:
        """Give back what is kept for coming results: a fresh one shall be fresh."""
        from lazytensor.exec import outputs

        outputs.release()

    def window(self, x: Any, box: tuple[slice, ...]) -> np.ndarray:
        values: np.ndarray = x[box].collect()
        return values

    def whole(self, x: Any) -> np.ndarray:
        values: np.ndarray = x.collect()
        return values

    def batches(self, path: Path, out: np.ndarray | None) -> Ready:
        x = self._open(path)
        corners = batch_corners(x.shape[0])
        room = np.empty((_BATCH, _TILE, _TILE, _TILE), x.dtype)

        def work() -> np.ndarray:
            total = np.zeros(len(corners) // _BATCH, np.uint64)
            with self.lt.Config(cache_bytes=_CACHE):
                for i in range(len(total)):
                    tiles = [
                        x[z : z + _TILE, y : y + _TILE, w : w + _TILE]
                        for z, y, w in corners[i * _BATCH : (i + 1) * _BATCH]
                    ]
                    self.lt.stack(tiles).collect(out=room)
                    total[i] = room[:, ::17, ::13, ::11].sum()
            return total

        return work


class _Reading:
    """What a library of ``peers.py`` reads, into fresh memory or into what is given."""

    _library: Any

    def _do(self, x: Any, out: np.ndarray | None) -> Ready:
        if out is None:
            return lambda: self._library.fresh(x)

        def work() -> np.ndarray:
            self._library.into(x, out)
            return out

        return work


class Stores(_Reading):
    """tensorstore, and NumPy where it has no such operation."""

    def __init__(self) -> None:
        self._library = TensorStore()
        self.ts = self._library.ts

    def read(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._do(self._library.open(path), out)

    def crop(self, path: Path, out: np.ndarray | None) -> Ready:
        x = self._library.open(path)
        return self._do(x[crop_of(x.shape[0])], out)

    def strided(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._do(self._library.open(path)[::2, ::2, ::2], out)

    def cast(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._do(self.ts.cast(self._library.open(path), self.ts.float32), out)

    def __getattr__(self, kind: str) -> Any:
        if kind in ("mean", "max", "median", "mode"):
            return lambda path, out: self._do(
                self.ts.downsample(self._library.open(path), [2, 2, 2], kind), out
            )
        raise AttributeError(kind)

    def _then(
        self, path: Path, compute: Callable[[np.ndarray], np.ndarray]
    ) -> Callable[[], np.ndarray]:
        x = self._library.open(path)
        return lambda: compute(self._library.fresh(x))

    def chain(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._then(path, lambda values: _chain(values, out))

    def spread(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._then(path, _spread)

    def counts(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._then(path, lambda values: np.bincount(values.reshape(-1), minlength=65536))

    def projection(self, path: Path, out: np.ndarray | None) -> Ready:
        """Chunk row by chunk row, the next ones under way: NumPy takes them from the caches."""
        x = self._library.open(path)
        rows, depth = x.chunk_layout.read_chunk.shape[0], x.shape[0]
        starts = range(0, depth, rows)

        def work() -> np.ndarray:
            found = np.zeros(x.shape[1:], np.uint16) if out is None else out
            found[...] = 0
            asked = deque(x[z : z + rows].read() for z in starts[:_AHEAD])
            for i in range(len(starts)):
                if i + _AHEAD < len(starts):
                    z = starts[i + _AHEAD]
                    asked.append(x[z : z + rows].read())
                np.maximum(found, asked.popleft().result().max(axis=0), out=found)
            return found

        return work

    def layers(self, mosaic: Mosaic) -> list[Any]:
        ts = self.ts
        if mosaic.columns:
            return [ts.array(tile) for tile in mosaic.tiles]
        return [
            ts.array(tile).translate_to[corner]
            for tile, corner in zip(mosaic.tiles, mosaic.corners, strict=True)
        ]

    def built(self, layers: list[Any], mosaic: Mosaic) -> Any:
        ts, n = self.ts, mosaic.columns
        if not n:
            return ts.overlay(layers)
        rows = [ts.concat(layers[i : i + n], axis=1) for i in range(0, len(layers), n)]
        return ts.concat(rows, axis=0)

    def window(self, x: Any, box: tuple[slice, ...]) -> np.ndarray:
        return self._library.fresh(x[box])

    def whole(self, x: Any) -> np.ndarray:
        return self._library.fresh(x)

    def _cached(self, path: Path) -> Any:
        context = self.ts.Context({"cache_pool": {"total_bytes_limit": _CACHE}})
        kvstore = {"driver": "file", "path": f"{path}/"}
        spec = {"driver": "zarr3", "kvstore": kvstore, "recheck_cached_data": False}
        return self.ts.open(spec, read=True, context=context).result()

    def batches(self, path: Path, out: np.ndarray | None) -> Ready:
        """Into the slots of batches, two batches under way."""
        x = self._cached(path)
        corners = batch_corners(x.shape[0])
        rooms = [np.empty((_BATCH, _TILE, _TILE, _TILE), np.uint16) for _ in range(3)]

        def ask(i: int) -> list[Any]:
            room = self.ts.array(rooms[i % 3])
            return [
                room[k].write(
                    x[z : z + _TILE, y : y + _TILE, w : w + _TILE].translate_to[0, 0, 0]
                )
                for k, (z, y, w) in enumerate(corners[i * _BATCH : (i + 1) * _BATCH])
            ]  # fmt: skip

        def work() -> np.ndarray:
            total = np.zeros(len(corners) // _BATCH, np.uint64)
            asked = {i: ask(i) for i in range(min(2, len(total)))}
            for i in range(len(total)):
                if i + 2 < len(total):
                    asked[i + 2] = ask(i + 2)
                for write in asked.pop(i):
                    write.result()
                total[i] = rooms[i % 3][:, ::17, ::13, ::11].sum()
            return total

        return work


class Stacked(Stores):
    """tensorstore as most loaders use it: every tile read, then stacked."""

    def batches(self, path: Path, out: np.ndarray | None) -> Ready:
        x = self._cached(path)
        corners = batch_corners(x.shape[0])

        def work() -> np.ndarray:
            total = np.zeros(len(corners) // _BATCH, np.uint64)
            for i in range(len(total)):
                reads = [
                    x[z : z + _TILE, y : y + _TILE, w : w + _TILE].read()
                    for z, y, w in corners[i * _BATCH : (i + 1) * _BATCH]
                ]
                batch = np.stack([read.result() for read in reads])
                total[i] = batch[:, ::17, ::13, ::11].sum()
            return total

        return work


class ZarrPython(_Reading):
    """zarr-python; it reads, and that is all."""

    made: Callable[[], Any] = Zarr

    def __init__(self) -> None:
        self._library = type(self).made()

    def read(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._do(self._library.open(path), out)

    def crop(self, path: Path, out: np.ndarray | None) -> Ready:
        x = self._library.open(path)
        return self._do(self._library.view(x, crop_of(x[0].shape[0])), out)

    def strided(self, path: Path, out: np.ndarray | None) -> Ready:
        x = self._library.open(path)
        return self._do(self._library.view(x, (slice(None, None, 2),) * 3), out)


class ZarrsPipeline(ZarrPython):
    """zarr-python with the pipeline of zarrs."""

    made = Zarrs


def _floor() -> Any:
    from engine_floor import EngineFloor

    return EngineFloor()


def _lazy(name: str) -> Callable[[], Any]:
    def made() -> Any:
        import engine_lazy

        return getattr(engine_lazy, name)()

    return made


CONTENDERS: Mapping[str, Callable[[], Any]] = {
    "lazytensor": Ours,
    "floor": _floor,
    "tensorstore": Stores,
    "tensorstore stacked": Stacked,
    "numexpr": _lazy("Numexpr"),
    "zarrs": ZarrsPipeline,
    "zarr-python": ZarrPython,
    "dask": _lazy("DaskArray"),
    "xarray": _lazy("Xarray"),
    "blosc2 (in memory)": _lazy("Blosc2"),
}


def memory_job(library: Any, kind: str, n: int) -> Ready:
    """Work on tiles in memory: ``mosaic``, ``mosaic-window``, ``mosaic-build``, and so on."""
    name, _, part = kind.partition("-") if kind.startswith("mosaic") else _last_part(kind)
    mosaic = mosaic_of(name, n)
    layers = library.layers(mosaic)
    if part == "build":
        return lambda: library.built(layers, mosaic)
    x = library.built(layers, mosaic)
    if part != "window":
        return lambda: library.whole(x)
    lo = [extent * 2 // 5 for extent in mosaic.shape]
    box = tuple(slice(a, a + min(200, e - a)) for a, e in zip(lo, mosaic.shape, strict=True))
    return lambda: library.window(x, box)


def _last_part(kind: str) -> Sequence[str]:
    name, _, part = kind.rpartition("-")
    return (name, "-", part) if part in ("window", "build") else (kind, "", "")
