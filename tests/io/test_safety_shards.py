"""Indices of shards that lie: never another value, never more work than the shard is worth."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest

from lazytensor import native
from lazytensor.errors import ChunkDecodeError, FormatError
from lazytensor.io.codec.checksums import crc32c
from lazytensor.io.store_open import make_store
from lazytensor.io.zarr import ZarrSource, scan
from tests.io.zarr_cases import array_v3, distinct, little, read_all, sharding

INNER, COUNT, SHARDS = 256, 16, 3
VALUES = distinct((SHARDS * COUNT * INNER,), "<u2")
ABSENT = (1 << 64) - 1
Entries = list[list[int]]
Outcome = Any


@pytest.fixture(scope="module", autouse=True)
def kernel() -> None:
    assert native.wait("chunks", timeout=200) is not None, native.reason("chunks")


class Shard:
    """A shard whose index can be changed before it is written; the checksum fits."""

    def __init__(self, number: int, codec: str) -> None:
        encode: Callable[[np.ndarray], bytes]
        encode = numcodecs.Zstd(1).encode if codec == "zstd" else (lambda part: part.tobytes())
        parts = VALUES.reshape(SHARDS, COUNT, INNER)[number]
        self.chunks = [bytes(encode(part)) for part in parts]
        self.body = b"".join(self.chunks)
        ends = np.cumsum([0, *map(len, self.chunks)]).tolist()
        self.entries: Entries = [[ends[i], len(self.chunks[i])] for i in range(COUNT)]

    def stored(self) -> bytes:
        index = b"".join(struct.pack("<QQ", *entry) for entry in self.entries)
        return self.body + index + crc32c(index).to_bytes(4, "little")


def document(codec: str, **changes: Any) -> dict[str, Any]:
    inner = [little(), {"name": "zstd", "configuration": {"level": 1, "checksum": False}}]
    codecs = [sharding((INNER,), inner[: 2 if codec == "zstd" else 1])]
    return array_v3(VALUES.shape, (COUNT * INNER,), "uint16", codecs) | changes


def sources(folder: Path, codec: str, middle: bytes) -> dict[str, ZarrSource]:
    """The array with these bytes as its second shard, as files and in memory."""
    data = {"zarr.json": json.dumps(document(codec)).encode(), "c/1": middle}
    data |= {f"c/{n}": Shard(n, codec).stored() for n in (0, 2)}
    (folder / "c").mkdir(exist_ok=True)
    for key, text in data.items():
        (folder / key).write_bytes(text)
    return {"files": scan(str(folder)), "memory": scan(data)}


def outcome(source: ZarrSource) -> Outcome:
    try:
        return read_all(source).tobytes()
    except FormatError as error:
        return type(error)


def outcomes(folder: Path, codec: str, middle: bytes, patch: pytest.MonkeyPatch) -> list[Outcome]:
    found = []
    for source in sources(folder, codec, middle).values():
        for switch in "10":
            patch.setenv("LAZYTENSOR_NATIVE", switch)
            found.append(outcome(source))
    return found


LIES: dict[str, list[int]] = {
    "behind the end": [1 << 20, 8],
    "far behind": [1 << 63, 8],
    "over the edge": [ABSENT - 3, 8],
    "wraps around": [ABSENT - 7, 512],
    "huge size": [0, 1 << 62],
    "half absent": [0, ABSENT],
    "other half absent": [ABSENT, 0],
    "empty": [0, 0],
    "empty at the end": [1 << 13, 0],
    "negative": [(1 << 64) - 512, 512],
}


@pytest.mark.parametrize("codec", ["raw", "zstd"])
@pytest.mark.parametrize("lie", LIES)
def test_an_entry_that_lies(
    lie: str, codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = Shard(1, codec)
    shard.entries[5] = LIES[lie]
    found = outcomes(tmp_path, codec, shard.stored(), monkeypatch)
    assert found == [ChunkDecodeError] * 4


@pytest.mark.parametrize("codec", ["raw", "zstd"])
@pytest.mark.parametrize("length", [0, 1, 3, 16 * COUNT, 16 * COUNT + 3])
def test_a_shard_shorter_than_its_index(
    length: int, codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = Shard(1, codec).stored()[:length]
    assert outcomes(tmp_path, codec, stored, monkeypatch) == [ChunkDecodeError] * 4


@pytest.mark.parametrize("codec", ["raw", "zstd"])
def test_indices_damaged_at_random(
    codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranges that overlap, point into the index, are shared, or leave holes are just read."""
    rng = np.random.default_rng(5)
    values = 0
    for _ in range(60):
        shard = Shard(1, codec)
        good = [*shard.entries, [ABSENT, ABSENT]]
        for at in rng.integers(0, COUNT, 3):
            shard.entries[at] = good[rng.integers(len(good))]
        if rng.random() < 0.5:
            at = int(rng.integers(COUNT))
            end = len(shard.stored())
            size = shard.entries[at][1] if rng.random() < 0.5 else int(rng.integers(0, end))
            shard.entries[at] = [int(rng.integers(0, end)), size]
        found = outcomes(tmp_path, codec, shard.stored(), monkeypatch)
        assert found == [found[0]] * 4
        values += isinstance(found[0], bytes)
    assert values > 10


def test_the_index_of_a_shard_of_any_size_is_not_asked_for(tmp_path: Path) -> None:
    """An index of a terabyte is compared with the size of the object first."""
    many = 1 << 36
    shape = {"shape": [many], "chunk_grid": document("raw")["chunk_grid"]}
    shape["chunk_grid"] = {"name": "regular", "configuration": {"chunk_shape": [many]}}
    codecs = [sharding((1,), [little()])]
    data = {"zarr.json": json.dumps(document("raw", codecs=codecs, **shape)).encode()}
    source = scan(data | {"c/0": bytes(1000)})
    out = np.zeros(4, "u2")
    with pytest.raises(ChunkDecodeError, match="index"):
        source.read_into(((0, 4),), out)


def test_stores_are_local(tmp_path: Path) -> None:
    """What is compared above are a store of files and one that is none."""
    assert make_store(str(tmp_path)).folder is not None
    assert make_store({}).folder is None
