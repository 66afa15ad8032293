"""Every way to get a file wrong that pyarrow would write: refused by name, never read as zeros."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lazytensor as lt
from tests.io.ome_arrow.ome_arrow_files import (
    BYTES,
    LISTS,
    Record,
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
Change = Callable[[Record], Any]


def spoiled(change: Change, values: np.ndarray = U16, **options: Any) -> bytes:
    """A file of one record after something was changed in it."""
    made = record(values, **options)
    change(made)
    return parquet(table([made], BYTES if options.get("encoded") else LISTS))


def refused(source: Any, match: str | None = None, **options: Any) -> None:
    """It cannot be opened as an image, neither alone nor of a table."""
    with pytest.raises(lt.FormatError, match=match):
        lt.scan_ome_arrow(source, **options)
    with pytest.raises(lt.FormatError, match=match):
        lt.open_ome_arrow(source)[0]


def fails(source: Any, where: Any, match: str) -> lt.LazyTensor:
    """It can be opened, and everything but ``where`` can be read."""
    x = lt.scan_ome_arrow(source)
    for _ in range(2):
        with pytest.raises(lt.FormatError, match=match):
            x[where].collect()
        with pytest.raises(lt.FormatError, match=match):
            x.collect()
    for t, c, z in np.ndindex(*x.shape[:3]):
        if (t, c, z) != where[:3]:
            np.testing.assert_array_equal(x[t, c, z].collect(), U16[t, c, z])
    return x


def _meta(**changes: Any) -> Change:
    return lambda made: made["pixels_meta"].update(changes)


def _piece(kind: str, number: int, **changes: Any) -> Change:
    return lambda made: made[kind][number].update(changes)


@pytest.mark.parametrize("axis", "tczyx")
@pytest.mark.parametrize("size", [0, -1, None])
def test_sizes_that_are_none(axis: str, size: int | None) -> None:
    """Of a size of zero nobody could tell what the planes are for."""
    for options in ({}, {"chunk": (2, 3, 4)}, {"encoded": True}):
        source = spoiled(_meta(**{f"size_{axis}": size}), **options)
        refused(source, f"size_{axis}")


def test_sizes_that_no_array_has() -> None:
    """Neither read nor allocated: the error comes before."""
    huge = 2**31 - 1
    changes = {f"size_{axis}": huge for axis in "tzyx"}
    refused(spoiled(_meta(**changes)), "2147483647|large|big|2\\*\\*63")
    for axis in "tcz":
        source = spoiled(_meta(**{f"size_{axis}": 32_767}))
        x = lt.scan_ome_arrow(source)
        np.testing.assert_array_equal(x[0, 0, 0].collect(), U16[0, 0, 0])
        where = [("tcz".index(axis) == n and 32_766) or 0 for n in range(3)]
        with pytest.raises(lt.FormatError):
            x[tuple(where)].collect()
    for axis in "yx":
        with pytest.raises(lt.FormatError, match=r"35\b"):
            lt.scan_ome_arrow(spoiled(_meta(**{f"size_{axis}": huge})))[0, 0, 0, :1, :1].collect()


@pytest.mark.parametrize("name", ["float33", "uint16le", "", "object", "U5", "datetime64[s]", "V8"])
def test_types_that_nobody_knows(name: str) -> None:
    refused(spoiled(_meta(type=name)), re.escape(name) or None)
    refused(spoiled(_meta(type=name), encoded=True))


def test_no_type() -> None:
    refused(spoiled(_meta(type=None)), "type")


@pytest.mark.parametrize("tag", ["ome.zarr", "", "OME"])
def test_the_wrong_tag(tag: str) -> None:
    refused(spoiled(lambda made: made.update(type=tag)), "type|ome.arrow")


@pytest.mark.parametrize("order", ["XYZ", "YX", "", "ZXY"])
def test_another_order_of_values_in_chunks(order: str) -> None:
    source = spoiled(lambda made: made["chunk_grid"].update(chunk_order=order), chunk=(1, 3, 4))
    refused(source, "chunk_order")


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("planes", {"z": 3}), ("planes", {"z": -1}), ("planes", {"c": 2}), ("planes", {"t": None}),
        ("chunks", {"y": 3}), ("chunks", {"x": 2**31 - 1}), ("chunks", {"z": -1}),
        ("chunks", {"shape_x": 0}), ("chunks", {"shape_y": -3}), ("chunks", {"shape_z": None}),
        ("chunks", {"c": -1}), ("chunks", {"shape_x": 2**31 - 1}), ("chunks", {"x": None}),
    ],
)  # fmt: skip
def test_places_that_are_none(kind: str, changes: dict[str, Any]) -> None:
    (name,) = changes
    for encoded in (False, True) if kind == "chunks" else (False,):
        options: dict[str, Any] = {"chunk": (2, 3, 4), "encoded": encoded}
        source = spoiled(_piece(kind, 1, **changes), **(options if kind == "chunks" else {}))
        with pytest.raises(lt.FormatError) as caught:
            lt.scan_ome_arrow(source).collect()
        assert re.search(rf"\b{name}\b|\(-?\d+(, -?\d+)+\)|null", str(caught.value))


def test_pieces_that_are_null() -> None:
    for kind, options in (("planes", {}), ("chunks", {"chunk": (2, 3, 4)})):
        made = record(U16, **options)
        made[kind][2] = None
        with pytest.raises(lt.FormatError):
            lt.scan_ome_arrow(parquet(table([made]))).collect()


@pytest.mark.parametrize("nothing", [None, []])
def test_no_pieces_at_all(nothing: Any) -> None:
    source = spoiled(lambda made: made.update(planes=nothing, chunks=nothing))
    with pytest.raises(lt.FormatError):
        lt.scan_ome_arrow(source).collect()
    x = lt.scan_ome_arrow(source, fill_value=3)
    np.testing.assert_array_equal(x.collect(), np.full_like(U16, 3))


def test_fields_of_other_types() -> None:
    made = record(U16)
    kind = struct(changed={"pixels_meta": pa.string()})
    with pytest.raises(lt.FormatError):
        lt.scan_ome_arrow(table([made | {"pixels_meta": "uint16"}], kind))
    kind = struct(changed={"planes": pa.list_(pa.string())})
    with pytest.raises(lt.FormatError):
        lt.scan_ome_arrow(table([made | {"planes": ["a"]}], kind)).collect()
    place = {"z": pa.string(), "t": pa.int32(), "c": pa.int16()}
    strings = pa.list_(pa.struct({**place, "pixels": pa.list_(pa.int8())}))
    planes = [{"z": "0", "t": 0, "c": 0, "pixels": [1]}]
    with pytest.raises(lt.FormatError):
        lt.scan_ome_arrow(
            table([made | {"planes": planes}], struct(changed={"planes": strings}))
        ).collect()


def test_sizes_as_text() -> None:
    fields = [
        pa.field(f.name, pa.string()) if f.name.startswith("size_") else f
        for f in LISTS.field("pixels_meta").type
    ]
    made = record(U16)
    for axis in "tczyx":
        made["pixels_meta"][f"size_{axis}"] = str(made["pixels_meta"][f"size_{axis}"])
    with pytest.raises(lt.FormatError):
        lt.scan_ome_arrow(table([made], struct(changed={"pixels_meta": pa.struct(fields)})))


@pytest.mark.parametrize("more", [-35, -1, 1, 35])
def test_planes_of_other_lengths(more: int) -> None:
    def change(made: Record) -> None:
        pixels = made["planes"][7]["pixels"]
        made["planes"][7]["pixels"] = (pixels * 2)[: len(pixels) + more]

    x = fails(spoiled(change), (1, 0, 1), rf"(?s)\b35\b.*\b{35 + more}\b|\b{35 + more}\b.*\b35\b")
    with pytest.raises(lt.FormatError, match=r"\(1, 0, 1\)|t.{0,3}1.*c.{0,3}0.*z.{0,3}1"):
        x.collect()
    with pytest.raises(lt.FormatError):  # is for what is missing
        lt.scan_ome_arrow(spoiled(change), fill_value=1).collect()


def test_pixels_that_are_null() -> None:
    fails(spoiled(_piece("planes", 2, pixels=None)), (0, 0, 2), r"(?i)null|\b0\b")
    source = spoiled(_piece("chunks", 2, pixel_bytes=None), encoded=True, chunk=(1, 5, 7))
    fails(source, (0, 0, 2), r"(?i)null|\b0\b")


@pytest.mark.parametrize("more", [-70, -2, -1, 1, 2, 70])
@pytest.mark.parametrize("codec", [None, "zstd", "lz4", "snappy", "gzip"])
def test_payloads_of_other_lengths(more: int, codec: str | None) -> None:
    def change(made: Record) -> None:
        values = (U16[0, 1, 2].tobytes() * 2)[: 70 + more]
        made["chunks"][5]["pixel_bytes"] = stored(np.frombuffer(values, "u1"), codec)

    source = spoiled(change, encoded=True, chunk=(1, 5, 7), codec=codec)
    fails(source, (0, 1, 2), r"70|" + (codec or "70"))


@pytest.mark.parametrize("codec", ["zstd", "lz4", "snappy", "gzip", "brotli"])
@pytest.mark.parametrize("junk", [b"", b"\0" * 70, b"junk", b"\xff" * 300], ids=range(4))
def test_payloads_that_are_not_of_their_codec(codec: str, junk: bytes) -> None:
    source = spoiled(
        _piece("chunks", 5, pixel_bytes=junk), encoded=True, chunk=(1, 5, 7), codec=codec
    )
    fails(source, (0, 1, 2), f"(?i){codec}")


@pytest.mark.parametrize("codec", ["zstd", "lz4", "snappy", "gzip"])
def test_a_payload_that_is_a_bomb(codec: str) -> None:
    """64 MiB of zeros where 70 bytes belong; what it says of itself is not believed either."""
    bomb = bytes(pa.Codec(codec).compress(bytes(64 << 20)))
    source = spoiled(
        _piece("chunks", 5, pixel_bytes=bomb), encoded=True, chunk=(1, 5, 7), codec=codec
    )
    fails(source, (0, 1, 2), f"(?i)70|{codec}")


@pytest.mark.parametrize("name", ["blosc", "lzma", "zstd2", "xz"])
def test_codecs_that_nobody_knows(name: str) -> None:
    source = spoiled(_piece("chunks", 5, compression=name), encoded=True, chunk=(1, 5, 7))
    with pytest.raises(lt.FormatError, match=name):
        lt.scan_ome_arrow(source)[0, 1, 2].collect()


@pytest.mark.parametrize("name", ["float33", "int16", "float32", "uint8", "float"])
def test_a_chunk_of_another_type(name: str) -> None:
    source = spoiled(_piece("chunks", 5, dtype=name), encoded=True, chunk=(1, 5, 7))
    with pytest.raises(lt.FormatError, match=name):
        lt.scan_ome_arrow(source)[0, 1, 2].collect()


@pytest.mark.parametrize("same", [True, False])
def test_a_plane_twice(same: bool) -> None:
    def change(made: Record) -> None:
        twin = dict(made["planes"][4])
        if not same:
            twin["pixels"] = [0] * 35
        made["planes"].append(twin)

    fails(spoiled(change), (0, 1, 1), r"(?i)ambiguous")
    with pytest.raises(lt.FormatError, match=r"(?i)ambiguous"):
        lt.scan_ome_arrow(spoiled(change), fill_value=0).collect()


@pytest.mark.parametrize("encoded", [False, True])
def test_chunks_that_lie_on_each_other(encoded: bool) -> None:
    def change(made: Record) -> None:
        part = U16[1, 1, 2:3, 1:3, 2:5]
        place = {"t": 1, "c": 1, "z": 2, "y": 1, "x": 2, "shape_z": 1, "shape_y": 2, "shape_x": 3}
        if encoded:
            place |= {"dtype": "uint16", "compression": None, "pixel_bytes": stored(part)}
        else:
            place |= {"pixels": part.ravel().tolist()}
        made["chunks"].insert(0, place)

    for chunk in ((1, 5, 7), (2, 2, 4)):
        source = spoiled(change, encoded=encoded, chunk=chunk)
        x = fails(source, (1, 1, 2, slice(0, 2), slice(0, 3)), r"(?i)ambiguous")
        np.testing.assert_array_equal(x[0].collect(), U16[0])


@pytest.mark.parametrize("encoded", [False, True])
def test_a_chunk_that_is_not_there(encoded: bool) -> None:
    chunk = (2, 3, 4)
    source = spoiled(lambda made: made["chunks"].pop(5), encoded=encoded, chunk=chunk)
    hole = next(c for n, c in enumerate(record(U16, chunk=chunk)["chunks"]) if n == 5)
    where = (hole["t"], hole["c"], slice(hole["z"], hole["z"] + hole["shape_z"]),
             slice(hole["y"], hole["y"] + hole["shape_y"]),
             slice(hole["x"], hole["x"] + hole["shape_x"]))  # fmt: skip
    x = lt.scan_ome_arrow(source)
    with pytest.raises(lt.FormatError):
        x[where].collect()
    expected = U16.copy()
    expected[where] = 77
    np.testing.assert_array_equal(lt.scan_ome_arrow(source, fill_value=77).collect(), expected)
    outside = np.ones(U16.shape, bool)
    outside[where] = False
    for place in np.argwhere(outside)[::7]:
        spot = tuple(int(n) for n in place)
        assert x[spot].collect() == U16[spot]


@pytest.mark.parametrize(
    ("dtype", "held", "bad"),
    [
        ("u1", pa.uint16(), 256), ("i1", pa.int64(), 128), ("i1", pa.int64(), -129),
        ("u2", pa.int64(), -1), ("u2", pa.int64(), 65_536), ("?", pa.uint16(), 2),
        ("i4", pa.int64(), 2**31), ("u8", pa.int64(), -1), ("i8", pa.uint64(), 2**63),
        ("u2", pa.float64(), 1.5), ("u2", pa.float64(), np.nan), ("u2", pa.float64(), np.inf),
        ("i2", pa.float32(), 1e20), ("u8", pa.float64(), 2.0**64), ("i8", pa.float64(), 2.0**63),
        ("f2", pa.float64(), 1e6), ("f4", pa.int64(), 2**24 + 1), ("f8", pa.int64(), 2**53 + 1),
        ("f4", pa.float64(), 1e300),
    ],
)  # fmt: skip
def test_numbers_that_do_not_fit(dtype: str, held: pa.DataType, bad: float) -> None:
    """Neither clipped, wrapped nor truncated."""
    values = image(dtype="u1") % 2
    made = record(values, type=np.dtype(dtype).name)
    made["planes"][3]["pixels"][17] = bad
    for plane in made["planes"]:
        plane["pixels"] = [float(v) if pa.types.is_floating(held) else v for v in plane["pixels"]]
    x = lt.scan_ome_arrow(table([made], struct(values=held)))
    with pytest.raises(lt.FormatError) as caught:
        x.collect()
    said = str(caught.value)
    assert str(bad) in said or np.format_float_positional(bad, trim="-") in said
    x[0, 0, 0].collect()


def test_text_in_place_of_numbers() -> None:
    made = record(U16)
    for plane in made["planes"]:
        plane["pixels"] = [str(v) for v in plane["pixels"]]
    with pytest.raises(lt.FormatError):
        lt.scan_ome_arrow(table([made], struct(values=pa.string()))).collect()


@pytest.mark.parametrize("cut", [0, 1, 4, 100, 5000, -8, -4, -1])
def test_files_that_are_cut(cut: int) -> None:
    for whole in (packed(U16), ipc(table([record(U16)])), ipc(table([record(U16)]), stream=True)):
        try:
            values = lt.scan_ome_arrow(whole[:cut]).collect()
        except lt.SourceError:
            continue
        np.testing.assert_array_equal(values, U16)  # the end of a stream need not be said


@pytest.mark.parametrize(
    "junk", [b"", b"x", b"PAR1PAR1", b"ARROW1\0\0", b"\xff\xff\xff\xff" * 4], ids=range(5)
)
def test_files_that_are_none(junk: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(junk)
    for source in (junk, tmp_path / "a.parquet"):
        with pytest.raises(lt.FormatError):
            lt.scan_ome_arrow(source)
        with pytest.raises(lt.FormatError):
            lt.open_ome_arrow(source)


def test_tables_without_rows() -> None:
    empty = table([])
    for source in (empty, parquet(empty), ipc(empty), ipc(empty, stream=True)):
        assert len(lt.open_ome_arrow(source)) == 0
        with pytest.raises(lt.OutOfBoundsError):
            lt.scan_ome_arrow(source)


def test_a_file_that_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(packed(U16))
    x = lt.scan_ome_arrow(path)
    pq.write_table(table([record(image(seed=9), chunk=(1, 2, 3))]), path)
    with pytest.raises(lt.SourceChangedError):
        x.collect()
