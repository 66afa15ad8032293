"""One contender of ``ome_arrow.py`` in a process of its own: lazytensor, pyarrow or ome-arrow.

Methods of a contender are the jobs of ``ome_arrow.py``. Each gets the name of a file and returns
what is timed: a function of the number of the run, so that nobody reads the same plane twice.
pyarrow is what cannot be done without: the columns are read that hold what is wanted, and nothing
is made of them.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from data import digest
from ome_arrow_data import BYTES, COLUMN, FOLDER, IPC, LIST, PIXELS, package, part_of, read_image
from peers import Unsupported
from serving import serve

__all__ = ["main"]

Ready = Callable[[int], Any]
CROPS, SIDE, DEPTH = 1000, 64, 40
"""Crops, and planes whose tiles of 64 x 64 are a thousand."""
AXES = "tczyx"
Box = tuple[slice, ...]


def _box(starts: Sequence[int], sizes: Sequence[int]) -> Box:
    return tuple(slice(start, start + n) for start, n in zip(starts, sizes, strict=True))


class Files:
    """What all contenders have: the folder, and the image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.image = read_image(folder)
        self.shape = self.image.shape

    def plane_number(self, run: int) -> tuple[int, int, int]:
        """T, C and Z: far from those of the runs before."""
        return 0, run % self.shape[1], run * 53 % self.shape[2]

    def crop_boxes(self) -> list[Box]:
        """Anywhere in the image, one plane each."""
        rng = np.random.default_rng(7)
        found = []
        for _ in range(CROPS):
            c, z = (int(rng.integers(n)) for n in self.shape[1:3])
            y, x = (int(rng.integers(n - SIDE + 1)) for n in self.shape[3:])
            starts, sizes = (0, c, z, y, x), (1, 1, 1, SIDE, SIDE)
            found.append(_box(starts, sizes))
        return found

    def tile_region(self) -> tuple[int, slice]:
        """A channel and planes of it: a thousand tiles, those at the edges smaller."""
        start = min(100, self.shape[2] // 4)
        return 1, slice(start, min(start + DEPTH, self.shape[2]))

    def tile_boxes(self) -> list[Box]:
        """The tiles: first along X, then Y, then Z."""
        c, planes = self.tile_region()
        height, width = self.shape[3:]
        return [
            _box((0, c, z, y, x), (1, 1, 1, min(SIDE, height - y), min(SIDE, width - x)))
            for z in range(planes.start, planes.stop)
            for y in range(0, height, SIDE)
            for x in range(0, width, SIDE)
        ]

    def written(self, name: str, write: Callable[[Path], Any]) -> Ready:
        """A job that writes a file of this contender's own, anew each time."""
        path = self.folder / f"{type(self).__name__.lower()}-{name}"

        def work(_: int) -> Path:
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            write(path)
            return path

        return work


class Arrow(Files):
    """``pyarrow``, alone."""

    def __init__(self, folder: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        super().__init__(folder)
        self.pa, self.pq = pa, pq

    def _leaf(self, file: str) -> Any:
        """The column of pixels, as one array."""
        if file == FOLDER:
            found = self.pq.ParquetFile(self.folder / FOLDER / "chunks.parquet")
            return found.read(columns=["pixel_bytes"]).column(0)
        read = self.pq.ParquetFile(self.folder / file).read(columns=[PIXELS[file]])
        name = PIXELS[file].rpartition(".")[2]
        return read.column(0).chunk(0).field("chunks").values.field(name)

    def schema(self, file: str) -> Ready:
        if file == FOLDER:
            return lambda _: self._shape(
                self.pq.ParquetFile(self.folder / FOLDER / "images.parquet").read().to_pylist()[0]
            )
        if file == IPC:
            return lambda _: self._shape(self._mapped().field("pixels_meta")[0].as_py())
        columns = [f"{COLUMN}.pixels_meta.size_{axis}" for axis in AXES]
        return lambda _: self._shape(
            self.pq.ParquetFile(self.folder / file)
            .read(columns=columns)
            .column(0)[0]
            .as_py()["pixels_meta"]
        )

    def _shape(self, facts: dict[str, Any]) -> np.ndarray:
        return np.array([facts[f"size_{axis}"] for axis in AXES])

    def _mapped(self) -> Any:
        file = self.pa.ipc.open_file(self.pa.memory_map(str(self.folder / IPC)))
        return file.get_batch(0).column(COLUMN)

    def plane(self, file: str) -> Ready:
        if file == FOLDER:
            raise Unsupported("what has to be read of a folder is up to its reader")
        size = self.shape[3:]

        def numbers(run: int) -> np.ndarray:
            t, c, z = self.plane_number(run)
            number = (t * self.shape[1] + c) * self.shape[2] + z
            if file == IPC:
                item = self._mapped().field("planes").values.field("pixels")[number].values
                return np.array(item.to_numpy(zero_copy_only=True)).reshape(size)
            item = self._leaf(file)[number]
            raw = item.as_buffer() if file == BYTES else item.values.to_numpy()
            return np.frombuffer(raw, "u2").reshape(size)

        return numbers

    def whole(self, file: str) -> Ready:
        return lambda _: self._leaf(file)


class Package(Files):
    """ome-arrow, as its documentation says."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.package = package()

    def _path(self, file: str) -> str:
        if file == IPC:
            raise Unsupported("ome-arrow reads no Arrow IPC")
        return str(self.folder / file)

    def _scan(self, file: str, **selection: Any) -> Any:
        scanned = self.package.core.OMEArrow.scan(self._path(file), column_name=COLUMN)
        return scanned.tensor_view(**selection)

    def _folder(self) -> Any:
        return self.package.dataset.OMEArrowDataset(self.folder / FOLDER)

    def schema(self, file: str) -> Ready:
        if file == FOLDER:
            return lambda _: np.array(
                [self._folder().image_metadata("image-00000")[f"size_{axis}"] for axis in AXES]
            )
        self._path(file)
        return lambda _: np.array(self._scan(file, layout="TCZHW").shape)

    def plane(self, file: str) -> Ready:
        def read(run: int) -> Any:
            t, c, z = self.plane_number(run)
            if file == FOLDER:
                return self._folder().read_plane(t=t, c=c, z=z)
            return self._scan(file, t=t, c=c, z=z, layout="HW").to_numpy(contiguous=True)

        self._path(file)
        return read

    def again(self, file: str) -> Ready:
        if file == FOLDER:
            opened = self._folder()

            def plane(run: int) -> Any:
                t, c, z = self.plane_number(run)
                return opened.read_plane(t=t, c=c, z=z)

            return plane
        self._path(file)
        scanned = self.package.core.OMEArrow.scan(self._path(file), column_name=COLUMN)

        def select(run: int) -> Any:
            t, c, z = self.plane_number(run)
            return scanned.tensor_view(t=t, c=c, z=z, layout="HW").to_numpy(contiguous=True)

        return select

    def whole(self, file: str) -> Ready:
        if file == FOLDER:
            return lambda _: self._folder().read_image()
        self._path(file)
        return lambda _: self._scan(file, layout="TCZHW").to_numpy(contiguous=True)

    def _regions(self, boxes: list[Box]) -> Ready:
        def work(_: int) -> list[np.ndarray]:
            opened = self._folder()
            return [opened.read_region(**dict(zip(AXES, box, strict=True))) for box in boxes]

        return work

    def crops(self, file: str) -> Ready:
        return self._regions(self.crop_boxes())

    def tiles(self, file: str) -> Ready:
        return self._regions(self.tile_boxes())

    def write(self, file: str) -> Ready:
        part = part_of(self.image)
        if file == FOLDER:
            write = self.package.dataset.write_ome_arrow_dataset
            return self.written(file, lambda path: write([part], path))
        encoding = "bytes" if file == BYTES else "list"

        def inline(path: Path) -> None:
            record = self.package.ingest.from_numpy(part, chunk_encoding=encoding)
            self.package.export.to_ome_parquet(record, str(path), column_name=COLUMN)

        return self.written(file, inline)


class Ours(Files):
    """Plans."""

    def __init__(self, folder: Path) -> None:
        import lazytensor as lt

        super().__init__(folder)
        self.lt = lt

    def _scan(self, file: str) -> Any:
        return self.lt.scan_ome_arrow(self.folder / file, mmap=file == IPC)

    def schema(self, file: str) -> Ready:
        return lambda _: np.array(self._scan(file).shape)

    def plane(self, file: str) -> Ready:
        return lambda run: self._scan(file)[self.plane_number(run)].collect()

    def again(self, file: str) -> Ready:
        x = self._scan(file)
        return lambda run: x[self.plane_number(run)].collect()

    def whole(self, file: str) -> Ready:
        return lambda _: self._scan(file).collect()

    def crops(self, file: str) -> Ready:
        boxes = self.crop_boxes()

        def work(_: int) -> np.ndarray:
            x = self._scan(file)
            batch: np.ndarray = self.lt.stack([x[box] for box in boxes]).collect()
            return batch

        return work

    def tiles(self, file: str) -> Ready:
        c, planes = self.tile_region()

        def work(_: int) -> list[np.ndarray]:
            view = self.lt.ome.view(self._scan(file), c=c, z=planes, layout="TCZYX")
            return list(self.lt.ome.iter_tiles(view, (1, SIDE, SIDE)))

        return work

    def write(self, file: str) -> Ready:
        x = self.lt.asarray(part_of(self.image), dims=tuple(AXES))
        encoding = {FOLDER: "chunks", BYTES: "bytes", LIST: "list"}[file]
        return self.written(file, lambda path: x.sink_ome_arrow(path, encoding=encoding))


CONTENDERS: dict[str, Callable[[Path], Files]] = {
    "lazytensor": Ours,
    "pyarrow": Arrow,
    "ome-arrow": Package,
}


class Server:
    """What a process remembers between requests: the work that is prepared."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.work: Ready | None = None
        self.touched: list[Path] = []
        self.runs = 0

    def prepare(self, *, job: str, file: str, fresh: bool, folder: str) -> dict[str, Any]:
        """Make work ready, do it once and describe what came of it."""
        contender = CONTENDERS[self.name](Path(folder))
        make = getattr(contender, job, None)
        if make is None:
            raise Unsupported(f"{self.name} has no {job}")
        self.work = make(file)
        path = Path(folder) / file
        files = [path, *path.iterdir()] if path.is_dir() else [path]
        self.touched = files if fresh else []
        return {"digest": _digest(self.work(0))}

    def measure(self, *, times: int = 1) -> dict[str, Any]:
        """Seconds of one run, the mean of several ``times``.

        Where it is to be the first, the files are in another state before each run, so that nothing
        that was kept of them is worth anything; nor is memory of the run before left to be filled.
        """
        assert self.work is not None
        gc.collect()
        seconds = 0.0
        for _ in range(times):
            if self.touched:
                _forget(self.touched)
            self.runs += 1
            start = time.perf_counter()
            result = self.work(self.runs)
            seconds += time.perf_counter() - start
            del result  # dies after the clock was read
        return {"seconds": seconds / times}


def _forget(files: Sequence[Path]) -> None:
    import pyarrow as pa

    for path in files:
        os.utime(path)
    pa.default_memory_pool().release_unused()


def _digest(result: Any) -> str:
    """Of what is comparable: arrays, in a list or not, and images that were written."""
    if isinstance(result, Path):
        return _digest_written(result)
    if isinstance(result, list):
        return digest(np.concatenate([np.ravel(part) for part in result]))
    return digest(np.ascontiguousarray(result)) if isinstance(result, np.ndarray) else ""


def _digest_written(path: Path) -> str:
    """Pixels of an image, put together by hand."""
    import pyarrow.parquet as pq

    if path.is_dir():
        facts = pq.read_table(path / "images.parquet").to_pylist()[0]
        pieces = pq.read_table(path / "chunks.parquet").to_pylist()
    else:
        row = pq.read_table(path).to_pylist()[0][COLUMN]
        facts, pieces = row["pixels_meta"], row["chunks"] or row["planes"]
    image = np.zeros([facts[f"size_{axis}"] for axis in AXES], "u2")
    for piece in pieces:
        box = tuple(
            slice(start := piece.get(axis, 0), start + piece.get(f"shape_{axis}", size))
            if axis in "yx" or f"shape_{axis}" in piece
            else slice(piece[axis], piece[axis] + 1)
            for axis, size in zip(AXES, image.shape, strict=True)
        )
        pixels = piece.get("pixels")
        values = np.array(pixels, "u2") if pixels else np.frombuffer(piece["pixel_bytes"], "u2")
        image[box] = values.reshape(image[box].shape)
    return digest(image)


def main() -> None:
    """Serve until standard input ends: ``ome_arrow_server.py NAME``."""
    server = Server(sys.argv[1])
    serve({"prepare": server.prepare, "measure": server.measure})


if __name__ == "__main__":
    main()
