"""Typed chunk datasets with something wrong in a table: told by name, or done without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from tests.io.ome_arrow.ome_arrow_files import dataset, image, packed

U16 = image()
FOLDER = {"a": U16, "b": image((1, 1, 2, 4, 4), "f4")}


def _chunk(number: int, **changes: Any) -> Callable[[Any], Any]:
    return lambda rows: rows["chunks"][number].update(changes)


@pytest.mark.parametrize("missing", ["images.parquet", "chunks.parquet"])
def test_folders_without_a_table(missing: str, tmp_path: Path) -> None:
    files = dataset(FOLDER)
    del files[missing]
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for source in (files, tmp_path):
        with pytest.raises(lt.SourceError, match=missing):
            lt.scan_ome_arrow(source, image_id="a")
        with pytest.raises(lt.SourceError, match=missing):
            lt.open_ome_arrow(source)[0]


def test_folders_without_a_manifest_are_folders() -> None:
    files = dataset(FOLDER)
    del files["_ome_arrow_dataset.json"]
    np.testing.assert_array_equal(lt.scan_ome_arrow(files, image_id="a").collect(), U16)


@pytest.mark.parametrize("name", ["images.parquet", "chunks.parquet", "index.parquet"])
@pytest.mark.parametrize("junk", [b"", b"PAR1", b"x" * 500])
def test_folders_with_a_table_that_is_none(name: str, junk: bytes) -> None:
    """An index is a help that can be done without."""
    files = dataset(FOLDER) | {name: junk}
    if name == "index.parquet":
        np.testing.assert_array_equal(lt.scan_ome_arrow(files, image_id="a").collect(), U16)
    else:
        with pytest.raises(lt.FormatError, match=name):
            lt.scan_ome_arrow(files, image_id="a")


@pytest.mark.parametrize("path", ["../chunks.parquet", "/etc/passwd", "other.parquet", "", None])
def test_folders_whose_index_points_elsewhere(path: str | None) -> None:
    def change(rows: Any) -> None:
        for row in rows["index"]:
            row["fragment_path"] = path

    files = dataset(FOLDER, change=change)
    try:
        values = lt.scan_ome_arrow(files, image_id="a").collect()
    except lt.FormatError:
        return
    np.testing.assert_array_equal(values, U16)


@pytest.mark.parametrize(
    "changes",
    [
        {"row_group_id": 10**6}, {"row_group_id": -1}, {"row_index_in_group": 99},
        {"row_index_in_group": -1}, {"chunk_id": 5}, {"image_id": "b"}, {"t": 1}, {"shape_x": 1},
        {"row_group_id": None}, {"row_index_in_group": None}, {"x": None},
    ],
)  # fmt: skip
@pytest.mark.parametrize("group", [1, 4])
def test_folders_whose_index_is_wrong(changes: dict[str, Any], group: int) -> None:
    def change(rows: Any) -> None:
        rows["index"][1].update(changes)

    files = dataset(FOLDER, group=group, change=change)
    for key, values in FOLDER.items():
        np.testing.assert_array_equal(lt.scan_ome_arrow(files, image_id=key).collect(), values)


def test_folders_whose_index_lacks_rows() -> None:
    files = dataset(FOLDER, change=lambda rows: rows["index"].pop(3))
    np.testing.assert_array_equal(lt.scan_ome_arrow(files, image_id="a").collect(), U16)
    files = dataset(FOLDER, change=lambda rows: rows["index"].clear())
    np.testing.assert_array_equal(lt.scan_ome_arrow(files, image_id="a").collect(), U16)


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        _chunk(3, t=-1), _chunk(3, y=4), _chunk(3, shape_x=0), _chunk(3, shape_t=-1),
        _chunk(3, pixel_bytes=b"1234"), _chunk(3, pixel_bytes=None), _chunk(3, dtype="float33"),
        _chunk(3, dtype="int32"), _chunk(3, x=None), _chunk(3, image_id="nobody"),
        _chunk(3, image_id=None),
        lambda rows: rows["chunks"].pop(3),
        lambda rows: rows["chunks"].append(rows["chunks"][3] | {"chunk_id": 999}),
    ],
)  # fmt: skip
def test_folders_with_one_bad_chunk(change: Callable[[Any], Any], index: bool) -> None:
    files = dataset(FOLDER, change=change, index=index)
    with pytest.raises(lt.FormatError):
        lt.scan_ome_arrow(files, image_id="a").collect()
    try:
        other = lt.scan_ome_arrow(files, image_id="b")
    except lt.FormatError:
        return
    np.testing.assert_array_equal(other.collect(), FOLDER["b"])


@pytest.mark.parametrize(
    "changes",
    [{"size_y": None}, {"size_z": 0}, {"size_c": -2}, {"dtype": "float33"}, {"dtype": None}],
)
def test_folders_with_one_bad_image(changes: dict[str, Any]) -> None:
    files = dataset(FOLDER, change=lambda rows: rows["images"][0].update(changes))
    (name,) = changes
    with pytest.raises(lt.FormatError, match=name):
        lt.scan_ome_arrow(files, image_id="a")
    with pytest.raises(lt.FormatError, match=name):
        lt.open_ome_arrow(files)[0]
    np.testing.assert_array_equal(lt.scan_ome_arrow(files, image_id="b").collect(), FOLDER["b"])


def test_folders_with_two_images_of_one_name() -> None:
    files = dataset(FOLDER, change=lambda rows: rows["images"][1].update(image_id="a"))
    with pytest.raises(lt.FormatError):
        lt.scan_ome_arrow(files, image_id="a").collect()


def test_images_that_are_not_there() -> None:
    files = dataset(FOLDER)
    with pytest.raises(lt.SourceNotFoundError, match="nobody"):
        lt.scan_ome_arrow(files, image_id="nobody")
    with pytest.raises((lt.OutOfBoundsError, lt.SourceNotFoundError)):
        lt.scan_ome_arrow(files, row=2)
    with pytest.raises(lt.OutOfBoundsError):
        lt.scan_ome_arrow(packed(U16), row=1)
    with pytest.raises(lt.SourceNotFoundError):
        lt.scan_ome_arrow("/nowhere/at/all.parquet")
