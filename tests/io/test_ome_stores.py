"""OME-Zarr from every kind of store, also those that cannot list what they hold."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import zarr

import lazytensor as lt
from lazytensor.errors import SourceError, SourceNotFoundError
from lazytensor.io.store_memory import DictStore
from tests.io.zarr_cases import array_v2, store

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "ome_zarr"


class Unlisted(DictStore):
    """Objects by key and nothing else, as a plain web server has them."""

    def children(self, prefix: str) -> list[str]:
        raise SourceError(f"{prefix!r} cannot be listed")

    def walk(self, prefix: str) -> Iterator[tuple[str, int]]:
        raise SourceError(f"{prefix!r} cannot be listed")


@contextmanager
def served(data: dict[str, bytes]) -> Iterator[str]:
    """The URL of a server that knows these objects and nothing else, neither folders nor ranges."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = data.get(self.path.lstrip("/"))
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body or b"")

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def unpacked(name: str) -> dict[str, bytes]:
    with zipfile.ZipFile(VECTORS / f"{name}.zip") as archive:
        return {entry: archive.read(entry) for entry in archive.namelist()}


def _everything(oz: lt.OmeZarr) -> dict[str, np.ndarray]:
    """Pixels of every level of every image, label and field, by path."""
    fields = [image for well in oz.plate for image in oz.plate[well]] if oz.plate else []
    images = [*oz.images, *fields]
    images += [label for image in images for label in image.labels.values()]
    return {
        f"{image.path}:{i}": level.collect()
        for image in images
        for i, level in enumerate(image.levels)
    }


NAMES = ["image-0.4", "image-0.5", "plate-0.4", "plate-0.5"]


@pytest.mark.parametrize("name", NAMES)
def test_stores_that_cannot_list(name: str) -> None:
    found = _everything(lt.open_ome_zarr(Unlisted(unpacked(name))))
    expected = _everything(lt.open_ome_zarr(unpacked(name)))
    assert len(found) == (5 if name.startswith("image") else 12)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], expected[key]) for key in expected)


def test_collections_that_cannot_be_listed() -> None:
    image = {key: value for key, value in unpacked("image-0.4").items() if "labels" not in key}
    data = store(**{".zgroup": {"zarr_format": 2}, ".zattrs": {"bioformats2raw.layout": 3}})
    data |= {f"{i}/{key}": value for i in range(3) for key, value in image.items()}
    assert [found.path for found in lt.open_ome_zarr(Unlisted(data))] == ["0", "1", "2"]


def test_nothing_and_no_group_without_listing() -> None:
    class Remote(Unlisted):
        remote = True

    with pytest.raises(SourceNotFoundError, match="no zarr group at memory"):
        lt.open_ome_zarr(Remote({}))
    with pytest.raises(lt.FormatError, match="use scan_zarr"):
        lt.open_ome_zarr(Remote(store(**{".zarray": array_v2((1,), (1,))})))


def test_over_http() -> None:
    data = unpacked("plate-0.4")
    expected = lt.scan_ome_zarr(data, well="B/3", field=1, level=2)
    with served({f"data/{key}": value for key, value in data.items()}) as url:
        found = lt.scan_ome_zarr(f"{url}/data", well="B/3", field=1, level=2)
        assert found.axes == expected.axes and len(found.levels) == 3
        np.testing.assert_array_equal(found.collect(), expected.collect())
        with pytest.raises(SourceNotFoundError):
            lt.open_ome_zarr(f"{url}/nothing")


@pytest.mark.parametrize("kind", ["zip", "folder", "memory", "fs and path", "zarr", "file url"])
def test_kinds_of_stores(tmp_path: Path, kind: str) -> None:
    data = unpacked("image-0.5")
    packed = VECTORS / "image-0.5.zip"
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path)
    memory = fsspec.filesystem("memory")
    memory.pipe({f"/ome/a/{key}": value for key, value in data.items()})
    stores: dict[str, Any] = {
        "zip": packed,
        "folder": tmp_path,
        "memory": "memory://ome/a",
        "fs and path": (memory, "/ome/a"),
        "zarr": zarr.open_group(str(tmp_path), mode="r"),
        "file url": tmp_path.as_uri(),
    }
    x = lt.scan_ome_zarr(stores[kind], level=1)
    np.testing.assert_array_equal(x.collect(), lt.scan_ome_zarr(data, level=1).collect())
    memory.rm("/ome", recursive=True)


def test_consolidated_metadata_is_read_once(tmp_path: Path) -> None:
    with zipfile.ZipFile(VECTORS / "plate-0.4.zip") as archive:
        archive.extractall(tmp_path)
    zarr.consolidate_metadata(str(tmp_path), zarr_format=2)
    counted = lt.testing.CountingStore(tmp_path)
    oz = lt.open_ome_zarr(counted)
    before = counted.requests
    assert oz.plate is not None
    levels = [level for well in oz.plate for image in oz.plate[well] for level in image.levels]
    assert len(levels) == 12 and counted.requests == before
    expected = _everything(lt.open_ome_zarr(VECTORS / "plate-0.4.zip"))
    assert np.array_equal(levels[-1].collect(), expected["B/3/1:2"])


def test_images_of_which_only_consolidated_metadata_is_left(tmp_path: Path) -> None:
    with zipfile.ZipFile(VECTORS / "plate-0.4.zip") as archive:
        archive.extractall(tmp_path)
    zarr.consolidate_metadata(str(tmp_path), zarr_format=2)
    for name in (".zarray", ".zgroup", ".zattrs"):
        for path in tmp_path.glob(f"*/**/{name}"):
            path.unlink()
    x = lt.scan_ome_zarr(tmp_path, well="B/3", field=1, level=1)
    expected = lt.scan_ome_zarr(VECTORS / "plate-0.4.zip", well="B/3", field=1, level=1)
    again = lt.LazyTensor.deserialize(x.serialize())
    assert x.axes == again.axes == expected.axes and len(again.levels) == 3
    np.testing.assert_array_equal(x.collect(), expected.collect())
    np.testing.assert_array_equal(again.collect(), expected.collect())


def test_opening_reads_each_document_once() -> None:
    """What matters over a network: a request for each array, and two for the group."""
    counted = lt.testing.CountingStore(unpacked("image-0.5"))
    image = lt.open_ome_zarr(counted)[0]
    assert len(image.levels) == 3 and list(image.labels) == ["nuclei"]
    keys = [entry[1] for entry in counted.log]
    assert sorted(keys[keys.index("s0/zarr.json") :]) == [
        "labels/zarr.json",
        "s0/zarr.json",
        "s1/zarr.json",
        "s2/zarr.json",
    ]
    assert set(keys[: keys.index("s0/zarr.json")]) == {"zarr.json"} and len(keys) <= 6


def test_plans_of_images_can_be_sent_elsewhere(tmp_path: Path) -> None:
    with zipfile.ZipFile(VECTORS / "plate-0.5.zip") as archive:
        archive.extractall(tmp_path)
    x = lt.scan_ome_zarr(tmp_path, well="B/3", field=1, level=1)
    again = lt.LazyTensor.deserialize(x.sel(c="GFP", y=slice(1.0, 4.0)).serialize())
    assert again.axes == x.sel(c="GFP", y=slice(1.0, 4.0)).axes and len(x.levels) == 3
    np.testing.assert_array_equal(again.collect(), x.sel(c="GFP", y=slice(1.0, 4.0)).collect())
