"""ome-arrow 0.1.0 reads what is written here, and what it writes is read here."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

import lazytensor as lt
from tests.io.ome_arrow.ome_arrow_files import image
from tests.io.ome_arrow.ome_arrow_peer import Call, needs_ome_arrow, run

pytestmark = needs_ome_arrow
DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]
CODECS = [None, "zstd", "lz4", "snappy", "gzip", "auto", "fast", "small", "balanced"]


class Maker:
    """Random images, and random ways to write them."""

    def __init__(self, seed: int) -> None:
        self.pick = np.random.default_rng(seed)

    def of(self, choices: Any) -> Any:
        return choices[int(self.pick.integers(len(choices)))]

    def image(self, dtype: str) -> np.ndarray:
        shape = [int(n) for n in self.pick.integers(1, (3, 4, 6, 20, 25))]
        values = image(shape, dtype, int(self.pick.integers(99)))
        return values if self.pick.random() < 0.7 else np.zeros_like(values)

    def chunk(self) -> tuple[int, int, int]:
        return tuple(int(n) for n in self.pick.integers(1, (7, 21, 26)))  # type: ignore[return-value]

    def call(self, path: Path) -> tuple[Call, list[np.ndarray]]:
        kind = self.of(("list", "planes", "bytes", "bytes", "folder", "folder"))
        if kind == "folder":
            images = [self.image(self.of(DTYPES)) for _ in range(self.pick.integers(1, 4))]
            ct, cc = (int(n) for n in self.pick.integers(1, 4, 2))
            options = {
                "build_physical_index": bool(self.pick.random() < 0.5),
                "chunk_rows_per_row_group": self.of((1, 3, 100)),
                "compression": self.of(("zstd", None, "lz4")),
            }
            if self.pick.random() < 0.5:
                options["chunk_shape"] = (ct, cc, *self.chunk())
            else:
                options["layout"] = self.of(("image", "volume", "z-plane", "tile", "block"))
            return ("write_folder", (str(path), images), options), images
        options = {"compression": self.of(("zstd", None, "snappy"))}
        if kind == "planes":
            options["build_chunks"] = False
        else:
            options["chunk_shape"] = self.of((self.chunk(), (1, 512, 512)))
        if kind == "bytes":
            options |= {"chunk_encoding": "bytes", "chunk_compression": self.of(CODECS)}
        made = self.image(self.of(DTYPES) if kind == "bytes" else self.of(("u2", "u1")))
        return ("write_file", (str(path), made), options), [made]


def test_what_the_package_writes_is_read(tmp_path: Path) -> None:
    maker = Maker(1)
    made = [maker.call(tmp_path / f"{number}.x") for number in range(60)]
    answers = run([call for call, _ in made])
    assert answers == [None] * len(made)
    for (_, args, options), images in made:
        opened = lt.open_ome_arrow(args[0])
        assert len(opened) == len(images)
        for row, values in enumerate(images):
            x = opened[row]
            assert x.shape == values.shape and x.dtype == values.dtype, options
            assert x.collect().tobytes() == values.tobytes(), options
            some = tuple(slice(n // 2, None) for n in values.shape)
            np.testing.assert_array_equal(x[some].collect(), values[some])


def _tensor(values: np.ndarray) -> lt.LazyTensor:
    return lt.asarray(values, dims=("t", "c", "z", "y", "x"))


def test_folders_of_ours_are_read(tmp_path: Path) -> None:
    made = {dtype: image((2, 3, 4, 33, 47), dtype) for dtype in DTYPES}
    places = [("one", t, c, z) for t, c, z in np.ndindex(2, 3, 4)]
    calls: list[Call] = []
    for number, values in enumerate(made.values()):
        path = tmp_path / f"{number}.ome-arrow"
        _tensor(values).sink_ome_arrow(path, image_id="one")
        calls += [("read_folder", (str(path),), {}), ("planes", (str(path), places), {})]
    answers = run(calls)
    for number, values in enumerate(made.values()):
        ((key, read, _),), planes = answers[2 * number : 2 * number + 2]
        assert key == "one" and read.dtype == values.dtype
        assert read.tobytes() == values.tobytes()
        np.testing.assert_array_equal(np.reshape(planes, values.shape), values)


def test_files_of_ours_are_read(tmp_path: Path) -> None:
    shape = (1, 2, 3, 21, 14)
    written: list[tuple[Path, np.ndarray]] = []
    for encoding, dtype in itertools.product(("bytes", "list"), DTYPES):
        path = tmp_path / f"{len(written)}.parquet"
        values = image(shape, dtype)
        if encoding == "list" and dtype in ("u4", "i8", "f4", "f8"):
            values = image(shape, "u2").astype(dtype)
        try:
            _tensor(values).sink_ome_arrow(path, encoding=encoding, image_id="one")
        except (TypeError, ValueError):
            assert encoding == "list", "bytes take every type"
        else:
            written.append((path, values))
    assert len(written) >= len(DTYPES) + 2
    answers = run([("read_file", (str(path),), {}) for path, _ in written])
    for (_, values), (read, meta) in zip(written, answers, strict=True):
        assert meta["id"] == "one" and read.dtype == values.dtype
        assert read.tobytes() == values.tobytes()


def test_big_endian_and_strided_arrays_are_written_as_they_read(tmp_path: Path) -> None:
    values = image((1, 2, 3, 21, 14))
    turned = values.astype(">u2").transpose(0, 1, 2, 4, 3)[..., ::-1, :]
    calls: list[Call] = []
    for encoding in ("chunks", "bytes", "list"):
        path = tmp_path / (f"{encoding}.x" if encoding == "chunks" else f"{encoding}.parquet")
        _tensor(turned).sink_ome_arrow(path, encoding=encoding)
        calls.append(("read_folder" if encoding == "chunks" else "read_file", (str(path),), {}))
    ((_, folder, _),), (raw, _), (numbers, _) = run(calls)
    for read in (folder, raw, numbers):
        np.testing.assert_array_equal(read, turned)


VIEWS: list[dict[str, Any]] = [
    {"z": 1}, {"z": slice(None, None, 2), "c": 1}, {"roi": (2, 3, 6, 7)}, {"layout": "TZCHW"},
    {"t": 0, "z": 0, "c": [1, 0]}, {"layout": "CHW", "t": 0, "z": 2},
    {"roi3d": (1, 2, 0, 4, 5, 2)}, {"roi_nd": (0, 1, 2, 2, 5, 6), "roi_type": "3d"},
    {"dtype": "uint8", "c": -1},
]  # fmt: skip


def test_views_are_those_of_the_package(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    _tensor(image((2, 2, 3, 21, 14))).sink_ome_arrow(path, encoding="list")
    calls: list[Call] = []
    for options in VIEWS:
        theirs = {key: np.dtype(v) if key == "dtype" else v for key, v in options.items()}
        calls.append(("viewed", (str(path), theirs), {}))
    for options, read in zip(VIEWS, run(calls), strict=True):
        ours = lt.ome.view(lt.scan_ome_arrow(path), **options)
        assert not isinstance(read, str), read
        assert ours.shape == read.shape and ours.dtype == read.dtype, options
        np.testing.assert_array_equal(ours.collect(), read)
