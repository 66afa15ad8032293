"""What is stored is not longer than an encoder makes it, or it is not read."""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lazytensor import native
from lazytensor.errors import ChunkDecodeError, SourceError
from lazytensor.io.codec.text import MOST_TEXT_BYTES
from lazytensor.io.store_local import LocalStore
from lazytensor.io.store_open import make_store
from lazytensor.io.zarr import scan
from lazytensor.io.zarr.metadata import ArrayMetadata
from lazytensor.io.zarr.node import open_node
from lazytensor.plan.counters import snapshot
from tests.io.test_safety_files import (
    CODECS,
    COUNT,
    VALUES,
    alone,
    both,
    few_descriptors,
    write,
    write_shards,
)
from tests.io.test_safety_shards import COUNT as INNER_COUNT
from tests.io.test_safety_shards import Shard, outcome, sources
from tests.io.zarr_cases import array_v2, array_v3, distinct, sharding, v2

pytestmark = pytest.mark.skipif(
    native.file_functions() is None, reason="kernels do not read files on this system"
)

TERABYTE = 1 << 40


@pytest.fixture(scope="module", autouse=True)
def kernel() -> None:
    assert native.wait("chunks", timeout=200) is not None, native.reason("chunks")


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(TERABYTE)


@pytest.mark.parametrize("codec", CODECS)
def test_a_file_that_claims_a_terabyte_is_not_read(
    codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path, codec)
    (tmp_path / "7").unlink()
    sparse(tmp_path / "7")
    compiled, plain = both(source, monkeypatch)
    assert compiled == plain == (ChunkDecodeError, 0, 0)


@pytest.mark.parametrize("spare", [0, 1, 3])
def test_shards_without_descriptors(
    spare: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards are held open together only as long as there is room for that."""
    source = write_shards(tmp_path, COUNT)

    def read() -> tuple[Any, Any, bool]:
        before = set(os.listdir("/proc/self/fd"))
        with few_descriptors(spare):
            compiled, plain = both(source, monkeypatch)
        return compiled, plain, set(os.listdir("/proc/self/fd")) == before

    compiled, plain, nothing_leaked = alone(read)
    expected = (VALUES.tobytes(), 0, 4 * COUNT) if spare else (SourceError, 0, 0)
    assert plain == expected
    assert compiled == plain
    assert nothing_leaked


@pytest.mark.parametrize("where", ["files", "memory"])
@pytest.mark.parametrize("switch", ["1", "0"])
def test_chunks_that_claim_the_whole_shard(
    switch: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a shard of 4 MiB does not read as much once for each of its chunks."""
    shard = Shard(1, "zstd")
    shard.body += bytes(4 << 20)
    shard.entries = [[n, len(shard.body) - n] for n in range(INNER_COUNT)]
    source = sources(tmp_path, "zstd", shard.stored())[where]
    monkeypatch.setenv("LAZYTENSOR_NATIVE", switch)
    before = snapshot().get("bytes_read", 0)
    assert outcome(source) is ChunkDecodeError
    assert snapshot()["bytes_read"] - before < 1 << 20


def test_a_shard_of_strings_in_another_codec_is_bounded_like_a_chunk_of_them() -> None:
    inner = sharding((4,), [{"name": "vlen-utf8"}])
    gzip = {"name": "gzip", "configuration": {"level": 1}}
    document: dict[str, Any] = array_v3((4096,), (4096,), "string", [inner, gzip], fill_value="")
    metadata = open_node(make_store({"zarr.json": json.dumps(document).encode()}), "").metadata
    assert isinstance(metadata, ArrayMetadata)
    assert metadata.layout.most < MOST_TEXT_BYTES + (1 << 20)


def test_a_handle_that_nobody_closes_is_closed(tmp_path: Path) -> None:
    """Ctrl-C may strike where several are open and none has an owner yet."""
    (tmp_path / "file").write_bytes(b"some")
    handle = LocalStore(tmp_path).open("file")
    assert handle is not None
    descriptor = handle.descriptor
    del handle
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize("step", [63, 64, 1 << 61, 1 << 63, 10**30])
def test_steps_of_any_size(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = distinct((64, 64), ">u2")
    chunks = {f"{n}.0": row.tobytes() for n, row in enumerate(values)}
    source = scan(v2(array_v2((64, 64), (1, 64), ">u2"), chunks))
    for switch in "10":
        monkeypatch.setenv("LAZYTENSOR_NATIVE", switch)
        out = np.zeros(values[:, ::step].shape, "u2")
        source.read_strided(((0, 64), (0, 64)), (1, step), out)
        assert (out == values[:, ::step]).all()
