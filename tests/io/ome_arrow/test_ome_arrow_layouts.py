"""Images in ways that no published file has: types, codecs, orders, and tables of other writers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lazytensor as lt
from tests.io.ome_arrow.ome_arrow_files import (
    BYTES,
    INFERRED,
    LISTS,
    Record,
    boxes,
    dataset,
    image,
    ipc,
    packed,
    parquet,
    record,
    stored,
    struct,
    table,
)

U16 = image()
DTYPES = [
    "?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16",
]  # fmt: skip
CODECS = [None, "zstd", "lz4", "snappy", "gzip", "brotli"]


def same(x: lt.LazyTensor, expected: np.ndarray) -> None:
    """All values, bit for bit, and some boxes of them."""
    assert x.shape == expected.shape and x.dtype == expected.dtype
    assert x.collect().tobytes() == expected.tobytes()
    last = tuple(n - 1 for n in x.shape)
    assert x[last].collect().tobytes() == expected[last].tobytes()
    some = tuple(slice(n // 2, None, 1 + n % 2) for n in x.shape)
    np.testing.assert_array_equal(x[some].collect(), expected[some])


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_as_bytes(dtype: str) -> None:
    values = image(dtype=dtype)
    if values.dtype.kind == "f":
        values[0, 0, 0, :2, :3] = [[np.nan, np.inf, -np.inf], [-0.0, 1e-7, 0]]
    same(lt.scan_ome_arrow(packed(values, encoded=True, chunk=(2, 3, 4))), values)
    same(lt.scan_ome_arrow(dataset([values], (2, 1, 2, 3, 4))), values)


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_of_a_chunk(codec: str | None) -> None:
    values = np.repeat(image((1, 2, 4, 9, 2), "u2"), 8, axis=4)
    for options in ({"compression": None}, {"compression": "lz4"}):
        made = table([record(values, encoded=True, chunk=(2, 4, 16), codec=codec)], BYTES)
        same(lt.scan_ome_arrow(parquet(made, **options)), values)
        same(lt.scan_ome_arrow(made), values)


@pytest.mark.parametrize("name", ["ZSTD", "none", "", "None"])
def test_names_of_codecs_in_other_words(name: str) -> None:
    """The package takes "none", "null" and "false" for no compression, and any case."""
    made = record(U16, encoded=True, codec="zstd" if name == "ZSTD" else None)
    for chunk in made["chunks"]:
        chunk["compression"] = name
    same(lt.scan_ome_arrow(parquet(table([made], BYTES))), U16)


def test_codecs_differ_from_chunk_to_chunk() -> None:
    made = record(U16, encoded=True, chunk=(1, 3, 4))
    for chunk, codec in zip(made["chunks"], itertools.cycle(CODECS), strict=False):
        values = np.frombuffer(chunk["pixel_bytes"], "u2")
        chunk["compression"], chunk["pixel_bytes"] = codec, stored(values, codec)
    same(lt.scan_ome_arrow(parquet(table([made], BYTES))), U16)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("float", "f4"), ("double", "f8"), ("bit", "?"), ("complex", "c8"),
        ("double-complex", "c16"), ("UINT16", "u2"), ("float32", "f4"), ("int8", "i1"),
    ],
)  # fmt: skip
def test_names_of_types_of_ome(name: str, dtype: str) -> None:
    values = image(dtype=dtype)
    made = record(values, encoded=True, type=name)
    same(lt.scan_ome_arrow(parquet(table([made], BYTES))), values)
    for chunk in made["chunks"]:
        chunk["dtype"] = name
    same(lt.scan_ome_arrow(parquet(table([made], BYTES))), values)
    for chunk in made["chunks"]:
        chunk["dtype"] = None
    same(lt.scan_ome_arrow(parquet(table([made], BYTES))), values)


def test_bytes_are_little_endian_whatever_wrote_them() -> None:
    """The order is not recorded: what a package wrote as it had it cannot be told from others."""
    made = record(U16, encoded=True)
    for chunk in made["chunks"]:
        chunk["pixel_bytes"] = np.frombuffer(chunk["pixel_bytes"], "<u2").astype(">u2").tobytes()
    same(lt.scan_ome_arrow(parquet(table([made], BYTES))), U16.byteswap())


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", "i4", "u8", "f2", "f4", "f8"])
@pytest.mark.parametrize("chunk", [None, (2, 3, 4)])
def test_lists_of_small_whole_numbers_of_any_type(dtype: str, chunk: Any) -> None:
    values = image(dtype="u1") % 2 if dtype == "?" else image(dtype="u1") >> 1
    source = packed(values, chunk=chunk, type=np.dtype(dtype).name)
    same(lt.scan_ome_arrow(source), values.astype(dtype))


@pytest.mark.parametrize(
    ("held", "dtype"),
    [
        (pa.int64(), "u2"), (pa.int64(), "i8"), (pa.uint64(), "u8"), (pa.int32(), "i2"),
        (pa.int8(), "i1"), (pa.uint8(), "u1"), (pa.float32(), "f4"), (pa.float64(), "f8"),
        (pa.float64(), "f4"), (pa.float16(), "f2"), (pa.float64(), "u2"), (pa.bool_(), "?"),
    ],
    ids=str,
)  # fmt: skip
def test_lists_of_numbers_of_other_types(held: pa.DataType, dtype: str) -> None:
    values = image(dtype=dtype)
    for made in (record(values), record(values, chunk=(2, 4, 4))):
        same(lt.scan_ome_arrow(table([made], struct(values=held))), values)
        if held != pa.float16():
            same(lt.scan_ome_arrow(parquet(table([made], struct(values=held)))), values)


@pytest.mark.parametrize("kind", ["large", "fixed", "view"])
def test_lists_of_other_kinds(kind: str) -> None:
    values = U16
    made, base = record(values), struct()
    plane = {"z": pa.int32(), "t": pa.int32(), "c": pa.int16()}
    lists: dict[str, Callable[..., pa.DataType]] = {
        "large": pa.large_list,
        "fixed": lambda item: pa.list_(item, values[0, 0, 0].size),
        "view": pa.list_view,
    }
    plane["pixels"] = lists[kind](pa.uint16())
    outer = pa.large_list if kind == "large" else pa.list_
    column = pa.array([made], struct(changed={"planes": outer(pa.struct(plane))}))
    x = pa.table({"ome_arrow": column})
    assert base != column.type
    same(lt.scan_ome_arrow(x), values)
    if kind != "view":
        same(lt.scan_ome_arrow(parquet(x)), values)
        same(lt.scan_ome_arrow(ipc(x)), values)


@pytest.mark.parametrize("encoded", [False, True])
def test_pieces_in_any_order_and_of_any_shape(encoded: bool) -> None:
    rng = np.random.default_rng(1)
    made = record(U16, encoded=encoded, chunk=(2, 3, 4))
    rng.shuffle(made["chunks"])
    kind = BYTES if encoded else LISTS
    same(lt.scan_ome_arrow(parquet(table([made], kind))), U16)
    made["chunk_grid"] = None
    same(lt.scan_ome_arrow(parquet(table([made], kind))), U16)
    made["chunk_grid"] = record(U16, chunk=(1, 1, 1))["chunk_grid"]
    same(lt.scan_ome_arrow(parquet(table([made], kind))), U16)
    made["chunks"] = _irregular(U16, encoded)
    same(lt.scan_ome_arrow(parquet(table([made], kind))), U16)


def _irregular(values: np.ndarray, encoded: bool) -> list[Record]:
    """Chunks along y of 2, 2, 1, and along x of 7, of 1 and 6, of 3 and 4: no grid."""
    found = []
    for t, c, z in np.ndindex(*values.shape[:3]):
        for y, ny, edges in ((0, 2, (0, 7)), (2, 2, (0, 1, 7)), (4, 1, (0, 3, 7))):
            for x, end in itertools.pairwise(edges):
                part = values[t, c, z : z + 1, y : y + ny, x:end]
                place = {"t": t, "c": c, "z": z, "y": y, "x": x}
                shape = {"shape_z": 1, "shape_y": ny, "shape_x": end - x}
                pixels: Record = {"pixels": part.ravel().tolist()}
                if encoded:
                    pixels = {"dtype": "uint16", "compression": None, "pixel_bytes": stored(part)}
                found.append({**place, **shape, **pixels})
    return found


def test_chunks_are_preferred_to_planes_where_there_are_any() -> None:
    made = record(U16, chunk=(1, 5, 7), planes=True)
    for plane in made["planes"]:
        plane["pixels"] = [0] * 35
    same(lt.scan_ome_arrow(parquet(table([made]))), U16)
    for nothing in ([], None):
        made = record(U16) | {"chunks": nothing}
        same(lt.scan_ome_arrow(parquet(table([made]))), U16)


@pytest.mark.parametrize("order", ["zyx", "ZYX", None])
def test_words_for_the_usual_order_of_chunks(order: str | None) -> None:
    made = record(U16, chunk=(2, 3, 4))
    made["chunk_grid"]["chunk_order"] = order
    same(lt.scan_ome_arrow(parquet(table([made]))), U16)


@pytest.mark.parametrize("order", ["XYZCT", "XYCT", "nonsense", None])
def test_the_order_of_dimensions_is_but_a_hint(order: str | None) -> None:
    made = record(U16, dimension_order=order)
    same(lt.scan_ome_arrow(parquet(table([made]))), U16)


OPTIONAL = ["version", "id", "name", "image_type", "acquisition_datetime", "masks"]


@pytest.mark.parametrize("without", [*([name] for name in OPTIONAL), [*OPTIONAL, "chunk_grid"]])
def test_fields_that_are_not_there(without: list[str]) -> None:
    for made, encoded in ((record(U16), False), (record(U16, encoded=True), True)):
        kept = {name: value for name, value in made.items() if name not in without}
        kind = struct(encoded=encoded, without=without)
        same(lt.scan_ome_arrow(parquet(table([kept], kind))), U16)
        assert lt.open_ome_arrow(table([kept], kind)).columns


def test_only_one_of_the_kinds_of_pieces() -> None:
    kind = struct(without=["chunks", "chunk_grid"])
    same(lt.scan_ome_arrow(parquet(table([record(U16)], kind))), U16)
    kind = struct(encoded=True, without=["planes"])
    same(lt.scan_ome_arrow(parquet(table([record(U16, encoded=True)], kind))), U16)


def test_nulls_where_they_mean_nothing() -> None:
    made = record(U16, dimension_order=None, channels=None)
    made |= dict.fromkeys(("version", "id", "name", "image_type", "acquisition_datetime"))
    for axis in "xyz":
        made["pixels_meta"][f"physical_size_{axis}"] = None
        made["pixels_meta"][f"physical_size_{axis}_unit"] = None
    x = lt.scan_ome_arrow(parquet(table([made])))
    same(x, U16)
    assert all(axis.unit is None and axis.labels is None for axis in x.axes)


def test_further_fields_and_columns() -> None:
    extra = {"more": pa.string(), "nested": pa.struct({"planes": pa.list_(pa.int8())})}
    made = record(U16) | {"more": "x", "nested": {"planes": [1]}}
    x = table([made], struct(changed=extra), before=[1], other=[{"planes": [1], "type": "a"}])
    for source in (x, parquet(x), ipc(x), ipc(x, stream=True)):
        same(lt.scan_ome_arrow(source), U16)
        assert lt.open_ome_arrow(source).frame.collect()["before"].to_list() == [1]


def test_a_table_that_polars_wrote(tmp_path: Path) -> None:
    images = [image((1, 2, 1, 4, n), seed=n) for n in (3, 5, 2)]
    records = [record(images[0]), None, record(images[2])]
    frame = pl.from_arrow(table(records, number=[1, 2, 3]))
    assert isinstance(frame, pl.DataFrame)
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=2)
    frame.write_ipc(tmp_path / "a.arrow", compression="uncompressed")
    frame.write_ipc(tmp_path / "b.arrow", compression="zstd")
    frame.write_ipc_stream(tmp_path / "c.arrows")
    sources = [*tmp_path.iterdir(), frame, frame.lazy(), frame.to_arrow()]
    for source in sources:
        opened = lt.open_ome_arrow(source)
        for row in (0, 2):
            same(opened[row], images[row])
        with pytest.raises(lt.SourceNotFoundError):
            opened[1]


def test_types_that_were_inferred_from_dicts(tmp_path: Path) -> None:
    """As a data frame of dicts becomes a table: fields by the alphabet, int64 and double."""
    images = [image((1, 1, 1, 3, 4)), image((1, 1, 2, 2, 2), seed=1)]
    records = []
    for values in images:
        made = record(values)
        for name in ("chunks", "chunk_grid", "image_type", "masks"):
            del made[name]
        made["pixels_meta"]["channels"][0]["emission_um"] = 1
        records.append({name: made[name] for name in sorted(made)})
    x = table(records, INFERRED, "Image_FileName_OMEArrow_ORIG", Metadata=["a", "b"])
    held = x.schema.field(1).type.field("planes").type.value_type.field("pixels").type
    assert held == pa.list_(pa.int64())
    x = x.append_column("Image_OMEArrow_LABL", pa.nulls(2))
    pq.write_table(x, tmp_path / "x.parquet")
    for source in (x, tmp_path / "x.parquet", ipc(x)):
        opened = lt.open_ome_arrow(source)
        assert "Image_FileName_OMEArrow_ORIG" in opened.columns
        for row, values in enumerate(images):
            same(opened[row, "Image_FileName_OMEArrow_ORIG"], values)
        assert opened.frame.collect()["Metadata"].to_list() == ["a", "b"]


@pytest.mark.parametrize("rows", [1, 2, 7, 100])
def test_many_rows_in_groups(rows: int, tmp_path: Path) -> None:
    images = [image((1, 1 + n % 2, 1, 3 + n % 3, 4), seed=n) for n in range(9)]
    records: list[Any] = [record(values, chunk=(1, 2, 3)) for values in images]
    records[4] = None
    x = table(records, number=list(range(9)))
    (tmp_path / "a.arrow").write_bytes(ipc(x, rows=rows))
    sources: list[Any] = [
        parquet(x, row_group_size=rows), ipc(x, rows=rows), ipc(x, stream=True, rows=rows),
        ipc(x, rows=rows, codec="lz4"), x, pa.concat_tables([x.slice(0, 3), x.slice(3)]),
    ]  # fmt: skip
    for source in sources:
        opened = lt.open_ome_arrow(source)
        for row in (8, 0, 5, 3):
            same(opened[row], images[row])
        kept = opened.filter(pl.col("number") >= 5)
        assert len(kept) == 4
        same(kept[0], images[5])
    same(lt.scan_ome_arrow(tmp_path / "a.arrow", row=8, mmap=True), images[8])
    same(lt.scan_ome_arrow(x.slice(5, 2), row=1), images[6])


def test_one_row_several_columns() -> None:
    one, two = image(), image((1, 1, 1, 5, 7), "u2", 1)
    x = pa.table({
        "a": pa.array([record(one)], LISTS),
        "ome_arrow": pa.array([record(two, encoded=True)], BYTES),
    })  # fmt: skip
    for source in (x, parquet(x), ipc(x)):
        same(lt.scan_ome_arrow(source), two)
        same(lt.scan_ome_arrow(source, column="a"), one)
        assert set(lt.open_ome_arrow(source).columns) == {"a", "ome_arrow"}
    x = x.rename_columns(["a", "b"])
    with pytest.raises(lt.FormatError, match=r"(?s)a.*b"):
        lt.scan_ome_arrow(x)
    with pytest.raises((lt.FormatError, KeyError), match=r"(?s)nothing.*"):
        lt.scan_ome_arrow(x, column="nothing")


@pytest.mark.parametrize("group", [1, 3, 1000])
@pytest.mark.parametrize("index", [True, False])
def test_folders(group: int, index: bool) -> None:
    images = {"b/1": image(), "a": image((1, 1, 4, 6, 5), "f4"), "ä": image((3, 1, 1, 2, 9), "i8")}
    for chunk in ((1, 1, 2, 3, 4), (2, 2, 9, 9, 9), (1, 1, 1, 5, 7)):
        files = dataset(images, chunk, group=group, index=index)
        opened = lt.open_ome_arrow(files)
        assert len(opened) == 3
        for row, (key, values) in enumerate(images.items()):
            same(lt.scan_ome_arrow(files, image_id=key), values)
            same(opened[row], values)


def test_folders_whose_chunks_lie_anyhow() -> None:
    rng = np.random.default_rng(3)

    def shuffle(rows: Any) -> None:
        rng.shuffle(rows["chunks"])
        rng.shuffle(rows["index"])
        rng.shuffle(rows["images"])

    images = {"a": image(), "b": image((1, 1, 4, 6, 5), "f4")}
    for index in (True, False):  # what the index says of the shuffled chunks is wrong
        files = dataset(images, group=4, index=index, change=shuffle)
        for key, values in images.items():
            same(lt.scan_ome_arrow(files, image_id=key), values)


def test_axes_say_what_the_file_says() -> None:
    x = lt.scan_ome_arrow(packed(U16))
    assert [a.kind for a in x.axes] == ["time", "channel", "space", "space", "space"]
    assert [a.scale for a in x.axes[2:]] == [2.0, 0.5, 0.25]
    assert {a.unit for a in x.axes[2:]} == {"micrometer"}
    assert x.axes[1].labels == ("C0", "C1")
    np.testing.assert_array_equal(x.sel(c="C1").collect(), U16[:, 1])


@pytest.mark.parametrize("layout", ["TCZYX", "tczyx", "TCZHW", "XYZCT", "ZYXTC"])
def test_letters_of_dims(layout: str) -> None:
    letters = layout.lower().replace("h", "y").replace("w", "x")
    expected = U16.transpose(["tczyx".index(d) for d in letters])
    x = lt.scan_ome_arrow(packed(U16), layout=layout)
    np.testing.assert_array_equal(x.collect(), expected)
    flat = image((1, 1, 1, 4, 5))
    np.testing.assert_array_equal(
        lt.scan_ome_arrow(packed(flat), layout="YX").collect(), flat[0, 0, 0]
    )
    with pytest.raises(ValueError, match=r"(?i)\bt\b"):
        lt.scan_ome_arrow(packed(U16), layout="CZYX")


def test_boxes_of_every_kind_agree() -> None:
    values = image((2, 2, 5, 9, 11))
    rng = np.random.default_rng(5)
    sources: list[Any] = [
        packed(values),
        packed(values, chunk=(2, 4, 5)),
        packed(values, encoded=True, chunk=(3, 4, 5)),
        dataset([values], (2, 1, 2, 4, 5)),
        dataset([values], (1, 1, 1, 9, 11), index=False, group=3),
    ]
    tensors = [lt.scan_ome_arrow(source) for source in sources]
    for _ in range(25):
        ends = [sorted(rng.integers(0, n + 1, 2)) for n in values.shape]
        box = tuple(slice(int(a), int(b), int(rng.integers(1, 4))) for a, b in ends)
        for x in tensors:
            np.testing.assert_array_equal(x[box].collect(), values[box])
    for x in tensors:
        np.testing.assert_array_equal(
            x[::-1, :, ::-2, 3, ::-1].collect(), values[::-1, :, ::-2, 3, ::-1]
        )
        stack = lt.stack([x[b] for b in boxes((2, 2, 5, 8, 8), (1, 1, 1, 4, 4))])
        assert stack.shape == (80, 1, 1, 1, 4, 4)
        np.testing.assert_array_equal(stack[-1, 0, 0, 0].collect(), values[1, 1, 4, 4:8, 4:8])
