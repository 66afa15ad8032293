"""A real table of crops, as CytoDataFrame wrote it by pandas: every image against the manifest."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

import lazytensor as lt
from tests.io.ome_arrow.ome_arrow_files import ipc

_PATH, _SHAPE, _AXES, _DTYPE, _DIGEST = 0, 4, 5, 6, 7
_PLACE = re.compile(r"(ome-parquet/\S+) \[(\w+)\]\[(\d+)\]")

Row = tuple[str, str, int, list[str]]


def _rows(root: Path) -> list[Row]:
    """File, column, row and what the manifest says of it."""
    lines = (root / "MANIFEST.md").read_text(encoding="utf-8").splitlines()
    found = []
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        place = _PLACE.match(cells[_PATH])
        if place:
            found.append((place[1], place[2], int(place[3]), cells))
    if not found:
        pytest.skip("no tables of OME-Arrow among the real images")
    return found


def _check(x: lt.LazyTensor, cells: list[str]) -> None:
    assert "x".join(map(str, x.shape)) == cells[_SHAPE]
    assert "".join(x.dims).upper() == cells[_AXES] and str(x.dtype) == cells[_DTYPE]
    values = x.collect()
    assert hashlib.sha256(values.tobytes()).hexdigest() == cells[_DIGEST]
    np.testing.assert_array_equal(x[..., 3:9, ::5].collect(), values[..., 3:9, ::5])


def test_every_image_has_its_digest(data_root: Path) -> None:
    good = [row for row in _rows(data_root) if row[3][_AXES] == "TCZYX"]
    assert len(good) >= 15
    for path in {row[0] for row in good}:
        table = pq.read_table(data_root / path)
        sources: list[Any] = [
            data_root / path, (data_root / path).read_bytes(), table, pl.from_arrow(table),
            ipc(table), ipc(table, stream=True, rows=1),
        ]  # fmt: skip
        for source in sources:
            opened = lt.open_ome_arrow(source)
            for _, column, number, cells in (row for row in good if row[0] == path):
                _check(opened[number, column], cells)
                _check(lt.scan_ome_arrow(source, row=number, column=column), cells)


def test_images_of_three_values_a_pixel_are_refused(data_root: Path) -> None:
    """Their planes hold interleaved RGB, which nothing says: the length alone is wrong."""
    bad = [row for row in _rows(data_root) if row[3][_AXES] == "YXS"]
    assert bad
    for path, column, number, cells in bad:
        y, x, samples = map(int, cells[_SHAPE].split("x"))
        held, wanted = y * x * samples, y * x
        opened = lt.open_ome_arrow(data_root / path)[number, column]
        assert opened.shape == (1, 1, 1, y, x)
        for where in (..., (0, 0, 0, 3, 3)):
            with pytest.raises(lt.FormatError, match=rf"\b{held}\b") as caught:
                opened[where].collect()
            assert re.search(rf"\b{wanted}\b", str(caught.value))
        assert column in str(caught.value) or "BR00117006" in str(caught.value)


def test_the_table_beside_the_images(data_root: Path) -> None:
    path = data_root / _rows(data_root)[0][0]
    opened = lt.open_ome_arrow(path)
    schema = pq.read_schema(path)
    assert len(opened) == pq.read_metadata(path).num_rows
    assert set(opened.columns) == {column for _, column, _, _ in _rows(data_root)}
    frame = opened.frame.collect()
    assert not set(frame.columns) & set(opened.columns)
    plain = [name for name in schema.names if "OMEArrow" not in name and "__index" not in name]
    assert set(plain) <= set(frame.columns) | {"index"}
    expected = pl.from_arrow(pq.read_table(path, columns=plain))
    assert isinstance(expected, pl.DataFrame)
    assert frame.select(expected.columns).equals(expected)
    name = next(n for n in plain if expected[n].n_unique() == len(expected))
    kept = opened.filter(pl.col(name) == expected[name][1])
    assert len(kept) == 1
    column = opened.columns[0]
    np.testing.assert_array_equal(kept[0, column].collect(), opened[1, column].collect())


def test_the_column_has_to_be_named(data_root: Path) -> None:
    path = data_root / _rows(data_root)[0][0]
    names = lt.open_ome_arrow(path).columns
    with pytest.raises(lt.FormatError, match=re.escape(names[0])) as caught:
        lt.scan_ome_arrow(path)
    assert names[-1] in str(caught.value)
