"""Rows of a column as images, and where their pieces are, however Arrow stores them."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import random
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lazytensor.errors import FormatError, OutOfBoundsError, SourceNotFoundError
from lazytensor.io.ome_arrow.containers import open_container
from lazytensor.io.ome_arrow.fields import choose
from lazytensor.io.ome_arrow.memory import MemoryContainer
from lazytensor.io.ome_arrow.metadata import meta_of
from lazytensor.io.ome_arrow.model import Image, NoImageError
from lazytensor.io.ome_arrow.records import Records
from tests.io.ome_arrow.ome_arrow_files import (
    BYTES,
    INFERRED,
    LISTS,
    Record,
    image,
    ipc,
    parquet,
    record,
    table,
)

CHUNK = (2, 3, 4)


def records_of(made: pa.Table, column: str | None = None) -> Records:
    container = MemoryContainer(made)
    return Records(container, choose(container.schema, column, container.label))


def one(made: Record, kind: pa.DataType | None = LISTS) -> Image:
    return records_of(table([made], kind)).image(0)


def placed(found: Image) -> list[tuple[Any, ...]]:
    """Where the pieces are, in the order of the file."""
    pieces = found.pieces
    codec = np.zeros(len(pieces), int) if pieces.codec is None else pieces.codec
    return [
        (*origin, *extent, int(unit), int(element), pieces.codecs[code])
        for origin, extent, unit, element, code in zip(
            pieces.origins.tolist(), pieces.extents.tolist(), pieces.units, pieces.elements, codec,
            strict=True,
        )
    ]  # fmt: skip


def expected(made: Record, unit: int, first: int) -> list[tuple[Any, ...]]:
    """The same, from the record itself."""
    meta, chunks = made["pixels_meta"], made.get("chunks")
    plane = (1, 1, 1, meta["size_y"], meta["size_x"])
    return [
        (
            *(piece.get(dim, 0) for dim in "tczyx"),
            *((1, 1, *(piece[f"shape_{dim}"] for dim in "zyx")) if chunks else plane),
            unit,
            first + number,
            (piece.get("compression") or None) if chunks else None,
        )
        for number, piece in enumerate(chunks or made.get("planes") or [])
    ]


def check(found: Records, records: Sequence[Record | None], starts: Sequence[int]) -> None:
    """Images are those of the records, of which so many are before each group."""
    counted = {"chunks": 0, "planes": 0}
    metas = found.metas()
    assert found.rows == len(records) == len(metas)
    for row, made in enumerate(records):
        unit = int(np.searchsorted(starts, row, "right")) - 1
        if row == starts[unit]:
            counted = {"chunks": 0, "planes": 0}
        assert found.is_null(row) == (made is None)
        if made is None:
            assert metas[row] is None
            with pytest.raises(NoImageError):
                found.image(row)
            continue
        name = "chunks" if made.get("chunks") else "planes"
        shown = found.image(row)
        assert shown.meta == metas[row] == meta_of(made, "record")
        assert placed(shown) == expected(made, unit, counted[name])
        assert not shown.pieces.odd
        for name in counted:
            counted[name] += len(made.get(name) or [])


def drawn(rng: random.Random, encoded: bool) -> Record | None:
    if rng.random() < 0.15:
        return None
    shape = tuple(rng.randint(1, 4) for _ in range(5))
    values = image(shape, rng.choice(["u1", "u2"]), rng.randrange(99)) >> 1  # for signed lists too
    chunk = tuple(rng.randint(1, 4) for _ in "zyx") if rng.random() < 0.6 else None
    made = record(
        values, chunk=chunk, planes=rng.random() < 0.7, encoded=encoded and chunk is not None,
        codec=rng.choice([None, "zstd", "lz4"]),
    )  # fmt: skip
    for name in ("planes", "chunks"):
        if made[name]:
            rng.shuffle(made[name])
            del made[name][rng.randint(0, len(made[name])) :]
        elif rng.random() < 0.5:
            made[name] = None if made[name] is not None else []
    meta = made["pixels_meta"]
    for name in ("physical_size_x", "physical_size_y_unit", "channels"):
        if rng.random() < 0.3:
            meta[name] = None
    for name in ("id", "name", "image_type", "acquisition_datetime", "type", "chunk_grid"):
        if rng.random() < 0.3:
            made[name] = None
    return made


INTEGERS = [
    pa.int32(), pa.int64(), pa.uint16(), pa.uint64(), pa.int16(),
    pa.dictionary(pa.int16(), pa.int32()),
]  # fmt: skip
TEXTS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int16(), pa.string())]
LISTED: list[Callable[[pa.DataType], pa.DataType]] = [
    pa.list_, pa.large_list, pa.list_view, pa.large_list_view,
]  # fmt: skip


def varied(rng: random.Random, kind: pa.DataType, *, small: bool = True) -> pa.DataType:
    """A type of the same categories: other widths, other lists, fields in another order."""
    types = pa.types
    if types.is_struct(kind):
        fields = list(kind)
        rng.shuffle(fields)
        made = {f.name: varied(rng, f.type, small=f.name != "color_rgba") for f in fields}
        if "color_rgba" not in made:  # of channels, all that there is is told
            made[f"extra{rng.randrange(3)}"] = pa.int8()
        return pa.struct(made)
    if types.is_list(kind):
        return rng.choice(LISTED)(varied(rng, kind.value_type))
    if types.is_integer(kind):
        return rng.choice(INTEGERS) if small else rng.choice([pa.int64(), pa.uint32()])
    if types.is_floating(kind):
        return rng.choice([pa.float32(), pa.float64()])
    if types.is_string(kind):
        return rng.choice(TEXTS)
    if types.is_timestamp(kind):
        return rng.choice([pa.timestamp("us"), pa.timestamp("ns")])
    if types.is_large_binary(kind):
        return rng.choice([pa.binary(), pa.large_binary(), pa.binary_view()])
    return kind


def cut(rng: random.Random, made: pa.Table) -> tuple[pa.Table, list[int]]:
    """The same rows in several groups, which are slices of something longer."""
    rows, batches, starts = made.num_rows, [], [0]
    while starts[-1] < rows:
        stop = min(rows, starts[-1] + rng.randint(1, 4))
        around = made.slice(max(0, starts[-1] - 2), stop - starts[-1] + 4).combine_chunks()
        batch = around.to_batches()[0].slice(min(2, starts[-1]), stop - starts[-1])
        batches.append(batch)
        starts.append(stop)
    return pa.Table.from_batches(batches, made.schema), starts[:-1]


@pytest.mark.parametrize("seed", range(30))
def test_records_in_every_physical_variant(seed: int) -> None:
    rng = random.Random(seed)
    encoded = seed % 2 == 1
    records = [drawn(rng, encoded) for _ in range(rng.randint(1, 12))]
    # Dictionaries of nulls alone are invalid in Arrow: one record has it all.
    values = image((1, 1, 1, 2, 2)) >> 1
    records.append(record(values, chunk=(1, 2, 1), planes=True, encoded=encoded, codec="zstd"))
    kind = varied(rng, BYTES if encoded else LISTS)
    made, starts = cut(rng, table(records, kind))
    check(records_of(made), records, starts)


@pytest.mark.parametrize("seed", range(6))
def test_records_in_files(seed: int) -> None:
    rng = random.Random(100 + seed)
    encoded = seed % 2 == 1
    records = [drawn(rng, encoded) for _ in range(9)]
    made = table(records, BYTES if encoded else LISTS)
    for data in (
        parquet(made, row_group_size=4),
        parquet(made, row_group_size=4, store_schema=False),
        ipc(made, rows=4),
    ):
        container = open_container(data)
        found = Records(container, choose(container.schema, None, container.label))
        check(found, records, [0, 4, 8])


def test_types_inferred_from_dicts() -> None:
    made = [record(image()), record(image((1, 1, 1, 2, 2)))]
    for each in made:
        del each["chunks"], each["chunk_grid"], each["image_type"], each["masks"]
    check(records_of(table(made, INFERRED)), made, [0])


def test_polars_frames() -> None:
    pl = pytest.importorskip("polars")
    made = [record(image()), None, record(image((1, 2, 1, 3, 2)))]
    container = open_container(pl.DataFrame(table(made, LISTS)))
    found = Records(container, choose(container.schema, None, "frame"))
    assert found.metas()[1] is None
    assert placed(found.image(2)) == expected(made[2], 0, 12)  # type: ignore[arg-type]


def test_what_lies_below_nulls_does_not_count() -> None:
    """Null rows and null lists may have items in the buffers; nobody sees them."""
    made = [record(image((1, 1, 2, 2, 2)), id=str(i)) for i in range(4)]
    array = pa.array(made, LISTS)
    planes = array.field("planes")
    hidden = pa.ListArray.from_arrays(
        planes.offsets, planes.values, mask=pa.array([False, True, False, False])
    )
    fields = [hidden if f.name == "planes" else array.field(f.name) for f in LISTS]
    rows = pa.StructArray.from_arrays(
        fields, fields=list(LISTS), mask=pa.array([False, False, True, False])
    )
    found = records_of(pa.table({"ome_arrow": rows}))
    assert [found.is_null(row) for row in range(4)] == [False, False, True, False]
    assert found.image(1).pieces.origins.shape == (0, 5)
    assert found.image(0).pieces.elements.tolist() == [0, 1]
    assert found.image(3).pieces.elements.tolist() == [2, 3]
    # The pixels_meta of a null row is hidden as well; that of a row that is not is an error.
    meta = array.field("pixels_meta")
    nothing = pa.StructArray.from_arrays(
        [meta.field(f.name) for f in meta.type],
        fields=list(meta.type),
        mask=pa.array([True, False, False, False]),
    )
    fields = [nothing if f.name == "pixels_meta" else array.field(f.name) for f in LISTS]
    found = records_of(
        pa.table({"ome_arrow": pa.StructArray.from_arrays(fields, fields=list(LISTS))})
    )
    for ask in (lambda: found.image(0), found.metas):
        with pytest.raises(
            FormatError, match=r"\[0, 'ome_arrow'\]: pixels_meta: expected a struct"
        ):
            ask()
    assert found.image(1).meta.shape == (1, 1, 2, 2, 2)


def test_views_of_lists_that_share_items_and_are_out_of_order() -> None:
    made = [record(image((1, 1, 3, 2, 2))) for _ in range(2)]
    array = pa.array(made, LISTS)
    items = array.field("planes").values
    views = pa.ListViewArray.from_arrays([3, 1], [3, 2], items)
    fields = {f.name: array.field(f.name) for f in LISTS} | {"planes": views}
    kind = pa.struct({name: field.type for name, field in fields.items()})
    rows = pa.StructArray.from_arrays(list(fields.values()), fields=list(kind))
    found = records_of(pa.table({"ome_arrow": rows}))
    assert found.image(0).pieces.elements.tolist() == [0, 1, 2]
    assert found.image(1).pieces.elements.tolist() == [3, 4]
    assert found.image(1).pieces.origins[:, 2].tolist() == [1, 2]


def test_lists_of_fixed_size_in_a_slice() -> None:
    made = [record(image((1, 1, 2, 2, 2))) for _ in range(3)]
    for number, each in enumerate(made):
        each["planes"] = each["planes"][:: 1 if number % 2 else -1]
    kind = pa.struct(
        {f.name: pa.list_(f.type.value_type, 2) if f.name == "planes" else f.type for f in LISTS}
    )
    found = records_of(table(made, kind).slice(1))
    check(found, made[1:], [0])


def test_chunks_come_before_planes_row_by_row() -> None:
    values = image((1, 1, 2, 3, 4))
    rows = [
        record(values, chunk=CHUNK, planes=True),
        record(values),
        record(values, chunk=CHUNK),
        {**record(values), "planes": None},
    ]
    found = records_of(table(rows, LISTS))
    check(found, rows, [0])
    assert [len(found.image(row).pieces) for row in range(4)] == [1, 2, 1, 0]
    assert not found.encoded


def test_chunks_of_bytes_and_planes_of_numbers_in_one_column() -> None:
    values = image((1, 1, 2, 3, 4))
    rows = [record(values, chunk=CHUNK, encoded=True), record(values)]
    found = records_of(table(rows, BYTES))
    check(found, rows, [0])
    assert found.encoded
    assert [found.image(row).units.encoded for row in range(2)] == [True, False]
    assert found.image(0).units is found.image(0).units


def test_chunks_of_either_kind_in_one_column() -> None:
    """What comes of a concatenation of tables of both kinds."""
    item = BYTES.field("chunks").type.value_type
    both = pa.struct([*item, pa.field("pixels", pa.list_(pa.uint16()))])
    kind = pa.struct({f.name: pa.list_(both) if f.name == "chunks" else f.type for f in BYTES})
    values = image((1, 1, 2, 3, 4))
    rows = [record(values, chunk=CHUNK, encoded=True, codec="zstd"), record(values, chunk=CHUNK)]
    found = records_of(table(rows, kind))
    check(found, rows, [0])
    assert [found.image(row).units.encoded for row in range(2)] == [True, False]


def test_errors_say_which_row() -> None:
    found = records_of(table([None, record(image())], LISTS, "crop"))
    with pytest.raises(NoImageError, match=r"^table\[0, 'crop'\]: there is no image") as error:
        found.image(0)
    assert isinstance(error.value, KeyError)
    assert isinstance(error.value, SourceNotFoundError)
    for row in (-1, 2, 1 << 70):
        for ask in (found.image, found.is_null):
            with pytest.raises(OutOfBoundsError, match="out of bounds: there are 2 rows"):
                ask(row)
    assert found.image(1).where == "table[1, 'crop']"
    assert json.loads(json.dumps(found.image(np.int64(1)).place)) == {"row": 1, "column": "crop"}


def test_a_record_of_nulls_is_a_null_row() -> None:
    """What data frames of dicts make of a missing one."""
    nothing: Record = dict.fromkeys(f.name for f in LISTS)
    empty = {
        **nothing,
        "pixels_meta": dict.fromkeys(f.name for f in LISTS.field("pixels_meta").type),
    }
    named = {**nothing, "id": "a"}
    found = records_of(table([nothing, record(image()), empty, named], LISTS))
    assert [found.is_null(row) for row in range(4)] == [True, False, True, False]
    with pytest.raises(FormatError, match=r"\[3, .*pixels_meta: expected a struct, found null"):
        found.image(3)


PLACES = [
    ({"z": 3}, r"planes\[1\]: expected a place.*\(2, 2, 3, 5, 7\), found"),
    ({"c": -1}, r"planes\[1\]: expected a place"),
    ({"t": (1 << 63) - 1}, r"planes\[1\]: expected a place"),
    ({"z": None}, r"planes\[1\].z: expected an integer, found null"),
    (None, r"planes\[1\]: expected a struct, found null"),
]


def wide(kind: pa.DataType, integer: pa.DataType | None = None) -> pa.DataType:
    """With integers that hold anything."""
    if pa.types.is_struct(kind):
        return pa.struct({f.name: wide(f.type, integer) for f in kind})
    if pa.types.is_list(kind):
        return pa.list_(wide(kind.value_type, integer))
    return (integer or pa.int64()) if pa.types.is_integer(kind) else kind


@pytest.mark.parametrize(("change", "text"), PLACES)
def test_planes_elsewhere(change: Any, text: str) -> None:
    made = record(image())
    if change is None:
        made["planes"][1] = None
    else:
        made["planes"][1] |= change
    with pytest.raises(FormatError, match=r"^table\[0, 'ome_arrow'\]: " + text):
        one(made, wide(LISTS))


@pytest.mark.parametrize(
    "change",
    [
        {"y": -1}, {"x": 7}, {"z": 2, "shape_z": 2}, {"shape_x": 0}, {"shape_y": -1},
        {"x": 1, "shape_x": (1 << 63) - 1}, {"x": (1 << 63) - 1, "shape_x": (1 << 63) - 1},
        {"y": -(1 << 63), "shape_y": 6}, {"shape_z": 4},
    ],
)  # fmt: skip
def test_chunks_elsewhere(change: Any) -> None:
    made = record(image(), chunk=CHUNK)
    made["chunks"][2] |= change
    with pytest.raises(FormatError, match=r"chunks\[2\]: expected a place in an image of .*found"):
        one(made, wide(LISTS))


def test_places_beyond_signed_integers() -> None:
    made = record(image())
    made["planes"][1]["z"] = (1 << 64) - 1
    with pytest.raises(FormatError, match=r"planes\[1\]: expected a place"):
        one(made, wide(LISTS, pa.uint64()))


def test_a_piece_elsewhere_is_no_matter_to_other_rows() -> None:
    rows = [record(image()), record(image())]
    rows[0]["planes"][0]["z"] = 9
    assert len(records_of(table(rows, LISTS)).image(1).pieces) == 12


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"dtype": "float33"}, "found 'float33'"),
        ({"dtype": "uint8"}, "dtype: expected 'uint16'.*found 'uint8'"),
        ({"compression": "lzo"}, "compression: expected one of .*zstd.*found 'lzo'"),
        ({"dtype": "int8", "compression": "lzo"}, "found 'int8'"),
    ],
)
def test_odd_chunks_are_said_to_be_so(change: Any, text: str) -> None:
    made = record(image(), chunk=CHUNK, encoded=True, codec="zstd")
    made["chunks"][2] |= change
    made["chunks"][0]["dtype"] = None
    made["chunks"][1] |= {"dtype": "UINT16", "compression": " ZSTD"}
    pieces = one(made, BYTES).pieces
    assert list(pieces.odd) == [2]
    place = ", ".join(f"{d}={made['chunks'][2][d]}" for d in "tczyx")
    assert pieces.odd[2].startswith(f"table[0, 'ome_arrow']: chunks[2] at {place}: ")
    assert re.search(text, pieces.odd[2])
    assert pieces.codec is not None
    assert pieces.codecs[pieces.codec[1]] == "zstd"
    assert pieces.codec.min() >= 0


@pytest.mark.parametrize("name", ["", "none", "NONE", "uncompressed", None])
def test_names_of_no_compression(name: str | None) -> None:
    made = record(image(), chunk=CHUNK, encoded=True)
    for chunk in made["chunks"]:
        chunk["compression"] = name
    assert one(made, BYTES).pieces.codecs == (None,)


def test_pixels_that_are_null_in_all_of_the_column() -> None:
    made = record(image())
    for plane in made["planes"]:
        del plane["pixels"]
    item = pa.struct({"t": pa.int8(), "c": pa.int8(), "z": pa.int8(), "pixels": pa.null()})
    kind = pa.struct({f.name: pa.list_(item) if f.name == "planes" else f.type for f in LISTS})
    found = one(made, kind)
    assert len(found.pieces.odd) == 12
    assert "null" in found.pieces.odd[0]


def test_a_column_without_any_piece() -> None:
    made = {**record(image()), "planes": None}
    kind = pa.struct(
        {f.name: pa.null() if f.name in ("chunks", "planes") else f.type for f in LISTS}
    )
    with pytest.raises(FormatError, match="expected planes or chunks"):
        one(made, kind)


@pytest.mark.parametrize("order", ["XYZ", "ZXY", "", "TCZYX"])
def test_chunks_in_another_order(order: str) -> None:
    made = record(image(), chunk=CHUNK)
    made["chunk_grid"]["chunk_order"] = order
    found = records_of(table([made], LISTS))
    for ask in (lambda: found.image(0), found.metas):
        with pytest.raises(FormatError, match=r"chunk_grid\.chunk_order: expected 'ZYX'"):
            ask()


@pytest.mark.parametrize("order", ["ZYX", "zyx", None])
def test_chunks_in_the_only_order(order: str | None) -> None:
    made = record(image(), chunk=CHUNK)
    made["chunk_grid"]["chunk_order"] = order
    assert one(made).meta.shape == (2, 2, 3, 5, 7)


def test_a_column_of_a_wrong_type_says_so() -> None:
    kind = pa.struct({f.name: pa.string() if f.name == "planes" else f.type for f in LISTS})
    made = {**record(image()), "planes": "none"}
    with pytest.raises(FormatError, match=r"table: ome_arrow\.planes: expected a list of structs"):
        records_of(table([made], kind))


def test_physical_sizes_in_single_precision() -> None:
    made = record(image(), physical_size_x=0.108, physical_size_y=None)
    made["pixels_meta"]["channels"][0]["emission_um"] = 0.525
    found = records_of(table([made], LISTS))
    for meta in (found.image(0).meta, found.metas()[0]):
        assert meta is not None
        assert [axis.scale for axis in meta.axes[2:]] == [2.0, None, 0.108]
        assert meta.attrs["channels"][0]["emission_um"] == 0.525
    json.dumps(found.image(0).meta.attrs)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (pa.timestamp("ns", "Europe/Berlin"), 1, "1970-01-01T00:00:00.000000001+00:00"),
        (pa.timestamp("s"), 0, "1970-01-01T00:00:00"),
        (pa.timestamp("us"), 1 << 62, None),
        (pa.date32(), 1, "1970-01-02"),
        (pa.string(), "1970-01-02T03:04", "1970-01-02T03:04"),
        (pa.string(), "yesterday", None),
        (pa.null(), None, None),
        (pa.float64(), 1.5, None),
    ],
)
def test_acquisition_times(kind: pa.DataType, value: Any, text: str | None) -> None:
    made = {**record(image()), "acquisition_datetime": None}
    array = pa.array([made], LISTS)
    moment = pa.array([value], pa.int64()).view(kind) if pa.types.is_timestamp(kind) else None
    fields = {f.name: array.field(f.name) for f in LISTS}
    fields["acquisition_datetime"] = pa.array([value], kind) if moment is None else moment
    rows = pa.StructArray.from_arrays(list(fields.values()), list(fields))
    found = records_of(pa.table({"ome_arrow": rows}))
    assert found.image(0).meta.attrs.get("acquisition_datetime") == text
    assert found.metas()[0] == found.image(0).meta


class Counting:
    """A container that counts what is read of it."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.asked: list[tuple[int, Sequence[Any]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def read(self, group: int, paths: Sequence[Any]) -> Any:
        self.asked.append((group, paths))
        return self.inner.read(group, paths)


def test_a_group_is_read_once_and_no_pixel_is() -> None:
    rows = [record(image((1, 1, 1, 2, 2))) for _ in range(8)]
    container = Counting(open_container(parquet(table(rows, LISTS), row_group_size=4)))
    found = Records(container, choose(container.schema, None, "t"))
    for row in (0, 3, 1, 2):
        found.image(row)
        found.is_null(row)
    assert [group for group, _ in container.asked] == [0]
    found.metas()
    assert [group for group, _ in container.asked] == [0, 1]
    assert all(path[-1] != "pixels" for _, paths in container.asked for path in paths)
    # Shapes need no places of pieces.
    assert not [path for path in container.asked[1][1] if "planes" in path]


def test_from_many_threads_and_in_children() -> None:
    rows = [record(image((1, 1, n, 2, 2))) for n in range(1, 9)]
    found = records_of(table(rows, LISTS))
    wrong: list[int] = []

    def look(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(200):
            row = rng.randrange(8)
            if found.image(row).meta.shape[2] != row + 1:
                wrong.append(row)

    threads = [threading.Thread(target=look, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    if "fork" in multiprocessing.get_all_start_methods():
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.apply(_planes_of, (found, 3)) == 4


def _planes_of(found: Records, row: int) -> int:
    return len(found.image(row).pieces)


def test_pickles_with_its_container() -> None:
    rows = [record(image()), record(image((1, 1, 1, 2, 2)))]
    found = records_of(table(rows, LISTS))
    again = pickle.loads(pickle.dumps(found))
    check(again, rows, [0])


def test_many_groups_are_not_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from lazytensor.io.ome_arrow import records

    monkeypatch.setattr(records, "_KEPT_GROUPS", 4)
    rows = [record(image((1, 1, 1, n, 1))) for n in range(1, 20)]
    batches = [table([each], LISTS).to_batches()[0] for each in rows]
    found = records_of(pa.Table.from_batches(batches))
    for _ in range(2):
        assert [found.image(row).meta.shape[3] for row in range(19)] == list(range(1, 20))
        assert len(found._groups) <= 4
        assert found._used == sum(group.nbytes for group in found._groups.values())


def first_image(data: bytes) -> Image:
    container = open_container(data)
    return Records(container, choose(container.schema, None, "t")).image(0)


def test_texts_that_are_not_utf8() -> None:
    made = record(image(), id="aaaa")
    for name in ("id", "name"):
        array = pa.array([{**made, name: "aaaa"}], LISTS)
        broken = pa.Array.from_buffers(
            pa.string(),
            1,
            [None, pa.array([0, 4], pa.int32()).buffers()[1], pa.py_buffer(b"\xff" * 4)],
        )
        fields = [broken if f.name == name else array.field(f.name) for f in LISTS]
        data = ipc(pa.table({"ome_arrow": pa.StructArray.from_arrays(fields, fields=list(LISTS))}))
        with pytest.raises(FormatError):
            first_image(data)


def test_a_hundred_thousand_pieces() -> None:
    """All at once, not one by one: this would take seconds if it were Python that looked."""
    n = 100_000
    item = LISTS.field("planes").type.value_type
    planes = pa.StructArray.from_arrays(
        [pa.array(np.arange(n)[::-1].astype("i4")), pa.array(np.zeros(n, "i4")),
         pa.array(np.zeros(n, "i2")), pa.array([[]] * n, item.field("pixels").type)],
        fields=list(item),
    )  # fmt: skip
    lists = pa.ListArray.from_arrays(pa.array([0, n], pa.int32()), planes)
    made = {**record(image((1, 1, 1, 1, 1)), size_z=n), "planes": None}
    array = pa.array([made], LISTS)
    fields = [lists if f.name == "planes" else array.field(f.name) for f in LISTS]
    rows = pa.StructArray.from_arrays(fields, fields=list(LISTS))
    found = records_of(pa.table({"ome_arrow": rows})).image(0)
    assert found.pieces.origins[:, 2].tolist() == list(range(n))[::-1]
    assert found.pieces.elements.tolist() == list(range(n))
