"""The contenders of ``engine.py`` that compute expressions: numexpr, dask, xarray, blosc2.

As ``engine_peers``, which has those that read.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from engine_peers import Ready
from peers import TensorStore, Unsupported

__all__ = ["Blosc2", "DaskArray", "Numexpr", "Xarray"]

_F4 = np.float32
_BLOCK = 128
"""Elements along each dim that a task of dask should have at least."""


class Numexpr:
    """numexpr on what tensorstore read; NumPy rounds, since numexpr's own takes twice as long."""

    def __init__(self) -> None:
        import numexpr

        self.ne = numexpr
        self._library = TensorStore()

    def chain(self, path: Path, out: np.ndarray | None) -> Ready:
        x = self._library.open(path)
        known = {"off": _F4(100), "half": _F4(0.5), "lo": _F4(0), "hi": _F4(255)}

        def work() -> np.ndarray:
            read = self._library.fresh(x)
            scaled = np.empty(read.shape, _F4)
            result = np.empty(read.shape, np.uint8) if out is None else out
            names = {"read": read, "v": scaled, **known}
            self.ne.evaluate("(read - off) * half", local_dict=names, out=scaled)
            np.rint(scaled, out=scaled)
            self.ne.evaluate(
                "where(v < lo, lo, where(v > hi, hi, v))",
                local_dict=names, out=result, casting="unsafe",
            )  # fmt: skip
            return result

        return work


class DaskArray:
    """dask.array on threads, with blocks of several files where those are small."""

    def __init__(self) -> None:
        import dask
        import dask.array
        import zarr

        self.dask, self.da, self.zarr = dask, dask.array, zarr

    def _open(self, path: Path) -> Any:
        array = self.zarr.open_array(str(path), mode="r")
        stored = array.shards or array.chunks
        # A task of dask costs more than a chunk of 64³.
        blocks = tuple(n * max(1, _BLOCK // n) for n in stored)
        return self.da.from_zarr(array, chunks=blocks)  # type: ignore[no-untyped-call]

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
        raise Unsupported("xarray leaves histograms to other packages")

    def projection(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._values(self._named(path).max("z"), out)


class Blosc2:
    """blosc2's lazy expressions. Its array is in memory, in chunks of its own choice: no file."""

    def __init__(self) -> None:
        import blosc2

        self.b2 = blosc2

    @cache  # noqa: B019  (one contender lives as long as its process)
    def _array(self, path: Path) -> Any:
        values = TensorStore()
        read = values.fresh(values.open(path))
        return self.b2.asarray(read, cparams={"codec": self.b2.Codec.LZ4, "clevel": 5})

    def _of(self, path: Path, out: np.ndarray | None) -> Any:
        if path.name == "raw" or out is not None:
            raise Unsupported("blosc2 computes what is compressed into memory of its own")
        return self._array(path)

    def chain(self, path: Path, out: np.ndarray | None) -> Ready:
        x = self._of(path, out)
        half, off = _F4(0.5), _F4(100)

        def work() -> np.ndarray:
            scaled = self.b2.clip(self.b2.round((x - off) * half), 0, 255)
            # compute() would compress the result first.
            values: np.ndarray = scaled[:].astype(np.uint8)
            return values

        return work

    def spread(self, path: Path, out: np.ndarray | None) -> Ready:
        x = self._of(path, out)
        return lambda: np.array([float(x.mean()), float(x.std())])

    def projection(self, path: Path, out: np.ndarray | None) -> Ready:
        x = self._of(path, out)
        return lambda: np.asarray(x.max(axis=0))
