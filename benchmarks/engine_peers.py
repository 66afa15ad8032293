"""The libraries of ``engine.py``: for each kind of work, the fastest way its documentation has.

A library is asked for ``KIND(path, out)`` and answers with a function that does the work once; what
can be made ready ahead of the clock is made ready there (opening, building a graph). ``out`` is
None for a result in fresh memory. A kind that a library has no method for is not timed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
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


def crop_of(n: int) -> tuple[slice, ...]:
    """200 of 512 voxels along each dim, off the chunk grid on every side."""
    starts = (n * 37 // 512, n * 101 // 512, n * 203 // 512)
    return tuple(slice(start, start + n * 200 // 512) for start in starts)


def _chain(x: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    """The chain in NumPy, in place where NumPy can."""
    values = x.astype(_F4)
    values -= 100
    values *= _F4(0.5)
    np.rint(values, out=values)
    np.clip(values, 0, 255, out=values)
    if out is None:
        return values.astype(np.uint8)
    np.copyto(out, values, casting="unsafe")
    return out


class Ours:
    """lazytensor, with its kernels compiled beforehand, as they are after the first run."""

    def __init__(self) -> None:
        import lazytensor
        from lazytensor import native

        native.wait("chunks")
        lazytensor.set_config(kernels="numba")
        self.lt = lazytensor

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
        found = self.lt.histogram(self._open(path), bins=65536, range=(0, 65536))
        counts = found[0] if isinstance(found, tuple) else found.counts
        return lambda: counts.collect()

    def projection(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._do(self._open(path).max(axis=0), out)

    def built(self, mosaic: Mosaic) -> Any:
        lt = self.lt
        layers = [
            lt.asarray(tile).translate_to[corner]
            for tile, corner in zip(mosaic.tiles, mosaic.corners, strict=True)
        ]
        return lt.overlay(layers)

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


class Stores:
    """tensorstore, and NumPy where it has no such operation."""

    def __init__(self) -> None:
        self._library = TensorStore()
        self.ts = self._library.ts

    def _do(self, x: Any, out: np.ndarray | None) -> Ready:
        if out is None:
            return lambda: self._library.fresh(x)

        def work() -> np.ndarray:
            self._library.into(x, out)
            return out

        return work

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
        return self._then(path, lambda values: np.array([values.mean(), values.std()]))

    def counts(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._then(path, lambda values: np.bincount(values.reshape(-1), minlength=65536))

    def projection(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._then(path, lambda values: values.max(axis=0, out=out))

    def built(self, mosaic: Mosaic) -> Any:
        ts = self.ts
        layers = [
            ts.array(tile).translate_to[corner]
            for tile, corner in zip(mosaic.tiles, mosaic.corners, strict=True)
        ]
        return ts.overlay(layers)

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


class Numexpr:
    """numexpr on what tensorstore read."""

    def __init__(self) -> None:
        import numexpr

        self.ne = numexpr
        self._library = TensorStore()

    def chain(self, path: Path, out: np.ndarray | None) -> Ready:
        x = self._library.open(path)
        half, lo, hi, off = _F4(0.5), _F4(0), _F4(255), _F4(100)
        expression = "(v - off) * half"

        def work() -> np.ndarray:
            v = self._library.fresh(x).astype(_F4)
            names = {"v": v, "half": half, "off": off}
            self.ne.evaluate(expression, local_dict=names, out=v)
            np.rint(v, out=v)
            limits = {"v": v, "lo": lo, "hi": hi}
            self.ne.evaluate("where(v < lo, lo, where(v > hi, hi, v))", local_dict=limits, out=v)
            if out is None:
                return v.astype(np.uint8)
            np.copyto(out, v, casting="unsafe")
            return out

        return work


class ZarrPython:
    """zarr-python; it reads, and that is all."""

    made: Callable[[], Any] = Zarr

    def __init__(self) -> None:
        self._library = type(self).made()

    def _do(self, x: Any, out: np.ndarray | None) -> Ready:
        if out is None:
            return lambda: self._library.fresh(x)

        def work() -> np.ndarray:
            self._library.into(x, out)
            return out

        return work

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


class DaskArray:
    """dask.array on threads, one block a stored file."""

    def __init__(self) -> None:
        import dask
        import dask.array
        import zarr

        self.dask, self.da, self.zarr = dask, dask.array, zarr

    def _open(self, path: Path) -> Any:
        array = self.zarr.open_array(str(path), mode="r")
        return self.da.from_zarr(array, chunks=array.shards or array.chunks)  # type: ignore[no-untyped-call]

    def _do(self, x: Any, out: np.ndarray | None) -> Ready:
        if out is None:
            return lambda: x.compute()

        def work() -> np.ndarray:
            self.da.store(x, out, lock=False)
            return out

        return work

    def read(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._do(self._open(path), out)

    def cast(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._do(self._open(path).astype(_F4), out)

    def mean(self, path: Path, out: np.ndarray | None) -> Ready:
        means = self.da.coarsen(np.mean, self._open(path), {0: 2, 1: 2, 2: 2})
        return self._do(self.da.rint(means).astype(np.uint16), out)

    def max(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._do(self.da.coarsen(np.max, self._open(path), {0: 2, 1: 2, 2: 2}), out)

    def chain(self, path: Path, out: np.ndarray | None) -> Ready:
        x = (self._open(path).astype(_F4) - 100) * _F4(0.5)
        return self._do(x.round().clip(0, 255).astype(np.uint8), out)

    def spread(self, path: Path, out: np.ndarray | None) -> Ready:
        x = self._open(path)
        both = x.mean(), x.std()
        return lambda: np.array(self.dask.compute(*both))

    def counts(self, path: Path, out: np.ndarray | None) -> Ready:
        flat = self._open(path).reshape(-1)
        found = self.da.bincount(flat, minlength=65536)
        return lambda: found.compute()

    def projection(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._do(self._open(path).max(axis=0), out)


class Xarray(DaskArray):
    """xarray over dask."""

    def __init__(self) -> None:
        super().__init__()
        import xarray

        self.xr = xarray

    def _named(self, path: Path) -> Any:
        return self.xr.DataArray(super()._open(path), dims=("z", "y", "x"))

    def _values(self, x: Any, out: np.ndarray | None) -> Ready:
        return self._do(x.data, out)

    def read(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._values(self._named(path), out)

    def cast(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._values(self._named(path).astype(_F4), out)

    def mean(self, path: Path, out: np.ndarray | None) -> Ready:
        means = self._named(path).coarsen(z=2, y=2, x=2).mean()
        return self._values(np.rint(means).astype(np.uint16), out)

    def max(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._values(self._named(path).coarsen(z=2, y=2, x=2).max(), out)

    def chain(self, path: Path, out: np.ndarray | None) -> Ready:
        x = (self._named(path).astype(_F4) - 100) * _F4(0.5)
        return self._values(x.round().clip(0, 255).astype(np.uint8), out)

    def spread(self, path: Path, out: np.ndarray | None) -> Ready:
        x = self._named(path)
        both = x.mean(), x.std()
        return lambda: np.array([part.data for part in self.dask.compute(*both)])

    def counts(self, path: Path, out: np.ndarray | None) -> Ready:
        raise AttributeError("counts")

    def projection(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._values(self._named(path).max("z"), out)


class Blosc2:
    """blosc2's lazy expressions. Its array is in memory, compressed as the store is: no file."""

    def __init__(self) -> None:
        import blosc2

        self.b2 = blosc2

    @cache  # noqa: B019  (one contender lives as long as its process)
    def _array(self, path: Path) -> Any:
        values = TensorStore()
        read = values.fresh(values.open(path))
        chunks = tuple(min(64, n) for n in read.shape)
        codec = {"codec": self.b2.Codec.LZ4, "clevel": 5}
        return self.b2.asarray(read, chunks=chunks, cparams=codec)

    def _of(self, path: Path, out: np.ndarray | None) -> Any:
        if path.name == "raw" or out is not None:
            raise AttributeError("compressed, into memory of its own")
        return self._array(path)

    def chain(self, path: Path, out: np.ndarray | None) -> Ready:
        x = self._of(path, out)
        half, off = _F4(0.5), _F4(100)

        def work() -> np.ndarray:
            scaled = self.b2.clip(self.b2.round((x - off) * half), 0, 255)
            values: np.ndarray = scaled.compute()[:].astype(np.uint8)
            return values

        return work

    def spread(self, path: Path, out: np.ndarray | None) -> Ready:
        x = self._of(path, out)
        return lambda: np.array([float(x.mean()), float(x.std())])

    def projection(self, path: Path, out: np.ndarray | None) -> Ready:
        x = self._of(path, out)
        return lambda: np.asarray(x.max(axis=0))


def _floor() -> Any:
    from engine_floor import EngineFloor

    return EngineFloor()


CONTENDERS: Mapping[str, Callable[[], Any]] = {
    "lazytensor": Ours,
    "floor": _floor,
    "tensorstore": Stores,
    "tensorstore stacked": Stacked,
    "numexpr": Numexpr,
    "zarrs": ZarrsPipeline,
    "zarr-python": ZarrPython,
    "dask": DaskArray,
    "xarray": Xarray,
    "blosc2 (in memory)": Blosc2,
}


def memory_job(library: Any, kind: str, n: int) -> Ready:
    """Work on tiles in memory: ``mosaic``, ``mosaic-window``, ``mosaic-build``, and so on."""
    name, _, part = kind.partition("-") if kind.startswith("mosaic") else _last_part(kind)
    mosaic = mosaic_of(name, n)
    if part == "build":
        # Building is timed; that it is right is seen from what is built.
        return lambda: library.built(mosaic)
    x = library.built(mosaic)
    if part != "window":
        return lambda: library.whole(x)
    lo = [extent * 2 // 5 for extent in mosaic.shape]
    box = tuple(slice(a, a + min(200, e - a)) for a, e in zip(lo, mosaic.shape, strict=True))
    return lambda: library.window(x, box)


def _last_part(kind: str) -> Sequence[str]:
    name, _, part = kind.rpartition("-")
    return (name, "-", part) if part in ("window", "build") else (kind, "", "")
