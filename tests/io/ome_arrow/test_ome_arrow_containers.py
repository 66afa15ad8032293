"""Tables of every kind: what is read of them, what is not, and what is said when that fails."""

from __future__ import annotations

import io
import os
import pickle
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lazytensor.errors import FormatError, SourceChangedError, SourceError, SourceNotFoundError
from lazytensor.io.ome_arrow.arrow_files import arrow_errors
from lazytensor.io.ome_arrow.containers import open_container
from lazytensor.io.ome_arrow.polars_frame import lazy_frame
from lazytensor.io.ome_arrow.sniff import located
from lazytensor.io.ome_arrow.units import units_of
from lazytensor.io.scratch import thread_scratch
from lazytensor.io.store_counting import CountingStore
from lazytensor.plan.counters import of_this_thread
from tests.io.ome_arrow import ome_arrow_tables as tables
from tests.io.servers import serving

PACKERS: dict[str, Callable[[pa.Table], bytes]] = {
    "parquet": tables.parquet,
    "file": tables.ipc,
    "stream": lambda table: tables.ipc(table, stream=True),
    "lz4": lambda table: tables.ipc(table, codec="lz4"),
    "zstd stream": lambda table: tables.ipc(table, stream=True, codec="zstd"),
}
LEAVES: list[tuple[str, ...]] = [
    ("before",),
    ("image", "planes", "z"),
    ("image", "planes", "t"),
    ("image", "meta", "names"),
    ("image", "chunks", "codec"),
    ("image", "masks"),
    ("kind",),
    ("well",),
]


@pytest.fixture(scope="module")
def table() -> pa.Table:
    rows = tables.records(np.random.default_rng(3), 11)
    return pa.Table.from_pylist(rows, tables.table_type())


def restricted(value: Any, tree: Any) -> Any:
    """A value without the fields that are not asked for."""
    if isinstance(value, list):
        return [restricted(item, tree) for item in value]
    if isinstance(value, dict) and tree:
        return {name: restricted(value[name], below) for name, below in tree.items()}
    return value


def read_all(container: Any, paths: list[tuple[str, ...]]) -> list[Any]:
    rows: list[Any] = []
    for group in range(len(container.starts) - 1):
        rows += container.read(group, paths).to_pylist()
    return rows


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("place", ["path", "mapped", "bytes", "dict", "key", "counted", "url"])
def test_what_is_asked_for_is_read_and_nothing_else(
    table: pa.Table, tmp_path: Path, packer: str, place: str
) -> None:
    data = PACKERS[packer](table)
    path = tmp_path / "x"
    path.write_bytes(data)
    source: Any = {
        "path": path, "mapped": path, "bytes": data, "dict": {"x": data}, "key": ({"x": data}, "x"),
        "counted": (CountingStore({"x": data}), "x"), "url": path.as_uri(),
    }[place]  # fmt: skip
    container = open_container(source, mmap=place == "mapped")
    assert container.schema.names == table.schema.names
    assert container.starts.tolist() == [0, 4, 8, 11]
    assert container.suffix == ("parquet" if packer == "parquet" else "arrow")
    tree: dict[str, Any] = {
        "before": {},
        "image": {
            "planes": {"z": {}, "t": {}},
            "meta": {"names": {}},
            "chunks": {"codec": {}},
            "masks": {},
        },
        "well": {},
        "kind": {},
    }
    got = [{"image": row["image"], **row} for row in read_all(container, LEAVES)]
    assert [restricted(row, tree) for row in got] == [
        restricted(row, tree) for row in table.to_pylist()
    ]
    batch = container.read(1, LEAVES)
    assert batch.schema.names == ["before", "image", "well", "kind"]
    planes = batch.schema.field("image").type.field("planes").type.value_type
    assert {field.name for field in planes} == {"z", "t"}
    assert read_all(container, [("image",)]) == table.select(["image"]).to_pylist()
    again = pickle.loads(pickle.dumps(container))
    assert again.read(2, LEAVES).equals(container.read(2, LEAVES))


@pytest.mark.parametrize("packer", ["parquet", "file", "stream", "lz4"])
def test_pixels_are_not_read_with_the_rest(packer: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 60000, 100_000).tolist() for _ in range(4)]
    plane = pa.struct([("z", pa.int32()), ("pixels", pa.list_(pa.uint16()))])
    kind = pa.struct([("id", pa.string()), ("planes", pa.list_(plane))])
    rows = [
        {"image": {"id": str(i), "planes": [{"z": 1, "pixels": each}]}}
        for i, each in enumerate(pixels)
    ]
    data = PACKERS[packer](pa.Table.from_pylist(rows, pa.schema([("image", kind)])))
    store = CountingStore({"x": data})
    container = open_container((store, "x"))
    before = of_this_thread()["bytes_read"]
    container.read(0, [("image", "id"), ("image", "planes", "z")])
    assert 0 < of_this_thread()["bytes_read"] - before < 5000
    assert store.bytes < 80_000 < len(data) // 4
    path = ("image", "planes", "pixels")
    units = units_of(container, ("image",), path, encoded=False)
    store.reset()
    got = units.unit(0).element(2, thread_scratch())
    assert got.tolist() == pixels[2]
    assert units.stored_nbytes(0) >= 500_000
    assert units.decoded_nbytes(0) >= 790_000
    if container.by_element:
        assert store.bytes < 210_000
        assert container.decoded_nbytes(0, [path]) >= 800_000


def test_views_take_nothing(table: pa.Table, tmp_path: Path) -> None:
    path = tmp_path / "x.arrow"
    path.write_bytes(tables.ipc(table))
    before = of_this_thread()["bytes_read"]
    for source, mmap in ((table, False), (path.read_bytes(), False), (path, True)):
        container = open_container(source, mmap=mmap)
        assert container.zero_copy and not container.by_element
        container.read(0, [("image",)])
        assert container.stored_nbytes(0, [("image",)]) == 0
        assert container.decoded_nbytes(0, [("image",)]) == 0
    assert of_this_thread()["bytes_read"] == before
    assert not open_container(path).zero_copy


def test_documents_reopen(table: pa.Table, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(tables.parquet(table))
    assert open_container(path).document == {
        "format": "ome-arrow", "uri": str(tmp_path), "key": "x.parquet", "mmap": False,
    }  # fmt: skip
    assert open_container(path.read_bytes()).document is None
    assert open_container(table).document is None


def test_tables_in_memory(table: pa.Table) -> None:
    images = table["image"]
    record = {"id": "a", "pixels_meta": {"type": "uint8"}, "planes": [{"pixels": [1, 2]}]}
    kind = pa.struct([("id", pa.string()), ("l", pa.large_list(pa.int8())), ("s", pa.struct([]))])
    scalar = pa.scalar({"id": "x", "l": [1, None], "s": {}}, kind)
    for source, name, rows in (
        (table.to_batches()[0], "image", table.to_pylist()),
        (images, "ome_arrow", [{"ome_arrow": value} for value in images.to_pylist()]),
        (images.chunk(0), "ome_arrow", [{"ome_arrow": value} for value in images.to_pylist()]),
        (images[0], "ome_arrow", [{"ome_arrow": images[0].as_py()}]),
        (scalar, "ome_arrow", [{"ome_arrow": scalar.as_py()}]),
        (pa.scalar(None, kind), "ome_arrow", [{"ome_arrow": None}]),
        (record, "ome_arrow", [{"ome_arrow": record}]),
    ):
        container = open_container(source)
        assert name in container.schema.names
        whole: list[tuple[str, ...]] = [(each,) for each in container.schema.names]
        assert read_all(container, whole) == rows
    with pytest.raises(FormatError, match="record"):
        open_container({"pixels_meta": 1, "x": [1, "a"]})
    with pytest.raises(FormatError, match="two columns called 'a'"):
        open_container(pa.table([[1], [2]], names=["a", "a"]))
    with pytest.raises(TypeError, match="no place of a table of images"):
        open_container(7)


def test_a_scalar_is_not_copied() -> None:
    pixels = pa.array(np.arange(1000, dtype="u2"))
    lists = pa.ListArray.from_arrays(pa.array([0, 1000], pa.int32()), pixels)
    scalar = pa.StructArray.from_arrays([lists], ["pixels"])[0]
    batch = open_container(scalar).read(0, [("ome_arrow",)])
    values = batch.column(0).field("pixels").values
    assert values.buffers()[1].address == pixels.buffers()[1].address


def test_polars_frames(table: pa.Table) -> None:
    frame = pl.DataFrame({"a": [1, 2, 3], "s": ["x", None, "z"], "b": [b"1", b"", None]})
    for source in (frame, frame.lazy()):
        container = open_container(source)
        assert read_all(container, [("a",), ("b",)]) == frame.select("a", "b").to_dicts()
        units = units_of(container, ("b",), ("b",), encoded=True)
        assert units.unit(0).element(0, thread_scratch()).tobytes() == b"1"
        assert lazy_frame(container, ["s", "a"]).collect().equals(frame.select("s", "a"))
    series = open_container(pl.Series("", [{"a": 1}]))
    assert series.schema.names == ["ome_arrow"]


def test_no_rows() -> None:
    empty = tables.table_type().empty_table()
    for data in (empty, *(pack(empty) for pack in PACKERS.values())):
        container = open_container(data)
        assert container.starts[-1] == 0
        assert read_all(container, LEAVES) == []
        got = lazy_frame(container, ["before", "well"]).collect()
        assert got.shape == (0, 2) and got.schema["before"] == pl.Int64
        for group in range(len(container.starts) - 1):
            units = units_of(container, ("image",), tables.PLANES, encoded=False)
            assert len(units.unit(group)) == 0


def test_refusals_say_what_was_found(tmp_path: Path, table: pa.Table) -> None:
    data = tables.parquet(table)
    arrow = tables.ipc(table)
    for content, words in (
        (b"VTXF" + bytes(20), ["Vortex", "Parquet"]),
        (b"FEA1" + bytes(20), ["Feather"]),
        (b"PAR1" + bytes(20) + b"PARE", ["encrypted"]),
        (b"PARE" + bytes(20) + b"PARE", ["encrypted"]),
        (b"hello world", ["expected a Parquet file", "b'hello wo'", "11 bytes"]),
        (b"", ["0 bytes"]),
        (b"\x89PNG\r\n\x1a\n", ["PNG"]),
        (data[:-10], ["begins as a Parquet file", "cut off"]),
        (arrow[:-10], ["begins as an Arrow IPC file", "cut off"]),
        (b"PAR1", ["footer"]),
        (b"ARROW1", [""]),
    ):
        path = tmp_path / "some.file"
        path.write_bytes(content)
        for source in (path, content, {"some.file": content}):
            with pytest.raises(FormatError) as caught:
                open_container(source)
            for word in words:
                assert word in str(caught.value)
        with pytest.raises(FormatError, match=r"some\.file"):
            open_container(path)
    with pytest.raises(SourceNotFoundError, match="nothing"):
        open_container({})
    with pytest.raises(SourceNotFoundError):
        open_container(({"a": b""}, "b"))
    with pytest.raises(SourceNotFoundError):
        open_container(tmp_path / "absent")
    with pytest.raises(FormatError, match="'a', 'b'"):
        open_container({"a": b"", "b": b""})
    with pytest.raises(FormatError, match="mmap"):
        open_container({"a": data}, mmap=True)


@pytest.mark.parametrize("packer", ["parquet", "file", "stream"])
@pytest.mark.parametrize("how", ["replaced", "rewritten", "cut", "gone"])
def test_files_that_change_are_noticed(
    table: pa.Table, tmp_path: Path, packer: str, how: str
) -> None:
    path = tmp_path / "x"
    path.write_bytes(PACKERS[packer](table))
    os.utime(path, (1, 1))
    container = open_container(path)
    units = units_of(container, ("image",), tables.PLANES, encoded=False)
    other = PACKERS[packer](table.slice(1, 9))
    if how == "replaced":
        (tmp_path / "y").write_bytes(other)
        os.replace(tmp_path / "y", path)
    elif how == "rewritten":
        path.write_bytes(other)
    elif how == "cut":
        os.truncate(path, 100)
    else:
        path.unlink()
    for call in (
        lambda: container.read(0, LEAVES),
        lambda: units.unit(0).element(0, thread_scratch()),
        container.check,
        units.check,
    ):
        with pytest.raises((SourceChangedError, SourceNotFoundError)):
            call()
    if how != "gone":
        with pytest.raises(SourceChangedError):
            pickle.loads(pickle.dumps(container)).read(0, LEAVES)
    if how in ("replaced", "rewritten"):
        assert open_container(path).starts[-1] == 9


def is_null(unit: Any, number: int) -> bool:
    """Whether a piece is null, by the error that says so."""
    try:
        unit.element(number, thread_scratch())
    except FormatError as error:
        return "are null" in str(error)
    return False


def everything(source: Any) -> None:
    """Read all there is."""
    container = open_container(source)
    for group in range(len(container.starts) - 1):
        container.read(group, [(name,) for name in container.schema.names])
        for path, encoded in ((tables.PLANES, False), (tables.CHUNKS, True)):
            unit = units_of(container, ("image",), path, encoded=encoded).unit(group)
            for i in range(len(unit)):
                if not is_null(unit, i):
                    unit.element(i, thread_scratch())
                    unit.nulls(i)
    lazy_frame(container, ["before", "well"]).collect()


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("stored", [False, True])
def test_damaged_files_are_errors(table: pa.Table, packer: str, stored: bool) -> None:
    data = PACKERS[packer](table)
    rng = np.random.default_rng(len(packer))
    for _ in range(150):
        damaged = bytearray(data)
        kind = rng.integers(3)
        if kind == 0:
            del damaged[int(rng.integers(len(data))) :]
        elif kind == 1:
            for at in rng.integers(0, len(data), 3):
                damaged[at] ^= int(rng.integers(1, 256))
        else:
            at = int(rng.integers(len(data) - 8))
            damaged[at : at + 8] = bytes(rng.choice([0, 0x7F, 0xFF], 8).astype("u1"))
        content = bytes(damaged)
        # Names may have been damaged: a column that is not there is the caller's mistake.
        with suppress(SourceError, KeyError):
            everything(({"x": content}, "x") if stored else content)


def test_errors_name_file_and_group(table: pa.Table, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(table, path, row_group_size=4, compression="zstd", use_dictionary=False)
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    at = chunk.data_page_offset
    data[at : at + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    path.write_bytes(data)
    container = open_container(path)
    container.read(0, [("before",)])
    with pytest.raises(FormatError, match=r"x\.parquet: row group 1"):
        container.read(1, [("before",)])


def test_claimed_sizes_are_not_allocated(table: pa.Table) -> None:
    data = bytearray(tables.ipc(table, codec="lz4"))
    container = open_container(bytes(data))
    batch = container._contents.batches[0]  # type: ignore[attr-defined]
    start = max((int(size), int(at)) for at, size in batch.buffers)[1]
    data[start : start + 8] = (1 << 50).to_bytes(8, "little")
    with pytest.raises(FormatError, match="claims to hold"):
        open_container(bytes(data)).read(0, [(name,) for name in table.schema.names])


def test_names_with_dots_and_other_names_of_items(tmp_path: Path) -> None:
    kind = pa.struct([("b.c", pa.list_(pa.struct([("d", pa.int8()), ("e", pa.int8())])))])
    rows = [{"a.b": {"b.c": [{"d": 1, "e": 2}]}, "a": 3}]
    table = pa.Table.from_pylist(rows, pa.schema([("a.b", kind), ("a", pa.int8())]))
    for compliant in (False, True):
        data = tables.parquet(table, use_compliant_nested_type=compliant)
        container = open_container(data)
        got = container.read(0, [("a.b", "b.c", "e")])
        assert got.to_pylist() == [{"a.b": {"b.c": [{"e": 2}]}}]
        assert container.read(0, [("a",)]).to_pylist() == [{"a": 3}]


@pytest.mark.parametrize(
    ("packer", "opening", "reading"), [("parquet", 1, 1), ("file", 2, 2), ("lz4", 2, 2)]
)
def test_round_trips(table: pa.Table, packer: str, opening: int, reading: int) -> None:
    data = PACKERS[packer](table)
    with serving({"folder/x.bin": data}) as server:
        url = f"{server.url}/folder/x.bin"
        server.quiet = 0.05
        container = open_container(url)
        assert container.remote and server.rounds <= opening
        before = server.rounds
        assert container.read(1, LEAVES).equals(open_container(data).read(1, LEAVES))
        assert server.rounds - before <= reading
        units = units_of(container, ("image",), tables.PLANES, encoded=False)
        before = server.rounds
        assert len(units.unit(1)) == len(
            units_of(open_container(data), ("image",), tables.PLANES, encoded=False).unit(1)
        )
        assert server.rounds - before <= reading and units.kept(1)
        server.objects["folder/x.bin"] = PACKERS[packer](table.slice(1))
        with pytest.raises(SourceChangedError):
            container.read(2, LEAVES)


def test_columns_that_arrow_reads_itself(tmp_path: Path) -> None:
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array([5, None]))
    union = pa.UnionArray.from_sparse(
        pa.array([0, 1, 0], pa.int8()), [pa.array([1, 2, 3]), pa.array(["a", "b", "c"])]
    )
    maps = pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int8()))
    sixteen = pa.array([b"x" * 16, None, b"y" * 16], pa.binary(16))
    uuids = pa.ExtensionArray.from_storage(pa.uuid(), sixteen)
    words = pa.array(["p", "q", "p"]).dictionary_encode()
    views = pa.array(["short", None, "longer than twelve bytes"], pa.string_view())
    table = pa.table(
        {
            "runs": runs,
            "union": union,
            "maps": maps,
            "uuids": uuids,
            "words": words,
            "views": views,
            "x": pa.array([True, None, False]),
        }
    )
    plain = {name: [str(v) for v in table[name].to_pylist()] for name in table.column_names}
    for data in (
        tables.ipc(table),
        tables.ipc(table, stream=True),
        tables.ipc(table, codec="zstd"),
    ):
        for source in (data, ({"x": data}, "x")):
            container = open_container(source)
            for name in table.column_names:
                got = container.read(0, [(name,)]).column(0).to_pylist()
                if name == "uuids":
                    got = [None if v is None else v for v in got]
                    assert [v is None for v in got] == [False, True, False]
                    continue
                assert [str(v) for v in got] == plain[name]


def test_arrow_itself_reads_the_other_byte_order() -> None:
    table = pa.table({"a": pa.array([1, 258], pa.int32()), "b": [b"x", b"yz"]})
    for stream in (False, True):
        container = open_container(tables.ipc(table, stream=stream))
        # As if its schema said so: no writer at hand makes such files.
        container._contents.plain = False  # type: ignore[attr-defined]
        assert container.read(0, [("a",), ("b",)]).to_pylist() == table.to_pylist()


@pytest.mark.parametrize("packer", PACKERS)
def test_a_frame_reads_what_a_query_needs(table: pa.Table, packer: str) -> None:
    data = PACKERS[packer](table)
    store = CountingStore({"x": data})
    container = open_container((store, "x"))
    store.reset()
    frame = lazy_frame(container, ["before", "well", "kind"])
    assert frame.collect_schema().names() == ["before", "well", "kind"]
    assert not store.log
    expected = pl.DataFrame(pl.from_arrow(table.select(["before", "well", "kind"])))
    assert frame.collect().equals(expected)
    query = frame.filter(pl.col("well") == "A01").select("before")
    assert query.collect().equals(expected.filter(pl.col("well") == "A01").select("before"))
    assert frame.head(5).collect().equals(expected.head(5))
    assert frame.select(pl.len()).collect().item() == 11
    assert frame.tail(2).collect().equals(expected.tail(2))
    assert frame.select("kind").collect()["kind"].dtype == pl.Categorical
    store.reset()
    frame.select("before").head(3).collect()
    assert 0 < store.bytes < 400
    assert lazy_frame(container, []).collect().shape in ((11, 0), (0, 0))


def test_columns_that_polars_does_not_have() -> None:
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    views = pa.array([[1, 2]], pa.list_view(pa.int8()))
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array([5]))
    table = pa.table({"union": union, "views": views, "runs": runs, "x": [1]})
    frame = lazy_frame(open_container(table), table.column_names)
    assert frame.drop("union").collect().to_dicts() == [{"views": [1, 2], "runs": 5, "x": 1}]
    with pytest.raises(FormatError, match="'union'"):
        frame.collect()


def test_frames_of_files_that_changed(tmp_path: Path, table: pa.Table) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(tables.parquet(table))
    frame = lazy_frame(open_container(path), ["before"])
    path.write_bytes(tables.parquet(table.slice(2)))
    with pytest.raises(SourceChangedError):
        frame.collect()


@pytest.mark.parametrize("packer", ["parquet", "file"])
def test_threads_share_a_container(table: pa.Table, tmp_path: Path, packer: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(PACKERS[packer](table))
    container = open_container(path)
    expected = [container.read(group, LEAVES) for group in range(3)]
    wrong: list[Any] = []

    def work() -> None:
        batches = [(i % 3, container.read(i % 3, LEAVES)) for i in range(30)]
        wrong.extend(i for i, batch in batches if not batch.equals(expected[i]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("packer", ["parquet", "file"])
def test_a_container_survives_a_fork(table: pa.Table, tmp_path: Path, packer: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(PACKERS[packer](table))
    container = open_container(path)
    expected = container.read(1, LEAVES)
    child = os.fork()
    if not child:
        code = 1
        try:
            same = container.read(1, LEAVES).equals(expected)
            code = 0 if same and open_container(path).read(1, LEAVES).equals(expected) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_extension_columns_are_looked_into() -> None:
    class Image(pa.ExtensionType):  # type: ignore[misc]
        def __init__(self, storage: Any) -> None:
            super().__init__(storage, "test.image")

        def __arrow_ext_serialize__(self) -> bytes:
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, storage: Any, data: bytes) -> Any:
            return cls(storage)

    rows = [{"id": "a", "planes": [{"z": 1, "pixels": [1, 2]}]}]
    storage = pa.array(rows)
    table = pa.table({"i": pa.ExtensionArray.from_storage(Image(storage.type), storage)})
    out = io.BytesIO()
    pq.write_table(table, out)
    for source in (table, tables.ipc(table), out.getvalue()):
        container = open_container(source)
        got = container.read(0, [("i", "planes", "z")]).to_pylist()
        assert got == [{"i": {"planes": [{"z": 1}]}}]
        units = units_of(container, ("i",), ("i", "planes", "pixels"), encoded=False)
        assert units.unit(0).element(0, thread_scratch()).tolist() == [1, 2]


def test_files_that_polars_wrote(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "a": [1, 2],
            "s": ["x", None],
            "b": [b"q", b"a string of bytes that is not short"],
            "c": pl.Series(["u", "v"], dtype=pl.Categorical),
            "l": [[1, 2], [3]],
        }
    )
    for codec in ("uncompressed", "lz4", "zstd"):
        for write in (frame.write_ipc, frame.write_ipc_stream, frame.write_parquet):
            path = tmp_path / "x"
            write(path, compression=codec)
            for source in (path, path.read_bytes()):
                container = open_container(source)
                assert read_all(container, [(name,) for name in frame.columns]) == frame.to_dicts()
                assert lazy_frame(container, frame.columns).collect().equals(frame)
                numbers = units_of(container, ("l",), ("l",), encoded=False)
                assert numbers.unit(0).element(0, thread_scratch()).tolist() == [1, 2]
                data = units_of(container, ("b",), ("b",), encoded=True)
                assert data.unit(0).element(1, thread_scratch()).tobytes() == frame["b"][1]


def test_mistakes_of_this_package_are_no_fault_of_a_file() -> None:
    """``TypeError``, ``KeyError`` and ``MemoryError`` are a damaged file only if Arrow says so."""

    def fail(error: Exception) -> None:
        raise error

    for error in (KeyError("x"), TypeError("x"), MemoryError("x")):
        with pytest.raises(type(error)), arrow_errors("a file"):
            fail(error)

    class File(io.BytesIO):
        def read(self, n: int | None = -1) -> bytes:
            raise TypeError("a mistake in what Arrow calls")

    with pytest.raises(TypeError, match="a mistake"), arrow_errors("a file"):
        pa.PythonFile(File(b"12345678"), mode="r").read(4)
    for call in (lambda: pa.schema([]).field("x"), lambda: pa.array([1, "a"])):
        with pytest.raises(FormatError, match="a file cannot be decoded"), arrow_errors("a file"):
            call()


def test_the_one_table_of_a_store(table: pa.Table) -> None:
    data = tables.parquet(table)
    for files in ({"a.bin": data}, {"b.parquet": data, "notes.txt": b""}):
        assert open_container(files).starts[-1] == table.num_rows
        assert located(files, None)[1] == next(iter(files))
    several = {"b.parquet": data, "c.arrow": b""}
    for opens in (open_container, lambda files: located(files, None)):
        with pytest.raises(FormatError, match=r"or one table, found 'b.parquet', 'c.arrow'; name"):
            opens(several)
        with pytest.raises(SourceNotFoundError, match="found nothing"):
            opens({})
