"""The libraries, each behind the same verbs.

A library's own fastest documented way is used, with its default settings, and what it can do ahead
of the clock (opening, slicing lazily, building a graph) it does ahead of the clock. Libraries are
imported when their contender is made: a server process holds one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

__all__ = ["Contender", "Unsupported", "contender"]

Box = tuple[slice, ...]


class Unsupported(Exception):
    """The library has no such operation; the table shows a dash."""


class Contender(Protocol):
    """What a server asks of a library. ``x`` is whatever ``open`` returned."""

    def open(self, path: Path) -> Any:
        """The array stored at ``path``."""

    def view(self, x: Any, box: Box) -> Any:
        """A box of it, lazily where the library can."""

    def halve(self, x: Any) -> Any:
        """Means of 2 x 2 x 2, ties to even, as uint16."""

    def fresh(self, x: Any) -> np.ndarray:
        """Values in memory that the library provides. Timed."""

    def into(self, x: Any, out: np.ndarray) -> None:
        """Values in ``out``. Timed."""

    def pieces(self, x: Any, boxes: Sequence[Box]) -> Sequence[Any]:
        """What ``piece`` is given, one for each box."""

    def piece(self, x: Any) -> np.ndarray:
        """One box in memory, in a call of its own. Timed, slicing included."""


class _Library:
    """A library slices within the clock when it is asked box by box: a user does."""

    def view(self, x: Any, box: Box) -> Any:
        return x[box]

    def fresh(self, x: Any) -> np.ndarray:
        raise NotImplementedError

    def pieces(self, x: Any, boxes: Sequence[Box]) -> Sequence[Any]:
        return [(x, box) for box in boxes]

    def piece(self, x: Any) -> np.ndarray:
        return self.fresh(self.view(*x))


class LazyTensor(_Library):
    """Ours."""

    def __init__(self) -> None:
        import lazytensor
        from lazytensor import native

        # Compiled once per machine, and loaded once it pays: here, before anything is measured.
        native.wait("chunks")
        self.lt = lazytensor

    def open(self, path: Path) -> Any:
        return self.lt.scan_zarr(str(path))

    def halve(self, x: Any) -> Any:
        return self.lt.downsample(x, (2, 2, 2))

    def fresh(self, x: Any) -> np.ndarray:
        values: np.ndarray = x.collect()
        return values

    def into(self, x: Any, out: np.ndarray) -> None:
        x.collect(out=out)


class TensorStore(_Library):
    """Default context: no cache, one thread a core."""

    def __init__(self) -> None:
        import tensorstore

        self.ts = tensorstore

    def open(self, path: Path) -> Any:
        kvstore = {"driver": "file", "path": f"{path}/"}
        return self.ts.open({"driver": "zarr3", "kvstore": kvstore}, read=True).result()

    def halve(self, x: Any) -> Any:
        return self.ts.downsample(x, [2, 2, 2], "mean")

    def fresh(self, x: Any) -> np.ndarray:
        values: np.ndarray = x.read().result()
        return values

    def into(self, x: Any, out: np.ndarray) -> None:
        target = self.ts.array(out)
        target[self.ts.d[:].translate_to[x.domain.inclusive_min]].write(x).result()


class Zarr(_Library):
    """zarr-python with its own codec pipeline."""

    def __init__(self) -> None:
        import zarr

        self.zarr = zarr

    def open(self, path: Path) -> Any:
        return self.zarr.open_array(str(path), mode="r"), (slice(None),) * 3

    def view(self, x: Any, box: Box) -> Any:
        return x[0], box

    def halve(self, x: Any) -> Any:
        raise Unsupported("zarr-python does not compute")

    def fresh(self, x: Any) -> np.ndarray:
        array, box = x
        values: np.ndarray = array[box]
        return values

    def into(self, x: Any, out: np.ndarray) -> None:
        from zarr.core.buffer import default_buffer_prototype

        array, box = x
        buffer = default_buffer_prototype().nd_buffer.from_numpy_array(out)
        array.get_basic_selection(box, out=buffer)


class FusedZarr(Zarr):
    """zarr-python with the codec pipeline that it has since 3.3 for those who ask for it."""

    def __init__(self) -> None:
        super().__init__()
        from zarr.core import codec_pipeline

        if not hasattr(codec_pipeline, "FusedCodecPipeline"):
            raise Unsupported(f"zarr {self.zarr.__version__} has no fused pipeline")
        name = "zarr.core.codec_pipeline.FusedCodecPipeline"
        self.zarr.config.set({"codec_pipeline.path": name})


class Zarrs(Zarr):
    """zarr-python with the codec pipeline of zarrs, which is Rust."""

    def __init__(self) -> None:
        super().__init__()
        import zarrs  # noqa: F401  (registers the pipeline)

        self.zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})


class Dask(_Library):
    """dask.array on the threaded scheduler, one block a stored file.

    One block an inner chunk of a shard, the other choice, decodes the shard index for each.
    """

    def __init__(self) -> None:
        import dask.array
        import zarr

        self.da = dask.array
        self.zarr = zarr

    def open(self, path: Path) -> Any:
        array = self.zarr.open_array(str(path), mode="r")
        blocks = array.shards or array.chunks
        return self.da.from_zarr(array, chunks=blocks)  # type: ignore[no-untyped-call]

    def halve(self, x: Any) -> Any:
        means = self.da.coarsen(np.mean, x, {0: 2, 1: 2, 2: 2})
        return self.da.rint(means).astype(x.dtype)

    def fresh(self, x: Any) -> np.ndarray:
        values: np.ndarray = x.compute()
        return values

    def into(self, x: Any, out: np.ndarray) -> None:
        self.da.store(x, out, lock=False)


def _floor() -> Contender:
    import floor

    return floor.Floor()


_MADE: dict[str, Callable[[], Contender]] = {
    "lazytensor": LazyTensor,
    "floor": _floor,
    "tensorstore": TensorStore,
    "zarr-python": Zarr,
    "zarr-python fused": FusedZarr,
    "zarrs": Zarrs,
    "dask": Dask,
}


def contender(name: str) -> Contender:
    """The contender of this name, its library imported."""
    return _MADE[name]()
