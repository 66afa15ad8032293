"""What an exact estimate says of bytes against what a counting store delivered, to the byte."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor import native
from lazytensor.exec import workgrid
from tests.io.servers import serving

zarr = pytest.importorskip("zarr")

SHAPE = (30, 20, 26)
VALUES = (np.arange(30 * 20 * 26, dtype="<u2") * 7919 % 1009).astype("<u2").reshape(SHAPE)

_BYTES: dict[str, Any] = {
    "raw": None,
    "zstd": {"name": "zstd", "configuration": {"level": 1, "checksum": False}},
    "gzip": {"name": "gzip", "configuration": {"level": 1}},
    "blosc": {
        "name": "blosc",
        "configuration": {
            "cname": "lz4", "clevel": 5, "shuffle": "shuffle", "typesize": 2, "blocksize": 0,
        },
    },
}  # fmt: skip


def write(folder: Path, kind: str) -> None:
    """The values in a layout: ``v2-raw``, ``v3-zstd``, ``end-gzip``, ``start-raw``."""
    layout, codec = kind.split("-")
    kept: dict[str, Any] = {"shape": SHAPE, "dtype": "<u2", "fill_value": 3}
    if layout == "v2":
        import numcodecs

        compressors = {
            "raw": None,
            "zstd": numcodecs.Zstd(level=1),
            "gzip": numcodecs.GZip(level=1),
            "blosc": numcodecs.Blosc("lz4"),
        }[codec]
        array = zarr.create_array(
            folder, **kept, chunks=(8, 7, 9), zarr_format=2, compressors=compressors, filters=None
        )
    elif layout == "v3":
        array = zarr.create_array(folder, **kept, chunks=(8, 7, 9), compressors=_BYTES[codec])
    else:
        shards = {"shape": (16, 10, 18), "index_location": layout}
        array = zarr.create_array(
            folder, **kept, chunks=(4, 5, 9), shards=shards, compressors=_BYTES[codec]
        )
    # Two corners stay as they are: chunks, and chunks within shards, that are not stored.
    array[:, :, 9:] = VALUES[:, :, 9:]
    array[8:, 7:, :9] = VALUES[8:, 7:, :9]


KINDS = (
    *(f"v2-{codec}" for codec in _BYTES),
    *(f"v3-{codec}" for codec in _BYTES),
    *(f"{index}-{codec}" for index, codec in product(("end", "start"), _BYTES)),
)

VIEWS: dict[str, Callable[[lt.LazyTensor], lt.LazyTensor]] = {
    "whole": lambda x: x,
    "crop": lambda x: x[3:21, 6:15, 10:],
    "inner chunk": lambda x: x[4:8, 5:10, 9:18],
    "element": lambda x: x[9, 9, 9],
    "strided": lambda x: x[::5, 1::3, ::-2],
    "far apart": lambda x: x[::11, :, ::20],
    "gather": lambda x: x[[29, 0, 3], :, :][:, :, [25, 1]],
    "points": lambda x: x[[1, 17, 29], [2, 3, 19], [0, 12, 25]],
    "arithmetic": lambda x: x[1:] - x[:-1],
    "transposed": lambda x: lt.permute_dims(x, (2, 0, 1)) + 1,
    "sum": lambda x: lt.sum(x, axis=(0, 2)),
    "standardised": lambda x: (x - lt.mean(x)) / 2,
    "downsampled": lambda x: lt.downsample(x, (3, 3, 3), "max"),
    "overlaid": lambda x: lt.overlay([x[:9], x.translate_by[7, 3, 1]], fill_value=0),
    "nothing": lambda x: x[3:3],
    "missing": lambda x: x[:4, :5, :9],
}


@contextmanager
def target(nbytes: int) -> Iterator[None]:
    """Tasks that move no more than so many bytes, if they can help it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workgrid, "TARGET", nbytes)
        patch.setattr(workgrid, "_SMALLEST", min(nbytes, 1 << 20))
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for kind in KINDS:
        found[kind] = tmp_path_factory.mktemp("costs") / kind
        write(found[kind], kind)
    # Compiled helpers that come between a look and a collect would change how files are read.
    native.wait("chunks", timeout=60)
    return found


def files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def check(x: lt.LazyTensor, store: Any = None) -> None:
    """An exact estimate against what the collect after it does."""
    found = x.estimate(exact=True)
    quick = x.estimate()
    assert (quick.tasks, quick.chunks_read) == (found.tasks, found.chunks_read)
    if store is not None:
        store.reset()
    lt.metrics(reset=True)
    x.collect(engine=lt.LocalEngine(threads=1))
    spent = lt.metrics(reset=True)
    if store is not None:
        assert found.bytes_read == store.bytes
    assert found.bytes_read == spent["bytes_read"]
    assert found.tasks == spent["tasks"]
    # What lies on the border of two tasks is decoded by both.
    assert found.bytes_decoded <= spent["bytes_decoded"] <= quick.bytes_decoded * found.tasks
    if found.tasks == 1:
        assert found.bytes_decoded == spent["bytes_decoded"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nbytes", [1 << 30, 4000, 700])
def test_bytes_are_those_that_a_store_delivers(
    folders: dict[str, Path], kind: str, nbytes: int
) -> None:
    with target(nbytes):
        for view in VIEWS.values():
            store = lt.testing.CountingStore(folders[kind])
            check(view(lt.scan_zarr(store)), store)
            # Files are read in compiled code, which a counting store would hide.
            check(view(lt.scan_zarr(folders[kind])))


@pytest.mark.parametrize("kind", ["v2-raw", "v3-blosc", "end-raw", "start-zstd"])
def test_so_do_other_stores(folders: dict[str, Path], kind: str, tmp_path: Path) -> None:
    objects = files(folders[kind])
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for key, data in objects.items():
            packed.writestr(key, data)
    with target(4000):
        for view in VIEWS.values():
            for place in (objects, tmp_path / "a.zip"):
                store = lt.testing.CountingStore(place)
                check(view(lt.scan_zarr(store)), store)


@pytest.mark.parametrize("kind", ["v3-zstd", "end-gzip"])
def test_so_does_a_server(folders: dict[str, Path], kind: str) -> None:
    pytest.importorskip("aiohttp")
    with serving() as server:
        server.objects = files(folders[kind])
        for view in VIEWS.values():
            store = lt.testing.CountingStore(server.url)
            check(view(lt.scan_zarr(store)), store)


def test_a_look_at_an_index_is_not_remembered(folders: dict[str, Path]) -> None:
    """Else looking first would make reading afterwards cheaper than what was said."""
    x = lt.scan_zarr(lt.testing.CountingStore(folders["end-raw"]))[:4, :5, 9:18]
    first = x.estimate(exact=True)
    assert first == x.estimate(exact=True) == x.estimate()
    x.collect()
    kept = x.estimate(exact=True)
    index = 16 * 4 * 2 * 2 + 4
    assert first.bytes_read - kept.bytes_read == index


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("nbytes", [1 << 30, 700])
def test_of_a_file_in_one_piece(tmp_path: Path, order: Any, nbytes: int) -> None:
    np.save(tmp_path / "a.npy", np.asarray(VALUES, order=order))
    with target(nbytes):
        for view in VIEWS.values():
            x = view(lt.scan_npy(tmp_path / "a.npy"))
            found = x.estimate(exact=True)
            lt.metrics(reset=True)
            x.collect(engine=lt.LocalEngine(threads=1))
            spent = lt.metrics(reset=True)
            assert found.tasks == spent["tasks"]
            assert found.bytes_read == spent["bytes_read"]
            assert found.bytes_decoded == spent["bytes_decoded"]


def test_pieces_of_a_file_decode_to_no_more_than_is_wanted(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    assert lt.scan_npy(tmp_path / "a.npy")[3:5, 2].estimate().bytes_decoded == 2 * 26 * 2
