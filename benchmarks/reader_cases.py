"""The table of edge cases: a name, and a function that writes a store and knows its values.

``CASES`` is read by ``readers.py`` and by the tests. Values of text are object arrays of ``str``;
None in place of values stands for a store that is damaged, and whose values nobody can know.
"""

from __future__ import annotations

import bz2
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from reader_codecs import compressors, compressors_v2
from reader_shards import shards
from reader_stores import (
    LITTLE,
    VALUES,
    Case,
    Write,
    distinct,
    gzip_members,
    n5,
    put,
    shard,
    sharding,
    v2,
    v2_document,
    v3,
    v3_document,
)

__all__ = ["CASES", "Case"]


def _keys() -> Iterator[Case]:
    def encoded(kind: str, separator: str, shape: tuple[int, ...]) -> Write:
        def key(index: tuple[int, ...]) -> str:
            if kind == "default":
                return separator.join(["c", *map(str, index)])
            return separator.join(map(str, index)) or "0"

        settings = {"name": kind, "configuration": {"separator": separator}}
        values = distinct(shape, "uint16") + np.uint16(3)
        chunks = (2,) * len(shape)
        return lambda p: v3(p, values, chunks, key=key, chunk_key_encoding=settings)

    for kind, separator in (("default", "/"), ("default", "."), ("v2", "."), ("v2", "/")):
        name = f"v3 keys `{kind}` with `{separator}`"
        yield Case(name, "keys", encoded(kind, separator, (3, 5)))
        yield Case(f"{name}, 0-d", "keys", encoded(kind, separator, ()))
    for separator in "./":
        yield Case(
            f"v2 keys with `{separator}`",
            "keys",
            lambda p, s=separator: v2(p, VALUES, (3, 4), separator=s),
            "zarr2",
        )
    scalar = np.array(7, "u2")
    yield Case("v2, 0-d", "keys", lambda p: v2(p, scalar, ()), "zarr2")


def _shapes() -> Iterator[Case]:
    def empty(p: Path) -> np.ndarray:
        put(p, "zarr.json", v3_document((0, 3), (2, 2)))
        return np.zeros((0, 3), "u2")

    five = distinct((2, 3, 4, 5, 6), "int16")
    yield Case("empty dimension", "shapes", empty)
    yield Case("chunk larger than the array", "shapes", lambda p: v3(p, VALUES, (16, 10)))
    yield Case("1 × 1 chunks", "shapes", lambda p: v3(p, VALUES, (1, 1)))
    yield Case("5-d, garbage in edge chunks", "shapes", lambda p: v3(p, five, (1, 2, 4, 3, 5)))
    yield Case("v2 order F", "shapes", _fortran, "zarr2")
    yield Case("v3 transpose", "shapes", _transposed)
    yield Case("rectilinear chunks", "shapes", lambda p: _rectilinear(p, [3, [4, 5]], (3, 3, 1)))
    yield Case("rectilinear shards", "shapes", _rectilinear_shards)
    yield Case(
        "rectilinear chunks, run lengths, overhanging",
        "shapes",
        lambda p: _rectilinear(p, [[[3, 2], 2], [4, [6, 1]]], (3, 3, 2)),
    )


def _fortran(p: Path) -> np.ndarray:
    return v2(p, VALUES, (3, 4), encode=lambda b: b.T.tobytes(), order="F")


def _transposed(p: Path) -> np.ndarray:
    values = distinct((3, 4, 5), "int16")
    transpose = {"name": "transpose", "configuration": {"order": [2, 0, 1]}}
    encode = lambda b: b.transpose(2, 0, 1).tobytes()  # noqa: E731
    return v3(p, values, (2, 3, 4), encode=encode, codecs=[transpose, LITTLE])


def _rectilinear(p: Path, shapes: list[Any], rows: tuple[int, ...]) -> np.ndarray:
    """Edges of (7, 9): rows as given (the last may overhang), columns 4 and then the rest."""
    columns = (4, 5) if shapes[1] == [4, 5] else (4, 6)
    grid = {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": shapes}}
    put(p, "zarr.json", v3_document((7, 9), (1, 1), chunk_grid=grid, data_type="int32"))
    if shapes[0] == 3:
        rows = (3, 3, 3)
    tops, lefts = np.cumsum([0, *rows]), np.cumsum([0, *columns])
    for i, height in enumerate(rows):
        for j, width in enumerate(columns):
            block = np.full((height, width), 0x5A5A5A5A, "<i4")
            part = VALUES[tops[i] : tops[i] + height, lefts[j] : lefts[j] + width]
            block[: part.shape[0], : part.shape[1]] = part
            put(p, f"c/{i}/{j}", block.tobytes())
    return VALUES


def _rectilinear_shards(p: Path) -> np.ndarray:
    settings = {"kind": "inline", "chunk_shapes": [[[4, 2]], [3, 6]]}
    grid = {"name": "rectilinear", "configuration": settings}
    changes = {"chunk_grid": grid, "data_type": "int32", "codecs": [sharding((2, 3))]}
    put(p, "zarr.json", v3_document((7, 9), (1, 1), **changes))
    padded = np.zeros((8, 9), "<i4")
    padded[:7] = VALUES
    for i, j in np.ndindex(2, 2):
        block = padded[4 * i : 4 * i + 4, slice(0, 3) if j == 0 else slice(3, 9)]
        put(p, f"c/{i}/{j}", shard(np.ascontiguousarray(block), (2, 3)))
    return VALUES


def _fills() -> Iterator[Case]:
    def only_fill(stated: Any, value: np.ndarray, data_type: str | None = None) -> Write:
        def write(p: Path) -> np.ndarray:
            document = v3_document((3,), (2,), data_type=data_type or value.dtype.name)
            put(p, "zarr.json", {**document, "fill_value": stated})
            return np.repeat(value.reshape(1), 3)

        return write

    def only_fill_v2(stated: Any, value: np.ndarray) -> Write:
        def write(p: Path) -> np.ndarray:
            put(p, ".zarray", v2_document((3,), (2,), dtype=value.dtype.str, fill_value=stated))
            return np.repeat(value.reshape(1), 3)

        return write

    quiet = np.array(0x7FC00ABC, "u4").view("f4")
    complicated = np.array(complex(float("inf"), -0.0), "c16")
    v3_fills: list[tuple[str, Any, np.ndarray]] = [
        ("NaN with payload `0x7fc00abc`", "0x7fc00abc", quiet),
        ("`-Infinity`", "-Infinity", np.array(-np.inf, "f8")),
        ("-0.0", -0.0, np.array(-0.0, "f4")),
        ("uint64 max", 2**64 - 1, np.array(2**64 - 1, "u8")),
        ("int64 beyond 2^53", 2**53 + 1, np.array(2**53 + 1, "i8")),
        ("complex `[Infinity, -0.0]`", ["Infinity", -0.0], complicated),
    ]
    for name, stated, value in v3_fills:
        yield Case(f"v3 fill {name}", "fill values", only_fill(stated, value))
    v2_fills: list[tuple[str, Any, np.ndarray]] = [
        ("null", None, np.array(0, "<i4")),
        ("`NaN`", "NaN", np.array(np.nan, "<f8")),
        ("base64 of S3", "YWJj", np.array(b"abc", "S3")),
        ("`NaT`-like integer of M8", 17, np.array(17, "<M8[s]")),
    ]
    for name, stated, value in v2_fills:
        yield Case(f"v2 fill {name}", "fill values", only_fill_v2(stated, value), "zarr2")


def _types() -> Iterator[Case]:
    def ml(name: str) -> Write:
        def write(p: Path) -> np.ndarray:
            import ml_dtypes

            return v3(p, (np.arange(10) % 7).astype(getattr(ml_dtypes, name)), (4,))

        return write

    for name in ("bool", "float16", "complex64", "complex128"):
        yield Case(f"v3 {name}", "types", lambda p, n=name: v3(p, distinct((5, 4), n), (2, 3)))
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "uint4"):
        yield Case(f"v3 {name}", "types", ml(name), needs="ml_dtypes")
    yield Case("v3 big endian", "types", _big_endian)
    for code in (">f4", "<M8[ns]", "<m8[s]", "|S5", "<U3", ">U2"):
        yield Case(f"v2 `{code}`", "types", lambda p, c=code: _v2_typed(p, c), "zarr2")
    pair = np.dtype([("a", "<i4"), ("b", "<f8")])
    records = np.array([(i, -i / 2) for i in range(7)], pair)
    yield Case(
        "v2 structured",
        "types",
        lambda p: v2(p, records, (3,), dtype=[["a", "<i4"], ["b", "<f8"]], fill_value=None),
        "zarr2",
    )
    fields = {
        "structured": [["a", "int32"], ["b", "float64"]],
        "struct": [{"name": "a", "data_type": "int32"}, {"name": "b", "data_type": "float64"}],
    }
    for name, listed in fields.items():
        settings = {"name": name, "configuration": {"fields": listed}}
        fill = "AAAAAAAAAAAAAAAA" if name == "structured" else {"a": 0, "b": 0.0}
        yield Case(
            f"v3 {name}",
            "types",
            lambda p, s=settings, f=fill: v3(p, records, (3,), data_type=s, fill_value=f),
        )
    yield from _timed_and_text()


def _big_endian(p: Path) -> np.ndarray:
    big = {"name": "bytes", "configuration": {"endian": "big"}}
    return v3(p, VALUES, (3, 4), encode=lambda b: b.astype(">i4").tobytes(), codecs=[big])


def _v2_typed(p: Path, code: str) -> np.ndarray:
    dtype = np.dtype(code)
    count = np.arange(7)
    values = count.astype("i8").view("M8[s]").astype(dtype) if dtype.kind == "M" else None
    if dtype.kind in "SU":
        values = np.array([f"x{i}"[: dtype.itemsize] for i in count]).astype(dtype)
    values = count.astype(dtype) if values is None else values
    v2(p, values, (3,), dtype=code)
    return values.astype(dtype.newbyteorder("="))


def _timed_and_text() -> Iterator[Case]:
    stamp = {"name": "numpy.datetime64", "configuration": {"unit": "s", "scale_factor": 10}}
    times = np.arange(7).astype("M8[10s]")
    yield Case("v3 numpy.datetime64", "types", lambda p: v3(p, times, (3,), data_type=stamp))
    delta = {"name": "numpy.timedelta64", "configuration": {"unit": "ms", "scale_factor": 1}}
    spans = np.array([3, -1, 10**12, 0], "m8[ms]")
    yield Case("v3 numpy.timedelta64", "types", lambda p: v3(p, spans, (3,), data_type=delta))
    raw = np.arange(14, dtype="u1").view("V2")
    yield Case(
        "v3 r16 (raw bits), fill value as integers",
        "types",
        lambda p: v3(p, raw, (3,), data_type="r16", codecs=[{"name": "bytes"}], fill_value=[0, 0]),
    )
    fixed = {"name": "fixed_length_utf32", "configuration": {"length_bytes": 12}}
    words = np.array(["a", "öß", "", "xyz", "1"], "U3")
    yield Case(
        "v3 fixed_length_utf32",
        "types",
        lambda p: v3(p, words, (2,), data_type=fixed, fill_value=""),
    )
    ended = {"name": "null_terminated_bytes", "configuration": {"length_bytes": 4}}
    ascii_words = np.array([b"a", b"bcde", b"", b"fg"], "S4")
    yield Case(
        "v3 null_terminated_bytes",
        "types",
        lambda p: v3(p, ascii_words, (3,), data_type=ended, fill_value=""),
    )
    yield Case("v3 string (vlen-utf8)", "types", _strings_v3)
    yield Case("v2 `|O` with vlen-utf8", "types", _strings_v2, "zarr2")


_TEXT = np.array(["a", "", "naïve", "日本語", "e\U0001f600", "zz"], object)


def _vlen(texts: np.ndarray) -> bytes:
    encoded = [str(text).encode() for text in texts]
    parts = [len(data).to_bytes(4, "little") + data for data in encoded]
    return len(parts).to_bytes(4, "little") + b"".join(parts)


def _strings_v3(p: Path) -> np.ndarray:
    codecs = [{"name": "vlen-utf8"}]
    put(p, "zarr.json", v3_document((6,), (4,), data_type="string", codecs=codecs, fill_value=""))
    put(p, "c/0", _vlen(_TEXT[:4]))
    put(p, "c/1", _vlen(np.array([*_TEXT[4:], "?", "?"], object)))
    return _TEXT


def _strings_v2(p: Path) -> np.ndarray:
    document = v2_document((6,), (4,), dtype="|O", fill_value="", filters=[{"id": "vlen-utf8"}])
    put(p, ".zarray", document)
    put(p, "0", _vlen(_TEXT[:4]))
    put(p, "1", _vlen(np.array([*_TEXT[4:], "?", "?"], object)))
    return _TEXT


def _hierarchies() -> Iterator[Case]:
    def consolidated_v2(p: Path) -> np.ndarray:
        values = v2(p / "g/a", VALUES, (3, 4))
        document = v2_document((7, 9), (3, 4), dtype="<i4")
        (p / "g/a/.zarray").unlink()
        group = {"zarr_format": 2}
        metadata = {".zgroup": group, "g/.zgroup": group, "g/a/.zarray": document}
        put(p, ".zgroup", group)
        put(p, ".zmetadata", {"zarr_consolidated_format": 1, "metadata": metadata})
        return values

    def consolidated_v3(p: Path) -> np.ndarray:
        values = v3(p / "g/a", VALUES, (3, 4))
        (p / "g/a/zarr.json").unlink()
        array = v3_document((7, 9), (3, 4), data_type="int32")
        group = {"zarr_format": 3, "node_type": "group", "attributes": {}}
        # A group is written with what is below it, even if that is nothing.
        below = {"kind": "inline", "must_understand": False, "metadata": {}}
        metadata = {
            "g": {**group, "consolidated_metadata": below},
            "g/a": {**array, "attributes": {}},
        }
        put(p, "zarr.json", {**group, "consolidated_metadata": {**below, "metadata": metadata}})
        return values

    name = "grüße/日本 語"
    topic = "hierarchies"
    group = {"zarr_format": 3, "node_type": "group"}
    yield Case("v2 metadata only consolidated", topic, consolidated_v2, "zarr2", "g/a")
    yield Case("v3 metadata only consolidated", topic, consolidated_v3, inside="g/a")
    yield Case(
        "groups without metadata", topic, lambda p: v3(p / "x/y", VALUES, (3, 4)), inside="x/y"
    )

    def unicode(p: Path) -> np.ndarray:
        put(p, "zarr.json", group)
        put(p, "grüße/zarr.json", group)
        return v3(p / name, VALUES, (3, 4))

    yield Case("unicode names", topic, unicode, inside=name)
    for how, kind in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        yield Case(f"zip, {how}", topic, lambda p: v3(p, VALUES, (3, 4)), zipped=kind)
        encode = lambda b: shard(b, (2, 3))  # noqa: E731
        yield Case(
            f"zip, {how}, shards",
            topic,
            lambda p, e=encode: v3(p, VALUES, (4, 6), encode=e, codecs=[sharding((2, 3))]),
            zipped=kind,
        )


def _n5s() -> Iterator[Case]:
    import numcodecs

    blosc = {"type": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0}
    kinds: list[tuple[dict[str, Any], Callable[[bytes], Any]]] = [
        ({"type": "raw"}, bytes),
        ({"type": "gzip", "level": 5, "useZlib": False}, lambda d: gzip_members(d, 10**6)),
        ({"type": "gzip", "level": 5, "useZlib": True}, zlib.compress),
        ({"type": "zstd", "level": 3}, numcodecs.Zstd(3).encode),
        ({"type": "bzip2", "blockSize": 9}, bz2.compress),
        ({"type": "xz", "preset": 6}, lzma.compress),
        (blosc, lambda d: numcodecs.Blosc("lz4", 5, 1).encode(np.frombuffer(d, "u1"))),
    ]
    for compression, compress in kinds:
        label = "zlib" if compression.get("useZlib") else compression["type"]
        yield Case(
            f"n5 {label}",
            "n5",
            lambda p, c=compression, f=compress: n5(p, VALUES, (3, 4), c, lambda d: bytes(f(d))),
            "n5",
        )


def _damaged() -> Iterator[Case]:
    """Stores that a reader has to refuse: what they hold is not what was written."""

    def broken(write: Write, key: str, damage: Callable[[bytes], bytes]) -> Write:
        def damaged(p: Path) -> None:
            write(p)
            put(p, key, damage((p / key).read_bytes()))

        return damaged

    by_name = {case.name: case for make in (compressors, shards) for case in make()}
    shorter = lambda data: data[:-5]  # noqa: E731
    flipped = lambda data: data[:7] + bytes([data[7] ^ 16]) + data[8:]  # noqa: E731
    flipped_late = lambda data: data[:-9] + bytes([data[-9] ^ 16]) + data[-8:]  # noqa: E731
    # The inner chunk at 2^40: no file is that long.
    far = lambda data: (1 << 40).to_bytes(8, "little") + data[8:]  # noqa: E731
    late = _without_checksum_first
    rows: list[tuple[str, Write, str, Callable[[bytes], bytes]]] = [
        ("raw chunk cut short", lambda p: v3(p, VALUES, (3, 4)), "c/1/1", shorter),
        ("raw chunk too long", lambda p: v3(p, VALUES, (3, 4)), "c/1/1", lambda data: data + data),
        ("zstd chunk cut short", by_name["v3 zstd"].write, "c/1/1", shorter),
        ("gzip checksum", by_name["v3 gzip"].write, "c/1/1", flipped_late),
        ("crc32c of a chunk", by_name["v3 crc32c"].write, "c/1/1", flipped),
        (
            "crc32c of a shard index",
            by_name["shard: index at the end"].write,
            "c/0/0",
            flipped_late,
        ),
        ("shard cut short", by_name["shard: index at the end"].write, "c/0/0", shorter),
        ("shard index that points beyond the shard", late, "c/0/0", far),
    ]
    for name, write, key, damage in rows:
        yield Case(name, "damage is noticed", broken(write, key, damage))


def _without_checksum_first(p: Path) -> np.ndarray:
    encode = lambda b: shard(b, (2, 3), start=True, crc=False)  # noqa: E731
    codec = sharding((2, 3), crc=False, index_location="start")
    return v3(p, VALUES, (4, 6), encode=encode, codecs=[codec])


CASES: tuple[Case, ...] = tuple(
    case
    for make in (
        _keys,
        _shapes,
        _types,
        _fills,
        compressors,
        compressors_v2,
        shards,
        _hierarchies,
        _n5s,
        _damaged,
    )
    for case in make()
)
