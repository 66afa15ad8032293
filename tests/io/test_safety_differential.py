"""Any array, box, step and destination: compiled reading, plain reading and zarr-python agree."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from lazytensor import native
from lazytensor.errors import LazyTensorError
from lazytensor.io.zarr import ZarrSource, scan
from lazytensor.plan.counters import snapshot
from tests.io.zarr_cases import array_v3, distinct

DTYPES = [
    "|b1", "|u1", "<i2", ">u2", "<f4", ">i4", "<f8", ">f8", "<c8", ">c16", "<M8[s]", ">m8[ms]",
    "|S3", "<U2", ">U3", "|V5",
]  # fmt: skip
COMPRESSORS: list[Any] = [
    None,
    {"id": "zstd", "level": 1},
    {"id": "lz4", "acceleration": 1},
    {"id": "gzip", "level": 1},
    *(
        {"id": "blosc", "cname": name, "clevel": 5, "shuffle": shuffle, "blocksize": 0}
        for name in ("lz4", "zstd", "zlib")
        for shuffle in (0, 1, 2)
    ),
]
INNER: list[list[dict[str, Any]]] = [
    [],
    [{"name": "zstd", "configuration": {"level": 1, "checksum": True}}],
    [{"name": "gzip", "configuration": {"level": 1}}],
    [
        {
            "name": "blosc",
            "configuration": {
                "cname": "lz4", "clevel": 5, "shuffle": "shuffle", "typesize": 4, "blocksize": 0,
            },
        },
        {"name": "crc32c"},
    ],
]  # fmt: skip
V3_TYPES = {"bool": "?", "int8": "i1", "uint16": "u2", "float32": "f4", "complex128": "c16"}
STORES = ["folder", "dict", "zip"]
COUNTED = ("chunks_missing", "units_read", "bytes_decoded")


@pytest.fixture(scope="module", autouse=True)
def kernel() -> None:
    assert native.wait("chunks", timeout=200) is not None, native.reason("chunks")


def _values(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if dtype.kind not in "SUV":
        return distinct(shape, dtype)
    letters = np.arange(np.prod(shape, dtype=int) * dtype.itemsize, dtype="i8") % 100 + 27
    if dtype.kind == "U":
        return letters[::4].astype(dtype.byteorder + "i4").view(dtype).reshape(shape)
    return letters.astype("u1").view(dtype).reshape(shape)


def _written_v2(draw: Any, shape: tuple[int, ...], chunks: tuple[int, ...]) -> dict[str, bytes]:
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    data: dict[str, Any] = {}
    array = zarr.create_array(
        zarr.storage.MemoryStore(data), shape=shape, chunks=chunks, dtype=dtype, zarr_format=2,
        compressors=None, order=draw(st.sampled_from("CF")), fill_value=None,
    )  # fmt: skip
    document = json.loads(data[".zarray"].to_bytes())
    document["compressor"] = draw(st.sampled_from(COMPRESSORS))
    data[".zarray"] = _buffer(document)
    array = zarr.open_array(zarr.storage.MemoryStore(data), mode="r+")
    array[...] = _values(shape, dtype)
    return {key: value.to_bytes() for key, value in data.items()}


def _written_v3(draw: Any, shape: tuple[int, ...], chunks: tuple[int, ...]) -> dict[str, bytes]:
    name = draw(st.sampled_from(sorted(V3_TYPES)))
    dtype = np.dtype(V3_TYPES[name])
    endian = {"endian": draw(st.sampled_from(["little", "big"]))}
    codecs: list[Any] = [
        {"name": "bytes", "configuration": endian}, *draw(st.sampled_from(INNER))
    ]  # fmt: skip
    if draw(st.booleans()):
        order = list(draw(st.permutations(range(len(shape)))))
        codecs.insert(0, {"name": "transpose", "configuration": {"order": order}})
    if shape and draw(st.booleans()):  # zarr-python writes no shards without dimensions
        index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        settings = {
            "chunk_shape": list(chunks), "codecs": codecs, "index_codecs": index,
            "index_location": draw(st.sampled_from(["start", "end"])),
        }  # fmt: skip
        codecs = [{"name": "sharding_indexed", "configuration": settings}]
        chunks = tuple(c * draw(st.integers(1, 4)) for c in chunks)
    fill = {"b": True, "c": [1.5, -2.0]}.get(dtype.kind, 7)
    data: dict[str, Any] = {
        "zarr.json": _buffer(array_v3(shape, chunks, name, codecs, fill_value=fill))
    }
    array = zarr.open_array(zarr.storage.MemoryStore(data), mode="r+")
    array[...] = _values(shape, dtype)
    return {key: value.to_bytes() for key, value in data.items()}


def _buffer(document: dict[str, Any]) -> Any:
    from zarr.core.buffer import default_buffer_prototype

    return default_buffer_prototype().buffer.from_bytes(json.dumps(document).encode())


def _stored(kind: str, data: dict[str, bytes], folder: Path) -> Any:
    if kind == "dict":
        return data
    if kind == "zip":
        path = folder / "array.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for key, value in data.items():
                archive.writestr(key, value)
        return str(path)
    for key, value in data.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(value)
    return str(folder)


def _destination(draw: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """In any order of axes, in either direction, with gaps, at any address."""
    order = draw(st.permutations(range(len(shape))))
    gaps = [draw(st.sampled_from([1, 1, 2])) for _ in shape]
    turned = tuple(shape[a] * gaps[a] for a in order)
    nbytes = int(np.prod(turned, dtype=int)) * dtype.itemsize
    offset = draw(st.sampled_from([0, 3, 64]))
    memory = np.full(nbytes + 64, 0xA5, np.uint8)[offset : offset + nbytes]
    out = memory.view(dtype).reshape(turned).transpose(np.argsort(order).astype(int))
    out = out[(*(slice(None, None, gap) for gap in gaps), ...)]
    return out[(*(slice(None, None, draw(st.sampled_from([1, -1]))) for _ in shape), ...)]


def _read(source: ZarrSource, box: Any, steps: Any, out: np.ndarray) -> tuple[Any, list[int]]:
    out[...] = np.zeros((), out.dtype)
    before = snapshot()
    try:
        source.read_strided(box, steps, out)
        result: Any = out.tobytes()
    except LazyTensorError as error:
        result = type(error)
    after = snapshot()
    return result, [after.get(name, 0) - before.get(name, 0) for name in COUNTED]


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("format", [2, 3])
@settings(max_examples=80)
@given(data=st.data())
def test_three_readers_agree(
    format: int, damaged: bool, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    draw = data.draw
    rank = draw(st.integers(0, 3))
    chunks = tuple(draw(st.integers(1, 7)) for _ in range(rank))
    shape = tuple(c * draw(st.integers(1, 6)) - draw(st.integers(0, c - 1)) for c in chunks)
    objects = (_written_v2 if format == 2 else _written_v3)(draw, shape, chunks)
    keys = sorted(key for key in objects if key not in (".zarray", ".zattrs", "zarr.json"))
    for key in draw(st.sets(st.sampled_from(keys), max_size=3)) if keys else ():
        del objects[key]
    keys = [key for key in keys if key in objects]
    if damaged and keys:
        victim = draw(st.sampled_from(keys))
        text = bytearray(objects[victim])
        text[draw(st.integers(0, len(text) - 1))] ^= draw(st.integers(1, 255))
        objects[victim] = bytes(text[: draw(st.sampled_from([len(text), len(text) // 2]))])
    box = []
    for n in shape:
        lo = draw(st.integers(0, n - 1))
        box.append((lo, draw(st.integers(lo + 1, n))))
    if draw(st.booleans()):
        box = [(0, n) for n in shape]
    steps = [draw(st.sampled_from([1, 1, 1, 2, 3])) for _ in shape]
    folder = tmp_path_factory.mktemp("array")
    source = scan(_stored(draw(st.sampled_from(STORES)), objects, folder))
    part = tuple(slice(lo, hi, step) for (lo, hi), step in zip(box, steps, strict=True))
    extents = tuple(len(range(lo, hi, step)) for (lo, hi), step in zip(box, steps, strict=True))
    out = _destination(draw, extents, source.spec.dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAZYTENSOR_NATIVE", "1")
        compiled, counted = _read(source, box, steps, out)
        patch.setenv("LAZYTENSOR_NATIVE", "0")
        plain, plainly = _read(source, box, steps, out)
    if isinstance(compiled, bytes) and isinstance(plain, bytes):
        assert compiled == plain
        assert counted == plainly
    if not damaged:
        assert isinstance(compiled, bytes)
        stored = {key: _raw_buffer(value) for key, value in objects.items()}
        peer = zarr.open_array(zarr.storage.MemoryStore(stored), mode="r")
        found = np.asarray(peer[(*part, ...)]).astype(source.spec.dtype)
        assert compiled == found.tobytes()
    elif format == 3 or not isinstance(plain, bytes):
        # Blocks that are not needed are not decoded, and so not found to be damaged.
        partial = box != [(0, n) for n in shape] or steps != [1] * rank
        assert compiled == plain or (partial and isinstance(compiled, bytes))


def _raw_buffer(value: bytes) -> Any:
    from zarr.core.buffer import default_buffer_prototype

    return default_buffer_prototype().buffer.from_bytes(value)


@pytest.mark.parametrize("name", ["int4", "uint4", "int2", "float4_e2m1fn"])
def test_bits_beside_small_values_are_dropped(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte holds one value, and the bits of it that are not the value's may be anything."""
    stored = np.arange(4096, dtype=np.uint32).astype("u1")
    data = {"zarr.json": json.dumps(array_v3((4096,), (256,), name, [{"name": "bytes"}])).encode()}
    source = scan(data | {f"c/{n}": stored[256 * n :][:256].tobytes() for n in range(16)})
    mask = 3 if name == "int2" else 15
    for switch in "01":
        monkeypatch.setenv("LAZYTENSOR_NATIVE", switch)
        out = np.zeros(2048, source.spec.dtype)
        source.read_strided(((0, 4096),), (2,), out)
        assert (out.view("u1") == stored[::2] & mask).all()
