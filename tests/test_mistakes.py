"""What people try first with files: the error says what to do instead."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lazytensor as lt
from tests.io.servers import serving

zarr = pytest.importorskip("zarr")

VALUES = np.arange(24, dtype="u2").reshape(4, 6)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an array, a group, and an archive of the group."""
    root: Path = tmp_path_factory.mktemp("mistakes")
    zarr.save(root / "a.zarr", VALUES, zarr_format=2)
    group = zarr.open_group(root / "g.zarr", mode="w")
    group.create_array("raw", data=VALUES, chunks=(2, 6))
    group.create_group("sub").create_array("deep", data=VALUES)
    with zipfile.ZipFile(root / "g.zip", "w") as archive:
        for path in sorted((root / "g.zarr").rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(root).as_posix())
    return root


MISTAKES: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "a path to from_array": (
        lambda p: lt.from_array(p / "a.zarr"), TypeError, "lt.scan takes paths",
    ),
    "a group to from_array": (
        lambda p: lt.from_array(zarr.open(p / "g.zarr")), TypeError, "lt.open_zarr takes groups",
    ),
    "a group to scan": (
        lambda p: lt.scan(p / "g.zarr"), lt.FormatError, r"\['raw'\].*\['sub'\].*lt.open_zarr",
    ),
    "a group to scan_zarr": (
        lambda p: lt.scan_zarr(p / "g.zarr"), lt.FormatError,
        r"arrays in it: raw; groups: sub\); name an array with path=, or use open_zarr",
    ),
    "a wrong path in a group": (
        lambda p: lt.scan(p / "g.zarr", path="rw"), lt.SourceNotFoundError, "at .*g.zarr/rw",
    ),
    "a wrong name in a group": (
        lambda p: lt.open_zarr(p / "g.zarr")["rw"], KeyError, "no 'rw'; it has raw, sub",
    ),
    "a wrong path in an archive": (
        lambda p: lt.scan_zarr(f"zip://g.zarr/rw::{p / 'g.zip'}"), lt.SourceNotFoundError,
        "g.zip/g.zarr/rw",
    ),
    "the document in place of its folder": (
        lambda p: lt.scan_zarr(p / "a.zarr/.zarray"), lt.FormatError,
        "is a file.*, such as '.*a.zarr'",
    ),
    "an array to open_zarr": (
        lambda p: lt.open_zarr(p / "a.zarr"), lt.FormatError, "open it with scan_zarr",
    ),
    "an array to open_ome_zarr": (
        lambda p: lt.open_ome_zarr(p / "a.zarr"), lt.FormatError, "use scan_zarr",
    ),
    "a plain group to open_ome_zarr": (
        lambda p: lt.open_ome_zarr(p / "g.zarr"), lt.FormatError, "open_zarr opens any zarr group",
    ),
    "a field as of NumPy": (
        lambda p: lt.scan_zarr(p / "a.zarr")["f"], lt.OutOfBoundsError, r"x.field\(name\)",
    ),
    "no consolidated metadata": (
        lambda p: lt.open_zarr(p / "g.zarr", consolidated=True), lt.FormatError,
        "g.zarr: there is no consolidated metadata; open it with consolidated=None",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_the_error_says_what_to_do(name: str, place: Path) -> None:
    attempt, kind, said = MISTAKES[name]
    with pytest.raises(kind, match=said):
        attempt(place)


def test_scan_finds_the_array_that_path_names(place: Path) -> None:
    np.testing.assert_array_equal(lt.scan(place / "g.zarr", path="sub/deep").collect(), VALUES)


def test_scan_of_a_server_that_may_not_list(place: Path) -> None:
    """Such buckets answer 403 for what is not there, here for ``zarr.json`` before ``.zarray``."""
    folder = place / "a.zarr"
    objects = {f"a/{p.name}": p.read_bytes() for p in folder.iterdir() if p.is_file()}
    with serving(objects) as server:
        server.absent = 403
        with pytest.raises(lt.SourceError, match="403"):
            lt.scan(f"{server.url}/a")
        found = lt.scan(f"{server.url}/a", missing_status=(403, 404))
        np.testing.assert_array_equal(found.collect(), VALUES)
        with pytest.raises(lt.SourceNotFoundError, match="no zarr array or group at http"):
            lt.scan(f"{server.url}/b", missing_status=(403, 404))
