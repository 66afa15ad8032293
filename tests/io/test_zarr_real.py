"""Real images: the pixels have the published digests."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from lazytensor.io.zarr import scan
from tests.io.zarr_cases import read_all

_PATH, _SHAPE, _DTYPE, _DIGEST = 0, 4, 6, 7


def _rows(root: Path) -> list[list[str]]:
    """The zarr arrays of the table in the manifest."""
    lines = (root / "MANIFEST.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return [row for row in rows if len(row) > _DIGEST and ".zarr/" in row[_PATH]]


def test_pixels_of_real_arrays(data_root: Path) -> None:
    rows = _rows(data_root)
    assert len(rows) >= 20
    for row in rows:
        path = data_root / row[_PATH]
        values = read_all(scan(path))
        assert values.shape == tuple(int(n) for n in row[_SHAPE].split("x")), row[_PATH]
        little = values.astype(values.dtype.newbyteorder("<"))
        assert values.dtype == np.dtype(row[_DTYPE]), row[_PATH]
        assert hashlib.sha256(little.tobytes()).hexdigest() == row[_DIGEST], row[_PATH]
