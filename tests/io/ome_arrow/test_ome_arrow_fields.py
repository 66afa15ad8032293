"""Which columns are images, whatever types they are of, and what records say of an image."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lazytensor.errors import FormatError
from lazytensor.io.ome_arrow.fields import category, choose, image_columns
from lazytensor.io.ome_arrow.metadata import (
    dtype_of,
    meta_of,
    moment_text,
    shortest,
    unit_name,
    unit_symbol,
)
from lazytensor.plan.spec import Axis
from tests.io.ome_arrow.ome_arrow_files import BYTES, LISTS, image, record, struct


def only(kind: pa.DataType) -> Any:
    found = image_columns(pa.schema({"a": pa.int8(), "image": kind, "b": pa.string()}))
    return found.get("image")


def replaced(kind: pa.DataType, path: tuple[str, ...], new: pa.DataType | None) -> pa.DataType:
    """A type with the field at a path of another type, or without it."""
    if not path:
        assert new is not None
        return new
    if pa.types.is_list(kind):
        return pa.list_(replaced(kind.value_type, path, new))
    fields = []
    for field in kind:
        if field.name != path[0]:
            fields.append(field)
        elif len(path) > 1 or new is not None:
            fields.append(field.with_type(replaced(field.type, path[1:], new)))
    return pa.struct(fields)


def test_the_layouts_of_the_package() -> None:
    lists, encoded = only(LISTS), only(BYTES)
    assert lists.pixels == (("image", "chunks", "pixels"), ("image", "planes", "pixels"))
    assert encoded.pixels == (("image", "chunks", "pixel_bytes"), ("image", "planes", "pixels"))
    assert (lists.encoded, encoded.encoded) == (False, True)
    assert ("image", "chunks", "compression") in encoded.index
    assert lists.problem is None
    assert ("image", "chunk_grid", "chunk_order") in lists.meta
    # Of neither, a pixel is an index, and nothing is that is not needed.
    assert not {path[-1] for path in lists.index} & {"pixels", "masks", "version", "order"}


@pytest.mark.parametrize(
    "without",
    ["masks", "chunk_grid", "image_type", "version", "type", "id", "name", "acquisition_datetime"],
)
def test_fields_that_may_be_missing(without: str) -> None:
    found = only(struct(without=[without]))
    assert found.problem is None
    assert found.pixels == only(LISTS).pixels


def test_planes_alone_and_chunks_alone() -> None:
    planes, chunks = only(struct(without=["chunks"])), only(struct(without=["planes"]))
    assert (planes.chunks, chunks.planes) == (None, None)
    assert planes.pixels == (("image", "planes", "pixels"),)
    assert chunks.pixels == (("image", "chunks", "pixels"),)
    # Lists that are all empty or null, in a file whose types were inferred.
    for empty in (pa.null(), pa.list_(pa.null())):
        found = only(struct(changed={"chunks": empty}))
        assert (found.chunks, found.problem) == (None, None)


@pytest.mark.parametrize("order", ["alphabet", "reversed"])
def test_the_order_of_fields_is_no_matter(order: str) -> None:
    def sorted_type(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_list(kind):
            return pa.list_(sorted_type(kind.value_type))
        if not pa.types.is_struct(kind):
            return kind
        names = sorted((field.name for field in kind), reverse=order == "reversed")
        return pa.struct({name: sorted_type(kind.field(name).type) for name in names})

    assert only(sorted_type(BYTES)).pixels == only(BYTES).pixels
    assert sorted(only(sorted_type(BYTES)).index) == sorted(only(BYTES).index)


@pytest.mark.parametrize(
    "pixels",
    [
        pa.list_(pa.int64()), pa.large_list(pa.uint8()), pa.list_(pa.float32(), 4),
        pa.list_view(pa.int16()), pa.large_list_view(pa.float64()), pa.list_(pa.bool_()),
        pa.list_(pa.dictionary(pa.int8(), pa.int16())),
    ],
)  # fmt: skip
def test_lists_of_any_kind_are_numbers(pixels: pa.DataType) -> None:
    found = only(replaced(LISTS, ("planes", "pixels"), pixels))
    assert found.problem is None
    assert found.planes.numbers == "pixels"
    assert found.planes.encoded is None


@pytest.mark.parametrize("pixels", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(8)])
def test_bytes_of_any_kind_are_bytes(pixels: pa.DataType) -> None:
    found = only(replaced(BYTES, ("chunks", "pixel_bytes"), pixels))
    assert (found.problem, found.chunks.encoded) == (None, "pixel_bytes")


def test_an_extension_type_is_its_storage() -> None:
    class Wrapped(pa.ExtensionType):
        def __init__(self, storage: pa.DataType) -> None:
            super().__init__(storage, "lazytensor.test")

        def __arrow_ext_serialize__(self) -> bytes:
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, storage: pa.DataType, _: bytes) -> Wrapped:
            return cls(storage)

    assert only(Wrapped(LISTS)) == only(LISTS)
    assert category(Wrapped(pa.int8())) == "integer"


@pytest.mark.parametrize(
    "kind",
    [
        pa.struct({"pixels_meta": pa.struct({"size_x": pa.int32()}), "planes": pa.null()}),
        pa.struct({"pixels_meta": pa.string(), "planes": LISTS.field("planes").type}),
        pa.struct({"planes": LISTS.field("planes").type}),
        pa.struct({"pixels_meta": LISTS.field("pixels_meta").type}),
        pa.struct([]),
        pa.list_(LISTS),
        pa.null(),
    ],
)
def test_what_merely_resembles_an_image_is_none(kind: pa.DataType) -> None:
    assert only(kind) is None


@pytest.mark.parametrize(
    ("path", "new"),
    [
        (("pixels_meta", "size_x"), pa.float64()),
        (("pixels_meta", "size_t"), None),
        (("pixels_meta", "size_c"), pa.string()),
        (("pixels_meta", "size_z"), pa.bool_()),
        (("pixels_meta", "type"), pa.int8()),
        (("pixels_meta", "type"), None),
        (("planes", "z"), None),
        (("planes", "z"), pa.float32()),
        (("chunks", "shape_x"), pa.string()),
        (("chunks", "shape_y"), None),
        (("planes", "pixels"), None),
        (("planes", "pixels"), pa.string()),
        (("chunks", "pixels"), pa.list_(pa.string())),
        (("planes",), pa.string()),
        (("chunks",), pa.list_(pa.int8())),
    ],
)
def test_a_field_of_another_category_is_named(path: tuple[str, ...], new: Any) -> None:
    found = only(replaced(LISTS, path, new))
    assert path[-1] in found.problem
    assert "expected" in found.problem


def test_fields_that_are_there_twice_are_a_problem() -> None:
    sizes = [*LISTS.field("pixels_meta").type, pa.field("size_x", pa.int8())]
    found = only(struct(changed={"pixels_meta": pa.struct(sizes)}))
    assert "size_x" in found.problem
    schema = pa.schema([pa.field("image", LISTS), pa.field("image", LISTS)])
    assert "several" in str(image_columns(schema)["image"].problem)


def test_choosing_a_column() -> None:
    several = pa.schema({"well": pa.string(), "a": LISTS, "ome_arrow": BYTES, "label": pa.null()})
    assert choose(several, None, "t").name == "ome_arrow"
    assert choose(several, "a", "t").name == "a"
    assert choose(pa.schema({"x": pa.int8(), "image": LISTS}), None, "t").name == "image"
    for column, text in (
        ("label", "'label' is all null"),
        ("well", "'well': expected OME-Arrow images.*found string"),
        ("nothing", "no column 'nothing'.*'a', 'ome_arrow'.*'well', 'label'"),
    ):
        with pytest.raises(FormatError, match=text):
            choose(several, column, "t.parquet")
    with pytest.raises(FormatError, match=r"t\.parquet: several.*column=.*'a', 'b'"):
        choose(pa.schema({"a": LISTS, "b": LISTS}), None, "t.parquet")
    with pytest.raises(FormatError, match=r"found none.*'x', 'y'"):
        choose(pa.schema({"x": pa.int8(), "y": pa.struct([])}), None, "t.parquet")
    with pytest.raises(FormatError, match="found none"):
        choose(pa.schema([]), None, "t.parquet")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, name) for name in ("bool", "int8", "uint16", "int64", "float16", "complex128")),
        ("float", "f4"), ("double", "f8"), ("bit", "?"), ("complex", "c8"),
        ("double-complex", "c16"), ("UInt16", "u2"), (" uint8 ", "u1"), ("<u2", "u2"),
        ("|u1", "u1"), ("=f4", "f4"), ("u4", "u4"), ("|b1", "?"), ("?", "?"), ("bool_", "?"),
    ],
)  # fmt: skip
def test_names_of_dtypes(name: str, dtype: str) -> None:
    found = dtype_of(name, "here")
    assert found == np.dtype(dtype)
    assert found.isnative


def test_names_of_extended_dtypes() -> None:
    assert dtype_of("bfloat16", "here").name == "bfloat16"
    assert dtype_of("float8_e4m3fn", "here").itemsize == 1


@pytest.mark.parametrize(
    "name",
    [
        None, 2, "", "float33", ">u2", "object", "O", "str", "U8", "B1", "M8[ns]", "u3", "void",
        "finfo", "float8_", "int", "u2,u4", "(2,)u2", "b9", "float128", "x" * 100_000, "uint16\0",
    ],
)  # fmt: skip
def test_names_of_no_dtype(name: Any) -> None:
    with pytest.raises(FormatError, match=r"^a\.parquet: type: expected .*uint16.*found") as error:
        dtype_of(name, "a.parquet: type")
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("\u00b5m", "micrometer"), ("\u03bcm", "micrometer"), ("um", "micrometer"),
        ("micron", "micrometer"), ("Microns", "micrometer"), ("micrometre", "micrometer"),
        ("micrometers", "micrometer"), ("nm", "nanometer"), ("mm", "millimeter"),
        ("Mm", "megameter"), ("pm", "picometer"), ("Pm", "petameter"), ("cm", "centimeter"),
        ("m", "meter"), ("M", "M"), ("\u00c5", "angstrom"), ("\u212b", "angstrom"),
        ("Angstroms", "angstrom"), ("inches", "inch"), ("pixel", None), ("Pixels", None),
        ("reference frame", None), ("", None), (None, None), ("furlong", "furlong"),
    ],
)  # fmt: skip
def test_names_of_units(text: str | None, name: str | None) -> None:
    assert unit_name(text) == name
    assert unit_name(unit_symbol(name)) == name


def test_symbols_of_units() -> None:
    names = ("micrometer", "nanometer", "angstrom", "foot", None)
    assert [unit_symbol(n) for n in names] == ["\u00b5m", "nm", "\u00c5", "ft", "pixel"]


def described(**pixels_meta: Any) -> Any:
    made = record(image())
    del made["planes"], made["chunks"]
    made["pixels_meta"] |= pixels_meta
    return meta_of(made, "a.parquet[0, 'x']")


def test_what_a_record_says() -> None:
    meta = described()
    assert (meta.shape, meta.dtype) == ((2, 2, 3, 5, 7), np.dtype("u2"))
    assert meta.axes == (
        Axis("t", "time"),
        Axis("c", "channel", labels=("C0", "C1")),
        Axis("z", "space", "micrometer", 2.0),
        Axis("y", "space", "micrometer", 0.5),
        Axis("x", "space", "micrometer", 0.25),
    )
    assert meta.attrs.keys() == {"id", "name", "image_type", "acquisition_datetime", "channels"}
    assert meta.attrs["acquisition_datetime"] == "2024-02-29T12:30:45.123456"
    assert meta.attrs["channels"][1]["color_rgba"] == 0xFF0000FF


@pytest.mark.parametrize("dim", "tczyx")
@pytest.mark.parametrize("size", [0, -2, None, True, 2.0, math.nan, "3", np.float64(3), [3]])
def test_sizes_that_are_none(dim: str, size: Any) -> None:
    with pytest.raises(FormatError, match=rf"\[0, 'x'\]: pixels_meta.size_{dim}: expected a pos"):
        described(**{f"size_{dim}": size})


def test_sizes_beyond_counting() -> None:
    most = {"size_t": 1, "size_c": 1, "size_z": 1, "size_y": 1 << 31}
    assert described(**most, size_x=np.int64((1 << 32) - 1)).shape[4] == (1 << 32) - 1
    for size in (1 << 32, 10**400):
        with pytest.raises(FormatError, match=r"less than 2\^63"):
            described(**most, size_x=size)


def test_a_record_of_something_else() -> None:
    for tag in ("ome.shape", "", "OME", 3):
        with pytest.raises(FormatError, match=r"type: expected 'ome\.arrow', found"):
            meta_of({**record(image()), "type": tag}, "a")
    assert meta_of({**record(image()), "type": None}, "a").shape == (2, 2, 3, 5, 7)
    for wrong in ({}, {"pixels_meta": None}, {"pixels_meta": 3}):
        with pytest.raises(FormatError, match="pixels_meta: expected a struct"):
            meta_of(wrong, "a")


@pytest.mark.parametrize("size", [None, 0, 0.0, -1.0, math.nan, math.inf, "1", True, 1j])
def test_a_physical_size_that_is_none_is_no_scale(size: Any) -> None:
    assert described(physical_size_y=size).axes[3] == Axis("y", "space")


def test_units_of_axes() -> None:
    found = described(
        physical_size_z_unit=None, physical_size_y_unit="nm", physical_size_x_unit="pixel"
    )
    assert [axis.unit for axis in found.axes[2:]] == ["micrometer", "nanometer", None]
    assert [axis.scale for axis in found.axes[2:]] == [2.0, 0.5, 0.25]


def test_single_precision_reads_as_it_was_written() -> None:
    rng = np.random.default_rng(0)
    for value in (0.1, 0.108, 1 / 3, 1e-7, *rng.random(100).round(4)):
        assert shortest(np.float32(value)) == pytest.approx(value, rel=1e-7)
    assert described(physical_size_x=np.float32(0.108)).axes[4].scale == 0.108
    # A double that single precision can hold is what it is.
    assert described(physical_size_x=123456792.0).axes[4].scale == 123456792.0


@pytest.mark.parametrize(
    ("channels", "labels"),
    [
        (None, None),
        ([], None),
        ([{"name": "DAPI"}], None),  # one channel of two
        ([{"name": "DAPI"}, {"name": "GFP"}], ("DAPI", "GFP")),
        ([{"name": "DAPI"}, {"name": "GFP"}, {"name": "RFP"}], None),
        ([{"name": None, "id": "ch-0"}, {"name": "GFP"}], ("ch-0", "GFP")),
        ([{"name": ""}, {"name": "GFP"}], ("C0", "GFP")),
        ([None, {"name": "GFP"}], ("C0", "GFP")),
        ([{"name": None, "id": "a"}, {"id": "b"}], None),
        ("DAPI", None),
    ],
)
def test_channels_name_positions(channels: Any, labels: Any) -> None:
    assert described(channels=channels).axes[1] == Axis("c", "channel", labels=labels)


def test_channels_are_json() -> None:
    given = {
        "name": "a",
        "emission_um": np.float32(0.1),
        "excitation_um": math.nan,
        "n": np.int8(3),
    }
    (found,) = described(channels=[given]).attrs["channels"]
    assert found == {"name": "a", "emission_um": 0.1, "excitation_um": None, "n": 3}


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (dt.datetime(2024, 2, 29, 1, 2, 3), "2024-02-29T01:02:03"),
        (dt.datetime(2024, 2, 29, tzinfo=dt.UTC), "2024-02-29T00:00:00+00:00"),
        (dt.date(2024, 2, 29), "2024-02-29"),
        (" 2024-02-29 01:02:03Z ", "2024-02-29 01:02:03Z"),
        ("29.2.2024", None),
        ("", None),
        (None, None),
        (1709164800, None),
        (np.datetime64("NaT"), None),
        (np.datetime64("2024-02-29T01:02:03.500", "ms"), "2024-02-29T01:02:03.500000"),
        (np.datetime64("2024-02-29T01:02:03", "ns"), "2024-02-29T01:02:03"),
        (np.datetime64(1 << 62, "s"), None),
    ],
)
def test_points_in_time(moment: Any, text: str | None) -> None:
    assert moment_text(moment) == text
