"""Byte strings that are decoded page by page, against what pyarrow reads of the same file."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lazytensor as lt
from lazytensor.config import Config
from lazytensor.errors import FormatError
from lazytensor.io.ome_arrow.containers import open_container
from lazytensor.io.ome_arrow.parquet import ParquetContainer
from lazytensor.io.ome_arrow.parquet_direct import Leaf, header_of, payload_of
from lazytensor.io.ome_arrow.parquet_units import PageUnit
from lazytensor.io.ome_arrow.unit_cache import UnitCache, unit_cache
from lazytensor.io.ome_arrow.units import units_of
from lazytensor.io.scratch import Scratch, thread_scratch

FLAT = ("pixel_bytes",)
NESTED = ("image", "chunks", "pixel_bytes")


def payloads(rng: np.random.Generator, sizes: list[int]) -> list[bytes]:
    """Byte strings that compress a little."""
    return [rng.integers(0, 40, size, np.uint8).tobytes() for size in sizes]


def flat(values: list[bytes | None], folder: Path, **options: Any) -> Path:
    """A row for each."""
    path = folder / "flat.parquet"
    kind = pa.field("pixel_bytes", options.pop("kind", pa.binary()), options.pop("nullable", True))
    table = pa.table([pa.array(values, kind.type)], schema=pa.schema([kind]))
    pq.write_table(table, path, **{"row_group_size": 1, **options})
    return path


def nested(values: list[bytes], folder: Path, **options: Any) -> Path:
    """All in one row, each in a page, as they are written here."""
    path = folder / "nested.parquet"
    size = len(values[0])
    image = np.frombuffer(b"".join(values), np.uint8).reshape(1, 1, len(values), 1, size)
    lt.asarray(image, dims=("t", "c", "z", "y", "x")).sink_ome_arrow(
        path, encoding="bytes", chunks={"z": 1, "y": 1, "x": size}, column="image", **options
    )
    return path


def together(values: list[bytes | None], folder: Path, **options: Any) -> Path:
    """All in one row and one page, as pyarrow writes them."""
    path = folder / "together.parquet"
    chunks = pa.list_(pa.struct([("z", pa.int16()), ("pixel_bytes", pa.binary())]))
    schema = pa.schema([("image", pa.struct([("id", pa.string()), ("chunks", chunks)]))])
    row = {"id": "a", "chunks": [{"z": i, "pixel_bytes": v} for i, v in enumerate(values)]}
    pq.write_table(pa.Table.from_pylist([{"image": row}], schema=schema), path, **options)
    return path


def read(path: Any, pixels: tuple[str, ...]) -> tuple[list[Any], list[Any]]:
    """All elements, and the units that they are in."""
    units = units_of(open_container(path), pixels[:1], pixels, encoded=True)
    found: list[Any] = []
    kinds: list[Any] = []
    for number in range(len(units)):  # type: ignore[arg-type]
        unit = units.unit(number)
        kinds.append(type(unit))
        for i in range(len(unit)):
            try:
                found.append(unit.element(i, thread_scratch()).tobytes())
            except FormatError as error:
                found.append(None if "are null" in str(error) else str(error))
    return found, kinds


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be read by pyarrow any more."""

    def refuse(*args: Any) -> Any:
        raise AssertionError("pyarrow was asked")

    monkeypatch.setattr(ParquetContainer, "_table", refuse)


OPTIONS: list[dict[str, Any]] = [
    {"compression": codec, "data_page_version": version, "use_dictionary": coded}
    for codec in ("zstd", "none", "snappy")
    for version in ("1.0", "2.0")
    for coded in (True, False)
] + [
    {"write_page_checksum": True},
    {"write_page_checksum": True, "data_page_version": "2.0"},
    {"nullable": False, "use_dictionary": False},
    {"nullable": False},
    {"kind": pa.large_binary()},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_rows_of_their_own(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = payloads(np.random.default_rng(1), [0, 1, 5, 300, 70_000, 140_000, 300_000])
    path = flat(values, tmp_path, **{"compression": "zstd", **options})  # type: ignore[arg-type]
    forbid(monkeypatch)
    assert read(path, FLAT) == (values, [PageUnit] * 7)
    assert read(path.read_bytes(), FLAT)[0] == values


@pytest.mark.parametrize("compression", ["zstd", None, "snappy"])
def test_chunks_of_one_row(
    compression: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = payloads(np.random.default_rng(2), [400_000] * 4)
    path = nested(values, tmp_path, compression=compression)
    forbid(monkeypatch)
    found, kinds = read(path, NESTED)
    assert found == values and kinds == [PageUnit]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("made", [flat, together])
def test_several_in_a_page(
    options: dict[str, Any],
    made: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = payloads(np.random.default_rng(1), [5, 0, 70_000, 140_000, 9_000, 300_000, 30_000])
    values = [*values, values[2], values[4], *values[:6]]
    options = {"compression": "zstd", **options}
    if made is flat:
        options["row_group_size"] = 6
    else:
        options = {k: v for k, v in options.items() if k not in ("kind", "nullable")}
    path = made(values, tmp_path, **options)
    forbid(monkeypatch)
    found, kinds = read(path, FLAT if made is flat else NESTED)
    assert found == values and PageUnit not in kinds


def test_many_small_ones_are_pyarrows(tmp_path: Path) -> None:
    values = payloads(np.random.default_rng(1), [20] * 3000)
    assert read(together(values, tmp_path), NESTED)[0] == values  # type: ignore[arg-type]
    assert read(flat(values, tmp_path, row_group_size=900), FLAT)[0] == values  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", ["gzip", "lz4", "brotli"])
def test_other_codecs_are_pyarrows(codec: str, tmp_path: Path) -> None:
    values = payloads(np.random.default_rng(3), [10, 90_000])
    found, kinds = read(flat(values, tmp_path, compression=codec), FLAT)  # type: ignore[arg-type]
    assert found == values and PageUnit not in kinds


def test_nulls_and_other_forms(tmp_path: Path) -> None:
    some: list[bytes | None] = [*payloads(np.random.default_rng(4), [9, 50_000]), None, b"x"]
    assert read(flat(some, tmp_path, compression="zstd"), FLAT)[0] == some
    assert read(flat(some, tmp_path, row_group_size=3), FLAT)[0] == some
    forms: list[list[bytes | None]] = [[some[1]], [None], [], some[1:3], [some[1]] * 3]
    several: list[dict[str, Any]] = [{}, {"use_dictionary": False}, {"data_page_version": "2.0"}]
    for one in forms:
        for options in several:
            assert read(together(one, tmp_path, **options), NESTED)[0] == one


def test_which_are_null(tmp_path: Path) -> None:
    path = flat([b"abc", None, b""], tmp_path, compression="zstd")
    units = units_of(open_container(path), FLAT, FLAT, encoded=True)
    assert [units.unit(i).is_null(0) for i in range(3)] == [False, True, False]  # type: ignore[attr-defined]
    path = flat([b"abc", None], tmp_path, write_statistics=False)
    units = units_of(open_container(path), FLAT, FLAT, encoded=True)
    assert [units.unit(i).is_null(0) for i in range(2)] == [False, True]  # type: ignore[attr-defined]


@pytest.mark.parametrize("made", [flat, nested, together])
@pytest.mark.parametrize("codec", ["zstd", "none", "snappy"])
@pytest.mark.parametrize("form", [0, 1, 2])
def test_damaged_pages_are_what_pyarrow_says(
    made: Callable[..., Path], codec: str, form: int, tmp_path: Path, monkeypatch: Any
) -> None:
    rng = np.random.default_rng(len(codec) + form)
    values = payloads(rng, [12_000 if made is not nested else 600_000] * 2)
    options: dict[str, Any] = {"compression": codec}
    if made is flat or made is together:
        options |= ({}, {"write_page_checksum": True}, {"data_page_version": "2.0"})[form]
        options["use_dictionary"] = bool(form)
    elif codec == "none":
        options = {"compression": None}
    path = made(values, tmp_path, **options)
    pixels = FLAT if made is flat else NESTED
    if made is flat and form == 1:
        path = made(values * 4, tmp_path, **options, row_group_size=5)
    whole = path.read_bytes()
    group = pq.ParquetFile(path).metadata.row_group(0)
    (chunk,) = (
        found
        for found in map(group.column, range(group.num_columns))
        if found.path_in_schema.endswith("pixel_bytes") and found.num_values
    )
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    stop = start + chunk.total_compressed_size
    places = [*range(start, start + 60), *range(stop - 45, stop)]
    places += rng.integers(start, stop, 40).tolist()
    different, undamaged = 0, read(whole, pixels)[0]
    for place in places:
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))

        def outcome(data: bytes = bytes(data)) -> Any:
            try:
                return read(data, pixels)[0]
            except FormatError as error:
                return type(error)

        found = outcome()
        with monkeypatch.context() as patch:
            patch.setattr(ParquetContainer, "paged_unit", lambda *args: None)
            expected = outcome()
        # Where all is read at once, nothing is read of a unit with a single damaged element.
        plain = isinstance(found, list) and isinstance(expected, list)
        if plain and all(isinstance(v, bytes) for v in expected):
            assert found == expected, place
        elif isinstance(found, list):
            assert any(isinstance(v, str) for v in found) or found == expected, place
        different += found != undamaged
    assert different > 30


def test_headers_of_anything() -> None:
    rng = np.random.default_rng(8)
    good = bytes.fromhex("150015181520") + bytes.fromhex("2c1502150015061506") + bytes(2)
    assert header_of(good) is not None
    for _ in range(3000):
        data = bytearray(good + bytes(rng.integers(0, 256, 30, np.uint8)))
        for _ in range(int(rng.integers(1, 5))):
            data[int(rng.integers(len(good)))] = int(rng.integers(256))
        data = data[: int(rng.integers(len(data) + 1))]
        head = header_of(bytes(data))
        assert head is None or (head.stored >= 0 and head.nbytes >= 0 and head.values >= 0)
        for leaf in (Leaf(None, 0, 1), Leaf("zstd", 1, 5)):
            payload_of(bytes(data), leaf, 1 << 20, True, Scratch())
    for size in range(len(good)):
        assert header_of(good[:size]) is None


def test_claims_are_not_allocated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Scratch, slot: int, nbytes: int) -> memoryview:
        raise AssertionError(f"{nbytes} bytes were taken")

    monkeypatch.setattr(Scratch, "take", refuse)
    # 2 GiB, says the header, of which there are two bytes.
    head = bytes.fromhex("150015feffffff0f15042c1502150015061506") + bytes(2)
    assert header_of(head) is not None
    assert payload_of(head + b"ab", Leaf("zstd", 0, 0), 1 << 40, True, Scratch()) is None
    assert payload_of(head + b"ab", Leaf("zstd", 0, 0), 1 << 10, True, Scratch()) is None


def test_what_is_kept(tmp_path: Path) -> None:
    values = payloads(np.random.default_rng(5), [700_000] * 2)
    units = units_of(open_container(nested(values, tmp_path)), NESTED[:1], NESTED, encoded=True)
    unit_cache().clear()
    unit, scratch = units.unit(0), thread_scratch()
    assert isinstance(unit, PageUnit) and not units.kept(0)
    for _ in range(3):
        assert unit.element(0, scratch).tobytes() == values[0]
    before = unit_cache().nbytes
    assert before < 10_000
    assert unit.partly(0, scratch).tobytes() == values[0]
    assert unit_cache().nbytes == before
    kept = unit.partly(0, scratch)
    assert kept.tobytes() == values[0] and unit_cache().nbytes >= before + 700_000
    assert unit.element(0, scratch) is kept and unit.partly(0, scratch) is kept
    assert not kept.flags.writeable and not units.kept(0)
    for _ in range(2):
        unit.partly(1, scratch)
    assert units.kept(0)


def test_nothing_keeps_itself_alive() -> None:
    class Data(bytearray):
        """Which can be referred to weakly."""

    sink = pa.BufferOutputStream()
    table = pa.table({"pixel_bytes": payloads(np.random.default_rng(9), [9_000] * 3)})
    pq.write_table(table, sink, row_group_size=1)
    data = Data(sink.getvalue().to_pybytes())
    gone = weakref.ref(data)
    units = units_of(open_container(data), FLAT, FLAT, encoded=True)
    unit: Any = units.unit(1)
    for _ in range(3):
        unit.partly(0, thread_scratch())
    gc.disable()
    try:
        del data, unit, units
        assert gone() is None
    finally:
        gc.enable()


def image(tmp_path: Path) -> tuple[np.ndarray, Path]:
    """A dataset of blocks."""
    rng = np.random.default_rng(6)
    values = rng.integers(0, 900, (1, 2, 16, 64, 80)).astype("u2")
    path = tmp_path / "blocks.ome-arrow"
    x = lt.asarray(values, dims=("t", "c", "z", "y", "x"))
    x.sink_ome_arrow(path, chunks={"z": 8, "y": 64, "x": 40})
    return values, path


def test_planes_crops_and_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values, path = image(tmp_path)
    x = lt.scan_ome_arrow(path)
    forbid_after = lt.scan_ome_arrow(path)[0, 0, 0].collect()
    assert np.array_equal(forbid_after, values[0, 0, 0])
    forbid(monkeypatch)
    for threads in (1, 4):
        with Config(threads=threads):
            for z in (0, 7, 8, 15, 3):
                assert np.array_equal(x[0, 1, z].collect(), values[0, 1, z])
            assert np.array_equal(x.collect(), values)
            crops = [x[0, 1, z, z : z + 9, 30:60] for z in range(16)]
            expected = np.stack([values[0, 1, z, z : z + 9, 30:60] for z in range(16)])
            assert np.array_equal(lt.stack(crops).collect(), expected)
    unit_cache().clear()
    with ThreadPoolExecutor(8) as pool:
        planes = [(c, z) for c in range(2) for z in range(16)] * 3
        found = pool.map(lambda at: x[0, at[0], at[1]].collect(), planes)
        assert all(
            np.array_equal(a, values[0, c, z]) for a, (c, z) in zip(found, planes, strict=True)
        )


def test_a_plane_of_one_row_reads_its_chunks_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    values = rng.integers(0, 60_000, (1, 1, 32, 256, 128)).astype("u2")
    path = tmp_path / "one.parquet"
    x = lt.asarray(values, dims=("t", "c", "z", "y", "x"))
    x.sink_ome_arrow(path, encoding="bytes", chunks={"z": 4, "y": 256, "x": 64})
    found = lt.scan_ome_arrow(path)
    unit_cache().clear()
    lt.metrics(reset=True)
    plane = found[0, 0, 9].collect()
    assert np.array_equal(plane, values[0, 0, 9])
    assert 0 < lt.metrics()["bytes_read"] < path.stat().st_size / 4


def test_former_states_are_forgotten() -> None:
    cache = UnitCache(most=1000)
    unit = type("Made", (), {"nbytes": 10})
    cache.turn_to("a", ("a", 1))
    cache.turn_to("b", ("b", 1))
    for key in ((("a", 1), "x"), ((("a", 1), "x"), 3), (("b", 1), "x")):
        cache.get(key, unit)
    cache.turn_to("a", ("a", 1))
    assert cache.nbytes == 30
    cache.turn_to("a", ("a", 2))
    assert cache.nbytes == 10 and cache.kept((("b", 1), "x"))


@pytest.mark.parametrize("mapped", [False, True])
def test_files_written_anew(mapped: bool, tmp_path: Path) -> None:
    first, second = (np.full((1, 1, 3, 8, 8), n, "u2") for n in (1, 2))
    for suffix in ("parquet", "arrow"):
        path = tmp_path / f"a.{suffix}"
        for number, values in enumerate((first, second, first[:, :, :2])):
            new = tmp_path / f"new-{number}.parquet"
            lt.asarray(values, dims=("t", "c", "z", "y", "x")).sink_ome_arrow(new, encoding="list")
            if suffix == "arrow":
                table = pq.read_table(new)
                new = tmp_path / f"new-{number}.arrow"
                with (
                    pa.OSFile(os.fspath(new), "wb") as file,
                    pa.ipc.new_file(file, table.schema) as writer,
                ):
                    writer.write_table(table)
            os.replace(new, path)
            for _ in range(2):
                found = lt.scan_ome_arrow(path, mmap=mapped)
                assert np.array_equal(found.collect(), values)
