"""Write the zip files beside this script with ome-zarr-py, and what its own reader says of them.

    pip install ome-zarr && python make.py

Not part of the tests: they read what it wrote (with ome-zarr-py 0.21.0, zarr-python 3.4.2). The
zip entries are dated 1980, so that running it again gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from ome_zarr.format import FormatV04, FormatV05
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr.writer import (
    write_image,
    write_labels,
    write_plate_metadata,
    write_well_metadata,
)

HERE = Path(__file__).resolve().parent
FORMATS = [FormatV04(), FormatV05()]
CHANNELS = [
    {
        "label": "DAPI",
        "color": "0000FF",
        "window": {"min": 0, "max": 65535, "start": 3, "end": 999},
        "active": True,
    },
    {
        "label": "GFP",
        "color": "00FF00",
        "window": {"min": 0, "max": 65535, "start": 0.5, "end": 77},
        "active": False,
    },
]


def pixels(shape: tuple[int, ...], dtype: str = "uint16", seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


def group(path: Path, fmt: Any) -> zarr.Group:
    return zarr.open_group(str(path), mode="w", zarr_format=fmt.zarr_format)


def image(root: zarr.Group, fmt: Any, *, seed: int = 1) -> None:
    """Odd sizes, so that levels are no integer quotients; a label without channels."""
    shape = (2, 3, 15, 11)
    write_image(
        pixels(shape, seed=seed),
        root,
        scale_factors=[2, 4],
        name="cells",
        fmt=fmt,
        axes=list("czyx"),
        storage_options={"chunks": (1, 1, 8, 8)},
        scale={"z": 2.0, "y": 0.5, "x": 0.25},
        axes_units={"z": "micrometer", "y": "micrometer", "x": "micrometer"},
    )
    described = {"channels": CHANNELS, "version": fmt.version}
    if fmt.version == "0.4":
        root.attrs["omero"] = described
    else:
        root.attrs["ome"] = {**root.attrs["ome"], "omero": described}


def labelled(root: zarr.Group, fmt: Any) -> None:
    image(root, fmt)
    write_labels(
        pixels((3, 15, 11), "int32", seed=2),
        root,
        name="nuclei",
        fmt=fmt,
        axes=list("zyx"),
        scale_factors=[2],
        label_metadata={"colors": [{"label-value": 1, "rgba": [255, 0, 0, 128]}]},
    )


def plate(root: zarr.Group, fmt: Any) -> None:
    write_plate_metadata(
        root,
        ["A", "B"],
        ["1", "2", "3"],
        ["A/1", "B/3"],
        fmt=fmt,
        name="screen",
        acquisitions=[{"id": 0, "name": "first"}, {"id": 4, "maximumfieldcount": 1}],
        field_count=2,
    )
    for row, column in (("A", "1"), ("B", "3")):
        well = root.require_group(row).require_group(column)
        write_well_metadata(
            well, [{"path": "0", "acquisition": 0}, {"path": "1", "acquisition": 4}], fmt=fmt
        )
        for field in range(2):
            image(well.require_group(str(field)), fmt, seed=ord(row) + field)


def described(node: Any) -> list[dict[str, Any]]:
    """What the package's reader says of each level of an image."""
    levels = []
    transforms = node.metadata.get("coordinateTransformations") or [None] * len(node.data)
    for data, steps in zip(node.data, transforms, strict=True):
        values = data.compute()
        levels.append(
            {
                "shape": values.shape,
                "dtype": values.dtype.str,
                "sha256": hashlib.sha256(values.tobytes()).hexdigest(),
                "transformations": steps,
            }
        )
    return levels


def facts(path: Path, images: list[str]) -> dict[str, Any]:
    found = {}
    for inner in images:
        location = parse_url(path / inner)
        assert location is not None
        node = next(iter(Reader(location)()))
        axes = [a if isinstance(a, str) else a["name"] for a in node.metadata["axes"]]
        found[inner] = {"axes": axes, "levels": described(node)}
    return found


def pack(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix())
            archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)


def main() -> None:
    warnings.simplefilter("ignore")
    expected = {}
    with tempfile.TemporaryDirectory() as folder:
        for fmt in FORMATS:
            path = Path(folder) / f"image-{fmt.version}"
            labelled(group(path, fmt), fmt)
            expected[path.name] = facts(path, ["", "labels/nuclei"])
            path = Path(folder) / f"plate-{fmt.version}"
            plate(group(path, fmt), fmt)
            fields = [f"{well}/{i}" for well in ("A/1", "B/3") for i in range(2)]
            expected[path.name] = facts(path, fields)
        for name in expected:
            pack(Path(folder) / name, HERE / f"{name}.zip")
    text = json.dumps(expected, indent=1, sort_keys=True)
    (HERE / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
