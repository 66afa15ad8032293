"""Real images through the public API: every array and level, against manifest and zarr-python."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import lazytensor as lt

_PATH, _SHAPE, _AXES, _DTYPE, _DIGEST = 0, 4, 5, 6, 7


def _rows(root: Path) -> dict[str, list[str]]:
    """The zarr arrays of the manifest, by path."""
    lines = (root / "MANIFEST.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return {row[_PATH]: row for row in rows if len(row) > _DIGEST and ".zarr/" in row[_PATH]}


def _stores(root: Path) -> list[Path]:
    stores = {root / path.partition(".zarr/")[0] for path in _rows(root)}
    return sorted(path.with_name(f"{path.name}.zarr") for path in stores)


def _images(oz: lt.OmeZarr) -> Iterator[lt.OmeImage]:
    fields = [image for well in oz.plate for image in oz.plate[well]] if oz.plate else []
    for image in [*oz.images, *fields]:
        yield image
        yield from image.labels.values()


def _datasets(store: Path, image: lt.OmeImage) -> list[dict[str, Any]]:
    """The levels as the file lists them, read without the library."""
    folder = store / image.path
    if (folder / "zarr.json").exists():
        text = (folder / "zarr.json").read_text(encoding="utf-8")
        ome = json.loads(text)["attributes"]["ome"]
    else:
        ome = json.loads((folder / ".zattrs").read_text(encoding="utf-8"))
    datasets: list[dict[str, Any]] = ome["multiscales"][0]["datasets"]
    return datasets


def test_every_level_of_every_image(data_root: Path) -> None:
    rows, seen = _rows(data_root), set()
    for store in _stores(data_root):
        if "/invalid/" in store.as_posix():
            continue
        for image in _images(lt.open_ome_zarr(store)):
            for x, dataset in zip(image.levels, _datasets(store, image), strict=True):
                path = "/".join(p for p in (image.path, dataset["path"]) if p)
                _check_scale(x, dataset)
                row = rows.get(f"{store.relative_to(data_root).as_posix()}/{path}")
                _check_values(x, zarr.open_array(store / path, mode="r"), row)
                seen.add(row and row[_PATH])
    readable = {path for path in rows if "/invalid/" not in path}
    assert readable <= seen and len(readable) >= 20


def _check_scale(x: lt.LazyTensor, dataset: dict[str, Any]) -> None:
    steps = {step["type"]: step[step["type"]] for step in dataset["coordinateTransformations"]}
    assert [a.scale for a in x.axes] == steps["scale"]
    assert [a.offset for a in x.axes] == steps.get("translation", [0.0] * x.ndim)


def _check_values(x: lt.LazyTensor, peer: Any, row: list[str] | None) -> None:
    values = x.collect()
    np.testing.assert_array_equal(values, peer[...])
    assert values.dtype == peer.dtype
    if row is None:
        return
    assert "x".join(map(str, x.shape)) == row[_SHAPE] and str(x.dtype) == row[_DTYPE]
    assert "".join(x.dims).upper() == row[_AXES]
    little = values.astype(values.dtype.newbyteorder("<"))
    assert hashlib.sha256(little.tobytes()).hexdigest() == row[_DIGEST]


def test_shards_larger_than_the_array_and_labels_without_its_channels(data_root: Path) -> None:
    image = lt.open_ome_zarr(data_root / "idr0062A_6001240_z100-139.zarr")[0]
    x, label = image[0], image.labels["0"][0]
    assert x.storage.shards == (1, 10, 512, 512) and x.shape == (2, 40, 275, 271)
    assert (x.shape[0], label.shape[0], label.dtype) == (2, 1, np.int8)
    masked = (x * (label > 0))[:, 20, 100:140, 100:140]
    by_hand = x.collect() * (label.collect() > 0)
    np.testing.assert_array_equal(masked.collect(), by_hand[:, 20, 100:140, 100:140])
    np.testing.assert_array_equal(x.sel(c="Dapi", z=2.5).collect(), x.collect()[1, 5])
    assert [c.color for c in image.channels] == ["0000FF", "FFFF00"]
    assert image.channels[0].window == {"end": 1500.0, "max": 65535.0, "min": 0.0, "start": 0.0}
    assert x.at_scale(y=0.72, x=0.72).shape == (2, 40, 137, 135)


def test_a_plate(data_root: Path) -> None:
    plate = lt.open_ome_zarr(data_root / "nf1_plate_ngff04.zarr").plate
    assert plate is not None
    image = plate["D/6"][0]
    assert [c.name for c in image.channels] == ["DAPI", "GFP", "RFP"]
    x = lt.scan_ome_zarr(data_root / "nf1_plate_ngff04.zarr", well="D/6", level=1)
    assert x.shape == (3, 128, 127) and x.axes[1].unit == "micrometer"
    thr = lt.scan_ome_zarr(data_root / "nf1_plate_ngff04.zarr", well="D/6", label="thr")
    assert thr.dims == ("y", "x") and thr.shape == (256, 255)
    # 255 -> 127 is no halving: the world position of a pixel is what is kept.
    here = image[0].sel(x=60.0).axes, image[1].sel(x=60.0).axes
    assert here[0] == image[0].axes[:2] and here[1] == image[1].axes[:2]


def test_invalid_examples_are_refused(data_root: Path) -> None:
    invalid = sorted((data_root / "ome-zarr-examples-v04" / "invalid").glob("*"))
    assert len(invalid) >= 4
    for path in invalid:
        with pytest.raises(lt.FormatError, match=path.name):
            lt.scan_ome_zarr(path)
