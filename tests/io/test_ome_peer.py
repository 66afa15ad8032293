"""What ome-zarr-py writes, and what its own reader says of it (``vectors/ome_zarr/make.py``)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from tests.io.test_ome_stores import VECTORS

EXPECTED: dict[str, dict[str, Any]] = json.loads((VECTORS / "expected.json").read_text("utf-8"))


def _image(oz: lt.OmeZarr, path: str) -> lt.OmeImage:
    """An image by its place in the hierarchy, not by the shortcut of its path."""
    if path.startswith("labels/"):
        return oz[0].labels[path.removeprefix("labels/")]
    if oz.plate is None:
        return oz[0]
    well, _, field = path.rpartition("/")
    return oz.plate[well][int(field)]


@pytest.mark.parametrize("name", EXPECTED)
def test_pixels_axes_and_transformations(name: str) -> None:
    oz = lt.open_ome_zarr(VECTORS / f"{name}.zip")
    assert oz.version == name.rpartition("-")[2]
    for path, facts in EXPECTED[name].items():
        image = _image(oz, path)
        assert image.path == path and len(image) == len(facts["levels"])
        for x, expected in zip(image.levels, facts["levels"], strict=True):
            _check_level(x, facts["axes"], expected)


def _check_level(x: lt.LazyTensor, axes: list[str], expected: dict[str, Any]) -> None:
    values = x.collect()
    assert list(x.dims) == axes and list(values.shape) == expected["shape"]
    assert values.dtype == np.dtype(expected["dtype"])
    assert hashlib.sha256(values.tobytes()).hexdigest() == expected["sha256"]
    steps = {step["type"]: step[step["type"]] for step in expected["transformations"]}
    assert [axis.scale for axis in x.axes] == steps["scale"]
    assert [axis.offset for axis in x.axes] == steps.get("translation", [0.0] * x.ndim)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_channels_and_labels(version: str) -> None:
    image = lt.open_ome_zarr(VECTORS / f"image-{version}.zip")[0]
    dapi, gfp = image.channels
    assert (dapi.name, dapi.color, dapi.active) == ("DAPI", "0000FF", True)
    assert (gfp.name, gfp.color, gfp.active) == ("GFP", "00FF00", False)
    assert gfp.window == {"min": 0, "max": 65535, "start": 0.5, "end": 77}
    x = image[0]
    assert x.axes[0].labels == ("DAPI", "GFP") and x.axes[1].unit == "micrometer"
    assert list(image.labels) == ["nuclei"]
    label = image.labels["nuclei"]
    assert label[0].dims == ("z", "y", "x") and label[0].dtype == "int32" and len(label) == 2
    assert label.attrs["image-label"]["colors"][0]["rgba"] == [255, 0, 0, 128]
    np.testing.assert_array_equal(x.sel(c="GFP").collect(), x.collect()[1])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_plates(version: str) -> None:
    plate = lt.open_ome_zarr(VECTORS / f"plate-{version}.zip").plate
    assert plate is not None and plate.name == "screen" and plate.wells == ("A/1", "B/3")
    assert (plate.rows, plate.columns) == (("A", "B"), ("1", "2", "3"))
    assert [found["id"] for found in plate.acquisitions] == [0, 4]
    assert plate["B/3"].acquisitions == (0, 4) and plate["B/3"].fields == ("0", "1")


def test_world_positions_through_views() -> None:
    """Levels whose shapes are no integer quotients: 15 -> 7 -> 3 and 11 -> 5 -> 2."""
    x = lt.scan_ome_zarr(VECTORS / "image-0.5.zip")
    assert [level.shape[2:] for level in x.levels] == [(15, 11), (7, 5), (3, 2)]
    for level in x.levels:
        # Whatever the level: the middle of the image is at the same place.
        middle = [a.world((n - 1) / 2) for a, n in zip(level.axes, level.shape, strict=True)]
        np.testing.assert_allclose(middle, [0.5, 2.0, 3.5, 1.25], rtol=1e-12)
    y, half = x.axes[2], x.levels[1].axes[2]
    crop = x.sel(c="DAPI", z=2.0, y=slice(2.0, 6.0))
    assert crop.shape == (8, 11) and crop.axes[0].offset == 2.0 and crop.axes[0].scale == 0.5
    assert x[:, :, ::-2].axes[2].world(0) == y.world(14) and x[:, :, ::-2].axes[2].scale == -1.0
    assert x.at_scale(y=half.scale).shape == x.levels[1].shape
    assert x.at_scale(y=1.07, tolerance=0.01).shape == x.levels[1].shape
    with pytest.raises(lt.DimensionError, match=r"no level has y=1\.2 within 0\.01; levels: 0"):
        x.at_scale(y=1.2)
